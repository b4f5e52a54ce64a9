"""Where a run's metrics go: always to local files, and to Weights & Biases as well when asked.

No table needs W&B: `metrics.jsonl` holds every logged metric, and the record holds the tables.
"""

import json
import netrc
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .errors import OctoberError

Metrics = Mapping[str, float | int | str | bool | None]
Mode = Literal["auto", "online", "offline"]


@dataclass(frozen=True)
class RunInfo:
    """What a tracker shows of a run: its folder, its paper and table, and its resolved config."""

    folder: Path
    paper: str
    table: str
    config: dict[str, Any]


class LocalTracker:
    """Appends every metric to `metrics.jsonl` in the run's folder."""

    def __init__(self) -> None:
        self._path: Path | None = None

    def start(self, info: RunInfo) -> None:
        """Begin (or go on with) the run described by `info`."""
        self._path = info.folder / "metrics.jsonl"

    def log(self, metrics: Metrics) -> None:
        """Append one line: the metrics and the time in seconds since the epoch."""
        assert self._path is not None, "log() before start()"
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": round(time.time(), 3), **metrics}) + "\n")

    def table(self, name: str, columns: list[str], rows: list[list[Any]]) -> None:
        """Show a table; the local copy is the record itself."""

    def figure(self, name: str, path: Path) -> None:
        """Show a figure; the local copy is the file itself."""

    def finish(self, record: Path | None) -> None:
        """End the run; `record` is the written record, or None when the run failed."""


class WandbTracker(LocalTracker):
    """Sends the same things to W&B: online when logged in, otherwise offline, never with a prompt.

    Args:
        project: W&B project.
        entity: W&B user or team; None takes the account's default.
        mode: 'auto' (online exactly when credentials are found), 'online' or 'offline'.
    """

    def __init__(self, project: str = "october", entity: str | None = None, mode: Mode = "auto") -> None:
        super().__init__()
        self.project, self.entity, self.mode = project, entity, mode
        self._run: Any = None

    def start(self, info: RunInfo) -> None:
        """Begin the run here and at W&B (group = paper/table)."""
        super().start(info)
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        mode: str = self.mode
        if mode == "auto":
            mode = os.environ.get("WANDB_MODE") or ("online" if logged_in() else "offline")
        try:
            self._run = wandb.init(
                project=self.project,
                entity=self.entity,
                group=f"{info.paper}/{info.table}",
                name=f"{info.table}-{info.folder.name}",
                dir=info.folder,
                config=info.config,
                mode=mode,  # type: ignore[arg-type]
                settings=wandb.Settings(silent=True, console="off", disable_git=True, init_timeout=30),
            )
        except wandb.errors.Error as error:
            raise OctoberError(f"W&B did not start ({_line(error)}); tracker=local runs without it") from error

    def log(self, metrics: Metrics) -> None:
        """Append the metrics to the local file and send them."""
        super().log(metrics)
        self._run.log(dict(metrics))

    def table(self, name: str, columns: list[str], rows: list[list[Any]]) -> None:
        """Send a table; cells become text where a column mixes types."""
        import wandb

        self._run.log({name: wandb.Table(columns=columns, data=rows, allow_mixed_types=True)})

    def figure(self, name: str, path: Path) -> None:
        """Send a figure: a PNG as an image, anything else (SVG) as HTML."""
        import wandb

        picture = wandb.Image(str(path)) if path.suffix == ".png" else wandb.Html(path.read_text(), inject=False)
        self._run.log({name: picture})

    def finish(self, record: Path | None) -> None:
        """Send the record as an artifact and close the W&B run; without one the run is marked failed."""
        import wandb

        if record is not None:
            artifact = wandb.Artifact(f"record-{self._run.id}", type="record")
            artifact.add_file(str(record))
            self._run.log_artifact(artifact)
        self._run.finish(exit_code=0 if record is not None else 1)


def logged_in() -> bool:
    """Tell whether W&B credentials are at hand (`WANDB_API_KEY`, or the netrc file `wandb login` writes)."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("//")[-1].split("/")[0]
    try:
        path = os.environ.get("NETRC") or Path.home() / ".netrc"
        return netrc.netrc(str(path)).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
