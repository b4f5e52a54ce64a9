"""What Mistral's benchmark counts is all that is computed, and its bars see where it would be more."""

import pytest
import torch
from torch.nn import functional

from october.reporting.benchmarks import run_benchmark

pytestmark = pytest.mark.usefixtures("benchmarks", "one_thread")

LENGTH, WINDOW = 1024, 512


def test_rates_on_a_device_are_of_pre_fill_and_of_what_comes_after(monkeypatch):
    """Two seconds for 4,000 tokens, then .5 s each; the peer takes twice as long."""
    from mistral_cases import cuda
    from shared_cases import timing

    clock = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])

    def taking(factor):
        def call(steps):
            clock[0] += factor * (2 + 0.5 * (steps - 1))

        return call

    rates = cuda.tokens_per_second({"ours": taking(1), "peer": taking(2)}, 4000)
    assert rates == {"ours": (2000, 2), "peer": (1000, 1)}


@pytest.fixture
def states():
    """Queries, keys and values of one head each, and which of them are in reach."""
    query, key, value = torch.randn(3, 1, 1, LENGTH, 8, generator=torch.Generator().manual_seed(0))
    in_reach = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril().triu(1 - WINDOW)
    return (query, key, value), in_reach


@pytest.mark.parametrize("additive", [False, True])
def test_a_mask_spares_the_kernel_no_pair(states, additive):
    from mistral_cases import counted

    tensors, in_reach = states
    mask = torch.zeros(LENGTH, LENGTH).masked_fill(~in_reach, -torch.inf) if additive else in_reach
    assert counted.kernel_pairs(lambda: functional.scaled_dot_product_attention(*tensors, attn_mask=mask)) == LENGTH**2
    causal = counted.kernel_pairs(lambda: functional.scaled_dot_product_attention(*tensors, is_causal=True))
    assert causal == LENGTH * (LENGTH + 1) // 2


def test_dense_attention_with_a_mask_misses_the_bar_on_pairs(monkeypatch, tmp_path):
    from mistral_cases import counted

    def dense(query, key, value, *, sliding_window):
        reach = torch.ones(query.shape[2], query.shape[2], dtype=torch.bool).tril().triu(1 - sliding_window)
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=reach, enable_gqa=True)

    monkeypatch.setattr(counted, "WINDOW", 2 * counted.WINDOW)  # divided by two below, as the length is
    ours = run_benchmark("ours", counted.pair_cases(2), tmp_path)
    assert [case["met"] for case in ours] == [True, True]
    monkeypatch.setattr(counted, "blockwise_attention", dense)
    whole, _ = run_benchmark("dense", counted.pair_cases(2), tmp_path)
    assert whole["met"] is False
    monkeypatch.setattr(counted, "blockwise_attention", lambda *tensors, sliding_window: tensors[0] @ tensors[0].mT)
    with pytest.raises(AssertionError, match=r"^0 of \d+ pairs were seen"):
        counted.pair_cases(2)


def test_counted_cases_of_short_windows(tmp_path):
    """The bytes are the formula's for any window; the other bars are for the windows that are recorded."""
    from mistral_cases import counted

    found = {case["case"]: case for case in run_benchmark("short", counted.counted_cases(16), tmp_path)}
    assert len(found) == 7
    of_cache = [case for name, case in found.items() if name.startswith("bytes of a cache")]
    assert [case["ours"] for case in of_cache] == [2 * 8 * 256 * 2 * 64 * 4] * 2
    assert all(case["met"] for case in of_cache)


def test_a_cache_of_fewer_bytes_than_the_formula_is_no_better():
    from mistral_cases import counted, models

    from october.attention.mistral import RollingBufferCache

    config = models.small_config(64)
    assert counted.equal_bytes(RollingBufferCache(config, 1, 64), config, 64) == 2 * 8 * 64 * 2 * 64 * 4
    for capacity, window in ((63, 64), (65, 63)):
        with pytest.raises(AssertionError, match=r"a cache of \d+ bytes, the formula says"):
            counted.equal_bytes(RollingBufferCache(config, 1, capacity), config, window)


