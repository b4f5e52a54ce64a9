"""A rank's part of a language-model batch: tokens, their true positions, labels shifted beforehand, and documents."""

import zlib
from collections.abc import Mapping

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import pad

from ...errors import OctoberError
from . import agreement
from .layouts import Layout, shard, shard_length
from .ring import Ring

_FIELDS = ("input_ids", "attention_mask", "position_ids", "segment_ids", "labels", "shift_labels")
_NO_LABEL = -100


def shard_batch(batch: Mapping[str, Tensor], ring: Ring, layout: Layout = "zigzag") -> dict[str, Tensor]:
    """Return a rank's part of a batch that all ranks of the ring hold as a whole.

    All ranks call it together; that they hold the same batch is checked.

    Args:
        batch: `input_ids` [batch, tokens], and of the same shape, if there: `labels` (as for a Hugging Face model), or
            `shift_labels` (already those of the next tokens); `attention_mask` (0 for padding); `position_ids`, which
            start anew with each packed document; `segment_ids`, which tell documents apart, negative for padding.
        ring: The ring.
        layout: How the tokens are dealt out.

    Returns:
        `input_ids` and `position_ids` of the rank's tokens; `shift_labels`, the label of each token's *next* one, if
        the batch has labels; `segment_ids` if it has documents or padding.

    Raises:
        OctoberError: A field is unknown or has another shape, a padded token has a label, a rank would get no token, or
            the ranks' batches differ.
    """
    _check_fields(batch)
    _check_same(batch, ring)
    input_ids = batch["input_ids"]
    _check_length(input_ids.shape[1], ring.world_size, layout)
    positions = torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)
    whole = {"input_ids": input_ids, "position_ids": batch.get("position_ids", positions)}
    segment_ids = _segment_ids(batch)
    if segment_ids is not None:
        whole["segment_ids"] = segment_ids
    if "shift_labels" in batch or "labels" in batch:
        whole["shift_labels"] = shift_labels(batch)
        if segment_ids is not None and bool((whole["shift_labels"][segment_ids < 0] != _NO_LABEL).any()):
            raise OctoberError("labels: a padded token is to predict one; set labels to -100 there (pad on the right)")
    return {name: shard(tensor, ring.rank, ring.world_size, layout) for name, tensor in whole.items()}


def shift_labels(batch: Mapping[str, Tensor]) -> Int[Tensor, "batch tokens"]:
    """Return for each token the label of the next one, -100 for the last."""
    if "shift_labels" in batch:
        return batch["shift_labels"]
    return pad(batch["labels"], (0, 1), value=_NO_LABEL)[..., 1:]


def _segment_ids(batch: Mapping[str, Tensor]) -> Tensor | None:
    """Return documents by number, padding as -1; None where there is one document and no padding."""
    segments = batch.get("segment_ids")
    if segments is None and "position_ids" in batch:
        restarts = torch.diff(batch["position_ids"], dim=1) != 1
        segments = pad(restarts.cumsum(1), (1, 0)) if bool(restarts.any()) else None
    mask = batch.get("attention_mask")
    if mask is None or bool(mask.all()):
        return segments
    return torch.where(mask.bool(), torch.zeros_like(mask, dtype=torch.long) if segments is None else segments, -1)


def _check_fields(batch: Mapping[str, Tensor]) -> None:
    if "input_ids" not in batch:
        raise OctoberError("batch: must have input_ids")
    for name, tensor in batch.items():
        if name not in _FIELDS:
            raise OctoberError(f"batch field {name}: the ring takes {', '.join(_FIELDS)}")
        if tensor.dim() != 2 or tensor.shape != batch["input_ids"].shape:
            raise OctoberError(
                f"{name} {tuple(tensor.shape)}: must be [batch, tokens], as input_ids {tuple(batch['input_ids'].shape)}"
            )


def _check_length(length: int, world_size: int, layout: Layout) -> None:
    """Hugging Face models do not run on no tokens at all."""
    empty = [rank for rank in range(world_size) if not shard_length(length, rank, world_size, layout)]
    if empty:
        raise OctoberError(
            f"input_ids of {length} tokens: layout {layout} over {world_size} ranks leaves none for rank {empty[0]}"
        )


def _check_same(batch: Mapping[str, Tensor], ring: Ring) -> None:
    """A sampler that deals out different batches is the likeliest mistake, and loss curves hide it."""
    own = {name: [list(tensor.shape), _checksum(tensor)] for name, tensor in sorted(batch.items())}
    told = agreement.gather(ring.transport, own)
    differing = sorted({name for each in told for name in {*each, *told[0]} if each.get(name) != told[0].get(name)})
    if differing:
        raise OctoberError(f"ranks of a ring hold different {', '.join(differing)}: all must get the same batch")


def _checksum(tensor: Tensor) -> int:
    return zlib.crc32(tensor.detach().cpu().contiguous().numpy().tobytes())
