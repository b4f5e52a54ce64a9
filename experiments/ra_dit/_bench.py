"""What the tables share: questions in the paper's template, passages for them, examples to show before them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from october.data.corpora import SomeDocuments
from october.data.documents import CorpusHandle, Question, QuestionHandle
from october.errors import OctoberError
from october.experiments.ra_dit._tasks import example_of, metric_of, of_many_kinds
from october.files import data_home
from october.language_models import EncoderHandle
from october.retrieval import EmbeddingCache, Passage, Retriever, open_retriever
from october.retrieval.embeddings import side
from october.retrieval.ra_dit import Demonstration, Example, Reading


@dataclass(frozen=True)
class Retrieval:
    """How passages are found and weighed.

    Attributes:
        num_passages: k of a question, each in a prompt of its own (10 in the paper).
        temperature: The retriever's scores are divided by it before they become weights: embeddings of length 1 need
            some 0.05, inner products of others 1.
        words: In a passage; None where the corpus comes in passages.
        num_documents: Of the corpus only so many are searched, those with the answers among them (for tests); None
            takes all.
        index: What faiss' `index_factory` takes.
        search_settings: What faiss is told of a search: an index of inverted lists looks into one of them unless it is
            told, say, `nprobe=256`.
    """

    num_passages: int = 10
    temperature: float = 1.0
    words: int | None = 100
    num_documents: int | None = None
    index: str = "Flat"
    search_settings: str = ""

    def __post_init__(self) -> None:
        if self.num_passages < 1:
            raise OctoberError(f"retrieval.num_passages={self.num_passages}: must be at least 1")
        if not self.temperature > 0:
            raise OctoberError(f"retrieval.temperature={self.temperature}: must be above 0")


@dataclass(frozen=True)
class Asked:
    """Examples with what was retrieved for each, best first, and its scores."""

    examples: list[Example]
    passages: list[tuple[Passage, ...]]
    scores: list[tuple[float, ...]]

    def readings(self) -> list[Reading]:
        """Return them as a model takes them."""
        texts = [tuple(passage.titled_text for passage in found) for found in self.passages]
        return [Reading(*row) for row in zip(self.examples, texts, self.scores, strict=True)]

    def best(self, count: int) -> "Asked":
        """Return the same with fewer passages each."""
        return Asked(self.examples, [row[:count] for row in self.passages], [row[:count] for row in self.scores])


def is_gold(passage: Passage, question: Question) -> bool:
    """Return whether a passage is of a document that tells: some sets name documents by their ids, KILT by titles."""
    return not {passage.document_id, passage.title}.isdisjoint(question.gold_documents)


def background(passages: Sequence[Passage]) -> str | None:
    """Return passages as one background, as they stand in prompts; None without any."""
    return "\n".join(passage.titled_text for passage in passages) or None


class Bench:
    """Questions and a search for their passages; everything is loaded when it is first asked for.

    Args:
        data: The questions.
        corpus: What is searched.
        encoder: Of passages, and of queries before any tuning.
        num_test: Test questions, the first ones; None takes all.
        retrieval: How passages are found.
    """

    def __init__(
        self,
        data: QuestionHandle,
        corpus: CorpusHandle,
        encoder: EncoderHandle,
        num_test: int | None,
        retrieval: Retrieval,
    ) -> None:
        self.data = data
        self.encoder = encoder
        self.num_test = num_test
        self.retrieval = retrieval
        self.metric = metric_of(data)
        self._corpus = corpus
        self._retrievers: dict[EncoderHandle, Retriever] = {}
        self._asked: dict[EncoderHandle, Asked] = {}

    @cached_property
    def questions(self) -> list[Question]:
        """The test questions.

        Raises:
            OctoberError: There are none.
        """
        chosen = self.data.load("test")[: self.num_test]
        if not chosen:
            raise OctoberError(f"{self.data.name}: no questions of split test are left to ask")
        return chosen

    @cached_property
    def examples(self) -> list[Example]:
        """The test questions in their template."""
        return [example_of(question, self.data.name) for question in self.questions]

    @cached_property
    def forbidden(self) -> frozenset[str]:
        """The gold documents of all test questions, asked or not: of their texts nothing may be learned."""
        return frozenset(document for question in self.data.load("test") for document in question.gold_documents)

    @cached_property
    def corpus(self) -> CorpusHandle:
        """What is searched: the corpus, or the part of it that was chosen."""
        if self.retrieval.num_documents is None:
            return self._corpus
        wanted = {document for question in self.questions for document in question.gold_documents}
        return SomeDocuments(self._corpus, self.retrieval.num_documents, wanted)

    def retriever(self, encoder: EncoderHandle | None = None) -> Retriever:
        """Return what searches the corpus: by the bench's own encoder, or by one whose queries were tuned."""
        encoder = encoder or self.encoder
        if encoder not in self._retrievers:
            chosen = self.retrieval
            self._retrievers[encoder] = open_retriever(
                self.corpus, encoder, factory=chosen.index, settings=chosen.search_settings, words=chosen.words
            )
        return self._retrievers[encoder]

    def search_identity(self) -> list[Any]:
        """Return all that decides what the untuned retriever finds for a query."""
        sides = [side(self.encoder, query=query).fingerprint() for query in (False, True)]
        chosen = self.retrieval
        return [self.corpus.fingerprint(), *sides, chosen.words, chosen.index, chosen.search_settings]

    def asked(self, encoder: EncoderHandle | None = None) -> Asked:
        """Return the test questions with the k passages that a retriever finds."""
        encoder = encoder or self.encoder
        if encoder not in self._asked:
            self._asked[encoder] = self.search(self.examples, encoder)
        return self._asked[encoder]

    def search(self, examples: Sequence[Example], encoder: EncoderHandle | None = None) -> Asked:
        """Return examples with the k passages that a retriever finds."""
        hits = self.retriever(encoder).search([each.query for each in examples], self.retrieval.num_passages)
        passages = [tuple(hit.passage for hit in row) for row in hits]
        scores = [tuple(hit.score for hit in row) for row in hits]
        return Asked(list(examples), passages, scores)

    def embeddings(self, encoder: EncoderHandle) -> EmbeddingCache:
        """Return where the passages' vectors are kept."""
        return EmbeddingCache.of(encoder, data_home() / "embeddings")

    def without_passages(self) -> Asked:
        """Return the test questions alone."""
        nothing: list[tuple[()]] = [() for _ in self.examples]
        return Asked(self.examples, list(nothing), list(nothing))

    def demonstrations(
        self, count: int, *, with_passages: bool, encoder: EncoderHandle | None = None
    ) -> list[Demonstration]:
        """Return development questions of many kinds with their answers, the best passage in front or none."""
        if not count:
            return []
        shown = of_many_kinds(self.data.load("dev"), count)
        examples = [example_of(question, self.data.name) for question in shown]
        if not with_passages:
            return [Demonstration(example) for example in examples]
        found = self.search(examples, encoder).best(1).readings()
        return [Demonstration(reading.example, *reading.passages) for reading in found]

    def fingerprints(self) -> dict[str, str]:
        """Return what identifies questions, corpus and encoder."""
        return {
            self.data.name: self.data.fingerprint(),
            f"corpus {self.corpus.name}": self.corpus.fingerprint(),
            self.encoder.name: self.encoder.fingerprint(),
        }
