"""Prompts as token ids, the position of each entity's last token, and length-sorted batches of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from ..errors import OctoberError

Span = tuple[int, int]

_CHUNK = 2048  # texts a tokenizer call: keeps its offset lists small


@dataclass(frozen=True)
class Batch:
    """Prompts of similar length; `rows` are their places in the sorted order.

    Padding stands on the right whatever the tokenizer prefers: there it moves no position and, under a causal
    mask, is seen by no token.
    """

    rows: slice
    input_ids: Int[torch.Tensor, "batch tokens"]
    attention_mask: Int[torch.Tensor, "batch tokens"]
    positions: Int[torch.Tensor, " batch"]


@dataclass(frozen=True)
class PromptTokens:
    """Token ids of n prompts end to end, and where each entity's last token stands in its prompt."""

    ids: Int[np.ndarray, " total_tokens"]
    starts: Int[np.ndarray, " n_plus_1"]
    positions: Int[np.ndarray, " n"]
    pad_id: int

    @property
    def lengths(self) -> Int[np.ndarray, " n"]:
        """Tokens of each prompt, special ones included."""
        return np.diff(self.starts)

    def sorted_rows(self) -> Int[np.ndarray, " n"]:
        """The prompts from longest to shortest; equal lengths keep their order."""
        return np.argsort(-self.lengths, kind="stable")

    def batches(self, max_batch_tokens: int, first_row: int = 0) -> Iterator[Batch]:
        """Yield batches over the sorted order, from `first_row` on.

        A batch takes as many prompts as fit in `max_batch_tokens` at the length of its longest, so a run that
        starts again at the first row of a batch makes the same batches as one that was never stopped.

        Raises:
            OctoberError: a prompt alone is longer than `max_batch_tokens`.
        """
        order = self.sorted_rows()
        longest = int(self.lengths.max(initial=0))
        if longest > max_batch_tokens:
            raise OctoberError(f"max_batch_tokens={max_batch_tokens} is less than the longest prompt, {longest} tokens")
        while first_row < len(order):
            count = max_batch_tokens // int(self.lengths[order[first_row]])
            rows = slice(first_row, min(first_row + count, len(order)))
            yield self._padded(order[rows], rows)
            first_row = rows.stop

    def _padded(self, texts: Int[np.ndarray, " batch"], rows: slice) -> Batch:
        lengths = self.lengths[texts]
        width = int(lengths[0])
        ids = np.full((len(texts), width), self.pad_id, dtype=np.int64)
        mask = np.arange(width) < lengths[:, None]
        ids[mask] = np.concatenate([self.ids[self.starts[i] : self.starts[i + 1]] for i in texts])
        mask_tensor = torch.from_numpy(mask.astype(np.int64))
        return Batch(rows, torch.from_numpy(ids), mask_tensor, torch.from_numpy(self.positions[texts]))


def tokenize_prompts(
    tokenizer: Any,
    texts: Sequence[str],
    entity_spans: Sequence[Span] | None = None,
    random_tokens: int = 0,
    seed: int = 0,
) -> PromptTokens:
    """Turn prompts into token ids as the tokenizer does, BOS included, and find each entity's last token.

    Args:
        tokenizer: a fast tokenizer (one that knows which characters a token came from).
        texts: the prompts.
        entity_spans: first and one-past-last character of the entity in each prompt; without it the whole
            prompt is the entity.
        random_tokens: random token ids put between BOS and each prompt, drawn anew for each.
        seed: of the random ids.

    Raises:
        OctoberError: a slow tokenizer, a prompt without text, a span without a token, counts that differ.
    """
    _check(tokenizer, texts, entity_spans)
    ids: list[np.ndarray] = []
    places = np.empty((len(texts), 2), dtype=np.int64)
    for first in range(0, len(texts), _CHUNK):
        chunk = list(texts[first : first + _CHUNK])
        encoded = tokenizer(chunk, return_offsets_mapping=True, return_attention_mask=False, padding=False)
        ids += [np.asarray(tokens, dtype=np.int32) for tokens in encoded["input_ids"]]
        for row, offsets in enumerate(encoded["offset_mapping"], start=first):
            span = entity_spans[row] if entity_spans is not None else (0, len(texts[row]))
            places[row] = _first_and_last(np.asarray(offsets).reshape(-1, 2), span, row, texts[row])
    if random_tokens:
        drawn = _random_ids(tokenizer, max(tokens.max() for tokens in ids), (len(texts), random_tokens), seed)
        ids = [np.insert(tokens, front, new) for tokens, front, new in zip(ids, places[:, 0], drawn, strict=True)]
    starts = np.concatenate([[0], np.cumsum([len(tokens) for tokens in ids])]).astype(np.int64)
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    return PromptTokens(np.concatenate(ids), starts, places[:, 1] + random_tokens, pad_id)


def _check(tokenizer: Any, texts: Sequence[str], spans: Sequence[Span] | None) -> None:
    if not getattr(tokenizer, "is_fast", False):
        raise OctoberError(f"{type(tokenizer).__name__} is a slow tokenizer; finding the entity needs a fast one")
    if not texts:
        raise OctoberError("texts is empty: there is nothing to extract activations for")
    if spans is not None and len(spans) != len(texts):
        raise OctoberError(f"entity_spans has {len(spans)} rows but there are {len(texts)} texts")


def _first_and_last(offsets: Int[np.ndarray, "tokens 2"], span: Span, row: int, text: str) -> tuple[int, int]:
    """Return the first token that stands for text (special ones have no characters) and the span's last token."""
    start, end = offsets.T
    touched = np.flatnonzero((end > start) & (end > span[0]) & (start < span[1]))
    if not len(touched):
        raise OctoberError(f"prompt {row} ({text!r}) has no token of its entity, characters {span[0]} to {span[1]}")
    return int(np.flatnonzero(end > start)[0]), int(touched[-1])


def _random_ids(tokenizer: Any, largest: int, shape: tuple[int, int], seed: int) -> Int[np.ndarray, "n random"]:
    """Draw ids from 100 (below stand control tokens) to the largest in use, as the official code; none special."""
    candidates = np.setdiff1d(np.arange(min(100, largest), largest + 1), tokenizer.all_special_ids)
    drawn: np.ndarray = np.random.default_rng(seed).choice(candidates, size=shape)
    return drawn.astype(np.int32)


def text_spans(before: str, entities: Sequence[str], after: str) -> tuple[list[str], list[Span]]:
    """Return `before + entity + after` for each entity, and where the entity stands in it."""
    ends = [len(before) + len(entity) for entity in entities]
    return [before + entity + after for entity in entities], [(len(before), end) for end in ends]
