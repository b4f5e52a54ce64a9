"""32 trajectories stepped together, every token encoded once, against one at a time with the whole text sent anew.

The peer is the loop that one writes first: for each question, for each round, `generate` on the text so far. Within a
call it keeps keys and values and reads logits where it needs them. It runs on the faster of two: transformers, which
stops at token ids, or this library's decoder with a single prompt.
"""

from collections.abc import Sequence
from typing import Any

import torch
import transformers
from shared_cases.threads import threads
from shared_cases.timing import seconds_of

from agents_cases.models import STOPS, VOCABULARY, random_llama, tokenizer
from agents_cases.tasks import MAX_NEW_TOKENS, NotingLM, Replies, Task, Writer, check, one_by_one, together
from october.attention import DecoderLM, DenseCache, Transformer, decoder_from
from october.attention.mistral import pack_
from october.reporting.benchmarks import Case, Measured

TRAJECTORIES, ROUNDS, NUM_EXAMPLES = 32, 3, 5
MAX_BATCH_TOKENS = 8192  # eight times as many lie in the sessions' caches: more than all 32 texts have


def stepping_cases(divisor: int) -> list[Case | Measured]:
    """Return the cases with examples in front and without, and what of the first passes through the network."""
    model = random_llama()
    count = max(2, TRAJECTORIES // divisor)
    shown, bare = (Task((ROUNDS,) * count, examples) for examples in (NUM_EXAMPLES, 0))
    return [
        stepping_case(model, shown, "a few-shot prefix of {} tokens", ">=4"),
        stepping_case(model, bare, "no prefix", ">=8"),
        prefill_case(pack_(decoder_from(model)), shown),
    ]


def stepping_case(model: Any, task: Task, what: str, bar: str) -> Case:
    """Return the case of one task."""
    decoder = pack_(decoder_from(model))
    write, settings = faster_writer(model, decoder, task)
    prefix = what.format(len(tokenizer()(task.prompting.prefix)["input_ids"]))
    return Case(
        name=f"{len(task.steps)} trajectories of {ROUNDS} rounds, {prefix}: against one at a time, re-prefilled",
        ours=lambda: together(house_lm(decoder), task, len(task.steps))[1],
        peer=lambda: one_by_one(write, task),
        bar=bar,
        check=lambda ours, theirs: check(ours, theirs, task),
        peer_settings=settings,
    )


def house_lm(decoder: Transformer, **more: Any) -> NotingLM:
    """Return a model that has encoded nothing yet; the weights are shared."""
    return NotingLM(decoder, tokenizer(), max_batch_tokens=MAX_BATCH_TOKENS, **more)


def faster_writer(model: Any, decoder: Transformer, task: Task) -> tuple[Writer, str]:
    """Return the faster way to go on from a text, tried on the first question, and its settings."""
    writers = {
        f"transformers {transformers.__version__}, dynamic cache, {model.config._attn_implementation}, stops at "
        "token ids": transformers_writer(model),
        "this library's DecoderLM.generate, one prompt a call": house_writer(decoder),
    }
    first, seconds = Task(task.steps[:1], task.num_examples), {}
    for settings, write in writers.items():
        one_by_one(write, first)
        seconds[settings] = min(seconds_of(lambda write=write: one_by_one(write, first)) for _ in range(2))
    best = min(seconds, key=seconds.__getitem__)
    return writers[best], f"{best}: the faster of two; {threads()}"


def transformers_writer(model: Any) -> Writer:
    """Return transformers' own greedy `generate` on one text."""
    words, ends = tokenizer(), [VOCABULARY.index(stop) for stop in STOPS]

    @torch.inference_mode()
    def write(text: str) -> Sequence[int]:
        encoded = words(text, return_tensors="pt")
        written = model.generate(
            input_ids=encoded["input_ids"],
            attention_mask=encoded["attention_mask"],
            max_new_tokens=MAX_NEW_TOKENS,
            do_sample=False,
            eos_token_id=ends,
        )
        tokens: list[int] = written[0, encoded["input_ids"].shape[1] :].tolist()
        return tokens

    return write


def house_writer(decoder: Transformer) -> Writer:
    """Return this library's `generate` on one text."""
    lm = DecoderLM(decoder, tokenizer(), max_batch_tokens=MAX_BATCH_TOKENS)
    return lambda text: lm.generate([text], max_new_tokens=MAX_NEW_TOKENS, stop=STOPS)[0].token_ids


def prefill_case(decoder: Transformer, task: Task) -> Measured:
    """Return the tokens that pass through the network before and between replies, against each once."""
    caches: list[CountingCache] = []

    def counted(*arguments: Any, **options: Any) -> CountingCache:
        caches.append(CountingCache(*arguments, **options))
        return caches[-1]

    trajectories, replies = together(house_lm(decoder, make_cache=counted), task, len(task.steps))
    prefix = len(tokenizer()(task.prompting.prefix)["input_ids"])
    least = prefix + sum(
        trajectory.cost.prompt_tokens - prefix - fed(own[:-1])
        for trajectory, own in zip(trajectories, replies, strict=True)
    )
    return Measured(
        name=f"tokens read, {len(task.steps)} trajectories of {ROUNDS} rounds, a prefix of {prefix}: against the least",
        ours=sum(cache.passed for cache in caches) - sum(map(fed, replies)),
        peer=least,
        unit="tokens",
        bar="<=1.1",
        peer_settings="the prefix once; then each question, and what stands between two replies, once",
    )


def fed(replies: Replies) -> int:
    """Return how many tokens of replies pass through the network while these are written: all but each last one."""
    return sum(len(reply) - 1 for reply in replies)


class CountingCache(DenseCache):
    """Counts the tokens that pass through the network."""

    passed = 0

    def begin(self, shape: tuple[int, int], **options: Any) -> torch.Tensor:
        """Make room for a forward pass."""
        lengths = options.get("new_lengths")
        self.passed += shape[0] * shape[1] if lengths is None else sum(lengths)
        return super().begin(shape, **options)
