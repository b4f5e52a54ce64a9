"""What compressors do (sections 5 and 6): what they select, how much of it is enough, when they stay silent.

Four parts, each with rows of its own: where selected sentences stand and whether they are the gold ones; accuracy
against compression, one to several sentences; questions whose documents hold the answer beside such whose documents
do not (empty summaries, answers copied from evidence that misleads); what the compressors learned from. They are those
of `open_qa`, trained where that table has not been run before.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import NonNegativeInt, PositiveInt

from october.data.documents import CorpusHandle, Question, QuestionHandle
from october.evaluation import percent_cell, points_cell
from october.experiments.recomp._compressors import Student
from october.experiments.recomp._question_cells import LEAST_CASES, groups_cell, question_row, right
from october.experiments.recomp._question_training import (
    QuestionTraining,
    TeacherSummaries,
    abstractive_compressor,
    check_student,
    extractive_compressor,
    teacher_of,
    with_empty,
)
from october.experiments.recomp._questions import LanguageModelHandle, QuestionBench, Reader, Reading, Retrieval
from october.experiments.recomp._selection import Selected, by_answer, copied, empty, selected_by, selection_row
from october.experiments.recomp.open_qa import ABSTRACTIVE, EXTRACTIVE, OR_NONE, TEACHER, TOP, TOP_1, UNTRAINED
from october.language_models import EncoderHandle
from october.reporting import Cell, Result, Row, line_with_band, new_figure, save_figure
from october.retrieval.recomp import Compressor, DualEncoder, ExtractiveCompressor, TopDocuments
from october.run import Run

GROUPS = {"with": "with the answer", "without": "without the answer"}
COPYING = (TOP, TOP_1, TEACHER, ABSTRACTIVE)  # the paper's
Trained = dict[str, Callable[[], Any]]


def analysis(
    model: LanguageModelHandle,
    encoder: EncoderHandle,
    data: QuestionHandle,
    corpus: CorpusHandle,
    student: Student,
    teacher: LanguageModelHandle | None,
    num_train: PositiveInt | None,
    num_validation: PositiveInt | None,
    num_test: PositiveInt | None,
    num_pool: PositiveInt | None,
    num_with_answer: PositiveInt,
    num_without_answer: PositiveInt,
    num_demonstrations: NonNegativeInt,
    retrieval: Retrieval,
    training: QuestionTraining,
    max_sentences: PositiveInt,
    max_answer_tokens: PositiveInt,
    run: Run,
) -> Result:
    """Look at what compressors select, and at what a model answers after it.

    Args:
        model: As in `open_qa`, like all that is not named here.
        encoder: As in `open_qa`.
        data: As in `open_qa`.
        corpus: As in `open_qa`.
        student: As in `open_qa`.
        teacher: As in `open_qa`.
        num_train: As in `open_qa`.
        num_validation: As in `open_qa`.
        num_test: Test questions, the first ones, of what is selected and how many sentences are enough.
        num_pool: Test questions, the first ones, that are searched for such with and without the answer in documents.
        num_with_answer: Of those with.
        num_without_answer: Of those without.
        num_demonstrations: As in `open_qa`.
        retrieval: As in `open_qa`.
        training: As in `open_qa`.
        max_sentences: One up to so many sentences are read.
        max_answer_tokens: As in `open_qa`.
        run: The run.
    """
    check_student(student)
    counts = {"train": num_train, "dev": num_validation, "test": num_pool}
    bench = QuestionBench(data, corpus, encoder, counts, num_demonstrations, retrieval)
    reader = Reader(model, bench.prompt, max_answer_tokens, encoder)
    compressors = all_trained(bench, reader, encoder, student, teacher, training)
    selected = selections(run, bench, encoder, compressors, training.num_sentences, num_test)
    by_count = accuracies(run, bench, reader, compressors, max_sentences, num_test)
    picked = run.once(
        "with and without the answer", lambda: by_answer(bench.asked("test"), num_with_answer, num_without_answer)
    )
    read = readings(run, bench, reader, teacher, training, compressors, picked)
    beside = run.table == "analysis"
    questions = bench.questions("test")
    lengths = by_count.pop(TOP)["tokens"]
    curve = [question_row(f"{EXTRACTIVE}, {name}", each, questions, lengths) for name, each in by_count.items()]
    return Result(
        rows=[
            *(
                selection_row(f"selected, {name}", each, bench.asked("test")[:num_test])
                for name, each in selected.items()
            ),
            *curve,
            *answer_rows(read, picked, questions, beside),
            *training_rows(run, compressors, beside),
        ],
        evidence=evidence(read, [questions[place] for place in picked["without"]]),
        figures={
            "Exact match by number of sentences, and which document they come from": draw(run.figures, curve, selected)
        },
        fingerprints={**bench.fingerprints(), model.name: model.fingerprint()},
    )


def all_trained(
    bench: QuestionBench,
    reader: Reader,
    encoder: EncoderHandle,
    student: Student,
    teacher: LanguageModelHandle | None,
    training: QuestionTraining,
) -> Trained:
    """Return the trained compressors, with what they learned from."""

    def extractive(own: QuestionTraining) -> Any:
        return extractive_compressor(bench, reader.scorer(own.judgement), encoder, own)

    def abstractive() -> Any:
        return abstractive_compressor(bench, reader.scorer(training.judgement), teacher, student, training)

    return {
        EXTRACTIVE: partial(extractive, training),
        OR_NONE: partial(extractive, with_empty(training)),
        ABSTRACTIVE: abstractive,
    }


def selections(
    run: Run,
    bench: QuestionBench,
    encoder: EncoderHandle,
    compressors: Trained,
    num_sentences: int,
    num_test: int | None,
) -> dict[str, Selected]:
    """Return what the encoder selects before and after it was trained."""

    def of_untrained() -> Selected:
        return selected_by(
            ExtractiveCompressor(DualEncoder(encoder), num_sentences=num_sentences), bench.asked("test")[:num_test]
        )

    def of_trained() -> Selected:
        return selected_by(compressors[EXTRACTIVE]().compressor, bench.asked("test")[:num_test])

    makers = {UNTRAINED: of_untrained, EXTRACTIVE: of_trained}
    return {name: run.once(f"selected, {name}", make) for name, make in run.progress(makers.items(), "selecting")}


def accuracies(
    run: Run, bench: QuestionBench, reader: Reader, compressors: Trained, max_sentences: int, num_test: int | None
) -> dict[str, Reading]:
    """Return what is answered after one, two and more sentences, and after all documents."""

    def read(count: int) -> Reading:
        trained = compressors[EXTRACTIVE]().compressor
        several = ExtractiveCompressor(trained.encoder, num_sentences=count)
        return reader.read(bench.asked("test")[:num_test], several)

    def lengths() -> Reading:
        asked = bench.asked("test")[:num_test]
        return {"tokens": reader.tokens(TopDocuments(5).compress_many(asked.queries, asked.documents))}

    counted = {("1 sentence" if count == 1 else f"{count} sentences"): count for count in range(1, max_sentences + 1)}
    found = {name: run.once(name, read, count) for name, count in run.progress(counted.items(), "reading sentences")}
    return {**found, TOP: run.once(f"tokens, {TOP}", lengths)}


def readings(
    run: Run,
    bench: QuestionBench,
    reader: Reader,
    teacher: LanguageModelHandle | None,
    training: QuestionTraining,
    compressors: Trained,
    picked: Mapping[str, Sequence[int]],
) -> dict[str, dict[str, Reading]]:
    """Return, for questions with and without the answer in documents, what is answered after each compressor."""

    def of_teacher() -> Compressor:
        asked = bench.asked("test")
        return TeacherSummaries(teacher_of(teacher, asked.questions, training)[0], asked)

    makers: dict[str, Callable[[], Compressor]] = {
        TOP: lambda: TopDocuments(5),
        TOP_1: lambda: TopDocuments(1),
        TEACHER: of_teacher,
        **{name: lambda make=make: make().compressor for name, make in compressors.items()},  # type: ignore[misc]
    }

    def read(name: str, group: str) -> Reading:
        return reader.read(bench.asked("test").take(picked[group]), makers[name]())

    return {
        group: {
            name: run.once(f"{name}, {title}", read, name, group) for name in run.progress(makers, f"reading {title}")
        }
        for group, title in GROUPS.items()
        if picked[group]
    }


def answer_rows(
    read: Mapping[str, Mapping[str, Reading]],
    picked: Mapping[str, Sequence[int]],
    questions: Sequence[Question],
    beside: bool,
) -> list[Row]:
    """Return a row for each group of questions and each compressor: exact match, empty summaries, copied answers."""
    rows = []
    for group, readings_of in read.items():
        own = [questions[place] for place in picked[group]]
        for name, reading in readings_of.items():
            cells = {"EM": percent_cell(right(reading, own)), "empty": percent_cell(empty(reading))}
            without = group == "without"
            if without:
                cells["copied"] = percent_cell(copied(reading, own))
            published = name if beside and without and name in COPYING else None
            rows.append(Row(name=f"{name}, documents {GROUPS[group]}", cells=cells, published=published))
    return rows


def training_rows(run: Run, compressors: Trained, beside: bool) -> list[Row]:
    """Return what each compressor learned from."""
    published = {EXTRACTIVE: "extractive, NQ", ABSTRACTIVE: "abstractive, NQ"} if beside else {}
    rows = []
    for name, make in compressors.items():
        about = run.once(f"training data, {name}", lambda make=make: make().about)  # type: ignore[misc]
        cells = {"training": Cell(value=about["training"])}
        if "validation" in about:
            cells |= {"validation": Cell(value=about["validation"]), "negatives": Cell(value=about["negatives"])}
        cells |= {share: Cell(value=100 * about[share], unit="%") for share in ("dropped", "empty")}
        rows.append(Row(name=f"training data, {name}", cells=cells, published=published.get(name)))
    return rows


def evidence(read: Mapping[str, Mapping[str, Reading]], without: Sequence[Question]) -> dict[str, Cell]:
    """Return what decides the claims, where there are questions of both groups."""
    if set(read) != set(GROUPS):
        return {}
    silent = {group: empty(readings_of[OR_NONE]) for group, readings_of in read.items()}
    metric = f"copied from evidence without the answer, {ABSTRACTIVE} that is not empty over {TOP}"
    return {
        "empty summaries, documents without the answer over those with it": groups_cell(
            silent["without"], silent["with"]
        ),
        metric: misled_cell(read["without"][ABSTRACTIVE], read["without"][TOP], without),
    }


def misled_cell(summaries: Reading, documents: Reading, questions: Sequence[Question]) -> Cell:
    """Return how much more often summaries mislead than documents, on questions whose summary is not empty.

    Of fewer than `LEAST_CASES` such questions there is no number.
    """
    told = np.flatnonzero(np.equal(empty(summaries), 0))
    if len(told) < LEAST_CASES:
        return Cell(n=len(told), unit="points")
    ours, theirs = (np.array(copied(reading, questions))[told] for reading in (summaries, documents))
    return points_cell(ours, theirs)


def draw(folder: Path, curve: Sequence[Row], selected: Mapping[str, Selected]) -> Path:
    """Draw exact match by number of sentences, and the share of sentences by their document's rank."""
    figure, (left, right_) = new_figure(1, 2, width=10.4, height=3.8)
    cells = [row.cells["EM"] for row in curve]
    bounds = list(zip(*(cell.bounds for cell in cells), strict=True))
    line_with_band(left, range(1, len(cells) + 1), [float(cell.value or 0) for cell in cells], *bounds, EXTRACTIVE)
    left.set(xlabel="sentences", ylabel="exact match (%)")
    for offset, (name, rows) in enumerate(selected.items()):
        ranks = [rank + 1 for row in rows for rank, _, _ in row]
        shares = [100 * ranks.count(rank) / len(ranks) for rank in range(1, max(ranks, default=0) + 1)]
        right_.bar([rank + 0.38 * (offset - 0.5) for rank in range(1, len(shares) + 1)], shares, 0.38, label=name)
    right_.set(xlabel="rank of the document", ylabel="selected sentences (%)")
    right_.legend()
    return save_figure(figure, folder, "analysis")
