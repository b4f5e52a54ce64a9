"""Text generated from a prompt on a ring is what `generate` gives in one process."""

import pytest
import torch
from tiny_hugging_face import FAMILIES, drawn_tokens, tiny_model

from october.attention.ring_attention import Ring, ring_generate
from october.errors import OctoberError

NEW = 9


def generated(family, length, attention, **options):
    """Prompts, and what follows; with a widely initialised model no two logits come near."""
    model = tiny_model(family, attention).eval()
    tokens = drawn_tokens(length, 2, length)
    if attention == "sdpa":
        return model.generate(tokens, attention_mask=torch.ones_like(tokens), do_sample=False, max_new_tokens=NEW)
    return ring_generate(model, tokens, Ring(time_limit=60.0), max_new_tokens=NEW, **options)


def on_rank(cases):
    return [generated(family, length, "ring", **options) for family, length, options in cases]


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_same_tokens_as_generate(pool, world_size):
    layouts = {"llama": "striped", "mistral": "zigzag", "gemma3": "contiguous"}
    cases = [(family, length, {"layout": layouts[family]}) for family in FAMILIES for length in (23, 5)]
    results = pool(world_size).run(on_rank, cases)
    for index, (family, length, _) in enumerate(cases):
        expected = generated(family, length, "sdpa")
        for rank in range(world_size):
            assert torch.equal(results[rank][index], expected), (family, length, rank)


def test_texts_that_end_are_filled_up():
    model = tiny_model("llama", "ring").eval()
    tokens = drawn_tokens(23, 2, 23)
    free = ring_generate(model, tokens, Ring(), max_new_tokens=NEW)
    end = int(free[0, 23 + 3])
    assert end not in free[0, 23 : 23 + 3]
    model.generation_config.eos_token_id = [end]
    reference = tiny_model("llama", "sdpa").eval()
    reference.generation_config.eos_token_id = [end]
    expected = reference.generate(tokens, attention_mask=torch.ones_like(tokens), do_sample=False, max_new_tokens=NEW)
    assert torch.equal(ring_generate(model, tokens, Ring(), max_new_tokens=NEW), expected)


def test_draws_depend_on_the_seed_and_not_on_the_ranks(pool):
    cases = [("mistral", 17, {"temperature": 5.0, "seed": seed}) for seed in (1, 2)]
    alone = on_rank(cases)
    assert not torch.equal(*alone)
    for found in pool(2).run(on_rank, cases):
        assert all(torch.equal(a, b) for a, b in zip(found, alone, strict=True))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
        ({"temperature": -1.0}, "temperature=-1.0"),
        ({"input_ids": torch.zeros(1, 0, dtype=torch.long)}, r"input_ids \(1, 0\)"),
        ({"model": tiny_model("llama", "sdpa")}, 'attn_implementation="sdpa": must be "ring"'),
    ],
)
def test_bad_arguments_are_named(changes, text):
    arguments = {"model": tiny_model("llama", "ring"), "input_ids": drawn_tokens(0, 1, 4), "max_new_tokens": 1}
    with pytest.raises(OctoberError, match=text):
        ring_generate(**{**arguments, **changes}, ring=Ring())
