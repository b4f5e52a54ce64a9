"""Windows of long documents of real text, as bytes."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from october.data import wikipedia_documents
from october.errors import OctoberError

VOCABULARY = 256


def training_windows(seed: int, num_windows: int, length: int) -> Iterator[Tensor]:
    """Yield batches of windows [num_windows, length] from anywhere in the training text, for ever.

    Raises:
        OctoberError: The text is shorter than a window.
    """
    text = as_tokens("".join(wikipedia_documents()[0]).encode())
    if length > len(text):
        raise OctoberError(f"context={length - 1}: the training text has {len(text)} bytes")
    generator = torch.Generator().manual_seed(seed)
    while True:
        starts = torch.randint(len(text) - length + 1, (num_windows,), generator=generator)
        yield torch.stack([text[start : start + length] for start in starts.tolist()])


def held_out_windows(num_documents: int, length: int) -> tuple[Tensor, list[int]]:
    """Return all whole windows [windows, length] of the first held-out documents, and each one's document.

    Windows overlap by one byte: the last of one is only predicted, and is the first of the next. Documents shorter
    than a window have none.

    Raises:
        OctoberError: There are fewer documents, or none is as long as a window.
    """
    documents = wikipedia_documents()[1]
    if num_documents > len(documents):
        raise OctoberError(f"num_documents={num_documents}: there are {len(documents)} held-out documents")
    windows: list[Tensor] = []
    owners: list[int] = []
    for index, document in enumerate(documents[:num_documents]):
        own = _windows(document.encode(), length)
        windows += own
        owners += [index] * len(own)
    if len(set(owners)) < 2:
        raise OctoberError(f"context={length - 1}: fewer than two held-out documents are longer; take a shorter one")
    return torch.stack(windows), owners


def as_tokens(text: bytes) -> Tensor:
    """Return bytes as token ids."""
    return torch.frombuffer(bytearray(text), dtype=torch.uint8).long()


def _windows(document: bytes, length: int) -> Sequence[Tensor]:
    tokens = as_tokens(document)
    return [tokens[first : first + length] for first in range(0, len(tokens) - length + 1, length - 1)]
