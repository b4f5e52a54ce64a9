"""Prompts as token ids, the position of each entity's last token, and length-sorted batches of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int

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
    prefix_ids: Int[np.ndarray, "n prefix"] | None = None,
) -> PromptTokens:
    """Turn prompts into token ids as the tokenizer does, BOS included, and find each entity's last token.

    Args:
        tokenizer: a fast tokenizer (one that knows which characters a token came from).
        texts: the prompts.
        entity_spans: first and one-past-last character of the entity in each prompt; without it the whole
            prompt is the entity.
        prefix_ids: token ids put between BOS and each prompt.

    Raises:
        OctoberError: a slow tokenizer, a prompt without text, a span without a token, counts that differ.
    """
    _check(tokenizer, texts, entity_spans, prefix_ids)
    ids: list[np.ndarray] = []
    positions = np.empty(len(texts), dtype=np.int64)
    for first in range(0, len(texts), _CHUNK):
        chunk = list(texts[first : first + _CHUNK])
        encoded = tokenizer(chunk, return_offsets_mapping=True, return_attention_mask=False, padding=False)
        for row, (tokens, offsets) in enumerate(
            zip(encoded["input_ids"], encoded["offset_mapping"], strict=True), start=first
        ):
            span = entity_spans[row] if entity_spans is not None else (0, len(texts[row]))
            touched = _touches(np.asarray(offsets, dtype=np.int64).reshape(-1, 2), span)
            if not touched.any():
                raise OctoberError(f"prompt {row} ({texts[row]!r}) has no token of its entity, characters {span}")
            prefix = prefix_ids[row] if prefix_ids is not None else []
            ids.append(_insert(np.asarray(tokens, dtype=np.int32), prefix, offsets))
            positions[row] = np.flatnonzero(touched)[-1] + len(prefix)
    starts = np.concatenate([[0], np.cumsum([len(tokens) for tokens in ids])]).astype(np.int64)
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    return PromptTokens(np.concatenate(ids), starts, positions, pad_id)


def _check(tokenizer: Any, texts: Sequence[str], spans: Sequence[Span] | None, prefix: np.ndarray | None) -> None:
    if not getattr(tokenizer, "is_fast", False):
        raise OctoberError(f"{type(tokenizer).__name__} is a slow tokenizer; finding the entity needs a fast one")
    if not texts:
        raise OctoberError("texts is empty: there is nothing to extract activations for")
    for name, given in (("entity_spans", spans), ("prefix_ids", prefix)):
        if given is not None and len(given) != len(texts):
            raise OctoberError(f"{name} has {len(given)} rows but there are {len(texts)} texts")


def _touches(offsets: Int[np.ndarray, "tokens 2"], span: Span) -> Bool[np.ndarray, " tokens"]:
    start, end = offsets.T
    touched: np.ndarray = (end > start) & (end > span[0]) & (start < span[1])
    return touched


def _insert(
    tokens: Int[np.ndarray, " tokens"], prefix: Sequence[int] | np.ndarray, offsets: Sequence[Span]
) -> Int[np.ndarray, " longer"]:
    """Put `prefix` before the first token that stands for text, after the special ones in front."""
    if not len(prefix):
        return tokens
    front = next(place for place, (start, end) in enumerate(offsets) if end > start)
    return np.concatenate([tokens[:front], np.asarray(prefix, dtype=np.int32), tokens[front:]])


def text_spans(before: str, entities: Sequence[str], after: str) -> tuple[list[str], list[Span]]:
    """Return `before + entity + after` for each entity, and where the entity stands in it."""
    ends = [len(before) + len(entity) for entity in entities]
    return [before + entity + after for entity in entities], [(len(before), end) for end in ends]
