"""How anything here is scored."""

from typing import TYPE_CHECKING

from ..lazy import lazy_exports

if TYPE_CHECKING:
    from .cells import exact_cell, interval_cell, mean_cell
    from .harness import Benchmark, benchmark_values, harness_model
    from .intervals import Interval, bootstrap_interval, paired_bootstrap_interval, paired_t_interval, t_interval

__all__ = [
    "Benchmark",
    "Interval",
    "benchmark_values",
    "bootstrap_interval",
    "exact_cell",
    "harness_model",
    "interval_cell",
    "mean_cell",
    "paired_bootstrap_interval",
    "paired_t_interval",
    "t_interval",
]

_HOMES = {
    **dict.fromkeys(("exact_cell", "interval_cell", "mean_cell"), "cells"),
    **dict.fromkeys(("Benchmark", "benchmark_values", "harness_model"), "harness"),
    **dict.fromkeys(("Interval", "bootstrap_interval", "paired_bootstrap_interval"), "intervals"),
    **dict.fromkeys(("paired_t_interval", "t_interval"), "intervals"),
}

__getattr__ = lazy_exports(__name__, _HOMES)
