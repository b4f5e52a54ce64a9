"""A key/value cache spread over the ranks: prompts longer than one device's memory are pre-filled and continued.

Pre-fill runs through the ring, each rank on its shard, and every rank keeps the keys and values of its own tokens.
Tokens that follow are given to all ranks; the t-th is kept by rank t mod N. Each rank attends with the new queries to
the keys that it keeps, and the ranks' (output, log-sum-exp) pairs are merged: one small message a layer, where sending
the keys round the ring would take a thousand times as long as attending to them (appendix C's B / F counted right).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...errors import OctoberError
from . import agreement
from .all_reduce_merge import merge_over
from .inputs import unit_stride
from .layouts import Layout, Run, shard, shard_length, shard_positions, shard_runs
from .merging import Rows
from .ring import Ring, RingAttention
from .tiles import Mask

_ROOM = 64  # tokens for which a rank makes room at a time, at least


class CachedDecoder(Protocol):
    """A decoder of `october.attention.transformer`, or anything called alike."""

    def __call__(self, token_ids: Tensor, *, positions: Tensor | None = None, cache: "ShardedCache") -> Tensor:
        """Return hidden states."""

    def logits(self, hidden: Tensor) -> Tensor:
        """Return logits."""


@dataclass
class _Layer:
    """One layer's keys and values on this rank: those of the prompt's shard, then the rank's share of what follows."""

    key: Tensor
    value: Tensor
    length: int

    def append(self, key: Tensor, value: Tensor) -> None:
        last = self.length + key.shape[2]
        if last > self.key.shape[2]:
            self.key, self.value = (_enlarged(old, self.length, last) for old in (self.key, self.value))
        self.key[:, :, self.length : last] = key
        self.value[:, :, self.length : last] = value
        self.length = last


class ShardedCache:
    """A decoder's cache for texts of one length, spread over a ring; see `october.attention.transformer.Cache`.

    The first pass takes each rank's shard of the prompt, with its positions; every further pass takes the same new
    tokens on all ranks.

    Args:
        ring: The ranks.
        prompt_length: Tokens of the whole prompt.
        layout: How the prompt is dealt out.
    """

    def __init__(self, ring: Ring, prompt_length: int, *, layout: Layout = "zigzag") -> None:
        if prompt_length < 1:
            raise OctoberError(f"prompt_length={prompt_length}: must be at least 1")
        self.ring = ring
        self.prompt_length = prompt_length
        self.layout: Layout = layout
        self.length = 0
        self._new = 0
        self._device = torch.device("cpu")  # of the positions
        self._over_prompt = RingAttention(ring, layout=layout, sequence_length=prompt_length)
        self._layers: dict[int, _Layer] = {}

    def begin(
        self,
        shape: tuple[int, int],
        *,
        positions: Int[Tensor, "batch sequence"] | None = None,
        new_lengths: Sequence[int] | None = None,
    ) -> Int[Tensor, "batch sequence"]:
        """Return the positions of the tokens of a pass.

        Raises:
            OctoberError: The first pass is not this rank's shard of the prompt with its positions, a later one has
                positions, or lengths are given: all rows have one length here.
        """
        if new_lengths is not None and list(new_lengths) != [shape[1]] * shape[0]:
            raise OctoberError(f"new_lengths={list(new_lengths)}: a sharded cache holds texts of one length")
        if self.length:
            return self._following(shape, positions)
        expected = shard_positions(self.prompt_length, self.ring.rank, self.ring.world_size, self.layout)
        if positions is None or shape[1] != len(expected) or not (positions.cpu() == expected).all():
            raise OctoberError(
                f"the first pass through a sharded cache takes rank {self.ring.rank}'s {len(expected)} tokens of the "
                f"prompt ({self.layout}, {self.prompt_length} tokens) with their positions; it got {shape[1]} tokens"
            )
        self.length, self._new, self._device = self.prompt_length, 0, positions.device
        return positions

    def attend(
        self,
        layer: int,
        query: Float[Tensor, "batch heads sequence head_dim"],
        key: Float[Tensor, "batch kv_heads sequence head_dim"],
        value: Float[Tensor, "batch kv_heads sequence head_dim"],
        *,
        positions: Int[Tensor, "batch sequence"],
        sliding_window: int | None,
        scale: float,
    ) -> Float[Tensor, "batch heads sequence head_dim"]:
        """Keep this rank's keys and values, and attend to those of all ranks.

        Raises:
            OctoberError: A gradient is wanted: none goes through what was kept.
            RingError: A rank did not answer in time.
        """
        if key.requires_grad:
            raise OctoberError("a sharded cache keeps no gradients: call the decoder under torch.inference_mode()")
        if layer not in self._layers:
            self._layers[layer] = _Layer(key.contiguous(), value.contiguous(), key.shape[2])
            return self._over_prompt(query, key, value, sliding_window=sliding_window, scale=scale)
        kept = self._layers[layer]
        mine = self._own_of_new()
        kept.append(key[:, :, mine], value[:, :, mine])
        rows = self._over_own_keys(unit_stride(query), kept, Mask(True, sliding_window), scale)
        output, _ = merge_over(self.ring, rows.output, rows.log_sum_exp)
        return output.to(query.dtype)

    def memory_bytes(self) -> int:
        """Return the bytes of this rank's keys and values, free places included."""
        return sum(layer.key.nbytes + layer.value.nbytes for layer in self._layers.values())

    def _following(self, shape: tuple[int, int], positions: Tensor | None) -> Tensor:
        if positions is not None:
            raise OctoberError("positions after the first pass: the text goes on where it ended; give none")
        self._new = shape[1]
        self.length += shape[1]
        return torch.arange(self.length - self._new, self.length, device=self._device)[None].expand(shape)

    def _own_of_new(self) -> slice:
        """Return which of the new tokens this rank keeps: position p for p - prompt_length = rank modulo N."""
        followed = self.length - self._new - self.prompt_length
        return slice((self.ring.rank - followed) % self.ring.world_size, None, self.ring.world_size)

    def _key_runs(self, num_kept: int) -> list[Run]:
        """Return the runs of what this rank keeps, in order."""
        rank, world = self.ring.rank, self.ring.world_size
        runs = shard_runs(self.prompt_length, rank, world, self.layout)
        prompt = shard_length(self.prompt_length, rank, world, self.layout)
        if num_kept > prompt:
            runs.append(Run(self.prompt_length + rank, world, num_kept - prompt, prompt))
        return runs

    def _over_own_keys(self, query: Tensor, kept: _Layer, mask: Mask, scale: float) -> Rows:
        """Attend to this rank's keys: with each run of keys, the queries in runs of the same stride."""
        rows = Rows(query)
        first = self.length - self._new
        for keys in self._key_runs(kept.length):
            for offset in range(min(keys.stride, self._new)):
                queries = Run(first + offset, keys.stride, len(range(offset, self._new, keys.stride)))
                part = rows.every(offset, keys.stride)
                picked = query[:, :, offset :: keys.stride]
                part.add(mask.tiles([queries], [keys]), picked, kept.key, kept.value, scale)
        return rows