def test_how_many_texts_are_the_same_in_16_bits_is_said():
    from mistral_cases import generation

    tokens = torch.arange(3 * generation.STEPS).view(3, -1)
    other = tokens.clone()
    other[1, -1] += 1
    assert "counted: 2 of 3 texts of 16 tokens are the same" in generation.agreement(tokens, other)
    with pytest.raises(AssertionError, match="greedy tokens differ"):
        generation.same_tokens(tokens, other)


def test_the_texts_of_the_bars_are_written_by_the_loop_of_generate_from_a_full_cache(monkeypatch):
    """The bare loop writes the same; what `generate` keeps of each token is kept, and the next call goes on."""
    from mistral_cases import generation, limits, models

    kept = []
    append = models.GenerationRules.append

    def seen(rules, requests, logits):
        tokens = append(rules, requests, logits)
        kept.append([len(request.log_probabilities) for request in requests])
        return tokens

    monkeypatch.setattr(models.GenerationRules, "append", seen)
    decoder = models.our_model(16)
    bare = limits.greedy_steps(decoder, models.our_full_cache(decoder, 2))
    ours = generation.ours(decoder, 2)
    for _ in range(2):
        assert torch.equal(ours(3), bare(3))
    assert kept == [[1, 1], [2, 2], [3, 3]] * 2


@pytest.fixture
def timed_gemma(monkeypatch):
    """Gemma's cases with known seconds and perplexities, and which model read which text, round by round."""
    from mistral_cases import gemma

    asked, turns = [], iter(range(1000))
    monkeypatch.setattr(gemma, "gemma", lambda weights: weights)
    monkeypatch.setattr(gemma, "document", lambda model, length: f"a document of {length}")
    monkeypatch.setattr(gemma, "beginnings", lambda model, batch: ["a text"] * batch)
    monkeypatch.setattr(
        gemma, "perplexity_in_chunks", lambda model, length: {"bfloat16": 12, "int8": 12.25}.get(model, 15)
    )

    def seconds_apart(model, prompts, tokens):
        asked.append((model, prompts))
        counted = next(turns) % 18 >= 3  # a text's first round warms up
        return (4.0, 2.0 if model == "bfloat16" else 1.0) if counted else (1e9, 1e9)

    monkeypatch.setattr(gemma, "seconds_apart", seconds_apart)
    return {case.name: case for case in gemma.gemma_cases(1)}, asked


def test_gemma_reads_and_writes_in_turn_and_its_perplexity_stands_in_the_table(timed_gemma):
    from mistral_cases import gemma

    cases, asked = timed_gemma
    assert gemma.DOCUMENT > 512 > gemma.CHUNK
    assert asked[-3:] == [(weights, ["a document of 768"]) for weights in ("bfloat16", "int8", "int4")]
    assert len(asked) == 3 * 3 * 6
    perplexity = (
        "Gemma-3-270M, perplexity of 768 tokens through rolling buffers in chunks of 256, {} weights against bfloat16"
    )
    for weights, found in (("int8", 12.25), ("int4", 15)):
        case = cases[perplexity.format(weights)]
        assert (case.ours, case.peer, case.unit, case.bar) == (found, 12, "perplexity", None)
        rates = {
            name.split(": ")[1]: (case.ours, case.peer, case.spread, case.repeats)
            for name, case in cases.items()
            if name.startswith(f"Gemma-3-270M, {weights} weights against bfloat16: ")
        }
        assert rates == {
            "32 tokens written after a few words, batch 1": (32, 16, (2, 2), 5),
            "32 tokens written after a few words, batch 16": (512, 256, (2, 2), 5),
            "32 tokens written after 768 tokens in chunks of 256, batch 1": (32, 16, (2, 2), 5),
            "768 tokens in chunks of 256 read": (192, 192, (1, 1), 5),
        }


def test_the_spread_is_of_ratios_round_by_round():
    from shared_cases.timing import spread_of

    assert spread_of([1.0, 2.0, 4.0], [2.0, 3.0, 12.0]) == (1.5, 3.0)
