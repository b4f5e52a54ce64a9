"""From a GGUF file to the hub's folder layout, by transformers' own reader: bf16 safetensors, config, tokenizer."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging


def convert_gguf(source: Path, folder: Path) -> None:
    """Write a GGUF file's dequantised tensors (bfloat16), its config and its tokenizer into a new folder.

    Raises:
        OSError: The disk is full.
    """
    with _without_warnings(), _full_disk_as_os_error():
        tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name, padding_side="left")
        model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.bfloat16)
        # transformers takes the model for a quantised one, which it would refuse to save
        vars(model.config).pop("quantization_config", None)
        model.hf_quantizer = None
        tokenizer.save_pretrained(folder)
        model.save_pretrained(folder)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Keep quiet about packed weights, which these are not; the progress bars stay."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)


@contextmanager
def _full_disk_as_os_error() -> Iterator[None]:
    """Raise what safetensors and tokenizers say of a full disk as an `OSError`: they hide its number in their text."""
    try:
        yield
    except Exception as error:  # tokenizers raises no narrower one
        if f"os error {errno.ENOSPC}" in str(error):
            raise OSError(errno.ENOSPC, str(error)) from error
        raise
