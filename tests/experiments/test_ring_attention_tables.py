"""What the measured tables of ring attention compute from their measurements."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from october.experiments.ring_attention._longest import longest_context
from october.experiments.ring_attention._ring_common import Heads, attention_peaks, drawn
from october.experiments.ring_attention.exactness import Setting, allowed_pairs, dense_reference
from october.experiments.ring_attention.max_context import BASELINES, evidence
from october.experiments.ring_attention.memory import feed_forward_peaks
from october.experiments.ring_attention.overlap import expected_share, share_of


@given(
    fixed=st.integers(0, 10_000),
    a_token=st.integers(10, 50),
    a_pair=st.integers(0, 3),
    budget=st.integers(1, 50_000),
    step=st.sampled_from([1, 8, 60]),
)
def test_the_longest_context_is_that_of_a_search_by_hand(fixed, a_token, a_pair, budget, step):
    def peak(length):
        return fixed + a_token * length + a_pair * length**2

    found = longest_context(peak, budget, step, start=64, longest_run=10**7)
    by_hand = 0
    while peak(by_hand + step) <= budget:
        by_hand += step
    assert (found.context, found.extrapolated) == (by_hand, False)
    assert found.peaks == {length: peak(length) for length in found.peaks}


def test_no_step_is_run_far_above_what_fits():
    lengths = []

    def peak(length):
        lengths.append(length)
        return max(3000, 1000 + 10 * length)  # what does not grow hides what does, up to 200 tokens

    assert longest_context(peak, 9999, step=8, start=64, longest_run=10**7).context == 896
    assert lengths == [64, 128, 256, 512, 896, 904]


def test_beyond_the_longest_run_memory_is_taken_as_a_line():
    lengths = []

    def peak(length):
        lengths.append(length)
        return 1000 + 10 * length

    found = longest_context(peak, 50_000, step=8, start=64, longest_run=500)
    assert (found.context, found.extrapolated) == (4896, True)  # 4,900, in steps
    assert lengths == [64, 128, 256, 496]


@pytest.mark.parametrize(("step", "start", "longest_run"), [(8, 64, 64), (6144, 8192, 6144), (2048, 8192, 6144)])
def test_two_lengths_are_run_before_a_line_is_drawn_and_none_beyond_the_longest(step, start, longest_run):
    found = longest_context(lambda length: 1000 + 10 * length, 10**6, step, start, longest_run)
    assert (found.context, found.extrapolated) == (99_900 // step * step, True)
    assert len(found.peaks) >= 2
    assert max(found.peaks) <= max(2 * step, longest_run)


def longest(context, *, extrapolated=False):
    return {"context": context, "extrapolated": extrapolated, "peaks": []}


def test_claims_on_contexts_look_at_measured_ones_alone():
    contexts = {(method, 1): longest(100) for method in BASELINES}
    contexts |= {("ring", size): longest(90 * size) for size in (1, 2, 4)}
    contexts["ring", 8] = longest(10**6, extrapolated=True)
    decided = evidence(contexts, [1, 2, 4, 8], 1)
    assert decided["slope of log measured context over log processes"].value == pytest.approx(1)
    assert decided["measured context over the best baseline's, per process"].value == pytest.approx(0.9)


def test_without_measured_contexts_no_claim_is_decided():
    contexts = {(method, 1): longest(100) for method in BASELINES}
    rings = {("ring", size): longest(90 * size, extrapolated=True) for size in (1, 2)}
    assert evidence({**contexts, **rings}, [1, 2], 1) == {}
    measured = {("ring", size): longest(90 * size) for size in (1, 2)}
    beyond = {("vanilla", 1): longest(100, extrapolated=True)}
    assert [*evidence({**contexts, **beyond, **measured}, [1, 2], 1)] == [
        "slope of log measured context over log processes"
    ]


def test_what_is_extrapolated_is_a_bound_from_above():
    """A floor that hides what grows on the shorter of the two lengths makes the line too flat."""

    def peak(length):
        return max(8_000, 1000 + 10 * length)

    assert longest_context(peak, 50_000, step=8, start=64, longest_run=10**4).context == 4896
    flat = longest_context(peak, 50_000, step=8, start=304, longest_run=1000)
    assert flat.extrapolated
    assert flat.context > 4896


def test_the_gradient_of_the_output_counts_once_and_only_in_the_backward_pass():
    *inputs, grad_output = drawn(0, 64, Heads(1, 1, 8), torch.float32)
    inputs = [tensor.requires_grad_() for tensor in inputs]
    unit = grad_output.nbytes
    peaks = attention_peaks(lambda: inputs[0] + inputs[1] + inputs[2], inputs, grad_output)
    assert peaks["forward"] == 5 * unit  # the inputs, a sum, and the sum of sums
    assert peaks["backward"] == 5 * unit  # the inputs, the output and its gradient, which all inputs share


def test_weights_of_a_feed_forward_network_do_not_count():
    heads = Heads(2, 2, 8)
    tokens, unit = 32, 32 * 16 * 4  # of the smaller layers, in bytes
    peaks = feed_forward_peaks(tokens, heads, None)
    assert peaks == {"feed-forward forward": (1 + 4 + 4 + 1) * unit, "feed-forward backward": (10 + 1 + 4) * unit}


def test_waiting_by_formula_is_that_of_a_ring_simulated_round_by_round():
    for world_size in (2, 3, 8):
        for ratio in (0.25, 0.5, 0.9, 1.0, 4.0):
            work, transfer, clock, waited = 1.0, 1 / ratio, 0.0, 0.0
            for round_ in range(world_size):
                arrives = clock + transfer
                clock += work
                if round_ < world_size - 1:
                    waited += max(0.0, arrives - clock)
                    clock = max(clock, arrives)
            assert math.isclose(expected_share(ratio, world_size), waited / clock, abs_tol=1e-12)


def test_the_share_of_waiting_counts_waits_and_not_what_is_under_way():
    spans = [
        ["compute", 0, 10.0, 14.0],
        ["waiting for keys and values", 1, 14.0, 15.0],
        ["keys and values", 1, 10.0, 15.0],
        ["compute", 1, 15.0, 20.0],
    ]
    assert share_of(spans) == pytest.approx(0.1)


@pytest.mark.parametrize("mask", ["causal", "not causal", "window", "packed"])
def test_the_dense_reference_is_attention_pair_by_pair(mask):
    setting = Setting("float64", mask, "contiguous", 3, 11, Heads(4, 2, 3), 4)
    query, key, value, _ = drawn(3, 11, setting.heads, torch.float64)
    output, allowed = dense_reference(setting)[0], allowed_pairs(setting)[0]
    for head in range(4):
        for i in range(11):
            seen = [j for j in range(11) if allowed[i, j]]
            scores = [float(query[0, head, i] @ key[0, head // 2, j]) / math.sqrt(3) for j in seen]
            weights = [math.exp(score) for score in scores]
            for d in range(3):
                mixed = sum(w * float(value[0, head // 2, j, d]) for w, j in zip(weights, seen, strict=True))
                expected = mixed / sum(weights) if seen else 0.0
                assert float(output[0, head, i, d]) == pytest.approx(expected, abs=1e-12)


def test_masks_allow_the_pairs_that_their_names_say():
    def pairs(mask):
        return allowed_pairs(Setting("float64", mask, "contiguous", 1, 20, Heads(1, 1, 2), 4))[0]

    assert [int(row.sum()) for row in pairs("causal")] == list(range(1, 21))
    assert [int(row.sum()) for row in pairs("window")] == [1, 2, 3] + [4] * 17
    assert pairs("not causal").all()
    packed = pairs("packed")
    ids = Setting("float64", "packed", "contiguous", 1, 20, Heads(1, 1, 2), 4).segment_ids[0].tolist()
    assert min(ids) == -1
    for i in range(20):
        for j in range(20):
            assert bool(packed[i, j]) == (j <= i and ids[i] == ids[j] and ids[i] >= 0)
