"""The language-model head applied to chosen positions only: a vocabulary of 262,144 makes all logits expensive."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int

from ..errors import OctoberError
from .prompt_states import reads_trees
from .vocabulary_blocks import gains_from_blocks, products_by_blocks, scores_by_blocks

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

    @cached_property
    def reads_trees(self) -> bool:
        """Whether the backbone reads several texts behind one prompt as one row."""
        return reads_trees(self.backbone)

    def token_scores(
        self,
        hidden: Float[torch.Tensor, "states width"],
        targets: Int[torch.Tensor, " n"],
        places: Int[torch.Tensor, " n"] | None = None,
    ) -> "TokenScores":
        """Score target tokens, each behind a hidden state; see `token_scores_in_pieces`."""
        weight = self._linear.weight
        if not gains_from_blocks(self._linear):
            return token_scores_in_pieces(self.logits, weight.shape[0], hidden, targets, places)
        places = torch.arange(len(targets)) if places is None else places
        return TokenScores(*scores_by_blocks(weight, hidden, targets, places, self._capped))

    def logits(self, hidden: Float[torch.Tensor, "n width"]) -> Float[torch.Tensor, "n vocabulary"]:
        """Return the logits behind hidden states, which lie one after the other in memory."""
        if len(hidden) > 1 and gains_from_blocks(self._linear):
            return self._capped(products_by_blocks(self._linear.weight, hidden))
        return self._capped(self._linear(hidden))

    def _capped(self, logits: torch.Tensor) -> torch.Tensor:
        return logits if self._soft_cap is None else torch.tanh(logits / self._soft_cap) * self._soft_cap

    @torch.inference_mode()
    def _check(self, model: Any) -> None:
        """Compare with the model's own logits once: some models scale them in ways of their own."""
        ids = torch.arange(2, device=model.device)[None]
        ours = self.logits(self.backbone(input_ids=ids, use_cache=False).last_hidden_state[0])
        if not torch.allclose(ours, model(input_ids=ids, use_cache=False).logits[0], rtol=1e-2, atol=1e-2):
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
    hidden: Float[torch.Tensor, "states width"],
    targets: Int[torch.Tensor, " n"],
    places: Int[torch.Tensor, " n"] | None = None,
) -> TokenScores:
    """Score target tokens behind hidden states, the logits of a bounded number of states at a time.

    Args:
        logits_of: The head.
        vocab_size: Of its logits.
        hidden: States; each passes through the head once.
        targets: Tokens.
        places: Of the state that each target follows; the first the first, and so on, if not given.
    """
    at_once = max(1, _LOGITS_AT_ONCE // vocab_size)
    values = torch.empty(len(targets), device=hidden.device)
    likeliest = torch.empty(len(targets), dtype=torch.bool, device=hidden.device)
    if places is None:
        places = torch.arange(len(targets), device=hidden.device)
    for first, some in zip(range(0, len(hidden), at_once), torch.split(hidden, at_once), strict=True):
        logits = logits_of(some)
        here = ((places >= first) & (places < first + at_once)).nonzero()[:, 0]
        rows = places[here] - first
        chosen = logits[rows, targets[here]]
        values[here] = chosen.float() - log_normalizers(logits)[rows]
        likeliest[here] = chosen == logits.amax(dim=-1)[rows]
    return TokenScores(values, likeliest)


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
    return logits.gather(1, targets).float() - log_normalizers(logits)[:, None]


def log_normalizers(logits: Float[torch.Tensor, "n vocabulary"]) -> Float[torch.Tensor, " n"]:
    """Return the logarithm of each row's sum of exponentials, in float32.

    On a processor row by row: the exponentials of one row lie in its caches, those of all do not.
    """
    if logits.device.type != "cpu":
        return logits.float().logsumexp(dim=-1)
    return torch.stack([row.float().logsumexp(dim=-1) for row in logits.unbind()])
