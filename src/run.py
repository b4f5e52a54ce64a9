"""A run: one experiment, one config, one folder, resumable row by row.

    outputs/NAME/TABLE/<time>/
        config.yaml    the resolved config            record.json   the finished record
        run.json       config hash, commit, seconds   metrics.jsonl every logged metric
        steps.jsonl    results of finished steps      figures/      pictures

A step is whatever an experiment hands to `Run.once`. Its result is written when it is finished, so a run that was
killed goes on after the last finished step, and no step is computed twice.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any, ParamSpec, TypeVar

import yaml
from tqdm.auto import tqdm

from .errors import OctoberError
from .files import content_hash, full_disk_named, write_whole
from .reporting.environment import commit as current_commit
from .tracking import LocalTracker, Metrics, RunInfo

T = TypeVar("T")
P = ParamSpec("P")
NOT_IN_HASH = ("resume", "tracker")  # what may change between a run and its resumption


def is_main_process() -> bool:
    """Tell whether this is rank 0, the only process that tracks and writes (true outside torchrun)."""
    return int(os.environ.get("RANK", "0")) == 0


def config_hash(config: dict[str, Any]) -> str:
    """Return the hash by which a resumed run finds its folder; where results go is no part of it."""
    return content_hash({key: value for key, value in config.items() if key not in NOT_IN_HASH})


class Run:
    """The running experiment's handle on its folder, its progress and its tracker.

    Args:
        folder: The run's own folder, made if need be.
        name: 'paper/table', as in `experiment=paper/table`.
        config: The resolved config.
        tracker: Where metrics go besides the folder.

    Raises:
        OctoberError: Another process is writing this folder, or its steps are not from this config.
    """

    def __init__(self, folder: str | Path, name: str, config: dict[str, Any], tracker: LocalTracker) -> None:
        self.folder = Path(folder)
        self.paper, _, self.table = name.partition("/")
        self.config = config
        self.tracker = tracker
        self.finished: dict[str, Any] = {}
        self.commit: str | None = None
        self.clean = False
        self._lock: IO[str] | None = None

    def __enter__(self) -> "Run":
        if is_main_process():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(self.folder)
            self._start_state()
            self.tracker.start(RunInfo(self.folder, self.paper, self.table, self.config))
        steps = _read_steps(self.folder / "steps.jsonl")
        self.finished = {step["key"]: step["value"] for step in steps}
        # A try that was killed left no time but that of the steps it finished.
        self._earlier: float = max(_read_state(self.folder).get("seconds", 0.0), sum(step["seconds"] for step in steps))
        self._entered = time.monotonic()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not is_main_process():
            return
        record = self.folder / "record.json"
        self._write_state(status="finished" if kind is None else "unfinished")
        self.tracker.finish(record if kind is None and record.exists() else None)
        assert self._lock is not None
        self._lock.close()

    def once(self, key: str, compute: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        """Return `compute(...)`, or its result from before if this step was finished in an earlier try.

        Args:
            key: Names the step; unique in the run.
            compute: Gives a JSON-able value (numbers, strings, lists, dicts with string keys).
            arguments: Passed on to `compute`.
            options: Passed on to `compute`.

        Returns:
            The value as JSON gives it back (tuples become lists), so that a first try and a resumed one agree.
        """
        if key not in self.finished:
            started = time.monotonic()
            line = json.dumps(
                {"key": key, "value": compute(*arguments, **options), "seconds": round(time.monotonic() - started, 3)}
            )
            if is_main_process():
                _append_line(self.folder / "steps.jsonl", line)
            self.finished[key] = json.loads(line)["value"]
        return self.finished[key]  # type: ignore[no-any-return]

    def progress(self, items: Iterable[T], description: str, total: int | None = None) -> Iterable[T]:
        """Iterate over `items` behind a progress bar (rank 0 alone shows it)."""
        return tqdm(items, description, total, leave=False, disable=not is_main_process(), delay=2, dynamic_ncols=True)

    def log(self, metrics: Metrics) -> None:
        """Send metrics to the tracker (rank 0 alone does)."""
        if is_main_process():
            self.tracker.log(metrics)

    @property
    def figures(self) -> Path:
        """The folder for the run's pictures."""
        folder = self.folder / "figures"
        folder.mkdir(exist_ok=True)
        return folder

    @property
    def seconds(self) -> float:
        """Wall time of the run so far; of an earlier try that was killed, that of its finished steps."""
        return self._earlier + time.monotonic() - self._entered

    @property
    def started(self) -> str:
        """When the run first began, ISO 8601 in UTC."""
        return str(_read_state(self.folder)["started"])

    def _start_state(self) -> None:
        digest = config_hash(self.config)
        state = _read_state(self.folder)
        if state and state["config_hash"] != digest:
            raise OctoberError(f"resume={self.folder}: that run has another config; leave resume out to start anew")
        self.commit, self.clean = current_commit()
        if state:  # a run that two different commits made is nobody's clean result
            self.clean = self.clean and state["clean"] and state["commit"] == self.commit
        else:
            started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            state = {"config_hash": digest, "commit": self.commit, "started": started, "seconds": 0.0}
            write_whole(self.folder / "config.yaml", yaml.safe_dump(self.config, sort_keys=False))
        write_whole(
            self.folder / "run.json", json.dumps({**state, "clean": self.clean, "status": "unfinished"}, indent=2)
        )

    def _write_state(self, status: str) -> None:
        state = {**_read_state(self.folder), "status": status, "seconds": round(self.seconds, 3)}
        write_whole(self.folder / "run.json", json.dumps(state, indent=2))


