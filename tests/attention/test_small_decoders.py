"""Initial weights and learning rates of small decoders."""

from itertools import pairwise

import pytest
import torch

from october.attention import DecoderConfig, Transformer, learning_rate_share, scale_small_weights_


def test_the_rate_rises_once_and_then_falls_to_a_tenth():
    rates = [learning_rate_share(step, 200) for step in range(200)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert max(rates) == pytest.approx(1.0)
    assert all(later < earlier for earlier, later in pairwise(rates[10:]))
    assert rates[-1] == pytest.approx(0.1, abs=1e-3)
    assert [learning_rate_share(step, 1) for step in range(1)] == [1.0]


def test_matrices_get_the_deviation_of_their_width_and_norms_stay():
    config = DecoderConfig(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=128,
        num_layers=2,
        num_heads=4,
        num_kv_heads=4,
        head_dim=16,
        max_positions=32,
    )
    decoder = Transformer(config, seed=0)
    before = {name: weight.clone() for name, weight in decoder.named_parameters()}
    assert scale_small_weights_(decoder) is decoder
    for name, weight in decoder.named_parameters():
        if weight.ndim == 1:
            assert torch.equal(weight, before[name])
        else:
            writes = name.endswith(("output.weight", "down.weight"))  # smaller by the square root of twice the layers
            inner = 0.6 / 8 / (2 if writes else 1)
            expected = {"embedding.weight": 0.2, "head.weight": 0.02}.get(name, inner)
            assert weight.std().item() == pytest.approx(expected, rel=0.05)
