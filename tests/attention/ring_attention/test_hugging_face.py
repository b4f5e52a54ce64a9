"""Hugging Face models over a ring: loss and every gradient as in one process; what it cannot do it refuses by name."""

import re
from functools import lru_cache

import pytest
import torch
import torch.distributed as dist
from tiny_decoders import LargestTensor
from tiny_hugging_face import FAMILIES, drawn_tokens, tiny_model
from transformers import Gemma2Config, Gemma2ForCausalLM

from october.attention.ring_attention import LAYOUTS, Ring, ShardedCache, ring_context, shard_batch
from october.errors import OctoberError


def drawn_batch(seed, length, kind):
    """A batch as a collator makes it: plain, padded on the right, or of packed documents."""
    input_ids = drawn_tokens(seed, 2, length)
    batch = {"input_ids": input_ids, "labels": input_ids.clone()}
    batch["labels"][:, :2] = -100
    if kind == "padded":
        batch["attention_mask"] = torch.ones_like(input_ids)
        batch["attention_mask"][1, length // 2 :] = 0
        batch["labels"][1, length // 2 :] = -100
    if kind == "packed":
        first = length // 3
        positions = torch.cat([torch.arange(first), torch.arange(length - first)])
        batch["position_ids"] = positions.expand(2, -1).clone()
    return batch


def loss_and_gradients(model, inputs, context=None):
    """Summed loss, and gradients by parameter."""
    labels = inputs.pop("shift_labels")

    def forward():
        return model(**inputs, use_cache=False).logits  # with a cache, sdpa looks for no packed documents

    logits = forward() if context is None else context(forward)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
    loss.backward()
    return loss.detach(), {name: parameter.grad for name, parameter in model.named_parameters()}


def on_rank(cases):
    results = []
    for case in cases:
        ring = Ring(time_limit=60.0)
        model = tiny_model(case["family"], "ring")
        if case.get("checkpointing"):
            model.gradient_checkpointing_enable()
        inputs = shard_batch(drawn_batch(case["seed"], case["length"], case["kind"]), ring, case["layout"])
        segments = inputs.pop("segment_ids", None)

        def within(forward, ring=ring, case=case, segments=segments):
            options = {"sequence_length": case["length"], "segment_ids": segments}
            with ring_context(ring, layout=case["layout"], **options):
                return forward()

        loss, gradients = loss_and_gradients(model, inputs, within)
        for tensor in (loss, *gradients.values()):
            dist.all_reduce(tensor)
        results.append((loss, gradients) if ring.rank == 0 else None)
    return results


@lru_cache
def in_one_process(family, seed, length, kind):
    batch = drawn_batch(seed, length, kind)
    labels = batch.pop("labels")
    batch["shift_labels"] = torch.nn.functional.pad(labels, (0, 1), value=-100)[:, 1:].contiguous()
    return loss_and_gradients(tiny_model(family, "sdpa"), batch)


def compare(case, found):
    loss, gradients = in_one_process(case["family"], case["seed"], case["length"], case["kind"])
    assert abs(float(found[0] - loss)) <= 1e-5 * abs(float(loss)), case
    assert gradients.keys() == found[1].keys()
    for name, expected in gradients.items():
        error = (found[1][name] - expected).abs().max() / expected.abs().max()
        assert error <= 1e-5, (case, name, float(error))


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_as_in_one_process(pool, family, world_size):
    kinds = [(24, "plain"), (23, "plain"), (25, "padded"), (26, "packed")]
    cases = [
        {"family": family, "seed": seed, "length": length, "kind": kind, "layout": layout}
        for layout in LAYOUTS
        for seed, (length, kind) in enumerate(kinds)
    ]
    for case, found in zip(cases, pool(world_size).run(on_rank, cases)[0], strict=True):
        compare(case, found)


def test_gradient_checkpointing_outside_the_context(pool):
    case = {"family": "gemma3", "seed": 4, "length": 21, "kind": "packed", "layout": "zigzag", "checkpointing": True}
    compare(case, pool(2).run(on_rank, [case])[0][0])


@pytest.mark.parametrize("family", FAMILIES)
def test_no_mask_of_tokens_by_tokens_is_made(family):
    length = 2048
    tokens = drawn_tokens(0, 1, length)
    with LargestTensor() as ring_sizes, ring_context(), torch.no_grad():
        tiny_model(family, "ring")(input_ids=tokens, logits_to_keep=1)
    with LargestTensor() as eager_sizes, torch.no_grad():
        tiny_model(family, "eager")(input_ids=tokens, logits_to_keep=1)
    assert ring_sizes.nbytes < length * length / 2  # of a mask of booleans
    assert eager_sizes.nbytes >= length * length


def test_the_whole_batch_is_dealt_out():
    batch = drawn_batch(0, 9, "packed")
    found = shard_batch(batch, Ring(), "contiguous")
    assert torch.equal(found["position_ids"], batch["position_ids"])
    assert torch.equal(found["shift_labels"][:, :-1], batch["labels"][:, 1:])
    assert bool((found["shift_labels"][:, -1] == -100).all())
    assert found["segment_ids"].tolist() == [[0] * 3 + [1] * 6] * 2


def run_alone(model, **inputs):
    with ring_context(segment_ids=inputs.pop("segment_ids", None)):
        return model(input_ids=drawn_tokens(0, 1, 6), **inputs)


def refused(text):
    return pytest.raises(OctoberError, match=re.escape(text))


def test_what_the_ring_cannot_do_is_refused():
    llama = tiny_model("llama", "ring")
    with refused("no ring in use"):
        llama(input_ids=drawn_tokens(0, 1, 6))
    with refused("attention_mask with padding"):
        run_alone(llama, attention_mask=torch.tensor([[0, 1, 1, 1, 1, 1]]))
    with refused("attention_mask (1, 1, 6, 6): the ring takes no mask"):
        run_alone(llama, attention_mask=torch.zeros(1, 1, 6, 6))
    with refused("output_attentions"):
        run_alone(llama, output_attentions=True)
    with refused("position_ids on rank 0 are not the positions"):
        run_alone(llama, position_ids=torch.arange(1, 7)[None])
    with refused("position_ids on rank 0 are not the positions"):
        run_alone(llama, position_ids=torch.tensor([[0, 1, 2, 0, 1, 2]]))
    with refused("cu_seq_lens"):
        run_alone(llama, cu_seq_lens_q=torch.tensor([0, 3, 6]))
    past = run_alone(llama, use_cache=True).past_key_values
    with refused("past_key_values: 12 keys for 6 queries"):
        run_alone(llama, past_key_values=past)


def test_a_context_that_does_not_fit_its_cache_is_refused():
    cache = ShardedCache(Ring(), 6)
    given = {
        "segment_ids with a cache": {"segment_ids": torch.zeros(1, 6, dtype=torch.long)},
        "layout=striped: the cache's is zigzag": {"layout": "striped"},
        "sequence_length=7: the cache's prompt has 6": {"sequence_length": 7},
    }
    for text, options in given.items():
        with refused(text), ring_context(cache.ring, cache=cache, **options):
            pytest.fail("it was entered")


def test_models_that_the_ring_cannot_serve_are_refused():
    with refused("attention dropout 0.1"):
        run_alone(tiny_model("llama", "ring", attention_dropout=0.1).train())
    with refused("mask rule"):
        run_alone(tiny_model("gemma3", "ring", use_bidirectional_attention=True))
    with refused("rope_type dynamic"):
        run_alone(
            tiny_model("llama", "ring", rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0})
        )
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "vocab_size": 61, "head_dim": 8}
    config = Gemma2Config(**sizes, num_attention_heads=2, num_key_value_heads=1)
    config._attn_implementation = "ring"
    with refused("soft-capping"):
        run_alone(Gemma2ForCausalLM(config))


