"""Corpora from the hub or a local folder: Wikipedia in passages of 100 words, WikiText-103 by article."""

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from ..errors import OctoberError
from ..files import content_hash
from .documents import CorpusHandle, Document
from .hub import Rows

# ' = Title = ' heads an article of WikiText; sections have two signs and more on either side.
_HEADING = re.compile(r"^ = (?P<title>[^=].*?) = \s*$")


class WikipediaPassages(CorpusHandle):
    """The 21 million passages of 100 words that dense passage retrieval (Karpukhin et al. 2020) searched.

    Args:
        path: A name on the hub, or a local folder with the columns `id`, `text` and `title`.
        config: The configuration on the hub.
        revision: Branch, tag or commit on the hub.
    """

    name = "wikipedia_dpr"

    def __init__(
        self,
        path: str = "facebook/wiki_dpr",
        config: str | None = "psgs_w100.nq.no_index",
        revision: str | None = None,
    ) -> None:
        self.rows = Rows(self.name, path, config, revision)

    def check(self) -> None:
        """Raise `OctoberError` if the path is neither a folder with data files nor a name on the hub."""
        self.rows.check()

    def documents(self) -> Iterator[Document]:
        """Return the passages one by one, each a document of its own that is not to be cut again.

        Raises:
            OctoberError: The set cannot be reached or read, or a row has no text.
        """
        for number, row in enumerate(self.rows.stream("train", ("id", "text", "title"))):
            if not isinstance(row["text"], str) or not row["text"].strip():
                raise OctoberError(f"{self.name}: row {number}: no text")
            yield Document(str(row["id"]), row["title"] or "", row["text"], self.rows.path)

    def fingerprint(self) -> str:
        """Return 16 digits that identify the source."""
        return self.rows.fingerprint()

    def describe(self) -> dict[str, Any]:
        """Return what records say of the corpus."""
        return {"name": self.name, "path": self.rows.path, "config": self.rows.config, "revision": self.rows.revision}


class WikiText(CorpusHandle):
    """WikiText-103 (Merity et al. 2017), raw, one document per article.

    Args:
        split: 'train', 'validation' or 'test'.
        path: A name on the hub, or a local folder with the column `text`, a line of the corpus per row.
        config: The configuration on the hub.
        revision: Branch, tag or commit on the hub.
    """

    name = "wikitext103"

    def __init__(
        self,
        split: str = "train",
        path: str = "Salesforce/wikitext",
        config: str | None = "wikitext-103-raw-v1",
        revision: str | None = None,
    ) -> None:
        if split not in ("train", "validation", "test"):
            raise OctoberError(f"corpus.split={split}: allowed are train, validation, test")
        self.split = split
        self.rows = Rows(self.name, path, config, revision)

    def check(self) -> None:
        """Raise `OctoberError` if the path is neither a folder with data files nor a name on the hub."""
        self.rows.check()

    def documents(self) -> Iterator[Document]:
        """Return the articles one by one; an article's text has its section headings and not its title.

        Raises:
            OctoberError: The set cannot be reached or read.
        """
        lines = (row["text"] or "" for row in self.rows.stream(self.split, ("text",)))
        for number, (title, text) in enumerate(split_articles(lines)):
            yield Document(f"{self.split}:{number}", title, text, self.rows.path)

    def fingerprint(self) -> str:
        """Return 16 digits that identify the source and the split."""
        return f"{self.rows.fingerprint()}-{self.split}"

    def describe(self) -> dict[str, Any]:
        """Return what records say of the corpus."""
        return {"name": self.name, "path": self.rows.path, "config": self.rows.config, "split": self.split}


class SomeDocuments(CorpusHandle):
    """The documents of some ids, and of the others the first ones.

    Args:
        corpus: All documents.
        limit: So many in all, unless the ids are more.
        wanted: Ids that are taken wherever they stand.
    """

    def __init__(self, corpus: CorpusHandle, limit: int, wanted: Collection[str]) -> None:
        self.name = f"{corpus.name}, {limit} documents"
        self.corpus = corpus
        self.limit = limit
        self.wanted = frozenset(wanted)

    def check(self) -> None:
        """Raise `OctoberError` if a piece of the corpus is missing."""
        self.corpus.check()

    def documents(self) -> Iterator[Document]:
        """Return the documents in the corpus' order."""
        others = self.limit - len(self.wanted)
        for document in self.corpus.documents():
            if document.id in self.wanted:
                yield document
            elif others > 0:
                others -= 1
                yield document

    def fingerprint(self) -> str:
        """Return 16 digits that change with any document."""
        return content_hash([self.corpus.fingerprint(), self.limit, sorted(self.wanted)])


def split_articles(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Return (title, text) of each article in WikiText's lines.

    A heading counts only after an empty line: within an article a line may begin with an equation.
    """
    title, body, after_blank = "", list[str](), True
    for line in lines:
        heading = _HEADING.match(line) if after_blank else None
        if heading is not None:
            if title:
                yield title, "".join(body).strip()
            title, body = heading["title"], []
        else:
            body.append(line if line.endswith("\n") else f"{line}\n")
        after_blank = not line.strip()
    if title:
        yield title, "".join(body).strip()
