"""Real weights: how many tokens a second Gemma-3-270M writes, by the kind of its weights and the number of texts."""

from functools import partial

from shared_cases.threads import threads
from shared_cases.timing import seconds_of

from october.attention import decoder_from
from october.attention.mistral import MistralModel, pack_, quantize_
from october.language_models import ModelHandle
from october.reporting.benchmarks import Measured

TOKENS = 32
BATCHES = (1, 16)
REPEATS = 2


def gemma_cases(divisor: int) -> list[Measured]:
    """Return the rates of int8 and int4 weights beside those of bfloat16."""
    tokens = TOKENS // divisor
    models = {weights: gemma(weights) for weights in ("bfloat16", "int8", "int4")}
    cases = []
    for batch in BATCHES:
        rates = {weights: rate(model, batch, tokens) for weights, model in models.items()}
        cases += [
            Measured(
                name=f"Gemma-3-270M, {weights} weights against bfloat16, batch {batch}, {tokens} tokens each",
                ours=rates[weights],
                peer=rates["bfloat16"],
                unit="tokens/s",
                better="higher",
                peer_settings=f"the same decoder in bfloat16, best of {REPEATS}; {threads()}",
            )
            for weights in ("int8", "int4")
        ]
    return cases


def gemma(weights: str) -> MistralModel:
    """Return the embedded model on rolling caches."""
    model, tokenizer = ModelHandle(name="gemma3_270m", embedded="gemma3_270m", dtype="bfloat16").load()
    decoder = pack_(decoder_from(model))
    return MistralModel(decoder if weights == "bfloat16" else quantize_(decoder, weights), tokenizer, end_ids=())


def rate(model: MistralModel, batch: int, tokens: int) -> float:
    """Return the tokens that are written a second, prompts of a few tokens included."""
    prompts = [f"A town called {number} lies" for number in range(batch)]
    write = partial(model.generate, prompts, max_new_tokens=tokens)
    write()
    return batch * tokens / min(seconds_of(write) for _ in range(REPEATS))
