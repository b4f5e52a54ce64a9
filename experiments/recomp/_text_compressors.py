"""The compressors of texts: trained on windows of other documents, with the teacher that the abstractive one imitates.

The teacher and its student read the best few of the retrieved passages; sentences are chosen from all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from pydantic import PositiveInt

from october.data import CorpusHandle, LanguageModelingText
from october.data.corpora import SomeDocuments
from october.errors import OctoberError
from october.experiments.recomp._compressors import (
    LabelSettings,
    Student,
    judged_by,
    known_of,
    labelled,
    trained_abstractive,
    trained_extractive,
    untrained_abstractive,
    without_empty,
)
from october.experiments.recomp._texts import Reading, TextTask
from october.files import content_hash
from october.language_models import EncoderHandle, ModelHandle, ServedHandle
from october.retrieval import Passage
from october.retrieval.recomp import (
    TEXT_PROMPTS,
    AbstractiveCompressor,
    AbstractiveSettings,
    Compressor,
    ExtractiveCompressor,
    ExtractiveSettings,
    JudgedSummaries,
    LabelSource,
    LanguageModelTeacher,
    Policy,
    ScoredExample,
    TeacherRequest,
    critic,
    read_prompts,
)


@dataclass(frozen=True)
class TextTraining:
    """What compressors of texts learn from.

    Attributes:
        num_examples: Windows whose sentences are judged, for the extractive compressor.
        num_validation: Of more windows, by which its encoder is chosen.
        num_summaries: Windows that the teacher writes for, among the first.
        num_prompts: By which the teacher writes, the first ones.
        max_summary_tokens: Of a summary.
        num_summarised: Passages that teacher and student read.
        temperature: Of the teacher.
        labels: How the extractive compressor's examples are made.
        extractive: How its encoder is trained.
        abstractive: How the student is trained.
        policy: Of the critic, which decides what the student learns where no summary helps.
        prompts: A YAML file with a teacher's prompts; None takes the project's.

    Raises:
        OctoberError: There are more summaries than examples, or fewer prompts than are asked for.
    """

    num_examples: PositiveInt
    num_validation: PositiveInt
    num_summaries: PositiveInt
    num_prompts: PositiveInt
    max_summary_tokens: PositiveInt
    num_summarised: PositiveInt
    temperature: float
    labels: LabelSettings
    extractive: ExtractiveSettings
    abstractive: AbstractiveSettings
    policy: Policy = "empty_if_not_better"
    prompts: str | None = None

    def __post_init__(self) -> None:
        if self.num_summaries > self.num_examples:
            raise OctoberError(f"num_summaries={self.num_summaries}: at most num_examples={self.num_examples}")
        if self.num_prompts > len(self.all_prompts):
            raise OctoberError(f"num_prompts={self.num_prompts}: there are {len(self.all_prompts)}")

    @property
    def all_prompts(self) -> tuple[str, ...]:
        """The teacher's prompts, those that are not asked for included."""
        return TEXT_PROMPTS if self.prompts is None else read_prompts(self.prompts)


