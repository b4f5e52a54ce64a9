"""Folders that a killed process leaves half-built and the next one finishes."""

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import OctoberError
from ..files import full_disk_named


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Wait for any other process that writes this folder, then clear what a killed one left of unfinished files.

    The lock goes with the process that holds it. A full disk becomes one line that names the folder.
    """
    with full_disk_named(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for scratch in (path for path in folder.glob(".*") if path.is_dir()):
                shutil.rmtree(scratch, ignore_errors=True)
            yield


def read_description(path: Path, what: str) -> dict[str, Any]:
    """Return the JSON object that describes a finished folder.

    Raises:
        OctoberError: There is none, or it is damaged.
    """
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OctoberError(f"{path.parent} holds no finished {what}; build it first") from None
    except (ValueError, OSError) as error:
        raise damaged(path, what) from error
    if not isinstance(description, dict):
        raise damaged(path, what)
    return description


def damaged(path: Path, what: str) -> OctoberError:
    """Return the error for a file that is not what was written."""
    return OctoberError(f"{path} is damaged; delete {path.parent} and build the {what} again")
