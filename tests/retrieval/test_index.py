import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import faiss
import numpy as np
import pytest
from counting_encoder import CountingEncoder, documents, vector

from october.errors import OctoberError
from october.retrieval import (
    DenseIndex,
    EmbeddingCache,
    PassageStore,
    build_index,
    embeddings,
    encode,
    index_building,
)

KILLED = """
import sys
from counting_encoder import CountingEncoder
from october.retrieval import EmbeddingCache, PassageStore, build_index, embeddings, index_building
embeddings.CHUNK_TEXTS = index_building.CHUNK_TEXTS = 32
build_index(PassageStore.open(sys.argv[1]), CountingEncoder(kill_after=6), sys.argv[2], part_passages=80,
            factory=sys.argv[4], cache=EmbeddingCache(sys.argv[3]), training_passages=64)
"""


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch, tmp_path):
    monkeypatch.setattr(embeddings, "CHUNK_TEXTS", 32)
    monkeypatch.setattr(index_building, "CHUNK_TEXTS", 32)
    monkeypatch.setenv("OCTOBER_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return PassageStore.build(documents(200), tmp_path_factory.mktemp("store"), source="s")


@pytest.fixture(scope="module")
def vectors(store):
    return np.stack([vector(passage.titled_text) for passage in store])


@pytest.fixture(scope="module")
def queries():
    return np.random.default_rng(7).standard_normal((41, 16)).astype(np.float32)


def build(store, folder, encoder=None, cache=None, **options):
    cache = EmbeddingCache(cache or folder / "cache")
    return build_index(store, encoder or CountingEncoder(), folder / "index", cache=cache, **options)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name[0] != "."}


def brute_force(vectors, queries, k, metric):
    """Every score in float64, sorted."""
    exact, asked = vectors.astype(np.float64), queries.astype(np.float64)
    scores = asked @ exact.T if metric == "inner_product" else -((asked[:, None] - exact[None]) ** 2).sum(-1)
    best = np.argsort(-scores, axis=1)[:, :k]
    return np.take_along_axis(scores, best, axis=1), best


@pytest.mark.parametrize("part_passages", [None, 100, 7])
@pytest.mark.parametrize("metric", ["inner_product", "l2"])
def test_flat_search_is_brute_force(store, vectors, queries, tmp_path, metric, part_passages):
    index = build(store, tmp_path, metric=metric, part_passages=part_passages)
    for k in (1, 10, len(store)):
        scores, positions = brute_force(vectors, queries, k, metric)
        hits = index.search(queries, k)
        np.testing.assert_array_equal(hits.positions, positions)
        np.testing.assert_allclose(hits.scores, scores, atol=1e-4)


def test_fewer_passages_than_asked_for_are_marked(store, queries, tmp_path):
    hits = build(store, tmp_path).search(queries, len(store) + 3)
    assert (hits.positions[:, :-3] >= 0).all()
    assert (hits.positions[:, -3:] == -1).all()
    assert (hits.scores[:, -3:] == -np.inf).all()
    assert hits.positions.dtype == np.int64
    assert hits.scores.dtype == np.float32
    empty = build(store, tmp_path).search(queries[:0], 5)
    assert empty.positions.shape == (0, 5)


@pytest.mark.parametrize(
    "factory",
    ["Flat", "SQ8", "SQfp16", "IVF8,Flat", "IVF4,SQ8", "PCA8,IVF4,SQfp16", "OPQ4,IVF4,PQ4x4", "HNSW16,Flat", "PQ4x4"],
)
def test_any_factory_finds_what_faiss_finds(store, vectors, queries, tmp_path, factory):
    index = build(store, tmp_path, factory=factory, training_passages=10**6)
    theirs = faiss.index_factory(16, factory, faiss.METRIC_INNER_PRODUCT)
    theirs.train(vectors)
    for first in range(0, len(vectors), 32):  # a graph depends on what is added at a time
        theirs.add(vectors[first : first + 32])
    scores, positions = theirs.search(queries, 10)
    hits = index.search(queries, 10)
    np.testing.assert_array_equal(hits.positions, positions)
    np.testing.assert_allclose(hits.scores[positions >= 0], scores[positions >= 0], atol=1e-5)


