"""The extractive compressor (section 3.1): a dual encoder chooses the sentences that stand for the documents.

    summary = the N sentences s_j with the highest <enc(x), enc(s_j)>

Selecting none is left to future work there. Here the empty text may stand among the candidates, with an embedding of
its own that training moves like any other: a sentence is taken only if it beats it by a margin. Which margin serves a
reader best is seen on judged queries, of which it is known how much the best sentence s helps against none:

    margin = argmax_m  sum over x with <enc(x), enc(s)> - <enc(x), enc("")> > m  of  Score(s) - Score("")
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from ...errors import OctoberError
from ...language_models import EncoderHandle
from .candidates import EMPTY, Candidate, sentence_candidates
from .compressor import Compressor
from .dual_encoder import DualEncoder
from .training_examples import ScoredExample

if TYPE_CHECKING:
    from ..passages import Passage

Order = Literal["document", "score"]

RELEASED_EXTRACTIVE = {
    "natural_questions": "fangyuan/nq_extractive_compressor",
    "triviaqa": "fangyuan/tqa_extractive_compressor",
    "hotpotqa": "fangyuan/hotpotqa_extractive_compressor",
}


class ExtractiveCompressor(Compressor):
    """Chooses whole sentences of the documents.

    Args:
        encoder: Scores sentences.
        num_sentences: At most so many are chosen; in the paper 1, and 2 for HotpotQA.
        order: In which they are joined: as they stand in the documents (best document first), or best first.
        with_titles: Page titles stand in front of sentences, where they are scored and in the summary.
        allow_empty: Let the empty text compete with the sentences: none below it is chosen.
        margin: By which a sentence must beat the empty text; see `calibrated_margin`.

    Raises:
        OctoberError: `num_sentences` is below 1.
    """

    def __init__(
        self,
        encoder: DualEncoder,
        *,
        num_sentences: int = 1,
        order: Order = "document",
        with_titles: bool = True,
        allow_empty: bool = False,
        margin: float = 0.0,
    ) -> None:
        if num_sentences < 1:
            raise OctoberError(f"num_sentences={num_sentences}: must be at least 1")
        self.encoder = encoder
        self.num_sentences = num_sentences
        self.order = order
        self.with_titles = with_titles
        self.allow_empty = allow_empty
        self.margin = margin

    @classmethod
    def load(
        cls,
        path: str,
        *,
        pooling: Literal["mean", "cls"] | None = None,
        num_sentences: int = 1,
        order: Order = "document",
        with_titles: bool = True,
        allow_empty: bool = False,
        margin: float = 0.0,
    ) -> "ExtractiveCompressor":
        """Return a trained compressor.

        Args:
            path: A folder, a name on the hub, or a key of `RELEASED_EXTRACTIVE`.
            pooling: For a plain transformer: `mean`, as the released code has it and so the default of released
                checkpoints, or `cls`, as the paper writes; unset for a folder of sentence-transformers.
            num_sentences: As in the class, like the others.
            order: Of the chosen sentences.
            with_titles: Titles in front of sentences.
            allow_empty: Whether it may choose none.
            margin: By which a sentence must beat the empty text.

        Raises:
            OctoberError: The encoder cannot be found, reached or read.
        """
        released = RELEASED_EXTRACTIVE.get(path)
        if released is not None and pooling is None:
            pooling = "mean"
        handle = EncoderHandle(name=path, path=released or path, pooling=pooling)
        handle.check()
        return cls(
            DualEncoder(handle),
            num_sentences=num_sentences,
            order=order,
            with_titles=with_titles,
            allow_empty=allow_empty,
            margin=margin,
        )

    def select(self, queries: Sequence[str], documents: Sequence[Sequence["Passage"]]) -> list[list[Candidate]]:
        """Return the sentences that make each query's summary, in the summary's order."""
        found = [sentence_candidates(retrieved, with_titles=self.with_titles) for retrieved in documents]
        texts = [[candidate.text for candidate in candidates] for candidates in found]
        rivals = [EMPTY] if self.allow_empty else []
        scores = self.encoder.similarities(queries, [rivals + row for row in texts])
        return [self._chosen(*pair) for pair in zip(found, scores, strict=True)]

    def _summaries(self, queries: Sequence[str], documents: Sequence[Sequence["Passage"]]) -> list[str]:
        return [" ".join(candidate.text for candidate in chosen) for chosen in self.select(queries, documents)]

    def _chosen(self, candidates: list[Candidate], scores: np.ndarray) -> list[Candidate]:
        at_least = -np.inf
        if self.allow_empty:
            at_least, scores = scores[0] + self.margin, scores[1:]
        best = np.argsort(-scores, kind="stable")[: self.num_sentences]
        kept = [int(index) for index in best if scores[index] > at_least]
        return [candidates[index] for index in (sorted(kept) if self.order == "document" else kept)]


def calibrated_margin(encoder: DualEncoder, judged: Sequence[ScoredExample]) -> float:
    """Return the margin with which an encoder's first choice, or none, helps the language model most.

    Where several do equally well, 0 if it is one of them, else the lowest; -inf takes a sentence always, inf never.

    Args:
        encoder: Of the compressor.
        judged: Queries that it has not learned from, the empty text among the candidates of each.

    Raises:
        OctoberError: There are no queries, or one lacks the empty text or has nothing else.
    """
    for number, one in enumerate(judged):
        if EMPTY not in one.candidates or len(one.candidates) < 2:
            raise OctoberError(f"judged query {number}: needs the empty text among its candidates, and another")
    if not judged:
        raise OctoberError("judged queries are empty: there is nothing to choose a margin by")
    similarities = encoder.similarities([one.query for one in judged], [one.candidates for one in judged])
    pairs = [_lead_and_gain(*pair) for pair in zip(judged, similarities, strict=True)]
    leads, gains = (np.array(column) for column in zip(*pairs, strict=True))
    borders = np.unique(leads)
    margins = [0.0, -np.inf, *((borders[:-1] + borders[1:]) / 2), np.inf]
    return float(max(margins, key=lambda margin: gains[leads > margin].sum()))


def _lead_and_gain(judged: ScoredExample, similarities: np.ndarray) -> tuple[float, float]:
    """Return by how much the first choice among the sentences beats the empty text, and how much more it helps."""
    empty = judged.candidates.index(EMPTY)
    best = int(np.where(np.arange(len(similarities)) == empty, -np.inf, similarities).argmax())
    lead = float(similarities[best]) - float(similarities[empty])
    return lead, judged.scores[best] - judged.scores[empty]
