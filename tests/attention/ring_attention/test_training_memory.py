"""The memory model: parameters against transformers, every part against its formula, the longest context by search."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from october.attention.ring_attention.activation_memory import METHODS
from october.attention.ring_attention.model_shapes import MODEL_SHAPES, ModelShape
from october.attention.ring_attention.training_memory import (
    largest_that,
    max_context,
    power_of_two_at_most,
    training_memory,
)
from october.errors import OctoberError

TINY = ModelShape("tiny", num_layers=3, hidden_size=8, num_heads=2, intermediate_size=20, vocab_size=50)


@pytest.mark.parametrize("shape", [TINY, *MODEL_SHAPES.values()], ids=lambda shape: shape.name)
def test_the_parameters_are_those_of_transformers(shape: ModelShape) -> None:
    config = LlamaConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        tie_word_embeddings=False,
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    assert shape.parameters == model.num_parameters()
    assert shape.layer_parameters == sum(p.numel() for p in model.model.layers[0].parameters())


def test_the_parts_by_hand() -> None:
    layer, embedding = 4 * 64 + 3 * 160 + 16, 50 * 8
    whole = 3 * layer + 2 * embedding + 8
    ring = training_memory("ring", TINY, 4000, 2, bytes_per_element=2, bytes_per_parameter=12)
    assert ring.states == 12 * whole // 2
    assert ring.gathered == 2 * 2 * layer
    assert ring.kept_inputs == 2 * 3 * 2000 * 8
    assert ring.working_set == 2 * 6 * 2000 * 8
    assert ring.logits == 2 * 2 * 1024 * 50
    assert ring.total == ring.states + ring.gathered + ring.kept_inputs + ring.working_set + ring.logits
    expected = {
        "vanilla": 2 * 4000**2,
        "memory_efficient_attention": 4 * 4000 * 8,
        "blockwise_feedforward": 4000 * 8,
    }
    for method, elements in expected.items():
        baseline = training_memory(method, TINY, 4000, 2)  # type: ignore[arg-type]
        assert baseline.working_set == 4 * elements
        assert baseline.kept_inputs == 4 * 3 * 4000 * 8


@given(
    method=st.sampled_from(METHODS),
    num_devices=st.integers(1, 9),
    memory=st.integers(0, 10_000_000),
)
def test_the_longest_context_fits_and_one_more_token_does_not(method: str, num_devices: int, memory: int) -> None:
    longest = max_context(method, TINY, num_devices, memory)  # type: ignore[arg-type]
    if longest:
        assert training_memory(method, TINY, longest, num_devices).total <= memory  # type: ignore[arg-type]
    assert training_memory(method, TINY, longest + 1, num_devices).total > memory  # type: ignore[arg-type]


def test_the_rings_context_grows_with_its_devices() -> None:
    shape, memory = MODEL_SHAPES["7B"], 80 << 30
    eight, sixty_four = (max_context("ring", shape, count, memory) for count in (8, 64))
    assert 8 < sixty_four / eight < 9.5  # a little more than 8: the states are shared by more devices too


@given(limit=st.integers(0, 10_000))
def test_the_search_finds_the_last_that_fits(limit: int) -> None:
    assert largest_that(lambda number: number <= limit) == limit
    assert power_of_two_at_most(limit) == max((1 << k for k in range(15) if 1 << k <= limit), default=0)


def test_mistakes_get_one_line() -> None:
    with pytest.raises(OctoberError, match="method='magic': one of vanilla"):
        training_memory("magic", TINY, 10, 1)  # type: ignore[arg-type]
    with pytest.raises(OctoberError, match="num_devices=0: must be at least 1"):
        training_memory("ring", TINY, 10, 0)
