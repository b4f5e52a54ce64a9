"""A decoding step as one graph of machine code: torch's compiler fuses all that stands between the products.

A step of a small model is a few large products and some twenty small operations a layer, each of which takes longer to
reach than to run. Compiled, a layer is its four products, one kernel of attention, and a loop of C++ between any two:

    norm | [q; k; v] | rotate, put into the buffers | attend | output | add, norm | [gate; up] | act, multiply | down

One graph, compiled when the model is loaded, serves any number of rows and slots. Prompts, and passes in which some row
gets no token, go through the layers as before. The graph has the weights laid out anew, as constants.
"""

import copy
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import nn
from torch.nn import functional

from ...errors import OctoberError
from ...language_models.packed_linear import PackedLinear
from ..rotary import Rotation, rotate, rotation_by, signed_frequencies
from ..transformer import Cache, Transformer
from .packed_decoder import InferenceNorm, PackedLayer, PackedSelfAttention, Parts
from .rolling_cache import RollingBufferCache

_COMPILERS = ("c++", "g++", "clang++")
_ROWS, _SLOTS = 8, 256  # of the example: weights are laid out for about so many rows, which serves one as well


def compile_steps_(decoder: Transformer) -> Transformer:
    """Let a packed decoder's one-token passes over rolling buffers run compiled. Compiling takes half a minute.

    In memory the layers' weights are there twice more in float32: for the compiler, and in its graph.

    Args:
        decoder: As `pack_` returns it, on a CPU, in float32 or bfloat16.

    Raises:
        OctoberError: The decoder is not packed or is quantised; and as `check_compiling`.
    """
    if not all(isinstance(layer, PackedLayer) and _is_plain(layer) for layer in decoder.layers):
        raise OctoberError(
            "steps are compiled for a packed decoder with weights in float32 or bfloat16: call pack_ first"
        )
    check_compiling(str(decoder.embedding.weight.dtype).removeprefix("torch."), decoder.embedding.weight.device)
    decoder.step = CompiledSteps(decoder)
    return decoder


def check_compiling(weights: str, device: torch.device) -> None:
    """Check that steps with such weights can be compiled here.

    Raises:
        OctoberError: The weights are quantised, the device is not a CPU, or there is no C++ compiler.
    """
    if weights in ("int8", "int4"):
        raise OctoberError(f"steps are compiled with weights in float32 or bfloat16, not {weights}")
    if device.type != "cpu":
        raise OctoberError(f"steps are compiled for the CPU; the model is on {device}")
    if not any(map(shutil.which, _COMPILERS)):
        raise OctoberError(f"steps cannot be compiled: no C++ compiler ({', '.join(_COMPILERS)}) is on the path")


