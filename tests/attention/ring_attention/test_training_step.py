"""The step over a ring equals that of one process with plain full attention: loss, gradients, and the next weights."""

import itertools

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from october.attention import DecoderConfig, Transformer, full_attention
from october.attention.ring_attention import (
    LAYOUTS,
    AttentionChoice,
    Ring,
    next_tokens,
    ring_loss,
    ring_training_step,
    sum_gradients,
    sum_over_ranks_,
    training_shard,
)
from october.attention.ring_attention.tensor_memory import TensorMemory
from october.attention.ring_attention.training_batch import IGNORED, document_positions
from october.errors import OctoberError

VOCABULARY = 37
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


def decoder(dtype=torch.float64, window=None, vocab_size=VOCABULARY, tied=False):
    config = DecoderConfig(
        vocab_size=vocab_size,
        hidden_size=16,
        intermediate_size=24,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=4,
        sliding_windows=(window, None),
        tie_embeddings=tied,
    )
    made = Transformer(config, seed=3).to(dtype)
    with torch.no_grad():
        for weight in made.parameters():
            weight *= 5  # attention that is far from uniform
    return made


def tokens(length, batch=2, vocab_size=VOCABULARY, seed=0):
    return torch.randint(vocab_size, (batch, length), generator=torch.Generator().manual_seed(seed))


