"""Section 2: through k layers with windows of W keys, the own one included, a token sees k (W - 1) + 1 positions."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_mistral import decoder_of, feed, texts_of

from october.attention.mistral import RollingBufferCache

pytestmark = pytest.mark.usefixtures("one_thread")


def influence(decoder, text):
    """How much each token's embedding changes the last state: the sizes of its gradients."""
    kept = []
    handle = decoder.embedding.register_forward_hook(lambda module, args, output: kept.append(output))
    last = decoder(torch.tensor([text]))[0, -1]
    handle.remove()
    direction = torch.randn(last.shape, generator=torch.Generator().manual_seed(0), dtype=last.dtype)
    (gradient,) = torch.autograd.grad(last @ direction, kept[0])
    return gradient[0].abs().amax(dim=1)


@settings(deadline=None, max_examples=15)
@given(window=st.integers(1, 6), num_layers=st.integers(1, 4), beyond=st.integers(0, 5))
def test_information_crosses_k_windows_and_no_more(window, num_layers, beyond):
    reach = num_layers * (window - 1) + 1
    sizes = influence(decoder_of((window,) * num_layers), texts_of([reach + beyond])[0])
    assert (sizes[:beyond] == 0).all()
    assert (sizes[beyond:] > 0).all()


def test_layers_of_different_windows_add_up():
    sizes = influence(decoder_of((3, 5, 2)), texts_of([20])[0])
    assert (sizes > 0).tolist() == [False] * (20 - (2 + 4 + 1 + 1)) + [True] * (2 + 4 + 1 + 1)


@pytest.mark.parametrize("chunk", [1, 2, 5, 13])
def test_through_rolling_buffers_too(chunk):
    """The first token within reach changes the last state, the one before it leaves every bit as it is."""
    decoder, (text,) = decoder_of((4, 4, 4)), texts_of([13])
    reach = 3 * 3 + 1

    def last_state(text):
        cache = RollingBufferCache(decoder.config, 1, len(text), dtype=torch.float64)
        for first in range(0, len(text), chunk):
            (states,) = feed(decoder, cache, [text[first : first + chunk]])
        return states[-1]

    changed = [list(text), list(text)]
    changed[0][-reach] = (text[-reach] + 1) % 29
    changed[1][-reach - 1] = (text[-reach - 1] + 1) % 29
    assert not torch.allclose(last_state(changed[0]), last_state(text), rtol=0, atol=1e-6)
    assert torch.equal(last_state(changed[1]), last_state(text))
