"""Whole files or none: writing through a temporary name, hashing, and where october keeps its data."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import OctoberError


def data_home() -> Path:
    """Return the folder for installed models, data sets and caches (`OCTOBER_HOME`, else `~/.cache/october`)."""
    return Path(os.environ.get("OCTOBER_HOME") or Path.home() / ".cache" / "october").expanduser()


@contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; a clean exit renames it there, an error removes it.

    The temporary path does not exist yet: create a file or a folder there. An existing target is
    replaced. Raises `OctoberError` when the disk is full.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    temporary = scratch / target.name
    try:
        with full_disk_named(target):
            yield temporary
            if target.is_dir() and temporary.is_dir():
                shutil.rmtree(target)
            os.replace(temporary, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def full_disk_named(target: str | Path) -> Iterator[None]:
    """Turn 'no space left' inside the block into one line that names the file being written."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OctoberError(f"the disk is full: could not write {target}; free some space and run again") from error
        raise


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


def write_whole(target: str | Path, content: str | bytes) -> None:
    """Write `content` to `target` whole or not at all."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_hash(value: Any) -> str:
    """Return 16 hexadecimal digits that identify a JSON-able value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
