"""JSONL files: one object per line, and errors that name the line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import OctoberError


def json_lines(path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield where each object stands (`FILE line 3`), for error messages, and the object; blank lines are skipped.

    Raises:
        OctoberError: No such file, one that is not UTF-8, or a line that is not a JSON object.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise OctoberError(f"{path}: cannot be read ({reason})") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield f"{path} line {number}", _object(f"{path} line {number}", line)


def _object(where: str, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise OctoberError(f"{where}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise OctoberError(f"{where}: must be a JSON object, this is {line.strip()[:40]!r}")
    return value
