"""The ring as the attention of a Hugging Face model: `attn_implementation="ring"`.

    model = AutoModelForCausalLM.from_pretrained(name, attn_implementation="ring")
    inputs = shard_batch({"input_ids": input_ids}, ring)                    # this rank's tokens and their positions
    with ring_context(ring, sequence_length=input_ids.shape[1]):
        logits = model(**inputs).logits                                     # of this rank's tokens

Importing this module registers the name with transformers' `AttentionInterface` and `AttentionMaskInterface`. Where
other implementations are given a mask of tokens x tokens, the layers get a `RingMask`: a note of the ring in use and of
the rule that the model asked for, which is causal or a causal window. What the ring cannot do is refused by name.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface

from ...errors import OctoberError
from .layouts import Layout, shard_positions
from .ring import Ring, ring_attention, ring_of
from .sharded_cache import ShardedCache

NAME = "ring"
_REFUSED = {  # what models hand to their attention besides the usual, and what it is
    "softcap": "soft-capping of scores",
    "s_aux": "attention sinks",
    "position_bias": "a position bias",
    "head_mask": "a head mask",
    "cu_seq_lens_q": "lengths of packed sequences (cu_seq_lens); pack with position_ids or segment_ids instead",
    "output_attentions": "output_attentions: the weights are never there as a whole",
}
_LAYERS = ("full_attention", "sliding_attention")
_ROPE_BY_LENGTH = ("dynamic", "longrope")  # each rank would take its own last position for the length
_PADDING = "put padding into no document: shard_batch turns attention_mask into segment ids of -1; or pack documents"


@dataclass
class RingContext:
    """The ring that models use at the moment.

    Attributes:
        ring: The ring.
        layout: How sequences are dealt out.
        sequence_length: Of the whole sequence; None if it divides evenly over the ranks.
        segment_ids: Of this rank's tokens, for packed documents and padding.
        cache: Keeps the keys and values of a text that is to be continued, or of one that is.
    """

    ring: Ring
    layout: Layout
    sequence_length: int | None = None
    segment_ids: Int[Tensor, "batch shard"] | None = None
    cache: ShardedCache | None = None
    _checked: Tensor | None = field(default=None, repr=False)

    def check_positions(self, position_ids: Tensor | None, shard_length: int) -> None:
        """Raise `OctoberError` unless the positions are those of this rank's tokens; looked at once for a tensor."""
        if position_ids is None or position_ids is self._checked or position_ids.dim() != 2:
            return
        length = self.sequence_length or shard_length * self.ring.world_size
        true = shard_positions(length, self.ring.rank, self.ring.world_size, self.layout).to(position_ids.device)
        if position_ids.shape[1] == len(true) and self._misplaced(position_ids - true):
            raise OctoberError(
                f"position_ids on rank {self.ring.rank} are not the positions of its tokens in layout {self.layout} of "
                f"{length} tokens: shard_batch gives them, and segment ids where they restart"
            )
        self._checked = position_ids

    def _misplaced(self, offsets: Int[Tensor, "batch shard"]) -> bool:
        """Tell whether positions are off; those of a packed document may all be off by as much."""
        if self.segment_ids is None:
            return bool(offsets.any())
        same = (self.segment_ids[:, 1:] == self.segment_ids[:, :-1]) & (self.segment_ids[:, 1:] >= 0)
        return bool(((offsets[:, 1:] != offsets[:, :-1]) & same).any())


@dataclass(frozen=True)
class RingMask:
    """What a model's layers get for a mask; it outlives the context, so that layers can be recomputed later."""

    context: RingContext
    sliding_window: int | None


_CONTEXT: ContextVar[RingContext | None] = ContextVar("ring_context", default=None)


