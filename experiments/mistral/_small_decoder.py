"""A small decoder on bytes, and its training: what the trained tables of this paper share."""

from collections.abc import Iterator
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from october.attention import DecoderConfig, Transformer
from october.data import wikipedia_documents
from october.errors import OctoberError

VOCABULARY = 256
MAX_GRADIENT_NORM = 1.0
WARMUP = 0.05  # share of the steps
LAST_RATE = 0.1  # of the highest learning rate
ROPE_BASE = 1000.0  # fewer of a small head's few frequencies lie idle than with the usual 10,000
USUAL = 0.02  # standard deviation of the decoder's own initial matrices
EMBEDDING = 0.2  # of the initial embedding: what the layers add does not drown it
INITIAL = 0.6  # standard deviation of the initial matrices, in units of 1 / sqrt(hidden_size)

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
        rope_bases=(ROPE_BASE,),
    )
    decoder = Transformer(config, seed=seed)
    _widen(decoder)
    return decoder


@torch.no_grad()
def _widen(decoder: Transformer) -> None:
    """Scale initial weights from a standard deviation of 0.02, right for states thousands wide, to a small model's."""
    decoder.embedding.weight *= EMBEDDING / USUAL
    for parameter in decoder.layers.parameters():
        if parameter.ndim == 2:
            parameter *= INITIAL * decoder.config.hidden_size**-0.5 / USUAL


def train(decoder: Transformer, batches: Batches, num_steps: int, learning_rate: float) -> list[float]:
    """Train on so many batches of tokens and labels with AdamW; return each step's loss (nats per token)."""
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share_of_rate(step, num_steps))
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


def _share_of_rate(step: int, num_steps: int) -> float:
    """Return a step's rate over the highest: a linear rise, then half a cosine down to a tenth."""
    rise = max(1, round(WARMUP * num_steps))
    fall = max(0.0, (step - rise) / max(1, num_steps - rise))
    cosine = (1 + float(torch.cos(torch.tensor(torch.pi * fall)))) / 2
    return min(1.0, (step + 1) / rise) * (LAST_RATE + (1 - LAST_RATE) * cosine)


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
