"""What the language model thinks of retrieved chunks, and how far the retriever is from it (section 2.3).

    p_LSR(c | x, y) = exp(s_c / tau) / sum_{c' in C'} exp(s_c' / tau)                                    Eq. 4
    p_R(c | x)      = the same with the retriever's scores in place of s, C' its top k
    L               = E_x KL( p_R || p_LSR )                                                             Eq. 5

The score s_c of a chunk is a choice. `probability` is what the paper prints, p_LM(y | c o x). For a long answer it is
so close to 0 that exp(p / tau) is 1 for all chunks and p_LSR uniform: nothing is learned. `mean_log_probability`
(Atlas) and `sum_log_probability` tell chunks apart at any length; the entropy of p_LSR shows which is the case.

REPLUG and Atlas minimise KL( p_LSR || p_R ), the other direction. All is computed from logarithms; a chunk with the
score -inf fills up a row that has fewer than k, and counts for nothing.
"""

import math
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int

from ...errors import OctoberError

ChunkScoreKind = Literal["probability", "mean_log_probability", "sum_log_probability"]
Direction = Literal["retriever_to_lm", "lm_to_retriever"]


def lsr_scores(
    log_likelihoods: Float[torch.Tensor, "*rows chunks"],
    num_tokens: Int[torch.Tensor, "*rows chunks"],
    kind: ChunkScoreKind,
) -> Float[torch.Tensor, "*rows chunks"]:
    """Return s_c of Eq. 4; -inf where the log-likelihood is.

    Args:
        log_likelihoods: log p_LM(y | c o x) of whole answers (nats).
        num_tokens: Of the answers.
        kind: What of it is the score.

    Raises:
        OctoberError: An unknown kind.
    """
    if kind not in get_args(ChunkScoreKind):
        raise OctoberError(f"score={kind!r}: must be one of {', '.join(get_args(ChunkScoreKind))}")
    if kind == "probability":
        return torch.where(log_likelihoods == -math.inf, log_likelihoods, log_likelihoods.exp())
    return log_likelihoods if kind == "sum_log_probability" else log_likelihoods / num_tokens.clamp(min=1)


def log_distribution(
    scores: Float[torch.Tensor, "*rows chunks"], temperature: float = 1.0
) -> Float[torch.Tensor, "*rows chunks"]:
    """Return log softmax(scores / temperature): p_LSR of the language model's scores, p_R of the retriever's.

    Raises:
        OctoberError: The temperature is not above 0, or a row has no chunk at all.
    """
    if not temperature > 0:
        raise OctoberError(f"temperature={temperature}: must be above 0")
    if (scores == -math.inf).all(dim=-1).any():
        raise OctoberError("a row has no chunk: there is no distribution over nothing")
    return (scores / temperature).log_softmax(dim=-1)


def entropy(log_p: Float[torch.Tensor, "*rows chunks"]) -> Float[torch.Tensor, "*rows"]:
    """Return the entropy (nats) of distributions: log k where they are uniform, 0 where one chunk has all."""
    nothing = log_p == -math.inf
    finite = log_p.masked_fill(nothing, 0.0)
    return -(finite.exp() * finite).masked_fill(nothing, 0.0).sum(dim=-1)


def divergence(
    log_p: Float[torch.Tensor, "*rows chunks"], log_q: Float[torch.Tensor, "*rows chunks"]
) -> Float[torch.Tensor, "*rows"]:
    """Return KL(p || q) (nats) of each row."""
    nothing = log_p == -math.inf  # filled before the product: there, 0 times infinity would be the gradient
    p, q = log_p.masked_fill(nothing, 0.0), log_q.masked_fill(nothing, 0.0)
    return (p.exp() * (p - q)).masked_fill(nothing, 0.0).sum(dim=-1)


def lsr_loss(
    log_p_retriever: Float[torch.Tensor, "rows chunks"],
    log_p_lsr: Float[torch.Tensor, "rows chunks"],
    direction: Direction = "retriever_to_lm",
) -> Float[torch.Tensor, ""]:
    """Return the mean over rows (not over chunks, which would divide by k as well) of the divergence.

    Args:
        log_p_retriever: What is trained.
        log_p_lsr: What it is to become; fixed.
        direction: `retriever_to_lm` is the paper's KL(p_R || p_LSR), `lm_to_retriever` is KL(p_LSR || p_R).

    Raises:
        OctoberError: An unknown direction.
    """
    if direction not in get_args(Direction):
        raise OctoberError(f"direction={direction!r}: must be one of {', '.join(get_args(Direction))}")
    pair = (log_p_retriever, log_p_lsr) if direction == "retriever_to_lm" else (log_p_lsr, log_p_retriever)
    return divergence(*pair).mean()
