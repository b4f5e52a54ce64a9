"""Both compressors trained on questions: by whose judgement, from which teacher, with which settings."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from october.data.documents import Question
from october.errors import OctoberError
from october.experiments.recomp._compressors import (
    Abstractive,
    Extractive,
    LabelSettings,
    Student,
    judged_by,
    known_of,
    labelled,
    trained_abstractive,
    trained_extractive,
    untrained_abstractive,
)
from october.experiments.recomp._questions import Asked, Judgement, LanguageModelHandle, QuestionBench
from october.files import content_hash
from october.language_models import EncoderHandle, ModelHandle
from october.retrieval import Passage
from october.retrieval.recomp import (
    MULTI_HOP_PROMPTS,
    QUESTION_PROMPTS,
    SHORTENING_VERSION,
    AbstractiveCompressor,
    AbstractiveSettings,
    CandidateScorer,
    Compressor,
    ExtractiveCompressor,
    ExtractiveSettings,
    GoldSentenceTeacher,
    LanguageModelTeacher,
    Policy,
    Teacher,
    calibrated_margin,
    read_prompts,
)

MULTI_HOP = "multi_hop"  # in place of a file of prompts


@dataclass(frozen=True)
class QuestionTraining:
    """How the compressors of a table are trained.

    Attributes:
        judgement: What tells how much a text helps: the `likelihood` of the answer, or whether the model's answer is
            a `match` (the paper's for questions).
        labels: Of the extractive compressor.
        extractive: Its training.
        num_sentences: That it selects (1 in the paper, 2 for HotpotQA).
        num_summaries: Training questions, the first ones, from which the abstractive compressor learns.
        policy: Of its critic.
        abstractive: Its training.
        max_summary_tokens: Of a summary.
        prompts: A YAML file with the prompts of a language model that teaches; `multi_hop` takes the project's for
            questions of several steps, None those for others.
        answer_in_documents: The abstractive compressor learns only from questions whose documents hold the answer
            (the paper's for HotpotQA).
    """

    judgement: Judgement
    labels: LabelSettings
    extractive: ExtractiveSettings
    num_sentences: int
    num_summaries: int
    policy: Policy
    abstractive: AbstractiveSettings
    max_summary_tokens: int
    prompts: str | None = None
    answer_in_documents: bool = False

    def __post_init__(self) -> None:
        for name in ("num_sentences", "num_summaries", "max_summary_tokens"):
            if getattr(self, name) < 1:
                raise OctoberError(f"training.{name}={getattr(self, name)}: must be at least 1")
        _ = self.all_prompts  # so that a wrong file is named now

    @property
    def all_prompts(self) -> tuple[str, ...]:
        """The prompts of a language model that teaches."""
        if self.prompts is None or self.prompts == MULTI_HOP:
            return QUESTION_PROMPTS if self.prompts is None else MULTI_HOP_PROMPTS
        return read_prompts(self.prompts)


class TeacherSummaries(Compressor):
    """What a teacher writes of the documents of questions that it knows.

    Args:
        teacher: Writes; the first of its summaries is taken.
        asked: The questions that will come.
    """

    def __init__(self, teacher: Teacher, asked: Asked) -> None:
        self.teacher = teacher
        self.requests = dict(zip(asked.queries, asked.requests(), strict=True))

    def _summaries(self, queries: Sequence[str], documents: Sequence[Sequence[Passage]]) -> list[str]:
        pairs = zip(queries, documents, strict=True)
        requests = [replace(self.requests[query], documents=tuple(retrieved)) for query, retrieved in pairs]
        return [written[0] for written in self.teacher.summaries(requests)]


def extractive_compressor(
    bench: QuestionBench, scorer: CandidateScorer, encoder: EncoderHandle, training: QuestionTraining
) -> Extractive:
    """Return the extractive compressor that learned from the bench's training questions."""
    return trained_extractive(
        bench.asked("train").sources(),
        bench.asked("dev").sources(),
        scorer,
        encoder,
        training.extractive,
        training.labels,
        known=known_of("questions", scorer),
        num_sentences=training.num_sentences,
    )


def with_empty(training: QuestionTraining) -> QuestionTraining:
    """Return the same training of a compressor that may choose no sentence.

    Its loss is the listwise one whatever the training's: in a batch, the empty positive of one query would be a
    negative of all others.
    """
    labels = replace(training.labels, with_empty=True)
    return replace(training, labels=labels, extractive=replace(training.extractive, loss="listwise"))


def with_margin(
    bench: QuestionBench, scorer: CandidateScorer, encoder: EncoderHandle, training: QuestionTraining
) -> ExtractiveCompressor:
    """Return the compressor that may choose none, with the margin that serves the judged validation questions best."""
    trained = extractive_compressor(bench, scorer, encoder, with_empty(training)).compressor
    judged = labelled(bench.asked("dev").sources(), scorer, encoder, training.labels.max_candidates)
    return ExtractiveCompressor(
        trained.encoder,
        num_sentences=trained.num_sentences,
        allow_empty=True,
        margin=calibrated_margin(trained.encoder, judged),
    )


def with_loss_in_batch(training: QuestionTraining) -> QuestionTraining:
    """Return the same training by the released code's loss."""
    return replace(training, extractive=replace(training.extractive, loss="in_batch"))


def abstractive_compressor(
    bench: QuestionBench,
    scorer: CandidateScorer,
    teacher: LanguageModelHandle | None,
    student: Student,
    training: QuestionTraining,
) -> Abstractive:
    """Return the abstractive compressor that learned from a teacher what the critic kept."""
    asked = bench.asked("train")[: training.num_summaries]
    if training.answer_in_documents:
        asked = asked.take([place for place in range(len(asked.questions)) if asked.holds_answer(place)])
    writer, name = teacher_of(teacher, asked.questions, training)
    judged = judged_by(scorer, asked.requests(), writer, name)
    settings, longest = training.abstractive, training.max_summary_tokens
    known = known_of("questions", scorer)
    return trained_abstractive(judged, student, settings, known=known, policy=training.policy, max_new_tokens=longest)


def student_before_training(student: Student, training: QuestionTraining) -> AbstractiveCompressor:
    """Return what the abstractive compressor is before it has learned anything."""
    return untrained_abstractive(student, training.abstractive, max_new_tokens=training.max_summary_tokens)


def teacher_of(
    handle: LanguageModelHandle | None, questions: Sequence[Question], training: QuestionTraining
) -> tuple[Teacher, str]:
    """Return the teacher and its fingerprint: a language model, or for None the gold sentences, shortened.

    Raises:
        OctoberError: None, and the questions have no gold sentences.
    """
    if handle is not None:
        prompts, longest = training.all_prompts, training.max_summary_tokens
        name = content_hash([handle.fingerprint(), prompts, longest])
        return LanguageModelTeacher(handle.language_model(), prompts, max_new_tokens=longest), name
    if not any(question.gold_sentences for question in questions):
        raise OctoberError("teacher=null: these questions have no gold sentences; give model@teacher=NAME")
    return GoldSentenceTeacher(), f"gold sentences, shortened by version {SHORTENING_VERSION}"


def check_student(student: Student | None) -> None:
    """Raise `OctoberError` before any work where the student cannot be found."""
    if isinstance(student, str):
        ModelHandle(name=student, path=student).check()
