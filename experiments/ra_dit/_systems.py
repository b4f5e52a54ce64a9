"""A language model and a retriever, each as it was or as it was tuned, in any combination: what the tables compare."""

from dataclasses import dataclass
from functools import cached_property

from october.experiments.ra_dit._bench import Asked, Bench
from october.experiments.ra_dit._reading import Read, Reader, Strategy, answers
from october.experiments.ra_dit._retriever_tuning import RetrieverTuning, check_retriever, tuned_retriever
from october.experiments.ra_dit._tuning import LanguageModelTuning, check_language_model, tuned_language_model
from october.language_models import EncoderHandle, ModelHandle
from october.retrieval.ra_dit import MixtureHandle, few_shot_head


@dataclass(frozen=True)
class System:
    """What answers.

    Attributes:
        language_model: Whether the language model was tuned.
        retriever: Whether the retriever was.
        strategy: Each passage in a prompt of its own, all in one, or none.
        shots: Examples in front of every prompt.
    """

    language_model: bool = False
    retriever: bool = False
    strategy: Strategy = "mixture"
    shots: int = 0


class Systems:
    """All combinations; each half is tuned when it is first needed, and kept.

    Args:
        model: The language model; as it is, it says which passages it prefers.
        mixture: What it is tuned on.
        bench: The questions, and the retriever as it is.
        language_model_tuning: How the one half is tuned.
        retriever_tuning: How the other is.
        max_answer_tokens: Of an answer.
    """

    def __init__(
        self,
        model: ModelHandle,
        mixture: MixtureHandle,
        bench: Bench,
        language_model_tuning: LanguageModelTuning,
        retriever_tuning: RetrieverTuning,
        max_answer_tokens: int,
    ) -> None:
        self.model = model
        self.mixture = mixture
        self.bench = bench
        self.language_model_tuning = language_model_tuning
        self.retriever_tuning = retriever_tuning
        self.untuned = Reader(model, max_answer_tokens)

    def check(self) -> None:
        """Raise `OctoberError`, before anything is read or tuned, if there are too few questions or examples."""
        len(self.bench.questions)  # reads them, or raises; an assert would not under -O
        check_language_model(self.model, self.mixture, self.bench, self.language_model_tuning)
        check_retriever(self.untuned, self.mixture, self.bench, self.retriever_tuning)

    @cached_property
    def tuned(self) -> Reader:
        """The language model that was tuned to read."""
        return self.reader_tuned_by(self.language_model_tuning)

    def reader_tuned_by(self, tuning: LanguageModelTuning) -> Reader:
        """Return the language model that was tuned in another way."""
        kept = tuned_language_model(self.model, self.mixture, self.bench, tuning)
        return Reader(self.model, self.untuned.max_answer_tokens, kept.folder)

    @cached_property
    def tuned_encoder(self) -> EncoderHandle:
        """The retriever that was tuned to fetch what the language model prefers."""
        return self.encoder_tuned_by(self.retriever_tuning)

    def encoder_tuned_by(self, tuning: RetrieverTuning) -> EncoderHandle:
        """Return the retriever that was tuned in another way."""
        return tuned_retriever(self.untuned, self.mixture, self.bench, tuning).encoder

    def asked(self, system: System) -> Asked:
        """Return the test questions with the passages that a system reads."""
        if system.strategy == "no_retrieval":
            return self.bench.without_passages()
        return self.bench.asked(self.tuned_encoder if system.retriever else None)

    def read(self, system: System) -> Read:
        """Return what a system's language model answers behind each passage."""
        reader = self.tuned if system.language_model else self.untuned
        with_passages = system.strategy != "no_retrieval"
        encoder = self.tuned_encoder if system.retriever else None
        shown = self.bench.demonstrations(system.shots, with_passages=with_passages, encoder=encoder)
        return reader.read(self.asked(system), system.strategy, few_shot_head(shown))

    def answers(self, system: System) -> list[str]:
        """Return a system's answers to the test questions."""
        return answers(self.read(system), self.bench.retrieval.temperature)

    def fingerprints(self) -> dict[str, str]:
        """Return what identifies data and models."""
        return {
            **self.bench.fingerprints(),
            self.model.name: self.model.fingerprint(),
            **self.retriever_tuning.fingerprints(self.mixture),
        }
