import math

import pytest
import tiny_tokenizers
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from october.errors import OctoberError
from october.language_models import TransformersLM
from october.retrieval import Passage
from october.retrieval.recomp import (
    TopDocuments,
    strided_losses,
    strided_windows,
    text_tokens,
    window_documents,
    window_evidence,
    window_queries,
)

TEXT = "The capital of France is Paris, and the tower stands in the old town, near the river. 日本 x\n" * 3
EVIDENCE = ["Tokyo", "", "The river is long, and the town is old. " * 3, "x", "", "Where is the naïve café?"]


@pytest.fixture(scope="module")
def neox():
    """A model whose texts begin with no start token."""
    tokenizer = tiny_tokenizers.byte_level()
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=0,
        initializer_range=0.3,
    )
    return TransformersLM(GPTNeoXForCausalLM(config), tokenizer, max_batch_tokens=300)


@torch.inference_mode()
def one_window_at_a_time(lm, tokens, evidence, window, stride, limit, start):
    """The original's loop: full logits of every window, evidence written over its first tokens."""
    losses, previous = [], 0
    for number, begin in enumerate(range(0, len(tokens), stride)):
        end = min(begin + window, len(tokens))
        ids = list(tokens[begin:end])
        targets = end - previous
        right = ids[len(ids) - targets :]
        if number and evidence[number]:
            written = lm.tokenizer(evidence[number], add_special_tokens=False)["input_ids"][:limit]
            ids[: len(written)] = written
        ids = start + ids
        logits = lm.model(torch.tensor([ids]), use_cache=False).logits[0].double().log_softmax(dim=-1)
        places = range(len(ids) - targets, len(ids))
        loss = 0.0
        for place, token in zip(places, right, strict=True):
            assert ids[place] == token
            loss -= logits[place - 1, token].item() if place else 0.0
        losses.append(loss)
        previous = end
        if end == len(tokens):
            return losses
    return losses


@pytest.mark.parametrize(
    ("window", "stride", "limit"), [(40, 8, 12), (40, 7, 33), (33, 32, 1), (500, 32, 20), (24, 1, 5)]
)
@pytest.mark.parametrize("family", ["gemma", "llama", "neox"])
def test_losses_equal_one_window_at_a_time(family, window, stride, limit, request):
    lm = request.getfixturevalue(family)
    tokens = text_tokens(lm.tokenizer, TEXT)
    windows = strided_windows(len(tokens), window, stride)
    evidence = [EVIDENCE[number % len(EVIDENCE)] for number in range(len(windows))]
    options = {"window": window, "stride": stride, "max_evidence_tokens": limit}
    found = strided_losses(lm, tokens, evidence, **options)
    start = [] if family == "neox" else [2]
    expected = one_window_at_a_time(lm, tokens, evidence, window, stride, limit, start)
    assert found.losses.tolist() == pytest.approx(expected, abs=2e-4)
    assert found.tokens == len(tokens) - (family == "neox")
    perplexity = math.exp(sum(expected) / TEXT.count(" "))
    assert found.word_perplexity(TEXT) == pytest.approx(perplexity, rel=1e-4)
    lengths = [len(text_tokens(lm.tokenizer, text)[:limit]) if text else 0 for text in evidence]
    assert found.evidence_tokens.tolist() == [0, *lengths[1:]]


def test_evidence_matters_and_empty_evidence_is_the_plain_window(llama):
    tokens = text_tokens(llama.tokenizer, TEXT)
    count = len(strided_windows(len(tokens), 40, 8))
    plain = strided_losses(llama, tokens, [""] * count, window=40, stride=8, max_evidence_tokens=12)
    evidence = ["x"] + [EVIDENCE[2] if number % 2 else "" for number in range(1, count)]
    mixed = strided_losses(llama, tokens, evidence, window=40, stride=8, max_evidence_tokens=12)
    same = [a == pytest.approx(b, abs=1e-5) for a, b in zip(plain.losses, mixed.losses, strict=True)]
    assert same == [number % 2 == 0 for number in range(count)]


@given(tokens=st.integers(1, 300), window=st.integers(2, 80), data=st.data())
def test_windows_predict_every_token_once(tokens, window, data):
    stride = data.draw(st.integers(1, window - 1))
    windows = strided_windows(tokens, window, stride)
    predicted = [place for one in windows for place in range(one.predicted, one.end)]
    assert predicted == list(range(tokens))
    assert windows[0].predicted == 0
    assert all(one.end - one.begin <= window for one in windows)
    assert all(one.predicted - one.begin == window - stride for one in windows[1:])
    assert [one.begin for one in windows] == [stride * number for number in range(len(windows))]


def test_queries_are_the_text_just_before_what_is_predicted(llama):
    tokens = text_tokens(llama.tokenizer, TEXT)
    windows = strided_windows(len(tokens), 40, 8)
    queries = window_queries(llama.tokenizer, tokens, windows, query_tokens=8)
    assert queries[0] == ""
    for window, query in zip(windows[1:], queries[1:], strict=True):
        assert query == llama.tokenizer.decode(tokens[window.predicted - 8 : window.predicted])
    assert "".join(queries[1:6]) == llama.tokenizer.decode(tokens[32:72])
    with pytest.raises(OctoberError, match="query_tokens=0: must be at least 1"):
        window_queries(llama.tokenizer, tokens, windows, 0)


def test_the_first_window_retrieves_nothing_and_forbidden_titles_are_passed_on():
    class FakeRetriever:
        def search(self, queries, k, *, forbidden_titles):
            from october.retrieval import Retrieved

            assert list(queries) == ["a", "b"]
            assert [set(titles) for titles in forbidden_titles] == [{"Rome", "Oslo"}] * 2
            return [
                [Retrieved(Passage(f"{query}#{n}", query, "text", "test"), -n) for n in range(k)] for query in queries
            ]

    found = window_documents(FakeRetriever(), ["", "a", " ", "b"], 2, {"Rome", "Oslo"})
    assert [[one.id for one in row] for row in found] == [[], ["a#0", "a#1"], [], ["b#0", "b#1"]]
    assert window_documents(None, [""], 2, ()) == [[]]
    assert window_evidence(TopDocuments(1), ["", "a", " ", "b"], found) == ["", "a\ntext", "", "b\ntext"]
    with pytest.raises(OctoberError, match="1 queries and 4 lists of documents"):
        window_evidence(TopDocuments(1), ["a"], found)


def test_bad_arguments_are_named(llama):
    with pytest.raises(OctoberError, match="text is empty"):
        strided_windows(0)
    with pytest.raises(OctoberError, match="window=32, stride=32: the stride must be from 1 to below the window"):
        strided_windows(10, 32, 32)
    with pytest.raises(OctoberError, match="3 windows and 1 evidence"):
        strided_losses(llama, [5] * 50, [""], window=40, stride=8)
    with pytest.raises(OctoberError, match="max_evidence_tokens=33: must be from 0 to window - stride"):
        strided_losses(llama, [5] * 50, [""] * 3, window=40, stride=8, max_evidence_tokens=33)
    with pytest.raises(OctoberError, match="more than the model's context of 2048"):
        strided_losses(llama, [5] * 4000, [""] * 33, window=3000, stride=32)
