import shutil
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tiny_sentence_encoder import sentence_encoder

from october.errors import OctoberError
from october.retrieval import Passage
from october.retrieval.embeddings import LoadedEncoder
from october.retrieval.recomp import (
    DualEncoder,
    ExtractiveCompressor,
    ScoredExample,
    calibrated_margin,
    sentence_candidates,
)

CANDIDATES = ("Rome is the capital of Italy.", "", "The Tiber is 405 km long.")
QUERIES = ["What is the capital of Italy?", "How long is the Tiber?", "When was Rome founded?", "x"]


@pytest.fixture(scope="module")
def calibrated(backbone):
    """An encoder, and its similarities of each query with the candidates."""
    encoder = DualEncoder(LoadedEncoder(sentence_encoder(backbone)))
    found = encoder.similarities(QUERIES, [CANDIDATES] * len(QUERIES))
    return encoder, [row.tolist() for row in found]


def score(encoder, query, text):
    """One forward pass for each text, nothing shared."""
    vectors = [encoder.encode([one], show_progress_bar=False)[0] for one in (query, text)]
    return float(vectors[0] @ vectors[1])


def expected(encoder, query, documents, count, order, allow_empty=False, margin=0.0):
    """The summary by a loop over sentences."""
    texts = [candidate.text for candidate in sentence_candidates(documents)]
    scores = {text: score(encoder, query, text) for text in texts}
    best = sorted(texts, key=lambda text: -scores[text])[:count]
    if allow_empty:
        best = [text for text in best if scores[text] > score(encoder, query, "") + margin]
    return " ".join(sorted(best, key=texts.index) if order == "document" else best)


@pytest.mark.parametrize("order", ["document", "score"])
@pytest.mark.parametrize("count", [1, 2, 5, 20])
def test_summaries_equal_a_loop_over_sentences(dual_encoder, sentence_transformer, passages, count, order):
    compressor = ExtractiveCompressor(dual_encoder, num_sentences=count, order=order)
    documents = [passages, passages[1:], passages[:1], passages[::-1]]
    found = compressor.compress_many(QUERIES, documents)
    pairs = zip(QUERIES, documents, strict=True)
    assert found == [expected(sentence_transformer, *pair, count, order) for pair in pairs]
    assert compressor.compress(QUERIES[0], passages) == found[0]


