"""A small wheel and a small source distribution made by hand, their pins, a local index that pip finds them in."""

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from october.data.offline import Package, Pinned

FILES = {"tiny_facts/data/facts.csv": b"name,year\nEinstein,1879\n", "tiny_facts/data/terms.txt": b"free for all\n"}
EXTRA = {"tiny_facts/__init__.py": b"raise RuntimeError('imported')\n", "tiny_facts/data/unused.bin": bytes(10_000)}
METADATA = b"Metadata-Version: 2.1\nName: tiny-facts\nVersion: 1.2\n"
INFO = "tiny_facts-1.2.dist-info"


def pin(content: bytes) -> Pinned:
    return Pinned(hashlib.sha256(content).hexdigest(), len(content))


def write_sdist(path: Path, members: dict[str, bytes | tarfile.TarInfo]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content) if isinstance(content, bytes) else 0
            archive.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)


def write_wheel(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.fixture
def tiny_files() -> dict[str, bytes]:
    """The pinned files of `tiny-facts 1.2`."""
    return FILES


@pytest.fixture
def index(tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, the only place where pip looks."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(name, value)
    return folder


@pytest.fixture
def make_package(index: Path) -> Callable[..., Package]:
    """Write the wheel of `tiny-facts 1.2` into the index and return its pins."""

    def make(members: dict[str, bytes] | None = None) -> Package:
        wheel = index / "tiny_facts-1.2-py3-none-any.whl"
        info = {f"{INFO}/METADATA": METADATA, f"{INFO}/WHEEL": b"Wheel-Version: 1.0\nTag: py3-none-any\n"}
        write_wheel(wheel, {**FILES, **EXTRA, **info, **(members or {}), f"{INFO}/RECORD": b""})
        pins = {name: pin(content) for name, content in FILES.items()}
        return Package("tiny-facts", "1.2", pin(wheel.read_bytes()), "CC0", "Facts by nobody.", pins)

    return make


@pytest.fixture
def make_sdist(index: Path) -> Callable[..., Package]:
    """Write the source distribution of `tiny-facts 1.2` into the index and return its pins.

    Its `setup.py` cannot be run, so whoever tries to build it fails.
    """

    def make(members: dict[str, bytes | tarfile.TarInfo] | None = None) -> Package:
        path = index / "tiny-facts-1.2.tar.gz"
        files = {f"tiny-facts-1.2/{name}": content for name, content in FILES.items()}
        others = {"tiny-facts-1.2/PKG-INFO": METADATA, "tiny-facts-1.2/setup.py": b"print 'Python 2'; exit(1)\n"}
        write_sdist(path, {**others, **files, **(members or {})})
        pins = {name: pin(content) for name, content in files.items()}
        return Package("tiny-facts", "1.2", pin(path.read_bytes()), "CC0", "Facts by nobody.", pins, "sdist")

    return make