@torch.inference_mode()
def ring_continue(
    decoder: CachedDecoder,
    token_ids: Int[Tensor, "batch prompt"],
    ring: Ring,
    *,
    max_new_tokens: int,
    layout: Layout = "zigzag",
    choose: Callable[[Float[Tensor, "batch vocab"]], Int[Tensor, " batch"]] | None = None,
) -> Int[Tensor, "batch new"]:
    """Continue prompts of one length that are spread over a ring; all ranks call it and get the same tokens.

    Args:
        decoder: A `Transformer`, the same on every rank.
        token_ids: The whole prompts, on every rank (a few bytes a token); each rank computes on its shard only.
        ring: The ranks.
        max_new_tokens: Tokens to add.
        layout: How the prompts are dealt out.
        choose: Picks the next tokens from the logits; the likeliest if None. Rank 0's choice counts.

    Raises:
        OctoberError: No prompt, or fewer than one token to add.
        RingError: A rank did not answer in time.
    """
    length = token_ids.shape[1]
    if max_new_tokens < 1:
        raise OctoberError(f"max_new_tokens={max_new_tokens}: must be at least 1")
    cache = ShardedCache(ring, length, layout=layout)
    place = (ring.rank, ring.world_size, layout)
    positions = shard_positions(length, *place)[None].expand(token_ids.shape[0], -1)
    hidden = decoder(shard(token_ids, *place), positions=positions.to(token_ids.device), cache=cache)
    last = (positions[0] == length - 1).nonzero().flatten()
    state = _from_owner(ring, hidden[:, last])
    new = []
    for _ in range(max_new_tokens):
        logits = decoder.logits(state)
        token = logits.argmax(-1) if choose is None else choose(logits)
        new.append(_of_rank_0(ring, token))
        if len(new) < max_new_tokens:
            state = decoder(new[-1][:, None], cache=cache)[:, -1]
    return torch.stack(new, dim=1)


def _from_owner(ring: Ring, state: Float[Tensor, "batch found hidden"]) -> Float[Tensor, "batch hidden"]:
    """Give all ranks the state that one of them has found."""
    if ring.world_size == 1:
        return state[:, 0]
    sums = torch.zeros(state.shape[0], state.shape[2], dtype=state.dtype, device=state.device)
    log_sums = torch.full((state.shape[0],), -torch.inf, dtype=sums.dtype, device=state.device)
    if state.shape[1]:
        sums, log_sums = state[:, 0].contiguous(), torch.zeros_like(log_sums)
    return merge_over(ring, sums, log_sums)[0].to(state.dtype)


def _of_rank_0(ring: Ring, token: Tensor) -> Tensor:
    """Return rank 0's choice, lest processors of different make choose differently."""
    told = agreement.gather(ring.transport, token.tolist() if ring.rank == 0 else None)
    return torch.tensor(told[0], device=token.device)


def _enlarged(old: Tensor, used: int, needed: int) -> Tensor:
    batch, heads, _, head_dim = old.shape
    new = old.new_empty(batch, heads, needed + max(_ROOM, used // 8), head_dim)
    new[:, :, :used] = old[:, :, :used]
    return new
