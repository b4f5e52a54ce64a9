"""Candidate sentences of retrieved documents (section 3.1): each with its page's title in front."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..sentences import split_sentences

if TYPE_CHECKING:
    from ..passages import Passage

EMPTY = ""  # the candidate that stands for "no sentence helps"


@dataclass(frozen=True)
class Candidate:
    """A sentence of a retrieved document.

    Attributes:
        text: What is scored and what stands in a summary: the sentence with its title in front (`Rome: It has ...`),
            unless it begins with the title itself.
        document: Its document's rank, 0 the best.
        place: Its number in the document.
    """

    text: str
    document: int
    place: int


def sentence_candidates(documents: Sequence["Passage"], *, with_titles: bool = True) -> list[Candidate]:
    """Return the sentences of documents in their order there; one that occurs twice is listed where it comes first.

    Args:
        documents: Best first.
        with_titles: Put titles in front of the sentences.
    """
    found: dict[str, Candidate] = {}
    for rank, document in enumerate(documents):
        for place, sentence in enumerate(split_sentences(document.text)):
            text = titled(document.title, sentence.strip()) if with_titles else sentence.strip()
            if text:
                found.setdefault(text, Candidate(text, rank, place))
    return list(found.values())


def titled(title: str, sentence: str) -> str:
    """Return a sentence with its page's title in front, where it does not begin with it."""
    if not sentence or not title or sentence.startswith(title):
        return sentence
    return f"{title}: {sentence}"
