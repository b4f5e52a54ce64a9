"""Where a model's files are: a local folder, or a snapshot of a hub repository."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from ..errors import OctoberError

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_WANTED = ("*.json", "*.safetensors", "*.txt", "*.model", "*/config.json")
_SECONDS_TO_ANSWER = 10.0


def check_place(path: str, revision: str | None) -> None:
    """Check that a folder holds a model, or that a hub name is well-formed and, when offline, in the cache.

    Raises:
        OctoberError: One line that names the path and what is wrong with it.
    """
    folder = _local_folder(path)
    if folder is not None:
        if not (folder / "config.json").is_file():
            raise OctoberError(f"model path {path}: the folder holds no config.json")
        return
    if not _HUB_NAME.fullmatch(path):
        raise OctoberError(f"model path {path}: no such folder, and not a name on the hub (owner/name)")
    if _offline() and not _is_cached(path, revision):
        raise OctoberError(f"model {path} is not in the hub's cache and HF_HUB_OFFLINE is set: give a local folder")


def model_folder(path: str, revision: str | None, also: Sequence[str] = ()) -> Path:
    """Return the local folder, or the folder of the hub's snapshot, fetched if it is not in the cache.

    Args:
        path: A folder, or a name on the hub.
        revision: Branch, tag or commit on the hub.
        also: Patterns of files to fetch besides safetensors, config and tokenizer.

    Raises:
        OctoberError: The model does not exist, needs permission, or the hub cannot be reached.
    """
    check_place(path, revision)
    return _local_folder(path) or _snapshot(path, revision, [*_WANTED, *also])


def _local_folder(path: str) -> Path | None:
    """Return the folder that a path names; None for what can only be a name on the hub."""
    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise OctoberError(f"model path {path}: a folder is needed, this is a file")
    if path.startswith((".", "/", "~")) or path.count("/") > 1:
        raise OctoberError(f"model path {path}: no such folder")
    return None


def _snapshot(path: str, revision: str | None, wanted: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        if _is_cached(path, revision):
            try:
                return Path(snapshot_download(path, revision=revision, allow_patterns=wanted, local_files_only=True))
            except LocalEntryNotFoundError:
                pass
        return Path(snapshot_download(path, revision=revision, allow_patterns=wanted, etag_timeout=_SECONDS_TO_ANSWER))
    except GatedRepoError as error:
        raise OctoberError(f"model {path} needs permission: accept its licence on the hub and log in") from error
    except RepositoryNotFoundError as error:
        raise OctoberError(f"model {path}: no such folder here, and no such name on the hub") from error
    except (OSError, ValueError, RuntimeError) as error:  # no connection, time-outs, wrong revisions
        reason = str(error).strip().splitlines()[0]
        raise OctoberError(f"model {path}: not a folder here, and the hub gave no files ({reason})") from error


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}


def _is_cached(path: str, revision: str | None) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(path, "config.json", revision=revision), str)
