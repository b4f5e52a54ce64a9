"""What the trainings here share: a folder that belongs to one run, a quiet bar, and going on after a kill."""

import json
from pathlib import Path
from typing import Any

from transformers import ProgressCallback

from ...attention.mistral import newest_whole_checkpoint
from ...errors import OctoberError
from ...files import content_hash, write_whole

_RUN = "run.json"


def claim_folder(folder: Path, run: Any) -> None:
    """Note whose folder it is: two runs in one would go on from each other's checkpoints.

    Args:
        folder: Of checkpoints.
        run: All that decides the run, as JSON can hold it.

    Raises:
        OctoberError: The folder belongs to another run, or its note cannot be read.
    """
    digest, record = content_hash(run), folder / _RUN
    try:
        claimed = json.loads(record.read_text())["run"] if record.is_file() else digest
    except (ValueError, KeyError, TypeError) as error:
        raise OctoberError(f"{record}: cannot be read; choose another folder") from error
    if claimed != digest:
        raise OctoberError(f"{folder}: holds a run with other settings or examples; choose another folder")
    write_whole(record, json.dumps({"run": digest}))


def train_or_go_on(trainer: Any, folder: Path) -> list[float]:
    """Train, from the newest whole checkpoint if there is one; return each step's loss, the earlier ones included."""
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(_Bar)
    checkpoint = newest_whole_checkpoint(folder)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def check_positive(settings: dict[str, Any]) -> None:
    """Raise `OctoberError` for the first number that is not above 0; None and texts pass."""
    for name, value in settings.items():
        if isinstance(value, int | float) and not value > 0:
            raise OctoberError(f"{name}={value}: must be above 0")


class _Bar(ProgressCallback):
    """The bar without a line for each step."""

    def on_log(self, *arguments: Any, **more: Any) -> None:
        """Print nothing."""
