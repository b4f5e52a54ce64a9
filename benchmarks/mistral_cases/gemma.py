"""Real weights: how many tokens a second Gemma-3-270M reads and writes, by the kind of its weights, and its perplexity.

Texts begin with a few words, or with a document longer than the window of 512 of most of its layers, which is read in
several chunks and rolls the buffers. The perplexity is that of such a document, read in the same way. Reading and
writing are timed apart; the kinds of weights take turns.
"""

import math
import statistics
from collections.abc import Mapping, Sequence

import torch
from shared_cases.threads import threads
from shared_cases.timing import seconds_of, spread_of

from mistral_cases.models import our_text
from october.attention import decoder_from
from october.attention.mistral import MistralModel, pack_, quantize_
from october.data import wikipedia_documents
from october.experiments.mistral._pretrained_windows import losses_through_buffer
from october.language_models import ModelHandle
from october.reporting.benchmarks import Measured

TOKENS = 32
BATCHES = (1, 16)
REPEATS = 5
KINDS = ("int8", "int4")  # beside bfloat16
DOCUMENT = 768  # tokens, half as many again as the window
CHUNK = 256


def gemma_cases(divisor: int) -> list[Measured]:
    """Return the rates and the perplexity of int8 and int4 weights beside those of bfloat16."""
    tokens, length = TOKENS // divisor, DOCUMENT // divisor
    models = {weights: gemma(weights) for weights in ("bfloat16", *KINDS)}
    cases = perplexity_cases(
        {weights: perplexity_in_chunks(model, length) for weights, model in models.items()}, length
    )
    of_document = f"{length} tokens in chunks of {CHUNK}"
    texts = {f"after a few words, batch {batch}": beginnings(models["bfloat16"], batch) for batch in BATCHES}
    texts[f"after {of_document}, batch 1"] = [document(models["bfloat16"], length)]
    for where, prompts in texts.items():
        rounds = [
            {weights: seconds_apart(model, prompts, tokens) for weights, model in models.items()}
            for _ in range(1 + REPEATS)
        ]
        reading, writing = (
            {weights: [each[weights][part] for each in rounds[1:]] for weights in models} for part in (0, 1)
        )
        cases += rate_cases(f"{tokens} tokens written {where}", len(prompts) * tokens, writing)
    return [*cases, *rate_cases(f"{of_document} read", length, reading)]


def perplexity_cases(perplexities: Mapping[str, float], length: int) -> list[Measured]:
    """Return what few bits cost on a document."""
    return [
        Measured(
            name=f"Gemma-3-270M, perplexity of {length} tokens through rolling buffers in chunks of {CHUNK}, {weights} "
            "weights against bfloat16",
            ours=perplexities[weights],
            peer=perplexities["bfloat16"],
            unit="perplexity",
            peer_settings="the same decoder in bfloat16; a held-out document",
        )
        for weights in KINDS
    ]


def rate_cases(what: str, tokens: int, seconds: Mapping[str, Sequence[float]]) -> list[Measured]:
    """Return tokens a second, from each kind's seconds for so many in rounds; medians."""
    rates = {weights: tokens / statistics.median(taken) for weights, taken in seconds.items()}
    return [
        Measured(
            name=f"Gemma-3-270M, {weights} weights against bfloat16: {what}",
            ours=rates[weights],
            peer=rates["bfloat16"],
            unit="tokens/s",
            better="higher",
            peer_settings=f"the same decoder in bfloat16, in turn, medians; {threads()}",
            spread=spread_of(seconds[weights], seconds["bfloat16"]),
            repeats=len(seconds[weights]),
        )
        for weights in KINDS
    ]


def gemma(weights: str) -> MistralModel:
    """Return the embedded model on rolling caches."""
    model, tokenizer = ModelHandle(name="gemma3_270m", embedded="gemma3_270m", dtype="bfloat16").load()
    decoder = pack_(decoder_from(model))
    chosen = decoder if weights == "bfloat16" else quantize_(decoder, weights)
    return MistralModel(chosen, tokenizer, end_ids=(), prefill_chunk=CHUNK)


def beginnings(model: MistralModel, batch: int) -> list[list[int]]:
    """Return texts of a few tokens."""
    texts: list[list[int]] = model.tokenizer([f"A town called {number} lies" for number in range(batch)])["input_ids"]
    return texts


def document(model: MistralModel, length: int) -> list[int]:
    """Return a start token and the first tokens of a held-out document, so many in all."""
    return [model.tokenizer.bos_token_id, *document_ids(model, length - 1)]


def document_ids(model: MistralModel, length: int) -> list[int]:
    """Return the first tokens of a held-out document, without a start token."""
    ids: list[int] = model.tokenizer(wikipedia_documents()[1][0], add_special_tokens=False)["input_ids"]
    return ids[:length]


@torch.inference_mode()
def perplexity_in_chunks(model: MistralModel, length: int) -> float:
    """Return the perplexity of a document's first tokens through rolling buffers, chunk by chunk."""
    start, ids = model.tokenizer.bos_token_id, document_ids(model, length)
    return math.exp(losses_through_buffer(model.transformer, ids, start, CHUNK).double().mean().item())


@torch.inference_mode()
def seconds_apart(model: MistralModel, prompts: Sequence[Sequence[int]], tokens: int) -> tuple[float, float]:
    """Return what reading the prompts takes, up to each one's first token, and what so many tokens after it take."""
    cache = model._new_cache(len(prompts), max(map(len, prompts)) + tokens)
    first: list[int] = []
    reading = seconds_of(lambda: first.extend(model._next_logits(prompts, cache).argmax(dim=-1).tolist()))
    write = our_text(model, cache, first)
    return reading, seconds_of(lambda: write(tokens))
