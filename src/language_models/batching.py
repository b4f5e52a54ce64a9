"""Batches of similar length under a bound on tokens, and the bar that counts their texts."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tqdm.auto import tqdm

_SECONDS_UNTIL_PROGRESS = 5.0  # shorter calls show no bar
CACHED_PER_FED = 8  # a token that only lies in the cache is counted as an eighth of one that passes through the network


def length_sorted_batches(
    lengths: Sequence[int],
    max_batch_tokens: int,
    cached_tokens: Callable[[int], int] = lambda fed: 0,
    *,
    tight: bool = False,
) -> Iterator[list[int]]:
    """Yield the indices of the rows of each batch, longest rows first.

    Args:
        lengths: Tokens that each row feeds to the network.
        max_batch_tokens: Bound on a batch's fed tokens, padding included; eight times as many may lie in its cache.
            A single row may be longer.
        cached_tokens: From the longest row's fed tokens to the tokens in the cache for each row.
        tight: Where a row is shorter than the longest by over an eighth, begin a new batch if this one is an eighth
            full: less padding, for a single pass, which gains nothing from ever more rows.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        fed = lengths[batch[0]] if batch else lengths[index]
        rows = len(batch) + 1
        full = rows * fed > max_batch_tokens or rows * cached_tokens(fed) > CACHED_PER_FED * max_batch_tokens
        padded = tight and 8 * len(batch) * fed >= max_batch_tokens and 8 * lengths[index] < 7 * fed
        if batch and (full or padded):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def progress_bar(total: int, what: str) -> Any:
    """Return a bar for a number of texts."""
    return tqdm(total=total, desc=what, unit="text", delay=_SECONDS_UNTIL_PROGRESS, leave=False)
