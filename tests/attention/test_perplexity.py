import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from october.attention import DecoderConfig, Transformer
from october.attention.perplexity import perplexity, token_losses
from october.errors import OctoberError

VOCABULARY = 13
CONFIG = DecoderConfig(VOCABULARY, 8, 12, 2, 2, 1, 4, max_positions=9, sliding_windows=(3, None))
DECODER = Transformer(CONFIG, seed=2).double()
for parameter in DECODER.parameters():
    if parameter.ndim > 1:
        parameter.data.mul_(20)


@given(st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=25), st.integers(1, 9))
def test_each_token_given_the_start_token_and_its_window(token_ids, window):
    """One token at a time, in float64."""
    expected = []
    for place, token in enumerate(token_ids):
        seen = [5, *token_ids[place - place % window : place]]
        with torch.no_grad():
            logits = DECODER.logits(DECODER(torch.tensor([seen]))[0, -1])
        expected.append(-torch.log_softmax(logits, dim=0)[token].item())
    losses = token_losses(DECODER, token_ids, start_id=5, window=window)
    assert losses.tolist() == pytest.approx(expected, abs=1e-5)
    mean = sum(expected) / len(expected)
    assert perplexity(DECODER, token_ids, start_id=5, window=window) == pytest.approx(math.exp(mean), rel=1e-5)


def test_bad_arguments_are_named():
    with pytest.raises(OctoberError, match="token_ids are empty"):
        perplexity(DECODER, [], start_id=5, window=4)
    for window in (0, 10):
        with pytest.raises(OctoberError, match=f"window={window}: must be from 1 to the decoder's context of 9"):
            token_losses(DECODER, [1], start_id=5, window=window)
