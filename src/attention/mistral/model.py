"""Mistral 7B and its kin, ready to write: weights as wanted, rolling caches, pre-fill in chunks, texts as they come."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from ...errors import OctoberError, reason_of
from ...language_models.base import check_generation
from ...language_models.generation import GenerationRules, Request
from ...language_models.handles import Device
from ...language_models.places import model_folder
from ...language_models.text_stream import TextStream
from ..cache import RowCache
from ..checkpoints import load_decoder, read_config
from ..chunked_prefill import PREFILL_CHUNK
from ..language_model import DecoderLM, check_token_bounds
from ..transformer import DecoderLayer, Transformer
from .compiled_steps import check_compiling, compile_steps_
from .packed_decoder import PackedLayer, pack_, pack_layer
from .quantization import QuantizedKind, check_quantization, quantize_, quantize_module_
from .rolling_cache import RollingBufferCache

Weights = Literal["auto", "float32", "bfloat16", "int8", "int4"]


class MistralModel(DecoderLM):
    """A `LanguageModel` on rolling buffer caches, which also streams.

    Windows are those of the decoder's config; layers without one keep every token. Llama and Gemma 3 run as well.

    Args:
        transformer: The decoder.
        tokenizer: Its tokenizer, a fast one of transformers.
        end_ids: Tokens that end a text; the tokenizer's end token if not given.
        max_batch_tokens: As in `DecoderLM`.
        prefill_chunk: Tokens of a text that pass through the network at once; None lets it pass whole.

    Raises:
        OctoberError: As `DecoderLM`.
    """

    def __init__(
        self,
        transformer: Transformer,
        tokenizer: Any,
        *,
        end_ids: Sequence[int] | None = None,
        max_batch_tokens: int = 4096,
        prefill_chunk: int | None = PREFILL_CHUNK,
    ) -> None:
        super().__init__(
            transformer,
            tokenizer,
            end_ids=end_ids,
            max_batch_tokens=max_batch_tokens,
            make_cache=RollingBufferCache,
            prefill_chunk=prefill_chunk,
        )

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        revision: str | None = None,
        weights: Weights = "auto",
        device: Device = "auto",
        compile_steps: bool = False,
        max_batch_tokens: int = 4096,
        prefill_chunk: int | None = PREFILL_CHUNK,
    ) -> "MistralModel":
        """Load a model and its tokenizer, layer by layer: the model is never in memory whole but as it will run.

        Args:
            path: A folder in Hugging Face's layout, or a name on the hub.
            revision: Branch, tag or commit on the hub.
            weights: `float32` or `bfloat16`, activations too; `int8` or `int4`, activations in bfloat16, on a CPU;
                `auto` is bfloat16 where the processor multiplies it natively, else float32.
            device: `auto` is the first of cuda, mps and cpu that is there.
            compile_steps: Compile decoding steps: a small model in float32 or bfloat16 on a CPU writes up to a fifth
                faster, after half a minute; see `compile_steps_` for what it needs.
            max_batch_tokens: As in `DecoderLM`.
            prefill_chunk: As in `MistralModel`.

        Raises:
            OctoberError: As `load_decoder`, `check_quantization`, `check_compiling` and `MistralModel`; or the
                tokenizer is missing or damaged.
        """
        from ...language_models.loading import chosen_device

        check_token_bounds(max_batch_tokens, prefill_chunk)
        place = chosen_device(device)
        dtype = _dtype(weights, place)
        if compile_steps:
            check_compiling(weights, place)
        folder = model_folder(str(path), revision)
        read_config(folder)  # before the tokenizer, whose loader reads it too and would be blamed for its faults
        tokenizer = _tokenizer(folder)
        decoder = pack_(load_decoder(folder, dtype, place, finish_layer=_finisher(weights)))
        if weights in get_args(QuantizedKind):
            quantize_(decoder, weights)  # type: ignore[arg-type]
        elif compile_steps:
            compile_steps_(decoder)
        return cls(
            decoder,
            tokenizer,
            end_ids=_end_ids(folder, tokenizer),
            max_batch_tokens=max_batch_tokens,
            prefill_chunk=prefill_chunk,
        )

    def stream(
        self,
        prompt: str,
        *,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> Iterator[str]:
        """Continue one prompt; yield its text as it grows, in pieces that joined are the text of `generate`.

        A character whose bytes are not all there is held back, and so is what may turn out to begin a stop string.
        Arguments and errors as in `LanguageModel.generate`; they are checked before the first piece is asked for.
        """
        check_generation([prompt], max_new_tokens, stop, temperature, top_p)
        (request,) = self._requests([prompt], max_new_tokens, seed)
        rules = GenerationRules(self.tokenizer, self._end_ids, stop, max_new_tokens, temperature, top_p)
        cache = self._new_cache(1, len(request.prompt_ids) + max_new_tokens)
        return self._pieces(request, rules, cache, TextStream(self.tokenizer, request.prompt_ids[-1], stop))

    def _pieces(self, request: Request, rules: GenerationRules, cache: RowCache, text: TextStream) -> Iterator[str]:
        token, given = self._next_token(request, request.prompt_ids, cache, rules), 0
        while request.finish_reason is None:
            piece = text.piece(token)
            if piece:
                yield piece
            given += len(piece)
            token = self._next_token(request, [token], cache, rules)
        rest = rules.completion(request).text[given:]
        if rest:
            yield rest

    @torch.inference_mode()  # not around a `yield`: whoever reads the stream keeps his own mode
    def _next_token(self, request: Request, new: list[int], cache: RowCache, rules: GenerationRules) -> int:
        return int(rules.append([request], self._next_logits([new], cache)))


def _dtype(weights: Weights, device: torch.device) -> torch.dtype:
    """Return the dtype of the activations."""
    from ...language_models.loading import chosen_dtype

    if weights not in get_args(Weights):
        raise OctoberError(f"weights={weights}: must be one of {', '.join(get_args(Weights))}")
    if weights not in get_args(QuantizedKind):
        return chosen_dtype(weights, device)
    check_quantization(weights, torch.bfloat16, device)
    return torch.bfloat16


def _finisher(weights: Weights) -> Callable[[DecoderLayer], PackedLayer]:
    def finish(layer: DecoderLayer) -> PackedLayer:
        packed = pack_layer(layer)
        if weights == "int8" or weights == "int4":
            quantize_module_(packed, weights)
        return packed

    return finish


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the parsers of tokenizer files raise whatever they like
        raise OctoberError(f"{folder}: its tokenizer cannot be read ({reason_of(error)})") from error


def _end_ids(folder: Path, tokenizer: Any) -> list[int]:
    """Return the tokens that end a text, as the model's files tell them."""
    for name in ("generation_config.json", "config.json"):
        if (folder / name).is_file():
            try:
                end = json.loads((folder / name).read_text()).get("eos_token_id")
            except (ValueError, AttributeError) as error:
                raise OctoberError(f"{folder / name}: cannot be read ({error})") from error
            if end is not None:
                return list(end) if isinstance(end, list) else [end]
    return [tokenizer.eos_token_id]
