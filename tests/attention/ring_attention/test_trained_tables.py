"""The parts of Ring Attention's two trained tables: their text, how it is cut, the ranks' places, what they measure."""

import itertools

import pytest
import torch

from october.attention.ring_attention import AttentionChoice
from october.errors import OctoberError
from october.experiments.ring_attention import _long_documents as documents
from october.experiments.ring_attention import retrieval, training
from october.experiments.ring_attention._small_decoder import Shape, rings_of


def test_training_windows_are_pieces_of_the_training_text_drawn_by_the_seed():
    text = "".join(documents.wikipedia_documents()[0]).encode()
    first, again, other = (next(documents.training_windows(seed, 3, 50)) for seed in (1, 1, 2))
    assert all(bytes(window.tolist()) in text for window in first)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_held_out_windows_predict_each_byte_once_whatever_the_context():
    windows, owners = documents.held_out_windows(5, 513)
    assert len(windows) == len(owners)
    for owner in set(owners):
        parts = [windows[i] for i, each in enumerate(owners) if each == owner]
        predicted = b"".join(bytes(part[1:].tolist()) for part in parts)
        document = documents.wikipedia_documents()[1][owner].encode()
        assert document[1:].startswith(predicted)
        assert len(document) - 1 - len(predicted) < 512
    for context in (128, 256, 512):
        tokens, labels = training.cut(windows, context)
        assert tokens.shape[1] == context
        assert torch.equal(labels.flatten(), windows[:, 1:].flatten())
        assert torch.equal(tokens[:, 1:], labels[:, :-1])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: documents.held_out_windows(10_000, 10), "num_documents=10000: there are"),
        (lambda: documents.held_out_windows(3, 10**6), "context=999999: fewer than two held-out documents"),
        (lambda: next(documents.training_windows(0, 1, 10**9)), "context=999999999: the training text has"),
        (lambda: training.ring_sizes(6), "num_processes=6: must be 2, 4, 8"),
        (lambda: Shape(40, 40, 1, 16), "hidden_size=40: must be a multiple of head_dim=16"),
    ],
)
def test_mistakes_are_named(call, words):
    with pytest.raises(OctoberError, match=words):
        call()


def shares_on_rank(ring_size):
    rings = rings_of(ring_size)
    return rings.own.world_size, rings.own.rank, rings.share(torch.arange(8)[:, None]).flatten().tolist()


@pytest.mark.parametrize("ring_size", [1, 2, 4])
def test_rings_divide_the_sequences(pool, ring_size):
    places = pool(4).run(shares_on_rank, ring_size)
    assert [place[:2] for place in places] == [(ring_size, rank % ring_size) for rank in range(4)]
    rings = [share for size, rank, share in places if rank == 0]
    assert sorted(itertools.chain.from_iterable(rings)) == list(range(8))
    assert all(share == rings[rank // ring_size] for rank, (_, _, share) in enumerate(places))


def test_the_held_out_loss_does_not_depend_on_how_the_context_is_spread(pool):
    """The same untrained decoder, read at one context by rings of 4 and by rings of 1."""
    spread, alone = (pool(4).run(untrained_bits, size)[0] for size in (4, 1))
    assert spread == pytest.approx(alone, rel=1e-5)
    assert len(spread) == 2
    assert all(6 < bits < 10 for bits in spread)


def untrained_bits(ring_size):
    decoder = Shape(32, 32, 1, 32).decoder(documents.VOCABULARY, 256, seed=0)
    return training.bits_by_document(decoder, rings_of(ring_size), 256, 256, 2)


def test_the_largest_difference_is_over_steps_and_sizes():
    equal = {1: [[3.0, 2.0]], 2: [[3.0, 2.25]], 4: [[2.875, 2.0]]}
    assert training.largest_difference(equal, 0) == 0.25


def test_stages_double_up_to_the_longest():
    assert retrieval.stages(9) == (9,)
    assert retrieval.stages(72) == (9, 18, 36, 72)
    assert retrieval.stages(99) == (9, 18, 36, 72, 99)


def small_course(attention=None, **more):
    given = {"contexts": (9,), "measured": (9,), "most_steps": 1, "final_steps": 1, **more}
    return retrieval.Course(
        retrieval.LineRetrieval(10, 3),
        Shape(16, 16, 1, 16),
        attention or AttentionChoice("ring"),
        tokens_per_step=90,
        learning_rate=0.01,
        low_loss=0.1,
        **given,
    )


def trained_on_rank(attention):
    course = small_course(attention, contexts=(9, 45), measured=(45,), most_steps=3, final_steps=2)
    decoder, steps = retrieval.train(course, retrieval.Ring(), seed=0)
    answers = retrieval.right_answers(decoder, retrieval.Ring(), course, 45, 19, torch.Generator().manual_seed(5))
    return torch.cat([weight.detach().flatten() for weight in decoder.parameters()]), steps, answers


def test_every_choice_of_attention_trains_the_same_decoder(pool):
    """One process with full or blockwise attention, and a ring of two by two layouts."""
    weights, steps, answers = pool(1).run(trained_on_rank, AttentionChoice("full"))[0]
    for size, choice in (
        (1, AttentionChoice("blockwise", block_size=16)),
        (2, AttentionChoice("ring")),
        (2, AttentionChoice("ring", layout="striped")),
    ):
        for other, other_steps, other_answers in pool(size).run(trained_on_rank, choice):
            assert torch.allclose(other, weights, atol=1e-4), (choice, float((other - weights).abs().max()))
            assert other_steps == steps == {"9": 3, "45": 5}
            assert other_answers == answers


def right_on_rank():
    """A decoder that always says the first content."""
    course = small_course()
    decoder = course.shape.decoder(course.task.vocab_size, 45, seed=0)
    with torch.no_grad():
        decoder.norm.weight.zero_()
    decoder.logits = lambda hidden: torch.eye(course.task.vocab_size)[12].expand(len(hidden), -1)
    generators = (torch.Generator().manual_seed(5) for _ in range(2))
    answers = retrieval.right_answers(decoder, retrieval.Ring(), course, 45, 19, next(generators))
    _, labels = course.task.sequences(45, 2, next(generators))
    return answers, labels


def test_answers_are_judged_one_by_one_and_in_order(pool):
    for answers, labels in pool(4).run(right_on_rank):
        asked = labels[labels >= 0]
        assert len(answers) == 19
        assert answers[: len(asked)] == (asked == 12).int().tolist()
