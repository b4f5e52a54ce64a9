"""What the ranks of a ring must agree on before the first hop, checked once for each new signature.

A ring whose ranks differ in a shape, a layout or a window computes nonsense, waits for ever, or ends with a broken
connection. So every rank tells every other what it was asked to do, and all of them report the same difference.
"""

import json
import zlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...errors import OctoberError
from .transport import RingError, Transport

_TAG = 1  # apart from the ring's own messages, which a rank that skips the check may already be sending


def agree(
    transport: Transport, signature: Mapping[str, Any], *, local: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Check that every rank was asked for the same, and return what each gave as `local`, by rank.

    Every rank of the group makes the call. A signature that the transport's ranks have agreed on is not exchanged
    again, unless there is something local to tell. Messages that follow bear the signature's tag: ranks that come
    with different signatures, each agreed on before, wait until the time limit and read nothing of each other.

    Args:
        transport: The ring's links; it remembers what was agreed on.
        signature: What must be equal: shapes, data types, layout, window …, as strings, numbers, None or tuples.
        local: What may differ between the ranks.

    Raises:
        OctoberError: The ranks differ: one line with each such field and who has what, the same on every rank.
        RingError: A rank did not come to the check within the transport's time limit.
    """
    text = json.dumps(signature, sort_keys=True)
    transport.tag = _TAG + 1 + zlib.crc32(text.encode()) % 2**30
    if text in transport.agreed and local is None:
        return [{} for _ in range(transport.world_size)]
    told = gather(transport, {"signature": dict(signature), "local": dict(local or {})})
    differences = _differences([each["signature"] for each in told])
    if differences:
        raise OctoberError(f"ring attention: ranks differ in {'; '.join(differences)}")
    transport.agreed.add(text)
    return [each["local"] for each in told]


def check_finite(tensors: Mapping[str, Tensor], transport: Transport) -> None:
    """Raise on every rank if a tensor on any rank holds a number that is NaN or infinite.

    Raises:
        OctoberError: One line that names each such rank and its tensors.
    """
    counts = {name: int((~torch.isfinite(tensor)).sum()) for name, tensor in tensors.items()}
    told = gather(transport, {name: count for name, count in counts.items() if count})
    found = [f"{count} in {name} on rank {rank}" for rank, each in enumerate(told) for name, count in each.items()]
    if found:
        raise OctoberError(f"ring attention: numbers that are NaN or infinite: {', '.join(found)}")


def gather(transport: Transport, value: Any) -> list[Any]:
    """Return what every rank gave, by rank; values are anything that JSON can carry (tuples come as lists).

    Each rank sends to each, so that a rank that does not come is known by name.

    Raises:
        RingError: A rank did not send within the time limit.
    """
    own = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
    others = [rank for rank in range(transport.world_size) if rank != transport.rank]
    device = torch.device("cpu" if "cpu" in transport.backends else "cuda")
    lengths = {rank: torch.zeros(1, dtype=torch.int64, device=device) for rank in others}
    _exchange(transport, torch.tensor([len(own)], device=device), lengths)
    texts = {rank: torch.empty(int(length), dtype=torch.uint8, device=device) for rank, length in lengths.items()}
    _exchange(transport, own.to(device), texts)
    texts[transport.rank] = own
    return [json.loads(bytes(texts[rank].tolist())) for rank in range(transport.world_size)]


def _exchange(transport: Transport, message: Tensor, buffers: Mapping[int, Tensor]) -> None:
    sends = [(message, rank) for rank in buffers]
    receives = [(buffer, rank) for rank, buffer in buffers.items()]
    try:
        transport.exchange(sends, receives, hop=0, what="signature", tag=_TAG).wait()
    except RingError as error:
        raise RingError(f"{error}: it has ended, or takes part in no check before the first hop") from error


def _differences(signatures: list[dict[str, Any]]) -> list[str]:
    """Return `field: rank: value, rank: value …` for every field in which the ranks differ."""
    differences = []
    for field in sorted({field for signature in signatures for field in signature}):
        values = [_shown(signature[field]) if field in signature else "missing" for signature in signatures]
        if len(set(values)) > 1:
            differences.append(f"{field}: {', '.join(f'{rank}: {value}' for rank, value in enumerate(values))}")
    return differences


def _shown(value: Any) -> str:
    """Return a value as it was given: JSON has turned its tuples into lists."""
    return f"({', '.join(map(_shown, value))})" if isinstance(value, list) else str(value)
