"""What the paper compares with (section 4), all behind the compressor's interface and one registry.

Named entities come from a rule here, since no tagger installs offline: runs of capitalised words and of numbers,
joined by `of`, `the` and the like; a common word that opens a sentence is none.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ...errors import OctoberError
from ...files import content_hash
from .candidate_scores import CandidateScorer, ScoringRequest
from .candidates import EMPTY, sentence_candidates
from .compressor import Compressor, document_text, joined_documents
from .dual_encoder import DualEncoder
from .extractive import ExtractiveCompressor
from .words import STOP_WORDS, bm25_scores, capitalised_spans, words_of

if TYPE_CHECKING:
    from ..passages import Passage

Documents = Sequence["Passage"]


class NoDocuments(Compressor):
    """No retrieval: the empty text."""

    def _summaries(self, queries: Sequence[str], documents: Sequence[Documents]) -> list[str]:
        return [EMPTY] * len(queries)


class TopDocuments(Compressor):
    """The best documents as they are.

    Args:
        count: So many of them.
        ascending: The best one last, as in the paper's question prompts.
        separator: Stands between two.

    Raises:
        OctoberError: `count` is below 1.
    """

    def __init__(self, count: int, *, ascending: bool = True, separator: str = "\n") -> None:
        if count < 1:
            raise OctoberError(f"count={count}: must be at least 1")
        self.count = count
        self.ascending = ascending
        self.separator = separator

    def _summaries(self, queries: Sequence[str], documents: Sequence[Documents]) -> list[str]:
        options = {"ascending": self.ascending, "separator": self.separator}
        return [joined_documents(retrieved[: self.count], **options) for retrieved in documents]  # type: ignore[arg-type]


class BagOfWords(Compressor):
    """The best documents' different words where they first occur, stop words left out.

    Args:
        count: So many documents.
    """

    def __init__(self, count: int = 1) -> None:
        self.count = count

    def _summaries(self, queries: Sequence[str], documents: Sequence[Documents]) -> list[str]:
        return [self._bag(retrieved[: self.count]) for retrieved in documents]

    @staticmethod
    def _bag(documents: Documents) -> str:
        words = dict.fromkeys(re.findall(r"\w+", "\n".join(map(document_text, documents))))
        return " ".join(word for word in words if word.lower() not in STOP_WORDS)


class NamedEntities(Compressor):
    """The names and numbers in the best documents, each once; see the module for how they are found.

    Args:
        count: So many documents.
    """

    def __init__(self, count: int = 1) -> None:
        self.count = count

    def _summaries(self, queries: Sequence[str], documents: Sequence[Documents]) -> list[str]:
        texts = ["\n".join(map(document_text, retrieved[: self.count])) for retrieved in documents]
        return [" ".join(dict.fromkeys(capitalised_spans(text))) for text in texts]


class RankedSentences(Compressor):
    """The sentences that a rule likes best, in the documents' order.

    Args:
        rank: From a query and its sentences to a number for each; higher is better.
        num_sentences: So many of them.

    Raises:
        OctoberError: `num_sentences` is below 1.
    """

    def __init__(self, rank: Callable[[str, list[str]], Sequence[float]], num_sentences: int = 1) -> None:
        if num_sentences < 1:
            raise OctoberError(f"num_sentences={num_sentences}: must be at least 1")
        self.rank = rank
        self.num_sentences = num_sentences

    def _summaries(self, queries: Sequence[str], documents: Sequence[Documents]) -> list[str]:
        return [self._summary(*pair) for pair in zip(queries, documents, strict=True)]

    def _summary(self, query: str, documents: Documents) -> str:
        texts = [candidate.text for candidate in sentence_candidates(documents)]
        ranks = self.rank(query, texts)
        best = sorted(range(len(texts)), key=lambda place: -ranks[place])[: self.num_sentences]
        return " ".join(texts[place] for place in sorted(best))


class OracleSentence(Compressor):
    """The sentence with which the language model does best: the bound for those that choose one.

    Args:
        scorer: The language model's judgement.
        targets: Of every query that will come.
        with_empty: Choose none where none is better than nothing.
    """

    def __init__(
        self, scorer: CandidateScorer, targets: Mapping[str, tuple[str, ...]], *, with_empty: bool = False
    ) -> None:
        self.scorer = scorer
        self.targets = targets
        self.with_empty = with_empty

    def _summaries(self, queries: Sequence[str], documents: Sequence[Documents]) -> list[str]:
        for query in queries:
            if query not in self.targets:
                raise OctoberError(f"query {query[:40]!r} has no targets: an oracle must know what is right")
        added = (EMPTY,) if self.with_empty else ()
        texts = [
            added + tuple(candidate.text for candidate in sentence_candidates(retrieved)) for retrieved in documents
        ]
        requests = [ScoringRequest(query, self.targets[query], row) for query, row in zip(queries, texts, strict=True)]
        return [
            max(zip(scores, row, strict=True), key=lambda pair: pair[0])[1] if row else EMPTY
            for scores, row in zip(self.scorer.scores(requests), texts, strict=True)
        ]


def random_ranks(query: str, sentences: Sequence[str], seed: int = 0) -> list[float]:
    """Return a random number for each sentence, the same for one seed, query and list of sentences."""
    generator = random.Random(content_hash([seed, query, list(sentences)]))
    return [generator.random() for _ in sentences]


def baseline(
    name: str,
    *,
    num_sentences: int = 1,
    encoder: DualEncoder | None = None,
    scorer: CandidateScorer | None = None,
    targets: Mapping[str, tuple[str, ...]] | None = None,
    seed: int = 0,
) -> Compressor:
    """Return a baseline by its name.

    Args:
        name: One of `BASELINES`.
        num_sentences: Of those that choose sentences.
        encoder: For `dense_sentence`.
        scorer: For the oracles.
        targets: For the oracles: right answers or following text of each query.
        seed: For `random_sentence`.

    Raises:
        OctoberError: There is no such baseline, or what it needs was not given.
    """
    if name not in BASELINES:
        raise OctoberError(f"baseline {name!r}: must be one of {', '.join(BASELINES)}")
    if name == "dense_sentence" and encoder is None:
        raise OctoberError("baseline 'dense_sentence': needs an encoder")
    if name.startswith("oracle") and (scorer is None or targets is None):
        raise OctoberError(f"baseline {name!r}: needs a scorer and targets")
    if encoder is not None and name == "dense_sentence":
        return ExtractiveCompressor(encoder, num_sentences=num_sentences)
    if scorer is not None and targets is not None and name.startswith("oracle"):
        return OracleSentence(scorer, targets, with_empty=name == "oracle_or_empty")
    return _SIMPLE[name](num_sentences, seed)


_SIMPLE: dict[str, Callable[[int, int], Compressor]] = {
    "none": lambda count, seed: NoDocuments(),
    "top_1": lambda count, seed: TopDocuments(1),
    "top_5": lambda count, seed: TopDocuments(5),
    "bag_of_words": lambda count, seed: BagOfWords(),
    "named_entities": lambda count, seed: NamedEntities(),
    "random_sentence": lambda count, seed: RankedSentences(lambda q, texts: random_ranks(q, texts, seed), count),
    "bm25_sentence": lambda count, seed: RankedSentences(lambda q, texts: bm25_scores(words_of(q), texts), count),
}
BASELINES = (*_SIMPLE, "dense_sentence", "oracle_sentence", "oracle_or_empty")