def documents(length):
    """Two sequences: documents of several lengths, one of a single token, padding at an end and in the middle."""
    cuts = (
        [(length // 3, 0), (1, 1), (length // 4, -1), (length, 2)],
        [(length // 2, 4), (length // 3, 5), (length, -1)],
    )
    rows = [list(itertools.chain.from_iterable([number] * size for size, number in row))[:length] for row in cuts]
    return torch.tensor(rows)


def plain_loss(model, token_ids, segment_ids=None):
    """One process, full attention, all logits at once."""
    if segment_ids is None:
        logits = model.logits(model(token_ids))[:, :-1]
        return functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), token_ids[:, 1:].reshape(-1))
    losses = []
    for row, ids in zip(token_ids, segment_ids, strict=True):
        for document in ids.unique():
            if document >= 0:  # each document alone, from position 0
                text = row[ids == document]
                losses.append(
                    functional.cross_entropy(model.logits(model(text[None]))[0, :-1], text[1:], reduction="none")
                )
    return torch.cat(losses).mean()


def gradients(model):
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def on_rank(cases):
    results = []
    for case in cases:
        ring = Ring(time_limit=60.0)
        token_ids = tokens(case["length"])
        ids = documents(case["length"]) if case.get("packed") else None
        model = decoder(case["dtype"], case.get("window"), tied=case.get("tied", False))
        shard = training_shard(token_ids, ring, layout=case["layout"], segment_ids=ids)
        options = {"feed_forward_block": 5, "logits_chunk": 7, "checkpoint": case.get("checkpoint", True)}
        loss = ring_loss(model, shard, ring, **options)
        loss.backward()
        sum_gradients(model.parameters(), ring)
        results.append((loss.detach(), gradients(model)))
    return results


def check(pool, world_size, cases):
    ranks = pool(world_size).run(on_rank, cases)
    for index, case in enumerate(cases):
        model = decoder(case["dtype"], case.get("window"), tied=case.get("tied", False))
        ids = documents(case["length"]) if case.get("packed") else None
        expected = plain_loss(model, tokens(case["length"]), ids)
        expected.backward()
        bound = TOLERANCE[case["dtype"]]
        for loss, found in (results[index] for results in ranks):
            assert abs(loss - expected.detach()) <= bound * abs(expected.detach()), case
            for name, gradient in gradients(model).items():
                error = (found[name] - gradient).abs().max() / gradient.abs().max()
                assert error <= bound, (case, name, float(error))


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_loss_and_gradients_are_those_of_one_process(pool, world_size):
    cases = [
        {"layout": layout, "length": length, "dtype": torch.float64, **more}
        for layout in LAYOUTS
        for length in (24, 29, 3)
        for more in ({}, {"window": 4}, {"checkpoint": False})
    ]
    cases += [{"layout": layout, "length": 41, "dtype": torch.float32, "tied": True} for layout in LAYOUTS]
    check(pool, world_size, cases)


@pytest.mark.parametrize("world_size", [2, 3])
def test_packed_documents_are_as_if_each_were_alone(pool, world_size):
    options = itertools.product(LAYOUTS, (29, 48), (None, 5))
    cases = [
        {"layout": layout, "length": length, "dtype": torch.float64, "packed": True, "window": window}
        for layout, length, window in options
    ]
    check(pool, world_size, cases)


def steps_on_rank(num_steps):
    ring, model = Ring(time_limit=60.0), decoder()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    losses = [
        ring_training_step(
            model, optimizer, training_shard(tokens(31, seed=step), ring), ring, max_gradient_norm=0.3, logits_chunk=4
        )
        for step in range(num_steps)
    ]
    return losses, dict(model.state_dict())


@pytest.mark.parametrize("world_size", [2, 3])
def test_steps_of_an_optimizer_are_those_of_one_process(pool, world_size):
    model = decoder()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    expected = []
    for step in range(3):
        optimizer.zero_grad()
        loss = plain_loss(model, tokens(31, seed=step))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.3)
        optimizer.step()
        expected.append(loss.item())
    ranks = pool(world_size).run(steps_on_rank, 3)
    for losses, weights in ranks:
        assert losses == pytest.approx(expected, rel=1e-10)
        for name, weight in model.state_dict().items():
            torch.testing.assert_close(weights[name], weight, atol=1e-8, rtol=1e-8)
            assert torch.equal(weights[name], ranks[0][1][name]), f"{name}: ranks drift apart"


def two_rings_on_rank():
    """Data parallel over two rings of two, with batches of unequal length."""
    groups = [dist.new_group([0, 2]), dist.new_group([1, 3])]
    mine = dist.get_rank() % 2
    ring, replicas, model = Ring(groups[mine]), Ring(), decoder()
    shard = training_shard(tokens((19, 32)[mine], seed=mine), ring)
    loss = ring_loss(model, shard, ring, replicas=replicas)
    loss.backward()
    sum_gradients(model.parameters(), replicas)
    return loss.detach(), gradients(model)


def test_data_parallel_over_rings_counts_the_labels_of_all(pool):
    model = decoder()
    counts = [2 * 18, 2 * 31]
    losses = [plain_loss(model, tokens(19, seed=0)), plain_loss(model, tokens(32, seed=1))]
    expected = sum(loss * count for loss, count in zip(losses, counts, strict=True)) / sum(counts)
    expected.backward()
    for loss, found in pool(4).run(two_rings_on_rank):
        assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
        for name, gradient in gradients(model).items():
            torch.testing.assert_close(found[name], gradient, atol=1e-12, rtol=1e-9)


def peak_on_rank(length, vocab_size):
    ring, model = Ring(), decoder(torch.float32, vocab_size=vocab_size)
    shard = training_shard(tokens(length, 1, vocab_size), ring)
    with TensorMemory() as memory:
        loss = ring_loss(model, shard, ring, feed_forward_block=32, logits_chunk=32)
        loss.backward()
        sum_gradients(model.parameters(), ring)
    return memory.peak_bytes


def test_logits_of_the_sequence_are_never_in_memory(pool):
    length, vocabulary, world_size = 4096, 2048, 2
    weights = sum(parameter.nbytes for parameter in decoder(torch.float32, vocab_size=vocabulary).parameters())
    logits_of_a_rank = 4 * length // world_size * vocabulary
    for peak in pool(world_size).run(peak_on_rank, length, vocabulary):
        assert peak < logits_of_a_rank / 2
        assert peak > weights, "the gradients at least are counted"


def sums_on_rank(lengths, dtype):
    rank = dist.get_rank()
    vectors = [torch.randn(n, generator=torch.Generator().manual_seed(10 * rank + n)).to(dtype) for n in lengths]
    given = [vector.clone() for vector in vectors]
    return given, [sum_over_ranks_(vector, Ring()) for vector in vectors]


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_sums_over_ranks_are_sums_and_the_same_bits(pool, world_size):
    lengths = (0, 1, 2, 3, 7, 64, 1001)
    ranks = pool(world_size).run(sums_on_rank, lengths, torch.float64)
    for index in range(len(lengths)):
        expected = sum(given[index] for given, _ in ranks)
        for _, sums in ranks:
            torch.testing.assert_close(sums[index], expected, atol=1e-13, rtol=1e-13)
            assert torch.equal(sums[index], ranks[0][1][index])


def odd_gradients_on_rank():
    """A parameter without a gradient on rank 1, a frozen one, two types, one larger than a bucket."""
    rank = dist.get_rank()
    small, frozen, low, large = (
        torch.nn.Parameter(torch.zeros(n, dtype=dtype))
        for n, dtype in ((3, torch.float32), (2, torch.float32), (4, torch.bfloat16), (9_000_000, torch.float32))
    )
    frozen.requires_grad_(False)
    if rank == 0:
        small.grad = torch.full((3,), 2.0)
    low.grad = torch.full((4,), 1.0 if rank else 2.0**-9, dtype=torch.bfloat16)
    large.grad = torch.full((9_000_000,), float(rank + 1))
    sum_gradients([small, frozen, low, large], Ring())
    return small.grad, frozen.grad, low.grad, float(large.grad.min()), float(large.grad.max())


def test_gradients_of_every_kind_are_summed(pool):
    for small, frozen, low, least, most in pool(3).run(odd_gradients_on_rank):
        assert small.tolist() == [2.0] * 3
        assert frozen is None
        assert low.dtype == torch.bfloat16
        assert low.float().tolist() == [2.0] * 4  # 2 + 2^-9, rounded once
        assert (least, most) == (6.0, 6.0)


def differing_sums_on_rank():
    sum_over_ranks_(torch.zeros(3 + dist.get_rank()), Ring(time_limit=20.0), what="gradients")


def no_labels_on_rank():
    ring = Ring(time_limit=20.0)
    ring_loss(decoder(), training_shard(tokens(8), ring, labels=torch.full((2, 8), IGNORED)), ring)


def other_attention_on_rank():
    ring = Ring(time_limit=20.0)
    ring_loss(decoder(), training_shard(tokens(8), ring), ring, attention=full_attention)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (differing_sums_on_rank, "ranks differ in numbers: 0: 3, 1: 4"),
        (no_labels_on_rank, "labels: none counts"),
        (other_attention_on_rank, "attention: sees one shard only; a ring of 2 processes has its own"),
    ],
)
def test_every_rank_says_what_is_wrong(pool, function, words):
    for outcome in pool(2).outcomes(function):
        assert words in str(outcome.failure)


