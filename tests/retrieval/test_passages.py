import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
from counting_encoder import documents
from hypothesis import given
from hypothesis import strategies as st

from october.data.documents import Document
from october.errors import OctoberError
from october.retrieval import Passage, PassageStore, fingerprints, split_document

KILLED = """
import os, signal, sys
from counting_encoder import documents
from october.retrieval import PassageStore

def stream():
    for number, document in enumerate(documents(200)):
        if number == 120:
            os.kill(os.getpid(), signal.SIGKILL)
        yield document

PassageStore.build(stream(), sys.argv[1], source="s", shard_passages=32)
"""


def build(folder, number=50, shard_passages=16, **options):
    return PassageStore.build(documents(number), folder, source="s", shard_passages=shard_passages, **options)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


@given(st.text("ab \n\t　é", max_size=60), st.integers(1, 7))
def test_passages_are_disjoint_blocks_of_words(text, size):
    document = Document("d", "T", text, "s")
    if not text.split():
        with pytest.raises(OctoberError, match="no text"):
            split_document(document, size)
        return
    words = text.split()
    expected = [words[first : first + size] for first in range(0, len(words), size)]
    found = split_document(document, size)
    assert [passage.text.split() for passage in found] == expected
    assert [passage.id for passage in found] == [f"d#{number}" for number in range(len(expected))]
    end = 0
    for passage in found:  # exact pieces of the text, one behind the other
        end = text.index(passage.text, end) + len(passage.text)
    assert {(passage.title, passage.source, passage.document_id) for passage in found} == {("T", "s", "d")}


def test_a_whole_document_is_one_passage():
    document = Document("a#b", "", " one\n two ", "s")
    (passage,) = split_document(document, None)
    assert passage == Passage("a#b#0", "", "one\n two", "s")
    assert (passage.document_id, passage.titled_text) == ("a#b", "one\n two")
    assert replace(passage, title="T").titled_text == "T one\n two"


@pytest.mark.parametrize("shard_passages", [1, 16, 1000])
def test_a_store_holds_every_passage_in_order(tmp_path, shard_passages):
    expected = [passage for document in documents(50) for passage in split_document(document)]
    store = build(tmp_path, shard_passages=shard_passages)
    assert len(store) == len(expected)
    assert list(store) == expected
    assert store[3] == expected[3]
    assert store[-1] == expected[-1]
    assert store[5:60:7] == expected[5:60:7]
    assert store.take([40, 0, 40, -2]) == [expected[40], expected[0], expected[40], expected[-2]]
    assert store.titled_texts(4, 9) == [f"{passage.title} {passage.text}" for passage in expected[4:9]]
    assert len(list(tmp_path.glob("*.arrow"))) == -(-len(expected) // shard_passages)


def test_the_fingerprint_is_of_the_passages_alone(tmp_path):
    store = build(tmp_path / "a")
    assert build(tmp_path / "b", shard_passages=3).fingerprint == store.fingerprint
    assert build(tmp_path / "c", number=49).fingerprint != store.fingerprint
    assert build(tmp_path / "d", words=20).fingerprint != store.fingerprint
    for number, field in enumerate(("id", "title", "text", "source")):
        changed = list(documents(50))
        changed[17] = replace(changed[17], **{field: getattr(changed[17], field) + "x"})
        other = PassageStore.build(changed, tmp_path / str(number), source="s")
        assert other.fingerprint != store.fingerprint


def test_shards_of_long_documents_stay_small(tmp_path, monkeypatch):
    monkeypatch.setattr("october.retrieval.passages._SHARD_CHARACTERS", 1000)
    store = build(tmp_path, shard_passages=1000)
    assert max(path.stat().st_size for path in tmp_path.glob("*.arrow")) < 5000
    assert list(store) == [passage for document in documents(50) for passage in split_document(document)]


def test_documents_are_read_only_as_shards_are_written(tmp_path):
    ahead = []

    def stream():
        for number, document in enumerate(documents(60, words=50)):  # each of them one passage
            ahead.append(number - 8 * len(list(tmp_path.glob("*.arrow"))))
            yield document

    PassageStore.build(stream(), tmp_path, source="s", shard_passages=8)
    assert max(ahead) <= 8


def test_a_killed_build_goes_on_to_the_same_bytes(tmp_path, root):
    whole = build(tmp_path / "whole", number=200, shard_passages=32)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "killed")]
    environment = {**os.environ, "PYTHONPATH": str(root / "tests/helpers")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed").glob("*.arrow")}
    assert 0 < len(left) < len(list((tmp_path / "whole").glob("*.arrow")))
    with pytest.raises(OctoberError, match="no finished passage store"):
        PassageStore.open(tmp_path / "killed")
    store = build(tmp_path / "killed", number=200, shard_passages=32)
    assert store.fingerprint == whole.fingerprint
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert {path: path.stat().st_mtime_ns for path in left} == left


def test_a_resumed_build_needs_the_same_documents(tmp_path):
    build(tmp_path)
    (tmp_path / "manifest.json").unlink()
    changed = [replace(document, text=document.text + " more") for document in documents(50)]
    with pytest.raises(OctoberError, match="other passages than the documents give now"):
        PassageStore.build(changed, tmp_path, source="s", shard_passages=16)


def test_a_finished_store_reads_no_documents(tmp_path):
    store = build(tmp_path)
    again = PassageStore.build(iter([None]), tmp_path, source="s", shard_passages=16)
    assert again.fingerprint == store.fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": " \n"}, "document 'd1': it has no text"),
        ({"text": b"bytes"}, "document 'd1': its text is bytes, not text"),
        ({"text": "half \ud800"}, "document 'd1': its text is not UTF-8"),
        ({"title": "\udfff"}, "document 'd1': its title is not UTF-8"),
        ({"id": "d0"}, "document 'd0' occurs twice"),
    ],
)
def test_a_bad_document_is_named(tmp_path, change, message):
    good = list(documents(3))
    with pytest.raises(OctoberError, match=message):
        PassageStore.build([good[0], replace(good[1], **change), good[2]], tmp_path, source="s")