def test_none_is_chosen_that_does_not_beat_the_empty_text(dual_encoder, sentence_transformer, passages):
    plain = score(sentence_transformer, QUERIES[0], "")
    scores = [score(sentence_transformer, QUERIES[0], one.text) for one in sentence_candidates(passages)]
    middle = sorted(scores)[len(scores) // 2] - plain
    for margin in (-1e6, middle - 1e-4, middle + 1e-4, max(scores) - plain - 1e-3, 1e6):
        compressor = ExtractiveCompressor(dual_encoder, num_sentences=5, allow_empty=True, margin=margin)
        found = compressor.compress(QUERIES[0], passages)
        assert found == expected(sentence_transformer, QUERIES[0], passages, 5, "document", True, margin)
    assert found == ""


@given(data=st.data())
def test_the_margin_is_the_one_that_helps_most(calibrated, data):
    """Every margin that decides differently is tried, by a loop over queries."""
    encoder, similarities = calibrated
    number = data.draw(st.integers(1, len(QUERIES)))
    scores = [
        tuple(data.draw(st.lists(st.integers(-2, 2), min_size=len(row), max_size=len(row))))
        for row in similarities[:number]
    ]
    judged = [
        ScoredExample(query, CANDIDATES, each, tuple(row))
        for query, each, row in zip(QUERIES[:number], scores, similarities, strict=False)
    ]

    def helped(margin):
        total = 0
        for row, each in zip(similarities, scores, strict=False):
            best = max((0, 2), key=lambda place: row[place])  # the empty text stands second
            total += each[best if row[best] > row[1] + margin else 1]
        return total

    margin = calibrated_margin(encoder, judged)
    leads = sorted(max(row[0], row[2]) - row[1] for row in similarities[:number])
    tried = [leads[0] - 1, *((one + other) / 2 for one, other in pairwise(leads)), leads[-1] + 1]
    assert helped(margin) == max(map(helped, [0, *tried]))
    assert (margin == 0) == (helped(0) == helped(margin))


def test_a_calibrated_compressor_is_silent_where_sentences_do_harm(calibrated, passages):
    encoder, similarities = calibrated
    for gain, silent in ((-1.0, True), (1.0, False)):
        judged = [
            ScoredExample(query, CANDIDATES, (gain, 0.0, gain), tuple(row))
            for query, row in zip(QUERIES, similarities, strict=True)
        ]
        margin = calibrated_margin(encoder, judged)
        compressor = ExtractiveCompressor(encoder, allow_empty=True, margin=margin)
        document = Passage("a#0", "", f"{CANDIDATES[0]} {CANDIDATES[2]}", "test")
        assert [text == "" for text in compressor.compress_many(QUERIES, [[document]] * 4)] == [silent] * 4


def test_a_margin_needs_judged_queries_with_the_empty_text(dual_encoder):
    with pytest.raises(OctoberError, match="judged queries are empty"):
        calibrated_margin(dual_encoder, [])
    for candidates in (("a", "b"), ("",)):
        one = ScoredExample("q", candidates, (0.0,) * len(candidates), (0.0,) * len(candidates))
        with pytest.raises(OctoberError, match="judged query 0: needs the empty text among its candidates"):
            calibrated_margin(dual_encoder, [one])


def test_each_distinct_text_is_encoded_once(sentence_transformer, passages):
    seen = []

    class Counting(LoadedEncoder):
        def embed(self, texts):
            seen.extend(texts)
            return super().embed(texts)

    ExtractiveCompressor(DualEncoder(Counting(sentence_transformer))).compress_many(QUERIES * 2, [passages] * 8)
    assert len(seen) == len(set(seen)) == len(QUERIES) + len(sentence_candidates(passages))


def test_queries_may_have_an_encoder_of_their_own(backbone, sentence_transformer, passages):
    other = sentence_encoder(backbone)
    with torch.no_grad():
        for weight in other.parameters():
            weight.mul_(0.7)
    dual = DualEncoder(LoadedEncoder(sentence_transformer), LoadedEncoder(other, query=True))
    (found,) = dual.similarities([QUERIES[0]], [[passages[0].text]])
    ours = other.encode([QUERIES[0]], show_progress_bar=False)[0]
    theirs = sentence_transformer.encode([passages[0].text], show_progress_bar=False)[0]
    assert found[0] == pytest.approx(float(ours @ theirs), rel=1e-5)


RELEASED = {
    "natural_questions": "fangyuan/nq_extractive_compressor",
    "triviaqa": "fangyuan/tqa_extractive_compressor",
    "hotpotqa": "fangyuan/hotpotqa_extractive_compressor",
}


@pytest.mark.parametrize("name", RELEASED)
def test_a_released_checkpoint_is_read_from_its_repository_with_mean_pooling(
    backbone, sentence_transformer, passages, add_to_hub_cache, tmp_path, name
):
    folder = shutil.copytree(backbone, tmp_path / "released")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")  # as the authors uploaded theirs
    add_to_hub_cache(RELEASED[name], folder)
    compressor = ExtractiveCompressor.load(name, num_sentences=2)
    assert compressor.compress_many(QUERIES, [passages] * 4) == [
        expected(sentence_transformer, query, passages, 2, "document") for query in QUERIES
    ]
    texts = [candidate.text for candidate in sentence_candidates(passages)]
    (found,) = compressor.encoder.similarities(QUERIES[:1], [texts])
    assert found.tolist() == pytest.approx([score(sentence_transformer, QUERIES[0], text) for text in texts], abs=1e-4)
    for other in set(RELEASED) - {name}:
        with pytest.raises(OctoberError, match=f"model {RELEASED[other]} is not in the hub's cache"):
            ExtractiveCompressor.load(other)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_plain_transformer_is_pooled_as_told(backbone, passages, pooling):
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(backbone).eval(), AutoTokenizer.from_pretrained(backbone)

    @torch.no_grad()
    def vector(text):
        hidden = model(**tokenizer(text, return_tensors="pt", return_token_type_ids=False)).last_hidden_state[0]
        return hidden[0] if pooling == "cls" else hidden.mean(dim=0)

    compressor = ExtractiveCompressor.load(str(backbone), pooling=pooling, num_sentences=1)
    texts = [candidate.text for candidate in sentence_candidates(passages)]
    found = compressor.encoder.similarities([QUERIES[1]], [texts])[0]
    reference = [float(vector(QUERIES[1]) @ vector(text)) for text in texts]
    assert found.tolist() == pytest.approx(reference, abs=1e-4)
    assert compressor.compress(QUERIES[1], passages) == max(zip(reference, texts, strict=True))[1]
    silent = ExtractiveCompressor.load(str(backbone), pooling=pooling, allow_empty=True, margin=float("inf"))
    assert silent.compress(QUERIES[1], passages) == ""


def test_bad_arguments_are_named(dual_encoder):
    with pytest.raises(OctoberError, match="num_sentences=0: must be at least 1"):
        ExtractiveCompressor(dual_encoder, num_sentences=0)
    with pytest.raises(OctoberError, match="no such folder"):
        ExtractiveCompressor.load("/nowhere/at/all")
