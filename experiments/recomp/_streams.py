"""Documents as one stream of tokens, and windows of other documents to train on; both know which text is whose.

stream    | document 17 | document 4 | document 25 | ...    in a random order, an empty line between two
"""

import random
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from october.data import Document, LanguageModelingText
from october.errors import OctoberError
from october.evaluation import count_words
from october.files import content_hash
from october.retrieval.recomp import Window

BORDER = "\n\n"


@dataclass(frozen=True)
class Stream:
    """Documents in a row.

    Attributes:
        documents: In their order.
        text: All of it.
        token_ids: Without a start token.
        ends: Of each token, the place in the text behind it.
        owners: Of each token, the number of its document.
    """

    documents: list[Document]
    text: str
    token_ids: list[int]
    ends: list[int]
    owners: list[int]

    def between(self, first: int, end: int) -> str:
        """Return the text of tokens `first` to `end`, which is not part of them."""
        return text_between(self.text, self.ends, first, end)

    def forbidden_titles(self, data: LanguageModelingText, window: Window, query_tokens: int) -> frozenset[str]:
        """Return what must not be retrieved for a window: the titles of all documents that it and its query touch."""
        touched = dict.fromkeys(self.owners[max(0, window.predicted - query_tokens) : window.end])
        return frozenset().union(*(data.forbidden_titles(self.documents[number]) for number in touched))


class TrainingWindow(NamedTuple):
    """A query, the text that follows it, and the title of the document that both stand in."""

    query: str
    target: str
    title: str


def stream_of(
    documents: Sequence[Document], tokenizer: Any, num_tokens: int, document_tokens: int, seed: int
) -> Stream:
    """Return documents in a random order as one stream of exactly `num_tokens`.

    Args:
        documents: To choose from.
        tokenizer: A fast one.
        num_tokens: Of the stream.
        document_tokens: The first so many of each document.
        seed: Of the order.

    Raises:
        OctoberError: There are fewer tokens than that, or the text has no space.
    """
    stream = Stream([], "", [], [], [])
    for document in random.Random(seed).sample(list(documents), len(documents)):
        if len(stream.token_ids) == num_tokens:
            break
        stream = _with(stream, document, tokenizer, min(document_tokens, num_tokens - len(stream.token_ids)))
    if len(stream.token_ids) < num_tokens:
        raise OctoberError(f"num_tokens={num_tokens}: the text has only {len(stream.token_ids)}")
    if not count_words(stream.text):
        raise OctoberError("the text has no space: its perplexity by word is not defined")
    return stream


def _with(stream: Stream, document: Document, tokenizer: Any, count: int) -> Stream:
    """Return the stream with at most `count` tokens of one more document."""
    piece = BORDER + document.text if stream.text else document.text
    ids, ends = encoded(tokenizer, piece)
    ids, ends = ids[:count], ends[:count]
    return Stream(
        [*stream.documents, document],
        stream.text + piece[: ends[-1]],
        [*stream.token_ids, *ids],
        [*stream.ends, *(len(stream.text) + end for end in ends)],
        [*stream.owners, *([len(stream.documents)] * len(ids))],
    )


def training_windows(
    documents: Iterable[Document],
    tokenizer: Any,
    held_out: Collection[str],
    count: int,
    lengths: tuple[int, int],
    seed: int,
) -> list[TrainingWindow]:
    """Return windows at random places, no two of them overlapping, one of each document before any gives a second.

    Args:
        documents: To take them from.
        tokenizer: A fast one.
        held_out: Titles of documents that must give none; upper and lower case and white space make no difference.
        count: So many windows.
        lengths: Tokens of a query, and of what follows it.
        seed: Of the documents' order and of the places.

    Raises:
        OctoberError: There are not so many.
    """
    without = {plain(title) for title in held_out}
    allowed = [document for document in documents if plain(document.title) not in without]
    order = random.Random(seed).sample(allowed, len(allowed))
    waiting = deque(_windows_in(document, tokenizer, lengths, seed) for document in order)
    found: list[TrainingWindow] = []
    while waiting and len(found) < count:
        windows = waiting.popleft()
        window = next(windows, None)
        if window is not None:
            found.append(window)
            waiting.append(windows)
    if len(found) < count:
        raise OctoberError(
            f"{count} training windows are wanted: outside the held-out documents there are only {len(found)}"
        )
    return found


def _windows_in(document: Document, tokenizer: Any, lengths: tuple[int, int], seed: int) -> Iterator[TrainingWindow]:
    ids, ends = encoded(tokenizer, document.text)
    generator = random.Random(content_hash([seed, document.id]))
    length = sum(lengths)
    places = list(range(generator.randrange(len(ids) % length + 1), len(ids) - length + 1, length))
    for place in generator.sample(places, len(places)):
        middle = place + lengths[0]
        query = text_between(document.text, ends, place, middle)
        target = text_between(document.text, ends, middle, place + length)
        if query.strip() and target.strip():
            yield TrainingWindow(query, target, document.title)


def encoded(tokenizer: Any, text: str) -> tuple[list[int], list[int]]:
    """Return a text's tokens without special ones, and of each the place in the text behind it."""
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ends = np.maximum.accumulate([end for _, end in encoding["offset_mapping"]])  # bytes of one character share a place
    return list(encoding["input_ids"]), ends.tolist()


def text_between(text: str, ends: Sequence[int], first: int, end: int) -> str:
    """Return the text of tokens `first` to `end`, which is not part of them."""
    return text[ends[first - 1] if first else 0 : ends[end - 1]]


def plain(title: str) -> str:
    """Return a title as it is compared."""
    return " ".join(title.casefold().split())
