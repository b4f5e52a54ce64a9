"""What every compressor does (section 2): it writes the summary that a model reads in the documents' place."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...errors import OctoberError, check_text
from ...evaluation import num_tokens
from ...language_models.base import same_length

if TYPE_CHECKING:
    from ..passages import Passage


class Compressor(ABC):
    """Writes a summary of documents for a query; an empty one where nothing in them helps."""

    def compress(self, query: str, documents: Sequence["Passage"]) -> str:
        """Return the summary of one query's documents; see `compress_many`."""
        return self.compress_many([query], [documents])[0]

    def compress_many(self, queries: Sequence[str], documents: Sequence[Sequence["Passage"]]) -> list[str]:
        """Return a summary for each query.

        Args:
            queries: Questions, or the text before what a model is to predict.
            documents: What was retrieved for each of them, best first.

        Raises:
            OctoberError: Different numbers of both, a query or document that is empty or not UTF-8 text, or no
                documents for a query.
        """
        check_queries(queries, documents)
        return self._summaries(queries, documents) if queries else []

    @abstractmethod
    def _summaries(self, queries: Sequence[str], documents: Sequence[Sequence["Passage"]]) -> list[str]:
        """Return the summaries of queries and documents that have been checked; there is at least one."""


def check_queries(queries: Sequence[str], documents: Sequence[Sequence["Passage"]]) -> None:
    """Check what a compressor is given.

    Raises:
        OctoberError: As `Compressor.compress_many`.
    """
    if isinstance(queries, str):
        raise OctoberError(f"queries={queries[:40]!r}: a list of texts is needed, this is one text")
    same_length("queries", queries, "lists of documents", documents)
    for index, (query, retrieved) in enumerate(zip(queries, documents, strict=True)):
        check_text(query, f"query {index}")
        if not query.strip():
            raise OctoberError(f"query {index} is empty: a compressor needs to know what is asked")
        if not retrieved:
            raise OctoberError(f"query {index} ({query[:40]!r}) has no documents: there is nothing to compress")
        for document in retrieved:
            check_document(document, f"query {index} ({query[:40]!r}): ")
            if not document.text.strip():
                raise OctoberError(f"query {index} ({query[:40]!r}): document {document.id!r} is empty")


def check_document(document: "Passage", where: str = "") -> None:
    """Raise `OctoberError` where a document's title or text is not UTF-8 text; `where` stands in front of its name."""
    for name in ("title", "text"):
        check_text(getattr(document, name), f"{where}document {document.id!r}: its {name}")


def document_text(document: "Passage") -> str:
    """Return a document as a model reads it: its title on a line of its own, then its text."""
    return f"{document.title}\n{document.text}" if document.title else document.text


def joined_documents(documents: Sequence["Passage"], *, ascending: bool = True, separator: str = "\n") -> str:
    """Return documents as one text.

    Args:
        documents: Best first.
        ascending: Put the best last, next to the question that follows (the paper's order for questions).
        separator: Stands between two.
    """
    ordered = reversed(documents) if ascending else documents
    return separator.join(map(document_text, ordered))


def compression_rate(tokenizer: Any, summaries: Sequence[str], documents: Sequence[Sequence["Passage"]]) -> float:
    """Return the tokens of all summaries over the tokens of all their documents, titles included (section 2).

    Raises:
        OctoberError: Different numbers of both, no documents at all, or one or a summary that is not UTF-8 text.
    """
    same_length("summaries", summaries, "lists of documents", documents)
    given = [document for retrieved in documents for document in retrieved]
    for document in given:
        check_document(document)
    texts = list(map(document_text, given))
    whole = sum(num_tokens(tokenizer, texts))
    if not whole:
        raise OctoberError("documents are empty: they have no tokens to compress")
    return sum(num_tokens(tokenizer, summaries)) / whole
