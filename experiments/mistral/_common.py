"""What the tables of this paper share: cells, timing in turns, and decoders of Mistral's kind."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from statistics import median
from typing import Annotated, Any

import torch
from pydantic import Field, PositiveInt

from october.attention import DecoderConfig, Transformer
from october.errors import OctoberError

Sizes = Annotated[list[PositiveInt], Field(min_length=1)]
VOCABULARY = 32_000
MEBIBYTE = 1 << 20
MISTRAL_7B = DecoderConfig(  # Table 1
    vocab_size=VOCABULARY,
    hidden_size=4096,
    intermediate_size=14_336,
    num_layers=32,
    num_heads=32,
    num_kv_heads=8,
    head_dim=128,
    max_positions=32_768,
    sliding_windows=(4096,),
)


def small_mistral(
    hidden_size: int, num_layers: int, num_heads: int, num_kv_heads: int, window: int | None, max_positions: int
) -> DecoderConfig:
    """Return a shape like Mistral's: heads as wide as they must be, a feed-forward network 3.5 times as wide.

    Raises:
        OctoberError: `num_heads` does not divide `hidden_size`; or as `DecoderConfig`.
    """
    if hidden_size % num_heads:
        raise OctoberError(f"hidden_size={hidden_size}: must be a multiple of num_heads={num_heads}")
    return DecoderConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden_size,
        intermediate_size=7 * hidden_size // 2,
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=hidden_size // num_heads,
        max_positions=max_positions,
        sliding_windows=(window,),
    )


def random_decoder(config: DecoderConfig, seed: int = 0) -> Transformer:
    """Return a decoder that has learned nothing."""
    return Transformer(config, seed=seed).eval()


def hugging_face_model(config: DecoderConfig, seed: int = 0) -> Any:
    """Return a random `MistralForCausalLM` of that shape, wide enough for attention to choose."""
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(seed)
    theirs = MistralConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        num_key_value_heads=config.num_kv_heads,
        head_dim=config.head_dim,
        max_position_embeddings=config.max_positions,
        sliding_window=config.sliding_windows[0],
        initializer_range=config.hidden_size**-0.5,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    return MistralForCausalLM(theirs).eval()


def without_window(config: DecoderConfig) -> DecoderConfig:
    """Return the same shape with full attention."""
    return replace(config, sliding_windows=(None,))


def random_text(seed: int, length: int, vocab_size: int = VOCABULARY) -> list[int]:
    """Return token ids drawn evenly from the vocabulary."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(vocab_size, (length,), generator=generator).tolist()


def seconds_in_turn(
    calls: Mapping[str, Callable[[], Any]], tries: int, device: torch.device | None = None
) -> dict[str, float]:
    """Call each in turn, round after round, and return its median seconds; what disturbs one disturbs all.

    Args:
        calls: What is timed, by name.
        tries: Rounds.
        device: Waited for after each call, should it compute behind its back; the CPU does not.
    """
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(tries):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if device is not None and device.type != "cpu":
                torch.accelerator.synchronize(device)
            taken[name].append(time.perf_counter() - started)
    return {name: median(seconds) for name, seconds in taken.items()}
