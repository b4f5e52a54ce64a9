"""Attention and feed-forward in blocks equal the whole, and keep less."""

import pytest
import torch
from dense_reference import dense_gradients
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_decoders import LargestTensor

from october.attention.ring_attention import BlockwiseAttention, BlockwiseFeedForward, blockwise_attention, kernels
from october.attention.ring_attention.tensor_memory import TensorMemory
from october.errors import OctoberError


@settings(max_examples=120)
@given(st.data())
def test_blockwise_attention_equals_dense(data):
    length = data.draw(st.integers(1, 60))
    window = data.draw(st.one_of(st.none(), st.integers(1, 70)))
    causal, packed = data.draw(st.booleans()), data.draw(st.booleans())
    block = data.draw(st.one_of(st.none(), st.integers(1, 70)))
    kv_heads, group = data.draw(st.sampled_from([(1, 1), (2, 2), (1, 4)]))
    torch.manual_seed(data.draw(st.integers(0, 1000)))
    query, grad = (torch.randn(2, kv_heads * group, length, 5, dtype=torch.float64) for _ in range(2))
    key, value = (torch.randn(2, kv_heads, length, 5, dtype=torch.float64) for _ in range(2))
    ids = torch.randint(-1, 3, (2, length)) if packed else None  # documents in pieces, in any order
    inputs = [tensor.requires_grad_() for tensor in (query, key, value)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "CPU_TRIANGLE", data.draw(st.sampled_from([3, 128])))  # rows; cut up, or whole
        if data.draw(st.booleans(), label="no fused kernel"):
            patch.setattr(kernels, "fused_kernel", lambda _: "plain")
            patch.setattr(kernels, "PLAIN_SIDE", data.draw(st.sampled_from([4, 128])))
        output = blockwise_attention(
            *inputs, causal=causal, sliding_window=window, segment_ids=ids, block_size=block, scale=0.9
        )
        found = torch.autograd.grad(output, inputs, grad)
    expected = dense_gradients(query, key, value, grad, causal=causal, window=window, segment_ids=ids, scale=0.9)
    for ours, theirs in zip((output, *found), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_equals_torch_where_torch_has_it():
    query, key, value = (torch.randn(2, 4, 300, 16) for _ in range(3))
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    torch.testing.assert_close(blockwise_attention(query, key, value, block_size=77), expected)
    torch.testing.assert_close(BlockwiseAttention(128)(query, key, value), expected)


VIEWS = {
    "transposed": lambda tensor: tensor.transpose(2, 3).contiguous().transpose(2, 3),
    "every second number": lambda tensor: tensor.repeat_interleave(2, dim=3)[..., ::2],
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("place", range(4))
def test_numbers_may_lie_apart_in_memory(view, place):
    """Those along the last dimension: the fused kernels take it for granted that they do not."""
    torch.manual_seed(0)
    tensors = [torch.randn(1, heads, 33, 8) for heads in (4, 2, 2, 4)]
    expected = dense_gradients(*tensors)
    tensors[place] = view(tensors[place])
    assert tensors[place].stride(-1) != 1
    inputs = [tensor.requires_grad_() for tensor in tensors[:3]]
    output = blockwise_attention(*inputs)
    for ours, theirs in zip((output, *torch.autograd.grad(output, inputs, tensors[3])), expected, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-5)


def test_without_a_fused_kernel_scores_are_made_in_parts(monkeypatch):
    monkeypatch.setattr(kernels, "fused_kernel", lambda _: "plain")
    monkeypatch.setattr(kernels, "PLAIN_SIDE", 32)
    query, key, value = (torch.randn(1, 2, 256, 4, requires_grad=True) for _ in range(3))
    with LargestTensor() as largest:
        blockwise_attention(query, key, value).sum().backward()
    assert largest.nbytes <= max(query.nbytes, 4 * 2 * 32 * 32) < 4 * 2 * 256 * 256 // 8


def test_rows_that_attend_to_nothing_are_zero_and_their_gradients_too():
    query, key, value = (torch.randn(1, 2, 6, 4, requires_grad=True) for _ in range(3))
    ids = torch.tensor([[-1, 0, 0, -1, 1, -1]])
    output = blockwise_attention(query, key, value, segment_ids=ids)
    nothing = ids[0] < 0
    gradients = torch.autograd.grad(output.square().sum(), (query, key, value))
    for tensor in (output, *gradients):
        assert torch.isfinite(tensor).all()
        assert tensor[:, :, nothing].eq(0).all()
    assert not output[:, :, ~nothing].eq(0).any()


def test_blockwise_feed_forward_equals_the_whole_with_the_states_of_one_block():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.GELU(), torch.nn.Linear(32, 8)).double()
    states = torch.randn(2, 50, 8, dtype=torch.float64, requires_grad=True)
    grad = torch.randn(2, 50, 8, dtype=torch.float64)
    wanted = (states, *module.parameters())
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape) or t, lambda t: t):
        output = BlockwiseFeedForward(16)(module, states)
    assert not [shape for shape in kept if shape[-1] == 32 and len(shape) == 3]  # no wide state survives the forward
    torch.testing.assert_close(output, module(states))
    found = torch.autograd.grad(output, wanted, grad)
    for ours, theirs in zip(found, torch.autograd.grad(module(states), wanted, grad), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_blockwise_feed_forward_holds_little_besides_its_input_and_output():
    """Without gradients one of each; with them blocks' outputs are put together once, and so are their gradients."""
    blocks, length, hidden = 32, 1024, 8
    module = torch.nn.Sequential(
        torch.nn.Linear(hidden, 4 * hidden), torch.nn.GELU(), torch.nn.Linear(4 * hidden, hidden)
    )
    states, grad = (torch.randn(1, length, hidden, requires_grad=needed) for needed in (True, False))
    unit, feed_forward = states.nbytes, BlockwiseFeedForward(length // blocks)
    of_a_block = 12 * unit // blocks  # its wide state before and after the activation, and one gradient
    with torch.no_grad(), TensorMemory(states) as memory:
        alone = feed_forward(module, states)
        assert memory.peak_bytes <= 2 * unit + of_a_block
    with TensorMemory(states) as memory:
        output = feed_forward(module, states)
        assert memory.peak_bytes <= 3 * unit + of_a_block
        memory.hold(grad)
        memory.reset_peak()
        torch.autograd.grad(output, states, grad)
        assert memory.peak_bytes <= 5 * unit + 2 * of_a_block
    torch.testing.assert_close(alone, output)


def test_one_tile_s_own_results_are_alive_at_a_time():
    query, key, value, grad = (torch.randn(1, 2, 512, 64) for _ in range(4))
    inputs, unit, sums = [t.requires_grad_() for t in (query, key, value)], query.nbytes, query.nbytes // 64
    with TensorMemory(*inputs) as memory:
        output = blockwise_attention(*inputs, causal=False, block_size=128)  # four tiles of all rows
        assert memory.peak_bytes <= (3 + 1) * unit + 1 * unit + 5 * sums
        memory.hold(grad)
        memory.reset_peak()
        torch.autograd.grad(output, inputs, grad)
        assert memory.peak_bytes <= (5 + 3) * unit + 1.5 * unit + 5 * sums  # dk and dv have a quarter of the rows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": torch.zeros(2, 4, 8)}, "must be \\[batch, heads, tokens, head_dim\\]"),
        ({"key": torch.zeros(1, 2, 6, 8, dtype=torch.float64)}, "key is torch.float64 on cpu, query torch.float32"),
        ({"key": torch.zeros(1, 2, 5, 8), "value": torch.zeros(1, 2, 5, 8)}, "may differ in the number of heads only"),
        ({"value": torch.zeros(1, 2, 6, 4)}, "must have one shape"),
        ({"key": torch.zeros(1, 3, 6, 8), "value": torch.zeros(1, 3, 6, 8)}, "4 query heads over 3 key/value heads"),
        ({"query": torch.zeros(1, 4, 6, 8, dtype=torch.int64)}, "query is torch.int64: must be one of"),
        ({"segment_ids": torch.zeros(6, dtype=torch.long)}, "segment_ids \\(6,\\): must be \\[batch, tokens\\]"),
        ({"segment_ids": torch.zeros(1, 6)}, "segment_ids are torch.float32: must be integers"),
        ({"sliding_window": 0}, "sliding_window=0: must be at least 1"),
        ({"block_size": 0}, "block_size=0: must be at least 1"),
    ],
)
def test_what_it_refuses(change, message):
    arguments = {
        "query": torch.zeros(1, 4, 6, 8),
        "key": torch.zeros(1, 2, 6, 8),
        "value": torch.zeros(1, 2, 6, 8),
        **change,
    }
    tensors = [arguments.pop(name) for name in ("query", "key", "value")]
    with pytest.raises(OctoberError, match=message):
        blockwise_attention(*tensors, **arguments)
