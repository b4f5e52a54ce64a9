"""A file that trajectories are added to as they end, so that a run that is killed goes on where it was.

Its first line says what the run is; each further line is a trajectory, whole or cut short by the kill and then dropped.
"""

import fcntl
import json
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tqdm.auto import tqdm

from ..errors import OctoberError
from ..files import full_disk_named
from .trajectory import Trajectory, from_line, to_line


class Journal:
    """The trajectories of one run; a context in which no other process writes them.

    Who enters while another process writes waits until that has ended, and then finds what it left: of several
    processes that want the same trajectories (those of torchrun, or two tables) one makes them.

    Args:
        path: Of the file, made if need be.
        identity: Of everything that decides the trajectories: model, prompts, tools, settings.

    Attributes:
        finished: What ended before, by id.

    Raises:
        OctoberError: On entering: the file is of another run or no journal, and stays as it is; or it is damaged.
    """

    def __init__(self, path: str | Path, identity: str) -> None:
        self.path = Path(path)
        self.identity = identity
        self.finished: dict[str, Trajectory] = {}
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a+b")
        try:
            self._wait_for_others()
            self._read()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._file is not None
        self._file.close()

    def add(self, trajectory: Trajectory) -> None:
        """Write a trajectory; once this returns, a kill does not lose it.

        Raises:
            OctoberError: There is one of this id already, or the disk is full.
        """
        if trajectory.id in self.finished:
            raise OctoberError(f"{self.path}: there is a trajectory {trajectory.id!r} already")
        self._append(to_line(trajectory))
        self.finished[trajectory.id] = trajectory

    def _append(self, line: str) -> None:
        assert self._file is not None
        with full_disk_named(self.path):
            self._file.write(line.encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def _wait_for_others(self) -> None:
        assert self._file is not None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tqdm.write(f"{self.path}: waits for another process, which makes these trajectories", file=sys.stderr)
            fcntl.flock(self._file, fcntl.LOCK_EX)

    def _read(self) -> None:
        """Read what is there; only a file that begins as this run's is changed."""
        assert self._file is not None
        head = json.dumps({"identity": self.identity})
        begins = f"{head}\n".encode()
        self._file.seek(0)
        whole = self._file.read()
        if not begins.startswith(whole[: len(begins)]):
            raise OctoberError(
                f"{self.path} is no journal, or holds trajectories of another model, prompt, tool or setting"
            )
        end = whole.rfind(b"\n") + 1
        if end < len(whole):
            self._file.truncate(end)
        if end == 0:
            self._append(head)
        lines = whole[len(begins) : end].split(b"\n")[:-1]
        for number, line in enumerate(lines, start=2):
            try:
                trajectory = from_line(line)
            except OctoberError as error:
                raise OctoberError(f"{self.path} line {number} is damaged ({error}); delete the line") from error
            self.finished[trajectory.id] = trajectory
