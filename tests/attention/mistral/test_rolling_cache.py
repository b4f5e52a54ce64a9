from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from one_line import one_line
from tiny_decoders import LargestTensor, attention_by_loops
from tiny_mistral import VOCABULARY, decoder_of, feed, texts_of, whole

from october.attention import DenseCache
from october.attention.mistral import RollingBufferCache, rolling_pass
from october.attention.mistral.rolling_pass import grouped_read

pytestmark = pytest.mark.usefixtures("one_thread")

WINDOWS = st.lists(st.one_of(st.none(), st.integers(1, 7)), min_size=1, max_size=3).map(tuple)
SIZES = {"rtol": 0, "atol": 1e-11}


def cache_of(decoder, num_rows, capacity=3):
    weight = decoder.head.weight
    return RollingBufferCache(decoder.config, num_rows, capacity, dtype=weight.dtype, device=weight.device)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_rows_of_any_history_equal_whole_texts(data):
    """Rows grow by pieces of any lengths, are cropped, swapped, copied, added and replaced."""
    decoder = decoder_of(data.draw(WINDOWS), data.draw(st.sampled_from([1, 2, 4])))
    num_rows = data.draw(st.integers(1, 3))
    cache, texts = cache_of(decoder, num_rows, data.draw(st.integers(1, 9))), [[] for _ in range(num_rows)]
    longest = data.draw(st.sampled_from([1, 3, 15]))
    for _ in range(data.draw(st.integers(1, 6))):
        fed = data.draw(st.integers(1, len(texts)))
        tokens = st.lists(st.integers(0, VOCABULARY - 1), max_size=longest)
        pieces = [data.draw(tokens) for _ in range(fed)]
        if any(pieces):
            texts[:fed] = [text + piece for text, piece in zip(texts, pieces, strict=False)]
            for text, piece, states in zip(texts, pieces, feed(decoder, cache, pieces), strict=False):
                if piece:
                    torch.testing.assert_close(states, whole(decoder, text)[-len(piece) :], **SIZES)
        change_rows(data, decoder, cache, texts)
        assert cache.lengths == [len(text) for text in texts]


def change_rows(data, decoder, cache, texts):
    row, other = (data.draw(st.integers(0, len(texts) - 1)) for _ in range(2))
    change = data.draw(st.sampled_from(["none", "crop", "swap", "copy", "add", "reset"]))
    if change == "crop":
        asked = data.draw(st.integers(0, len(texts[row]) + 1))
        kept = cache.crop(row, asked)
        assert kept in (0, min(asked, len(texts[row])))
        texts[row] = texts[row][:kept]
    elif change == "swap":
        cache.swap_rows(row, other)
        texts[row], texts[other] = texts[other], texts[row]
    elif change == "copy":
        source = cache_of(decoder, 2, data.draw(st.integers(1, 20)))
        text = texts_of([data.draw(st.integers(0, 20))])[0]
        if text:
            feed(decoder, source, [[1], text])
        cache.copy_row(row, source, 1)
        texts[row] = text
    elif change == "add":
        cache.add_rows(1)
        texts.append([])
    elif change == "reset":
        cache.reset()
        texts[:] = [[] for _ in texts]


@pytest.mark.parametrize("window", [1, 4, 9])
@pytest.mark.parametrize("starts", [[0, 0], [3, 3], [13, 13], [13, 2], [0, 30], [8, 9]])
@pytest.mark.parametrize("new", [1, 4, 11])
@torch.inference_mode()
def test_attention_equals_a_loop_over_queries(window, starts, new):
    """The cache alone, on random heads in float32, against softmax query by query in float64."""
    decoder = decoder_of((window,), 2, dtype=torch.float32)
    cache, scale = cache_of(decoder, 2), 0.7
    torch.manual_seed(new)
    query, key, value = (torch.randn(2, heads, max(starts) + new, 6) for heads in (4, 2, 2))

    def attend(first, count, lengths):
        picked = [
            torch.stack([each[row, :, f : f + count] for row, f in enumerate(first)]) for each in (query, key, value)
        ]
        positions = cache.begin((2, count), new_lengths=lengths)
        return cache.attend(0, *picked, positions=positions, sliding_window=window, scale=scale)

    if max(starts):
        attend([0, 0], max(starts), starts)
    found = attend(starts, new, None)
    for row, start in enumerate(starts):
        seen = [each[row : row + 1, :, : start + new] for each in (query, key, value)]
        expected = attention_by_loops(*seen, starts=[0], window=window, scale=scale)[:, :, start:]
        torch.testing.assert_close(found[row : row + 1].double(), expected, rtol=0, atol=2e-6)


