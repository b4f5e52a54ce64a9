import numpy as np
import pytest
from counting_encoder import Corpus, CountingEncoder, vector

from october.errors import OctoberError
from october.retrieval import Retriever, open_retriever, open_sparse_retriever

pytestmark = pytest.mark.usefixtures("own_home")

QUERIES = ["first question", "second", "third one", "first question"]


@pytest.fixture
def dense(tmp_path):
    return open_retriever(Corpus(60), CountingEncoder(), cache_root=tmp_path)


def brute_force(store, query, k, forbidden=()):
    passages = [passage for passage in store if passage.title not in forbidden]
    scores = [float(vector(query) @ vector(passage.titled_text)) for passage in passages]
    order = np.argsort(-np.array(scores), kind="stable")[:k]
    return [(passages[place].id, scores[place]) for place in order]


def same(found, expected):
    assert [passage.id for passage, _ in found] == [name for name, _ in expected]
    np.testing.assert_allclose([score for _, score in found], [score for _, score in expected], atol=1e-5)


@pytest.mark.parametrize("k", [1, 5, 10_000])
def test_it_finds_what_brute_force_finds(dense, k):
    for query, found in zip(QUERIES, dense.search(QUERIES, k), strict=True):
        same(found, brute_force(dense.store, query, k))
    assert dense.search([], k) == []


@pytest.mark.parametrize("k", [1, 3, 50])
def test_forbidden_titles_never_come_back_and_others_take_their_place(dense, k):
    ranked = brute_force(dense.store, QUERIES[0], len(dense.store))
    titles = {passage.id: passage.title for passage in dense.store}
    best = list(dict.fromkeys(titles[name] for name, _ in ranked))[:6]  # the search must go far deeper than k
    forbidden = [set(best), set(), {"Title 3"}, {title.upper().replace(" ", "  ") for title in best}]
    for query, found, some in zip(
        QUERIES, dense.search(QUERIES, k, forbidden_titles=forbidden), forbidden, strict=True
    ):
        plain = {title.capitalize().replace("  ", " ") for title in some}
        same(found, brute_force(dense.store, query, k, plain))
        assert not {passage.title for passage, _ in found} & plain


def test_when_every_title_is_forbidden_nothing_comes_back(dense):
    every = {passage.title for passage in dense.store}
    assert dense.search(["q", "r"], 3, forbidden_titles=[every, set()])[0] == []


def test_queries_are_encoded_once_and_searched_as_often_as_needed(tmp_path):
    encoder = CountingEncoder()
    retriever = open_retriever(Corpus(60), encoder, cache_root=tmp_path)
    encoder.calls.clear()
    every = {passage.title for passage in retriever.store}
    retriever.search(QUERIES, 2, forbidden_titles=[every - {"Title 1"}] * 4)
    retriever.search(QUERIES, 2)
    assert sorted(encoder.texts) == sorted(set(QUERIES))


def test_a_second_opening_builds_nothing(tmp_path):
    corpus, encoder = Corpus(60), CountingEncoder()
    first = open_retriever(corpus, encoder, factory="IVF4,Flat", cache_root=tmp_path, settings="nprobe=4")
    assert corpus.times_read == 1
    expected = first.search(QUERIES, 4)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.suffix != ".sqlite"}
    corpus, encoder = Corpus(60), CountingEncoder()
    again = open_retriever(corpus, encoder, factory="IVF4,Flat", cache_root=tmp_path, settings="nprobe=4")
    assert again.search(QUERIES, 4) == expected
    assert (corpus.times_read, encoder.calls) == (0, [])
    kept = {path: path.stat().st_mtime_ns for path in files if path.is_file() and path.name != ".lock"}
    assert kept == {path: files[path] for path in kept}


def test_other_settings_share_what_they_can(tmp_path):
    corpus, encoder = Corpus(60), CountingEncoder()
    open_retriever(corpus, encoder, cache_root=tmp_path)
    encoded = len(encoder.texts)
    open_retriever(corpus, encoder, factory="SQ8", cache_root=tmp_path)
    open_sparse_retriever(corpus, cache_root=tmp_path)
    assert corpus.times_read == 1
    assert len(encoder.texts) == encoded
    open_retriever(Corpus(60, seed=1), encoder, cache_root=tmp_path)
    assert len(encoder.texts) > encoded


def test_the_cache_is_octobers_own_by_default(tmp_path):
    retriever = open_sparse_retriever(Corpus(5))
    assert retriever.store.folder.is_relative_to(tmp_path / "home")


def test_sparse_retrieval_obeys_the_same_guard(tmp_path):
    corpus = Corpus(60)
    retriever = open_sparse_retriever(corpus, cache_root=tmp_path)
    query = retriever.store[10].titled_text
    assert open_sparse_retriever(corpus, cache_root=tmp_path).search([query], 3) == retriever.search([query], 3)
    everything = retriever.search([query], len(retriever.store))[0]
    assert everything[0].passage == retriever.store[10]
    forbidden = {everything[0].passage.title, everything[1].passage.title}
    allowed = [found for found in everything if found.passage.title not in forbidden]
    assert retriever.search([query], 3, forbidden_titles=[forbidden]) == [allowed[:3]]
    assert [score for _, score in everything] == sorted((score for _, score in everything), reverse=True)


def test_pieces_that_do_not_belong_together_are_refused(dense, tmp_path):
    sparse = open_sparse_retriever(Corpus(60), cache_root=tmp_path)
    other = open_sparse_retriever(Corpus(30), cache_root=tmp_path)
    for call, message in (
        (lambda: Retriever(other.store, dense.index, CountingEncoder()), "indexes passages"),
        (lambda: Retriever(dense.store, dense.index), "an encoder of queries is needed"),
        (lambda: Retriever(dense.store, dense.index, CountingEncoder(name="other")), "encoder counting, not other"),
        (lambda: Retriever(dense.store, dense.index, CountingEncoder(8)), "fingerprint counting-16, not counting-8"),
        (lambda: Retriever(sparse.store, sparse.index, CountingEncoder()), "it takes no encoder"),
    ):
        with pytest.raises(OctoberError, match=message):
            call()


@pytest.mark.parametrize(
    ("queries", "options", "message"),
    [
        (["a", "\t"], {"k": 1}, "query 1 is empty"),
        (["a"], {"k": 0}, "k=0"),
        (["a"], {"k": 1, "forbidden_titles": [set(), set()]}, "1 queries and 2 sets of forbidden titles"),
        (["a"], {"k": 1, "forbidden_titles": ["Title"]}, "not one title"),
    ],
)
def test_bad_searches_are_named(dense, queries, options, message):
    with pytest.raises(OctoberError, match=message):
        dense.search(queries, **options)
