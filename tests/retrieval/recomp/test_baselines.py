import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from october.errors import OctoberError
from october.retrieval import Passage
from october.retrieval.recomp import (
    BASELINES,
    BagOfWords,
    Compressor,
    ExtractiveCompressor,
    NamedEntities,
    TopDocuments,
    baseline,
    bm25_scores,
    capitalised_spans,
    sentence_candidates,
)
from october.retrieval.recomp.words import words_of

QUERY = "How long is the Tiber?"


class NumberScorer:
    """Likes the target's occurrences; nothing at all is worth one half."""

    def scores(self, requests):
        return [
            [0.5 if not text else float(text.count(request.targets[0])) for text in request.candidates]
            for request in requests
        ]

    def fingerprint(self):
        return "numbers"


def made(name, dual_encoder, target="405 km"):
    return baseline(name, encoder=dual_encoder, scorer=NumberScorer(), targets={QUERY: (target,)})


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_is_a_compressor_of_many_as_of_one(name, dual_encoder, passages):
    compressor = made(name, dual_encoder)
    assert isinstance(compressor, Compressor)
    documents = [passages, passages[:1], passages[1:]]
    found = compressor.compress_many([QUERY] * 3, documents)
    assert found == [compressor.compress(QUERY, retrieved) for retrieved in documents]
    with pytest.raises(OctoberError, match="has no documents"):
        compressor.compress(QUERY, [])


def test_documents_and_sentences_of_the_simple_ones(dual_encoder, passages):
    assert made("none", dual_encoder).compress(QUERY, passages) == ""
    assert made("top_1", dual_encoder).compress(QUERY, passages) == f"Rome\n{passages[0].text}"
    five = made("top_5", dual_encoder).compress(QUERY, passages)
    assert five == "\n".join(f"{one.title}\n{one.text}" for one in passages[::-1])
    assert made("bm25_sentence", dual_encoder).compress(QUERY, passages) == "Tiber: The Tiber is 405 km long."
    dense = made("dense_sentence", dual_encoder).compress(QUERY, passages)
    assert dense == ExtractiveCompressor(dual_encoder).compress(QUERY, passages)


def test_oracles_take_what_helps_and_none_if_told(dual_encoder, passages):
    assert made("oracle_sentence", dual_encoder).compress(QUERY, passages) == "Tiber: The Tiber is 405 km long."
    assert made("oracle_or_empty", dual_encoder).compress(QUERY, passages) == "Tiber: The Tiber is 405 km long."
    first = sentence_candidates(passages)[0].text
    assert made("oracle_sentence", dual_encoder, "Nile").compress(QUERY, passages) == first
    assert made("oracle_or_empty", dual_encoder, "Nile").compress(QUERY, passages) == ""
    with pytest.raises(OctoberError, match=r"query 'Who\?' has no targets"):
        made("oracle_sentence", dual_encoder).compress("Who?", passages)


def test_random_sentences_depend_on_seed_and_query_alone(passages):
    texts = [candidate.text for candidate in sentence_candidates(passages)]
    chosen = {}
    for seed in range(3):
        for query in ("a", "b", "c", "d"):
            compressor = baseline("random_sentence", seed=seed)
            chosen[seed, query] = compressor.compress(query, passages)
            assert chosen[seed, query] in texts
            assert compressor.compress_many(["z", query], [passages] * 2)[1] == chosen[seed, query]
    assert len(set(chosen.values())) > 3
    counts = dict.fromkeys(texts, 0)
    for number in range(700):
        counts[baseline("random_sentence").compress(f"query {number}", passages)] += 1
    assert min(counts.values()) > 60  # of 100 expected


def test_the_bag_of_words_keeps_first_occurrences_without_stop_words():
    passage = Passage("a#0", "Rome", "The city of Rome is the old city, and it has Walls and walls.", "test")
    assert BagOfWords().compress("x", [passage]) == "Rome city old Walls walls"


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("The Tower of London was built in 1078.", ["Tower of London", "1078"]),
        ("It lies in France. He met J. R. Smith there.", ["France", "J. R. Smith"]),
        ("the population of 2,800,000 people", ["2,800,000"]),
        ("Rome\nRome is in Italy, near the sea and the hills.", ["Rome", "Rome", "Italy"]),
        ("Jean de La Fontaine wrote of it", ["Jean de La Fontaine"]),
        ("nothing here", []),
    ],
)
def test_names_are_runs_of_capitals(text, spans):
    assert capitalised_spans(text) == spans


def test_entities_are_listed_once():
    passage = Passage("a#0", "Rome", "Rome is in Italy. Italy and Rome have 59 million people.", "test")
    assert NamedEntities().compress("x", [passage]) == "Rome Italy Italy and Rome 59"


SENTENCES = st.lists(
    st.lists(st.sampled_from(["rome", "Tiber", "is", "old"]), max_size=6).map(" ".join), min_size=1, max_size=5
)


@given(sentences=SENTENCES, query=st.lists(st.sampled_from(["rome", "tiber", "nile"]), max_size=3))
def test_bm25_equals_its_formula(sentences, query):
    found = bm25_scores(query, sentences, k1=1.2, b=0.6)
    split = [words_of(sentence) for sentence in sentences]
    mean = sum(map(len, split)) / len(split) or 1.0
    for words, score in zip(split, found, strict=True):
        expected = 0.0
        for word in query:
            n = sum(word in other for other in split)
            idf = math.log(1 + (len(split) - n + 0.5) / (n + 0.5))
            f = words.count(word)
            expected += idf * f * 2.2 / (f + 1.2 * (0.4 + 0.6 * len(words) / mean))
        assert score == pytest.approx(expected)


def test_bad_arguments_are_named(dual_encoder):
    with pytest.raises(OctoberError, match="baseline 'best': must be one of none, top_1"):
        baseline("best")
    with pytest.raises(OctoberError, match="'dense_sentence': needs an encoder"):
        baseline("dense_sentence")
    with pytest.raises(OctoberError, match="'oracle_sentence': needs a scorer and targets"):
        baseline("oracle_sentence", scorer=NumberScorer())
    with pytest.raises(OctoberError, match="count=0: must be at least 1"):
        TopDocuments(0)
    with pytest.raises(OctoberError, match="num_sentences=0: must be at least 1"):
        baseline("bm25_sentence", num_sentences=0)
