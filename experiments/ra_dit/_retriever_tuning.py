"""The retriever tuned by the language model's preferences (R-ft), by content: never twice, whatever table asks."""

import shutil
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from october.errors import OctoberError
from october.experiments.ra_dit._bench import Asked, Bench, is_gold
from october.experiments.ra_dit._reading import Reader
from october.language_models import EncoderHandle
from october.language_models.training_runs import is_kept, trained_once
from october.retrieval import PassageStore
from october.retrieval.ra_dit import (
    ChunkScorer,
    Example,
    MixtureHandle,
    RetrieverExample,
    RetrieverSettings,
    mixed_examples,
    num_instructions,
)

RETRIEVER = "RA-DIT retriever"  # what `trained_once` keeps it as
_INSTRUCTIONS = ("open_qa", "multiple_choice", "dialogue")  # families
_QUERIES, _PASSAGES = "queries", "passages"  # folders of the encoders that moved


@dataclass(frozen=True)
class RetrieverTuning:
    """How the retriever learns what the language model prefers.

    Attributes:
        num_examples: That it learns from.
        num_validation: By which the checkpoint is chosen; 0 takes the last one.
        share_of_texts: Of the examples, those made of the corpus itself (0.95 in the paper), but for the gold documents
            of test questions; the others are instructions without a background.
        min_words: A passage needs to be cut in two.
        settings: Of the training itself.
        mixture: Whose questions and dialogues are the instructions; None takes those of the language model's mixture.
    """

    num_examples: int
    num_validation: int
    share_of_texts: float
    min_words: int
    settings: RetrieverSettings
    mixture: MixtureHandle | None = None

    def __post_init__(self) -> None:
        if self.num_examples < 1 or self.num_validation < 0:
            counts = f"num_examples={self.num_examples}, num_validation={self.num_validation}"
            raise OctoberError(f"retriever_tuning: {counts}: must be at least 1 and 0")
        if not 0 <= self.share_of_texts <= 1:
            raise OctoberError(f"retriever_tuning.share_of_texts={self.share_of_texts}: must be from 0 to 1")

    def check(self) -> None:
        """Raise `OctoberError` if a piece of the retriever's own mixture is missing."""
        if self.mixture is not None:
            self.mixture.check()

    def instructions(self, mixture: MixtureHandle) -> MixtureHandle:
        """Return the mixture that is learned from: the retriever's own, else the language model's."""
        return self.mixture or mixture

    def identity(self, mixture: MixtureHandle) -> tuple[dict[str, Any], str]:
        """Return what decides the training beside the models and the search."""
        decides = {**asdict(replace(self, mixture=None)), "settings": self.settings.identity()}
        return decides, self.instructions(mixture).fingerprint()

    def fingerprints(self, mixture: MixtureHandle) -> dict[str, str]:
        """Return what identifies the language model's mixture, and the retriever's where it has its own."""
        found = {f"mixture {mixture.name}": mixture.fingerprint()}
        if self.mixture is not None:
            found[f"retriever's mixture {self.mixture.name}"] = self.mixture.fingerprint()
        return found


class TunedRetriever(NamedTuple):
    """A tuned retriever, and what is known of its training (see `tuned_retriever`)."""

    encoder: EncoderHandle
    about: dict[str, Any]


