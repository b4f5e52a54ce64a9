"""What one rank of a ring holds of a batch of long sequences: tokens, labels and true positions, dealt out alike.

tokens      a b c d e f g h        two packed documents, a-e and f-h
labels      b c d e - g h -        shifted before they are dealt out: a shard's neighbours are on another rank
positions   0 1 2 3 4 0 1 2
rank 0 of 2, striped:   a c e g,  b d - h,  0 2 4 1
"""

from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from ...errors import OctoberError
from .layouts import Layout, shard
from .ring import Ring

IGNORED = -100  # a label that does not count


class TrainingShard(NamedTuple):
    """One rank's part of a batch.

    Attributes:
        token_ids: The rank's tokens.
        labels: What each of them should predict; `IGNORED` where nothing.
        positions: The place of each in its document.
        segment_ids: The document of each, where several are packed in a sequence; negative is padding.
        sequence_length: Tokens of a whole sequence.
        layout: How sequences are dealt out.
    """

    token_ids: Int[Tensor, "batch shard"]
    labels: Int[Tensor, "batch shard"]
    positions: Int[Tensor, "rows shard"]
    segment_ids: Int[Tensor, "batch shard"] | None
    sequence_length: int
    layout: Layout


def training_shard(
    token_ids: Int[Tensor, "batch tokens"],
    ring: Ring,
    *,
    layout: Layout = "zigzag",
    labels: Int[Tensor, "batch tokens"] | None = None,
    segment_ids: Int[Tensor, "batch tokens"] | None = None,
) -> TrainingShard:
    """Return this rank's part of a batch that every rank is given whole.

    Args:
        token_ids: Whole sequences; their length need not divide evenly over the ranks.
        ring: The ring.
        layout: How sequences are dealt out.
        labels: What each token should predict, `IGNORED` where nothing; `next_tokens` if None.
        segment_ids: The document of each token, where several are packed in a sequence; negative is padding.

    Raises:
        OctoberError: Shapes differ, or the layout is unknown.
    """
    labels = next_tokens(token_ids, segment_ids) if labels is None else labels
    for name, given in (("labels", labels), ("segment_ids", segment_ids)):
        _check_shape(name, given, token_ids)

    def own(tensor: Tensor) -> Tensor:
        return shard(tensor, ring.rank, ring.world_size, layout)

    return TrainingShard(
        own(token_ids),
        own(labels),
        own(document_positions(token_ids, segment_ids)),
        None if segment_ids is None else own(segment_ids),
        token_ids.shape[1],
        layout,
    )


def next_tokens(
    token_ids: Int[Tensor, "batch tokens"], segment_ids: Int[Tensor, "batch tokens"] | None = None
) -> Int[Tensor, "batch tokens"]:
    """Return the token that follows each: `IGNORED` at the end of a sequence or document, and for padding."""
    _check_shape("segment_ids", segment_ids, token_ids)
    labels = torch.full_like(token_ids, IGNORED)
    labels[:, :-1] = token_ids[:, 1:]
    if segment_ids is not None:
        goes_on = (segment_ids[:, 1:] == segment_ids[:, :-1]) & (segment_ids[:, 1:] >= 0)
        labels[:, :-1].masked_fill_(~goes_on, IGNORED)
    return labels


def document_positions(
    token_ids: Int[Tensor, "batch tokens"], segment_ids: Int[Tensor, "batch tokens"] | None = None
) -> Int[Tensor, "rows tokens"]:
    """Return the place of each token in its document; one row serves all sequences where none are packed."""
    places = torch.arange(token_ids.shape[1], device=token_ids.device)[None]
    if segment_ids is None:
        return places
    starts = torch.ones_like(segment_ids, dtype=torch.bool)
    starts[:, 1:] = segment_ids[:, 1:] != segment_ids[:, :-1]
    return places - torch.where(starts, places, 0).cummax(dim=1).values


def _check_shape(name: str, given: Tensor | None, token_ids: Tensor) -> None:
    if given is not None and given.shape != token_ids.shape:
        raise OctoberError(f"{name}: shape {tuple(given.shape)} must be that of token_ids, {tuple(token_ids.shape)}")
