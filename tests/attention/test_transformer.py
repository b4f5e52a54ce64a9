from dataclasses import replace

import pytest
import torch

from october.attention import DecoderConfig, DenseCache, RopeScaling, Transformer, full_attention
from october.errors import OctoberError

pytestmark = pytest.mark.usefixtures("one_thread")

PLAIN = DecoderConfig(
    vocab_size=29, hidden_size=16, intermediate_size=24, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=6
)
GEMMA_LIKE = replace(
    PLAIN,
    num_layers=3,
    activation="gelu_tanh",
    norm_offset=1.0,
    sliding_windows=(3, None, 3),
    rope_bases=(10_000.0, 1_000_000.0, 10_000.0),
    embedding_scale=4.0,
    tie_embeddings=True,
    qk_norm=True,
    post_norms=True,
    attention_scale=0.3,
)


def tokens(batch, sequence, seed=0):
    return torch.randint(29, (batch, sequence), generator=torch.Generator().manual_seed(seed))


def gradients(decoder, loss):
    decoder.zero_grad()
    loss.backward()
    return {name: weight.grad.clone() for name, weight in decoder.named_parameters()}


@pytest.mark.parametrize("config", [PLAIN, GEMMA_LIKE])
def test_gradients(config):
    """Of every weight: the derivative along a random direction, against differences of losses in float64."""
    decoder = Transformer(config, seed=3).double()
    token_ids, aim = tokens(2, 7), torch.randn(2, 7, 29, dtype=torch.float64)

    def loss():
        return (decoder.logits(decoder(token_ids)) * aim).sum()

    found = gradients(decoder, loss())
    for name, weight in decoder.named_parameters():
        direction = torch.randn_like(weight)
        with torch.no_grad():
            weight += 1e-6 * direction
            above = loss()
            weight -= 2e-6 * direction
            below = loss()
            weight += 1e-6 * direction
        slope = (above - below).item() / 2e-6
        assert (found[name] * direction).sum().item() == pytest.approx(slope, rel=1e-5, abs=1e-6), name


@pytest.mark.parametrize("config", [PLAIN, GEMMA_LIKE])
def test_blockwise_feed_forward_and_recomputation_change_nothing(config):
    token_ids, aim = tokens(2, 11), torch.randn(2, 11, 29, dtype=torch.float64)
    calls = []

    def noting(*heads, **settings):
        calls.append(settings)
        return full_attention(*heads, **settings)

    def in_blocks(module, hidden):
        return torch.cat([module(block) for block in hidden.split(4, dim=1)], dim=1)

    plain = Transformer(config, seed=1).double()
    other = Transformer(config, noting, in_blocks, checkpoint=True, seed=1).double()
    logits, same = plain.logits(plain(token_ids)), other.logits(other(token_ids))
    torch.testing.assert_close(same, logits, atol=1e-12, rtol=0)
    assert [call["sliding_window"] for call in calls] == list(config.sliding_windows)
    assert {call["scale"] for call in calls} == {config.scale}
    expected, found = gradients(plain, (logits * aim).sum()), gradients(other, (same * aim).sum())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-10, rtol=1e-10)
    assert len(calls) == 2 * config.num_layers, "each layer is computed again for the backward pass"


def test_recomputation_keeps_one_state_per_layer():
    saved = {}
    for checkpoint in (False, True):
        decoder, count = Transformer(PLAIN, checkpoint=checkpoint), []

        def note(tensor, count=count):
            count.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            decoder(tokens(1, 50))
        saved[checkpoint] = sum(count)
    states = (PLAIN.num_layers + 3) * 50 * PLAIN.hidden_size + 4 * 50  # layers' inputs, and the final norm's
    assert saved[True] <= states < 10 * states <= saved[False]


def test_packed_documents_equal_documents_apart():
    """Rotary products depend on distances, so a document in mid-sequence needs no positions of its own."""
    decoder = Transformer(GEMMA_LIKE, seed=2)
    first, second = tokens(1, 6, seed=1), tokens(1, 9, seed=2)
    packed = decoder(torch.cat([first, second], 1), segment_ids=torch.tensor([[4] * 6 + [1] * 9]))
    apart = torch.cat([decoder(first), decoder(second)], 1)
    torch.testing.assert_close(packed, apart, atol=1e-5, rtol=1e-5)


