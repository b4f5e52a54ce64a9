"""Open-domain questions (Table 2): what a frozen model answers after documents, after summaries, and after nothing.

Every row reads the same documents through another compressor. The oracles know the answer: the best sentence by the
model's judgement, and the better of the teacher's summary and nothing. BM25 with patterns learns nothing: a few rules
written by hand read the five passages that BM25 finds. It tells how regular the offline questions are in their wording.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import NonNegativeInt, PositiveInt

from october.data.documents import CorpusHandle, QuestionHandle
from october.data.worldqa import WorldQA, pattern_baseline
from october.evaluation import points_cell
from october.experiments.recomp._compressors import Student
from october.experiments.recomp._question_cells import question_row, ratio_cell, right
from october.experiments.recomp._question_training import (
    QuestionTraining,
    TeacherSummaries,
    abstractive_compressor,
    check_student,
    extractive_compressor,
    student_before_training,
    teacher_of,
    with_empty,
    with_loss_in_batch,
    with_margin,
)
from october.experiments.recomp._questions import LanguageModelHandle, QuestionBench, Reader, Reading, Retrieval
from october.language_models import EncoderHandle
from october.reporting import Cell, Result, Row, new_figure, save_figure
from october.retrieval.recomp import Compressor, DualEncoder, baseline
from october.run import Run

NONE, TOP_1, TOP = "no retrieval", "top-1 document", "top-5 documents"
EXTRACTIVE, OR_NONE = "extractive RECOMP", "extractive RECOMP that may choose none"
MARGIN = f"{OR_NONE}, by a margin chosen on validation"
IN_BATCH = "extractive RECOMP, in-batch loss"
UNTRAINED, ORACLE = "sentence by the untrained encoder", "oracle sentence"
TEACHER, STUDENT, ABSTRACTIVE = "teacher's summary", "student before training", "abstractive RECOMP"
ORACLE_SUMMARY, PATTERNS = "oracle summary", "BM25 and patterns, no model"
NOT_PUBLISHED = (IN_BATCH, OR_NONE, MARGIN, PATTERNS)
KEPT = 0.9  # of the gain, by the claim
LEAST_GAIN = 5.0  # points of exact match; where the documents win less, the claim is on the best one of them

Makers = dict[str, Callable[[], Compressor]]


def open_qa(
    model: LanguageModelHandle,
    encoder: EncoderHandle,
    data: QuestionHandle,
    corpus: CorpusHandle,
    student: Student,
    teacher: LanguageModelHandle | None,
    num_train: PositiveInt | None,
    num_validation: PositiveInt | None,
    num_test: PositiveInt | None,
    num_oracle: PositiveInt,
    num_demonstrations: NonNegativeInt,
    retrieval: Retrieval,
    training: QuestionTraining,
    in_batch: bool,
    max_answer_tokens: PositiveInt,
    run: Run,
) -> Result:
    """Let a model answer questions after what each compressor makes of the documents.

    Args:
        model: The frozen model; it judges too.
        encoder: Searches, and is trained to be the extractive compressor.
        data: The questions.
        corpus: What is searched.
        student: Is trained to be the abstractive compressor: a causal model, or an encoder-decoder's folder or name.
        teacher: Writes the summaries that it learns from; null takes the gold sentences, shortened.
        num_train: Questions to learn from; null takes all, as in the next two.
        num_validation: Questions that choose the extractive compressor's checkpoint.
        num_test: Questions of the table.
        num_oracle: Of those, the first ones, for which the model judges every sentence.
        num_demonstrations: Questions with answers in front of every prompt.
        retrieval: How documents are found.
        training: How the compressors are trained.
        in_batch: Train one more extractive compressor by the released code's loss.
        max_answer_tokens: Of an answer.
        run: The run.
    """
    check_student(student)
    counts = {"train": num_train, "dev": num_validation, "test": num_test}
    bench = QuestionBench(data, corpus, encoder, counts, num_demonstrations, retrieval)
    reader = Reader(model, bench.prompt, max_answer_tokens, encoder)
    makers = {
        **plain(encoder, training.num_sentences),
        **trained(bench, reader, encoder, training, in_batch),
        **oracle(bench, reader, training),
        **summarisers(bench, reader, student, teacher, training),
    }

    def read(name: str) -> Reading:
        return reader.read(bench.asked("test")[: num_oracle if name == ORACLE else None], makers[name]())

    readings = {name: run.once(name, read, name) for name in run.progress(makers, "reading")}
    readings |= more_readings(run, bench, readings)
    rows = table(run, bench, readings)
    return Result(
        rows=rows,
        evidence=evidence(bench, readings),
        figures={"Exact match by tokens of evidence": draw(run.figures, rows)},
        fingerprints={**bench.fingerprints(), model.name: model.fingerprint()},
    )


def plain(encoder: EncoderHandle, num_sentences: int) -> Makers:
    """Return what nothing is trained for: documents, words, names, sentences by simple rules."""
    names = {
        NONE: "none",
        TOP_1: "top_1",
        TOP: "top_5",
        "named entities": "named_entities",
        "bag of words": "bag_of_words",
        "random sentence": "random_sentence",
        "sentence by BM25": "bm25_sentence",
        UNTRAINED: "dense_sentence",
    }
    options = {"num_sentences": num_sentences, "encoder": DualEncoder(encoder)}
    return {name: partial(baseline, key, **options) for name, key in names.items()}


def trained(
    bench: QuestionBench, reader: Reader, encoder: EncoderHandle, training: QuestionTraining, in_batch: bool
) -> Makers:
    """Return the extractive compressors."""
    settings = {EXTRACTIVE: training, OR_NONE: with_empty(training)}
    if in_batch:
        settings[IN_BATCH] = with_loss_in_batch(training)

    def make(own: QuestionTraining) -> Compressor:
        return extractive_compressor(bench, reader.scorer(own.judgement), encoder, own).compressor

    def make_with_margin() -> Compressor:
        return with_margin(bench, reader.scorer(training.judgement), encoder, training)

    return {**{name: partial(make, own) for name, own in settings.items()}, MARGIN: make_with_margin}


def oracle(bench: QuestionBench, reader: Reader, training: QuestionTraining) -> Makers:
    """Return the sentence with which the model does best."""

    def make() -> Compressor:
        targets = {question.text: question.answers for question in bench.asked("test").questions}
        return baseline("oracle_sentence", scorer=reader.scorer(training.judgement), targets=targets)

    return {ORACLE: make}


def summarisers(
    bench: QuestionBench,
    reader: Reader,
    student: Student,
    teacher: LanguageModelHandle | None,
    training: QuestionTraining,
) -> Makers:
    """Return what writes: the teacher, and the student before and after it has learned."""

    def of_teacher() -> Compressor:
        asked = bench.asked("test")
        return TeacherSummaries(teacher_of(teacher, asked.questions, training)[0], asked)

    def of_student() -> Compressor:
        return abstractive_compressor(bench, reader.scorer(training.judgement), teacher, student, training).compressor

    return {
        TEACHER: of_teacher,
        STUDENT: partial(student_before_training, student, training),
        ABSTRACTIVE: of_student,
    }


def more_readings(run: Run, bench: QuestionBench, readings: Mapping[str, Reading]) -> dict[str, Reading]:
    """Return the rows that follow from others or that no model reads."""
    questions = bench.questions("test")
    better = better_of(
        readings[TEACHER], readings[NONE], right(readings[NONE], questions) > right(readings[TEACHER], questions)
    )
    if not isinstance(bench.data, WorldQA):
        return {ORACLE_SUMMARY: better}

    def by_patterns() -> list[str]:
        return [pattern_baseline(*pair) for pair in zip(questions, bench.search_words(questions), strict=True)]

    return {ORACLE_SUMMARY: better, PATTERNS: {"answers": run.once(PATTERNS, by_patterns)}}


def better_of(one: Reading, other: Reading, takes_other: np.ndarray) -> Reading:
    """Return the first reading, and the other where it is marked."""
    return {
        name: [pair[int(mark)] for mark, *pair in zip(takes_other, one[name], other[name], strict=True)] for name in one
    }


def table(run: Run, bench: QuestionBench, readings: Mapping[str, Reading]) -> list[Row]:
    """Return the rows, those of the paper beside the published ones where this is not the paper's own scale."""
    questions, whole = bench.questions("test"), readings[TOP]["tokens"]
    beside = run.table == "open_qa"
    return [
        question_row(name, reading, questions, whole, name if beside and name not in NOT_PUBLISHED else None)
        for name, reading in readings.items()
    ]


