"""Packed documents: tokens attend only to those of the same segment id.

Within a run, a document is a stretch of equal ids, so that its pairs form a smaller rectangle with the same kind of
band: documents need no mask either. Negative ids are padding: it attends to nothing and nothing attends to it.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Int
from torch import Tensor

from ...errors import OctoberError
from .layouts import Run
from .tiles import Mask, Tile

Stretches = list[dict[int, list[Run]]]  # by sequence of the batch: each document's runs


def stretches(segment_ids: Int[Tensor, "batch tokens"], runs: Sequence[Run]) -> Stretches:
    """Cut runs where the segment id changes.

    Args:
        segment_ids: Of the tokens that the runs' offsets refer to.
        runs: What the tokens' positions are.
    """
    table = segment_ids.cpu()
    return [_of_sequence(row, runs) for row in table]


def _of_sequence(segment_ids: Int[Tensor, " tokens"], runs: Sequence[Run]) -> dict[int, list[Run]]:
    documents: dict[int, list[Run]] = {}
    for run in runs:
        ids = segment_ids[run.offset : run.offset + run.length]
        changes = (torch.nonzero(ids[1:] != ids[:-1]).flatten() + 1).tolist()
        for first, last in pairwise([0, *changes, run.length]):
            document = int(ids[first])
            if document >= 0:
                documents.setdefault(document, []).append(run.part(first, last))
    return documents


def document_tiles(mask: Mask, queries: Stretches, keys: Stretches) -> list[Tile]:
    """Return the tiles of the pairs that attend and are of one document, sequence by sequence."""
    return [
        Tile(tile.kind, tile.row, tile.column, tile.height, tile.width, tile.low, tile.high, sequence)
        for sequence, (rows, columns) in enumerate(zip(queries, keys, strict=True))
        for document, runs in rows.items()
        for tile in mask.tiles(runs, columns.get(document, ()))
    ]


def check_segment_ids(segment_ids: Tensor, query: Tensor) -> None:
    """Raise `OctoberError` unless there is one whole number for each token."""
    if segment_ids.shape != (query.shape[0], query.shape[2]):
        raise OctoberError(
            f"segment_ids {tuple(segment_ids.shape)}: must be [batch, tokens], here {(query.shape[0], query.shape[2])}"
        )
    if segment_ids.is_floating_point() or segment_ids.dtype == torch.bool:
        raise OctoberError(f"segment_ids are {segment_ids.dtype}: must be integers")
