"""Prompts over several processes: rolling caches that stay spread, or are gathered, go on as one process would."""

import itertools
from functools import lru_cache

import pytest
import torch
import torch.distributed as dist
from one_line import one_line
from tiny_mistral import decoder_of, texts_of, whole

from october.attention.mistral import RollingBufferCache, gather_rolling_cache, ring_prefill
from october.attention.ring_attention import LAYOUTS, Ring
from october.errors import OctoberError

WINDOWS = ((6,), (4, None, 9), (1, 5))


def prompts(length):
    return torch.tensor(texts_of([length, length], seed=length))


def continued(decoder, state, cache, count):
    """The likeliest tokens, one after the other."""
    tokens = [decoder.logits(state).argmax(-1)]
    while len(tokens) < count:
        state = decoder(tokens[-1][:, None], cache=cache)[:, -1]
        tokens.append(decoder.logits(state).argmax(-1))
    return torch.stack(tokens, dim=1)


@lru_cache
def on_one_process(windows, length, count):
    """Greedy tokens without any cache."""
    decoder, text = decoder_of(windows), prompts(length)
    for _ in range(count):
        text = torch.cat([text, decoder.logits(decoder(text)[:, -1]).argmax(-1)[:, None]], dim=1)
    return text[:, length:]


def spread_and_gathered(cases, count):
    """Continue on all ranks; then gather half-way and go on from there, and gather right after the pre-fill."""
    found = []
    with torch.inference_mode():
        for windows, length, layout in cases:
            decoder, ring = decoder_of(windows), Ring()
            state, cache = ring_prefill(decoder, prompts(length), ring, layout=layout)
            early = gather_rolling_cache(cache, decoder.config, rank=ring.world_size - 1, capacity=length + count)
            spread = continued(decoder, state, cache, count)
            late = gather_rolling_cache(cache, decoder.config)
            found.append((state, spread, early and continued(decoder, state, early, count)))
            if late is not None:
                again = decoder(spread[:, -1:], cache=late)[:, -1]
                found[-1] = (*found[-1], again, late.lengths)
    return found


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_the_same_tokens_as_on_one_process(pool, world_size):
    count = 9
    pairs = itertools.product(WINDOWS, (2, 11, 30))
    cases = [(*pair, LAYOUTS[(index + index // 3) % 3]) for index, pair in enumerate(pairs)]  # each with each
    results = pool(world_size).run(spread_and_gathered, cases, count)
    for index, (windows, length, _) in enumerate(cases):
        decoder, expected = decoder_of(windows), on_one_process(windows, length, count)
        for rank in range(world_size):
            state, spread, gathered, *late = results[rank][index]
            last = torch.stack([whole(decoder, text)[-1] for text in prompts(length).tolist()])
            torch.testing.assert_close(state, last, rtol=0, atol=1e-10)
            assert torch.equal(spread, expected)
            assert (gathered is not None) == (rank == world_size - 1)
            if gathered is not None:
                assert torch.equal(gathered, expected)
            if rank == 0:
                texts = torch.cat([prompts(length), expected], dim=1).tolist()
                states = torch.stack([whole(decoder, text)[-1] for text in texts])
                torch.testing.assert_close(late[0], states, rtol=0, atol=1e-10)
                assert late[1] == [length + count] * 2


def kept_and_sent(length, window, count):
    """Bytes that a rank keeps after the pre-fill and after more tokens, and that travel when they are gathered."""
    decoder = decoder_of((window, window))
    with torch.inference_mode():
        state, cache = ring_prefill(decoder, prompts(length), Ring(), layout="contiguous")
        prefilled = cache.memory_bytes()
        continued(decoder, state, cache, count)
        cache.ring.transport.reset_counters()
        gather_rolling_cache(cache, decoder.config)
        return prefilled, cache.memory_bytes(), cache.ring.transport.bytes_sent


def test_only_the_window_is_kept_and_travels(pool):
    a_token, window = 2 * 2 * 2 * 2 * 6 * 8, 12  # k and v, layers, batch, kv heads, head_dim, bytes
    prefilled, later, sent = zip(*pool(3).run(kept_and_sent, 90, window, 60), strict=True)
    assert prefilled == (0, 0, window * a_token), "contiguous: the last rank has all that later tokens see"
    assert sum(sent) == 2 * window // 3 * a_token, "a third each, of which rank 0 sends nothing"
    assert max(later) <= (window + 16) * a_token, "slots are used again"


def states_in_passes(prompt, windows, passes):
    decoder, (text,) = decoder_of(windows), texts_of([prompt + sum(passes)])
    tokens = torch.tensor([text])
    with torch.inference_mode():
        _, cache = ring_prefill(decoder, tokens[:, :prompt], Ring())
        first, states = prompt, []
        for count in passes:
            states.append(decoder(tokens[:, first : first + count], cache=cache)[0])
            first += count
    return torch.cat(states)


def test_passes_of_several_tokens(pool):
    windows, passes = (5, None), (1, 7, 150, 2)
    expected = whole(decoder_of(windows), texts_of([9 + sum(passes)])[0])[9:]
    for found in pool(2).run(states_in_passes, 9, windows, passes):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def bfloat16_tokens(length, count):
    decoder = decoder_of((5, None), dtype=torch.bfloat16)
    with torch.inference_mode():
        state, cache = ring_prefill(decoder, prompts(length), Ring())
        gathered = gather_rolling_cache(cache, decoder.config)
        assert state.dtype == torch.bfloat16
        assert gathered is None or gathered.keys[0].dtype == torch.bfloat16
        return continued(decoder, state, cache, count)


def test_bfloat16(pool):
    first, second = pool(2).run(bfloat16_tokens, 20, 8)
    assert torch.equal(first, second)


def outside(rank):
    decoder = decoder_of((5,))
    _, cache = ring_prefill(decoder, prompts(4), Ring())
    try:
        gather_rolling_cache(cache, decoder.config, rank=rank)
    except OctoberError as error:
        return str(error)
    return f"none on rank {dist.get_rank()}"


def test_mistakes_are_named(pool):
    assert pool(2).run(outside, 2) == ["rank=2: must be 0 to 1 in a ring of 2"] * 2
    decoder = decoder_of((5,))
    with one_line("prompt_length=0"):
        ring_prefill(decoder, torch.zeros(1, 0, dtype=torch.long), Ring())
    with one_line("prompt 0 has 4097 tokens, more than the model's context of 4096"):
        ring_prefill(decoder, prompts(4097), Ring())
    _, cache = ring_prefill(decoder, prompts(4), Ring())
    assert isinstance(gather_rolling_cache(cache, decoder.config), RollingBufferCache)
    with one_line("keeps no gradients"):
        decoder(torch.zeros(2, 1, dtype=torch.long), cache=cache)
