"""Decoders with weights from Hugging Face: a folder of safetensors, read tensor by tensor, or a model in memory."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import nn

from ..errors import OctoberError, reason_of
from .causal_attention import Attention, full_attention
from .decoder_config import DecoderConfig
from .hugging_face_config import check_model_type, config_from_hugging_face
from .transformer import DecoderLayer, Transformer

_INDEX = "model.safetensors.index.json"
_EMBEDDING, _HEAD = "model.embed_tokens.weight", "lm_head.weight"
_LAYER = "model.layers.{}."
_NOT_WEIGHTS = ("rotary_emb.inv_freq",)  # a buffer that old checkpoints hold


def load_decoder(
    path: str | Path,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    attention: Attention = full_attention,
    finish_layer: Callable[[DecoderLayer], nn.Module] | None = None,
) -> Transformer:
    """Load a Llama, Mistral or Gemma 3 text model from a folder in Hugging Face's layout.

    One tensor at a time is read, converted and put in its place: the model is never in memory twice.

    Args:
        path: A folder with `config.json` and `model.safetensors`, or several files and their index.
        dtype: Of the weights in memory.
        device: Where they go.
        attention: As in `Transformer`.
        finish_layer: Called with each layer as soon as it has all its weights; what it returns takes the layer's
            place: a quantised one, say, so that the whole model is never in memory as it is stored.

    Raises:
        OctoberError: The folder, its config or a tensor is missing, damaged, of the wrong shape or of an unknown kind;
            or the weights contradict the config.
    """
    folder = Path(path)
    decoder = _empty(read_config(folder), attention)
    places = _places(decoder)
    missing, copied_head = dict.fromkeys(places), None
    for name, tensor in _tensors(folder):
        if name == _HEAD and decoder.config.tie_embeddings:
            copied_head = tensor
        elif not name.endswith(_NOT_WEIGHTS):
            _check_stored(folder, name, tensor, repeated=name in places and name not in missing)
            # copied in any case: what was read may be a view of the file
            _put(decoder, places, name, tensor.to(device, dtype, copy=True), str(folder))
            missing.pop(name)
            if finish_layer is not None:
                _finish(decoder, name, missing, finish_layer)
    if missing:
        raise OctoberError(f"{folder}: the weights lack {len(missing)} tensors, {next(iter(missing))} first")
    if copied_head is not None and not torch.equal(copied_head.to(device, dtype), decoder.embedding.weight):
        raise OctoberError(f"{folder}: the config says tie_word_embeddings, but {_HEAD} is not {_EMBEDDING}")
    _tie(decoder)
    return decoder.eval()


def read_config(folder: Path) -> DecoderConfig:
    """Return the decoder's config that a folder's `config.json` describes.

    Raises:
        OctoberError: It is missing, damaged, or describes a model that the decoder does not know.
    """
    return config_from_hugging_face(_read_config(folder))


def decoder_from(model: Any, attention: Attention = full_attention) -> Transformer:
    """Return the house decoder on the weights of a live transformers model, which both then share.

    Args:
        model: A `LlamaForCausalLM`, `MistralForCausalLM` or `Gemma3ForCausalLM`.
        attention: As in `Transformer`.

    Raises:
        OctoberError: A model that the decoder does not know.
    """
    decoder = _empty(config_from_hugging_face(model.config), attention)
    places = _places(decoder)
    weights = {name: weight for name, weight in model.named_parameters() if _is_weight(name, decoder.config)}
    lacking = sorted(places.keys() - weights.keys())
    if lacking:
        raise OctoberError(
            f"{type(model).__name__} has no {lacking[0]}: a causal language model with its head is needed"
        )
    for name, weight in weights.items():
        _put(decoder, places, name, weight, type(model).__name__)
    _tie(decoder)
    return decoder.train(model.training)


def _check_stored(folder: Path, name: str, tensor: torch.Tensor, *, repeated: bool) -> None:
    if repeated:
        raise OctoberError(f"{folder}: tensor {name} is stored twice")
    if not tensor.is_floating_point():
        raise OctoberError(f"{folder}: tensor {name} is {tensor.dtype}: weights must be floating-point numbers")


def _finish(
    decoder: Transformer, name: str, missing: dict[str, None], finish_layer: Callable[[DecoderLayer], nn.Module]
) -> None:
    """Replace a layer by what `finish_layer` makes of it, if a tensor was the layer's last one."""
    for index, layer in enumerate(decoder.layers):
        prefix = _LAYER.format(index)
        if name.startswith(prefix) and not any(other.startswith(prefix) for other in missing):
            decoder.layers[index] = finish_layer(cast(DecoderLayer, layer))


