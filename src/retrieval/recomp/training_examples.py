"""Training data of the extractive compressor (section 3.1), built without labels of people.

candidates     the 20 sentences of the documents that the current encoder likes best
positive       p = argmax_j Score(M, y, [s_j; x])
negatives      of the s_j with Score(s_j) < Score(p) - epsilon, the 5 that the encoder likes best
dropped        x for which there is no such s_j: nothing separates its sentences

Everything that the language model judged is kept, so that epsilon can be chosen afterwards.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...errors import OctoberError
from .candidate_scores import CandidateScorer, ScoringRequest
from .candidates import EMPTY, sentence_candidates
from .chunks import in_chunks
from .compressor import check_queries
from .dual_encoder import DualEncoder

if TYPE_CHECKING:
    from ..passages import Passage


@dataclass(frozen=True)
class LabelSource:
    """What labels are made from.

    Attributes:
        query: A question, or the text before the target.
        targets: Right answers, the canonical one first, or the text that follows.
        documents: What was retrieved for the query, best first.
    """

    query: str
    targets: tuple[str, ...]
    documents: tuple["Passage", ...]


@dataclass(frozen=True)
class ScoredExample:
    """A query whose candidates the language model has judged.

    Attributes:
        query: As in `LabelSource`.
        candidates: Sentences, by falling similarity; the empty text last, where it stands among them.
        scores: How much each helps the model.
        similarities: What the encoder thought of each.
    """

    query: str
    candidates: tuple[str, ...]
    scores: tuple[float, ...]
    similarities: tuple[float, ...]


class ContrastiveExample(NamedTuple):
    """A query, the sentence that helps most, and sentences that look as good and help less."""

    query: str
    positive: str
    negatives: tuple[str, ...]


class TrainingSet(NamedTuple):
    """Examples to learn from.

    Attributes:
        examples: Those with at least one negative.
        share_dropped: Of the queries, those without any (41 to 69 % in the paper).
        mean_negatives: Of an example.
    """

    examples: list[ContrastiveExample]
    share_dropped: float
    mean_negatives: float


def scored_examples(
    sources: Sequence[LabelSource],
    encoder: DualEncoder,
    scorer: CandidateScorer,
    folder: str | Path,
    *,
    encoder_fingerprint: str,
    max_candidates: int = 20,
    with_titles: bool = True,
    with_empty: bool = False,
    chunk_size: int = 16,
) -> list[ScoredExample]:
    """Let the language model judge the candidates of every query; done in chunks, a run that was killed goes on.

    Args:
        sources: Queries with targets and documents.
        encoder: Chooses the candidates.
        scorer: Judges them.
        folder: Of the finished chunks.
        encoder_fingerprint: Names the encoder there.
        max_candidates: Sentences that are judged for each query.
        with_titles: Page titles stand in front of sentences.
        with_empty: Judge the model without any sentence too; needed to train a compressor that may choose none.
        chunk_size: Queries whose prompts go to the model at once.

    Raises:
        OctoberError: As `Compressor.compress_many`; `max_candidates` is below 1; or as `in_chunks`.
    """
    if max_candidates < 1:
        raise OctoberError(f"max_candidates={max_candidates}: must be at least 1")
    check_queries([source.query for source in sources], [source.documents for source in sources])
    asked = [_all_candidates(source, with_titles, with_empty) for source in sources]

    def judge(chunk: Sequence[ScoringRequest]) -> list[dict[str, Any]]:
        found = _most_similar(chunk, encoder, max_candidates)
        requests = [replace(one, candidates=tuple(texts)) for one, (texts, _) in zip(chunk, found, strict=True)]
        return [
            {"candidates": texts, "scores": scores, "similarities": similarities}
            for (texts, similarities), scores in zip(found, scorer.scores(requests), strict=True)
        ]

    key = [encoder_fingerprint, scorer.fingerprint(), max_candidates, [asdict(request) for request in asked]]
    rows = in_chunks(folder, key, asked, judge, chunk_size=chunk_size, what="judging candidates")
    return [
        ScoredExample(source.query, tuple(row["candidates"]), tuple(row["scores"]), tuple(row["similarities"]))
        for source, row in zip(sources, rows, strict=True)
    ]


def contrastive_example(
    scored: ScoredExample, *, epsilon: float = 0.0, max_negatives: int = 5
) -> ContrastiveExample | None:
    """Return what one query teaches; None where no candidate is worse than the best by more than `epsilon`.

    Of equally helpful candidates the positive is the empty text, else the one that the encoder likes best.

    Args:
        scored: The judged query.
        epsilon: How much worse a negative is at least: nats for likelihoods (the paper names no number), 0 for
            exact match, where a wrong answer is worse than a right one.
        max_negatives: Of those, so many that the encoder likes best.
    """
    rows = list(zip(scored.scores, scored.similarities, scored.candidates, strict=True))
    best = max(rows, key=lambda row: (row[0], row[2] == EMPTY, row[1]), default=None)
    if best is None:
        return None
    worse = sorted((row for row in rows if row[0] < best[0] - epsilon), key=lambda row: -row[1])
    negatives = tuple(text for _, _, text in worse[:max_negatives])
    return ContrastiveExample(scored.query, best[2], negatives) if negatives else None


def training_set(scored: Sequence[ScoredExample], *, epsilon: float = 0.0, max_negatives: int = 5) -> TrainingSet:
    """Return the examples of all judged queries; see `contrastive_example`.

    Raises:
        OctoberError: `epsilon` is negative, `max_negatives` below 1, or no query teaches anything.
    """
    if epsilon < 0 or max_negatives < 1:
        raise OctoberError(f"epsilon={epsilon}, max_negatives={max_negatives}: must be at least 0 and 1")
    found = [contrastive_example(row, epsilon=epsilon, max_negatives=max_negatives) for row in scored]
    examples = [example for example in found if example is not None]
    if not examples:
        raise OctoberError(f"none of {len(scored)} queries has a candidate that helps more than another")
    negatives = sum(len(example.negatives) for example in examples)
    return TrainingSet(examples, 1 - len(examples) / len(scored), negatives / len(examples))


def _all_candidates(source: LabelSource, with_titles: bool, with_empty: bool) -> ScoringRequest:
    texts = [candidate.text for candidate in sentence_candidates(source.documents, with_titles=with_titles)]
    return ScoringRequest(source.query, source.targets, (*texts, EMPTY) if with_empty else tuple(texts))


def _most_similar(
    requests: Sequence[ScoringRequest], encoder: DualEncoder, max_candidates: int
) -> list[tuple[list[str], list[float]]]:
    """Return each query's best candidates by similarity, the empty text last if it is one, and their similarities."""
    texts = [request.candidates for request in requests]
    similarities = encoder.similarities([request.query for request in requests], texts)
    chosen = []
    for row, values in zip(texts, similarities, strict=True):
        sentences = len(row) - (EMPTY in row)
        places = [int(place) for place in np.argsort(-values[:sentences], kind="stable")[:max_candidates]]
        places += range(sentences, len(row))
        chosen.append(([row[place] for place in places], [float(values[place]) for place in places]))
    return chosen
