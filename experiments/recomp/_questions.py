"""What the tables on questions share: questions with what was retrieved for them, and a model that answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from october.data.corpora import SomeDocuments
from october.data.documents import CorpusHandle, Question, QuestionHandle
from october.errors import OctoberError
from october.evaluation import contains_answer, num_tokens
from october.language_models import EncoderHandle, ModelHandle, ServedHandle
from october.retrieval import Passage, Retriever, open_retriever, open_sparse_retriever
from october.retrieval.recomp import (
    AnswerLikelihood,
    AnswerMatch,
    CandidateScorer,
    Compressor,
    LabelSource,
    QuestionPrompt,
    ScoringRequest,
    TeacherRequest,
    joined_documents,
    sampled_demonstrations,
)

LanguageModelHandle = ModelHandle | ServedHandle
Judgement = Literal["likelihood", "match"]
Documents = Sequence[tuple[Passage, ...]]
Reading = dict[str, list[Any]]  # evidence, answers, tokens: one of each for every question


@dataclass(frozen=True)
class Retrieval:
    """How documents are found.

    Attributes:
        num_documents: For each question (5 in the paper).
        words: In a passage; None where the corpus comes in passages.
        num_passages: Of the corpus only so many documents are searched, those with the answers among them (for tests);
            None takes all.
        index: What faiss' `index_factory` takes.
    """

    num_documents: int = 5
    words: int | None = 100
    num_passages: int | None = None
    index: str = "Flat"

    def __post_init__(self) -> None:
        if self.num_documents < 1:
            raise OctoberError(f"retrieval.num_documents={self.num_documents}: must be at least 1")


@dataclass(frozen=True)
class Asked:
    """Questions with what was retrieved for each, best first."""

    questions: list[Question]
    documents: list[tuple[Passage, ...]]

    def __getitem__(self, places: slice) -> "Asked":
        return Asked(self.questions[places], self.documents[places])

    def take(self, places: Sequence[int]) -> "Asked":
        """Return some of the questions, by their places."""
        return Asked([self.questions[place] for place in places], [self.documents[place] for place in places])

    def holds_answer(self, place: int) -> bool:
        """Return whether a question's documents hold its answer."""
        return contains_answer(joined_documents(self.documents[place]), self.questions[place].answers)

    @property
    def queries(self) -> list[str]:
        """The questions' texts."""
        return [question.text for question in self.questions]

    def sources(self) -> list[LabelSource]:
        """Return what the extractive compressor's labels are made from."""
        pairs = zip(self.questions, self.documents, strict=True)
        return [LabelSource(question.text, question.answers, documents) for question, documents in pairs]

    def requests(self) -> list[TeacherRequest]:
        """Return what a teacher of the abstractive compressor is given."""
        return [
            TeacherRequest(question.text, question.answers, documents, question.gold_sentences)
            for question, documents in zip(self.questions, self.documents, strict=True)
        ]


