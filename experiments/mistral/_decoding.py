"""One text, the same for several caches side by side: fed in chunks up to a position, then token by token and timed."""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from october.attention import DecoderConfig, DenseCache, Transformer, decoder_from, prefill
from october.attention.cache import RowCache
from october.attention.chunked_prefill import PREFILL_CHUNK
from october.attention.mistral import RollingBufferCache, RollingCache, pack_
from october.experiments.mistral._common import hugging_face_model, without_window

ROLLING, FULL, NO_WINDOW = "rolling buffer", "full cache", "full cache, no window"
DYNAMIC, STATIC, OURS_INSIDE = "transformers, dynamic", "transformers, static", "transformers, RollingCache"
CACHES = (ROLLING, FULL, NO_WINDOW, DYNAMIC, STATIC, OURS_INSIDE)


@dataclass(frozen=True)
class Reader:
    """A model with its cache: takes tokens up, gives the logits after the last one, and knows its cache's bytes."""

    feed: Callable[[Sequence[int]], Tensor]
    num_bytes: Callable[[], int]


@torch.inference_mode()
def decode_side_by_side(
    config: DecoderConfig, text: Sequence[int], positions: Sequence[int], num_steps: int, seed: int
) -> list[dict[str, dict[str, float]]]:
    """Return for each position, by cache: its bytes, the median seconds of a step, and its logits' largest difference.

    The difference is from the full cache's logits, over the largest of those.

    Args:
        config: Of a random model, the same for all.
        text: Its tokens; longer than the last position by the steps.
        positions: Tokens before the steps that are timed, ascending.
        num_steps: Decode steps at each position, the caches in turn.
        seed: Of the model.
    """
    readers, found, done = readers_of(config, len(text), seed), [], 0
    for position in positions:
        for reader in readers.values():
            reader.feed(text[done:position])
        done = position + num_steps
        found.append(_timed_steps(readers, text[position:done]))
    return found


def readers_of(config: DecoderConfig, capacity: int, seed: int) -> dict[str, Reader]:
    """Return every kind of cache around one random model."""
    from transformers import DynamicCache, StaticCache

    model = hugging_face_model(config, seed)
    decoder = pack_(decoder_from(model))
    seeing_all = copy.copy(decoder)  # the same weights
    seeing_all.config = without_window(config)
    return {
        ROLLING: of_decoder(decoder, RollingBufferCache(config, 1, capacity)),
        FULL: of_decoder(decoder, DenseCache(config, 1, capacity)),
        NO_WINDOW: of_decoder(seeing_all, DenseCache(seeing_all.config, 1, capacity)),
        DYNAMIC: of_transformers(model, DynamicCache(config=model.config)),
        STATIC: of_transformers(model, StaticCache(config=model.config, max_cache_len=capacity)),
        OURS_INSIDE: of_transformers(model, RollingCache(model.config, max_length=capacity)),
    }


def of_decoder(decoder: Transformer, cache: RowCache) -> Reader:
    """Return the house decoder with a cache for one text."""

    def feed(tokens: Sequence[int]) -> Tensor:
        return decoder.logits(prefill(decoder, [tokens], cache, chunk_size=min(PREFILL_CHUNK, len(tokens))))[0]

    return Reader(feed, cache.memory_bytes)


def of_transformers(model: Any, cache: Any) -> Reader:
    """Return a model of transformers with one of its caches, fed in chunks as ours is."""

    def feed(tokens: Sequence[int]) -> Tensor:
        for first in range(0, len(tokens), PREFILL_CHUNK):
            chunk = torch.tensor([tokens[first : first + PREFILL_CHUNK]])
            logits = model(chunk, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        return logits[0, -1]

    def num_bytes() -> int:  # of what is held, should a cache keep but a part of it
        held = [tensor.untyped_storage() for layer in cache.layers for tensor in (layer.keys, layer.values)]
        return sum(storage.nbytes() for storage in held)

    return Reader(feed, num_bytes)


def _timed_steps(readers: dict[str, Reader], tokens: Sequence[int]) -> dict[str, dict[str, float]]:
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    apart = dict.fromkeys(readers, 0.0)
    for token in tokens:
        logits = {}
        for name, reader in readers.items():
            started = time.perf_counter()
            logits[name] = reader.feed([token])
            seconds[name].append(time.perf_counter() - started)
        expected = logits[FULL]
        for name, found in logits.items():
            apart[name] = max(apart[name], float((found - expected).abs().max() / expected.abs().max()))
    return {
        name: {"bytes": reader.num_bytes(), "seconds": median(seconds[name]), "apart": apart[name]}
        for name, reader in readers.items()
    }
