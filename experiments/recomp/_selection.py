"""What compressors select: where it stands and whether it is gold; and answers that evidence misleads."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from october.data.documents import Question
from october.evaluation import contains_answer, exact_match, normalize_answer, percent_cell
from october.experiments.recomp._questions import Asked
from october.reporting import Row
from october.retrieval import Passage
from october.retrieval.recomp import ExtractiveCompressor

Selected = list[list[list[Any]]]  # for each question its sentences: (rank of the document, place in it, text)


def selected_by(compressor: ExtractiveCompressor, asked: Asked) -> Selected:
    """Return where each selected sentence stands, and the sentence."""
    chosen = compressor.select(asked.queries, asked.documents)
    return [[[candidate.document, candidate.place, candidate.text] for candidate in row] for row in chosen]


def selection_row(name: str, selected: Selected, asked: Asked) -> Row:
    """Return the row of what was selected: the share by document and place, and of gold sentences."""
    ranks = np.array([rank for row in selected for rank, _, _ in row])
    places = np.array([place for row in selected for _, place, _ in row])
    retrieved = [
        golds_within(q.gold_sentences, texts_of(d)) for q, d in zip(asked.questions, asked.documents, strict=True)
    ]
    found = [
        len(golds_within(golds, [text for _, _, text in row])) / len(golds)
        for golds, row in zip(retrieved, selected, strict=True)
        if golds
    ]
    cells = {
        "from the best document": percent_cell(ranks == 0),
        "first of its document": percent_cell(places == 0),
        "gold sentences retrieved": percent_cell(
            [
                len(golds) / len(q.gold_sentences)
                for golds, q in zip(retrieved, asked.questions, strict=True)
                if q.gold_sentences
            ]
        ),
        "gold sentences selected": percent_cell(found),
    }
    return Row(name=name, cells=cells)


def golds_within(gold_sentences: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Return the gold sentences that stand in one of the texts, white space apart."""
    plain = [" ".join(text.split()) for text in texts]
    return [gold for gold in gold_sentences if any(" ".join(gold.split()) in text for text in plain)]


def texts_of(documents: Sequence[Passage]) -> list[str]:
    """Return the documents' texts."""
    return [document.text for document in documents]


def can_be_copied(question: Question) -> bool:
    """Return whether the answer is to be found in documents: neither yes or no, nor a name in the question itself."""
    decided = {normalize_answer(answer) for answer in question.answers} & {"yes", "no"}
    return not decided and not contains_answer(question.text, question.answers)


def by_answer(asked: Asked, num_with: int, num_without: int) -> dict[str, list[int]]:
    """Return the first questions whose documents hold the answer, and the first whose documents do not."""
    places: dict[str, list[int]] = {"with": [], "without": []}
    for place, question in enumerate(asked.questions):
        if can_be_copied(question):
            places["with" if asked.holds_answer(place) else "without"].append(place)
    return {"with": places["with"][:num_with], "without": places["without"][:num_without]}


def empty(reading: Mapping[str, Sequence[Any]]) -> list[float]:
    """Return 1 for each empty summary."""
    return [float(not text) for text in reading["evidence"]]


def copied(reading: Mapping[str, Sequence[Any]], questions: Sequence[Question]) -> list[float]:
    """Return 1 for each wrong answer that stands in the evidence, where that does not hold the right one."""
    rows = zip(reading["answers"], reading["evidence"], questions, strict=True)
    return [
        float(
            not exact_match(answer, question.answers)
            and not contains_answer(text, question.answers)
            and contains_answer(text, [answer])
        )
        for answer, text, question in rows
    ]
