"""Symbolic distillation of the abstractive compressor (section 3.2): a critic decides what the student learns.

    best = argmax over the teacher's summaries s of Score(M, y, [s; x])

The summary is kept if it helps the language model more than nothing does. What becomes of the others differs between
the paper's text (the example is left out) and its pseudo-code (the target is the empty text: selective augmentation):

    policy                   Score(best) > Score(none)   equal      below
    improve_only             best                        left out   left out
    not_worse                best                        best       left out
    empty_if_not_better      best                        empty      empty
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from ...errors import OctoberError
from .candidate_scores import CandidateScorer, ScoringRequest
from .candidates import EMPTY
from .chunks import in_chunks
from .compressor import check_queries
from .teachers import Teacher, TeacherRequest

Policy = Literal["improve_only", "not_worse", "empty_if_not_better"]


@dataclass(frozen=True)
class JudgedSummaries:
    """What a teacher wrote for a request, and how much it helps.

    Attributes:
        request: What the teacher was given.
        summaries: What it wrote.
        scores: How much each helps the language model.
        score_without: The language model without any.
    """

    request: TeacherRequest
    summaries: tuple[str, ...]
    scores: tuple[float, ...]
    score_without: float


class Distilled(NamedTuple):
    """What the student learns from.

    Attributes:
        requests: The queries that were kept.
        targets: A summary for each, which may be empty.
        share_dropped: Of all queries, those left out.
        share_empty: Of the targets, those that are empty (4 to 25 % for questions in the paper, 24 % for texts).
    """

    requests: list[TeacherRequest]
    targets: list[str]
    share_dropped: float
    share_empty: float


def judged_summaries(
    requests: Sequence[TeacherRequest],
    teacher: Teacher,
    scorer: CandidateScorer,
    folder: str | Path,
    *,
    teacher_fingerprint: str,
    chunk_size: int = 16,
) -> list[JudgedSummaries]:
    """Let a teacher write and the language model judge; done in chunks, a run that was killed goes on.

    Args:
        requests: Queries with targets and documents.
        teacher: Writes.
        scorer: Judges.
        folder: Of the finished chunks.
        teacher_fingerprint: Names the teacher, prompts and settings included, there.
        chunk_size: Requests at a time.

    Raises:
        OctoberError: As `Compressor.compress_many`, or as `in_chunks`.
    """
    check_queries([request.query for request in requests], [request.documents for request in requests])

    def judge(chunk: Sequence[TeacherRequest]) -> list[dict[str, Any]]:
        written = teacher.summaries(chunk)
        asked = [
            ScoringRequest(request.query, request.targets, (*summaries, EMPTY))
            for request, summaries in zip(chunk, written, strict=True)
        ]
        found = scorer.scores(asked)
        return [{"summaries": texts, "scores": scores} for texts, scores in zip(written, found, strict=True)]

    key = [teacher_fingerprint, scorer.fingerprint(), [asdict(request) for request in requests]]
    rows = in_chunks(folder, key, requests, judge, chunk_size=chunk_size, what="writing and judging summaries")
    return [
        JudgedSummaries(request, tuple(row["summaries"]), tuple(row["scores"][:-1]), row["scores"][-1])
        for request, row in zip(requests, rows, strict=True)
    ]


def critic(judged: JudgedSummaries, policy: Policy) -> str | None:
    """Return what the student is to write, or None where the example is left out; see the table above.

    Raises:
        OctoberError: There is no such policy.
    """
    if policy not in get_args(Policy):
        raise OctoberError(f"policy={policy!r}: must be one of {', '.join(get_args(Policy))}")
    pairs = zip(judged.scores, judged.summaries, strict=True)
    score, best = max(pairs, key=lambda pair: pair[0], default=(float("-inf"), EMPTY))
    if score > judged.score_without or (policy == "not_worse" and score == judged.score_without):
        return best
    return EMPTY if policy == "empty_if_not_better" else None


def distilled(judged: Sequence[JudgedSummaries], policy: Policy) -> Distilled:
    """Return what the student learns from under a policy.

    Raises:
        OctoberError: There is no such policy, or the critic left nothing.
    """
    decided = [(one.request, critic(one, policy)) for one in judged]
    kept = [(request, target) for request, target in decided if target is not None]
    if not kept:
        raise OctoberError(f"policy={policy}: the critic kept none of {len(judged)} examples")
    targets = [target for _, target in kept]
    empty = sum(not target for target in targets)
    return Distilled([request for request, _ in kept], targets, 1 - len(kept) / len(judged), empty / len(kept))
