"""Perplexity of a pretrained decoder under other windows than its own, through the rolling buffer, and in few bits."""

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import torch
from jaxtyping import Float

from october.attention import Transformer, decoder_from
from october.attention.mistral import RollingBufferCache, quantize_
from october.attention.perplexity import token_losses
from october.data import wikipedia_documents
from october.errors import OctoberError
from october.language_models import ModelHandle
from october.language_models.output_head import log_probabilities_in_pieces

DType = Literal["float32", "bfloat16"]
Quantized = Literal["int8", "int4"]
Windows = tuple[int | None, ...]


class Reader:
    """A pretrained model and the held-out documents that it reads; loaded when first asked.

    Args:
        model: A causal language model that the house decoder knows.
        context: Tokens read of each document.
        num_documents: Documents, the first ones that are long enough.

    Raises:
        OctoberError: The model is an encoder.
    """

    def __init__(self, model: ModelHandle, context: int, num_documents: int) -> None:
        if model.kind != "causal_lm":
            raise OctoberError(f"model {model.name}: an encoder predicts no text; choose a causal_lm")
        self.model = model
        self.context = context
        self.num_documents = num_documents
        self._decoders: dict[DType | Quantized, Transformer] = {}

    def losses(self, windows: Windows | None = None) -> list[float]:
        """Return each document's mean loss (nats per token) in bfloat16, under its own windows if none are given."""
        decoder = self._decoder("bfloat16")
        return self._means(decoder if windows is None else with_windows(decoder, windows))

    def quantized_losses(self, kind: Quantized, chunk_size: int | None = None) -> list[float]:
        """Return each document's mean loss with weights of few bits: in one pass, or in chunks through the buffer."""
        decoder = self._decoder(kind)
        if chunk_size is None:
            return self._means(decoder)
        return [
            losses_through_buffer(decoder, ids, self.start_id, chunk_size).double().mean().item()
            for ids in self.documents
        ]

    def buffered_losses(self, chunk_size: int, num_documents: int) -> tuple[list[float], float]:
        """Read some documents in float32 through the rolling buffer, chunk by chunk, and in one pass.

        Returns:
            Each document's mean loss through the buffer, and the largest difference at any token.
        """
        decoder, means, largest = self._decoder("float32"), [], 0.0
        for token_ids in self.documents[:num_documents]:
            at_once = token_losses(decoder, token_ids, start_id=self.start_id, window=self.context)
            buffered = losses_through_buffer(decoder, token_ids, self.start_id, chunk_size)
            means.append(buffered.double().mean().item())
            largest = max(largest, (buffered - at_once).abs().max().item())
        return means, largest

    def own_windows(self) -> Windows:
        """Return the windows that the model was trained with, by layer."""
        return self._decoder("bfloat16").config.sliding_windows

    @cached_property
    def documents(self) -> list[list[int]]:
        """Each document's first tokens, without a start token.

        Raises:
            OctoberError: Fewer documents are long enough.
        """
        tokenizer = self._loaded("bfloat16")[1]
        encoded = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in wikipedia_documents()[1])
        documents = [ids[: self.context] for ids in encoded if len(ids) >= self.context]
        if len(documents) < self.num_documents:
            raise OctoberError(
                f"num_documents={self.num_documents}: {len(documents)} held-out documents have {self.context} tokens"
            )
        return documents[: self.num_documents]

    @property
    def start_id(self) -> int:
        """The token that begins every document.

        Raises:
            OctoberError: The model has none.
        """
        start_id = self._loaded("bfloat16")[1].bos_token_id
        if start_id is None:
            raise OctoberError(f"model {self.model.name}: its tokenizer has no start token")
        return int(start_id)

    def _means(self, decoder: Transformer) -> list[float]:
        return [
            token_losses(decoder, ids, start_id=self.start_id, window=self.context).double().mean().item()
            for ids in self.documents
        ]

    def _decoder(self, weights: DType | Quantized) -> Transformer:
        """Return the decoder with such weights, made once."""
        if weights not in self._decoders:
            if weights == "int8" or weights == "int4":
                self._decoders[weights] = quantize_(decoder_from(self._loaded("bfloat16")[0]), weights)
            else:
                self._decoders[weights] = decoder_from(self._loaded(weights)[0])
        return self._decoders[weights]

    def _loaded(self, dtype: DType) -> tuple[Any, Any]:
        """Return model and tokenizer; each dtype that is asked for stays in memory."""
        return replace(self.model, dtype=dtype).load()


def with_windows(decoder: Transformer, windows: Windows) -> Transformer:
    """Return the decoder with other windows; the weights are the same ones."""
    other = copy(decoder)
    other.config = replace(decoder.config, sliding_windows=windows)
    return other


def in_sliding_layers(own: Windows, window: int) -> Windows:
    """Return windows in which every layer that has one has another.

    Raises:
        OctoberError: No layer has a window.
    """
    if all(each is None for each in own):
        raise OctoberError(f"windows=[{window}]: no layer of the model has a window; use windows_of_all_layers")
    return tuple(None if each is None else window for each in own)


@torch.inference_mode()
def losses_through_buffer(
    decoder: Transformer, token_ids: Sequence[int], start_id: int, chunk_size: int
) -> Float[torch.Tensor, " tokens"]:
    """Return each token's loss (nats) where the text is fed in chunks through a rolling buffer cache."""
    weight = decoder.embedding.weight
    cache = RollingBufferCache(decoder.config, 1, len(token_ids), dtype=weight.dtype, device=weight.device)
    targets = torch.tensor(token_ids, device=weight.device)
    fed = torch.cat([targets.new_tensor([start_id]), targets[:-1]])
    losses = []
    for chunk, wanted in zip(fed.split(chunk_size), targets.split(chunk_size), strict=True):
        hidden = decoder(chunk[None], cache=cache)[0]
        losses.append(-log_probabilities_in_pieces(decoder.logits, decoder.config.vocab_size, hidden, wanted))
    return torch.cat(losses)
