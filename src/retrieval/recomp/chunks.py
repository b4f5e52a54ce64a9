"""Long lists of model calls in chunks: each is written whole as it ends, so that a run that was killed goes on."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tqdm.auto import tqdm

from ...errors import OctoberError
from ...files import content_hash, write_whole

Item = TypeVar("Item")
_SECONDS_UNTIL_PROGRESS = 5.0


def in_chunks(
    folder: str | Path,
    key: Any,
    items: Sequence[Item],
    work: Callable[[Sequence[Item]], list[dict[str, Any]]],
    *,
    chunk_size: int,
    what: str,
) -> list[dict[str, Any]]:
    """Return `work`'s rows for all items, those of chunks that were finished before read from their files.

    Args:
        folder: Of all such lists; this one's chunks lie in a folder named after `key`.
        key: What decides the rows, items included: anything that JSON can hold.
        items: The inputs.
        work: Makes one row for each item of a chunk.
        chunk_size: Items at a time.
        what: For the progress bar.

    Raises:
        OctoberError: `chunk_size` is below 1, or a chunk's file was damaged.
    """
    if chunk_size < 1:
        raise OctoberError(f"chunk_size={chunk_size}: must be at least 1")
    own = Path(folder) / content_hash([key, chunk_size])
    rows: list[dict[str, Any]] = []
    with tqdm(total=len(items), desc=what, delay=_SECONDS_UNTIL_PROGRESS, leave=False) as bar:
        for first in range(0, len(items), chunk_size):
            chunk = items[first : first + chunk_size]
            file = own / f"{first:09d}.jsonl"
            if not file.exists():
                _write(file, work(chunk))
            rows += _read(file, len(chunk))
            bar.update(len(chunk))
    return rows


def _write(file: Path, rows: list[dict[str, Any]]) -> None:
    write_whole(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _read(file: Path, count: int) -> list[dict[str, Any]]:
    """Return a chunk's rows; what was just computed is read back too, so that both ways give the same."""
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
    except (OSError, ValueError) as error:
        raise OctoberError(f"{file}: cannot be read; delete it, and it is made again") from error
    if len(rows) != count:
        raise OctoberError(f"{file}: holds {len(rows)} rows of {count}; delete it, and it is made again")
    return rows
