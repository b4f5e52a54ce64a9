from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from one_line import one_line

from october.attention import PREFILL_CHUNK, DecoderConfig, DenseCache, Transformer, prefill
from october.attention.mistral import RollingBufferCache, pack_

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = DecoderConfig(
    vocab_size=29,
    hidden_size=16,
    intermediate_size=24,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=6,
    sliding_windows=(4, None),
)
DECODER = Transformer(CONFIG, seed=1).double().requires_grad_(False)


def cache_of(num_rows):
    return DenseCache(CONFIG, num_rows, 8, dtype=torch.float64)


def last_states(rows):
    return torch.stack([DECODER(torch.tensor([row]))[0, -1] for row in rows])


@settings(deadline=None, max_examples=30)
@given(
    rows=st.lists(st.lists(st.integers(0, 28), min_size=1, max_size=12), min_size=1, max_size=4),
    more=st.lists(st.lists(st.integers(0, 28), min_size=1, max_size=12), min_size=4, max_size=4),
    data=st.data(),
)
def test_every_chunk_size_gives_the_same_states(rows, more, data):
    """Rows of any lengths in any order, and a second time after what the cache holds."""
    cache, more = cache_of(4), more[: len(rows)]
    for new in (rows, more):
        chunk_size = data.draw(st.one_of(st.none(), st.integers(1, max(map(len, new)))))
        states = prefill(DECODER, new, cache, chunk_size=chunk_size)
        texts = rows if new is rows else [row + added for row, added in zip(rows, more, strict=True)]
        torch.testing.assert_close(states, last_states(texts), rtol=0, atol=1e-12)
        assert cache.lengths[: len(texts)] == [len(text) for text in texts]


def test_rows_that_have_run_out_are_fed_no_more(monkeypatch):
    shapes, begin = [], DenseCache.begin

    def noting(cache, shape, **settings):
        shapes.append(shape)
        return begin(cache, shape, **settings)

    monkeypatch.setattr(DenseCache, "begin", noting)
    prefill(DECODER, [[1] * 9, [2] * 5, [3] * 4, [4]], cache_of(4), chunk_size=4)
    assert shapes == [(4, 4), (2, 4), (1, 1)]
    shapes.clear()
    prefill(DECODER, [[1] * (PREFILL_CHUNK + 3)], cache_of(1))
    assert shapes == [(1, PREFILL_CHUNK), (1, 3)]


@pytest.mark.parametrize("cache", [DenseCache, RollingBufferCache])
@pytest.mark.parametrize("finish", [lambda decoder: decoder, pack_])
def test_the_last_layer_works_on_the_last_tokens_alone(cache, finish):
    """The states are those of a pass over all tokens, from which it saves nearly a whole layer."""
    decoder = finish(Transformer(CONFIG, seed=2).requires_grad_(False))
    worked_on = []

    def run(network, hidden):
        worked_on.append(hidden.shape[:2])
        return network(hidden)

    decoder.feed_forward = run
    rows, lengths = torch.randint(29, (3, 9), generator=torch.Generator().manual_seed(3)), [9, 2, 6]
    caches = [cache(CONFIG, 3, 20) for _ in range(2)]
    for _ in range(2):  # from an empty cache, and after what it holds
        worked_on.clear()
        found = decoder.last_states(rows, caches[0], lengths)
        assert worked_on == [(3, 9), (3, 1)]
        every = decoder(rows, cache=caches[1], new_lengths=lengths)
        torch.testing.assert_close(found, every[[0, 1, 2], [8, 1, 5]], rtol=0, atol=2e-6)
        for mine, other in zip(caches[0].keys, caches[1].keys, strict=True):
            torch.testing.assert_close(mine, other, rtol=0, atol=2e-6)


def test_bad_arguments_are_named():
    for rows, chunk_size, words in [
        ([[1, 2], [1]], 3, "chunk_size=3: must be from 1 to 2"),
        ([[1, 2]], 0, "chunk_size=0: must be from 1 to 2"),
        ([[1], []], None, r"token_rows have \[1, 0\] tokens"),
        ([], None, r"token_rows have \[\] tokens"),
    ]:
        with one_line(words):
            prefill(DECODER, rows, cache_of(2), chunk_size=chunk_size)


def test_a_row_that_outgrows_the_context_is_refused_before_it_is_fed():
    decoder = Transformer(replace(CONFIG, max_positions=7), seed=1).double().requires_grad_(False)
    cache = cache_of(2)
    prefill(decoder, [[1, 2, 3], [1] * 7], cache)
    for rows in ([[1] * 5], [[1], [1]]):
        before, row = list(cache.lengths), len(rows) - 1
        with one_line(f"prompt {row} with what its row holds has 8 tokens, more than the model's context of 7"):
            prefill(decoder, rows, cache)
        assert cache.lengths == before
