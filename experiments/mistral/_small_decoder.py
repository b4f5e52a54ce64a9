"""A small decoder on bytes, and its training: what the trained tables of this paper share."""

from collections.abc import Iterator
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from october.attention import (
    SMALL_ROPE_BASE,
    DecoderConfig,
    Transformer,
    learning_rate_share,
    scale_small_weights_,
)
from october.data import wikipedia_documents
from october.errors import OctoberError

VOCABULARY = 256
MAX_GRADIENT_NORM = 1.0

Batches = Iterator[tuple[Tensor, Tensor]]


def small_decoder(
    hidden_size: int,
    num_layers: int,
    heads: tuple[int, int],
    window: int,
    max_positions: int,
    seed: int,
    *,
    equal_parameters: bool = False,
) -> Transformer:
    """Return an untrained decoder of bytes with a window of so many keys in every layer.

    Args:
        hidden_size: A multiple of twice the query heads.
        num_layers: Layers.
        heads: Query heads, and key and value heads.
        window: Keys that a query sees, itself included.
        max_positions: Of the longest text.
        seed: Of the weights.
        equal_parameters: Whether the feed-forward network takes up the parameters that fewer key and value heads
            save, as in Mistral 7B; without, its width is three times the hidden size.

    Raises:
        OctoberError: The query heads do not divide the hidden size, or as `DecoderConfig`.
    """
    num_heads, num_kv_heads = heads
    if hidden_size % num_heads:
        raise OctoberError(f"hidden_size={hidden_size}: must be a multiple of the {num_heads} query heads")
    head_dim = hidden_size // num_heads
    saved = 2 * (num_heads - num_kv_heads) * head_dim if equal_parameters else 0  # columns of keys and values
    config = DecoderConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden_size,
        intermediate_size=3 * hidden_size + round(saved / 3),  # gate, up and down
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        max_positions=max_positions,
        sliding_windows=(window,),
        rope_bases=(SMALL_ROPE_BASE,),
    )
    return scale_small_weights_(Transformer(config, seed=seed))


def train(decoder: Transformer, batches: Batches, num_steps: int, learning_rate: float) -> list[float]:
    """Train on so many batches of tokens and labels with AdamW; return each step's loss (nats per token)."""
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_share(step, num_steps))
    losses = []
    for _ in range(num_steps):
        tokens, labels = next(batches)
        loss = functional.cross_entropy(decoder.logits(decoder(tokens)).flatten(0, 1), labels.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), MAX_GRADIENT_NORM)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


def text_windows(generator: torch.Generator, num_windows: int, length: int) -> Iterator[Tensor]:
    """Yield batches of windows [num_windows, length] from anywhere in the training text, for ever."""
    text = training_bytes()
    while True:
        starts = torch.randint(len(text) - length + 1, (num_windows,), generator=generator)
        yield torch.stack([text[start : start + length] for start in starts.tolist()])


def held_out_windows(num_windows: int, length: int) -> Tensor:
    """Return windows [num_windows, length] of held-out text, one from each of the first documents that have so much.

    Raises:
        OctoberError: There are fewer such documents.
    """
    documents = [as_tokens(document) for document in wikipedia_documents()[1]]
    long_enough = [document[:length] for document in documents if len(document) >= length]
    if num_windows > len(long_enough):
        raise OctoberError(f"num_documents={num_windows}: {len(long_enough)} held-out documents have {length} bytes")
    return torch.stack(long_enough[:num_windows])


@cache
def training_bytes() -> Tensor:
    """Return the whole training text."""
    return as_tokens("".join(wikipedia_documents()[0]))


def as_tokens(text: str) -> Tensor:
    """Return a text's bytes as token ids."""
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8).long()
