"""A text's windows with what is retrieved for each, as a frozen language model reads them.

A model reads held-out documents as it would a book: short ones share a window, as articles do in the papers' protocol.
What a window predicts, and its query, may touch several documents: the titles of all of them are forbidden.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

from october.data import CorpusHandle, LanguageModelingText
from october.errors import OctoberError
from october.evaluation import count_words
from october.experiments.recomp._streams import Stream, stream_of, training_windows
from october.language_models import ModelHandle, TransformersLM
from october.retrieval import Passage, Retriever, open_sparse_retriever
from october.retrieval.recomp import (
    Compressor,
    ContinuationLikelihood,
    LabelSource,
    Window,
    strided_losses,
    strided_windows,
    window_documents,
    window_evidence,
    window_queries,
)


@dataclass(frozen=True)
class Reading:
    """How a text is read.

    Attributes:
        num_tokens: Of the stream.
        document_tokens: Of a document in it, at most.
        window: Tokens of a window.
        stride: Tokens that a window predicts.
        query_tokens: Tokens before those, which are the query.
        num_documents: Passages that are retrieved for a window.
        passage_words: In a passage of the corpus; None keeps its documents whole.
        seed: Of the documents' order.

    Raises:
        OctoberError: The stream is no longer than one window, or the stride is not below the window.
    """

    num_tokens: int
    document_tokens: int
    window: int
    stride: int
    query_tokens: int = 32
    num_documents: int = 5
    passage_words: int | None = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_tokens <= self.window:
            raise OctoberError(f"num_tokens={self.num_tokens}: must be above window={self.window}")
        if not 1 <= self.stride < self.window:
            raise OctoberError(f"stride={self.stride}: must be from 1 to below window={self.window}")


class TextTask:
    """A text, its windows, and what is retrieved for them; each is made when it is first asked for.

    Args:
        model: Reads the windows.
        data: The text.
        corpus: Is retrieved from.
        reading: How the text is read.
    """

    def __init__(self, model: ModelHandle, data: LanguageModelingText, corpus: CorpusHandle, reading: Reading) -> None:
        self.model = model
        self.data = data
        self.corpus = corpus
        self.reading = reading

    @cached_property
    def lm(self) -> TransformersLM:
        """The model that reads."""
        return self.model.language_model()

    @cached_property
    def scorer(self) -> ContinuationLikelihood:
        """The model's judgement of a sentence: how likely the predicted text is after sentence and query."""
        return ContinuationLikelihood(self.lm, model_fingerprint=self.model.fingerprint())

    @cached_property
    def stream(self) -> Stream:
        """The text."""
        reading = self.reading
        return stream_of(self.data.load(), self.lm.tokenizer, reading.num_tokens, reading.document_tokens, reading.seed)

    @cached_property
    def windows(self) -> list[Window]:
        """Of the stream."""
        return strided_windows(len(self.stream.token_ids), self.reading.window, self.reading.stride)

    @cached_property
    def queries(self) -> list[str]:
        """Of the windows; the first one has none."""
        return window_queries(self.lm.tokenizer, self.stream.token_ids, self.windows, self.reading.query_tokens)

    @cached_property
    def retriever(self) -> Retriever:
        """BM25 over the corpus."""
        return open_sparse_retriever(self.corpus, words=self.reading.passage_words)

    @cached_property
    def documents(self) -> list[list[Passage]]:
        """What is retrieved for each window."""
        return [
            self.retrieved(query, self.stream.forbidden_titles(self.data, window, self.reading.query_tokens))
            for query, window in zip(self.queries, self.windows, strict=True)
        ]

    @cached_property
    def asked(self) -> list[int]:
        """The numbers of the windows for which something is retrieved."""
        return [number for number, documents in enumerate(self.documents) if documents]

    @cached_property
    def sources(self) -> list[LabelSource]:
        """Those windows as what a language model judges sentences for."""
        return [
            LabelSource(self.queries[number], (self.target(number),), tuple(self.documents[number]))
            for number in self.asked
        ]

    def retrieved(self, query: str, forbidden_titles: Collection[str]) -> list[Passage]:
        """Return what is retrieved for one query."""
        return window_documents(self.retriever, [query], self.reading.num_documents, forbidden_titles)[0]

    def target(self, number: int) -> str:
        """Return the text that a window predicts."""
        return self.stream.between(self.windows[number].predicted, self.windows[number].end)

    def words(self) -> list[int]:
        """Return the words that each window predicts, counted as perplexity by word does."""
        return [count_words(self.target(number)) for number in range(len(self.windows))]

    def evidence(self, compressor: Compressor) -> list[str]:
        """Return each window's summary by a compressor."""
        return window_evidence(compressor, self.queries, self.documents)

    def spread(self, texts: Sequence[str]) -> list[str]:
        """Return one text for each window from those of the windows for which something is retrieved."""
        evidence = [""] * len(self.windows)
        for number, text in zip(self.asked, texts, strict=True):
            evidence[number] = text
        return evidence

    def losses(self, evidence: Sequence[str], max_evidence_tokens: int) -> dict[str, list[float]]:
        """Return each window's loss (nats) with its evidence, and how many tokens of that it read."""
        found = strided_losses(
            self.lm,
            self.stream.token_ids,
            evidence,
            window=self.reading.window,
            stride=self.reading.stride,
            max_evidence_tokens=max_evidence_tokens,
        )
        return {"losses": found.losses.tolist(), "tokens": found.evidence_tokens.tolist()}

    def training_sources(self, corpus: CorpusHandle, count: int) -> list[LabelSource]:
        """Return windows of a corpus' documents, none of them held out, with what is retrieved for each.

        Raises:
            OctoberError: As `training_windows`.
        """
        held_out = {title for document in self.data.load() for title in self.data.forbidden_titles(document)}
        reading = self.reading
        windows = training_windows(
            corpus.documents(), self.lm.tokenizer, held_out, count, (reading.query_tokens, reading.stride), reading.seed
        )
        found = [(window, self.retrieved(window.query, {window.title})) for window in windows]
        return [LabelSource(window.query, (window.target,), tuple(passages)) for window, passages in found if passages]
