import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tiny_backbones
import torch
from counting_encoder import CountingEncoder, vector
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from tiny_sentence_encoder import save_backbone, sentence_encoder

from october.errors import OctoberError
from october.language_models import EncoderHandle
from october.retrieval import EmbeddingCache, LoadedEncoder, PassageEncoder, QueryEncoder, embeddings, encode

TEXTS = [f"text {number} " + "long " * (number % 7) for number in range(50)]
KILLED = """
import sys
from counting_encoder import CountingEncoder
from october.retrieval import EmbeddingCache, embeddings, encode
embeddings.CHUNK_TEXTS = 8
encode(CountingEncoder(kill_after=3), sys.argv[2:], cache=EmbeddingCache(sys.argv[1]))
"""

SHARED = """
import sys
from counting_encoder import CountingEncoder
from october.retrieval import EmbeddingCache, embeddings, encode
embeddings.CHUNK_TEXTS = 2
encoder = CountingEncoder()
encode(encoder, sys.argv[2:], cache=EmbeddingCache(sys.argv[1]))
print(len(encoder.texts))
"""


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(embeddings, "CHUNK_TEXTS", 8)


def expected(texts, dimension=16):
    return np.stack([vector(text, dimension) for text in texts])


def folder_of_a_tiny_encoder(folder, seed):
    model = tiny_backbones.backbone("bert")
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    tiny_backbones.char_tokenizer("bert").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("encoders")
    return [folder_of_a_tiny_encoder(root / name, seed) for seed, name in enumerate(("passages", "queries"))]


def one_by_one(folder, texts, pooling):
    """A forward pass for each text, without padding, pooled by hand."""
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        states = [model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0] for text in texts]
    return np.stack([(state.mean(0) if pooling == "mean" else state[0]).numpy() for state in states])


@given(st.lists(st.sampled_from(TEXTS), max_size=40))
def test_each_text_gets_its_vector_and_is_encoded_once(texts):
    encoder = CountingEncoder()
    found = encode(encoder, texts)
    assert sorted(encoder.texts) == sorted(set(texts))
    assert [len(text) for text in encoder.texts] == sorted(map(len, encoder.texts), reverse=True)
    assert all(len(call) <= 8 for call in encoder.calls)
    if texts:
        np.testing.assert_array_equal(found, expected(texts))
    else:
        assert len(found) == 0


def test_a_cache_encodes_only_what_is_new(tmp_path):
    cache = EmbeddingCache.of(CountingEncoder(), tmp_path)
    first, second = CountingEncoder(), CountingEncoder()
    np.testing.assert_array_equal(encode(first, TEXTS[:30], cache=cache), expected(TEXTS[:30]))
    np.testing.assert_array_equal(encode(second, TEXTS[::-1], cache=cache), expected(TEXTS[::-1]))
    assert sorted(first.texts) == sorted(TEXTS[:30])
    assert sorted(second.texts) == sorted(TEXTS[30:])
    assert len(cache) == len(TEXTS)
    assert len(encode(second, [], cache=cache)) == 0


def test_encoders_have_caches_of_their_own(tmp_path):
    small, large = CountingEncoder(4), CountingEncoder(8)
    for encoder in (small, large, small):
        cache = EmbeddingCache.of(encoder, tmp_path)
        np.testing.assert_array_equal(encode(encoder, TEXTS, cache=cache), expected(TEXTS, encoder.dimension))
    assert sorted(small.texts) == sorted(TEXTS)
    folder = EmbeddingCache.of(small, tmp_path).folder
    with pytest.raises(OctoberError, match="holds float32 vectors of 4 numbers; encoder counting gives 4 in float16"):
        encode(small, ["new"], cache=EmbeddingCache(folder, "float16"))


def test_vectors_of_another_encoder_are_not_handed_out(tmp_path):
    one, other = CountingEncoder(4, "one"), CountingEncoder(4, "other")
    cache = EmbeddingCache(tmp_path / "cache")
    encode(one, ["x"], cache=cache)
    for texts in (["x"], ["x", "y"], ["y"]):
        with pytest.raises(OctoberError, match="encoder one with fingerprint one-4; encoder other has other-4: name"):
            encode(other, texts, cache=cache)
    one.name, same = "renamed", CountingEncoder(4, "one")
    one.fingerprint = same.fingerprint
    np.testing.assert_array_equal(encode(one, ["x", "z"], cache=cache), expected(["x", "z"], 4))


def test_a_cache_without_a_fingerprint_is_known_by_its_folder(tmp_path):
    encoder = CountingEncoder(4)
    for folder in (EmbeddingCache.of(encoder, tmp_path).folder, tmp_path / "my own"):
        encode(encoder, ["x"], cache=EmbeddingCache(folder))
        about = json.loads((folder / "about.json").read_text())
        assert about.pop("fingerprint") == "counting-4"
        (folder / "about.json").write_text(json.dumps(about))
    assert len(encode(encoder, ["x", "y"], cache=EmbeddingCache.of(encoder, tmp_path))) == 2
    with pytest.raises(OctoberError, match="with fingerprint my own; encoder counting has counting-4"):
        encode(encoder, ["x"], cache=EmbeddingCache(tmp_path / "my own"))


