"""The house decoder on rolling buffers, chunk by chunk, beside a model of transformers that sees prompts whole."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from october.attention import Transformer, decoder_from, prefill
from october.attention.mistral import RollingBufferCache, pack_
from october.data import wikipedia_documents
from october.experiments.mistral._common import hugging_face_model, random_text, small_mistral
from october.language_models import ModelHandle

NUM_HEADS = 8
SMALL_VOCABULARY = 512
EVERY = "every size"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
Found = dict[str, Any]


def chunk_sizes(window: int) -> dict[str, int | None]:
    """Return the sizes that are told apart, by name; None is the whole prompt."""
    return {"1": 1, "W / 2": max(1, window // 2), "W": window, "2 W + 1": 2 * window + 1, "whole": None}


@torch.inference_mode()
def random_models(
    dtype: str, group_size: int, window: int, lengths: Sequence[int], num_new_tokens: int, seed: int
) -> Found:
    """Compare on random prompts of several lengths, with a random Mistral of so many query heads to a key head.

    Returns:
        `apart`, the largest difference of logits, by chunk size and of every size from 1 to the whole prompt; how far
        ours and theirs are from those of float32; how many greedy tokens there are, and how many differ.
    """
    shape = replace(
        small_mistral(64, 3, NUM_HEADS, NUM_HEADS // group_size, window, max(lengths) + num_new_tokens),
        vocab_size=SMALL_VOCABULARY,
    )
    wide, model = hugging_face_model(shape, seed), hugging_face_model(shape, seed).to(DTYPES[dtype])
    decoder = pack_(decoder_from(model))
    named = chunk_sizes(window)
    found: Found = {"apart": dict.fromkeys([*named, EVERY], 0.0), "ours": 0.0, "theirs": 0.0}
    found |= {"tokens": 0, "differing": 0}
    for length in lengths:
        text = random_text(seed + length, length, SMALL_VOCABULARY)
        theirs, exact = (each(torch.tensor([text]), use_cache=False).logits[0].float() for each in (model, wide))
        found["theirs"] = max(found["theirs"], largest(theirs - exact))
        for size in range(1, length + 1):
            ours = decoder.logits(states_by_chunks(decoder, text, size)).float()
            for name in (EVERY, *(name for name, each in named.items() if size == min(each or length, length))):
                found["apart"][name] = max(found["apart"][name], largest(ours - theirs))
            found["ours"] = max(found["ours"], largest(ours - exact))
        _count_tokens(found, decoder, model, text, num_new_tokens, window)
    return found


@torch.inference_mode()
def pretrained(
    handle: ModelHandle, dtype: str, document: int, length: int, sizes: Sequence[int], num_new_tokens: int
) -> Found:
    """Compare on a document that the pretrained model has a window for, at every 32nd place.

    Returns:
        As `random_models`, without the distances from float32; and the largest logit.
    """
    model, tokenizer = replace(handle, dtype=dtype).load()
    text = tokenizer(wikipedia_documents()[1][document])["input_ids"][:length]
    decoder = pack_(decoder_from(model))
    places = torch.arange(len(text) - 1, -1, -32)
    theirs = model(torch.tensor([text]), use_cache=False, logits_to_keep=places).logits[0].float()
    found: Found = {"apart": {}, "tokens": 0, "differing": 0, "largest": largest(theirs), "length": len(text)}
    for size in sizes:
        ours = decoder.logits(states_by_chunks(decoder, text, size)[places]).float()
        found["apart"][str(size)] = largest(ours - theirs)
    _count_tokens(found, decoder, model, text, num_new_tokens, min(sizes))
    return found


def states_by_chunks(decoder: Transformer, text: Sequence[int], chunk_size: int | None) -> Tensor:
    """Return the states after every token of a text."""
    cache = RollingBufferCache(decoder.config, 1, len(text), dtype=decoder.embedding.weight.dtype)
    step = chunk_size or len(text)
    chunks = [torch.tensor([text[first : first + step]]) for first in range(0, len(text), step)]
    return torch.cat([decoder(chunk, cache=cache)[0] for chunk in chunks])


def greedy_tokens(decoder: Transformer, text: Sequence[int], count: int, chunk_size: int) -> list[int]:
    """Return the likeliest tokens after a text."""
    cache = RollingBufferCache(decoder.config, 1, len(text) + count, dtype=decoder.embedding.weight.dtype)
    state, tokens = prefill(decoder, [text], cache, chunk_size=min(chunk_size, len(text))), []
    while True:
        tokens.append(int(decoder.logits(state).argmax()))
        if len(tokens) == count:
            return tokens
        state = prefill(decoder, [tokens[-1:]], cache)


def largest(tensor: Tensor) -> float:
    """Return the largest absolute value."""
    return float(tensor.abs().max())


def _count_tokens(
    found: Found, decoder: Transformer, model: Any, text: Sequence[int], count: int, chunk_size: int
) -> None:
    """Add how many greedy tokens there are, and how many of ours differ from those of `generate`."""
    prompt = torch.tensor([text])
    options = {"max_new_tokens": count, "min_new_tokens": count, "do_sample": False, "pad_token_id": 0}
    generated = model.generate(prompt, attention_mask=torch.ones_like(prompt), **options)[0, len(text) :].tolist()
    ours = greedy_tokens(decoder, text, count, chunk_size)
    found["tokens"] += count
    found["differing"] += sum(one != other for one, other in zip(ours, generated, strict=True))
