"""SHA-256 of large files, computed once for as long as size and time stamp stay the same."""

import json
from collections.abc import Iterable
from pathlib import Path

from ..files import content_hash, data_home, sha256_of, write_whole


def cached_sha256(path: Path) -> str:
    """Return a file's SHA-256, from the cache in the data folder where path, size and time stamp are known."""
    note = _note(path)
    if note.is_file():
        return str(json.loads(note.read_text())["sha256"])
    digest = sha256_of(path)
    remember_sha256(path, digest)
    return digest


def remember_sha256(path: Path, digest: str) -> None:
    """Record the SHA-256 of a file that was just written or hashed."""
    write_whole(_note(path), json.dumps({"path": str(path.resolve()), "sha256": digest}))


def sha256_of_files(paths: Iterable[Path]) -> dict[str, str]:
    """Return file names and their SHA-256, in the order of the names."""
    return {path.name: cached_sha256(path) for path in sorted(paths)}


def _note(path: Path) -> Path:
    status = path.stat()
    key = [str(path.resolve()), status.st_size, status.st_mtime_ns]
    return data_home() / "fingerprints" / f"{content_hash(key)}.json"