def test_the_decoder_keeps_its_own_settings():
    model = decoder()
    before = (model.attention, model.feed_forward, model.checkpoint)
    ring_loss(model, training_shard(tokens(9), Ring()), Ring()).backward()
    assert (model.attention, model.feed_forward, model.checkpoint) == before


@pytest.mark.parametrize("choice", [AttentionChoice("full"), AttentionChoice("blockwise", block_size=4)])
def test_a_ring_of_one_takes_attention_within_a_process(choice):
    """Windows and packed documents too; the choice really runs, which a count of its calls shows."""
    chosen, calls = choice.within_process(), []

    def counted(*tensors, **options):
        calls.append(options)
        return chosen(*tensors, **options)

    model, ids = decoder(window=5), documents(24)
    shard = training_shard(tokens(24), Ring(), segment_ids=ids)
    loss = ring_loss(model, shard, Ring(), attention=counted, checkpoint=False)
    assert loss.item() == pytest.approx(plain_loss(decoder(window=5), tokens(24), ids).item(), rel=1e-10)
    assert len(calls) == 2


def test_the_choice_of_attention():
    assert AttentionChoice("ring").within_process() is None
    AttentionChoice("ring").check_processes(8)
    AttentionChoice("full").check_processes(1)
    with pytest.raises(OctoberError, match="attention=full: works within one process; give num_processes=1"):
        AttentionChoice("full").check_processes(2)
    with pytest.raises(OctoberError, match=r"attention\.block_size=8: ring attention has no blocks to size"):
        AttentionChoice("ring", block_size=8)


@given(
    st.lists(st.lists(st.tuples(st.integers(-1, 3), st.integers(1, 4)), min_size=1, max_size=5), min_size=1, max_size=3)
)
def test_labels_and_positions_by_loops(rows):
    sequences = [list(itertools.chain.from_iterable([number] * size for number, size in row)) for row in rows]
    length = max(len(sequence) for sequence in sequences)
    ids = torch.tensor([sequence + [-1] * (length - len(sequence)) for sequence in sequences])
    token_ids = tokens(length, len(rows))
    labels, positions = next_tokens(token_ids, ids), document_positions(token_ids, ids)
    for row in range(len(rows)):
        place = -1
        for i in range(length):
            place = place + 1 if i and ids[row, i] == ids[row, i - 1] else 0
            follows = i + 1 < length and ids[row, i + 1] == ids[row, i] >= 0
            assert positions[row, i] == place
            assert labels[row, i] == (token_ids[row, i + 1] if follows else IGNORED)


def test_shapes_that_differ_are_named():
    with pytest.raises(OctoberError, match=r"labels: shape \(2, 4\) must be that of token_ids, \(2, 5\)"):
        training_shard(tokens(5), Ring(), labels=tokens(4))
    with pytest.raises(OctoberError, match="segment_ids: shape"):
        training_shard(tokens(5), Ring(), segment_ids=tokens(4))