@contextmanager
def ring_context(
    ring: "torch.distributed.ProcessGroup | Ring | None" = None,
    *,
    layout: Layout = "zigzag",
    sequence_length: int | None = None,
    segment_ids: Int[Tensor, "batch shard"] | None = None,
    cache: ShardedCache | None = None,
) -> Iterator[RingContext]:
    """Let models with `attn_implementation="ring"` attend over this ring within the `with` block.

    Only the forward pass need be within it. All ranks run the same model on their shards of the same sequences.

    Args:
        ring: A ring, or a process group; the default group if None.
        layout: How the sequences are dealt out.
        sequence_length: Of the whole sequence; needed where it does not divide evenly over the ranks.
        segment_ids: Of this rank's tokens: attention within equal ids only; negative ids are padding.
        cache: To continue a prompt (see `ring_generate`): keeps keys and values instead of the model's own cache.

    Raises:
        OctoberError: A cache with packed documents, or of another layout or length.
    """
    if cache is not None:
        _check_cache(cache, layout, sequence_length, segment_ids)
    context = RingContext(ring_of(ring), layout, sequence_length, segment_ids, cache)
    token = _CONTEXT.set(context)
    try:
        yield context
    finally:
        _CONTEXT.reset(token)


def ring_mask(
    *,
    q_length: int,
    kv_length: int,
    mask_function: Callable[..., Any],
    attention_mask: Tensor | None = None,
    config: Any = None,
    **_: Any,
) -> RingMask:
    """Return what stands for the mask: the function registered with `AttentionMaskInterface`.

    Args:
        q_length: Tokens that the model runs on.
        kv_length: Tokens that it attends to, as far as its cache tells.
        mask_function: The rule that the model asks for.
        attention_mask: [batch, tokens]; ones.
        config: The model's.

    Raises:
        OctoberError: There is no ring in use, or the model asks for what the ring cannot do.
    """
    context = _CONTEXT.get()
    if context is None:
        raise OctoberError('attn_implementation="ring": no ring in use; run the model within `with ring_context(…):`')
    if attention_mask is not None and not bool(attention_mask.all()):
        raise OctoberError(f"attention_mask with padding: the ring does not take it; {_PADDING}")
    if kv_length != q_length:
        raise OctoberError(
            f"past_key_values: {kv_length} keys for {q_length} queries; a prompt spread over a ring is continued by "
            "ring_generate"
        )
    _check_config(config)
    windows = [window for window in _windows(mask_function) if window is not None]
    return RingMask(context, min(windows, default=None))


def ring_forward(
    module: torch.nn.Module,
    query: Float[Tensor, "batch heads shard head_dim"],
    key: Float[Tensor, "batch kv_heads shard head_dim"],
    value: Float[Tensor, "batch kv_heads shard head_dim"],
    attention_mask: RingMask | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    is_causal: bool | None = None,
    **others: Any,
) -> tuple[Float[Tensor, "batch shard heads head_dim"], None]:
    """Attend over the ring: the function registered with `AttentionInterface`.

    Raises:
        OctoberError: The module asks for what the ring cannot do, or an argument of `ring_attention` does not fit.
        RingError: A rank died or did not answer.
    """
    mask = _checked_mask(module, attention_mask, sliding_window)
    _check_call(module, dropout, is_causal, others)
    context = mask.context
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if context.cache is not None:
        output = _through_cache(context.cache, module, (query, key, value), mask.sliding_window, scale)
        return output.transpose(1, 2).contiguous(), None
    context.check_positions(others.get("position_ids"), query.shape[2])
    output = ring_attention(
        query,
        key,
        value,
        context.ring,
        layout=context.layout,
        sliding_window=mask.sliding_window,
        segment_ids=context.segment_ids,
        scale=scale,
        sequence_length=context.sequence_length,
    )
    return output.transpose(1, 2).contiguous(), None


def _check_cache(cache: ShardedCache, layout: Layout, sequence_length: int | None, segment_ids: Tensor | None) -> None:
    if segment_ids is not None:
        raise OctoberError("segment_ids with a cache: packed documents cannot be continued")
    if layout != cache.layout:
        raise OctoberError(f"layout={layout}: the cache's is {cache.layout}")
    if sequence_length not in (None, cache.prompt_length):
        raise OctoberError(f"sequence_length={sequence_length}: the cache's prompt has {cache.prompt_length} tokens")