def _empty(config: DecoderConfig, attention: Attention) -> Transformer:
    with torch.device("meta"):
        return Transformer(config, attention)


def _tie(decoder: Transformer) -> None:
    if decoder.config.tie_embeddings:
        decoder.head.weight = decoder.embedding.weight


def _put(decoder: Transformer, places: dict[str, str], name: str, weight: torch.Tensor, source: str) -> None:
    if name not in places:
        raise OctoberError(f"{source}: tensor {name} is not one of a {len(decoder.layers)}-layer decoder as configured")
    module_name, _, parameter = places[name].rpartition(".")
    module = decoder.get_submodule(module_name)
    expected = module.get_parameter(parameter).shape
    if weight.shape != expected:
        raise OctoberError(
            f"{source}: tensor {name} has shape {tuple(weight.shape)}, the config says {tuple(expected)}"
        )
    setattr(module, parameter, weight if isinstance(weight, nn.Parameter) else nn.Parameter(weight))


def _places(decoder: Transformer) -> dict[str, str]:
    """Return Hugging Face's name of each parameter, and ours."""
    config = decoder.config
    places = {_EMBEDDING: "embedding.weight", "model.norm.weight": "norm.weight"}
    if not config.tie_embeddings:
        places[_HEAD] = "head.weight"
    for layer in range(config.num_layers):
        for theirs, ours in _layer_places(config):
            places[f"{_LAYER.format(layer)}{theirs}.weight"] = f"layers.{layer}.{ours}.weight"
    return places


def _layer_places(config: DecoderConfig) -> Iterator[tuple[str, str]]:
    for theirs, ours in (("q", "query"), ("k", "key"), ("v", "value"), ("o", "output")):
        yield f"self_attn.{theirs}_proj", f"attention.{ours}"
    for name in ("gate", "up", "down"):
        yield f"mlp.{name}_proj", f"feed_forward.{name}"
    yield "input_layernorm", "attention.norm"
    if config.post_norms:
        yield "post_attention_layernorm", "attention.post_norm"
        yield "pre_feedforward_layernorm", "feed_forward.norm"
        yield "post_feedforward_layernorm", "feed_forward.post_norm"
    else:
        yield "post_attention_layernorm", "feed_forward.norm"
    if config.qk_norm:
        yield "self_attn.q_norm", "attention.query_norm"
        yield "self_attn.k_norm", "attention.key_norm"


def _is_weight(name: str, config: DecoderConfig) -> bool:
    """Whether a stored tensor has a place; a tied head may be stored as well, and is the embedding."""
    return not name.endswith(_NOT_WEIGHTS) and not (config.tie_embeddings and name == _HEAD)


def _read_config(folder: Path) -> Any:
    """Return the folder's config as transformers understands it, which knows the spellings of all its versions."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    try:
        stored = json.loads((folder / "config.json").read_text())
        check_model_type(stored["model_type"])
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        if stored["model_type"] == "mistral" and "sliding_window" not in stored:
            config.sliding_window = None  # transformers would take 4,096
        return config
    except FileNotFoundError:
        raise OctoberError(f"{folder}: the folder holds no config.json") from None
    except StrictDataclassError as error:  # its first line names the field only
        raise OctoberError(f"{folder}/config.json: {' '.join(str(error).split())}") from error
    except (KeyError, TypeError, ValueError, OSError, ZeroDivisionError) as error:
        raise OctoberError(f"{folder}/config.json: cannot be read ({reason_of(error)})") from error


def _tensors(folder: Path) -> Iterator[tuple[str, Float[torch.Tensor, "..."]]]:
    """Yield every stored tensor by name, file by file."""
    for file in _weight_files(folder):
        try:
            with safe_open(file, framework="pt") as stored:
                for name in stored.keys():  # noqa: SIM118 (a handle, not a dict)
                    yield name, stored.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise OctoberError(f"{file}: cannot be read ({reason_of(error)})") from error


def _weight_files(folder: Path) -> Iterable[Path]:
    if not (folder / _INDEX).is_file():
        files = [folder / "model.safetensors"]
    else:
        try:
            names = json.loads((folder / _INDEX).read_text())["weight_map"].values()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise OctoberError(f"{folder / _INDEX}: not an index of safetensors ({reason_of(error)})") from error
        files = [folder / name for name in sorted(set(names))]
    for file in files:
        if not file.is_file():
            raise OctoberError(f"{folder}: the folder holds no {file.name}; only safetensors are loaded")
    return files
