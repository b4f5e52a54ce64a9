"""Files are written whole or not at all."""

import errno
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from october.errors import OctoberError
from october.files import atomic_path, content_hash, data_home, sha256_of, write_whole

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def test_an_error_leaves_the_old_file_and_no_scratch(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    write_whole(target, "old")

    def fail() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    for content in ("one", "two"):
        with atomic_path(target) as temporary:
            temporary.mkdir()
            (temporary / content).write_text(content)
    assert [path.name for path in target.iterdir()] == ["two"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_one_line_that_names_the_file(tmp_path: Path) -> None:
    def write() -> None:
        with atomic_path(tmp_path / "big.bin") as temporary:
            temporary.write_text("x")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OctoberError, match=r"disk is full: could not write .*big\.bin"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_sha256_is_the_published_one_of_abc(tmp_path: Path) -> None:
    write_whole(tmp_path / "abc", b"abc")
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4))
def test_the_content_hash_ignores_the_order_of_keys_alone(value: dict[str, object]) -> None:
    assert content_hash(dict(reversed(value.items()))) == content_hash(value)
    assert content_hash({**value, "one more key": 1}) != content_hash(value)


def test_the_data_folder_can_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OCTOBER_HOME", str(tmp_path))
    assert data_home() == tmp_path
    monkeypatch.setenv("OCTOBER_HOME", "")
    assert data_home() == Path.home() / ".cache" / "october"
