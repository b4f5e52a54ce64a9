"""How anything here is scored."""

from typing import TYPE_CHECKING

from ..lazy import lazy_exports

if TYPE_CHECKING:
    from .answers import (
        answer_from,
        contains_answer,
        count_words,
        exact_match,
        normalize_answer,
        num_tokens,
        paired_test,
        rouge_l,
        token_f1,
        word_perplexity,
    )
    from .cells import bootstrap_cell, exact_cell, interval_cell, mean_cell, percent_cell, points_cell
    from .harness import Benchmark, benchmark_values, check_importable, harness_model
    from .intervals import Interval, bootstrap_interval, paired_bootstrap_interval, paired_t_interval, t_interval

__all__ = [
    "Benchmark",
    "Interval",
    "answer_from",
    "benchmark_values",
    "bootstrap_cell",
    "bootstrap_interval",
    "check_importable",
    "contains_answer",
    "count_words",
    "exact_cell",
    "exact_match",
    "harness_model",
    "interval_cell",
    "mean_cell",
    "normalize_answer",
    "num_tokens",
    "paired_bootstrap_interval",
    "paired_t_interval",
    "paired_test",
    "percent_cell",
    "points_cell",
    "rouge_l",
    "t_interval",
    "token_f1",
    "word_perplexity",
]

_HOMES = {
    **dict.fromkeys(("answer_from", "contains_answer", "count_words", "exact_match", "normalize_answer"), "answers"),
    **dict.fromkeys(("num_tokens", "paired_test", "rouge_l", "token_f1", "word_perplexity"), "answers"),
    **dict.fromkeys(
        ("bootstrap_cell", "exact_cell", "interval_cell", "mean_cell", "percent_cell", "points_cell"), "cells"
    ),
    **dict.fromkeys(("Benchmark", "benchmark_values", "check_importable", "harness_model"), "harness"),
    **dict.fromkeys(("Interval", "bootstrap_interval", "paired_bootstrap_interval"), "intervals"),
    **dict.fromkeys(("paired_t_interval", "t_interval"), "intervals"),
}

__getattr__ = lazy_exports(__name__, _HOMES)
