"""Instruction sets: a local JSONL file, a folder of a data set, or a data set on the hub, in the messages format.

{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import OctoberError, reason_of
from .chat import Conversation, conversation_from
from .json_lines import json_lines


def load_conversations(
    path: str | Path, *, split: str = "train", config: str | None = None, revision: str | None = None
) -> list[Conversation]:
    """Load an instruction set whose rows have `messages`.

    Args:
        path: A JSONL file, a folder that holds a data set's files, or a data set's name on the hub.
        split: Of a folder or a data set.
        config: Of a folder or a data set, where it has several configurations.
        revision: Branch, tag or commit on the hub.

    Raises:
        OctoberError: It cannot be found or read, has no rows, or a row is no conversation; the line or row is named.
    """
    place = Path(path).expanduser()
    rows = json_lines(place) if place.is_file() else _dataset_rows(str(path), split, config, revision)
    conversations = [_conversation(where, row) for where, row in rows]
    if not conversations:
        raise OctoberError(f"{path}: there is no conversation in it")
    return conversations


def _conversation(where: str, row: dict[str, Any]) -> Conversation:
    if "messages" not in row:
        raise OctoberError(f"{where}: has no messages; its fields are {', '.join(row) or 'none'}")
    return conversation_from(row["messages"], where)


def _dataset_rows(
    path: str, split: str, config: str | None, revision: str | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    import datasets

    if path.startswith((".", "/", "~")) and not Path(path).expanduser().is_dir():
        raise OctoberError(f"{path}: no such file or folder")
    try:
        rows = datasets.load_dataset(str(Path(path).expanduser()), config, split=split, revision=revision)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise OctoberError(
            f"{path}: not a file here, and not a data set that can be loaded ({reason_of(error)})"
        ) from error
    for number, row in enumerate(rows):
        yield f"{path} split {split} row {number}", row
