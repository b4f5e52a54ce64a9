"""How well a decoder predicts a text: perplexity over windows that each begin with the start token.

    perplexity = exp(mean_i -log p(t_i | start, t_w, ..., t_{i-1}))      t_w the first token of the window of t_i

A window knows nothing of those before it, so that a decoder never sees more tokens than `window`.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float

from ..errors import OctoberError
from ..language_models.output_head import log_probabilities_in_pieces
from .transformer import Transformer


def perplexity(decoder: Transformer, token_ids: Sequence[int], *, start_id: int, window: int) -> float:
    """Return the perplexity of a text; arguments and errors as in `token_losses`."""
    return math.exp(token_losses(decoder, token_ids, start_id=start_id, window=window).double().mean().item())


@torch.inference_mode()
def token_losses(
    decoder: Transformer, token_ids: Sequence[int], *, start_id: int, window: int
) -> Float[torch.Tensor, " tokens"]:
    """Return the negative log-probability (nats, float32) of each token of a text.

    Args:
        decoder: A decoder.
        token_ids: The text, without a start token.
        start_id: The token that begins every window.
        window: Tokens that pass through the decoder at once, the start token included; the last one predicts, and is
            not fed.

    Raises:
        OctoberError: No tokens, or a window that is below 1 or beyond the decoder's context.
    """
    config = decoder.config
    if not token_ids:
        raise OctoberError("token_ids are empty: a text is needed")
    if not 1 <= window <= config.max_positions:
        raise OctoberError(f"window={window}: must be from 1 to the decoder's context of {config.max_positions}")
    device = decoder.embedding.weight.device
    losses = []
    for first in range(0, len(token_ids), window):
        targets = torch.tensor(list(token_ids[first : first + window]), device=device)
        fed = torch.cat([targets.new_tensor([start_id]), targets[:-1]])
        hidden = decoder(fed[None])[0]
        losses.append(-log_probabilities_in_pieces(decoder.logits, config.vocab_size, hidden, targets))
    return torch.cat(losses)
