import copy
import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from one_line import one_line
from tiny_decoders import hugging_face_model
from torch import nn

from october.attention import DecoderConfig, Transformer, decoder_from
from october.attention.mistral import (
    Int4Linear,
    Int8Linear,
    check_quantization,
    pack_,
    quantization,
    quantize_,
    quantized_int4,
    quantized_int8,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def random_linear(inputs, outputs, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    linear = nn.Linear(inputs, outputs, bias=False)
    linear.weight.data = torch.randn(outputs, inputs, generator=generator).to(dtype)
    linear.weight.data *= torch.logspace(-3, 2, outputs)[:, None]  # outputs of very different sizes
    return linear


def dequantized_int8(weights):
    """By loops, in float64."""
    integers, scales = weights
    result = torch.zeros(integers.shape, dtype=torch.float64)
    for output, item in itertools.product(range(integers.shape[0]), range(integers.shape[1])):
        result[output, item] = int(integers[output, item]) * float(scales[output])
    return result


def dequantized_int4(weights, group_size):
    integers, scales, zeros = weights
    result = torch.zeros(integers.shape, dtype=torch.float64)
    for output, item in itertools.product(range(integers.shape[0]), range(integers.shape[1])):
        group = item // group_size
        steps = int(integers[output, item]) - 8
        result[output, item] = steps * float(scales[output, group]) + float(zeros[output, group])
    return result


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_int8_weights_are_the_nearest_multiples_of_their_scale(inputs, outputs, seed):
    weight = random_linear(inputs, outputs, seed).weight.detach()
    weight[0] = 0.0
    weights = quantized_int8(weight)
    error = (dequantized_int8(weights) - weight).abs()
    assert (error <= weights.scales.double()[:, None] * 0.505).all()  # half a step; the scale is rounded to bfloat16
    assert (weights.scales.double() <= weight.double().abs().amax(1) / 127 * (1 + 2**-8)).all()
    assert not weights.integers[0].any()


@given(st.integers(1, 3), st.integers(1, 9), st.integers(0, 99))
def test_int4_weights_are_the_nearest_of_sixteen_values(groups, outputs, seed):
    group_size = 32
    weight = random_linear(groups * group_size, outputs, seed).weight.detach()
    weight[0] = 0.25
    weights = quantized_int4(weight, group_size)
    assert int(weights.integers.max()) <= 15
    error = (dequantized_int4(weights, group_size) - weight).abs().view(outputs, groups, group_size)
    # half a step, and at the ends of a range what rounding scale and zero to bfloat16 moves them: 16 steps over 256
    assert (error.amax(2) <= weights.scales.double() * 0.57).all()
    assert not error[0].any()


def whole_numbers(rows, inputs, seed=1):
    """Activations whose products with small whole weights are exact in bfloat16's eight digits."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(inputs, (rows,), generator=generator)
    return torch.nn.functional.one_hot(chosen, inputs).bfloat16()


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("rows", [1, 2, 3, 16, 17, 40])
def test_products_with_one_weight_are_that_weight(rows, native, monkeypatch):
    """Exactly what the reference dequantises, rounded to bfloat16, for few rows and many, whatever the processor."""
    monkeypatch.setattr(quantization, "cpu_multiplies_bfloat16", lambda: native)
    linear = random_linear(96, 48)
    hidden = whole_numbers(rows, 96)
    weight = dequantized_int8(quantized_int8(linear.weight.detach()))
    assert torch.equal(Int8Linear(linear)(hidden), (hidden.double() @ weight.T).bfloat16())
    weight = dequantized_int4(quantized_int4(linear.weight.detach(), 32), 32)
    found, expected = Int4Linear(linear, 32)(hidden).double(), hidden.double() @ weight.T
    # scale times steps may be rounded before the zero is added
    assert ((found - expected).abs() <= 2**-8 * expected.abs() + 2**-8 * weight.abs().amax(1)).all()


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("rows", [(1,), (2, 3), (5, 1, 4), (2, 0)])
@pytest.mark.parametrize("kind", ["int8", "int4"])
@pytest.mark.parametrize("inputs", [128, 512])
def test_products_equal_those_of_the_dequantised_weights(rows, kind, inputs, native, monkeypatch):
    monkeypatch.setattr(quantization, "cpu_multiplies_bfloat16", lambda: native)
    linear = random_linear(inputs, 64, dtype=torch.bfloat16)
    hidden = torch.randn(*rows, inputs, generator=torch.Generator().manual_seed(2)).bfloat16()
    if kind == "int8":
        module, weight = Int8Linear(linear), dequantized_int8(quantized_int8(linear.weight.detach()))
    else:
        module, weight = Int4Linear(linear, 64), dequantized_int4(quantized_int4(linear.weight.detach(), 64), 64)
    found, expected = module(hidden), hidden.double() @ weight.T
    assert found.dtype == torch.bfloat16
    assert found.shape == expected.shape
    roundings = 2 if kind == "int8" and hidden[..., 0].numel() > 16 else 1  # of many rows: the sum, then its scaling
    summands = hidden.double().abs() @ weight.abs().T
    assert ((found.double() - expected).abs() <= roundings * 2**-8 * expected.abs() + 2**-11 * summands).all()


def bar_decoder(**more):
    config = DecoderConfig(96, 64, 128, 2, 4, 2, 16, sliding_windows=(8,), **more)
    return Transformer(config, seed=3).bfloat16().eval()


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", ["int8", "int4"])
@torch.inference_mode()
def test_decoders_stay_near_and_become_smaller(kind, tied):
    decoder = bar_decoder(tie_embeddings=tied)
    ids = torch.randint(96, (2, 12), generator=torch.Generator().manual_seed(0))
    expected = decoder.logits(decoder(ids)).double()
    for quantized in (quantize_(copy.deepcopy(decoder), kind), quantize_(pack_(copy.deepcopy(decoder)), kind)):
        assert not any(isinstance(module, nn.Linear) for module in quantized.modules())
        assert torch.equal(quantized.embedding.weight, decoder.embedding.weight)
        found = quantized.logits(quantized(ids)).double()
        assert (found - expected).norm() < (0.03 if kind == "int8" else 0.2) * expected.norm()
        layers, before = (
            sum(tensor.nbytes for tensor in itertools.chain(some.parameters(), some.buffers()))
            for some in (quantized.layers, decoder.layers)
        )
        assert layers < (0.6 if kind == "int8" else 0.4) * before


@torch.inference_mode()
def test_the_gemma_family_is_quantised_too():
    """Tied head, norms of queries and keys: its embedding stays, its head becomes a map of its own."""
    model = hugging_face_model("gemma3", vocab_size=64)
    decoder = decoder_from(model).bfloat16()
    ids = torch.randint(61, (1, 9), generator=torch.Generator().manual_seed(0))
    expected = decoder.logits(decoder(ids)).double()
    quantized = quantize_(pack_(decoder), "int8")
    assert isinstance(quantized.head, Int8Linear)
    found = quantized.logits(quantized(ids)).double()
    assert (found - expected).norm() < 0.1 * expected.norm()


def test_what_the_kernels_do_not_take_is_refused_by_name(monkeypatch):
    for call, words in [
        (
            lambda: check_quantization("int3", torch.bfloat16, torch.device("cpu")),
            "weights=int3: must be one of int8, int4",
        ),
        (lambda: check_quantization("int8", torch.float32, torch.device("cpu")), "int8 with dtype torch.float32"),
        (lambda: check_quantization("int4", torch.bfloat16, torch.device("cuda", 1)), "weights=int4 on cuda:1"),
        (lambda: quantize_(bar_decoder().float(), "int8"), "with dtype torch.float32"),
        (lambda: Int8Linear(random_linear(90, 16)), "int8: a linear map has 90 inputs; must be a multiple of 16"),
        (lambda: Int4Linear(random_linear(96, 16), 64), "int4: a linear map has 96 inputs; must be a multiple of 64"),
        (lambda: Int4Linear(random_linear(96, 24), 32), "int4: a linear map has 24 outputs; must be a multiple of 16"),
        (lambda: Int4Linear(random_linear(96, 16), 48), "group_size=48: must be one of 32, 64, 128, 256"),
        (lambda: Int8Linear(nn.Linear(16, 16)), "a linear map with a bias"),
    ]:
        with one_line(words):
            call()
    monkeypatch.delattr(torch, "_weight_int4pack_mm_for_cpu")
    with one_line(r"weights=int4: torch \S+ has no _weight_int4pack_mm_for_cpu"):
        quantize_(bar_decoder(), "int4")
    quantize_(bar_decoder(), "int8")
