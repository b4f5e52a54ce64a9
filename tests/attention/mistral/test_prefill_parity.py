"""Chunked pre-fill on rolling buffers against transformers' `MistralForCausalLM`, which sees every prompt whole."""

from functools import lru_cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_decoders import hugging_face_model
from tiny_mistral import mistral, texts_of

from october.attention import decoder_from, prefill
from october.attention.mistral import RollingBufferCache
from october.attention.ring_attention import TensorMemory

pytestmark = pytest.mark.usefixtures("one_thread")

WINDOW = 6
LENGTHS = range(1, 5 * WINDOW + 1)
model_of = lru_cache(maxsize=32)(mistral)


def cache_for(decoder, texts, more):
    capacity = max(map(len, texts)) + more
    return RollingBufferCache(decoder.config, len(texts), capacity, dtype=decoder.norm.weight.dtype)


@torch.inference_mode()
def logits_by_chunks(decoder, text, chunk_size):
    """The logits after every token of a text."""
    cache = cache_for(decoder, [text], 0)
    chunks = [text[first : first + chunk_size] for first in range(0, len(text), chunk_size)]
    return torch.cat([decoder.logits(decoder(torch.tensor([chunk]), cache=cache)[0]) for chunk in chunks])


@torch.inference_mode()
def greedy(decoder, texts, count, chunk_size):
    """The likeliest tokens after each text, and the logits they were chosen from."""
    cache = cache_for(decoder, texts, count)
    logits = [decoder.logits(prefill(decoder, texts, cache, chunk_size=chunk_size))]
    for _ in range(count - 1):
        logits.append(decoder.logits(decoder(logits[-1].argmax(-1)[:, None], cache=cache)[:, -1]))
    steps = torch.stack(logits, dim=1)
    return steps.argmax(-1).tolist(), steps


@torch.inference_mode()
def greedy_by_transformers(model, text, count):
    """One text at a time, re-read whole for every token: no cache at all."""
    tokens, steps = list(text), []
    for _ in range(count):
        steps.append(model(torch.tensor([tokens]), use_cache=False, logits_to_keep=1).logits[0, -1])
        tokens.append(steps[-1].argmax().item())
    return tokens[len(text) :], torch.stack(steps)


@pytest.mark.parametrize("num_kv_heads", [8, 4, 2, 1])
@torch.inference_mode()
def test_logits_at_every_prompt_length_to_five_windows_in_chunks_of_every_size(num_kv_heads):
    model = model_of(WINDOW, num_kv_heads)
    decoder = decoder_from(model)
    for length in LENGTHS:
        (text,) = texts_of([length], seed=length, vocab_size=61)
        expected = model(torch.tensor([text]), use_cache=False).logits[0]
        for chunk_size in range(1, length + 1):
            found = logits_by_chunks(decoder, text, chunk_size)
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("num_kv_heads", [8, 4, 2, 1])
def test_greedy_tokens_after_every_prompt_length_in_chunks_of_every_size(num_kv_heads):
    """All lengths in one batch: rows run out in every chunk, before the window is full and after it has rolled."""
    model = model_of(WINDOW, num_kv_heads)
    texts = texts_of(LENGTHS, seed=num_kv_heads, vocab_size=61)
    expected = [greedy_by_transformers(model, text, 3) for text in texts]
    for chunk_size in range(1, max(LENGTHS) + 1):
        tokens, steps = greedy(decoder_from(model), texts, 3, chunk_size)
        assert tokens == [written for written, _ in expected]
        torch.testing.assert_close(steps, torch.stack([logits for _, logits in expected]), rtol=0, atol=1e-5)


@settings(deadline=None, max_examples=25)
@given(
    lengths=st.lists(st.integers(1, 4 * WINDOW), min_size=1, max_size=4),
    window=st.sampled_from([1, 2, WINDOW, 100, None]),
    num_kv_heads=st.sampled_from([8, 4, 2, 1]),
    data=st.data(),
)
def test_ragged_batches_of_any_chunk_size_choose_the_same_tokens(lengths, window, num_kv_heads, data):
    model = model_of(window, num_kv_heads)
    texts = texts_of(lengths, seed=sum(lengths), vocab_size=61)
    chunk_size = data.draw(st.integers(1, max(lengths)))
    tokens, steps = greedy(decoder_from(model), texts, 2 * WINDOW, chunk_size)
    for row, text in enumerate(texts):
        expected, logits = greedy_by_transformers(model, text, 2 * WINDOW)
        assert tokens[row] == expected
        torch.testing.assert_close(steps[row], logits, rtol=0, atol=1e-5)


@settings(deadline=None, max_examples=20)
@given(
    window=st.one_of(st.none(), st.integers(1, 9)),
    heads=st.sampled_from([(1, 1), (2, 1), (4, 2), (6, 3), (8, 1)]),
    shape=st.fixed_dictionaries(
        {
            "num_hidden_layers": st.integers(1, 4),
            "head_dim": st.sampled_from([2, 6, 8, 16]),
            "rms_norm_eps": st.sampled_from([1e-8, 1e-5, 1e-2]),
            "rope_theta": st.sampled_from([100.0, 10_000.0, 1_000_000.0]),
            "tie_word_embeddings": st.booleans(),
            "max_position_embeddings": st.sampled_from([32, 4096]),
        }
    ),
    length=st.integers(1, 30),
    data=st.data(),
)
@torch.inference_mode()
def test_random_configs_in_chunks(window, heads, shape, length, data):
    model = mistral(window, heads[1], heads[0], **shape)
    (text,) = texts_of([length], seed=length, vocab_size=61)
    found = logits_by_chunks(decoder_from(model), text, data.draw(st.integers(1, length)))
    expected = model(torch.tensor([text]), use_cache=False).logits[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_interleaved_layers_with_and_without_a_window():
    """Gemma 3: the prompts are longer than its windows, the full layers see them whole."""
    model = hugging_face_model("gemma3", initializer_range=0.2)
    texts = texts_of([23, 4, 17], vocab_size=61)
    for chunk_size in (1, 5, 23):
        tokens, _ = greedy(decoder_from(model), texts, 12, chunk_size)
        assert tokens == [greedy_by_transformers(model, text, 12)[0] for text in texts]


@torch.inference_mode()
def peak_bytes(decoder, length, chunk_size):
    """What a pre-fill needs at most, the cache included."""
    (text,) = texts_of([length], vocab_size=61)
    with TensorMemory() as memory:
        prefill(decoder, [text], cache_for(decoder, [text], 0), chunk_size=chunk_size)
    return memory.peak_bytes


@pytest.mark.parametrize("chunk_size", [16, 128, 200])
def test_memory_is_bounded_by_the_chunk_and_the_window(chunk_size):
    """It does not grow with the prompt, and is no more than that of a prompt of chunk + W tokens in one pass."""
    window = 128
    decoder = decoder_from(model_of(window, max_position_embeddings=10 * window))
    peak = peak_bytes(decoder, 5 * window, chunk_size)
    assert peak_bytes(decoder, 10 * window, chunk_size) == pytest.approx(peak, rel=0.01)
    assert peak <= peak_bytes(decoder, chunk_size + window, chunk_size + window)
