import copy

import pytest
import torch
from tiny_decoders import FAMILIES, hugging_face_model

from october.attention import DecoderConfig, DenseCache, Transformer, decoder_from
from october.attention.mistral import RollingBufferCache, pack_

pytestmark = pytest.mark.usefixtures("one_thread")

TEXTS = [17, 3, 9]  # tokens of each row, beyond the window and below


def packed_and_not(family):
    decoder = decoder_from(hugging_face_model(family))
    return pack_(copy.deepcopy(decoder)), decoder


def token_ids(sequence):
    return torch.randint(61, (len(TEXTS), sequence), generator=torch.Generator().manual_seed(3))


def relative_error(found, expected):
    return ((found - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_the_function_stays_the_same(family):
    packed, decoder = packed_and_not(family)
    ids = token_ids(23)
    assert relative_error(packed.logits(packed(ids)), decoder.logits(decoder(ids))) < 1e-5


@pytest.mark.parametrize("family", ["mistral_gqa4", "gemma3"])
@pytest.mark.parametrize("make_cache", [DenseCache, RollingBufferCache])
@torch.inference_mode()
def test_with_caches_of_rows_of_different_lengths(family, make_cache):
    packed, decoder = packed_and_not(family)
    caches = make_cache(decoder.config, 3, 4), DenseCache(decoder.config, 3, 4)
    for ids, lengths in [(token_ids(max(TEXTS)), TEXTS), *((token_ids(1), [1, 1, 1]) for _ in range(6))]:
        found, expected = (
            model(ids, cache=cache, new_lengths=lengths) for model, cache in zip((packed, decoder), caches, strict=True)
        )
        for row, length in enumerate(lengths):
            assert relative_error(found[row, :length], expected[row, :length]) < 1e-5


@torch.inference_mode()
def test_bfloat16_is_as_near_to_float32_as_unpacked():
    for family in ("mistral_gqa2", "gemma3"):
        _, decoder = packed_and_not(family)
        ids = token_ids(23)
        expected, narrow = decoder(ids), decoder.bfloat16()
        unpacked = narrow(ids).float()
        packed = pack_(copy.deepcopy(narrow))(ids).float()
        assert (packed - expected).norm() < 1.2 * (unpacked - expected).norm()


@torch.inference_mode()
def test_norms_of_small_large_and_zero_states():
    config = DecoderConfig(5, 8, 8, 1, 1, 1, 8, norm_epsilon=1e-5, norm_offset=1.0)
    decoder = Transformer(config)
    norm = decoder.norm
    norm.weight.copy_(torch.linspace(-1, 1, 8))
    packed = pack_(copy.deepcopy(decoder)).norm
    for size in (0.0, 1e-6, 1e-3, 1.0, 1e15):
        states = size * torch.randn(3, 2, 8, generator=torch.Generator().manual_seed(1))
        assert torch.allclose(packed(states), norm(states), rtol=1e-5, atol=0)


def test_each_layer_reads_its_input_with_one_product():
    packed, _ = packed_and_not("mistral_gqa2")
    linears = [name for name, module in packed.named_modules() if isinstance(module, torch.nn.Linear)]
    assert [name.removeprefix("layers.0.") for name in linears if name.startswith("layers.0.")] == [
        "attention.query_key_value",
        "attention.output",
        "feed_forward.gate_up",
        "feed_forward.down",
    ]


def test_packing_twice_changes_nothing_and_the_weights_of_others_stay():
    model = hugging_face_model("mistral_gqa2")
    before = copy.deepcopy(model.state_dict())
    packed = pack_(decoder_from(model))
    weights = dict(packed.named_parameters())
    again = dict(pack_(packed).named_parameters())
    assert all(again[name] is weight for name, weight in weights.items())
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


@torch.inference_mode()
def test_a_piece_without_tokens_passes():
    """As on a process of a ring that holds none."""
    packed, _ = packed_and_not("mistral_gqa2")
    assert packed(token_ids(0)).shape == (len(TEXTS), 0, packed.config.hidden_size)
