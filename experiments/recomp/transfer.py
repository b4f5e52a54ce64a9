"""Transfer (section 5): what compressors chose that were trained for one model, read by another.

Where `labeller` is null the other model is `WordLikelihood`, a cache model of single words over the corpus: offline
there is one network that reads and writes text, and a copy of it in fewer bits or layers would be no other model.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from pydantic import NonNegativeInt, PositiveInt

from october.data.documents import CorpusHandle, Question, QuestionHandle
from october.evaluation import points_cell
from october.experiments.recomp._compressors import Student
from october.experiments.recomp._question_cells import question_row, right
from october.experiments.recomp._question_training import (
    QuestionTraining,
    abstractive_compressor,
    check_student,
    extractive_compressor,
)
from october.experiments.recomp._questions import LanguageModelHandle, QuestionBench, Reader, Reading, Retrieval
from october.experiments.recomp.open_qa import ABSTRACTIVE, EXTRACTIVE, NONE, ORACLE, TOP, TOP_1, UNTRAINED, Makers
from october.language_models import EncoderHandle
from october.reporting import Cell, Result, Row
from october.retrieval.recomp import CandidateScorer, Compressor, DualEncoder, WordLikelihood, baseline
from october.run import Run

Judge = Callable[[], CandidateScorer]
OWN = "extractive RECOMP, trained with the reader itself"


def transfer(
    model: LanguageModelHandle,
    labeller: LanguageModelHandle | None,
    encoder: EncoderHandle,
    data: QuestionHandle,
    corpus: CorpusHandle,
    student: Student | None,
    teacher: LanguageModelHandle | None,
    num_train: PositiveInt | None,
    num_validation: PositiveInt | None,
    num_test: PositiveInt | None,
    num_oracle: PositiveInt,
    num_demonstrations: NonNegativeInt,
    retrieval: Retrieval,
    training: QuestionTraining,
    own_judgement: bool,
    max_answer_tokens: PositiveInt,
    run: Run,
) -> Result:
    """Let a model answer after compressors that another model's judgement trained.

    Args:
        model: It reads and answers.
        labeller: It judges: sentences, summaries, and for the oracle; null takes the cache model of single words.
        encoder: As in `open_qa`, like `data`, `corpus` and `teacher`.
        data: The questions.
        corpus: What is searched.
        student: As in `open_qa`; null leaves the abstractive compressor out.
        teacher: Of the student.
        num_train: As in `open_qa`, like the next two.
        num_validation: Questions that choose the checkpoint.
        num_test: Questions of the table.
        num_oracle: Of those, the first ones, for which the labeller judges every sentence.
        num_demonstrations: As in `open_qa`, like the next two.
        retrieval: How documents are found.
        training: How the compressors are trained.
        own_judgement: Train an extractive compressor with the reader's own judgement too, to compare with.
        max_answer_tokens: Of an answer.
        run: The run.
    """
    check_student(student)
    counts = {"train": num_train, "dev": num_validation, "test": num_test}
    bench = QuestionBench(data, corpus, encoder, counts, num_demonstrations, retrieval)
    reader = Reader(model, bench.prompt, max_answer_tokens, encoder)
    judge = partial(scorer_of, labeller, bench, training, max_answer_tokens, encoder)
    judges = {EXTRACTIVE: judge, **({OWN: partial(reader.scorer, training.judgement)} if own_judgement else {})}
    makers: Makers = {
        **untrained(encoder, training.num_sentences),
        **{name: partial(extractive_by, each, bench, encoder, training) for name, each in judges.items()},
        ORACLE: partial(oracle_by, judge, bench),
    }
    if student is not None:
        makers[ABSTRACTIVE] = lambda: abstractive_compressor(bench, judge(), teacher, student, training).compressor

    def read(name: str) -> Reading:
        return reader.read(bench.asked("test")[: num_oracle if name == ORACLE else None], makers[name]())

    readings = {name: run.once(name, read, name) for name in run.progress(makers, "reading")}
    models = [model, *([labeller] if labeller is not None else [])]
    return Result(
        rows=rows_beside(run, bench.questions("test"), readings),
        evidence=evidence(bench, readings),
        fingerprints={**bench.fingerprints(), **{each.name: each.fingerprint() for each in models}},
    )


def rows_beside(run: Run, questions: Sequence[Question], readings: Mapping[str, Reading]) -> list[Row]:
    """Return the rows, those of the paper beside the published ones where this is not the paper's own scale."""
    published = set(readings) - {OWN} if run.table == "transfer" else set()
    whole = readings[TOP]["tokens"]
    return [
        question_row(name, reading, questions, whole, name if name in published else None)
        for name, reading in readings.items()
    ]


def scorer_of(
    labeller: LanguageModelHandle | None,
    bench: QuestionBench,
    training: QuestionTraining,
    max_answer_tokens: int,
    encoder: EncoderHandle,
) -> CandidateScorer:
    """Return the judgement of the labeller."""
    if labeller is not None:
        return Reader(labeller, bench.prompt, max_answer_tokens, encoder).scorer(training.judgement)
    return WordLikelihood(document.text for document in bench.corpus.documents())


def untrained(encoder: EncoderHandle, num_sentences: int) -> Makers:
    """Return what nobody's judgement decides."""
    options = {"num_sentences": num_sentences, "encoder": DualEncoder(encoder)}
    names = {NONE: "none", TOP_1: "top_1", TOP: "top_5", UNTRAINED: "dense_sentence"}
    return {name: partial(baseline, key, **options) for name, key in names.items()}


def extractive_by(judge: Judge, bench: QuestionBench, encoder: EncoderHandle, training: QuestionTraining) -> Compressor:
    """Return the extractive compressor that somebody's judgement trained."""
    return extractive_compressor(bench, judge(), encoder, training).compressor


def oracle_by(judge: Judge, bench: QuestionBench) -> Compressor:
    """Return the sentence that somebody thinks the best, knowing the answer."""
    targets = {question.text: question.answers for question in bench.asked("test").questions}
    return baseline("oracle_sentence", scorer=judge(), targets=targets)


def evidence(bench: QuestionBench, readings: Mapping[str, Reading]) -> dict[str, Cell]:
    """Return what decides the claim, question by question."""
    em = {name: right(readings[name], bench.questions("test")) for name in (EXTRACTIVE, UNTRAINED)}
    metric = f"EM of the other model, {EXTRACTIVE} over the untrained encoder's sentence"
    return {metric: points_cell(em[EXTRACTIVE], em[UNTRAINED])}