def test_position_i_lies_at_slot_i_mod_w():
    decoder, lengths = decoder_of((4, None, 7)), [13, 5, 3]
    rolling, dense = cache_of(decoder, 3), DenseCache(decoder.config, 3, 20, dtype=torch.float64)
    for cache in (rolling, dense):
        feed(decoder, cache, texts_of(lengths))
        feed(decoder, cache, texts_of([1, 1, 1], seed=1))
    for layer, slots in enumerate([4, 24, 7]):
        for row, length in enumerate(lengths):
            for position in range(max(0, length + 1 - slots), length + 1):
                for mine, theirs in ((rolling.keys, dense.keys), (rolling.values, dense.values)):
                    kept = mine[layer][row, :, position % slots]
                    torch.testing.assert_close(kept, theirs[layer][row, :, position], **SIZES)


def test_bytes_stay_those_of_the_window():
    decoder = decoder_of((8, 8, 8))
    cache, rows = cache_of(decoder, 5, 1000), 5
    full = 2 * 3 * 8 * 2 * 6 * 8 * rows  # k and v, layers, W, kv heads, head_dim, bytes
    assert cache.memory_bytes() == full
    for count in (3, 1, 40, 1):
        feed(decoder, cache, texts_of([count] * rows))
        assert cache.memory_bytes() == full
    cache.add_rows(2)
    assert cache.memory_bytes() == full * 7 // 5


def test_buffers_are_no_larger_than_the_text_that_is_announced():
    decoder = decoder_of((8, None))
    a_token = 2 * 2 * 6 * 8
    cache = cache_of(decoder, 1, 5)
    feed(decoder, cache, texts_of([5]))
    assert cache.memory_bytes() == (5 + 5) * a_token
    feed(decoder, cache, texts_of([1]))
    assert cache.memory_bytes() == (8 + 10) * a_token
    feed(decoder, cache, texts_of([30]))
    assert cache.memory_bytes() == (8 + 36) * a_token


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("length", [60, 100, 130])
@torch.inference_mode()
def test_a_decode_step_makes_nothing_of_the_size_of_the_cache(dtype, ragged, length):
    """Before the buffers are full, as they become full, and when they have rolled."""
    cache, largest = largest_of_a_step(dtype, 4, 100, length, 3 * ragged)
    assert largest <= 4 * 4 * max(100, VOCABULARY), "one number for each key at the most: a mask"
    assert largest < cache.keys[0].nbytes / 2


@pytest.mark.parametrize("ragged", [False, True])
@torch.inference_mode()
def test_nor_does_one_that_reads_many_keys_of_16_bits_by_products(ragged, monkeypatch):
    """Their scores are as many numbers as there are keys, for each head that shares these, in 32 bits."""
    monkeypatch.setattr(rolling_pass, "cpu_multiplies_bfloat16", lambda: True)
    rows, window, group = 4, 600, 4
    cache, largest = largest_of_a_step(torch.bfloat16, rows, window, 700, 3 * ragged, head_dim=64)
    assert rows * window * 4 <= largest <= rows * window * 4 * group
    assert largest < cache.keys[0].nbytes / 2


def largest_of_a_step(dtype, rows, window, length, apart, **shape):
    """A cache after a decode step, and the bytes of the largest tensor that this made; buffers stay where they are."""
    decoder = decoder_of((window, window), 1, dtype=dtype, **shape)
    cache = cache_of(decoder, rows, length + 10)
    lengths = [length - apart * row for row in range(rows)]
    decoder(torch.zeros(rows, length, dtype=torch.long), cache=cache, new_lengths=lengths)
    storages = [buffer.data_ptr() for buffer in (*cache.keys, *cache.values)]
    with LargestTensor() as largest:
        decoder(torch.zeros(rows, 1, dtype=torch.long), cache=cache)
    assert storages == [buffer.data_ptr() for buffer in (*cache.keys, *cache.values)]
    return cache, largest.nbytes


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_a_row_that_finishes_moves_one_row_at_the_most(dtype):
    """It changes places with the last one: what is made is a row of one layer, however many rows there are."""
    decoder, rows = decoder_of((100, 100), 1, dtype=dtype), 8
    cache = cache_of(decoder, rows, 140)
    decoder(torch.zeros(rows, 130, dtype=torch.long), cache=cache)
    storages = [buffer.data_ptr() for buffer in (*cache.keys, *cache.values)]
    with LargestTensor() as largest:
        cache.swap_rows(1, rows - 1)
    assert largest.nbytes == cache.keys[0].nbytes / rows
    assert storages == [buffer.data_ptr() for buffer in (*cache.keys, *cache.values)]


@pytest.mark.parametrize("earlier", [0, 70])
@torch.inference_mode()
def test_blocks_outside_the_window_are_not_computed(earlier):
    """Infinite values early in a long chunk leave no NaN in what is far behind them; no mask is of the chunk's size."""
    decoder, window, length = decoder_of((50,), dtype=torch.float32), 50, 3000
    cache = cache_of(decoder, 1, window)
    states = [torch.randn(1, heads, earlier + length, 6) for heads in (4, 2, 2)]
    states[2][:, :, earlier : earlier + 900] = torch.inf
    settings = {"positions": None, "sliding_window": window, "scale": 1.0}
    if earlier:
        cache.begin((1, earlier))
        cache.attend(0, *(each[:, :, :earlier] for each in states), **settings)
    cache.begin((1, length))
    with LargestTensor() as largest:
        output = cache.attend(0, *(each[:, :, earlier:] for each in states), **settings)
    assert output[:, :, -1000:].isfinite().all()
    assert largest.nbytes < length * (length + window) / 2


