"""Corpora of running text, and texts to measure language models on with the titles that retrieval must not return."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict
from functools import cached_property
from typing import Any

from ..files import content_hash
from .corpora import WikiText
from .documents import CorpusHandle, Document
from .offline import find, licence
from .people import PACKAGE as LEADS_PACKAGE
from .people import SUMMARIES
from .worldqa.leads import load_leads
from .worldqa.names import fraction

HELD_OUT_SHARE = 0.1


class LanguageModelingText(ABC):
    """Held-out documents whose next words a language model is to predict, with retrieval from some corpus."""

    name: str

    @abstractmethod
    def check(self) -> None:
        """Raise `OctoberError` if a piece is missing; reads nothing, and so is quick."""

    @abstractmethod
    def load(self) -> list[Document]:
        """Return the documents in a fixed order.

        Raises:
            OctoberError: A piece is missing or cannot be read.
        """

    def forbidden_titles(self, document: Document) -> frozenset[str]:
        """Return the titles of documents that must not be retrieved for this one: by default its own."""
        return frozenset([document.title])

    def fingerprint(self) -> str:
        """Return 16 digits that change with any document."""
        return content_hash([asdict(document) for document in self.load()])

    def describe(self) -> dict[str, Any]:
        """Return what records say of the text."""
        return {"name": self.name}


class Leads(CorpusHandle):
    """The leads of Wikipedia's 10,033 vital articles, nothing added."""

    name = "leads"

    def check(self) -> None:
        """Raise `OctoberError` if the package's file is missing."""
        find(LEADS_PACKAGE, SUMMARIES)

    def documents(self) -> Iterator[Document]:
        """Return the leads in the package's order.

        Raises:
            OctoberError: The package's file is missing or damaged.
        """
        return (Document(lead.id, lead.title, lead.prose, LEADS_PACKAGE) for lead in load_leads())

    def fingerprint(self) -> str:
        """Return 16 digits that change with any document."""
        return content_hash([asdict(document) for document in self.documents()])

    def describe(self) -> dict[str, Any]:
        """Return what records say of the corpus."""
        return {"name": self.name, "licence": licence(LEADS_PACKAGE)}


class HeldOutLeads(LanguageModelingText):
    """The tenth of the leads whose title's hash is lowest; an article's own lead must not be retrieved."""

    name = "leads"

    def check(self) -> None:
        """Raise `OctoberError` if the package's file is missing."""
        Leads().check()

    def load(self) -> list[Document]:
        """Return the held-out leads in the package's order."""
        return [document for document in Leads().documents() if is_held_out(document.title)]

    def describe(self) -> dict[str, Any]:
        """Return what records say of the text."""
        return {**Leads().describe(), "held_out": HELD_OUT_SHARE}


def is_held_out(title: str) -> bool:
    """Whether an article is among those on which language models are measured, so not for training."""
    return fraction("leads", title) < HELD_OUT_SHARE


class WikiTextArticles(LanguageModelingText):
    """The articles of WikiText-103's test split; none of them must be retrieved, for any (Ram et al. 2023).

    Args:
        path: As of `WikiText`.
        config: As of `WikiText`.
        revision: As of `WikiText`.
    """

    name = "wikitext103"

    def __init__(
        self,
        path: str = "Salesforce/wikitext",
        config: str | None = "wikitext-103-raw-v1",
        revision: str | None = None,
    ) -> None:
        self.corpus = WikiText("test", path, config, revision)

    def check(self) -> None:
        """Raise `OctoberError` if the corpus can be found nowhere."""
        self.corpus.check()

    def load(self) -> list[Document]:
        """Return the articles."""
        return self._articles

    def forbidden_titles(self, document: Document) -> frozenset[str]:
        """Return the titles of all articles of the split, as Wikipedia writes them."""
        return self._titles

    def describe(self) -> dict[str, Any]:
        """Return what records say of the text."""
        return self.corpus.describe()

    @cached_property
    def _articles(self) -> list[Document]:
        return list(self.corpus.documents())

    @cached_property
    def _titles(self) -> frozenset[str]:
        return frozenset(as_written(article.title) for article in self._articles)


def as_written(title: str) -> str:
    """Return a title of WikiText without the marks of its tokeniser: 'Spider @-@ Man' is 'Spider-Man'."""
    joined = re.sub(r" @([-.,])@ ", r"\1", title)
    return re.sub(r" ([,.:;!?')])", r"\1", joined).replace("( ", "(").strip()
