import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_decoders import LargestTensor, attention_by_loops

from october.attention import PlacedQueries, full_attention
from october.attention import causal_attention as module

pytestmark = pytest.mark.usefixtures("one_thread")


def random_heads(batch, kv_heads, group, queries, keys, head_dim, dtype=torch.float64):
    torch.manual_seed(1)
    query = torch.randn(batch, kv_heads * group, queries, head_dim, dtype=dtype)
    return query, *torch.randn(2, batch, kv_heads, keys, head_dim, dtype=dtype)


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_full_attention_equals_loops(data):
    """Whole sequences, windows below and above the length, packed documents, blocks of three queries."""
    draw = data.draw
    batch, kv_heads, group = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 3))
    length, window = draw(st.integers(1, 11)), draw(st.none() | st.integers(1, 12))
    segments = draw(st.none() | st.lists(st.integers(-1, 2), min_size=batch * length, max_size=batch * length))
    segment_ids = None if segments is None else torch.tensor(segments).view(batch, length)
    heads = random_heads(batch, kv_heads, group, length, length, 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_QUERIES_AT_ONCE", draw(st.sampled_from([3, 1024])))
        output = full_attention(*heads, sliding_window=window, segment_ids=segment_ids, scale=0.4)
    expected = attention_by_loops(*heads, starts=[0] * batch, window=window, scale=0.4, segment_ids=segment_ids)
    torch.testing.assert_close(output, expected, atol=1e-12, rtol=0)


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_queries_in_mid_sequence_equal_loops(data):
    draw = data.draw
    batch, kv_heads, group = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 3))
    starts = draw(st.lists(st.integers(0, 9), min_size=batch, max_size=batch))
    queries, windows = draw(st.integers(1, 7)), draw(st.lists(st.none() | st.integers(1, 12), min_size=2, max_size=2))
    stored = max(starts) + queries
    heads = random_heads(batch, kv_heads, group, queries, stored + 3, 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_QUERIES_AT_ONCE", draw(st.sampled_from([2, 1024])))
        placed = PlacedQueries(starts, queries, stored, torch.device("cpu"))
        for window in windows:  # two layers: the second may find the mask of the first
            output = placed.attend(*heads, sliding_window=window, scale=0.4)
            expected = attention_by_loops(*heads, starts=starts, window=window, scale=0.4)
            torch.testing.assert_close(output, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("window", [None, 3])
def test_gradients(window, monkeypatch):
    monkeypatch.setattr(module, "_QUERIES_AT_ONCE", 4)
    heads = [tensor.requires_grad_() for tensor in random_heads(2, 1, 2, 6, 6, 4)]
    segment_ids = torch.tensor([[-1, 0, 1, 1, 1, -1], [0] * 6])

    def attend(*heads):
        return full_attention(*heads, sliding_window=window, segment_ids=segment_ids, scale=0.5)

    assert torch.autograd.gradcheck(attend, heads)


def test_a_window_builds_no_square_mask():
    length, window = 4096, 64
    heads = random_heads(1, 1, 1, length, length, 8, torch.float32)
    with LargestTensor() as largest:
        full_attention(*heads, sliding_window=window, scale=0.3)
    block = module._QUERIES_AT_ONCE
    assert largest.nbytes <= 4 * block * (block + window)


def test_heads_of_a_group_read_one_copy_of_the_keys():
    """No repeated keys: nothing as large as the keys of all heads is made, for a prompt and for one token."""
    for dtype in (torch.float32, torch.bfloat16):
        for queries in (512, 1):
            query, key, value = random_heads(1, 2, 4, queries, 512, 16, dtype)
            placed = PlacedQueries([512 - queries], queries, 512, torch.device("cpu"))
            with LargestTensor() as largest:
                if queries == 512:
                    full_attention(query, key, value, scale=0.25)
                else:
                    placed.attend(query, key, value, sliding_window=None, scale=0.25)
            assert largest.nbytes <= max(query.nbytes, 8 * 512 * 4)
