import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_decoders import attention_by_loops

from october.attention.ring_attention import continued_attention
from october.errors import OctoberError


@settings(deadline=None, max_examples=40)
@given(
    new=st.integers(1, 40),
    earlier=st.integers(0, 60),
    window=st.one_of(st.none(), st.integers(1, 110)),
    heads=st.sampled_from([(4, 2), (3, 1), (2, 2)]),
)
def test_equals_a_loop_over_queries(new, earlier, window, heads):
    torch.manual_seed(new)
    query = torch.randn(2, heads[0], new, 6, dtype=torch.float64)
    key, value = torch.randn(2, 2, heads[1], earlier + new, 6, dtype=torch.float64)
    found = continued_attention(query, key, value, sliding_window=window, scale=0.7)
    expected = attention_by_loops(query, key, value, starts=[earlier] * 2, window=window, scale=0.7)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_long_windows_go_through_triangles(dtype):
    """Wider than the narrow band that is masked: tiles of every kind."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, tokens, 8) for heads, tokens in ((4, 300), (2, 700), (2, 700)))
    wide = [each.to(dtype).double() for each in (query, key, value)]
    seen = torch.ones(300, 700).tril(400).triu(400 - 249).bool()
    scores = (wide[0] @ wide[1].repeat_interleave(2, 1).mT * 0.3).masked_fill(~seen, -torch.inf)
    expected = scores.softmax(-1) @ wide[2].repeat_interleave(2, 1)
    narrow = (each.to(dtype) for each in (query, key, value))
    found = continued_attention(*narrow, sliding_window=250, scale=0.3)
    assert found.dtype == dtype
    bound = {torch.float32: 1e-6, torch.bfloat16: 1e-2}[dtype]
    assert (found.double() - expected).abs().max() < bound * expected.abs().max()


def test_a_window_of_none_is_named():
    states = torch.randn(1, 1, 3, 4)
    with pytest.raises(OctoberError, match="sliding_window=0"):
        continued_attention(states, states, states, sliding_window=0, scale=1.0)
