"""What a model answers behind passages, read once: weights and the number of passages can be chosen afterwards.

    log p(y | x) = logsumexp_c [ log p_LM(y | c o x) + log p_R(c | x) ]                                     Eq. 2

Of every prompt it is kept what was written, and how likely everything is that was written for the question. So one
reading of ten passages holds that of any fewer, and the answers by any weights. Readings are kept by content in the
data folder's `readings`, whatever table asks:

readings/KEY.json                   all that was asked
readings/KEY/FIRST-STOP.json        a piece of it, until all are there: a run that was killed goes on behind the last
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.special import log_softmax, logsumexp

from october.experiments.ra_dit._bench import Asked
from october.files import content_hash, data_home, only_writer, write_whole
from october.language_models import LanguageModel, ModelHandle, ServedHandle
from october.language_models.answer_training import trained_model
from october.retrieval.ra_dit import Ensemble, Mixed, Reading

_PIECE = 64  # questions that are read between two files; examples in front of the prompts are encoded once for each

LanguageModelHandle = ModelHandle | ServedHandle
Strategy = Literal[
    "mixture", "concatenation", "no_retrieval"
]  # of reading; what follows from the first is chosen later
Read = dict[str, list[Any]]  # answer, candidates, written, by_prompt, scores: one of each for every question


@dataclass(frozen=True)
class TunedModel(ModelHandle):
    """A local model as it was tuned, which may be one that was tuned before.

    Attributes:
        base: What tuning began with.
        folder: As `trained_once` keeps it: under a name that tells what decided it.
    """

    base: ModelHandle | None = None
    folder: Path = Path()

    def load(self) -> tuple[Any, Any]:
        """Return the tuned model, adapters merged, and its tokenizer."""
        network, tokenizer = self._base().load()
        return trained_model(network, self.folder), tokenizer

    def load_own(self) -> tuple[Any, Any]:
        """Return what `load` makes anew each time."""
        return self.load()

    def fingerprint(self) -> str:
        """Return 16 digits of the model and of what it was tuned on."""
        return content_hash([self._base().fingerprint(), self.folder.parent.name])

    def _base(self) -> ModelHandle:
        assert self.base is not None
        return replace(self.base, dtype=self.dtype)


class Reader:
    """A language model that answers: as it is, or as it was tuned.

    Args:
        handle: The model.
        max_answer_tokens: Of an answer.
        folder: Of what tuning left of a local model; None is the model as it is.
    """

    def __init__(self, handle: LanguageModelHandle, max_answer_tokens: int, folder: Path | None = None) -> None:
        self.handle = handle
        self.max_answer_tokens = max_answer_tokens
        self.folder = folder

    @cached_property
    def model(self) -> LanguageModel:
        """The model itself, loaded when it is first asked."""
        if self.folder is None or not isinstance(self.handle, ModelHandle):
            return self.handle.language_model()
        return self.tuned_handle().language_model()

    def tuned_handle(self) -> "TunedModel":
        """Return the local model as it was tuned, as something that can be tuned once more."""
        assert isinstance(self.handle, ModelHandle)
        assert self.folder is not None
        return TunedModel(**vars(self.handle) | {"base": self.handle, "folder": self.folder})

    def fingerprint(self) -> str:
        """Return what identifies the model: tuned ones stand in a folder that is named by what decided them."""
        return content_hash([self.handle.fingerprint(), self.folder and self.folder.parent.name])

    def read(self, asked: Asked, strategy: Strategy = "mixture", head: str = "") -> Read:
        """Return what the model answers; from the data folder if it was asked the same before.

        Args:
            asked: Questions with their passages.
            strategy: Each passage in a prompt of its own, all in one, or none.
            head: What stands in front of every prompt.
        """
        readings = asked.readings()
        what = [self.fingerprint(), self.max_answer_tokens, strategy, head, _content(readings)]
        path = data_home() / "readings" / f"{content_hash(what)}.json"
        if not path.exists():
            folder = path.with_suffix("")
            with only_writer(folder):  # who waits for another finds what that has read
                if not path.exists():
                    ensemble = Ensemble(self.model, strategy, head=head)
                    write_whole(path, json.dumps(self._in_pieces(ensemble, readings, folder)))
                    shutil.rmtree(folder)
        return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]

    def _in_pieces(self, ensemble: Ensemble, readings: Sequence[Reading], folder: Path) -> Read:
        """Read some questions after the other; pieces that lie in the folder are not read again."""
        choices = all(getattr(reading.example, "options", ()) for reading in readings)
        whole: Read = {}
        for first in range(0, len(readings), _PIECE):
            piece = readings[first : first + _PIECE]
            file = folder / f"{first:08d}-{first + len(piece):08d}.json"
            if not file.exists():
                mixed = self._chosen(ensemble, piece) if choices else self._written(ensemble, piece)
                write_whole(file, json.dumps(_kept(mixed, piece)))
            for name, values in json.loads(file.read_text(encoding="utf-8")).items():
                whole.setdefault(name, []).extend(values)
        return whole

    def _chosen(self, ensemble: Ensemble, readings: Sequence[Reading]) -> list[Mixed]:
        return ensemble.choices(readings, [getattr(reading.example, "options", ()) for reading in readings])

    def _written(self, ensemble: Ensemble, readings: Sequence[Reading]) -> list[Mixed]:
        return ensemble.answers(readings, max_new_tokens=self.max_answer_tokens)


def answers(read: Read, temperature: float | None = 1.0, num_passages: int | None = None) -> list[str]:
    """Return what is likeliest under the mixture (Eq. 2) of the first passages' prompts.

    Args:
        read: What was read of each passage by itself.
        temperature: Of the retriever's scores; None gives all passages one weight, as REPLUG's released code does.
        num_passages: The best so many; None takes all that were read.
    """
    columns = ("candidates", "written", "by_prompt", "scores", "chosen_from_options")
    return [_answer(*row, temperature, num_passages) for row in zip(*(read[name] for name in columns), strict=True)]


def _answer(
    candidates: list[str],
    written: list[str],
    by_prompt: list[list[float]],
    scores: list[float],
    from_options: bool,
    temperature: float | None,
    num_passages: int | None,
) -> str:
    count = min(num_passages or len(by_prompt), len(by_prompt))
    weights = np.array(scores[:count] or [0.0])
    log_weights = log_softmax(weights / temperature if temperature else 0 * weights)
    mixed = logsumexp(np.array(by_prompt[:count]) + log_weights[:, None], axis=0)
    there = [place for place, text in enumerate(candidates) if from_options or text in written[:count]]
    return candidates[max(there, key=mixed.__getitem__)]


def _kept(mixed: Sequence[Mixed], readings: Sequence[Reading]) -> Read:
    """Return it as JSON can hold it."""
    return {
        "candidates": [list(each.candidates) for each in mixed],
        "written": [list(each.written) for each in mixed],
        "by_prompt": [[list(row) for row in each.by_prompt] for each in mixed],
        "scores": [list(reading.scores) for reading in readings],
        "chosen_from_options": [bool(getattr(reading.example, "options", ())) for reading in readings],
    }


def _content(readings: Sequence[Reading]) -> list[Any]:
    examples = [(getattr(each.example, "instruction", ""), getattr(each.example, "options", ())) for each in readings]
    return [[*example, each.passages, each.scores] for example, each in zip(examples, readings, strict=True)]