def folder_to_resume(resume: bool | str, fresh: Path, config: dict[str, Any]) -> Path:
    """Return the folder that a run should write to.

    Args:
        resume: False for a fresh run; True for the newest unfinished run of the same config, a fresh one where
            there is none; or the path of a run's folder.
        fresh: The new folder; removed again when an old one is taken up and it is empty.
        config: The resolved config.
    """
    if resume is False:
        return fresh
    if isinstance(resume, str):
        found = Path(resume)
        if not (found / "run.json").exists():
            raise OctoberError(f"resume={resume}: no run is there (it would hold run.json)")
    else:
        unfinished = _unfinished_runs(fresh.parent, config_hash(config))
        if not unfinished:
            return fresh
        found = unfinished[-1]
    if fresh.exists() and found.resolve() != fresh.resolve() and not (fresh / "run.json").exists():
        shutil.rmtree(fresh)
    return found


def _unfinished_runs(folder: Path, digest: str) -> list[Path]:
    found = []
    for path in sorted(folder.glob("*/run.json"), key=lambda path: path.stat().st_mtime):
        state = _read_state(path.parent)
        if state["status"] == "unfinished" and state["config_hash"] == digest and not _is_locked(path.parent):
            found.append(path.parent)
    return found


def _read_state(folder: Path) -> dict[str, Any]:
    path = folder / "run.json"
    return json.loads(path.read_text()) if path.exists() else {}


def _read_steps(path: Path) -> list[dict[str, Any]]:
    """Read finished steps; a last line cut short by a kill is cut off, so that the next one starts clean."""
    if not path.exists():
        return []
    whole = path.read_bytes()
    end = whole.rfind(b"\n") + 1
    if end < len(whole) and is_main_process():
        os.truncate(path, end)
    return [json.loads(line) for line in whole[:end].splitlines()]


def _append_line(path: Path, line: str) -> None:
    with full_disk_named(path), path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


def _lock(folder: Path) -> IO[str]:
    file = (folder / "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise OctoberError(f"{folder}: another process is writing this run") from error
    return file


def _is_locked(folder: Path) -> bool:
    try:
        _lock(folder).close()
    except OctoberError:
        return True
    return False
