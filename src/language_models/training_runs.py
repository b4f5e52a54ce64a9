"""What trainings share: a folder that belongs to one run, going on after a kill, and models that are kept by content.

data folder/training/KEY   checkpoints of a training that was killed, from which the next one goes on
data folder/trained/KEY    model/, and about.json: what is known of it
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import OctoberError
from ..files import atomic_path, content_hash, data_home, only_writer, write_whole

_RUN, _MODEL, _ABOUT = "run.json", "model", "about.json"
LOGGED_AND_KEPT = {  # of every trainer's arguments: each step's loss as it is, and the newest two checkpoints
    "logging_steps": 1,
    "logging_nan_inf_filter": False,
    "save_total_limit": 2,
    "report_to": "none",
    "disable_tqdm": False,
}

PLAIN_ADAM = {"optim": "adamw_torch", "weight_decay": 0.0}  # of every trainer's arguments, where the paper has Adam


class Kept(NamedTuple):
    """A trained model that is kept.

    Attributes:
        folder: Of the model, or of its adapters.
        about: What is known of it; `what` says what it is.
    """

    folder: Path
    about: dict[str, Any]


def check_positive(settings: Mapping[str, Any]) -> None:
    """Raise `OctoberError` for the first number that is not above 0; None and texts pass."""
    for name, value in settings.items():
        if isinstance(value, int | float) and not value > 0:
            raise OctoberError(f"{name}={value}: must be above 0")


def accumulated_batches(batch_size: int, rows_at_once: int) -> int:
    """Return the batches of one device whose gradients make a step.

    Args:
        batch_size: Rows of a step, over all devices.
        rows_at_once: That one device sees at once.

    Raises:
        OctoberError: They do not divide.
    """
    devices = _world_size()
    batches, rest = divmod(batch_size, rows_at_once * devices)
    if rest or not batches:
        together = f"rows_at_once={rows_at_once} on each of {devices} devices"
        raise OctoberError(f"batch_size={batch_size}: must be a multiple of {together}")
    return batches


def claim_folder(folder: Path, settings: Mapping[str, Any], examples: Any) -> None:
    """Note whose folder it is: two runs in one would go on from each other's checkpoints.

    Args:
        folder: Of checkpoints.
        settings: Of the run; they are written beside its hash, to be read.
        examples: All else that decides the run, as JSON can hold it.

    Raises:
        OctoberError: The folder belongs to another run, or its note cannot be read.
    """
    run, record = content_hash({"settings": dict(settings), "examples": examples}), folder / _RUN
    try:
        claimed = json.loads(record.read_text())["run"] if record.is_file() else run
    except (ValueError, KeyError, TypeError) as error:
        raise OctoberError(f"{record}: cannot be read; choose another folder") from error
    if claimed != run:
        raise OctoberError(f"{folder}: holds a run with other settings or examples; choose another folder")
    write_whole(record, json.dumps({"run": run, "settings": dict(settings)}, indent=2))


def newest_whole_checkpoint(folder: Path) -> Path | None:
    """Return the checkpoint with the most steps whose state, which is written last, can be read."""
    steps: dict[int, Path] = {}
    for checkpoint in folder.glob("checkpoint-*"):
        try:
            steps[json.loads((checkpoint / "trainer_state.json").read_text())["global_step"]] = checkpoint
        except (OSError, ValueError, KeyError):  # killed while it was written
            continue
    return steps[max(steps)] if steps else None


def train_or_go_on(trainer: Any, folder: Path) -> list[float]:
    """Train, from the newest whole checkpoint if there is one; return each step's loss, the earlier ones included.

    Args:
        trainer: A `transformers.Trainer` that logs each step.
        folder: Of its checkpoints.

    Raises:
        OctoberError: One process sees several GPUs (start it with torchrun: one process for each), or training would
            end before its learning rate has risen to its highest.
    """
    from transformers import ProgressCallback, TrainerCallback

    class Bar(ProgressCallback):
        """The bar without a line for each step."""

        def on_log(self, *arguments: Any, **more: Any) -> None:
            """Print nothing."""

    class Warmed(TrainerCallback):
        """Refuses a training that ends within its warm-up."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            """Compare the steps, which the trainer has counted by now."""
            warmup = args.get_warmup_steps(state.max_steps)
            if warmup and warmup >= state.max_steps:
                raise OctoberError(f"warmup_steps={warmup}: must be below the {state.max_steps} steps of this training")

    if trainer.args.n_gpu > 1:
        raise OctoberError(f"one process sees {trainer.args.n_gpu} GPUs: start it with torchrun, one process for each")
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(Bar)
    trainer.add_callback(Warmed)
    checkpoint = newest_whole_checkpoint(folder)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def save_model(trainer: Any, folder: Path) -> Path:
    """Save a trainer's model (or its adapters) with the tokenizer, whole or not at all; return where."""
    target = folder / _MODEL
    if trainer.is_world_process_zero():
        with atomic_path(target) as temporary:
            trainer.save_model(str(temporary))
    else:  # writes nothing, but hands over its part of the weights where they are sharded
        trainer.save_model(str(target))
    return target


