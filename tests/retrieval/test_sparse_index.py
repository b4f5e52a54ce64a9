import json
import math
import re
from collections import Counter

import numpy as np
import pytest
import Stemmer
from bm25s.stopwords import STOPWORDS_EN
from counting_encoder import documents

from october.data.documents import Document
from october.errors import OctoberError
from october.retrieval import PassageStore, SparseIndex

QUERIES = ["who painted the Mona Lisa", "cities of France", "Paris Paris rivers", "the of and", "zebra", "a"]
TEXTS = [
    ("Paris", "Paris is the capital of France, a city on the river Seine."),
    ("Mona Lisa", "The Mona Lisa is a painting by Leonardo da Vinci, shown in Paris."),
    ("Rome", "Rome is the capital of Italy; rivers and cities, cities and rivers."),
    ("Leonardo", "Leonardo painted, drew and invented. He painted much."),
    ("Nothing", "the of and"),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    made = [Document(str(number), title, text, "s") for number, (title, text) in enumerate(TEXTS)]
    return PassageStore.build(made, tmp_path_factory.mktemp("store"), source="s")


@pytest.fixture(scope="module")
def random_store(tmp_path_factory):
    return PassageStore.build(documents(150), tmp_path_factory.mktemp("random"), source="s")


def words(text, stem=True):
    found = [word for word in re.findall(r"\w+", text.lower()) if word not in STOPWORDS_EN]
    return Stemmer.Stemmer("english").stemWords(found) if stem else found


def bm25(texts, query, k1, b, stem=True):
    """The formula, word by word, in float64."""
    passages = [Counter(words(text, stem)) for text in texts]
    lengths = [sum(counts.values()) for counts in passages]
    mean = sum(lengths) / len(lengths)
    scores = []
    for counts, length in zip(passages, lengths, strict=True):
        score = 0.0
        for word in words(query, stem):
            n = sum(word in other for other in passages)
            idf = math.log(1 + (len(texts) - n + 0.5) / (n + 0.5))
            if counts[word]:
                score += idf * counts[word] / (counts[word] + k1 * (1 - b + b * length / mean))
        scores.append(score)
    return np.array(scores)


def check(index, store, queries, k, k1, b, stem=True):
    texts = [passage.titled_text for passage in store]
    hits = index.search(queries, k)
    for query, found, positions in zip(queries, hits.scores, hits.positions, strict=True):
        expected = bm25(texts, query, k1, b, stem)
        order = np.argsort(-expected, kind="stable")[: min(k, (expected > 0).sum())]
        assert positions[: len(order)].tolist() == order.tolist()
        np.testing.assert_allclose(found[: len(order)], expected[order], rtol=1e-5)
        assert (positions[len(order) :] == -1).all()
        assert (found[len(order) :] == -np.inf).all()


@pytest.mark.parametrize(("k1", "b"), [(0.9, 0.4), (1.5, 0.75), (0.0, 0.0), (2.0, 1.0)])
def test_scores_are_the_formula(store, tmp_path, k1, b):
    index = SparseIndex.build(store, tmp_path, k1=k1, b=b)
    assert len(index) == len(TEXTS)
    for k in (1, 3, 9):
        check(index, store, QUERIES, k, k1, b)


def test_scores_are_the_formula_on_random_texts(random_store, tmp_path):
    index = SparseIndex.build(random_store, tmp_path)
    check(index, random_store, random_store.titled_texts(3, 6), 20, 0.9, 0.4)


def test_words_need_not_be_stemmed(store, tmp_path):
    index = SparseIndex.build(store, tmp_path, stemmer=None)
    check(index, store, QUERIES, 4, 0.9, 0.4, stem=False)


def test_the_defaults_are_those_of_the_field(store, tmp_path):
    index = SparseIndex.build(store, tmp_path)
    check(index, store, QUERIES, 5, 0.9, 0.4)


def test_of_equal_passages_the_first_comes_first(tmp_path):
    same = [Document(str(number), "", "same words here" if number % 3 else "other", "s") for number in range(40)]
    store = PassageStore.build(same, tmp_path / "store", source="s")
    hits = SparseIndex.build(store, tmp_path / "index").search(["words"], 5)
    assert hits.positions.tolist() == [[1, 2, 4, 5, 7]]


def test_a_finished_index_is_opened_and_mapped(store, tmp_path, monkeypatch):
    built = SparseIndex.build(store, tmp_path)
    expected = built.search(QUERIES, 3)
    monkeypatch.setattr("october.retrieval.sparse_index._build", None)  # would fail if called
    again = SparseIndex.build(store, tmp_path)
    np.testing.assert_array_equal(again.search(QUERIES, 3).positions, expected.positions)
    assert isinstance(again._bm25.scores["data"], np.memmap)
    assert again.passages == store.fingerprint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k1": -1}, "k1=-1, b=0.4"),
        ({"b": 1.5}, "k1=0.9, b=1.5"),
        ({"stemmer": "klingon"}, "stemmer='klingon' is not one of"),
    ],
)
def test_bad_settings_are_named(store, tmp_path, options, message):
    with pytest.raises(OctoberError, match=message):
        SparseIndex.build(store, tmp_path, **options)


def test_another_index_is_refused(store, random_store, tmp_path):
    SparseIndex.build(store, tmp_path)
    with pytest.raises(OctoberError, match="holds an index with another k1"):
        SparseIndex.build(store, tmp_path, k1=2)
    with pytest.raises(OctoberError, match="holds an index with another passages"):
        SparseIndex.build(random_store, tmp_path)


def test_passages_without_words_are_named(tmp_path):
    store = PassageStore.build([Document("d", "The", "of and", "s")], tmp_path / "store", source="s")
    with pytest.raises(OctoberError, match="no passage has a word"):
        SparseIndex.build(store, tmp_path / "index")
    with pytest.raises(OctoberError, match="holds no finished sparse index"):
        SparseIndex.open(tmp_path / "index")


@pytest.mark.parametrize(
    ("queries", "k", "message"),
    [(["a", ""], 1, "query 1 is empty"), ("a", 1, "a list of queries is needed"), (["a"], 0, "k=0")],
)
def test_bad_searches_are_named(store, tmp_path, queries, k, message):
    with pytest.raises(OctoberError, match=message):
        SparseIndex.build(store, tmp_path).search(queries, k)


def test_damage_is_named(store, tmp_path):
    SparseIndex.build(store, tmp_path)
    data = tmp_path / "index/data.csc.index.npy"
    whole = data.read_bytes()
    data.write_bytes(whole[:-4])
    with pytest.raises(OctoberError, match=r"data\.csc\.index\.npy is damaged"):
        SparseIndex.open(tmp_path)
    data.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(OctoberError, match=r"data\.csc\.index\.npy is damaged"):
        SparseIndex.open(tmp_path)
    data.write_bytes(whole)
    assert len(SparseIndex.open(tmp_path)) == len(store)
    about = json.loads((tmp_path / "index/about.json").read_text())  # as it was before hashes were noted
    sizes = {name: (tmp_path / "index" / name).stat().st_size for name in about.pop("sha256")}
    (tmp_path / "index/about.json").write_text(json.dumps(about | {"bytes": sizes}))
    assert len(SparseIndex.open(tmp_path)) == len(store)
    data.write_bytes(b"\0" * len(whole))
    with pytest.raises(OctoberError, match="is damaged"):
        SparseIndex.open(tmp_path).search(["Paris"], 1)
    data.unlink()
    with pytest.raises(OctoberError, match="is damaged"):
        SparseIndex.open(tmp_path)