def tuned_retriever(reader: Reader, mixture: MixtureHandle, bench: Bench, tuning: RetrieverTuning) -> TunedRetriever:
    """Return the retriever that was tuned by a language model; from the data folder if it is there.

    `about` holds what was `tuned` (of which `encoder`, `base`) by which `model` on what (`mixture`, `corpus`,
    `share_of_texts`), `texts` and `instructions` (numbers of examples), `skipped` (those of them, and of validation,
    that were too long; older ones do not tell), `losses` and `entropies` (of each step) and
    `validation` ((step, measured)).

    Args:
        reader: The language model that prefers, as it is.
        mixture: Of the language model; its examples are the instructions where the retriever has no mixture of its own.
        bench: The retriever as it is.
        tuning: How.

    Raises:
        OctoberError: As `mixed_examples` and `train_retriever`.
    """

    def train(scratch: Path) -> tuple[Path, dict[str, Any]]:
        from october.retrieval.ra_dit import train_retriever  # seconds, which a mistake or --cfg job need not wait for

        retriever = bench.retriever()
        examples = examples_of(retriever.store, mixture, tuning, bench.forbidden)
        learned, validation = examples[: tuning.num_examples], examples[tuning.num_examples :]
        result = train_retriever(
            bench.encoder,
            retriever,
            learned,
            validation,
            ChunkScorer(reader.model, reader.fingerprint()),
            scratch,
            tuning.settings,
            cache=bench.embeddings(bench.encoder),
        )
        num_texts = sum(bool(example.hidden) for example in learned)
        return _together(result.encoder, bench.encoder, scratch / "result"), {
            "encoder": bench.encoder.name,
            "base": bench.encoder.fingerprint(),
            "model": reader.handle.fingerprint(),
            "mixture": tuning.instructions(mixture).name,
            "corpus": bench.corpus.fingerprint(),
            "tuned": tuning.settings.tuned,
            "share_of_texts": tuning.share_of_texts,
            "texts": num_texts,
            "instructions": len(learned) - num_texts,
            "skipped": result.num_skipped,
            "losses": result.losses,
            "entropies": result.entropies,
            "validation": [(step, measured._asdict()) for step, measured in result.validation],
        }

    check_retriever(reader, mixture, bench, tuning)
    folder, about = trained_once(RETRIEVER, _run(reader, mixture, bench, tuning), train)
    encoder = replace(bench.encoder, query_path=str(folder / _QUERIES))  # of the same name: its index stays
    if (folder / _PASSAGES).exists():
        name = f"{bench.encoder.name}, both tuned"
        encoder = replace(encoder, name=name, path=str(folder / _PASSAGES), revision=None, embedded=None)
    return TunedRetriever(encoder, about)


def check_retriever(reader: Reader, mixture: MixtureHandle, bench: Bench, tuning: RetrieverTuning) -> None:
    """Raise `OctoberError` if tuning is still to come and instructions are too few; searches and judges nothing."""
    share = 1 - tuning.share_of_texts
    if share and not is_kept(RETRIEVER, _run(reader, mixture, bench, tuning)):
        there = len(instructions_of(tuning.instructions(mixture)))
        num_instructions(tuning.num_examples + tuning.num_validation, share, there)


def _run(reader: Reader, mixture: MixtureHandle, bench: Bench, tuning: RetrieverTuning) -> list[Any]:
    """Return all that decides the tuned retriever."""
    return [reader.fingerprint(), *tuning.identity(mixture), bench.search_identity(), sorted(bench.forbidden)]


def examples_of(
    store: PassageStore, mixture: MixtureHandle, tuning: RetrieverTuning, forbidden: Collection[str]
) -> list[RetrieverExample]:
    """Return what the retriever learns from, and behind that what its checkpoint is chosen by.

    Texts of forbidden documents, by id or title, are not among them.
    """
    total = tuning.num_examples + tuning.num_validation
    share = 1 - tuning.share_of_texts
    asks = instructions_of(tuning.instructions(mixture)) if share else []
    return mixed_examples(
        store,
        asks,
        total,
        instruction_share=share,
        min_words=tuning.min_words,
        seed=tuning.settings.seed,
        forbidden=forbidden,
    )


@cache  # making a mixture's sets takes seconds, and several tunings ask for them
def instructions_of(mixture: MixtureHandle) -> list[Example]:
    """Return the questions and dialogues of a mixture that are searched for: no reading, no chains of thought."""
    everything = [example for examples in mixture.sets().values() for example in examples]
    return [example for example in everything if example.family in _INSTRUCTIONS and example.background is None]


def recalled(bench: Bench, asked: Asked, num_passages: int | None = None) -> list[bool]:
    """Return for each test question that has gold documents whether one of them is among its passages."""
    pairs = zip(bench.questions, asked.passages, strict=True)
    return [
        any(is_gold(passage, question) for passage in found[:num_passages])
        for question, found in pairs
        if question.gold_documents
    ]


def _together(tuned: EncoderHandle, before: EncoderHandle, folder: Path) -> Path:
    """Put what training has left into one folder."""
    folder.mkdir()
    shutil.move(str(tuned.query_path), folder / _QUERIES)
    if tuned.path != before.path:
        shutil.move(str(tuned.path), folder / _PASSAGES)
    return folder
