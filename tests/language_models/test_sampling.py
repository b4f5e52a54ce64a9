from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from october.language_models.sampling import likeliest_tokens, next_tokens, row_generators


def nucleus(probabilities: list[float], top_p: float) -> dict[int, float]:
    """The renormalised nucleus by the definition: likeliest first, until `top_p` is reached."""
    kept: dict[int, float] = {}
    for index in sorted(range(len(probabilities)), key=lambda i: -probabilities[i]):
        kept[index] = probabilities[index]
        if sum(kept.values()) >= top_p:
            break
    return {index: value / sum(kept.values()) for index, value in kept.items()}


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (1.0, 0.7), (2.0, 0.5)])
def test_frequencies_follow_the_tempered_nucleus(temperature: float, top_p: float) -> None:
    logits = torch.tensor([1.0, 0.2, -0.5, 2.0, 0.0])
    expected = nucleus(torch.softmax(logits / temperature, dim=-1).tolist(), top_p)
    rows = 4000
    tokens = next_tokens(logits.expand(rows, -1), temperature, top_p, row_generators(["same"] * rows, seed=0))
    counts = Counter(tokens.tolist())
    assert set(counts) == set(expected)
    for token, probability in expected.items():
        assert counts[token] / rows == pytest.approx(probability, abs=0.03)


@settings(deadline=None, max_examples=30)
@given(
    logits=st.lists(st.floats(-30, 30), min_size=1, max_size=20),
    temperature=st.floats(0.01, 5),
    top_p=st.floats(0.01, 1),
    seed=st.integers(0, 10**6),
)
def test_a_sample_lies_in_the_nucleus(logits: list[float], temperature: float, top_p: float, seed: int) -> None:
    probabilities = torch.softmax(torch.tensor([logits]).double() / temperature, dim=-1)[0].tolist()
    (token,) = next_tokens(torch.tensor([logits]), temperature, top_p, row_generators(["p"], seed)).tolist()
    boundary = min(1.0, top_p + 1e-9)  # a tie at the boundary may fall on either side
    assert token in nucleus(probabilities, boundary) or (probabilities[token] > 0.0 and top_p > 0.999)


def test_temperature_zero_takes_the_likeliest() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 3.0, 1.0]])
    assert next_tokens(logits, 0.0, 0.1, row_generators(["a", "b"], 0)).tolist() == [1, 0]


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(1, 4),
    vocabulary=st.sampled_from([1, 7, 64, 100, 128, 320, 1000, 1536, 32000]),
    levels=st.integers(1, 5),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float64]),
    strided=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_the_likeliest_token_is_the_first_of_its_equals(rows, vocabulary, levels, dtype, strided, seed) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randint(-levels, levels, (rows, vocabulary), generator=generator).to(dtype)
    if strided:
        logits = logits.T.contiguous().T
    expected = [row.index(max(row)) for row in logits.tolist()]
    assert likeliest_tokens(logits).tolist() == expected


def test_rows_of_minus_infinity_and_of_what_is_no_number() -> None:
    logits = torch.full((2, 512), -torch.inf)
    logits[1, 300] = torch.nan
    assert likeliest_tokens(logits).tolist() == [0, 300]
