"""Long documents of real text, as bytes: leads of Wikipedia's vital articles, neighbours of one topic joined."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor

from october.data import verified
from october.data.people import PACKAGE, SUMMARIES
from october.errors import OctoberError
from october.files import content_hash

ARTICLES_IN_DOCUMENT = 16  # some eight thousand bytes
ONE_HELD_OUT_OF = 10
VOCABULARY = 256


@cache
def wikipedia_documents() -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """Return (training, held-out) documents: articles in the order of their titles, every tenth document held out."""
    documents: list[bytes] = []
    for articles in _articles_by_topic().values():
        cuts = [*range(0, len(articles), ARTICLES_IN_DOCUMENT), len(articles)]
        documents += [("\n\n".join(articles[first:last]) + "\n\n").encode() for first, last in pairwise(cuts)]
    held_out = documents[ONE_HELD_OUT_OF - 1 :: ONE_HELD_OUT_OF]
    training = [document for index, document in enumerate(documents) if (index + 1) % ONE_HELD_OUT_OF]
    return tuple(training), tuple(held_out)


def fingerprint() -> str:
    """Return a hash of all documents and of how they are divided."""
    return content_hash([[document.hex() for document in part] for part in wikipedia_documents()])


def training_windows(seed: int, num_windows: int, length: int) -> Iterator[Tensor]:
    """Yield batches of windows [num_windows, length] from anywhere in the training text, for ever.

    Raises:
        OctoberError: The text is shorter than a window.
    """
    text = as_tokens(b"".join(wikipedia_documents()[0]))
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
        own = _windows(document, length)
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


def _articles_by_topic() -> dict[str, list[str]]:
    articles = json.loads(verified(PACKAGE, SUMMARIES).read_bytes())
    topics: dict[str, list[str]] = defaultdict(list)
    for article in articles.values():
        topics[article["topic"]].append(f"{article['title']}\n{article['extract']}")
    return dict(sorted(topics.items()))
