"""Whether summaries stay with their documents (the paper's manual evaluation), judged by a machine.

Sentences of the teacher's and the trained student's summaries, of questions and of texts, are copied, supported or
unsupported: see `_support` for the rules and for what they cannot see. Three rows check the judge itself: gold
sentences with documents that hold them; the same as if they were no copies; and gold sentences with the documents of
other questions. The published table is of people's judgement of whole summaries: it stands beside, and is not the same.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt

from october.data import CorpusHandle, QuestionHandle
from october.errors import OctoberError
from october.evaluation import bootstrap_cell, percent_cell
from october.experiments.recomp._question_cells import LEAST_CASES
from october.experiments.recomp._question_training import (
    QuestionTraining,
    TeacherSummaries,
    abstractive_compressor,
    check_student,
    teacher_of,
)
from october.experiments.recomp._questions import Asked, Judgement, QuestionBench, Reader, Retrieval
from october.experiments.recomp._support import (
    VERDICTS,
    Measured,
    Statement,
    Verdict,
    bound_of,
    is_copied,
    measured,
    statements_of,
    verdicts,
    with_documents_of_others,
)
from october.experiments.recomp._text_compressors import TextBench, TextCompressors
from october.language_models import EncoderHandle, ModelHandle, ServedHandle
from october.reporting import Cell, Result, Row, new_figure, save_figure
from october.retrieval.recomp import CandidateScorer, Compressor
from october.run import Run

Share = Annotated[float, Field(gt=0, lt=1)]
TEACHER, STUDENT = "teacher's summaries, questions", "abstractive RECOMP, questions"
TEXT_TEACHER, TEXT_STUDENT = "teacher's summaries, text", "abstractive RECOMP, text"
GOLD, REWORDED, STRANGE = "check: gold sentences", "check: gold sentences as if no copies", "check: other documents"
BOUND = "bound: documents of other questions"
PUBLISHED = {TEACHER: "GPT-3.5, NQ", STUDENT: "abstractive RECOMP, NQ"}


class Summarised(NamedTuple):
    """Summaries, empty ones included, with the queries and documents that they are of."""

    summaries: Sequence[str]
    queries: Sequence[str]
    documents: Sequence[Any]

    def statements(self) -> list[Statement]:
        """Return their sentences."""
        return statements_of(*self)


def faithfulness(
    model: ModelHandle,
    encoder: EncoderHandle,
    student: ModelHandle | str,
    data: QuestionHandle,
    corpus: CorpusHandle,
    labeller: ModelHandle | ServedHandle | None,
    teacher: ModelHandle | ServedHandle | None,
    num_train: PositiveInt | None,
    num_validation: PositiveInt | None,
    num_test: PositiveInt | None,
    num_demonstrations: NonNegativeInt,
    max_answer_tokens: PositiveInt,
    retrieval: Retrieval,
    training: QuestionTraining,
    text: TextBench,
    min_overlap: Share,
    quantile: Share,
    run: Run,
) -> Result:
    """Judge the sentences of summaries.

    Args:
        model: Judges sentences, and what compressors learn from where no labeller does.
        encoder: Finds the questions' documents.
        student: What becomes the abstractive compressors.
        data: The questions.
        corpus: What is searched for them.
        labeller: Judges what the questions' compressor learns from, where that is another model than judges here.
        teacher: Writes their summaries; null takes the gold sentences, shortened.
        num_train: Questions to learn from; null takes all, as in the next two.
        num_validation: Questions with whose gold sentences the bound is measured.
        num_test: Questions whose summaries are judged.
        num_demonstrations: Questions with answers in front of the prompts by which summaries are chosen for training.
        max_answer_tokens: Of an answer, where answers choose summaries for training.
        retrieval: How the questions' documents are found.
        training: How the questions' compressor is trained.
        text: Windows of texts whose summaries are judged too, all of them.
        min_overlap: Share of a sentence's content words that must stand in one document.
        quantile: Of the gains of other documents: the bound.
        run: The run.
    """
    check_student(student)
    counts = {"train": num_train, "dev": num_validation, "test": num_test}
    bench = QuestionBench(data, corpus, encoder, counts, num_demonstrations, retrieval)
    judge = Reader(labeller or model, bench.prompt, max_answer_tokens, encoder).scorer
    makers = {
        **of_questions(bench, judge, teacher, student, training),
        **of_windows(text.compressors(model, encoder, student)),
    }
    found = {
        name: run.once(name, judged, model, make) for name, make in run.progress(makers.items(), "judging summaries")
    }
    checks = {
        name: run.once(name, checked, model, bench, split, strange)
        for name, split, strange in ((GOLD, "test", False), (STRANGE, "test", True), (BOUND, "dev", True))
    }
    shuffled = checks.pop(BOUND)["gain"]
    limits = (bound_of(shuffled, quantile), min_overlap)
    beside = PUBLISHED if run.table == "faithfulness" else {}  # the other is the paper's own scale
    rows = rows_of(found, checks, limits, beside)
    return Result(
        rows=[*rows, Row(name=BOUND, cells={"gain": Cell(value=limits[0], n=len(shuffled), unit="nats per token")})],
        evidence=evidence_of([found[STUDENT], found[TEXT_STUDENT]], limits),
        figures={"Sentences by verdict": draw(run.figures, rows)},
        fingerprints={
            **bench.fingerprints(),
            f"texts {text.data.name}": text.data.fingerprint(),
            f"corpus of texts {text.corpus.name}": text.corpus.fingerprint(),
            model.name: model.fingerprint(),
        },
    )


def of_questions(
    bench: QuestionBench,
    judge: Callable[[Judgement], CandidateScorer],
    teacher: ModelHandle | ServedHandle | None,
    student: ModelHandle | str,
    training: QuestionTraining,
) -> dict[str, Callable[[], Summarised]]:
    """Return what writes the summaries of questions' documents."""

    def by_teacher(asked: Asked) -> Compressor:
        return TeacherSummaries(teacher_of(teacher, asked.questions, training)[0], asked)

    def by_student(asked: Asked) -> Compressor:
        return abstractive_compressor(bench, judge(training.judgement), teacher, student, training).compressor

    def written(make: Callable[[Asked], Compressor]) -> Summarised:
        asked = bench.asked("test")
        return Summarised(make(asked).compress_many(asked.queries, asked.documents), asked.queries, asked.documents)

    return {TEACHER: partial(written, by_teacher), STUDENT: partial(written, by_student)}