def trained_once(what: str, run: Any, train: Callable[[Path], tuple[Path, dict[str, Any]]]) -> Kept:
    """Return a trained model from the data folder; trained where it is not there yet.

    Two runs that want the same model train it once; the processes of one run train it together.

    Args:
        what: It is, in words; part of `about`.
        run: All that decides the model, as JSON can hold it.
        train: Trains in a folder of checkpoints; returns the folder of the model, which is moved, and what is known
            of it.
    """
    folder = _kept_at(what, run)
    scratch = data_home() / "training" / folder.name
    if not (folder / _ABOUT).exists():
        # Processes of one run train together, so none of them waits for the lock of another.
        with nullcontext() if _world_size() > 1 else only_writer(scratch):
            if not (folder / _ABOUT).exists():
                model, about = train(scratch / "run")
                _keep(folder, model, {"what": what, **about})
                shutil.rmtree(scratch / "run", ignore_errors=_world_size() > 1)
    return Kept(folder / _MODEL, json.loads((folder / _ABOUT).read_text(encoding="utf-8")))


def is_kept(what: str, run: Any) -> bool:
    """Return whether `trained_once` would find a model, and train none."""
    return (_kept_at(what, run) / _ABOUT).exists()


def _kept_at(what: str, run: Any) -> Path:
    return data_home() / "trained" / content_hash([what, run])


def _keep(folder: Path, model: Path, about: Mapping[str, Any]) -> None:
    """Move a trained model to where it is kept; the first process does, and the others wait for it."""
    if os.environ.get("RANK", "0") == "0":
        with atomic_path(folder) as temporary:
            temporary.mkdir()
            shutil.move(model, temporary / _MODEL)
            write_whole(temporary / _ABOUT, json.dumps(about))
    if _world_size() > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()


def _world_size() -> int:
    """Return the number of processes that train together, as torchrun and accelerate set it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def kept_models(what: str, **known: Any) -> list[Kept]:
    """Return the models that `trained_once` has kept under these words, the newest last.

    Args:
        what: The words.
        known: What must be known of them, such as the name of the model that was trained.
    """
    written = sorted((data_home() / "trained").glob(f"*/{_ABOUT}"), key=lambda path: path.stat().st_mtime)
    kept = [Kept(path.parent / _MODEL, json.loads(path.read_text(encoding="utf-8"))) for path in written]
    wanted = {"what": what, **known}
    return [each for each in kept if wanted.items() <= each.about.items()]


def fullest_model(what: str, count: str, **known: Any) -> Kept | None:
    """Return the one of `kept_models` with the most of a count in its `about`, the newest of equals; or None."""
    return max(reversed(kept_models(what, **known)), key=lambda kept: kept.about[count], default=None)
