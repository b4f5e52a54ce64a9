import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from october.errors import OctoberError
from october.retrieval.ra_dit import divergence, entropy, log_distribution, lsr_loss, lsr_scores

KINDS = ("probability", "mean_log_probability", "sum_log_probability")
ROWS = st.integers(1, 4)
CHUNKS = st.integers(1, 7)


def drawn(rows, chunks, seed):
    """Log-likelihoods and token counts of answers; some rows have fewer chunks."""
    generator = np.random.default_rng(seed)
    tokens = generator.integers(1, 9, (rows, chunks))
    values = -generator.exponential(2.0, (rows, chunks)) * tokens
    for row in range(rows):
        values[row, generator.integers(1, chunks + 1) :] = -math.inf
    return values, tokens


def brute_score(value, tokens, kind):
    return {"probability": math.exp(value), "mean_log_probability": value / tokens, "sum_log_probability": value}[kind]


def brute_distribution(scores, temperature):
    """In exact enough numbers, straight from Eq. 4, shifted so that nothing overflows."""
    highest = max(scores)
    weights = [math.exp((score - highest) / temperature) for score in scores]
    return [weight / math.fsum(weights) for weight in weights]


def brute_divergence(p, q):
    return math.fsum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


@given(ROWS, CHUNKS, st.integers(0, 1000), st.sampled_from(KINDS), st.sampled_from([0.5, 1.0, 7.0]))
def test_distributions_entropies_and_divergences_equal_brute_force(rows, chunks, seed, kind, temperature):
    values, tokens = drawn(rows, chunks, seed)
    retriever = np.random.default_rng(seed + 1).standard_normal((rows, chunks))
    scores = lsr_scores(torch.from_numpy(values), torch.from_numpy(tokens), kind)
    lsr = log_distribution(scores, temperature)
    own = log_distribution(torch.from_numpy(np.where(np.isinf(values), -np.inf, retriever)))
    expected = {"retriever_to_lm": [], "lm_to_retriever": []}
    for row in range(rows):
        there = [c for c in range(chunks) if math.isfinite(values[row, c])]
        p = brute_distribution([brute_score(values[row, c], tokens[row, c], kind) for c in there], temperature)
        r = brute_distribution([retriever[row, c] for c in there], 1.0)
        assert lsr[row, there].exp().tolist() == pytest.approx(p, rel=1e-12)
        assert lsr[row].exp().sum().item() == pytest.approx(1.0, rel=1e-12)
        assert entropy(lsr[row]).item() == pytest.approx(-math.fsum(x * math.log(x) for x in p if x), abs=1e-12)
        expected["retriever_to_lm"].append(brute_divergence(r, p))
        expected["lm_to_retriever"].append(brute_divergence(p, r))
    for direction, divergences in expected.items():
        assert lsr_loss(own, lsr, direction).item() == pytest.approx(np.mean(divergences), abs=1e-12)


@pytest.mark.parametrize("direction", ["retriever_to_lm", "lm_to_retriever"])
def test_gradients_are_right_where_rows_have_fewer_chunks(direction):
    values, tokens = drawn(3, 5, seed=3)
    nothing = torch.from_numpy(np.isinf(values))
    assert nothing.any()
    lsr = log_distribution(lsr_scores(torch.from_numpy(values), torch.from_numpy(tokens), "mean_log_probability"))
    retriever = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)

    def loss(scores):
        return lsr_loss(log_distribution(scores.masked_fill(nothing, -math.inf), 0.5), lsr, direction)

    assert torch.autograd.gradcheck(loss, retriever)
    loss(retriever).backward()
    assert (retriever.grad[nothing] == 0).all()
    assert (retriever.grad[~nothing] != 0).any()


def test_the_printed_score_is_flat_for_long_answers():
    values = torch.tensor([[-42.0, -50.0, -57.0, -63.0, -70.0]])
    tokens = torch.full((1, 5), 50)
    printed = log_distribution(lsr_scores(values, tokens, "probability"), 0.01)
    assert entropy(printed).item() == pytest.approx(math.log(5))
    means = log_distribution(lsr_scores(values, tokens, "mean_log_probability"), 0.01)
    assert entropy(means).item() < 0.01
    sums = log_distribution(lsr_scores(values, tokens, "sum_log_probability"), 0.01)
    assert torch.isfinite(sums).all()
    assert sums[0].tolist() == pytest.approx([0.0, -800.0, -1500.0, -2100.0, -2800.0])


def test_directions_differ_and_vanish_together():
    p, q = (log_distribution(torch.tensor(scores)) for scores in ([0.0, 1.0, 3.0], [2.0, 0.5, 0.0]))
    assert divergence(p, q).item() != pytest.approx(divergence(q, p).item(), rel=1e-3)
    assert divergence(p, p).item() == 0.0


def test_bad_arguments_are_named():
    ones = torch.ones(2, 3)
    with pytest.raises(OctoberError, match="score='prob': must be one of probability, mean_log_probability"):
        lsr_scores(ones, ones.long(), "prob")
    with pytest.raises(OctoberError, match="temperature=0: must be above 0"):
        log_distribution(ones, 0)
    with pytest.raises(OctoberError, match="a row has no chunk"):
        log_distribution(torch.full((1, 3), -math.inf))
    with pytest.raises(OctoberError, match="direction='both': must be one of retriever_to_lm, lm_to_retriever"):
        lsr_loss(ones, ones, "both")
