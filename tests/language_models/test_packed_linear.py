import pytest
import torch
from torch import nn
from torch.nn import functional

from october.language_models.packed_linear import PackedLinear, pack_linears_

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPES = [(1,), (2, 1), (3, 5), (0, 1), (2, 0), (40, 7), (2, 3, 4)]


def drawn(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=dtype)


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@torch.inference_mode()
def test_the_product_is_that_of_float64(shape, with_bias):
    weight, hidden, bias = drawn(29, 48), drawn(*shape, 48), drawn(29) if with_bias else None
    expected = functional.linear(hidden.double(), weight.double(), None if bias is None else bias.double())
    found = PackedLinear(weight, bias)(hidden)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_states_that_lie_apart_and_weights_that_do():
    hidden, weight = drawn(4, 6, 24).transpose(0, 1)[:, ::2, ::3], drawn(8, 13).T
    expected = hidden.double() @ weight.double().T
    torch.testing.assert_close(PackedLinear(weight)(hidden), expected.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@torch.inference_mode()
def test_other_dtypes_are_torchs_product_of_the_same_tensor(dtype):
    weight, hidden = drawn(5, 16, dtype=dtype), drawn(3, 16, dtype=dtype)
    packed = PackedLinear(weight)
    assert packed.weight.data_ptr() == weight.data_ptr()
    assert torch.equal(packed(hidden), functional.linear(hidden, weight))


def test_the_weight_laid_out_is_the_weight():
    weight = drawn(29, 48)
    packed = PackedLinear(weight)
    assert (packed.weight.shape, packed.weight.requires_grad) == (weight.shape, False)
    assert torch.equal(packed.weight.to_dense(), weight)


@torch.inference_mode()
def test_maps_inside_a_module_are_packed_wherever_they_are_and_others_left():
    module = nn.Sequential(nn.Linear(8, 6), nn.ModuleDict({"inner": nn.Linear(6, 4, bias=False)})["inner"], nn.ReLU())
    narrow = nn.Sequential(nn.Linear(8, 6)).bfloat16()
    expected = module(drawn(3, 8))
    torch.testing.assert_close(pack_linears_(module)(drawn(3, 8)), expected, rtol=1e-5, atol=1e-6)
    assert [type(each) for each in module] == [PackedLinear, PackedLinear, nn.ReLU]
    assert type(pack_linears_(narrow)[0]) is nn.Linear