class CompiledSteps:
    """What `Transformer.step` runs: from the tokens, one in each row, to the states after the last norm.

    Inside, states are [rows, hidden_size]: a dimension of one token would tie the graph to numbers of rows.
    """

    def __init__(self, decoder: Transformer) -> None:
        self._decoder = decoder
        self._layers = [_for_compiling(layer) for layer in decoder.layers]
        config = decoder.config
        self._kinds = list(zip(config.rope_bases, config.rope_scalings, strict=True))  # layers of one share a rotation
        self._frequencies = {kind: signed_frequencies(config.head_dim, *kind) for kind in dict.fromkeys(self._kinds)}
        self._run = torch.compile(self._forward, fullgraph=True, options={"freezing": True, "cpp_wrapper": True})
        self._compile()

    def takes(
        self,
        token_ids: Int[torch.Tensor, "batch sequence"],
        cache: Cache | None,
        new_lengths: Sequence[int] | None,
    ) -> bool:
        """Tell whether a pass is one token in each row, over rolling buffers, in inference mode."""
        one_each = token_ids.shape[1] == 1 and (new_lengths is None or min(new_lengths) == 1)
        if not one_each or not isinstance(cache, RollingBufferCache) or not torch.is_inference_mode_enabled():
            return False
        config, weight = self._decoder.config, self._decoder.embedding.weight
        return cache.windows == config.sliding_windows and cache.keys[0].dtype == weight.dtype

    def __call__(
        self,
        token_ids: Int[torch.Tensor, "rows 1"],
        positions: Int[torch.Tensor, "rows 1"],
        cache: RollingBufferCache,
    ) -> Float[torch.Tensor, "rows 1 hidden_size"]:
        """Return the states after the last norm; the cache's pass has begun."""
        token_ids = token_ids.clone()  # made in inference mode, whatever was given: torch tells them apart
        rows, keys, values = len(token_ids), cache.keys, cache.values
        if rows < len(cache.lengths):
            keys, values = ([buffer[:rows] for buffer in buffers] for buffers in (keys, values))
        states: torch.Tensor = self._run(token_ids, positions, keys, values)
        return states

    def _forward(
        self, token_ids: torch.Tensor, positions: torch.Tensor, keys: list[torch.Tensor], values: list[torch.Tensor]
    ) -> torch.Tensor:
        decoder, windows = self._decoder, self._decoder.config.sliding_windows
        hidden = decoder._embed(token_ids[:, 0])
        turns = {kind: rotation_by(of, positions, hidden.dtype) for kind, of in self._frequencies.items()}
        turns = {kind: Rotation(by.cosine[:, 0], by.sine[:, 0]) for kind, by in turns.items()}
        slots = {window: keys[windows.index(window)].shape[2] for window in dict.fromkeys(windows)}
        masks = {window: _mask(positions, slots[window], hidden.dtype) for window in slots}
        for index, (layer, window) in enumerate(zip(self._layers, windows, strict=True)):
            place = positions % slots[window]
            arguments = (place, masks[window], keys[index], values[index])
            hidden = hidden + self._attended(layer.attention, hidden, turns[self._kinds[index]], *arguments)
            hidden = hidden + layer.feed_forward(hidden)
        normed: torch.Tensor = decoder.norm(hidden)
        return normed[:, None]

    def _attended(
        self,
        part: PackedSelfAttention,
        hidden: Float[torch.Tensor, "rows hidden_size"],
        by: Rotation,
        place: Int[torch.Tensor, "rows 1"],
        mask: Float[torch.Tensor, "rows 1 1 slots"],
        keys: Float[torch.Tensor, "rows kv_heads slots head_dim"],
        values: Float[torch.Tensor, "rows kv_heads slots head_dim"],
    ) -> Float[torch.Tensor, "rows hidden_size"]:
        """Return what attention adds; put the new keys and values into their slots first."""
        heads, kv_heads = part.num_heads, part.num_kv_heads
        parts: Parts = part._modules
        projected = parts["query_key_value"](parts["norm"](hidden))
        projected = projected.unflatten(-1, (heads + 2 * kv_heads, part.head_dim))
        turning, value = projected.split_with_sizes((heads + kv_heads, kv_heads), 1)
        heads_norm = parts["heads_norm"]
        turned = rotate(turning if heads_norm is None else heads_norm(turning), by)
        query, key = turned.split_with_sizes((heads, kv_heads), 1)
        slot = (torch.arange(len(place))[:, None], torch.arange(kv_heads), place)
        keys.index_put_(slot, key)
        values.index_put_(slot, value)
        grouped = query.unflatten(1, (kv_heads, heads // kv_heads))  # type: ignore[no-untyped-call]
        mixed = _read(grouped, keys, values, mask, self._decoder.config.scale)
        result: torch.Tensor = parts["output"](mixed.flatten(1))
        return result

    @torch.inference_mode()
    def _compile(self) -> None:
        """Compile on an example, for any numbers of rows and slots."""
        cache = RollingBufferCache(self._decoder.config, _ROWS, _SLOTS, dtype=self._decoder.embedding.weight.dtype)
        keys, values = cache.keys, cache.values
        token_ids, positions = torch.zeros(_ROWS, 1, dtype=torch.long), cache.begin((_ROWS, 1))
        for tensor in (token_ids, positions, *keys, *values):
            torch._dynamo.mark_dynamic(tensor, 0)
        for buffer in (*keys, *values):
            torch._dynamo.mark_dynamic(buffer, 2)
        with _compiling():
            self._run(token_ids, positions, keys, values)


@contextmanager
def _compiling() -> Iterator[None]:
    """Freeze weights where the graph is traced, too, and let a single row be no case of its own."""
    import torch._inductor.config as inductor
    import torch.fx.experimental._config as shapes

    oblivious = shapes.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]
    with inductor.patch(freezing=True), oblivious:
        yield


def _mask(
    positions: Int[torch.Tensor, "rows 1"], num_slots: int, dtype: torch.dtype
) -> Float[torch.Tensor, "rows 1 1 num_slots"]:
    """Return what is added to scores: slots that a row has not come to yet are not seen."""
    unseen = torch.arange(num_slots) > positions
    return torch.zeros(unseen.shape, dtype=dtype).masked_fill(unseen, -torch.inf)[:, None, None]


def _read(
    query: Float[torch.Tensor, "rows kv_heads group head_dim"],
    keys: Float[torch.Tensor, "rows kv_heads slots head_dim"],
    values: Float[torch.Tensor, "rows kv_heads slots head_dim"],
    mask: Float[torch.Tensor, "rows 1 1 slots"],
    scale: float,
) -> Float[torch.Tensor, "rows kv_heads group head_dim"]:
    """Return the queries' mixtures; in 16 bits by products, as `grouped_read` does where there are many keys."""
    if query.dtype in (torch.float32, torch.float64):
        return functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=scale)
    scores = (query @ keys.mT).float() * scale + mask
    return torch.softmax(scores, dim=-1).to(values.dtype) @ values


class _Product(nn.Module):
    """A linear map whose weight the compiler may read."""

    def __init__(self, linear: PackedLinear) -> None:
        super().__init__()
        weight = linear.weight.detach()
        self.weight = nn.Parameter(weight.to_dense() if weight.is_mkldnn else weight, requires_grad=False)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return functional.linear(hidden, self.weight)


def _for_compiling(module: nn.Module) -> Any:
    """Return the module with plain products, and norms of heads without a dimension of tokens; all else is shared."""
    if isinstance(module, PackedLinear):
        return _Product(module)
    twin = copy.copy(module)
    if isinstance(module, InferenceNorm) and module.weight.ndim == 3:
        twin.__dict__["_buffers"] = module._buffers | {"weight": module.weight[:, 0]}
    children = module._modules.items()
    twin.__dict__["_modules"] = {name: child if child is None else _for_compiling(child) for name, child in children}
    return twin


def _is_plain(layer: PackedLayer) -> bool:
    maps = (layer.attention.query_key_value, layer.feed_forward.gate_up)
    return all(isinstance(linear, PackedLinear) for linear in maps)
