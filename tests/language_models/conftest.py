"""Tiny random models of four architectures and two kinds of tokenizer, made in memory."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
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

sys.path.insert(0, str(Path(__file__).parent))  # references.py and serving.py

CORPUS = [
    "The capital of France is Paris, and the capital of Japan is Tokyo.",
    "Question: where is the tower? Answer: in the old town, near the river.",
    "Observation: nothing found.\nThought: I should search again.\nAction: search[river]",
    "naïve café, Ünïcödé and 日本語 with 12345 numbers; tabs\tand spaces  too",
]
WINDOW = 8  # far below the prompts' lengths
ARCHITECTURES = ("llama", "mistral", "gemma3", "gpt_neox")
SMALL = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48, "max_position_embeddings": 512}


def _sentencepiece_like() -> PreTrainedTokenizerFast:
    """Spaces as '▁', unknown characters as bytes, a start token: as Llama and Gemma."""
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    trained.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=150, show_progress=False))
    learned = trained.get_vocab()
    vocabulary = {token: index for index, token in enumerate(tokens)}
    for token in sorted(learned, key=learned.__getitem__):
        vocabulary.setdefault(token, len(vocabulary))
    merges = [tuple(pair) for pair in json.loads(trained.to_str())["model"]["merges"]]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>"
    )


def _byte_level() -> PreTrainedTokenizerFast:
    """Bytes as characters, no start token: as Pythia."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=340, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"], show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|endoftext|>")


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


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models run faster without threads that wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def language_models() -> dict[str, TransformersLM]:
    """A `TransformersLM` in float32 for each architecture."""
    made = {}
    for architecture in ARCHITECTURES:
        tokenizer = _byte_level() if architecture == "gpt_neox" else _sentencepiece_like()
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

        def note(module: Any, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            shapes.append((args[0].shape[0], args[0].shape[1]))

        handles.append(lm.model.get_input_embeddings().register_forward_hook(note))
        return shapes

    yield watch
    for handle in handles:
        handle.remove()
