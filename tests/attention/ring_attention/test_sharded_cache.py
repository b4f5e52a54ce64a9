"""A prompt spread over ranks, continued: the same logits and tokens as one process that attends to everything."""

import itertools

import pytest
import torch
import torch.distributed as dist

from october.attention import DecoderConfig, Transformer, load_decoder
from october.attention.ring_attention import Ring, ShardedCache, ring_continue, shard, shard_positions
from october.attention.ring_attention.layouts import LAYOUTS
from october.attention.ring_attention.tensor_memory import TensorMemory
from october.errors import OctoberError
from october.language_models.embedded import embedded_folder

SHAPE = {
    "vocab_size": 50,
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_layers": 2,
    "num_heads": 4,
    "num_kv_heads": 2,
    "head_dim": 6,
    "max_positions": 512,
}


def decoder_of(windows):
    model = Transformer(DecoderConfig(**SHAPE, sliding_windows=windows), seed=3).double()
    for parameter in model.parameters():
        parameter.requires_grad_(False).mul_(4)  # sharper attention than at the start of training
    return model


def tokens(length, batch=2):
    return torch.randint(0, 50, (batch, length), generator=torch.Generator().manual_seed(length))


def states_in_passes(cases):
    """Pre-fill a shard, then give all ranks the rest in passes of several tokens."""
    rank, world = dist.get_rank(), dist.get_world_size()
    results = []
    for layout, prompt, windows, passes in cases:
        model, text = decoder_of(windows), tokens(prompt + sum(passes))
        cache = ShardedCache(Ring(), prompt, layout=layout)
        positions = shard_positions(prompt, rank, world, layout)[None].expand(2, -1)
        with torch.inference_mode():
            model(shard(text[:, :prompt], rank, world, layout), positions=positions, cache=cache)
            first, found = prompt, []
            for count in passes:
                found.append(model(text[:, first : first + count], cache=cache))
                first += count
        results.append(torch.cat(found, dim=1))
    return results


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_hidden_states_equal_full_attention(pool, world_size):
    shapes = [(20, (None, None), [1, 1, 1, 5, 2]), (13, (4, None), [3, 1, 7]), (2, (5, 3), [1, 1, 9])]
    cases = [(layout, *shape) for layout, shape in itertools.product(LAYOUTS, shapes)]
    results = pool(world_size).run(states_in_passes, cases)
    for index, (_, prompt, windows, passes) in enumerate(cases):
        expected = decoder_of(windows)(tokens(prompt + sum(passes)))[:, prompt:]
        for rank in range(world_size):
            torch.testing.assert_close(results[rank][index], expected, rtol=1e-10, atol=1e-10)


def continued(layout, prompt, windows, count):
    return ring_continue(decoder_of(windows), tokens(prompt), Ring(), max_new_tokens=count, layout=layout)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("windows", [(None, None), (6, None)])
def test_the_same_tokens_as_on_one_process(pool, layout, windows):
    text = tokens(17)
    model = decoder_of(windows)
    for _ in range(9):
        text = torch.cat([text, model.logits(model(text)[:, -1]).argmax(-1, keepdim=True)], dim=1)
    for found in pool(3).run(continued, layout, 17, windows, 9):
        assert torch.equal(found, text[:, 17:])


def kept_bytes():
    rank, world = dist.get_rank(), dist.get_world_size()
    cache = ShardedCache(Ring(), 64, layout="zigzag")
    positions = shard_positions(64, rank, world, "zigzag")[None].expand(2, -1)
    with torch.inference_mode():
        decoder_of((None, None))(shard(tokens(64), rank, world, "zigzag"), positions=positions, cache=cache)
    return cache.memory_bytes()


def test_each_rank_keeps_its_share(pool):
    whole = 2 * 2 * 2 * 2 * 64 * 6 * 8  # k and v, layers, batch, kv heads, tokens, head_dim, bytes
    assert pool(4).run(kept_bytes) == [whole // 4] * 4


def peak_of_prefill(length):
    """Return the most bytes alive on this rank while a prompt is pre-filled."""
    rank, world, decoder = dist.get_rank(), dist.get_world_size(), decoder_of((None, None))
    cache = ShardedCache(Ring(), length, layout="zigzag")
    positions = shard_positions(length, rank, world, "zigzag")[None].expand(2, -1)
    mine = shard(tokens(length), rank, world, "zigzag")
    with torch.inference_mode(), TensorMemory(*decoder.parameters()) as memory:
        held = memory.live_bytes
        decoder(mine, positions=positions, cache=cache)
    return memory.peak_bytes - held


def test_pre_filling_over_four_ranks_holds_a_fraction_of_what_one_rank_holds(pool):
    """Of keys, values and states a quarter; the ring adds the keys and values under way."""
    (alone,) = pool(1).run(peak_of_prefill, 512)
    assert max(pool(4).run(peak_of_prefill, 512)) < 0.4 * alone


def gemma_continued(folder, length):
    """Continue a prompt by a few tokens; return them with the logits from which they were chosen."""
    decoder, logits = load_decoder(folder), []
    ids = torch.randint(1000, 200_000, (1, length), generator=torch.Generator().manual_seed(0))

    def likeliest(found):
        logits.append(found)
        return found.argmax(-1)

    return ring_continue(decoder, ids, Ring(), max_new_tokens=3, choose=likeliest), torch.cat(logits)


@pytest.mark.gemma
def test_the_real_gemma_over_two_ranks(pool):
    """A prompt longer than its window of 512, in float32."""
    folder = embedded_folder("gemma3_270m")
    ((expected, logits),) = pool(1).run(gemma_continued, folder, 560)
    for tokens_of_rank, logits_of_rank in pool(2).run(gemma_continued, folder, 560):
        assert torch.equal(tokens_of_rank, expected)
        assert (logits_of_rank - logits).abs().max() < 1e-5 * logits.abs().max()


def test_mistakes():
    model = decoder_of((None, None))
    cache = ShardedCache(Ring(), 8)
    with torch.inference_mode():
        with pytest.raises(OctoberError, match=r"takes rank 0's 8 tokens of the prompt .* it got 7 tokens"):
            model(tokens(7), positions=torch.arange(7)[None].expand(2, -1), cache=cache)
        model(tokens(8), positions=torch.arange(8)[None].expand(2, -1), cache=cache)
        with pytest.raises(OctoberError, match="positions after the first pass"):
            model(tokens(1), positions=torch.tensor([[8], [8]]), cache=cache)
        with pytest.raises(OctoberError, match="texts of one length"):
            model(tokens(2), cache=cache, new_lengths=[1, 2])
    with pytest.raises(OctoberError, match="prompt_length=0"):
        ShardedCache(Ring(), 0)
    with pytest.raises(OctoberError, match="max_new_tokens=0"):
        ring_continue(model, tokens(3), Ring(), max_new_tokens=0)