def test_positions_given_are_the_places_of_the_tokens():
    """A process that holds tokens 3, 4, ... of a text and is handed all keys gets the hidden states of those places."""
    decoder, token_ids = Transformer(PLAIN, seed=2), tokens(1, 9)
    whole = decoder(token_ids)
    torch.testing.assert_close(decoder(token_ids, positions=torch.arange(100, 109)[None]), whole, atol=1e-5, rtol=1e-5)
    doubled = decoder(token_ids, positions=2 * torch.arange(9)[None])
    assert (doubled - whole)[:, 1:].abs().max() > 1e-3, "distances count"


def test_information_crosses_the_window_once_per_layer():
    """A token is seen W - 1 places further by each layer, and no further."""
    config = replace(PLAIN, num_layers=3, sliding_windows=(4,))
    decoder, token_ids = Transformer(config, seed=5), tokens(1, 20)
    changed = token_ids.clone()
    changed[0, 2] = (changed[0, 2] + 1) % 29
    moved = (decoder(changed) - decoder(token_ids))[0].abs().amax(dim=1) > 0
    assert moved.nonzero()[:, 0].tolist() == list(range(2, 2 + 3 * (4 - 1) + 1))


def test_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    one = Transformer(GEMMA_LIKE, seed=7).state_dict()
    torch.manual_seed(2)
    same, other = Transformer(GEMMA_LIKE, seed=7).state_dict(), Transformer(GEMMA_LIKE, seed=8).state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["layers.1.feed_forward.up.weight"], other["layers.1.feed_forward.up.weight"])
    large = Transformer(replace(PLAIN, hidden_size=256, intermediate_size=512))
    assert large.layers[0].feed_forward.up.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert large.layers[0].feed_forward.down.weight.std().item() == pytest.approx(0.02 / 2, rel=0.02)
    assert large.norm.weight.tolist() == [1.0] * 256
    assert one["norm.weight"].tolist() == [0.0] * 16, "with the offset 1 of the config"


def test_bfloat16_follows_float32():
    decoder, token_ids = Transformer(GEMMA_LIKE, seed=2), tokens(2, 12)
    expected = decoder(token_ids)
    found = decoder.bfloat16()(token_ids)
    assert found.dtype == torch.bfloat16
    assert ((found.float() - expected).norm() / expected.norm()).item() < 0.03


def test_one_value_serves_all_layers():
    config = replace(PLAIN, sliding_windows=(7,), rope_scalings=(RopeScaling("linear", 2.0),))
    assert config.sliding_windows == (7, 7)
    assert config.rope_bases == (10_000.0, 10_000.0)
    assert config.rope_scalings[1].factor == 2.0
    assert PLAIN.scale == pytest.approx(6**-0.5)


def test_bad_configs_are_named():
    for changes, words in [
        ({"num_layers": 0}, "num_layers=0: must be a whole number, at least 1"),
        ({"hidden_size": 2.5}, "hidden_size=2.5"),
        ({"vocab_size": True}, "vocab_size=True"),
        ({"num_kv_heads": 3}, "num_heads=4: must be a multiple of num_kv_heads=3"),
        ({"head_dim": 5}, "head_dim=5: must be even"),
        ({"activation": "relu"}, "activation=relu: must be one of silu, gelu_tanh"),
        ({"sliding_windows": (0,)}, "sliding_windows=0: must be a whole number"),
        ({"sliding_windows": (1, 2, 3)}, "sliding_windows has 3 values: give one, or one for each of 2 layers"),
        ({"rope_bases": ()}, "rope_bases has 0 values"),
        ({"rope_bases": (1e4, -1.0)}, "rope_bases=-1.0: must be above 0"),
        ({"norm_epsilon": 0.0}, "norm_epsilon=0.0"),
    ]:
        with pytest.raises(OctoberError, match=words):
            replace(PLAIN, **changes)


def test_bad_arguments_are_named():
    decoder = Transformer(PLAIN)
    with pytest.raises(OctoberError, match=r"token_ids have shape \(3,\): must be \[batch, sequence\]"):
        decoder(torch.zeros(3, dtype=torch.long))
    with pytest.raises(OctoberError, match="segment_ids with a cache"):
        decoder(tokens(1, 3), segment_ids=torch.zeros(1, 3), cache=DenseCache(PLAIN, 1, 4))
    with pytest.raises(OctoberError, match="new_lengths without a cache"):
        decoder(tokens(1, 3), new_lengths=[2])
