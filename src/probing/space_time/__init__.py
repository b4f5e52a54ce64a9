"""Language Models Represent Space and Time (arXiv 2310.02207): what only this paper needs.

Its prompts, its generalisation tests and its neurons; the probes and metrics are shared modules of `probing`.
"""

from typing import TYPE_CHECKING

from ...lazy import lazy_exports

if TYPE_CHECKING:
    from .holdout import BlockScores, block_holdout, cross_type
    from .neurons import (
        Aligned,
        Neuron,
        ablated,
        most_aligned,
        neuron_activations,
        neuron_cosines,
        next_token_losses,
        random_neurons,
    )
    from .prompts import PROMPTS, Prompt, prompt_named

__all__ = [
    "PROMPTS",
    "Aligned",
    "BlockScores",
    "Neuron",
    "Prompt",
    "ablated",
    "block_holdout",
    "cross_type",
    "most_aligned",
    "neuron_activations",
    "neuron_cosines",
    "next_token_losses",
    "prompt_named",
    "random_neurons",
]

_HOMES = {
    **dict.fromkeys(("PROMPTS", "Prompt", "prompt_named"), "prompts"),
    **dict.fromkeys(("BlockScores", "block_holdout", "cross_type"), "holdout"),
    **dict.fromkeys(("Aligned", "Neuron", "ablated", "most_aligned", "random_neurons"), "neurons"),
    **dict.fromkeys(("neuron_activations", "neuron_cosines", "next_token_losses"), "neurons"),
}

__getattr__ = lazy_exports(__name__, _HOMES)
