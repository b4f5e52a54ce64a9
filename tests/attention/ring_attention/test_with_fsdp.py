"""The example with FSDP: weights sharded over four ranks, two rings of two; gradients as in one process."""

import pytest
import torch.distributed as dist
from tiny_hugging_face import drawn_tokens, tiny_model

from october.experiments.ring_attention._with_fsdp import backward, with_fsdp

LENGTH = 21


def batch_of(ring_index):
    tokens = drawn_tokens(ring_index, 1, LENGTH)
    labels = tokens.clone()
    labels[:, : 4 * ring_index] = -100  # unequal numbers of labels
    return {"input_ids": tokens, "labels": labels}


def on_rank(family):
    model = tiny_model(family, "ring")
    ring = with_fsdp(model, 2, "cpu")
    loss = backward(model, batch_of(dist.get_rank() // 2), ring)
    numbers = sum(parameter.to_local().numel() for parameter in model.parameters())
    return loss, {name: parameter.grad.full_tensor() for name, parameter in model.named_parameters()}, numbers


@pytest.mark.parametrize("family", ["mistral", "gemma3"])
def test_gradients_as_in_one_process(pool, family):
    results = pool(4).run(on_rank, family)
    model = tiny_model(family, "sdpa")
    batches = [batch_of(0), batch_of(1)]
    counts = [int((batch["labels"][:, 1:] != -100).sum()) for batch in batches]
    losses = [model(**batch, use_cache=False).loss for batch in batches]
    loss = sum(each * count for each, count in zip(losses, counts, strict=True)) / sum(counts)
    loss.backward()
    assert sum(numbers for *_, numbers in results) == sum(parameter.numel() for parameter in model.parameters())
    for found, gradients, _ in results:
        assert float(found) == pytest.approx(float(loss.detach()), rel=1e-5)
        for name, parameter in model.named_parameters():
            error = (gradients[name] - parameter.grad).abs().max() / parameter.grad.abs().max()
            assert error <= 1e-5, (name, float(error))