def test_parts_find_what_one_index_finds(store, queries, tmp_path):
    one = build(store, tmp_path / "one", factory="IVF8,SQ8")
    many = build(store, tmp_path / "many", factory="IVF8,SQ8", part_passages=60)
    assert len(list((tmp_path / "many/index").glob("part-*"))) == -(-len(store) // 60) > 2
    np.testing.assert_array_equal(one.search(queries, 5).positions, many.search(queries, 5).positions)


def test_settings_reach_every_part(store, vectors, queries, tmp_path):
    index = build(store, tmp_path, factory="IVF8,Flat", part_passages=60)
    _, exact = brute_force(vectors, queries, 10, "inner_product")
    assert (index.search(queries, 10).positions != exact).any()
    probing_all = DenseIndex.open(index.folder, settings="nprobe=8")
    np.testing.assert_array_equal(probing_all.search(queries, 10).positions, exact)
    with pytest.raises(OctoberError, match="settings='efSearch=3': this index does not take them"):
        DenseIndex.open(index.folder, settings="efSearch=3")


def test_no_more_is_encoded_at_a_time_than_a_chunk(store, tmp_path):
    encoder = CountingEncoder()
    build(store, tmp_path, encoder, factory="IVF4,Flat", training_passages=100)
    assert max(len(call) for call in encoder.calls) <= 32
    assert sorted(encoder.texts) == sorted({passage.titled_text for passage in store})


@pytest.mark.parametrize("factory", ["Flat", "IVF4,Flat"])
def test_a_killed_build_goes_on_to_the_same_bytes_without_encoding_again(store, tmp_path, root, factory):
    environment = {**os.environ, "PYTHONPATH": str(root / "tests/helpers")}
    folders = [str(store.folder), str(tmp_path / "killed/index"), str(tmp_path / "killed/cache")]
    done = subprocess.run([sys.executable, "-c", KILLED, *folders, factory], env=environment, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    with pytest.raises(OctoberError, match="holds no finished dense index"):
        DenseIndex.open(tmp_path / "killed/index")
    encoded = len(EmbeddingCache(tmp_path / "killed/cache"))
    assert 0 < encoded < len(store)
    encoder = CountingEncoder()
    options = {"factory": factory, "part_passages": 80, "training_passages": 64}
    build(store, tmp_path / "killed", encoder, **options)
    assert len(encoder.texts) == len({passage.titled_text for passage in store}) - encoded
    build(store, tmp_path / "whole", **options)
    assert contents(tmp_path / "killed/index") == contents(tmp_path / "whole/index")
    assert contents(tmp_path / "killed/cache")["vectors.bin"] == contents(tmp_path / "whole/cache")["vectors.bin"]


def test_whole_parts_are_kept(store, queries, tmp_path):
    index = build(store, tmp_path, part_passages=60)
    expected = index.search(queries, 5)
    (index.folder / "parts.json").unlink()
    (index.folder / "part-00001.faiss").unlink()
    kept = {path: path.stat().st_mtime_ns for path in index.folder.glob("part-*")}
    encoder = CountingEncoder()
    again = build(store, tmp_path, encoder, part_passages=60)
    assert encoder.calls == []
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    np.testing.assert_array_equal(again.search(queries, 5).positions, expected.positions)


def test_a_finished_index_is_opened(store, tmp_path):
    index = build(store, tmp_path)
    before = contents(index.folder)
    encoder = CountingEncoder()
    assert len(build(store, tmp_path, encoder)) == len(store)
    assert (encoder.calls, contents(index.folder)) == ([], before)


def test_it_says_what_it_was_built_from(store, tmp_path):
    index = build(store, tmp_path)
    assert index.passages == store.fingerprint
    wanted = {"encoder": "counting", "encoder_fingerprint": "counting-16", "dimension": 16, "count": len(store)}
    assert wanted | {"factory": "Flat", "metric": "inner_product"} == {
        name: index.about[name] for name in (*wanted, "factory", "metric")
    }
    index.check_encoder(CountingEncoder())
    with pytest.raises(OctoberError, match="built with encoder counting, not other"):
        index.check_encoder(CountingEncoder(name="other"))
    with pytest.raises(OctoberError, match="built with encoder fingerprint counting-16, not counting-8"):
        index.check_encoder(CountingEncoder(8))


def test_vectors_are_mapped_and_not_read(store, tmp_path, queries):
    for factory in ("Flat", "IVF4,Flat"):
        index = build(store, tmp_path / factory, factory=factory)
        index.search(queries, 1)
        mapped = Path("/proc/self/maps").read_text()
        assert str(index.folder / "part-00000.faiss") in mapped


def test_faiss_settings_are_used_and_given_back(store, queries, tmp_path, monkeypatch):
    index = build(store, tmp_path)
    set_to = []
    real = faiss.omp_set_num_threads
    monkeypatch.setattr(faiss, "omp_set_num_threads", lambda number: (set_to.append(number), real(number)))
    before = faiss.omp_get_max_threads(), faiss.cvar.distance_compute_blas_threshold
    index.search(queries, 3, num_threads=1)
    assert set_to == [1, before[0]]
    assert (faiss.omp_get_max_threads(), faiss.cvar.distance_compute_blas_threshold) == before


def test_a_gpu_is_used_where_faiss_sees_one(store, queries, tmp_path, monkeypatch):
    index = build(store, tmp_path)
    expected = index.search(queries, 3)
    moved = []
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", lambda index: moved.append(index) or index, raising=False)
    np.testing.assert_array_equal(DenseIndex.open(index.folder).search(queries, 3).positions, expected.positions)
    assert len(moved) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factory": "Flot"}, "factory='Flot': faiss makes no index of 16 numbers"),
        ({"factory": "PQ5"}, "factory='PQ5'"),
        ({"factory": "IDMap,Flat"}, "factory='IDMap,Flat': passages are found by position"),
        ({"factory": "IDMap2,Flat"}, "factory='IDMap2,Flat': passages are found by position"),
        ({"factory": "IVF5000,Flat"}, r"factory='IVF5000,Flat' cannot be trained on \d+ passages"),
        ({"factory": "IVF50,Flat", "training_passages": 20}, "cannot be trained on 20 passages"),
        ({"metric": "cosine"}, "metric='cosine' is not one of inner_product, l2"),
        ({"part_passages": 0}, "part_passages=0"),
        ({"training_passages": 0}, "training_passages=0"),
    ],
)
def test_bad_settings_are_named(store, tmp_path, options, message):
    with pytest.raises(OctoberError, match=message) as error:
        build(store, tmp_path, **options)
    assert "\n" not in str(error.value)