def _through_cache(
    cache: ShardedCache,
    module: torch.nn.Module,
    tensors: tuple[Tensor, Tensor, Tensor],
    sliding_window: int | None,
    scale: float,
) -> Tensor:
    layer: Any = module.layer_idx
    batch, _, tokens, _ = tensors[0].shape
    positions = torch.arange(cache.length - tokens, cache.length).expand(batch, -1)
    return cache.attend(layer, *tensors, positions=positions, sliding_window=sliding_window, scale=scale)


def _windows(rule: Callable[..., Any]) -> Iterator[int | None]:
    """Yield what each part of a mask's rule says of a window; rules that are not a causal window are refused.

    Transformers makes rules of closures. Packing is left out: it finds a document wherever positions jump, so at every
    border of a layout too; the true documents are the context's.
    """
    name = rule.__qualname__.split(".")[0]
    names = rule.__code__.co_freevars
    parts = dict(zip(names, (cell.cell_contents for cell in rule.__closure__ or ()), strict=True))
    if name == "and_masks":
        for part in parts["mask_functions"]:
            yield from _windows(part)
    elif name == "remap_positions_for_packed_sequence":
        yield from _windows(parts["mask_function"])
    elif name == "sliding_window_overlay":
        yield parts["sliding_window"]
    elif name not in ("causal_mask_function", "packed_sequence_mask_function"):
        raise OctoberError(f"mask rule {name}: the ring takes causal masks and causal sliding windows")


def _check_config(config: Any) -> None:
    """Refuse models with layers that mix tokens otherwise, or whose rotary angles depend on a shard's length."""
    others = sorted(set(getattr(config, "layer_types", None) or ()) - set(_LAYERS))
    if others:
        raise OctoberError(f"layer_types {', '.join(others)}: the ring takes {' and '.join(_LAYERS)}")
    rope = getattr(config, "rope_parameters", None) or {}
    by_layer = [each for each in rope.values() if isinstance(each, Mapping)]
    for parameters in by_layer or [rope]:
        if parameters.get("rope_type") in _ROPE_BY_LENGTH:
            raise OctoberError(
                f"rope_type {parameters['rope_type']}: its angles depend on the length, of which a rank has a part only"
            )


def _checked_mask(module: torch.nn.Module, mask: Any, sliding_window: int | None) -> RingMask:
    if isinstance(mask, Tensor):
        raise OctoberError(f"attention_mask {tuple(mask.shape)}: the ring takes no mask of tokens x tokens; {_PADDING}")
    if not isinstance(mask, RingMask):
        name = type(module).__name__
        raise OctoberError(f"{name}: its model makes no mask through AttentionMaskInterface; the ring cannot serve it")
    if sliding_window is not None and sliding_window != mask.sliding_window:
        raise OctoberError(
            f"{type(module).__name__}: sliding_window={sliding_window}, but its mask has {mask.sliding_window}"
        )
    return mask


def _check_call(module: torch.nn.Module, dropout: float, is_causal: bool | None, others: Mapping[str, Any]) -> None:
    name = type(module).__name__
    if dropout > 0:
        raise OctoberError(f"{name}: attention dropout {dropout}: must be 0 in a ring (config.attention_dropout)")
    if not (getattr(module, "is_causal", True) if is_causal is None else is_causal):
        raise OctoberError(f"{name} is not causal: the ring takes causal attention only")
    for field_name, what in _REFUSED.items():
        given = others.get(field_name)
        if given is not None and given is not False:
            raise OctoberError(f"{name}: the ring does not take {what}")


AttentionInterface.register(NAME, ring_forward)
AttentionMaskInterface.register(NAME, ring_mask)
