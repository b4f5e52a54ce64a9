"""From a handle to weights in memory: dtype and device chosen, what was loaded last is kept.

A process that goes through many models (a multirun, an ablation) keeps only the last of them.
"""

import contextlib
import logging
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

from ..errors import OctoberError
from ..files import content_hash
from ..reporting.environment import cpu_multiplies_bfloat16
from .embedded import embedded_folder, load_tokenizer_file
from .fingerprints import sha256_of_files
from .places import model_folder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from .handles import EncoderHandle, ModelHandle

MODELS_KEPT, ENCODERS_KEPT = 2, 4
_FINGERPRINTED = ("*.safetensors", "config.json", "tokenizer.json", "tokenizer.model", "vocab.txt")
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@lru_cache(maxsize=MODELS_KEPT)
def load_model(handle: "ModelHandle") -> tuple[Any, Any]:
    """Return a handle's model and tokenizer.

    Raises:
        OctoberError: The files are missing, unreachable or damaged.
    """
    handle.check()
    device = chosen_device(handle.device)
    dtype = chosen_dtype(handle.dtype, device)
    folder = _folder(handle)
    with _damage_named(folder):
        tokenizer = _tokenizer(handle, folder)
        model = _random_model(handle, folder, dtype) if handle.random_weights else _model(handle, folder, dtype)
    return model.to(device).eval(), tokenizer


@lru_cache(maxsize=ENCODERS_KEPT)
def load_encoder(handle: "EncoderHandle", *, query: bool) -> "SentenceTransformer":
    """Return a handle's encoder of passages, or of queries.

    Raises:
        OctoberError: The files are missing, unreachable or damaged.
    """
    handle.check()
    folder = _encoder_folder(handle, query=query)
    with _damage_named(folder), _quiet():
        encoder = _sentence_transformer(handle, folder)
    if handle.max_sequence_length is not None:
        encoder.max_seq_length = handle.max_sequence_length
    return encoder


def fingerprint(handle: "ModelHandle") -> str:
    """Return what `ModelHandle.fingerprint` promises."""
    dtype = chosen_dtype(handle.dtype, chosen_device(handle.device))
    initialised = handle.seed if handle.random_weights else None
    return content_hash({"files": _digests(_folder(handle)), "dtype": str(dtype), "random": initialised})


def encoder_fingerprint(handle: "EncoderHandle") -> str:
    """Return what `EncoderHandle.fingerprint` promises."""
    read = [handle.pooling, handle.normalize, handle.max_sequence_length]
    return content_hash({"files": _digests(_encoder_folder(handle, query=False)), "read": read})


def chosen_device(name: str) -> torch.device:
    """Return the device that `auto` or a name means here.

    Raises:
        OctoberError: The named device is not there.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, there in present.items() if there)
    if not present[name]:
        raise OctoberError(f"device={name}: there is none on this machine")
    return torch.device(name)


def chosen_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype that `auto` or a name means on a device."""
    if name != "auto":
        return _DTYPES[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if device.type == "cpu" and cpu_multiplies_bfloat16() else torch.float32


def _folder(handle: "ModelHandle") -> Path:
    if handle.path is not None:
        return model_folder(handle.path, handle.revision)
    if handle.embedded is None:
        raise OctoberError(f"model {handle.name}: give model.path=… (a folder or a name on the hub)")
    return embedded_folder(handle.embedded)


def _encoder_folder(handle: "EncoderHandle", *, query: bool) -> Path:
    path = handle.query_path if query else handle.path
    if path is not None:
        return model_folder(path, handle.revision, also=["pytorch_model.bin"])  # older encoders have nothing else
    if handle.embedded is None:
        raise OctoberError(f"encoder {handle.name}: give encoder.path=… (a folder or a name on the hub)")
    return embedded_folder(handle.embedded)


def _tokenizer(handle: "ModelHandle", folder: Path) -> Any:
    if handle.path is None and handle.embedded == "gemma3_270m":
        tokenizer = load_tokenizer_file(folder)
    else:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.padding_side = "left" if handle.kind == "causal_lm" else "right"
    if tokenizer.pad_token is None:  # Llama and Pythia have none; padding is masked, so any token serves
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _model(handle: "ModelHandle", folder: Path, dtype: torch.dtype) -> Any:
    if not any(folder.glob("*.safetensors")):
        raise OctoberError(f"model path {folder}: the folder holds no *.safetensors; no other weights are loaded")
    auto = AutoModelForCausalLM if handle.kind == "causal_lm" else AutoModel
    with _quiet():
        model, report = auto.from_pretrained(folder, dtype=dtype, use_safetensors=True, output_loading_info=True)
    absent = sorted(key for key in report["missing_keys"] if "pooler" not in key)
    if absent:
        raise OctoberError(f"model path {folder}: the weights lack {len(absent)} tensors, {absent[0]} first")
    return model


def _random_model(handle: "ModelHandle", folder: Path, dtype: torch.dtype) -> Any:
    """Initialise in float32, so that every dtype gets the same weights."""
    auto = AutoModelForCausalLM if handle.kind == "causal_lm" else AutoModel
    config = AutoConfig.from_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(handle.seed)
        return auto.from_config(config, dtype=torch.float32).to(dtype)


def _sentence_transformer(handle: "EncoderHandle", folder: Path) -> "SentenceTransformer":
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    device = str(chosen_device(handle.device))
    if handle.pooling is None:
        return SentenceTransformer(str(folder), device=device)
    transformer = Transformer(str(folder))
    modules = [transformer, Pooling(transformer.get_embedding_dimension(), pooling_mode=handle.pooling)]
    return SentenceTransformer(modules=[*modules, *([Normalize()] if handle.normalize else [])], device=device)


def _digests(folder: Path) -> dict[str, str]:
    return sha256_of_files({path for pattern in _FINGERPRINTED for path in folder.glob(pattern)})


@contextlib.contextmanager
def _damage_named(folder: Path) -> Iterator[None]:
    """Turn what the libraries raise on damaged or incomplete files into one line that names the folder."""
    try:
        yield
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise OctoberError(f"model path {folder}: cannot be loaded ({lines[0]})") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the loader's progress bar and its report of unused weights from the user's screen."""
    from transformers.utils import logging as transformers_logging

    logger = logging.getLogger("transformers")
    level, bars = logger.level, transformers_logging.is_progress_bar_enabled()
    logger.setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        logger.setLevel(level)
        if bars:
            transformers_logging.enable_progress_bar()