def test_another_index_is_refused(store, tmp_path):
    build(store, tmp_path)
    with pytest.raises(OctoberError, match="holds an index with factory=Flat, not SQ8"):
        build(store, tmp_path, factory="SQ8")
    other = PassageStore.build(documents(30), tmp_path / "store", source="s")
    with pytest.raises(OctoberError, match=f"passages={store.fingerprint}, not {other.fingerprint}"):
        build(other, tmp_path)
    with pytest.raises(OctoberError, match="encoder=counting, not other"):
        build(store, tmp_path, CountingEncoder(name="other"), cache=tmp_path / "other cache")


@pytest.mark.parametrize(
    ("wrong", "k", "message"),
    [
        (np.zeros((2, 8)), 1, r"queries of shape \[2, 8\] do not fit"),
        (np.zeros(16), 1, r"queries of shape \[16\] do not fit"),
        (np.full((1, 16), np.nan), 1, "not finite"),
        (np.zeros((1, 16)), 0, "k=0: must be at least 1"),
    ],
)
def test_bad_searches_are_named(store, tmp_path, wrong, k, message):
    index = build(store, tmp_path)
    with pytest.raises(OctoberError, match=message):
        index.search(wrong, k)


@pytest.mark.parametrize("factory", ["Flat", "IVF4,Flat"])
def test_damage_is_named(store, queries, tmp_path, factory):
    folder = build(store, tmp_path, factory=factory).folder
    part = folder / "part-00000.faiss"
    whole = part.read_bytes()
    for broken in (whole[:-50], b"", whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:]):
        part.unlink()
        part.write_bytes(broken)
        with pytest.raises(OctoberError, match=r"part-00000\.faiss is damaged"):
            DenseIndex.open(folder)
    part.unlink()
    with pytest.raises(OctoberError, match=r"part-00000\.faiss is damaged"):
        DenseIndex.open(folder)
    (folder / "parts.json").write_text("{")
    with pytest.raises(OctoberError, match=r"parts\.json is damaged"):
        DenseIndex.open(folder)
    shutil.rmtree(folder)
    with pytest.raises(OctoberError, match="holds no finished dense index"):
        DenseIndex.open(folder)


@pytest.mark.parametrize("kept", [-50, 0])
def test_a_damaged_training_is_named_and_not_built_upon(store, queries, tmp_path, kept):
    folder = build(store, tmp_path, factory="IVF4,Flat").folder
    (folder / "parts.json").unlink()
    trained = folder / "trained.faiss"
    trained.write_bytes(trained.read_bytes()[:kept])
    with pytest.raises(OctoberError, match=r"trained\.faiss is damaged; delete .* and build the dense index again"):
        build(store, tmp_path, factory="IVF4,Flat")
    assert not (folder / "parts.json").exists()


def test_an_unverified_damaged_part_still_gets_one_line(store, queries, tmp_path):
    folder = build(store, tmp_path).folder
    part = folder / "part-00000.faiss"
    part.write_bytes(b"\0" * part.stat().st_size)
    with pytest.raises(OctoberError, match=r"part-00000\.faiss is damaged"):
        DenseIndex.open(folder, verify=False).search(queries, 1)


def test_search_takes_what_encode_gives(store, tmp_path):
    index = build(store, tmp_path, metric="l2")
    texts = store.titled_texts(0, 5)
    hits = index.search(encode(CountingEncoder(), texts), 1)
    assert [store[int(position)].titled_text for position in hits.positions[:, 0]] == texts
