"""The language-model head applied to chosen positions only: a vocabulary of 262,144 makes all logits expensive."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int

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

    def log_probabilities(
        self, hidden: Float[torch.Tensor, "n width"], targets: Int[torch.Tensor, " n"]
    ) -> Float[torch.Tensor, " n"]:
        """Return the log-probability (float32, nats) of one target token for each hidden state."""
        return log_probabilities_in_pieces(self._logits, self._linear.weight.shape[0], hidden, targets)

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


def log_probabilities_in_pieces(
    logits_of: Callable[[torch.Tensor], torch.Tensor],
    vocab_size: int,
    hidden: Float[torch.Tensor, "n width"],
    targets: Int[torch.Tensor, " n"],
) -> Float[torch.Tensor, " n"]:
    """Return the log-probability of one target for each hidden state, the logits of a bounded number at a time."""
    at_once = max(1, _LOGITS_AT_ONCE // vocab_size)
    pairs = zip(torch.split(hidden, at_once), torch.split(targets, at_once), strict=True)
    return torch.cat([chosen_log_probabilities(logits_of(some), tokens) for some, tokens in pairs])


def chosen_log_probabilities(
    logits: Float[torch.Tensor, "n vocabulary"], targets: Int[torch.Tensor, " n"]
) -> Float[torch.Tensor, " n"]:
    """Return the log-probability of each row's target, in float32 whatever the logits are."""
    logits = logits.float()
    return logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(dim=-1)
