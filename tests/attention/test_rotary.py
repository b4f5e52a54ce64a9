import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from october.attention import RopeScaling
from october.attention.rotary import inverse_frequencies, rotate, rotation
from october.errors import OctoberError

LLAMA_31 = RopeScaling("llama3", 8.0, low_frequency_factor=1.0, high_frequency_factor=4.0, original_max_positions=8192)


@settings(deadline=None, max_examples=20)
@given(
    positions=st.lists(st.lists(st.integers(0, 1000), min_size=3, max_size=3), min_size=1, max_size=3),
    half=st.integers(1, 5),
    base=st.sampled_from([10_000.0, 37.0]),
)
def test_each_pair_is_turned_by_its_angle(positions, half, base):
    torch.manual_seed(0)
    heads = torch.randn(len(positions), 2, 3, 2 * half, dtype=torch.float64)
    turned = rotate(heads, rotation(torch.tensor(positions), 2 * half, base, dtype=torch.float64))
    frequencies = inverse_frequencies(2 * half, base).double()
    for row, places in enumerate(positions):
        for token, position in enumerate(places):
            pairs = torch.complex(heads[row, :, token, :half], heads[row, :, token, half:])
            expected = pairs * torch.exp(1j * position * frequencies)
            torch.testing.assert_close(turned[row, :, token, :half], expected.real)
            torch.testing.assert_close(turned[row, :, token, half:], expected.imag)


def test_products_depend_on_the_distance_even_far_out():
    """In float32 angles this fails: at ten million, one radian is a few steps of a float32."""
    torch.manual_seed(0)
    query, key = torch.randn(2, 1, 1, 1, 64)
    products = []
    for shift in (0, 100_000, 10_000_000):
        at = [rotation(torch.tensor([[shift + place]]), 64, 10_000.0) for place in (9, 2)]
        products.append((rotate(query, at[0]) * rotate(key, at[1])).sum())
    torch.testing.assert_close(torch.stack(products), products[0].expand(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("scaling", [None, RopeScaling("linear", 4.0), LLAMA_31])
def test_frequencies_equal_those_of_transformers(scaling):
    parameters = {"rope_type": "default", "rope_theta": 500_000.0}
    if scaling is not None:
        parameters |= {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling is LLAMA_31:
        parameters |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    config = LlamaConfig(hidden_size=128, num_attention_heads=1, rope_parameters=parameters)
    if scaling is None:
        expected = 500_000.0 ** (-torch.arange(0, 128, 2, dtype=torch.float64) / 128)
    else:
        expected = ROPE_INIT_FUNCTIONS[scaling.kind](config)[0].double()
    torch.testing.assert_close(inverse_frequencies(128, 500_000.0, scaling).double(), expected, rtol=1e-6, atol=0)


def test_frequencies_made_under_inference_serve_training():
    with torch.inference_mode():
        rotation(torch.arange(3)[None], 6, 123.0)
    heads = torch.randn(1, 1, 3, 6, requires_grad=True)
    rotate(heads, rotation(torch.arange(3)[None], 6, 123.0)).sum().backward()
    assert heads.grad is not None
    assert not inverse_frequencies(6, 123.0).is_inference()


def test_bad_scalings_are_named():
    for arguments, words in [
        ({"kind": "yarn", "factor": 2.0}, "kind of RopeScaling=yarn: must be one of linear, llama3"),
        ({"kind": "linear", "factor": 0.5}, "factor=0.5"),
        ({"kind": "llama3", "factor": 2.0, "low_frequency_factor": 5.0}, "low_frequency_factor=5.0"),
        ({"kind": "llama3", "factor": 2.0, "original_max_positions": 0}, "original_max_positions of RopeScaling=0"),
    ]:
        with pytest.raises(OctoberError, match=words):
            RopeScaling(**arguments)
