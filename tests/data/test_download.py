"""Pip fetches a hand-made wheel from a local index: the right one, wrong ones, damaged ones, and in a crowd."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from october.data import download
from october.data.download import install, unpack
from october.data.offline import Package, Pinned
from october.errors import OctoberError

MakePackage = Callable[..., Package]


def contents(folder: Path) -> list[str]:
    return sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != ".lock"
    )


def test_install_unpacks_the_pinned_files_and_nothing_else(
    own_home: Path, make_package: MakePackage, tiny_files: dict[str, bytes]
) -> None:
    package = make_package()
    leftover = own_home / "packages" / ".download.killed"
    leftover.mkdir(parents=True)
    install([package])
    folder = own_home / "packages" / "tiny-facts"
    assert contents(folder) == sorted(["manifest.json", *tiny_files])
    assert {name: (folder / name).read_bytes() for name in tiny_files} == tiny_files
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["distribution"], manifest["version"], manifest["licence"]) == ("tiny-facts", "1.2", "CC0")
    assert manifest["files"]["tiny_facts/data/terms.txt"] == {
        "sha256": hashlib.sha256(b"free for all\n").hexdigest(),
        "size": 13,
    }
    assert not leftover.exists()


def test_a_wheel_that_is_not_the_pinned_one_is_refused(own_home: Path, make_package: MakePackage) -> None:
    package = replace(make_package(), archive=Pinned("0" * 64, 10))
    with pytest.raises(OctoberError, match=r"^tiny-facts: the downloaded archive is not the pinned one .*SHA-256"):
        install([package])
    assert contents(own_home) == []


def test_a_package_that_is_nowhere_is_named(own_home: Path, make_package: MakePackage) -> None:
    package = replace(make_package(), distribution="tiny-facts-two")
    with pytest.raises(OctoberError, match=r"^tiny-facts-two: pip download failed: No matching distribution found"):
        install([package])
    assert contents(own_home) == []


def test_no_network_is_named(own_home: Path, make_package: MakePackage, monkeypatch: pytest.MonkeyPatch) -> None:
    package = make_package()
    monkeypatch.delenv("PIP_NO_INDEX")
    for name, value in {"FIND_LINKS": "", "INDEX_URL": "http://127.0.0.1:9/simple", "RETRIES": "1"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    with pytest.raises(OctoberError, match=r"^tiny-facts: the package index cannot be reached"):
        install([package])


def test_an_environment_without_pip_is_named(make_package: MakePackage, monkeypatch: pytest.MonkeyPatch) -> None:
    package = make_package()
    bare = f"{sys.executable} -S"
    script = package.folder.parent.parent.parent / "python"
    script.write_text(f'#!/bin/sh\nexec {bare} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    with pytest.raises(OctoberError, match=r"^tiny-facts: pip is missing from .* -m ensurepip"):
        install([package])


def test_a_full_disk_is_named_and_leaves_nothing(
    own_home: Path, make_package: MakePackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    package = make_package()
    monkeypatch.setattr(shutil, "copyfileobj", no_space)
    with pytest.raises(OctoberError, match="the disk is full"):
        install([package])
    assert contents(own_home) == []


def test_a_folder_that_pip_removes_while_the_bar_looks_counts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "archive").write_bytes(b"seven b")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    look = os.scandir

    def removed_first(path: str | Path) -> object:
        if Path(path) == scratch and scratch.exists():
            scratch.rmdir()
        return look(path)

    monkeypatch.setattr(os, "scandir", removed_first)
    assert download._bytes_below(tmp_path) == 7


def test_two_processes_download_once(
    own_home: Path, make_package: MakePackage, monkeypatch: pytest.MonkeyPatch, tiny_files: dict[str, bytes]
) -> None:
    package, calls, real = make_package(), [], download._pip_download

    def counted(*arguments: object) -> None:
        calls.append(arguments)
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(download, "_pip_download", counted)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(install, [[package], [package]]))
    assert len(calls) == 1
    assert contents(own_home / "packages" / "tiny-facts") == sorted(["manifest.json", *tiny_files])


def test_members_outside_the_folder_are_never_written(
    own_home: Path, make_package: MakePackage, index: Path, tiny_files: dict[str, bytes]
) -> None:
    escaping = {"../../evil.txt": b"evil", "/tmp/../evil.txt": b"evil", "tiny_facts/../../../evil.txt": b"evil"}
    package = make_package(escaping)
    wheel = next(index.glob("*.whl"))
    unpack(wheel, package)
    assert contents(own_home) == sorted(f"packages/tiny-facts/{name}" for name in ["manifest.json", *tiny_files])
    assert list(own_home.parent.rglob("evil.txt")) == []


def test_a_data_folder_that_cannot_be_written_is_named(own_home: Path, make_package: MakePackage) -> None:
    package = make_package()
    own_home.write_text("a file stands where the folder should be")
    with pytest.raises(OctoberError, match=r"packages cannot be written .* set OCTOBER_HOME to another folder"):
        install([package])


@pytest.fixture
def unpacked(make_package: MakePackage, index: Path) -> Package:
    package = make_package()
    unpack(next(index.glob("*.whl")), package)
    return package


@pytest.mark.parametrize("change", ["flipped bit", "cut", "longer", "empty"])
def test_a_wheel_of_other_bytes_is_never_opened(
    change: str, unpacked: Package, index: Path, tmp_path: Path, tiny_files: dict[str, bytes]
) -> None:
    good = next(index.glob("*.whl")).read_bytes()
    flipped = good[:100] + bytes([good[100] ^ 1]) + good[101:]
    bad = tmp_path / "bad.whl"
    bad.write_bytes({"flipped bit": flipped, "cut": good[:-1], "longer": good + b" ", "empty": b""}[change])
    with pytest.raises(OctoberError, match=r"^tiny-facts: bad\.whl is not the pinned wheel"):
        unpack(bad, unpacked)
    assert {name: (unpacked.folder / name).read_bytes() for name in tiny_files} == tiny_files


@pytest.mark.parametrize("member", ["tiny_facts/data/terms.txt", "tiny_facts/data/no.txt"])
def test_a_member_that_is_not_the_pinned_file_leaves_what_was_there(
    member: str, unpacked: Package, index: Path, tiny_files: dict[str, bytes]
) -> None:
    other = replace(unpacked, files={**unpacked.files, member: Pinned("0" * 64, 13)})
    with pytest.raises(OctoberError, match=rf"^tiny-facts: {member} in .* is not the pinned file"):
        unpack(next(index.glob("*.whl")), other)
    assert {name: (unpacked.folder / name).read_bytes() for name in tiny_files} == tiny_files
    assert [path.name for path in unpacked.folder.parent.iterdir()] == ["tiny-facts"]