def evidence(bench: QuestionBench, readings: Mapping[str, Reading]) -> dict[str, Cell]:
    """Return what decides the claims, question by question."""
    questions = bench.questions("test")
    em = {name: right(reading, questions) for name, reading in readings.items()}
    gains = {"top-5": em[TOP] - em[NONE], "top-1": em[TOP_1] - em[NONE]}
    judged = "top-5" if 100 * gains["top-5"].mean() >= LEAST_GAIN else "top-1"
    return {
        f"EM, {EXTRACTIVE} minus {NONE} minus 0.9 of the {judged} gain": points_cell(
            em[EXTRACTIVE] - em[NONE], KEPT * gains[judged]
        ),
        f"tokens, {EXTRACTIVE} over {TOP}": ratio_cell(readings[EXTRACTIVE]["tokens"], readings[TOP]["tokens"]),
        f"EM, {EXTRACTIVE} over the untrained encoder's sentence": points_cell(em[EXTRACTIVE], em[UNTRAINED]),
        f"EM, {ABSTRACTIVE} over the {STUDENT}": points_cell(em[ABSTRACTIVE], em[STUDENT]),
        f"EM, {TOP} over {NONE}": points_cell(em[TOP], em[NONE]),
    }


def draw(folder: Path, rows: list[Row]) -> Path:
    """Draw exact match, with its interval, by tokens of evidence."""
    figure, (axes,) = new_figure(width=8.4, height=4.8)
    for row in rows:
        if "tokens" not in row.cells or row.name == PATTERNS:
            continue
        place, (low, high) = row.cells["tokens"].value, row.cells["EM"].bounds
        ours = "RECOMP" in row.name
        (line,) = axes.plot([place] * 2, [low, high], linewidth=1.2, color="#D55E00" if ours else "#0072B2")
        axes.plot([place], [row.cells["EM"].value], "o", color=line.get_color())
        axes.annotate(row.name, (place, row.cells["EM"].value), xytext=(4, 3), textcoords="offset points", fontsize=7)
    axes.set_xscale("symlog", linthresh=10)
    axes.set(xlabel="tokens of evidence", ylabel="exact match (%)", xlim=(-1, None))
    return save_figure(figure, folder, "open_qa")
