"""What a longer context costs in training (appendix D).

One forward pass over a sequence of s tokens with n layers of hidden size h takes, for batch b,

    (24 b s h² + 4 b s² h) n   FLOPs

(projections and feed-forward, then scores and their product with the values, without a causal mask). A data set of a
given number of tokens is cut into fewer sequences when they are longer, so its cost at context s, relative to s₀, is

    (24 s h² + 4 s² h) / (24 s₀ h² + 4 s₀² h) * s₀ / s  =  (6 h + s) / (6 h + s₀)
"""

from collections.abc import Mapping
from types import MappingProxyType

from .activation_memory import check_positive

BASE_CONTEXT = 4096  # tokens; what Figure 5's ratios are relative to

FIGURE_5_HIDDEN_SIZES: Mapping[str, int] = MappingProxyType(
    {"7B": 4096, "13B": 5120, "33B": 7168, "65B": 8192, "175B": 12288, "1TB": 36864}
)
"""By row. The text has 5140 for 13B, but the printed cells come from LLaMA's 5120."""

FIGURE_5_CONTEXTS: Mapping[str, int] = MappingProxyType(
    {
        label: multiple * BASE_CONTEXT
        for label, multiple in (
            ("8K", 2),
            ("16K", 4),
            ("32K", 8),
            ("64K", 16),
            ("128K", 32),
            ("256K", 64),
            ("1M", 256),
            ("10M", 3072),
            ("100M", 32768),
        )
    }
)
"""Tokens by column. The columns called 10M and 100M are 3,072 and 32,768 times 4K: 12 and 128 binary millions."""


def forward_flops(*, batch: int, sequence: int, hidden_size: int, num_layers: int) -> int:
    """Return the FLOPs of a forward pass over `batch` sequences (appendix D), without a causal mask.

    Raises:
        OctoberError: A size that is not positive.
    """
    check_positive(batch=batch, sequence=sequence, hidden_size=hidden_size, num_layers=num_layers)
    dense = 24 * batch * sequence * hidden_size**2
    attention = 4 * batch * sequence**2 * hidden_size
    return (dense + attention) * num_layers


def training_flops_ratio(hidden_size: int, context: int, base_context: int = BASE_CONTEXT) -> float:
    """Return the training FLOPs of a data set at `context` relative to `base_context` (appendix D, Figure 5).

    Raises:
        OctoberError: A size that is not positive.
    """
    check_positive(hidden_size=hidden_size, context=context, base_context=base_context)
    return (6 * hidden_size + context) / (6 * hidden_size + base_context)