class TextCompressors:
    """Compressors of one text's windows, each trained, or read from the data folder, when it is first asked for.

    Args:
        task: The text that is measured on; its model judges.
        corpus: Of the documents that training windows are taken from; held-out ones among them are left out.
        encoder: Of sentences; what the extractive compressor's training begins with.
        teacher: Writes summaries.
        student: Learns to.
        training: What they learn from.
    """

    def __init__(
        self,
        task: TextTask,
        corpus: CorpusHandle,
        encoder: EncoderHandle,
        teacher: ModelHandle | ServedHandle,
        student: Student,
        training: TextTraining,
    ) -> None:
        self.task = task
        self.corpus = corpus
        self.encoder = encoder
        self.teacher = teacher
        self.student = student
        self.training = training

    @cached_property
    def sources(self) -> list[LabelSource]:
        """Training windows, those for validation last."""
        return self.task.training_sources(self.corpus, self.training.num_examples + self.training.num_validation)

    @cached_property
    def extractive(self) -> ExtractiveCompressor:
        """The trained extractive compressor; it chooses one sentence."""
        first = self.training.num_examples
        settings = (self.training.extractive, self.training.labels)
        sources, scorer = (self.sources[:first], self.sources[first:]), self.task.scorer
        return trained_extractive(*sources, scorer, self.encoder, *settings, known=known_of("texts", scorer)).compressor

    @cached_property
    def abstractive(self) -> AbstractiveCompressor:
        """The trained student."""
        judged = self.judged(self.sources[: self.training.num_summaries])
        options = {"known": known_of("texts", self.task.scorer), "policy": self.training.policy}
        settings, limit = self.training.abstractive, self.training.max_summary_tokens
        return trained_abstractive(judged, self.student, settings, max_new_tokens=limit, **options).compressor

    @cached_property
    def untrained(self) -> AbstractiveCompressor:
        """The student before training."""
        limit = self.training.max_summary_tokens
        return untrained_abstractive(self.student, self.training.abstractive, max_new_tokens=limit)

    def judged(self, sources: Sequence[LabelSource]) -> list[JudgedSummaries]:
        """Return the teacher's summaries, judged by the model that reads."""
        training = self.training
        prompts = training.all_prompts[: training.num_prompts]
        options = {"max_new_tokens": training.max_summary_tokens, "temperature": training.temperature}
        teacher = LanguageModelTeacher(self.teacher.language_model(), prompts, **options)
        requests = [
            TeacherRequest(source.query, source.targets, tuple(self.summarised(source.documents))) for source in sources
        ]
        named = content_hash([self.teacher.fingerprint(), prompts, options])
        return judged_by(self.task.scorer, requests, teacher, named)

    @cached_property
    def judged_windows(self) -> list[JudgedSummaries]:
        """The teacher's summaries of the measured windows."""
        return self.judged(self.task.sources)

    @cached_property
    def labelled_windows(self) -> list[ScoredExample]:
        """The measured windows' sentences, judged."""
        return labelled(self.task.sources, self.task.scorer, self.encoder, self.training.labels.max_candidates)

    def summarised(self, documents: Sequence[Passage]) -> Sequence[Passage]:
        """Return the passages that teacher and student read."""
        return documents[: self.training.num_summarised]

    def summaries(self, compressor: Compressor) -> list[str]:
        """Return each window's summary by a compressor that reads what the teacher reads."""
        sources = self.task.sources
        documents = [self.summarised(source.documents) for source in sources]
        return self.task.spread(compressor.compress_many([source.query for source in sources], documents))

    def oracle_sentences(self) -> list[str]:
        """Return the sentence of each window with which the model does best, among those that it judged."""
        return self.task.spread([best_sentence(scored) for scored in self.labelled_windows])

    def teacher_summaries(self) -> list[str]:
        """Return the teacher's summaries by its first prompt."""
        return self.task.spread([one.summaries[0] for one in self.judged_windows])

    def oracle_summaries(self) -> list[str]:
        """Return the summary of each window with which the model does best, or none where none helps."""
        return self.task.spread([critic(one, "empty_if_not_better") or "" for one in self.judged_windows])


@dataclass(frozen=True)
class TextBench:
    """A text and its compressors, for tables that are not of perplexity.

    Attributes:
        data: The text.
        corpus: Is retrieved from.
        training_corpus: Of the documents whose windows compressors learn from.
        num_corpus_documents: The first so many of either corpus; None takes all.
        teacher: Writes summaries.
        reading: How the text is read.
        training: What compressors learn from.
    """

    data: LanguageModelingText
    corpus: CorpusHandle
    training_corpus: CorpusHandle
    num_corpus_documents: PositiveInt | None
    teacher: ModelHandle | ServedHandle
    reading: Reading
    training: TextTraining

    def check(self) -> None:
        """Check that every piece can be found."""
        for piece in (self.data, self.corpus, self.training_corpus, self.teacher):
            piece.check()

    def compressors(self, model: ModelHandle, encoder: EncoderHandle, student: Student) -> TextCompressors:
        """Return the text's compressors; nothing is loaded yet."""
        corpora = [first_documents(each, self.num_corpus_documents) for each in (self.corpus, self.training_corpus)]
        task = TextTask(model, self.data, corpora[0], self.reading)
        return TextCompressors(task, corpora[1], encoder, self.teacher, student, self.training)


def first_documents(corpus: CorpusHandle, count: int | None) -> CorpusHandle:
    """Return a corpus, or its first documents."""
    return corpus if count is None else SomeDocuments(corpus, count, ())


def best_sentence(scored: ScoredExample) -> str:
    """Return the candidate with the highest score, the first of equal ones; the empty text is none."""
    sentences = without_empty(scored)
    pairs = zip(sentences.scores, sentences.candidates, strict=True)
    return max(pairs, key=lambda pair: pair[0])[1]
