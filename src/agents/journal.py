"""A file that trajectories are added to as they end, so that a run that is killed goes on where it was.

Its first line says what the run is; each further line is a trajectory, whole or cut short by the kill and then dropped.
"""

import fcntl
import json
import os
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from ..errors import OctoberError
from ..files import full_disk_named
from .trajectory import Trajectory, from_line, to_line


class Journal:
    """The trajectories of one run; a context in which no other process writes them.

    Args:
        path: Of the file, made if need be.
        identity: Of everything that decides the trajectories: model, prompts, tools, settings.

    Attributes:
        finished: What ended before, by id.

    Raises:
        OctoberError: On entering: the file is of another run, is damaged, or another process is writing it.
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
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._read()
        except BlockingIOError as error:
            self._file.close()
            raise OctoberError(f"{self.path}: another process is writing these trajectories") from error
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

    def _read(self) -> None:
        assert self._file is not None
        self._file.seek(0)
        whole = self._file.read()
        end = whole.rfind(b"\n") + 1
        if end < len(whole):
            self._file.truncate(end)
        head, *lines = whole[:end].split(b"\n")[:-1] or [b""]
        if not head:
            self._append(json.dumps({"identity": self.identity}))
        elif head != json.dumps({"identity": self.identity}).encode():
            raise OctoberError(f"{self.path} holds trajectories of another model, prompt, tool or setting")
        for number, line in enumerate(lines, start=2):
            try:
                trajectory = from_line(line)
            except OctoberError as error:
                raise OctoberError(f"{self.path} line {number} is damaged ({error}); delete the line") from error
            self.finished[trajectory.id] = trajectory
