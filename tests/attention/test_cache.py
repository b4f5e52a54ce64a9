from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_decoders import LargestTensor

from october.attention import DecoderConfig, DenseCache, Transformer
from october.errors import OctoberError

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = DecoderConfig(
    vocab_size=29,
    hidden_size=16,
    intermediate_size=24,
    num_layers=3,
    num_heads=4,
    num_kv_heads=2,
    head_dim=6,
    sliding_windows=(4, None, 4),
)


@pytest.fixture(scope="module")
def decoder():
    return Transformer(CONFIG, seed=1).double()


def cache_of(num_rows, capacity=3):
    return DenseCache(CONFIG, num_rows, capacity, dtype=torch.float64)


@torch.inference_mode()
def feed(decoder, cache, pieces):
    """Feed rows of different lengths padded with noise, and return each row's hidden states without the padding."""
    longest = max(len(piece) for piece in pieces)
    padded = [[*piece, *[28] * (longest - len(piece))] for piece in pieces]
    hidden = decoder(torch.tensor(padded), cache=cache, new_lengths=[len(piece) for piece in pieces])
    return [hidden[row, : len(piece)] for row, piece in enumerate(pieces)]


@torch.inference_mode()
def whole(decoder, text):
    return decoder(torch.tensor([text]))[0]


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_ragged_pieces_equal_whole_texts(data):
    """Rows grow by pieces of any lengths, none included, from a cache that must grow too."""
    decoder = Transformer(CONFIG, seed=1).double()
    num_rows = data.draw(st.integers(1, 3))
    texts, hidden = [[] for _ in range(num_rows)], [[] for _ in range(num_rows)]
    cache = cache_of(num_rows)
    for _ in range(data.draw(st.integers(1, 4))):
        pieces = [data.draw(st.lists(st.integers(0, 28), max_size=7)) for _ in range(num_rows)]
        if not any(pieces):
            continue
        for row, states in enumerate(feed(decoder, cache, pieces)):
            texts[row] += pieces[row]
            hidden[row].append(states)
    assert cache.lengths == [len(text) for text in texts]
    for text, states in zip(texts, hidden, strict=True):
        if text:
            torch.testing.assert_close(torch.cat(states), whole(decoder, text), atol=1e-12, rtol=0)


def test_rows_come_and_go(decoder):
    """Swapped, cropped, copied, added and replaced rows go on as texts of their own."""
    cache, other = cache_of(3), cache_of(1)
    feed(decoder, cache, [[1, 2, 3, 4, 5], [6, 7], [8, 9, 10]])
    feed(decoder, other, [[11, 12, 13, 14, 15, 16]])
    cache.swap_rows(0, 2)
    assert cache.lengths == [3, 2, 5]
    assert cache.crop(2, 3) == 3
    assert cache.crop(1, 9) == 2, "a row cannot be cropped to more than it has"
    cache.copy_row(1, other, 0)
    cache.add_rows(1)
    assert cache.lengths == [3, 6, 3, 0]
    texts = [[8, 9, 10], [11, 12, 13, 14, 15, 16], [1, 2, 3], []]
    new = [[20, 21], [22], [23, 24, 25], [26]]
    for text, piece, states in zip(texts, new, feed(decoder, cache, new), strict=True):
        torch.testing.assert_close(states, whole(decoder, text + piece)[-len(piece) :], atol=1e-12, rtol=0)


def test_the_first_rows_go_on_alone(decoder):
    cache = cache_of(3)
    feed(decoder, cache, [[1, 2, 3], [4, 5], [6]])
    before = [keys[2].clone() for keys in cache.keys]
    (states,) = feed(decoder, cache, [[7, 8]])
    torch.testing.assert_close(states, whole(decoder, [1, 2, 3, 7, 8])[3:], atol=1e-12, rtol=0)
    assert cache.lengths == [5, 2, 1]
    assert all(torch.equal(keys[2, :, :1], old[:, :1]) for keys, old in zip(cache.keys, before, strict=True))


def test_what_a_row_held_before_is_gone(decoder):
    """NaN that a broken model left behind does not reach the row's next text through masked places."""
    cache = cache_of(2, capacity=8)
    feed(decoder, cache, [[1, 2, 3, 4, 5, 6], [1]])
    cache.values[1][1, :, 0] = torch.nan
    cache.crop(1, 0)
    states = feed(decoder, cache, [[7], [8, 9]])
    torch.testing.assert_close(states[1], whole(decoder, [8, 9]), atol=1e-12, rtol=0)


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_a_decode_step_makes_nothing_of_the_size_of_the_cache(ragged, dtype):
    config = replace(CONFIG, num_kv_heads=1, sliding_windows=(None, 100, 4))
    decoder, rows, length = Transformer(config).to(dtype), 4, 500
    cache = DenseCache(config, rows, length + 8, dtype=dtype)
    lengths = [length - 3 * row * ragged for row in range(rows)]
    decoder(torch.zeros(rows, length, dtype=torch.long), cache=cache, new_lengths=lengths)
    storages = [buffer.data_ptr() for buffer in (*cache.keys, *cache.values)]
    with LargestTensor() as largest:
        decoder(torch.zeros(rows, 1, dtype=torch.long), cache=cache)
    assert largest.nbytes <= rows * length * 4, "one number for each key and query at the most: a mask"
    assert largest.nbytes < cache.keys[0].nbytes / 2
    assert storages == [buffer.data_ptr() for buffer in (*cache.keys, *cache.values)]


def test_bytes_are_those_of_the_unrepeated_heads():
    cache = cache_of(5, capacity=7)
    assert cache.memory_bytes() == 2 * 3 * 5 * 2 * 7 * 6 * 8
    cache.reserve(8)
    assert cache.capacity == 14
    cache.add_rows(2)
    assert cache.memory_bytes() == 2 * 3 * 7 * 2 * 14 * 6 * 8


def test_fresh_rows_attend_through_the_attention_that_is_handed_in(decoder):
    calls = []

    def noting(query, key, value, **settings):
        calls.append((query.shape[2], settings["sliding_window"]))
        return torch.zeros_like(query)

    cache = DenseCache(CONFIG, 2, 8, dtype=torch.float64, attention=noting)
    feed(decoder, cache, [[1, 2, 3], [4]])
    feed(decoder, cache, [[1], [4]])
    assert calls == [(3, 4), (3, None), (3, 4)]


def test_bad_arguments_are_named(decoder):
    cache = cache_of(2)
    token_ids = torch.zeros(2, 3, dtype=torch.long)
    for arguments, words in [
        ({"positions": torch.arange(3)[None]}, "positions with a DenseCache"),
        ({"new_lengths": [1]}, r"new_lengths=\[1\]: give 2 numbers from 0 to 3"),
        ({"new_lengths": [1, 4]}, r"new_lengths=\[1, 4\]"),
        ({"new_lengths": [-1, 2]}, r"new_lengths=\[-1, 2\]"),
    ]:
        with pytest.raises(OctoberError, match=words):
            decoder(token_ids, cache=cache, **arguments)
    with pytest.raises(OctoberError, match="token_ids have 3 rows: the cache has 2"):
        decoder(torch.zeros(3, 1, dtype=torch.long), cache=cache)
    with pytest.raises(OctoberError, match="a DenseCache keeps no gradients"):
        decoder(token_ids, cache=cache)
    with pytest.raises(OctoberError, match="num_rows=0 and capacity=4"):
        cache_of(0, 4)
