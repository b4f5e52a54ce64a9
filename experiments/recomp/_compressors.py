"""Compressors by content: what was labelled and trained once, for whatever table, is never labelled or trained again.

What a language model judged is kept in the data folder's `labels`, chunk by chunk; trained models as `trained_once`
keeps them. Questions and texts alike: what differs is in the sources, the scorer and the teacher that are handed in.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from october.errors import OctoberError
from october.files import data_home
from october.language_models import EncoderHandle, ModelHandle, TransformersLM
from october.language_models.answer_training import trained_model
from october.language_models.training_runs import trained_once
from october.retrieval.recomp import (
    EMPTY,
    AbstractiveCompressor,
    AbstractiveSettings,
    CandidateScorer,
    CausalWriter,
    DualEncoder,
    ExtractiveCompressor,
    ExtractiveSettings,
    JudgedSummaries,
    LabelSource,
    Policy,
    ScoredExample,
    SummaryWriter,
    Teacher,
    TeacherRequest,
    distilled,
    judged_summaries,
    scored_examples,
    train_causal,
    train_extractive,
    train_seq2seq,
    training_set,
)
from october.retrieval.recomp.seq2seq import Seq2SeqWriter

Student = ModelHandle | str  # a causal model, or the folder or name on the hub of an encoder-decoder
TRAINING_VERSION = 2  # of `train_extractive`: to be raised where it makes another encoder of the same settings and data
EXTRACTIVE, ABSTRACTIVE = "extractive compressor", "abstractive compressor"  # what `trained_once` keeps them as


@dataclass(frozen=True)
class LabelSettings:
    """How the extractive compressor's examples are made.

    Attributes:
        max_candidates: Sentences that the language model judges for each query.
        epsilon: How much worse than the positive a negative is at least, in the scorer's unit.
        max_negatives: Of a query.
        with_empty: The empty text is a candidate too, so that the compressor may choose none.
    """

    max_candidates: int = 20
    epsilon: float = 0.0
    max_negatives: int = 5
    with_empty: bool = False

    def __post_init__(self) -> None:
        for name, least in (("max_candidates", 1), ("epsilon", 0), ("max_negatives", 1)):
            if getattr(self, name) < least:
                raise OctoberError(f"labels.{name}={getattr(self, name)}: must be at least {least}")


class Extractive(NamedTuple):
    """A trained extractive compressor, its encoder, and what it learned from (see `trained_extractive`)."""

    compressor: ExtractiveCompressor
    encoder: EncoderHandle
    about: dict[str, Any]


class Abstractive(NamedTuple):
    """A trained abstractive compressor, and what it learned from (see `trained_abstractive`)."""

    compressor: AbstractiveCompressor
    about: dict[str, Any]


def labelled(
    sources: Sequence[LabelSource], scorer: CandidateScorer, encoder: EncoderHandle, max_candidates: int
) -> list[ScoredExample]:
    """Return all sources with their candidates judged, the empty text always among them."""
    return scored_examples(
        sources,
        DualEncoder(encoder),
        scorer,
        data_home() / "labels",
        encoder_fingerprint=encoder.fingerprint(),
        max_candidates=max_candidates,
        with_empty=True,
    )


def known_of(task: Literal["questions", "texts"], scorer: CandidateScorer) -> dict[str, str]:
    """Return the words by which compressors of one task and one kind of judgement are found again."""
    return {"task": task, "judge": type(scorer).__name__}


def without_empty(scored: ScoredExample) -> ScoredExample:
    """Return a judged query without the empty text among its candidates."""
    kept = [place for place, text in enumerate(scored.candidates) if text != EMPTY]
    columns = ("candidates", "scores", "similarities")
    return replace(scored, **{name: tuple(getattr(scored, name)[place] for place in kept) for name in columns})


def trained_extractive(
    sources: Sequence[LabelSource],
    validation_sources: Sequence[LabelSource],
    scorer: CandidateScorer,
    encoder: EncoderHandle,
    settings: ExtractiveSettings,
    labels: LabelSettings = LabelSettings(),
    *,
    known: Mapping[str, str],
    num_sentences: int = 1,
) -> Extractive:
    """Return the extractive compressor that a language model's judgement trains; from the data folder if it is there.

    `about` holds `encoder`, `loss`, `with_empty`, what is `known`, `training` and `validation` (numbers of examples),
    `dropped` (share of the sources), `negatives` (of an example), `empty` (share of the positives), `losses` (of each
    step), `scores` ((step, re-ranked score)).

    Args:
        sources: Queries with targets and documents.
        validation_sources: Others, by which the encoder that is kept is chosen; may be none.
        scorer: The language model's judgement.
        encoder: What training begins with; it also chooses the candidates.
        settings: Of training.
        labels: How examples are made.
        known: More that `about` holds and that decides nothing: of which task it is, see `known_of`.
        num_sentences: That the compressor selects.

    Raises:
        OctoberError: The encoder has a network of its own for queries; or as `scored_examples`, `training_set` and
            `train_extractive`.
    """
    if encoder.query_path is not None:
        raise OctoberError(
            f"encoder {encoder.name}: has a network for queries and one for texts; one of both is needed"
        )
    asked = [[asdict(source) for source in each] for each in (sources, validation_sources)]

    def train(scratch: Path) -> tuple[Path, dict[str, Any]]:
        judged = [labelled(each, scorer, encoder, labels.max_candidates) for each in (sources, validation_sources)]
        if not labels.with_empty:
            judged = [list(map(without_empty, each)) for each in judged]
        made = training_set(judged[0], epsilon=labels.epsilon, max_negatives=labels.max_negatives)
        trained = train_extractive(deepcopy(encoder.load()), made.examples, judged[1], scratch, settings)
        return trained.folder, {
            **known,
            "encoder": encoder.name,
            "loss": settings.loss,
            "with_empty": labels.with_empty,
            "training": len(made.examples),
            "validation": len(judged[1]),
            "dropped": made.share_dropped,
            "negatives": made.mean_negatives,
            "empty": sum(example.positive == EMPTY for example in made.examples) / len(made.examples),
            "losses": trained.losses,
            "scores": trained.validation,
        }

    run = [TRAINING_VERSION, encoder.fingerprint(), scorer.fingerprint(), asdict(settings), asdict(labels), asked]
    folder, about = trained_once(EXTRACTIVE, run, train)
    handle = EncoderHandle(
        name=f"{encoder.name}, trained",
        path=str(folder),
        device=encoder.device,
        max_sequence_length=settings.max_tokens,
    )
    compressor = ExtractiveCompressor(DualEncoder(handle), num_sentences=num_sentences, allow_empty=labels.with_empty)
    return Extractive(compressor, handle, about)


def judged_by(
    scorer: CandidateScorer, requests: Sequence[TeacherRequest], teacher: Teacher, teacher_fingerprint: str
) -> list[JudgedSummaries]:
    """Return a teacher's summaries with the language model's judgement of each, and of none."""
    return judged_summaries(requests, teacher, scorer, data_home() / "labels", teacher_fingerprint=teacher_fingerprint)


def trained_abstractive(
    judged: Sequence[JudgedSummaries],
    student: Student,
    settings: AbstractiveSettings,
    *,
    known: Mapping[str, str],
    policy: Policy = "empty_if_not_better",
    max_new_tokens: int = 64,
) -> Abstractive:
    """Return the abstractive compressor that learned what the critic kept; from the data folder if it is there.

    `about` holds `student`, `with_titles`, what is `known`, `training` (number of examples), `dropped` (share of the
    judged), `empty` (share of the targets), and `losses` (of each step).

    Args:
        judged: A teacher's summaries, see `judged_by`.
        student: What training begins with.
        settings: Of training.
        known: As in `trained_extractive`.
        policy: Of the critic.
        max_new_tokens: Of a summary that the compressor writes.

    Raises:
        OctoberError: As `distilled`, `train_causal` and `train_seq2seq`.
    """
    learned = distilled(judged, policy)
    asked = [[asdict(request) for request in learned.requests], learned.targets]

    def train(scratch: Path) -> tuple[Path, dict[str, Any]]:
        if isinstance(student, str):
            writer = Seq2SeqWriter.load(student)
            result = train_seq2seq(writer.model, writer.tokenizer, *learned[:2], scratch, settings)
        else:
            result = train_causal(*student.load(), *learned[:2], scratch, settings)
        return result.folder, {
            **known,
            "student": student if isinstance(student, str) else student.name,
            "with_titles": settings.with_titles,
            "training": len(learned.targets),
            "dropped": learned.share_dropped,
            "empty": learned.share_empty,
            "losses": result.losses,
        }

    folder, about = trained_once(ABSTRACTIVE, [_student_fingerprint(student), asdict(settings), asked], train)
    return Abstractive(_compressor(_writer(student, folder), settings, max_new_tokens), about)


def untrained_abstractive(
    student: Student, settings: AbstractiveSettings, *, max_new_tokens: int = 64
) -> AbstractiveCompressor:
    """Return the compressor that a student is before it has learned anything."""
    return _compressor(_writer(student), settings, max_new_tokens)


def _compressor(writer: SummaryWriter, settings: AbstractiveSettings, max_new_tokens: int) -> AbstractiveCompressor:
    return AbstractiveCompressor(
        writer,
        max_new_tokens=max_new_tokens,
        max_input_tokens=settings.max_input_tokens,
        with_titles=settings.with_titles,
    )


def _writer(student: Student, folder: Path | None = None) -> SummaryWriter:
    """Return what writes: the student, or what it has become in a folder."""
    if isinstance(student, str):
        return Seq2SeqWriter.load(str(folder or student))
    return causal_writer(student, folder)


def causal_writer(student: ModelHandle, folder: Path | None = None) -> CausalWriter:
    """Return what writes summaries: a student before training, or what it has become in a folder."""
    network, tokenizer = student.load()
    if folder is not None:
        network = trained_model(network, folder)
    return CausalWriter(TransformersLM(network, tokenizer, max_batch_tokens=student.max_batch_tokens), tokenizer)


def _student_fingerprint(student: Student) -> str:
    return (ModelHandle(name=student, path=student) if isinstance(student, str) else student).fingerprint()
