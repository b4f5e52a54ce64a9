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
from october.language_models.training_runs import trained_once
from october.retrieval import PassageStore
from october.retrieval.ra_dit import (
    ChunkScorer,
    Example,
    MixtureHandle,
    RetrieverExample,
    RetrieverSettings,
    mixed_examples,
    train_retriever,
)

RETRIEVER = "RA-DIT retriever"  # what `trained_once` keeps it as
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
    """

    num_examples: int
    num_validation: int
    share_of_texts: float
    min_words: int
    settings: RetrieverSettings

    def __post_init__(self) -> None:
        if self.num_examples < 1 or self.num_validation < 0:
            counts = f"num_examples={self.num_examples}, num_validation={self.num_validation}"
            raise OctoberError(f"retriever_tuning: {counts}: must be at least 1 and 0")
        if not 0 <= self.share_of_texts <= 1:
            raise OctoberError(f"retriever_tuning.share_of_texts={self.share_of_texts}: must be from 0 to 1")


class TunedRetriever(NamedTuple):
    """A tuned retriever, and what is known of its training (see `tuned_retriever`)."""

    encoder: EncoderHandle
    about: dict[str, Any]


def tuned_retriever(reader: Reader, mixture: MixtureHandle, bench: Bench, tuning: RetrieverTuning) -> TunedRetriever:
    """Return the retriever that was tuned by a language model; from the data folder if it is there.

    `about` holds `texts` and `instructions` (numbers of examples), `losses` and `entropies` (of each step) and
    `validation` ((step, measured)).

    Args:
        reader: The language model that prefers, as it is.
        mixture: Whose examples are the instructions.
        bench: The retriever as it is.
        tuning: How.

    Raises:
        OctoberError: As `mixed_examples` and `train_retriever`.
    """

    def train(scratch: Path) -> tuple[Path, dict[str, Any]]:
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
            "texts": num_texts,
            "instructions": len(learned) - num_texts,
            "losses": result.losses,
            "entropies": result.entropies,
            "validation": [(step, measured._asdict()) for step, measured in result.validation],
        }

    retrieval = bench.retrieval
    search = [bench.corpus.fingerprint(), bench.encoder.fingerprint(), retrieval.words, retrieval.index]
    forbidden = sorted(bench.forbidden)
    run = [reader.fingerprint(), mixture.fingerprint(), asdict(tuning), search, bench.encoder.query_path, forbidden]
    folder, about = trained_once(RETRIEVER, run, train)
    encoder = replace(bench.encoder, query_path=str(folder / _QUERIES))  # of the same name: its index stays
    if (folder / _PASSAGES).exists():
        name = f"{bench.encoder.name}, both tuned"
        encoder = replace(encoder, name=name, path=str(folder / _PASSAGES), revision=None, embedded=None)
    return TunedRetriever(encoder, about)


def examples_of(
    store: PassageStore, mixture: MixtureHandle, tuning: RetrieverTuning, forbidden: Collection[str]
) -> list[RetrieverExample]:
    """Return what the retriever learns from, and behind that what its checkpoint is chosen by.

    Texts of forbidden documents, by id or title, are not among them.
    """
    total = tuning.num_examples + tuning.num_validation
    share = 1 - tuning.share_of_texts
    asks = instructions_of(mixture) if share else []
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
    """Return the examples of a mixture that are searched for and whose answer is a text, not an option's letter."""
    everything = [example for examples in mixture.sets().values() for example in examples]
    return [example for example in everything if example.query and example.background is None and not example.options]


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
