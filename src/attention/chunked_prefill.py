"""Feeds prompts to a decoder chunk by chunk, so that memory is bounded by a chunk and the cache, not by the prompt.

    row 0   [x x x x][x x x x][x x x]       chunk_size = 4
    row 1   [x x x x][x x]                  rows that have run out take part no longer, or as padding that leaves
    row 2   [x x x x][x]                    no trace where a later row goes on

Only the states after each row's last token are made: those that the next token is chosen from.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float

from ..errors import OctoberError
from ..language_models.base import check_context
from .cache import RowCache
from .transformer import Transformer

PREFILL_CHUNK = 512  # tokens of a row: products of matrices are as fast as they get, and what they make is small


def prefill(
    decoder: Transformer,
    token_rows: Sequence[Sequence[int]],
    cache: RowCache,
    *,
    chunk_size: int | None = None,
) -> Float[torch.Tensor, "rows hidden_size"]:
    """Write prompts into the first rows of a cache, after what these hold; return the states after their last tokens.

    Longest rows first cost the least: then no row is fed as padding once it has run out.

    Args:
        decoder: The decoder.
        token_rows: New tokens of each row, as many as there are.
        cache: Takes them up.
        chunk_size: Tokens of a row that pass through the decoder at once; `PREFILL_CHUNK` if None, or the whole of
            shorter rows.

    Raises:
        OctoberError: There is no row, a row has no token, `chunk_size` is not between 1 and the longest row, or a row
            becomes longer than the decoder's context.
    """
    lengths = [len(row) for row in token_rows]
    if not lengths or not all(lengths):
        raise OctoberError(f"token_rows have {lengths} tokens: give at least one row, and one token in each")
    if chunk_size is not None and not 1 <= chunk_size <= max(lengths):
        raise OctoberError(f"chunk_size={chunk_size}: must be from 1 to {max(lengths)}, the tokens of the longest row")
    # more rows than the cache has are the cache's to refuse
    ends = [held + new for held, new in zip(cache.lengths, lengths, strict=False)]
    check_context(ends, decoder.config.max_positions, "prompt", " with what its row holds")
    step = min(chunk_size or PREFILL_CHUNK, max(lengths))
    device = decoder.embedding.weight.device
    states: torch.Tensor | None = None
    for first in range(0, max(lengths), step):
        chunks = _chunks(token_rows, first, step)
        last = decoder.last_states(padded(chunks, device), cache, [len(chunk) for chunk in chunks])
        if states is None:
            states = last.new_empty(len(lengths), last.shape[1])
        ending = [row for row in range(len(chunks)) if first < lengths[row] <= first + step]
        states[ending] = last[ending]
    assert states is not None
    return states


def padded(rows: Sequence[Sequence[int]], device: torch.device) -> torch.Tensor:
    """Return rows of tokens [rows, longest], padded on the right."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=device)


def _chunks(token_rows: Sequence[Sequence[int]], first: int, step: int) -> list[Sequence[int]]:
    """Return each row's next tokens, without those last rows that have none."""
    chunks = [row[first : first + step] for row in token_rows]
    while not chunks[-1]:
        chunks.pop()
    return chunks