def of_windows(trained: TextCompressors) -> dict[str, Callable[[], Summarised]]:
    """Return what writes the summaries of windows' documents."""

    def written(write: Callable[[], list[str]]) -> Summarised:
        summaries, sources = write(), trained.task.sources
        documents = [trained.summarised(source.documents) for source in sources]
        return Summarised(
            [summaries[number] for number in trained.task.asked], [source.query for source in sources], documents
        )

    def by_student() -> list[str]:
        return trained.summaries(trained.abstractive)

    return {TEXT_TEACHER: partial(written, trained.teacher_summaries), TEXT_STUDENT: partial(written, by_student)}


def judged(model: ModelHandle, make: Callable[[], Summarised]) -> dict[str, list[Any]]:
    """Return which summaries are empty, and what was measured of the sentences of the others."""
    found = make()
    of_sentences = measured(model.language_model(), found.statements())
    return {"empty": [not summary.strip() for summary in found.summaries], **of_sentences._asdict()}


def checked(model: ModelHandle, bench: QuestionBench, split: str, strange: bool) -> dict[str, list[Any]]:
    """Return what was measured of gold sentences, with their own documents or with those of other questions."""
    sentences = gold_statements(bench.asked(split))
    if strange:
        sentences = with_documents_of_others(sentences, max(1, len(sentences) // 2))
    if not sentences:
        raise OctoberError(f"no gold sentence of split {split} was retrieved: the judge cannot be checked")
    return measured(model.language_model(), sentences)._asdict()


def gold_statements(asked: Asked) -> list[Statement]:
    """Return the gold sentences that stand in what was retrieved for their questions."""
    return [
        Statement(sentence, question.text, documents)
        for question, documents in zip(asked.questions, asked.documents, strict=True)
        for sentence in question.gold_sentences
        if is_copied(sentence, documents)
    ]


def rows_of(
    found: Mapping[str, Mapping[str, Any]],
    checks: Mapping[str, Mapping[str, Any]],
    limits: tuple[float, float],
    beside: Mapping[str, str],
) -> list[Row]:
    """Return the rows of summaries, then those that check the judge."""
    decided = {name: verdicts(kept(each), *limits) for name, each in {**found, **checks}.items()}
    decided[REWORDED] = verdicts(kept(checks[GOLD]), *limits, count_copies=False)
    each_measured = {**found, GOLD: checks[GOLD], REWORDED: checks[GOLD], STRANGE: checks[STRANGE]}
    return [
        Row(name=name, cells=cells_of(decided[name], each), published=beside.get(name))
        for name, each in each_measured.items()
    ]


def kept(each: Mapping[str, Any]) -> Measured:
    """Return what was measured of sentences, from a step of the run."""
    return Measured(each["copied"], each["overlap"], each["gain"])


def cells_of(decided: Sequence[Verdict], each: Mapping[str, Any]) -> dict[str, Cell]:
    """Return the share of each verdict, the mean gain, and the share of empty summaries where there are summaries."""
    cells = {verdict: percent_cell([one == verdict for one in decided]) for verdict in VERDICTS}
    unit = "nats per token"
    cells["gain"] = bootstrap_cell(each["gain"], unit) if decided else Cell(n=0, unit=unit)
    return {**cells, "empty summaries": percent_cell(each["empty"])} if "empty" in each else cells


def evidence_of(students: Sequence[Mapping[str, Any]], limits: tuple[float, float]) -> dict[str, Cell]:
    """Return what decides the claim: the share of all students' sentences that documents hold.

    Of fewer than `LEAST_CASES` sentences there is no number.
    """
    held = [float(one != "unsupported") for student in students for one in verdicts(kept(student), *limits)]
    cell = bootstrap_cell(held) if len(held) >= LEAST_CASES else Cell(n=len(held))
    return {"supported sentences, abstractive RECOMP of questions and text": cell}


def draw(folder: Path, rows: Sequence[Row]) -> Path:
    """Draw the shares of verdicts, row by row."""
    figure, (axes,) = new_figure(width=8.6, height=3.8)
    left = np.zeros(len(rows))
    for verdict, color in zip(VERDICTS, ("#0072B2", "#56B4E9", "#D55E00"), strict=True):
        shares = np.array([row.cells[verdict].value or 0.0 for row in rows], dtype=float)
        axes.barh(range(len(rows)), shares, left=left, color=color, label=verdict)
        left += shares
    axes.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel="sentences (%)", xlim=(0, 100))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.14), ncols=3)
    return save_figure(figure, folder, "faithfulness")
