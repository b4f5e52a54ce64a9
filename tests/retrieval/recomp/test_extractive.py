import pytest
from tiny_sentence_encoder import sentence_encoder

from october.errors import OctoberError
from october.retrieval.embeddings import LoadedEncoder
from october.retrieval.recomp import DualEncoder, ExtractiveCompressor, sentence_candidates

QUERIES = ["What is the capital of Italy?", "How long is the Tiber?", "When was Rome founded?", "x"]


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


def test_each_distinct_text_is_encoded_once(sentence_transformer, passages):
    seen = []

    class Counting(LoadedEncoder):
        def embed(self, texts):
            seen.extend(texts)
            return super().embed(texts)

    ExtractiveCompressor(DualEncoder(Counting(sentence_transformer))).compress_many(QUERIES * 2, [passages] * 8)
    assert len(seen) == len(set(seen)) == len(QUERIES) + len(sentence_candidates(passages))


def test_queries_may_have_an_encoder_of_their_own(backbone, sentence_transformer, passages):
    import torch

    other = sentence_encoder(backbone)
    with torch.no_grad():
        for weight in other.parameters():
            weight.mul_(0.7)
    dual = DualEncoder(LoadedEncoder(sentence_transformer), LoadedEncoder(other, query=True))
    (found,) = dual.similarities([QUERIES[0]], [[passages[0].text]])
    ours = other.encode([QUERIES[0]], show_progress_bar=False)[0]
    theirs = sentence_transformer.encode([passages[0].text], show_progress_bar=False)[0]
    assert found[0] == pytest.approx(float(ours @ theirs), rel=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_plain_transformer_is_pooled_as_told(backbone, passages, pooling):
    import torch
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


def test_bad_arguments_are_named(dual_encoder):
    with pytest.raises(OctoberError, match="num_sentences=0: must be at least 1"):
        ExtractiveCompressor(dual_encoder, num_sentences=0)
    with pytest.raises(OctoberError, match="no such folder"):
        ExtractiveCompressor.load("/nowhere/at/all")
