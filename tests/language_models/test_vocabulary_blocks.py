import pytest
import torch
from torch import nn

from october.language_models import vocabulary_blocks
from october.language_models.vocabulary_blocks import gains_from_blocks, products_by_blocks, scores_by_blocks


@pytest.mark.parametrize("states", [1, 8, 9, 16, 21])
@pytest.mark.parametrize("size", [7, 16, 50, 64])
@pytest.mark.parametrize("cap", [None, 2.0])
def test_scores_are_those_of_all_logits(monkeypatch, states, size, cap):
    monkeypatch.setattr(vocabulary_blocks, "_BLOCK", size)
    monkeypatch.setattr(vocabulary_blocks, "_SMALLEST_BLOCK", 1)
    generator = torch.Generator().manual_seed(0)
    weight, hidden = torch.randn(50, 16, generator=generator), torch.randn(states, 16, generator=generator)
    capped = (lambda logits: cap * torch.tanh(logits / cap)) if cap else (lambda logits: logits)
    places = torch.randint(states, (40,), generator=generator)
    logits = capped(hidden.double() @ weight.double().T)
    targets = torch.randint(50, (40,), generator=generator)
    targets[:9] = logits.argmax(dim=-1)[places[:9]]
    values, likeliest = scores_by_blocks(weight, hidden, targets, places, capped)
    expected = logits.log_softmax(dim=-1)[places, targets]
    torch.testing.assert_close(values.double(), expected, atol=1e-5, rtol=0)
    assert torch.equal(likeliest, logits.argmax(dim=-1)[places] == targets)
    torch.testing.assert_close(products_by_blocks(weight, hidden), hidden @ weight.T)


def test_a_large_vocabulary_is_summed_exactly():
    generator = torch.Generator().manual_seed(0)
    weight, hidden = torch.randn(262_144, 4, generator=generator), 3 * torch.randn(9, 4, generator=generator)
    targets, places = torch.tensor([3, 262_143, 100_000, 3]), torch.tensor([0, 1, 2, 2])
    values, _ = scores_by_blocks(weight, hidden, targets, places)
    exact = (hidden.double() @ weight.double().T).log_softmax(dim=-1)[places, targets]
    assert (values - exact).abs().max() < 5e-6


def test_only_plain_heads_in_float32_gain(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert gains_from_blocks(nn.Linear(4, 8, bias=False))
    assert not gains_from_blocks(nn.Linear(4, 8))
    assert not gains_from_blocks(nn.Linear(4, 8, bias=False, dtype=torch.bfloat16))
    assert not gains_from_blocks(nn.Sequential(nn.Linear(4, 8, bias=False)))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert not gains_from_blocks(nn.Linear(4, 8, bias=False))
