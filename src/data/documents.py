"""Texts and questions about them, in the one shape that every corpus and every question set has here."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Document:
    """A text that is to be cut into passages.

    Attributes:
        id: Names it within its corpus.
        title: As a reader would know it; several documents may share one.
        text: Plain text, without the title.
        source: Where it comes from: a package, a data set on the hub.
    """

    id: str
    title: str
    text: str
    source: str


@dataclass(frozen=True)
class Question:
    """A question with what answers it.

    Attributes:
        id: Names it within its set.
        text: The question.
        answers: Ways to write the answer, the canonical one first; never empty.
        kind: What sort of question it is: 'capital', 'bridge', 'comparison', 'yes_no' …; the set's name where the
            source tells no kinds apart.
        split: 'train', 'dev' or 'test'.
        gold_documents: Ids of the documents that hold the answer, where the source knows them.
        gold_sentences: Sentences, word for word, of those documents that give the answer.
    """

    id: str
    text: str
    answers: tuple[str, ...]
    kind: str
    split: str
    gold_documents: tuple[str, ...] = ()
    gold_sentences: tuple[str, ...] = ()


class QuestionHandle(ABC):
    """A question set that is read on first use, so that configs cost nothing until their arguments are checked."""

    name: str

    @abstractmethod
    def check(self) -> None:
        """Raise `OctoberError` if a piece is missing; reads nothing, and so is quick."""

    @abstractmethod
    def load(self, split: str) -> list[Question]:
        """Return the questions of a split ('train', 'dev' or 'test'), in a fixed order.

        Raises:
            OctoberError: The set has no such split, cannot be read, or has a row without an answer.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Return 16 digits that change with any question."""

    def describe(self) -> dict[str, Any]:
        """Return what records say of the set."""
        return {"name": self.name}


class CorpusHandle(ABC):
    """A corpus that is read on first use, document by document."""

    name: str

    @abstractmethod
    def check(self) -> None:
        """Raise `OctoberError` if a piece is missing; reads nothing, and so is quick."""

    @abstractmethod
    def documents(self) -> Iterator[Document]:
        """Return the documents one by one, in a fixed order.

        Raises:
            OctoberError: The corpus cannot be read, or a row lacks its text.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Return 16 digits that change with any document."""

    def describe(self) -> dict[str, Any]:
        """Return what records say of the corpus."""
        return {"name": self.name}