def test_a_row_that_has_rolled_goes_back_by_one_token_or_to_nothing():
    decoder = decoder_of((4, 6))
    cache, (text,) = cache_of(decoder, 1), texts_of([9])
    for length, asked, kept in [(4, 2, 2), (9, 8, 8), (9, 9, 9), (9, 7, 0), (5, 4, 4), (5, 3, 0)]:
        cache.reset()
        feed(decoder, cache, [text[:length]])
        assert cache.crop(0, asked) == kept
        (states,) = feed(decoder, cache, [[7, 3]])
        torch.testing.assert_close(states, whole(decoder, [*text[:kept], 7, 3])[kept:], **SIZES)
    cache.reset()
    feed(decoder, cache, [text])
    assert [cache.crop(0, 8), cache.crop(0, 7)] == [8, 0], "not by one token twice"


def test_what_a_row_held_before_is_gone():
    """NaN that a broken model left behind does not reach the row's next text through masked slots."""
    decoder = decoder_of((5, None))
    cache = cache_of(decoder, 2, 8)
    feed(decoder, cache, [[1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 5, 6]])
    for buffer in cache.values:
        buffer[1, :, :5] = torch.nan
    cache.crop(1, 0)
    for piece in ([8], [9, 10, 11]):
        states = feed(decoder, cache, [piece, piece])
    torch.testing.assert_close(states[1], whole(decoder, [8, 9, 10, 11])[1:], **SIZES)


@pytest.mark.parametrize("head_dim", [64, 128])
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("native", [False, True])
def test_many_keys_of_16_bits_are_read_to_their_rounding(head_dim, ragged, native, monkeypatch):
    monkeypatch.setattr(rolling_pass, "cpu_multiplies_bfloat16", lambda: native)
    generator = torch.Generator().manual_seed(3)
    query = torch.randn(2, 3, 4, head_dim, generator=generator).bfloat16()
    keys, values = torch.randn(2, 2, 3, 1500, head_dim, generator=generator).bfloat16()
    visible = torch.rand(2, 1, 1, 1500, generator=generator) < 0.7 if ragged else None
    found = grouped_read(query, keys, values, visible, head_dim**-0.5)
    scores = query.double() @ keys.double().mT * head_dim**-0.5
    if visible is not None:
        scores = scores.masked_fill(~visible, -torch.inf)
    expected = torch.softmax(scores, dim=-1) @ values.double()
    assert found.dtype == torch.bfloat16
    half_a_unit = 2.0**-9  # of a bfloat16
    seen = scores[scores.isfinite()].abs().max()
    largest = torch.softmax(scores, dim=-1) @ values.double().abs()  # errors of score, weight and result, see each term
    bound = ((1 + half_a_unit * seen).square() * (1 + half_a_unit) ** 2 - 1) * largest
    assert ((found.double() - expected).abs() <= bound).all()
    assert (found.double() - expected).abs().max() > 0


@torch.inference_mode()
def test_bfloat16_is_kept():
    decoder = decoder_of((4,), dtype=torch.bfloat16)
    cache = cache_of(decoder, 2)
    for count in (6, 1, 3):
        assert decoder(torch.zeros(2, count, dtype=torch.long), cache=cache).dtype == torch.bfloat16
    assert cache.memory_bytes() == 2 * 4 * 2 * 6 * 2 * 2


def test_bad_arguments_are_named():
    decoder = decoder_of((4,))
    cache = cache_of(decoder, 2)
    token_ids = torch.zeros(2, 3, dtype=torch.long)
    for arguments, words in [
        ({"positions": torch.arange(3)[None]}, "positions with a RollingBufferCache"),
        ({"new_lengths": [1]}, r"new_lengths=\[1\]: give 2 numbers from 0 to 3"),
        ({"new_lengths": [1, 4]}, r"new_lengths=\[1, 4\]"),
    ]:
        with one_line(words):
            decoder(token_ids, cache=cache, **arguments)
    with one_line("token_ids have 3 rows: the cache has 2"):
        decoder(torch.zeros(3, 1, dtype=torch.long), cache=cache)
    with one_line("a RollingBufferCache keeps no gradients"):
        decoder(token_ids, cache=cache)
    with one_line("num_rows=0 and capacity=4"):
        cache_of(decoder, 0, 4)
    with (
        torch.inference_mode(),
        one_line("sliding_window=5 of layer 0: the cache was made for 4"),
    ):
        decoder_of((5,))(token_ids, cache=cache)
    with one_line("sliding_windows=0"):
        replace(decoder.config, sliding_windows=(0,))
