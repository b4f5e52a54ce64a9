"""Rows and differences over questions, each with its interval."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from october.data.documents import Question
from october.evaluation import bootstrap_cell, exact_match, interval_cell, percent_cell, token_f1
from october.evaluation.intervals import Interval, Scores
from october.reporting import Cell, Row

PERCENT = 100.0
RESAMPLES = 2_000  # of pairs or groups, all held at once
LEAST_CASES = 10  # for an interval: the bootstrap of a few equal cases is none
MULTI_HOP = ("bridge", "comparison", "yes_no")


def right(reading: Mapping[str, Sequence[Any]], questions: Sequence[Question]) -> np.ndarray:
    """Return 1 for each question that was answered exactly, 0 for the others; as many as were read."""
    pairs = zip(reading["answers"], questions, strict=False)
    return np.array([exact_match(answer, question.answers) for answer, question in pairs])


def question_row(
    name: str,
    reading: Mapping[str, Sequence[Any]],
    questions: Sequence[Question],
    whole: Sequence[int],
    published: str | None = None,
) -> Row:
    """Return a row of Table 2: tokens of evidence, exact match, F1, compression, empty ones, exact match by kind.

    Args:
        name: Of the row.
        reading: Evidence, answers and tokens of the first questions, or of all.
        questions: All of them.
        whole: Tokens of the top documents of all of them.
        published: The row of the paper that it stands beside.
    """
    count = len(reading["answers"])
    questions, em = questions[:count], right(reading, questions)
    pairs = zip(reading["answers"], questions, strict=True)
    f1 = [token_f1(answer, each.answers, decided=each.kind == "yes_no") for answer, each in pairs]
    cells = {"EM": percent_cell(em), "F1": percent_cell(f1)}
    if "tokens" in reading:
        cells = {"tokens": bootstrap_cell(reading["tokens"]), **cells}
        cells["compression"] = ratio_cell(reading["tokens"], whole[:count], PERCENT, "%")
        cells["empty"] = percent_cell([not text for text in reading["evidence"]])
    return Row(name=name, cells={**cells, **by_kind(em, questions)}, published=published)


def by_kind(em: np.ndarray, questions: Sequence[Question]) -> dict[str, Cell]:
    """Return exact match by kind of question, where there are several; all kinds of a single fact are one."""
    groups = [question.kind if question.kind in MULTI_HOP else "single-hop" for question in questions]
    names = sorted(set(groups), key=lambda name: (name in MULTI_HOP, name))
    if len(names) < 2:
        return {}
    masks = {name: np.array([group == name for group in groups]) for name in names}
    return {f"EM, {name.replace('_', ' or ')}": percent_cell(em[mask]) for name, mask in masks.items()}


def ratio_cell(ours: Scores, theirs: Scores, factor: float = 1.0, unit: str | None = None) -> Cell:
    """Return the ratio of two sums over the same questions, with its bootstrap interval; no number over a sum of 0."""
    pairs = np.stack([np.asarray(ours, float), np.asarray(theirs, float)], axis=1)
    if not pairs[:, 1].sum():
        return Cell(n=len(pairs), unit=unit)
    generator = np.random.default_rng(0)
    weights = generator.multinomial(len(pairs), np.full(len(pairs), 1 / len(pairs)), size=RESAMPLES)
    sums = weights @ pairs
    drawn = sums[sums[:, 1] > 0]
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    value = float(pairs[:, 0].sum() / pairs[:, 1].sum())
    return interval_cell(Interval(factor * value, factor * float(low), factor * float(high), len(pairs)), unit)


def groups_cell(ours: Scores, theirs: Scores) -> Cell:
    """Return the difference of the means of two groups of questions in percentage points, with its bootstrap interval.

    Nothing pairs the groups, so each is drawn from by itself; where one is empty there is no number.
    """
    ours, theirs = (PERCENT * np.asarray(each, float) for each in (ours, theirs))
    if not len(ours) or not len(theirs):
        return Cell(n=0, unit="points")
    generator = np.random.default_rng(0)
    means = [generator.choice(each, (RESAMPLES, len(each))).mean(axis=1) for each in (ours, theirs)]
    low, high = np.quantile(means[0] - means[1], [0.025, 0.975])
    value = float(ours.mean() - theirs.mean())
    return interval_cell(Interval(value, float(low), float(high), len(ours) + len(theirs)), "points")
