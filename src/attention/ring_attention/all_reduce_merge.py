"""Merges what the ranks of a ring have each found for the *same* query rows over their own keys: decoding.

    m = max_r l_r      l = m + log Σ_r exp(l_r - m)      O = Σ_r exp(l_r - l) O_r

Where a new token has one query row and each rank a shard of the keys, the pair (O, l) is far smaller than keys and
values: it travels, once, and they stay. Every rank adds up in the order of the ranks, so that all of them get the same
bits and go on to choose the same token.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from . import agreement
from .kernels import accumulator_dtype
from .ring import Ring


def merge_over(
    ring: Ring, output: Float[Tensor, "*rows head_dim"], log_sum_exp: Float[Tensor, "*rows"]
) -> tuple[Float[Tensor, "*rows head_dim"], Float[Tensor, "*rows"]]:
    """Return output and log-sum-exp of rows over the keys of all ranks, the same bits on every rank.

    All ranks call it together, each with its own result for the same rows.

    Args:
        ring: The ranks, and how long they wait for each other.
        output: Over this rank's keys.
        log_sum_exp: Likewise; -inf where the rank has no key for a row, whatever the output there.

    Returns:
        Both in float32 (float64 for float64). Rows without a key on any rank are 0, with -inf.

    Raises:
        OctoberError: The ranks' shapes or types differ.
        RingError: A rank did not send its part within the time limit.
    """
    dtype = accumulator_dtype(output.dtype)
    agreement.agree(ring.transport, {"merged rows": tuple(output.shape), "dtype": str(dtype)})
    own = torch.cat([output.to(dtype), log_sum_exp.to(dtype)[..., None]], dim=-1)
    parts = torch.stack(_from_all(ring, own))
    return _merged(parts[..., :-1], parts[..., -1])


def _merged(outputs: Tensor, log_sum_exps: Tensor) -> tuple[Tensor, Tensor]:
    """Merge along the first dimension, rank by rank."""
    log_sum_exp = torch.logsumexp(log_sum_exps, dim=0)  # -inf where all are
    finite = torch.where(log_sum_exp == -torch.inf, 0.0, log_sum_exp)
    weights = torch.exp(log_sum_exps - finite)[..., None]
    kept = torch.where(weights > 0, outputs, 0.0)  # a rank without keys may hold anything there
    return (weights * kept).sum(dim=0), log_sum_exp


def _from_all(ring: Ring, own: Tensor) -> list[Tensor]:
    """Return every rank's tensor, by rank: each sends to each, so that one that does not answer is known by name."""
    parts = [own if rank == ring.rank else torch.empty_like(own) for rank in range(ring.world_size)]
    others = [rank for rank in range(ring.world_size) if rank != ring.rank]
    sends = [(own, rank) for rank in others]
    receives = [(parts[rank], rank) for rank in others]
    ring.transport.exchange(sends, receives, hop=0, what="outputs to merge").wait()
    return parts