def test_an_id_that_occurred_long_ago_is_still_known(monkeypatch):
    monkeypatch.setattr(fingerprints, "_MERGED_AT", 4)
    seen = fingerprints.SeenNames()
    assert all(seen.add(str(number)) for number in range(100))
    assert not any(seen.add(str(number)) for number in range(100))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "other"}, "holds passages of source=s and words=100, not of source=other and words=100"),
        ({"words": 50}, "not of source=s and words=50"),
        ({"words": 0}, "words=0"),
        ({"shard_passages": 0}, "shard_passages=0"),
    ],
)
def test_another_store_is_refused(tmp_path, options, message):
    build(tmp_path)
    with pytest.raises(OctoberError, match=message):
        PassageStore.build(documents(50), tmp_path, **{"source": "s", **options})


def test_no_documents_are_no_store(tmp_path):
    with pytest.raises(OctoberError, match="there are no documents"):
        PassageStore.build([], tmp_path, source="s")


def test_damage_is_named(tmp_path):
    store = build(tmp_path)
    with pytest.raises(OctoberError, match="passage 5000 does not exist"):
        store[5000]
    shard = tmp_path / "shard-00001.arrow"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-100])
    with pytest.raises(OctoberError, match=r"shard-00001\.arrow is damaged"):
        PassageStore.open(tmp_path)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    shard.write_bytes(flipped)
    with pytest.raises(OctoberError, match=r"shard-00001\.arrow is damaged"):
        PassageStore.open(tmp_path)
    shard.write_bytes(b"\0" * len(whole))
    with pytest.raises(OctoberError, match=r"shard-00001\.arrow is damaged"):
        list(PassageStore.open(tmp_path, verify=False))
    shard.unlink()
    with pytest.raises(OctoberError, match=r"manifest\.json is damaged"):
        PassageStore.open(tmp_path)
    for manifest in ("{", json.dumps([]), json.dumps({"shards": [], "fingerprint": 1})[:-3], "{}"):
        (tmp_path / "manifest.json").write_text(manifest)
        with pytest.raises(OctoberError, match=r"manifest\.json is damaged"):
            PassageStore.open(tmp_path)


def test_a_store_without_noted_hashes_is_read_as_before(tmp_path):
    store = build(tmp_path)
    path = tmp_path / "manifest.json"
    manifest = json.loads(path.read_text())
    for shard in manifest["shards"]:
        del shard["sha256"]
    path.write_text(json.dumps(manifest))
    old = PassageStore.open(tmp_path)
    assert (old.fingerprint, list(old)) == (store.fingerprint, list(store))
    (tmp_path / "shard-00000.arrow").write_bytes(b"short")
    with pytest.raises(OctoberError, match=r"shard-00000\.arrow is damaged"):
        PassageStore.open(tmp_path)


def test_a_resumed_build_sees_a_flipped_byte_in_what_was_there(tmp_path):
    store = build(tmp_path)
    (tmp_path / "manifest.json").unlink()
    shard = tmp_path / "shard-00001.arrow"
    whole = shard.read_bytes()
    text = store[20].text.encode()
    assert whole.count(text) == 1
    shard.write_bytes(whole.replace(text, b"X" + text[1:]))
    with pytest.raises(OctoberError, match=r"shard-00001\.arrow holds other passages"):
        build(tmp_path)
    shard.write_bytes(b"broken")
    with pytest.raises(OctoberError, match=r"shard-00001\.arrow is damaged"):
        build(tmp_path)
