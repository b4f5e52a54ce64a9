"""Live tensor bytes are those of the storages that are alive, whoever holds them."""

import mmap

import torch
from hypothesis import given
from hypothesis import strategies as st

from october.attention.ring_attention.tensor_memory import AnonymousMemory, TensorMemory

MEBIBYTE = 1 << 20


def test_tensors_count_from_their_making_to_their_end():
    with TensorMemory() as memory:
        first = torch.empty(1000)
        assert memory.live_bytes == 4000
        second = first.double()
        assert memory.live_bytes == 12000
        del first
        assert memory.live_bytes == 8000
        del second
    assert (memory.live_bytes, memory.peak_bytes) == (0, 12000)


@given(st.lists(st.tuples(st.integers(1, 500), st.booleans()), max_size=30))
def test_any_order_of_making_and_freeing(steps):
    alive, peak = [], 0
    with TensorMemory() as memory:
        for size, make in steps:
            if make:
                alive.append(torch.empty(size, dtype=torch.uint8))
            elif alive:
                alive.pop(size % len(alive))
            expected = sum(len(tensor) for tensor in alive)
            peak = max(peak, expected)
            assert memory.live_bytes == expected
    assert memory.peak_bytes == peak


def test_views_and_changes_in_place_share_a_storage():
    with TensorMemory() as memory:
        whole = torch.zeros(10, 10)
        view = whole[2:4].T
        whole.add_(1)
        assert memory.live_bytes == 400
        del whole
        assert memory.live_bytes == 400  # the view keeps all of it
        del view
        assert memory.live_bytes == 0


def test_what_was_held_before_counts_while_it_lives():
    held, unseen = torch.zeros(100), torch.zeros(100)
    with TensorMemory(held, held[:10]) as memory:
        assert memory.peak_bytes == 400
        made = held + unseen
        assert memory.peak_bytes == 800
        del held
        assert memory.live_bytes == 400
        assert made.sum() == 0


def test_what_is_held_later_counts_once_from_then_on():
    gradient = torch.zeros(100)
    with TensorMemory() as memory:
        memory.hold(gradient)
        assert memory.live_bytes == 400
        views = [gradient[:50], gradient.view(10, 10)]
        assert memory.live_bytes == memory.peak_bytes == 400
        del gradient, views
        assert memory.live_bytes == 0


def test_what_autograd_keeps_is_alive_though_no_name_holds_it():
    weight = torch.ones(1000, requires_grad=True)
    with TensorMemory(weight) as memory:
        loss = weight.exp().exp().sum()  # both exponentials are kept for the backward pass
        assert memory.live_bytes == 3 * 4000 + 4
        memory.reset_peak()
        loss.backward()
        assert memory.peak_bytes > 3 * 4000 + 4
        assert memory.live_bytes == 2 * 4000 + 4  # the weight, its gradient, the loss


def test_a_peak_inside_an_operation_on_the_backward_pass_of_an_own_function():
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            torch.empty(50_000, dtype=torch.uint8)
            return grad * 2

    x = torch.ones(10, requires_grad=True)
    with TensorMemory() as memory:
        y = Doubled.apply(x).sum()
        memory.reset_peak()
        y.backward()
    assert memory.peak_bytes >= 50_000
    assert memory.live_bytes < 1_000


def test_nothing_counts_after_the_end():
    with TensorMemory() as memory:
        kept = torch.zeros(10)
    del kept
    torch.zeros(100)
    assert (memory.live_bytes, memory.peak_bytes) == (40, 40)


def test_growth_that_is_no_tensor_shows_as_anonymous_memory():
    size = 64 * MEBIBYTE
    ones = b"1" * size
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    with mmap.mmap(-1, size, flags=flags) as region, AnonymousMemory() as memory:
        region.write(ones)
    assert memory.growth_bytes is None or size - MEBIBYTE <= memory.growth_bytes < 2 * size
