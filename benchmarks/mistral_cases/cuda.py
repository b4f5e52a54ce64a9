"""Where a CUDA device is at hand: the 7B shape in bfloat16 with random weights, against transformers."""

import statistics
from collections.abc import Callable, Mapping
from functools import partial

import torch
import transformers
from shared_cases.timing import seconds_of
from torch import Tensor
from transformers import DynamicCache, MistralForCausalLM

from mistral_cases.models import hugging_face_config
from october.attention import Transformer, decoder_from
from october.attention.chunked_prefill import prefill
from october.attention.mistral import RollingBufferCache, pack_
from october.reporting.benchmarks import Measured

SEVEN_B = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 14_336,
}
WINDOW, CHUNK = 4096, 4096  # the paper's: a chunk is a window
LENGTHS = (4096, 32_768)
STEPS, REPEATS = 32, 5


def cuda_cases(divisor: int) -> list[Measured]:
    """Return pre-fill, decoding and the memory of both, to 32k tokens."""
    if not torch.cuda.is_available():
        print("skipped: the 7B shape on a CUDA device, as there is none")
        return []
    peer, ours = seven_b(WINDOW // divisor)
    cases: list[Measured] = []
    for length in LENGTHS:
        cases += length_cases(peer, ours, length // divisor)
    return cases


def seven_b(window: int) -> tuple[MistralForCausalLM, Transformer]:
    """Return transformers' model and the house's, packed, with the same random weights."""
    torch.manual_seed(0)
    with torch.device("cuda"):
        torch.set_default_dtype(torch.bfloat16)
        peer = MistralForCausalLM(hugging_face_config(window, **SEVEN_B)).eval()
        torch.set_default_dtype(torch.float32)
    return peer, pack_(decoder_from(peer))


def length_cases(peer: MistralForCausalLM, ours: Transformer, length: int) -> list[Measured]:
    """Return the cases of one length of prompt; the steps go on after it."""
    token_ids = torch.randint(32_000, (1, length), device="cuda")
    calls: dict[str, Callable[[int], Tensor]] = {"ours": our_text(ours, token_ids), "peer": their_text(peer, token_ids)}
    settings = (
        f"transformers {transformers.__version__}, sdpa, dynamic cache, logits_to_keep=1, "
        f"{torch.cuda.get_device_name()}"
    )
    speeds = tokens_per_second(calls, length)
    our_bytes, their_bytes = (memory(lambda call=calls[who]: call(1 + STEPS)) for who in ("ours", "peer"))
    return [
        *(
            Measured(
                name=f"7B shape, bfloat16, CUDA, {length:,} tokens: {what}, against transformers",
                ours=speeds["ours"][place],
                peer=speeds["peer"][place],
                unit="tokens/s",
                better="higher",
                peer_settings=settings,
            )
            for place, what in enumerate(("pre-fill", f"decoding of {STEPS} after them"))
        ),
        Measured(
            name=f"7B shape, CUDA, memory beside the weights, {length:,} tokens in and {1 + STEPS} out",
            ours=our_bytes,
            peer=their_bytes,
            unit="B",
            peer_settings=settings,
        ),
    ]


def tokens_per_second(calls: Mapping[str, Callable[[int], Tensor]], length: int) -> dict[str, tuple[float, float]]:
    """Return each side's rates of pre-fill and of decoding, from medians of interleaved calls for one and more tokens.

    A call's first token comes with the pre-fill; what more tokens cost beyond it is decoding.
    """
    rounds = [
        {(who, steps): seconds_of(partial(call, steps)) for who, call in calls.items() for steps in (1, 1 + STEPS)}
        for _ in range(1 + REPEATS)
    ][1:]  # the first one warms up
    rates = {}
    for who in calls:
        first, all_steps = (statistics.median(each[who, steps] for each in rounds) for steps in (1, 1 + STEPS))
        rates[who] = (length / first, STEPS / (all_steps - first))
    return rates


def our_text(decoder: Transformer, token_ids: Tensor) -> Callable[[int], Tensor]:
    """Return a function that pre-fills in chunks and writes so many tokens greedily."""
    prompt = token_ids.tolist()

    @torch.inference_mode()
    def run(steps: int) -> Tensor:
        cache = RollingBufferCache(
            decoder.config, 1, token_ids.shape[1] + steps, dtype=torch.bfloat16, device=token_ids.device
        )
        states = prefill(decoder, prompt, cache, chunk_size=min(CHUNK, token_ids.shape[1]))
        tokens = [decoder.logits(states).argmax(dim=-1)]
        for _ in range(steps - 1):
            tokens.append(decoder.logits(decoder(tokens[-1][:, None], cache=cache)[:, -1]).argmax(dim=-1))
        torch.cuda.synchronize()
        return torch.stack(tokens, dim=1)

    return run


def their_text(model: MistralForCausalLM, token_ids: Tensor) -> Callable[[int], Tensor]:
    """Return a function that lets `generate` do the same."""

    def run(steps: int) -> Tensor:
        text = model.generate(
            token_ids,
            attention_mask=torch.ones_like(token_ids),
            past_key_values=DynamicCache(config=model.config),
            max_new_tokens=steps,
            do_sample=False,
        )
        torch.cuda.synchronize()
        return text[:, token_ids.shape[1] :]

    return run


def memory(call: Callable[[], Tensor]) -> int:
    """Return the bytes that a call takes at its peak beside what was there before."""
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    return torch.cuda.max_memory_allocated() - before