class QuestionBench:
    """Questions of three splits, and a search for their documents; everything is loaded when it is first asked for.

    Args:
        data: The questions.
        corpus: What is searched.
        encoder: Searches.
        counts: How many questions of 'train', 'dev' and 'test', the first ones of each; None takes all.
        num_demonstrations: Examples in every prompt, drawn from training questions behind those counted.
        retrieval: How documents are found.
    """

    def __init__(
        self,
        data: QuestionHandle,
        corpus: CorpusHandle,
        encoder: EncoderHandle,
        counts: dict[str, int | None],
        num_demonstrations: int,
        retrieval: Retrieval,
    ) -> None:
        self.data = data
        self.counts = counts
        self.num_demonstrations = num_demonstrations
        self.retrieval = retrieval
        self._encoder = encoder
        self._corpus = corpus
        self._found: dict[str, Asked] = {}

    def questions(self, split: str) -> list[Question]:
        """Return the chosen questions of a split.

        Raises:
            OctoberError: It has none.
        """
        chosen = self.data.load(split)[: self.counts[split]]
        if not chosen:
            raise OctoberError(f"{self.data.name}: no questions of split {split} are left to ask")
        return chosen

    def asked(self, split: str) -> Asked:
        """Return the chosen questions of a split with their documents."""
        if split not in self._found:
            self._found[split] = self.search(self.questions(split))
        return self._found[split]

    def search(self, questions: Sequence[Question]) -> Asked:
        """Return questions with their documents, best first."""
        hits = self._retriever.search([question.text for question in questions], self.retrieval.num_documents)
        return Asked(list(questions), [tuple(hit.passage for hit in row) for row in hits])

    def search_words(self, questions: Sequence[Question]) -> Documents:
        """Return what BM25 finds for questions, best first."""
        retriever = open_sparse_retriever(self.corpus, words=self.retrieval.words)
        hits = retriever.search([question.text for question in questions], self.retrieval.num_documents)
        return [tuple(hit.passage for hit in row) for row in hits]

    @cached_property
    def prompt(self) -> QuestionPrompt:
        """How the model is asked: the same examples in front of every question (section 4)."""
        behind = self.data.load("train")
        if self.counts["train"] is not None and len(behind) - self.counts["train"] >= self.num_demonstrations:
            behind = behind[self.counts["train"] :]  # a label must not be made with its own answer in the prompt
        return QuestionPrompt(sampled_demonstrations(behind, self.num_demonstrations))

    @cached_property
    def corpus(self) -> CorpusHandle:
        """What is searched: the corpus, or the part of it that was chosen."""
        if self.retrieval.num_passages is None:
            return self._corpus
        chosen = (question for split in self.counts for question in self.questions(split))
        wanted = {document for question in chosen for document in question.gold_documents}
        return SomeDocuments(self._corpus, self.retrieval.num_passages, wanted)

    def fingerprints(self) -> dict[str, str]:
        """Return what identifies questions, corpus and encoder."""
        return {
            self.data.name: self.data.fingerprint(),
            f"corpus {self.corpus.name}": self.corpus.fingerprint(),
            self._encoder.name: self._encoder.fingerprint(),
        }

    @cached_property
    def _retriever(self) -> Retriever:
        return open_retriever(self.corpus, self._encoder, factory=self.retrieval.index, words=self.retrieval.words)


class Reader:
    """A frozen language model that answers questions after evidence.

    Args:
        handle: The model.
        prompt: How it is asked.
        max_answer_tokens: Of an answer.
        encoder: Its tokenizer counts tokens where the model is served and hides its own.
    """

    def __init__(
        self, handle: LanguageModelHandle, prompt: QuestionPrompt, max_answer_tokens: int, encoder: EncoderHandle
    ) -> None:
        self.handle = handle
        self.prompt = prompt
        self.max_answer_tokens = max_answer_tokens
        self._encoder = encoder

    def scorer(self, by: Judgement) -> CandidateScorer:
        """Return the model's judgement of sentences: the likelihood of the answer, or whether its answer is right."""
        model, name = self.handle.language_model(), self.handle.fingerprint()
        if by == "likelihood":
            return AnswerLikelihood(model, self.prompt, model_fingerprint=name)
        return AnswerMatch(model, self.prompt, max_new_tokens=self.max_answer_tokens, model_fingerprint=name)

    def read(self, asked: Asked, compressor: Compressor) -> Reading:
        """Return what a compressor makes of the documents, and what the model answers after it."""
        evidence = compressor.compress_many(asked.queries, asked.documents)
        return {"evidence": evidence, "answers": self.answers(asked.queries, evidence), "tokens": self.tokens(evidence)}

    def answers(self, queries: Sequence[str], evidence: Sequence[str]) -> list[str]:
        """Return the model's answers."""
        asked = [ScoringRequest(*pair) for pair in zip(queries, [("?",)] * len(queries), _alone(evidence), strict=True)]
        model = self.handle.language_model()
        return [row[0] for row in AnswerMatch(model, self.prompt, max_new_tokens=self.max_answer_tokens).answers(asked)]

    def tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has."""
        local = isinstance(self.handle, ModelHandle)
        tokenizer = self.handle.load()[1] if local else self._encoder.load().tokenizer  # type: ignore[union-attr]
        return num_tokens(tokenizer, texts)


def _alone(evidence: Sequence[str]) -> list[tuple[str]]:
    return [(text,) for text in evidence]
