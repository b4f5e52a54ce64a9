"""RA-DIT (arXiv 2310.01352): a model learns to use what it reads, a retriever to fetch what that model prefers."""

from typing import TYPE_CHECKING

from ...lazy import lazy_exports

if TYPE_CHECKING:
    from .lsr import divergence, entropy, log_distribution, lsr_loss, lsr_scores
    from .prompts import Demonstration, Example, answer_text, few_shot_head, few_shot_prompt, with_background

__all__ = [
    "Demonstration",
    "Example",
    "answer_text",
    "divergence",
    "entropy",
    "few_shot_head",
    "few_shot_prompt",
    "log_distribution",
    "lsr_loss",
    "lsr_scores",
    "with_background",
]

_HOMES = {
    "Demonstration": "prompts",
    "Example": "prompts",
    "answer_text": "prompts",
    "divergence": "lsr",
    "entropy": "lsr",
    "few_shot_head": "prompts",
    "few_shot_prompt": "prompts",
    "log_distribution": "lsr",
    "lsr_loss": "lsr",
    "lsr_scores": "lsr",
    "with_background": "prompts",
}

__getattr__ = lazy_exports(__name__, _HOMES)
