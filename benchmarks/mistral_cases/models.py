"""The small Mistral that is measured, with random weights, by transformers and by the house, and its filled caches.

What the house's `generate` does behind a prompt that was read is measured through its own loop, with all its lists.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor
from transformers import DynamicCache, MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast, StaticCache
from transformers.cache_utils import Cache

from october.attention import DecoderConfig, Transformer, decoder_from
from october.attention.cache import RowCache
from october.attention.hugging_face_config import config_from_hugging_face
from october.attention.mistral import MistralModel, RollingBufferCache, pack_
from october.language_models.batching import progress_bar
from october.language_models.generation import GenerationRules, Request
from october.language_models.sampling import row_generators

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
SMALL = {
    "vocab_size": 32_000,
    "hidden_size": 512,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "intermediate_size": 1792,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10_000.0,
    "max_position_embeddings": 131_072,
    "bos_token_id": None,
    "eos_token_id": None,  # so that `generate` writes as many tokens as it is asked for
    "pad_token_id": 0,
}
WINDOW = 4096
KEYS_SEED = 1


def hugging_face_config(window: int, **more: int) -> MistralConfig:
    """Return transformers' config of the small model."""
    return MistralConfig(**{**SMALL, **more}, sliding_window=window)


def small_config(window: int) -> DecoderConfig:
    """Return the house's config of the small model."""
    return config_from_hugging_face(hugging_face_config(window))


def peer_model(window: int, dtype: str = "float32", attention: str = "sdpa") -> MistralForCausalLM:
    """Return transformers' model with random weights; the same ones for all windows and kinds of attention."""
    torch.manual_seed(0)
    config = hugging_face_config(window)
    config._attn_implementation = attention
    return MistralForCausalLM(config).to(DTYPES[dtype]).eval()


def our_model(window: int, dtype: str = "float32") -> Transformer:
    """Return the house decoder with the same weights, packed as `MistralModel` packs it."""
    return pack_(decoder_from(peer_model(window, dtype)))


def random_keys(decoder: DecoderConfig, rows: int, tokens: int, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each layer's keys and values of a text that nobody wrote; the same ones for all who ask alike."""
    generator = torch.Generator().manual_seed(KEYS_SEED)
    draw = partial(torch.randn, rows, decoder.num_kv_heads, tokens, decoder.head_dim, generator=generator)
    for _ in range(decoder.num_layers):
        yield draw().to(dtype), draw().to(dtype)


@torch.inference_mode()
def our_full_cache(decoder: Transformer, rows: int) -> RollingBufferCache:
    """Return a cache whose window is full: W tokens lie in every row."""
    window = decoder.config.sliding_windows[0]
    assert window is not None
    dtype = decoder.embedding.weight.dtype
    cache = RollingBufferCache(decoder.config, rows, window + 1, dtype=dtype)
    for layer, (key, value) in enumerate(random_keys(decoder.config, rows, window, dtype)):
        cache.load(layer, torch.arange(window), key, value)
    return cache


def our_text(model: MistralModel, cache: RowCache, last: Sequence[int]) -> Callable[[int], Tensor]:
    """Return a function that lets the loop of `generate` go on by so many tokens, and returns them, [rows, steps].

    Args:
        model: It writes.
        cache: Holds all texts but for their last tokens; each call goes on from the last one's.
        last: Each text's last token.
    """
    fed = [list(last)]

    @torch.inference_mode()
    def run(steps: int) -> Tensor:
        generators = row_generators([""] * len(last), seed=0)
        requests = [Request([token], generator) for token, generator in zip(fed[0], generators, strict=True)]
        rules = GenerationRules(model.tokenizer, (), (), steps, 0.0, 1.0)
        with progress_bar(len(requests), "generating") as bar:
            model._write(requests, [[token] for token in fed[0]], cache, cache.swap_rows, rules, bar)
        fed[0] = [request.token_ids[-1] for request in requests]
        return torch.tensor([request.token_ids for request in requests])

    return run


def any_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer of one word: random weights write no text, and where nothing ends one it is never asked."""
    names = {"bos_token": "<s>", "unk_token": "<s>"}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"<s>": 0})), **names)


@torch.no_grad()  # not inference mode: a static cache is written to outside it
def peer_full_cache(model: MistralForCausalLM, kind: str, rows: int, longest: int) -> Cache:
    """Return a cache of transformers with the same keys and values.

    Args:
        model: Whose cache it is.
        kind: `dynamic`, whose layers slide as the config says, or `static`.
        rows: Texts.
        longest: Tokens of a text, those to come included.
    """
    window = model.config.sliding_window
    cache = DynamicCache(config=model.config) if kind == "dynamic" else StaticCache(model.config, longest)
    keys = random_keys(config_from_hugging_face(model.config), rows, window, model.dtype)
    for layer, (key, value) in enumerate(keys):
        cache.update(key, value, layer)
    return cache
