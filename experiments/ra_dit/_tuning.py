"""Both steps of tuning, by content: the same model on the same examples is never tuned twice, whatever table asks."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from october.errors import OctoberError
from october.experiments.ra_dit._bench import Bench
from october.language_models import ModelHandle
from october.language_models.training_runs import Kept, is_kept, trained_once
from october.retrieval.ra_dit import (
    Augmented,
    Example,
    Instance,
    LanguageModelSettings,
    retrieved_examples,
    train_language_model,
)

LANGUAGE_MODEL = "RA-DIT language model"  # what `trained_once` keeps it as


@dataclass(frozen=True)
class LanguageModelTuning:
    """How the language model learns to read (LM-ft).

    Attributes:
        num_passages: Of each example, each of which makes an example of its own (3 in the paper); 0 tunes without any.
        num_validation: Examples, the last of the mixture, by whose loss the checkpoint is chosen; 0 takes the last one.
        settings: Of the training itself.
    """

    num_passages: int
    num_validation: int
    settings: LanguageModelSettings

    def __post_init__(self) -> None:
        for name in ("num_passages", "num_validation"):
            if getattr(self, name) < 0:
                raise OctoberError(f"language_model_tuning.{name}={getattr(self, name)}: must not be below 0")


class Examples(Protocol):
    """What a model is tuned on: a mixture of instructions, or examples of one task."""

    name: str

    def load(self) -> list[Example]:
        """Return the examples."""

    def fingerprint(self) -> str:
        """Return what changes with any of them."""


def tuned_language_model(model: ModelHandle, mixture: Examples, bench: Bench, tuning: LanguageModelTuning) -> Kept:
    """Return the language model (or its adapters) that was tuned on a mixture; from the data folder if it is there.

    `about` holds what was tuned (`base`) on what (`mixture`, `corpus`, `num_passages`), the numbers of `examples`, of
    `instances`, of examples for which no passage was found (`without`) or fewer than wanted (`fewer`) and of `skipped`
    instances, `losses` (of each step) and `validated` ((step, loss)).

    Args:
        model: What tuning begins with.
        mixture: The examples.
        bench: Its untuned retriever finds the passages.
        tuning: How.

    Raises:
        OctoberError: As `train_language_model`; or validation takes all examples.
    """

    def train(scratch: Path) -> tuple[Path, dict[str, Any]]:
        examples = loaded(mixture)
        num_training = len(examples) - tuning.num_validation
        learned = instances_of(examples[:num_training], bench, tuning.num_passages)
        checked = instances_of(examples[num_training:], bench, tuning.num_passages)
        network, tokenizer = replace(model, dtype="float32").load_own()
        result = train_language_model(
            *(network, tokenizer, learned.instances, scratch, tuning.settings),
            validation=checked.instances,
            in_place=True,
        )
        return result.folder, {
            "model": model.name,
            "base": model.fingerprint(),
            "mixture": mixture.name,
            "corpus": bench.corpus.fingerprint(),
            "num_passages": tuning.num_passages,
            "examples": num_training,
            "instances": len(learned.instances),
            "without": learned.num_without,
            "fewer": learned.num_fewer,
            "skipped": result.num_skipped,
            "losses": result.losses,
            "validated": [(each.step, each.loss) for each in result.validated],
        }

    check_language_model(model, mixture, bench, tuning)
    return trained_once(LANGUAGE_MODEL, _run(model, mixture, bench, tuning), train)


def check_language_model(model: ModelHandle, mixture: Examples, bench: Bench, tuning: LanguageModelTuning) -> None:
    """Raise `OctoberError` if tuning is still to come and its examples are too few, or cannot be read."""
    if not is_kept(LANGUAGE_MODEL, _run(model, mixture, bench, tuning)):
        check_validation(tuning, len(loaded(mixture)))


def check_validation(tuning: LanguageModelTuning, num_examples: int) -> None:
    """Raise `OctoberError` if validation takes all of so many examples."""
    if tuning.num_validation >= num_examples:
        raise OctoberError(f"num_validation={tuning.num_validation}: the mixture has {num_examples} examples")


def _run(model: ModelHandle, mixture: Examples, bench: Bench, tuning: LanguageModelTuning) -> list[Any]:
    """Return all that decides the tuned model."""
    return [model.fingerprint(), mixture.fingerprint(), asdict(tuning), bench.search_identity()]


@cache  # making a mixture takes seconds, and it is counted before it is learned from
def loaded(mixture: Examples) -> list[Example]:
    """Return what a model is tuned on."""
    return mixture.load()


def instances_of(examples: Sequence[Example], bench: Bench, num_passages: int) -> Augmented:
    """Return examples with passages as they are learned; without any for 0."""
    if not num_passages:
        return Augmented([Instance(example) for example in examples], num_searched=0, num_without=0, num_fewer=0)
    return retrieved_examples(examples, bench.retriever(), num_passages)