def test_half_precision_halves_the_file_and_keeps_three_digits(tmp_path):
    caches = [EmbeddingCache.of(CountingEncoder(), tmp_path, storage=storage) for storage in ("float32", "float16")]
    full, half = (encode(CountingEncoder(), TEXTS, cache=cache) for cache in caches)
    np.testing.assert_array_equal(half, full.astype(np.float16).astype(np.float32))
    sizes = [(cache.folder / "vectors.bin").stat().st_size for cache in caches]
    assert sizes == [50 * 16 * 4, 50 * 16 * 2]
    with pytest.raises(OctoberError, match="storage='int8'"):
        EmbeddingCache(tmp_path, "int8")


def test_a_killed_run_goes_on_without_encoding_again(tmp_path, root):
    environment = {**os.environ, "PYTHONPATH": str(root / "tests/helpers")}
    command = [sys.executable, "-c", KILLED, str(tmp_path / "killed"), *TEXTS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(EmbeddingCache(tmp_path / "killed")) == 3 * 8
    encoder = CountingEncoder()
    found = encode(encoder, TEXTS, cache=EmbeddingCache(tmp_path / "killed"))
    np.testing.assert_array_equal(found, expected(TEXTS))
    assert len(encoder.texts) == len(TEXTS) - 3 * 8
    encode(CountingEncoder(), TEXTS, cache=EmbeddingCache(tmp_path / "whole"))
    vectors = [(tmp_path / name / "vectors.bin").read_bytes() for name in ("killed", "whole")]
    assert vectors[0] == vectors[1]


def test_processes_share_a_cache(tmp_path, root):
    environment = {**os.environ, "PYTHONPATH": str(root / "tests/helpers")}
    halves = (TEXTS[:35], TEXTS[15:], TEXTS)
    running = [
        subprocess.Popen([sys.executable, "-c", SHARED, str(tmp_path), *texts], env=environment, stdout=subprocess.PIPE)
        for texts in halves
    ]
    encoded = [int(process.communicate()[0]) for process in running]
    assert sum(encoded) == len(TEXTS)
    encoder = CountingEncoder()
    np.testing.assert_array_equal(encode(encoder, TEXTS, cache=EmbeddingCache(tmp_path)), expected(TEXTS))
    assert encoder.calls == []


def test_vectors_whose_keys_were_never_written_are_cut_off(tmp_path):
    cache = EmbeddingCache(tmp_path)
    encode(CountingEncoder(), TEXTS[:20], cache=cache)
    with (tmp_path / "vectors.bin").open("ab") as file:
        file.write(b"\1" * 999)
    np.testing.assert_array_equal(encode(CountingEncoder(), TEXTS, cache=cache), expected(TEXTS))
    assert (tmp_path / "vectors.bin").stat().st_size == 50 * 16 * 4


def test_damage_is_named(tmp_path):
    cache = EmbeddingCache(tmp_path)
    encode(CountingEncoder(), TEXTS[:20], cache=cache)
    whole = (tmp_path / "vectors.bin").read_bytes()
    (tmp_path / "vectors.bin").write_bytes(whole[:-1])
    for texts in (TEXTS[:20], TEXTS):
        with pytest.raises(OctoberError, match=r"vectors\.bin is damaged"):
            encode(CountingEncoder(), texts, cache=cache)
    (tmp_path / "rows.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(OctoberError, match=r"rows\.sqlite is damaged"):
        encode(CountingEncoder(), TEXTS, cache=cache)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_handle_pools_as_by_hand(folders, pooling, tmp_path):
    handle = EncoderHandle("tiny", path=str(folders[0]), pooling=pooling, device="cpu")
    texts = ["one", "a longer text", "x", "one"]
    cache = EmbeddingCache.of(handle, tmp_path)
    for found in (encode(handle, texts), encode(handle, texts, cache=cache), encode(handle, texts, cache=cache)):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, one_by_one(folders[0], texts, pooling), atol=1e-5)


def test_queries_and_passages_may_have_encoders_of_their_own(folders):
    both = EncoderHandle("both", path=str(folders[0]), query_path=str(folders[1]), pooling="cls", device="cpu")
    same = EncoderHandle("same", path=str(folders[0]), pooling="cls", device="cpu")
    texts = ["one", "a longer text"]
    np.testing.assert_allclose(encode(both, texts), one_by_one(folders[0], texts, "cls"), atol=1e-5)
    np.testing.assert_allclose(encode(both, texts, query=True), one_by_one(folders[1], texts, "cls"), atol=1e-5)
    np.testing.assert_array_equal(encode(same, texts, query=True), encode(same, texts))
    assert QueryEncoder(same).fingerprint() == PassageEncoder(same).fingerprint() == PassageEncoder(both).fingerprint()
    assert QueryEncoder(both).fingerprint() != PassageEncoder(both).fingerprint()


def test_a_model_in_memory_is_encoded_without_gradients_and_left_in_its_mode(folders, tmp_path):
    handle = EncoderHandle("tiny", path=str(folders[0]), pooling="mean", device="cpu")
    model: SentenceTransformer = handle.load()
    model.train()
    found = encode(LoadedEncoder(model), TEXTS)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    model.eval()
    np.testing.assert_array_equal(found, encode(handle, TEXTS))
    with pytest.raises(OctoberError, match="has no fingerprint"):
        EmbeddingCache.of(LoadedEncoder(model), tmp_path)


@pytest.mark.parametrize(
    ("texts", "query", "message"),
    [
        ("one text", False, "a list of texts is needed"),
        (["a", " "], True, "query 1 is empty"),
        (["a", b"b"], True, "query 1 is bytes"),
        (["a", b"b"], False, "text 1 is bytes, not text"),
        (["a", None], False, "text 1 is NoneType, not text"),
        (["a", "b\ud800"], True, "query 1 is not UTF-8"),
        (["a", "b\ud800"], False, "text 1 is not UTF-8"),
    ],
)
def test_bad_texts_are_named(texts, query, message):
    with pytest.raises(OctoberError, match=message):
        encode(CountingEncoder(), texts, query=query)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_is_named(value, tmp_path):
    class Broken(CountingEncoder):
        def embed(self, texts):
            return np.where(np.array(texts)[:, None] == "bad", value, super().embed(texts))

    for cache in (None, EmbeddingCache(tmp_path)):
        with pytest.raises(OctoberError, match="not finite for 'bad'"):
            encode(Broken(), ["good", "bad"], cache=cache)


def test_half_precision_that_cannot_hold_a_vector_says_so(tmp_path):
    class Large(CountingEncoder):
        def embed(self, texts):
            return 1e6 * super().embed(texts)

    with pytest.raises(OctoberError, match="storage=float16 cannot hold"):
        encode(Large(), TEXTS, cache=EmbeddingCache(tmp_path, "float16"))
    assert len(EmbeddingCache(tmp_path, "float16")) == 0


@pytest.mark.usefixtures("one_thread")  # so that batches go in their order
def test_on_a_cpu_texts_of_as_many_tokens_share_a_batch(tmp_path, monkeypatch):
    model = sentence_encoder(save_backbone(tmp_path / "bert"))
    monkeypatch.setattr(embeddings, "_BATCH_TOKENS_ON_CPU", 60)
    texts = [word * count for word in ("The capital of France ", "7", "xq ") for count in range(1, 60, 4)]
    counts, forward = [], model.forward

    def watched(features, **options):
        counts.append(features["attention_mask"].sum(dim=1).tolist())
        return forward(features, **options)

    monkeypatch.setattr(model, "forward", watched)
    found = LoadedEncoder(model).embed(texts)
    assert all(len(rows) == 1 or len(rows) * max(rows) <= 60 for rows in counts)
    assert all(min(rows) >= max(after) for rows, after in itertools.pairwise(counts))
    assert max(map(max, counts)) == 128  # what the encoder reads at most
    monkeypatch.undo()
    np.testing.assert_allclose(found, np.stack([model.encode(text) for text in texts]), atol=1e-5)


def test_batches_side_by_side_give_what_each_gives_alone(tmp_path, monkeypatch):
    model = sentence_encoder(save_backbone(tmp_path / "bert"))
    monkeypatch.setattr(embeddings, "_BATCH_TOKENS_ON_CPU", 16)
    texts = [f"{number} is a number " * (number % 7 + 1) for number in range(200)]
    expected = model.encode(texts, batch_size=1)
    tokenizer, threads, used = model.tokenizer, torch.get_num_threads(), []
    set_padding = tokenizer.set_truncation_and_padding

    def watched(**settings):  # two threads that change it fail at times: "Already borrowed"
        pads = tokenizer.backend_tokenizer.padding is not None
        used.append((threading.get_ident(), torch.get_num_threads(), pads))
        set_padding(**settings)

    monkeypatch.setattr(tokenizer, "set_truncation_and_padding", watched)
    try:
        torch.set_num_threads(4)
        for _ in range(5):  # each time, the tokenizer begins without padding
            np.testing.assert_allclose(LoadedEncoder(model).embed(texts), expected, atol=1e-5)
        by_workers = [each for each in used if each[0] != threading.get_ident()]
        assert len({worker for worker, *_ in by_workers}) > 1
        assert {tuple(rest) for _, *rest in by_workers} == {(1, True)}
        assert torch.get_num_threads() == 4
        with ThreadPoolExecutor(1) as later:
            assert later.submit(torch.get_num_threads).result() == 4
    finally:
        torch.set_num_threads(threads)
