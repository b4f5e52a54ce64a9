"""Real weights: how many tokens a second Gemma-3-270M writes, by the kind of its weights, and its perplexity beside.

Texts begin with a few words, or with a document longer than the window of 512 of most of its layers, which is read in
several chunks and rolls the buffers. The perplexity is that of such a document, read in the same way.
"""

import math
from functools import partial

import torch
from shared_cases.threads import threads
from shared_cases.timing import seconds_of

from october.attention import decoder_from
from october.attention.mistral import MistralModel, pack_, quantize_
from october.data import wikipedia_documents
from october.experiments.mistral._pretrained_windows import losses_through_buffer
from october.language_models import ModelHandle
from october.reporting.benchmarks import Measured

TOKENS = 32
BATCHES = (1, 16)
REPEATS = 2
DOCUMENT = 768  # tokens, half as many again as the window
CHUNK = 256


def gemma_cases(divisor: int) -> list[Measured]:
    """Return the rates of int8 and int4 weights beside those of bfloat16."""
    tokens, length = TOKENS // divisor, DOCUMENT // divisor
    models = {weights: gemma(weights) for weights in ("bfloat16", "int8", "int4")}
    perplexities = {weights: perplexity_in_chunks(model, length) for weights, model in models.items()}
    starts = [(f"batch {batch}", beginnings(batch)) for batch in BATCHES]
    starts.append((f"after {length} tokens in chunks of {CHUNK}, batch 1", [document(models["bfloat16"], length)]))
    cases = []
    for name, prompts in starts:
        rates = {weights: rate(model, prompts, tokens) for weights, model in models.items()}
        cases += [
            Measured(
                name=f"Gemma-3-270M, {weights} weights against bfloat16, {name}, {tokens} tokens each",
                ours=rates[weights],
                peer=rates["bfloat16"],
                unit="tokens/s",
                better="higher",
                peer_settings=f"the same decoder in bfloat16, best of {REPEATS}; perplexity of {length} tokens of a "
                f"held-out document, through rolling buffers in chunks of {CHUNK}: {perplexities[weights]:.2f} with "
                f"{weights} weights, {perplexities['bfloat16']:.2f} in bfloat16; {threads()}",
            )
            for weights in ("int8", "int4")
        ]
    return cases


def gemma(weights: str) -> MistralModel:
    """Return the embedded model on rolling caches."""
    model, tokenizer = ModelHandle(name="gemma3_270m", embedded="gemma3_270m", dtype="bfloat16").load()
    decoder = pack_(decoder_from(model))
    chosen = decoder if weights == "bfloat16" else quantize_(decoder, weights)
    return MistralModel(chosen, tokenizer, end_ids=(), prefill_chunk=CHUNK)


def beginnings(batch: int) -> list[str]:
    """Return texts of a few tokens."""
    return [f"A town called {number} lies" for number in range(batch)]


def document(model: MistralModel, length: int) -> str:
    """Return the first tokens of a held-out document, as text."""
    return str(model.tokenizer.decode(document_ids(model, length)))


def document_ids(model: MistralModel, length: int) -> list[int]:
    """Return the first tokens of a held-out document, without a start token."""
    ids: list[int] = model.tokenizer(wikipedia_documents()[1][0], add_special_tokens=False)["input_ids"]
    return ids[:length]


@torch.inference_mode()
def perplexity_in_chunks(model: MistralModel, length: int) -> float:
    """Return the perplexity of a document's first tokens through rolling buffers, chunk by chunk."""
    start, ids = model.tokenizer.bos_token_id, document_ids(model, length)
    return math.exp(losses_through_buffer(model.transformer, ids, start, CHUNK).double().mean().item())


def rate(model: MistralModel, prompts: list[str], tokens: int) -> float:
    """Return the tokens that are written a second, reading the prompts included."""
    write = partial(model.generate, prompts, max_new_tokens=tokens)
    write()
    return len(prompts) * tokens / min(seconds_of(write) for _ in range(REPEATS))
