"""Tiny random models of four architectures and two kinds of tokenizer, made in memory."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_tokenizers
import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
)

from october.language_models import TransformersLM

WINDOW = 8  # far below the prompts' lengths
ARCHITECTURES = ("llama", "mistral", "gemma3", "gpt_neox")
SMALL = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48, "max_position_embeddings": 512}


def _model(architecture: str, tokenizer: PreTrainedTokenizerFast) -> Any:
    common = {
        **SMALL,
        "vocab_size": len(tokenizer),
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "pad_token_id": None,
        "initializer_range": 0.4,  # wide enough for logits without near ties
    }
    torch.manual_seed(0)
    if architecture == "llama":
        return LlamaForCausalLM(LlamaConfig(**common, num_hidden_layers=2, num_key_value_heads=2))
    if architecture == "mistral":
        config = MistralConfig(**common, num_hidden_layers=3, num_key_value_heads=1, sliding_window=WINDOW)
        return MistralForCausalLM(config)
    if architecture == "gemma3":
        layers = ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"]
        config = Gemma3TextConfig(
            **common,
            num_hidden_layers=4,
            num_key_value_heads=1,
            head_dim=8,
            layer_types=layers,
            sliding_window=WINDOW,
        )
        return Gemma3ForCausalLM(config)
    return GPTNeoXForCausalLM(GPTNeoXConfig(**common, num_hidden_layers=2, rotary_pct=0.5))


@pytest.fixture(autouse=True, scope="module")
def _one_thread(one_thread: None) -> None:
    """For every test here."""


@pytest.fixture(scope="session")
def language_models() -> dict[str, TransformersLM]:
    """A `TransformersLM` in float32 for each architecture."""
    made = {}
    for architecture in ARCHITECTURES:
        tokenizer = tiny_tokenizers.byte_level() if architecture == "gpt_neox" else tiny_tokenizers.sentencepiece_like()
        made[architecture] = TransformersLM(_model(architecture, tokenizer), tokenizer, max_batch_tokens=200)
    return made


@pytest.fixture(scope="session", params=ARCHITECTURES)
def lm(request: pytest.FixtureRequest, language_models: dict[str, TransformersLM]) -> TransformersLM:
    """Each architecture in turn."""
    return language_models[request.param]


@pytest.fixture(scope="session")
def llama(language_models: dict[str, TransformersLM]) -> TransformersLM:
    """One model for what does not depend on the architecture."""
    return language_models["llama"]


@pytest.fixture(scope="session")
def model_folder(language_models: dict[str, TransformersLM], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama saved as on the hub."""
    folder = tmp_path_factory.mktemp("models") / "tiny_llama"
    language_models["llama"].model.save_pretrained(folder)
    language_models["llama"].tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def fed_tokens() -> Iterator[Callable[[TransformersLM], list[tuple[int, int]]]]:
    """Return a function that makes a list of the shapes [rows, tokens] of all the forward passes that follow."""
    handles = []

    def watch(lm: TransformersLM) -> list[tuple[int, int]]:
        shapes: list[tuple[int, int]] = []
        assert lm._head.reads_trees  # tried once for a model, before anything is counted

        def note(module: Any, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            shapes.append((args[0].shape[0], args[0].shape[1]))

        handles.append(lm.model.get_input_embeddings().register_forward_hook(note))
        return shapes

    yield watch
    for handle in handles:
        handle.remove()
