"""Encoder-decoder models (T5, BART) of transformers that write summaries."""

from collections.abc import Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from ...errors import OctoberError
from ...language_models.batching import length_sorted_batches, progress_bar
from ...language_models.loading import chosen_device
from ...language_models.places import model_folder
from .abstractive import RELEASED_ABSTRACTIVE


class Seq2SeqWriter:
    """An encoder-decoder and its tokenizer.

    Args:
        model: Any `AutoModelForSeq2SeqLM`.
        tokenizer: Its tokenizer, a fast one.
        max_batch_tokens: Tokens of inputs, padding included, that pass through the encoder at once.
    """

    def __init__(self, model: Any, tokenizer: Any, *, max_batch_tokens: int = 8192) -> None:
        if max_batch_tokens < 1:
            raise OctoberError(f"max_batch_tokens={max_batch_tokens}: must be at least 1")
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.max_batch_tokens = max_batch_tokens

    @classmethod
    def load(cls, path: str, *, revision: str | None = None, device: str = "auto") -> "Seq2SeqWriter":
        """Return a model from a folder, from the hub, or by a key of `RELEASED_ABSTRACTIVE`.

        Raises:
            OctoberError: It cannot be found, reached or read.
        """
        place = RELEASED_ABSTRACTIVE.get(path, path)
        folder = model_folder(place, revision, also=["pytorch_model.bin"])  # older checkpoints have nothing else
        try:
            model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32)
            tokenizer = AutoTokenizer.from_pretrained(folder)
        except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise OctoberError(f"model path {folder}: cannot be loaded ({reason})") from error
        return cls(model.to(chosen_device(device)), tokenizer)

    @torch.inference_mode()
    def write(self, inputs: Sequence[str], max_new_tokens: int) -> list[str]:
        """Return the likeliest text token by token for each input, inputs of similar length together."""
        encoded = self.tokenizer([text + " " for text in inputs])["input_ids"] if inputs else []
        texts = [""] * len(encoded)
        with progress_bar(len(encoded), "summarising") as bar:
            for batch in length_sorted_batches([len(ids) for ids in encoded], self.max_batch_tokens):
                written = self._written([encoded[index] for index in batch], max_new_tokens)
                for index, text in zip(batch, written, strict=True):
                    texts[index] = text
                bar.update(len(batch))
        return texts

    def _written(self, rows: list[list[int]], max_new_tokens: int) -> list[str]:
        longest = max(map(len, rows))
        padding = self.tokenizer.pad_token_id
        input_ids = torch.tensor([row + [padding] * (longest - len(row)) for row in rows], device=self.model.device)
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=self.model.device)
        written = self.model.generate(
            input_ids=input_ids, attention_mask=mask, max_new_tokens=max_new_tokens, do_sample=False, num_beams=1
        )
        texts: list[str] = self.tokenizer.batch_decode(written, skip_special_tokens=True)
        return texts
