"""The language-model head applied to chosen positions only: a vocabulary of 262,144 makes all logits expensive."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int

from ..errors import OctoberError

_LOGITS_AT_ONCE = 1 << 25  # 128 MiB in float32


class OutputHead:
    """A model's head, apart from its backbone.

    Raises:
        OctoberError: The model does more between hidden states and logits than is known here.
    """

    def __init__(self, model: Any) -> None:
        self.backbone = model.base_model
        self._linear = model.get_output_embeddings()
        self._soft_cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
        self._check(model)

    def token_scores(self, hidden: Float[torch.Tensor, "n width"], targets: Int[torch.Tensor, " n"]) -> "TokenScores":
        """Score one target token for each hidden state."""
        return token_scores_in_pieces(self._logits, self._linear.weight.shape[0], hidden, targets)

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self._linear(hidden)
        if self._soft_cap is not None:
            logits = torch.tanh(logits / self._soft_cap) * self._soft_cap
        return logits

    @torch.inference_mode()
    def _check(self, model: Any) -> None:
        """Compare with the model's own logits once: some models scale them in ways of their own."""
        ids = torch.arange(2, device=model.device)[None]
        ours = self._logits(self.backbone(input_ids=ids, use_cache=False).last_hidden_state)
        if not torch.allclose(ours, model(input_ids=ids, use_cache=False).logits, rtol=1e-2, atol=1e-2):
            raise OctoberError(f"{type(model).__name__} computes its logits in a way that scoring does not know")


class TokenScores(NamedTuple):
    """Of tokens in their places: log-probabilities (float32, nats), and whether no other token is likelier."""

    log_probabilities: Float[torch.Tensor, " n"]
    likeliest: Bool[torch.Tensor, " n"]

    def rows(self, lengths: Sequence[int]) -> list[list[tuple[float, bool]]]:
        """Return the pairs of rows that stand one after the other, so many each."""
        pairs = iter(zip(self.log_probabilities.tolist(), self.likeliest.tolist(), strict=True))
        return [[next(pairs) for _ in range(length)] for length in lengths]


def token_scores_in_pieces(
    logits_of: Callable[[torch.Tensor], torch.Tensor],
    vocab_size: int,
    hidden: Float[torch.Tensor, "n width"],
    targets: Int[torch.Tensor, " n"],
) -> TokenScores:
    """Score one target for each hidden state, the logits of a bounded number at a time."""
    at_once = max(1, _LOGITS_AT_ONCE // vocab_size)
    pieces = []
    for some, tokens in zip(torch.split(hidden, at_once), torch.split(targets, at_once), strict=True):
        logits = logits_of(some)
        largest = logits.amax(dim=-1)
        chosen = logits.gather(1, tokens[:, None])[:, 0]
        pieces.append(TokenScores(chosen_log_probabilities(logits, tokens), chosen == largest))
    return TokenScores(*(torch.cat(parts) for parts in zip(*pieces, strict=True)))


def log_probabilities_in_pieces(
    logits_of: Callable[[torch.Tensor], torch.Tensor],
    vocab_size: int,
    hidden: Float[torch.Tensor, "n width"],
    targets: Int[torch.Tensor, " n"],
) -> Float[torch.Tensor, " n"]:
    """Return the log-probability of one target for each hidden state, the logits of a bounded number at a time."""
    return token_scores_in_pieces(logits_of, vocab_size, hidden, targets).log_probabilities


def chosen_log_probabilities(
    logits: Float[torch.Tensor, "n vocabulary"], targets: Int[torch.Tensor, " n"]
) -> Float[torch.Tensor, " n"]:
    """Return the log-probability of each row's target, in float32 whatever the logits are."""
    return log_probabilities_of(logits, targets[:, None])[:, 0]


def log_probabilities_of(
    logits: Float[torch.Tensor, "n vocabulary"], targets: Int[torch.Tensor, "n several"]
) -> Float[torch.Tensor, "n several"]:
    """Return the log-probabilities of each row's targets, in float32 whatever the logits are.

    Torch's `log_softmax` adds up the exponentials of a large vocabulary less exactly than `logsumexp`: with 262,144 of
    them it may be off by 1e-4 and more on processors with short vectors.
    """
    logits = logits.float()
    return logits.gather(1, targets) - logits.logsumexp(dim=-1, keepdim=True)