def test_batches_that_do_not_fit_are_refused():
    batch = drawn_batch(0, 9, "plain")
    with refused("batch field token_type_ids"):
        shard_batch({**batch, "token_type_ids": batch["labels"]}, Ring())
    with refused("labels (2, 8): must be [batch, tokens]"):
        shard_batch({**batch, "labels": batch["labels"][:, 1:]}, Ring())
    padding = torch.ones_like(batch["input_ids"])
    padding[:, :4] = 0
    with refused("a padded token is to predict one"):
        shard_batch({**batch, "attention_mask": padding}, Ring())


def other_batches():
    shard_batch({"input_ids": drawn_tokens(dist.get_rank(), 1, 8)}, Ring(time_limit=30.0))


def too_few_tokens():
    shard_batch({"input_ids": drawn_tokens(0, 1, 1)}, Ring(time_limit=30.0))


def test_every_rank_needs_a_token(pool):
    lines = {outcome.failure for outcome in pool(2).outcomes(too_few_tokens)}
    assert lines == {"input_ids of 1 tokens: layout zigzag over 2 ranks leaves none for rank 1"}


def test_ranks_with_different_batches_are_told_so(pool):
    lines = {outcome.failure for outcome in pool(2).outcomes(other_batches)}
    assert lines == {"ranks of a ring hold different input_ids: all must get the same batch"}
