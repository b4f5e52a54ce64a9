import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from october.attention import chunked_cross_entropy, cross_entropy, summed_cross_entropy
from october.errors import OctoberError

pytestmark = pytest.mark.usefixtures("one_thread")


def case(rows, width, vocabulary, dtype=torch.float64, ignored=()):
    torch.manual_seed(0)
    hidden = torch.randn(rows, width, dtype=dtype, requires_grad=True)
    weight = torch.randn(vocabulary, width, dtype=dtype, requires_grad=True)
    labels = torch.randint(vocabulary, (rows,))
    labels[list(ignored)] = -100
    return hidden, weight, labels


@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(1, 9),
    chunk_size=st.integers(1, 11),
    reduction=st.sampled_from(["sum", "mean"]),
    ignored=st.sets(st.integers(0, 8)),
)
def test_values_and_gradients_equal_torch(rows, chunk_size, reduction, ignored):
    kept_one = [place for place in ignored if place < rows][: rows - 1]  # the mean of none is tested below
    hidden, weight, labels = case(rows, 4, 7, ignored=kept_one)
    expected = functional.cross_entropy(hidden @ weight.T, labels, reduction=reduction)
    found = chunked_cross_entropy(hidden, weight, labels, chunk_size=chunk_size, reduction=reduction)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)
    theirs = torch.autograd.grad(3.0 * expected, (hidden, weight))
    ours = torch.autograd.grad(3.0 * found, (hidden, weight))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-12)


def test_gradients():
    hidden, weight, labels = case(6, 3, 5, ignored=(2,))

    def loss(hidden, weight):
        return chunked_cross_entropy(hidden.view(2, 3, 3), weight, labels.view(2, 3), chunk_size=4)

    assert torch.autograd.gradcheck(loss, (hidden, weight))


@pytest.mark.parametrize("frozen", ["hidden", "weight"])
def test_only_the_gradients_that_are_wanted(frozen):
    hidden, weight, labels = case(6, 3, 5)
    {"hidden": hidden, "weight": weight}[frozen].requires_grad_(False)
    wanted = weight if frozen == "hidden" else hidden
    (expected,) = torch.autograd.grad(functional.cross_entropy(hidden @ weight.T, labels), wanted)
    (found,) = torch.autograd.grad(chunked_cross_entropy(hidden, weight, labels, chunk_size=4), wanted)
    torch.testing.assert_close(found, expected)


def test_nothing_is_differentiated_where_no_gradient_is_wanted(monkeypatch):
    monkeypatch.setattr(cross_entropy, "_add_product_", lambda *_: pytest.fail("a gradient was made"))
    hidden, weight, labels = torch.randn(6, 4), torch.nn.Parameter(torch.randn(9, 4)), torch.arange(6)
    expected = torch.nn.functional.cross_entropy(hidden @ weight.T, labels)
    with torch.no_grad():
        torch.testing.assert_close(chunked_cross_entropy(hidden, weight, labels, chunk_size=4), expected)


def test_sums_of_parts_over_the_global_count_are_the_mean():
    """Two processes with a part each; the second has no label that counts."""
    hidden, weight, labels = case(8, 4, 7, ignored=(1, 5, 6, 7))
    parts = [
        summed_cross_entropy(hidden[part], weight, labels[part], chunk_size=2) for part in ([0, 1, 2, 3, 4], [5, 6, 7])
    ]
    (total, count), (nothing, none) = parts
    assert (count.item(), none.item(), nothing.item()) == (4, 0, 0.0)
    mean = (total + nothing) / (count + none)
    torch.testing.assert_close(mean, functional.cross_entropy(hidden @ weight.T, labels))
    gradient = torch.autograd.grad(nothing, hidden)[0]
    assert gradient.abs().max().item() == 0.0


def test_the_mean_of_no_labels_is_nan_as_in_torch():
    hidden, weight, labels = case(2, 3, 5, ignored=(0, 1))
    assert chunked_cross_entropy(hidden, weight, labels).isnan()
    assert chunked_cross_entropy(hidden, weight, labels, reduction="sum").item() == 0.0


def test_large_logits_do_not_overflow():
    hidden, weight, labels = case(4, 3, 5, dtype=torch.float32)
    expected = functional.cross_entropy(1000 * hidden @ weight.T, labels)
    torch.testing.assert_close(chunked_cross_entropy(1000 * hidden, weight, labels, chunk_size=3), expected)


def test_bfloat16_is_summed_in_float32():
    """4,000 small terms: a sum in bfloat16 would stop growing at 256 times a term."""
    hidden, weight, labels = case(4000, 8, 11, dtype=torch.bfloat16)
    found = chunked_cross_entropy(hidden, weight, labels, chunk_size=16, reduction="sum")
    exact = [tensor.detach().double().requires_grad_() for tensor in (hidden, weight)]
    expected = functional.cross_entropy(exact[0] @ exact[1].T, labels, reduction="sum")
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected.item(), rel=1e-3)
    found.backward()
    expected.backward()
    for ours, theirs in zip((hidden.grad, weight.grad), (exact[0].grad, exact[1].grad), strict=True):
        assert ((ours.double() - theirs).norm() / theirs.norm()).item() < 0.01


class PeakBytes(TorchDispatchMode):
    """The most bytes that were alive at once, of storages made by operations."""

    def __init__(self):
        super().__init__()
        self.alive, self.peak = {}, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.alive[leaf.untyped_storage()._weak_ref()] = leaf.untyped_storage().nbytes()
        self.alive = {
            reference: size for reference, size in self.alive.items() if not torch.UntypedStorage._expired(reference)
        }
        self.peak = max(self.peak, sum(self.alive.values()))
        return result


def test_the_logits_of_all_states_are_never_in_memory():
    rows, width, vocabulary, chunk_size = 2048, 8, 1000, 64
    hidden, weight, labels = case(rows, width, vocabulary, dtype=torch.float32)
    with PeakBytes() as memory:
        chunked_cross_entropy(hidden, weight, labels, chunk_size=chunk_size).backward()
    states, head, logits = 4 * rows * width, 4 * vocabulary * width, 4 * chunk_size * vocabulary
    own = 2 * (hidden.nbytes + weight.nbytes) + labels.nbytes  # inputs seen by operations, and the masks of labels
    assert memory.peak <= own + 2 * (states + head) + 2 * logits
    assert memory.peak < rows * vocabulary, "a quarter of one float32 matrix of all logits"


def test_bad_arguments_are_named():
    hidden, weight, labels = case(4, 3, 5)
    for changes, words in [
        ({"chunk_size": 0}, "chunk_size=0"),
        ({"reduction": "none"}, "reduction=none: must be sum or mean"),
        ({"labels": labels[:3]}, r"hidden \(4, 3\), weight \(5, 3\) and labels \(3,\) do not fit"),
        ({"weight": weight[:, :2]}, r"weight \(5, 2\)"),
        ({"labels": labels + 5}, r"label \d+: must be from 0 to 4, or -100"),
        ({"labels": torch.tensor([0, 1, -1, 2])}, "label -1"),
    ]:
        arguments = {"hidden": hidden, "weight": weight, "labels": labels, "chunk_size": 2, **changes}
        with pytest.raises(OctoberError, match=words):
            chunked_cross_entropy(**arguments)
