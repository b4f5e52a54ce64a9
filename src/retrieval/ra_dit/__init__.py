"""RA-DIT (arXiv 2310.01352): a model learns to use what it reads, a retriever to fetch what that model prefers."""

from typing import TYPE_CHECKING

from ...lazy import lazy_exports

if TYPE_CHECKING:
    from .lsr import divergence, entropy, log_distribution, lsr_loss, lsr_scores
    from .prompts import Demonstration, Example, answer_text, few_shot_head, few_shot_prompt, with_background
    from .templates import PLAIN, UNANSWERABLE, Markers, families, random_markers, rendered

__all__ = [
    "PLAIN",
    "UNANSWERABLE",
    "Demonstration",
    "Example",
    "Markers",
    "answer_text",
    "divergence",
    "entropy",
    "families",
    "few_shot_head",
    "few_shot_prompt",
    "log_distribution",
    "lsr_loss",
    "lsr_scores",
    "random_markers",
    "rendered",
    "with_background",
]

_HOMES = {
    "Demonstration": "prompts",
    "Example": "prompts",
    "Markers": "templates",
    "PLAIN": "templates",
    "UNANSWERABLE": "templates",
    "answer_text": "prompts",
    "divergence": "lsr",
    "entropy": "lsr",
    "families": "templates",
    "few_shot_head": "prompts",
    "few_shot_prompt": "prompts",
    "log_distribution": "lsr",
    "lsr_loss": "lsr",
    "lsr_scores": "lsr",
    "random_markers": "templates",
    "rendered": "templates",
    "with_background": "prompts",
}

__getattr__ = lazy_exports(__name__, _HOMES)
