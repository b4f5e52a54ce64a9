"""One decoder for all papers: RMSNorm, rotary positions, grouped-query attention, gated feed-forward.

    hidden = embedding(tokens)
    for each layer:
        hidden += output(attend(rotate(query(x)), rotate(key(x)), value(x)))     x = norm(hidden)
        hidden += down(activation(gate(x)) * up(x))                              x = norm(hidden)
    logits = head(norm(hidden))

How queries attend to keys is handed in (`Attention`), and so is the memory of earlier tokens (`Cache`): the decoder
knows no paper. Llama, Mistral and Gemma 3 are the same code under different configs.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint as recomputed

from ..errors import OctoberError
from .causal_attention import Attention, full_attention
from .decoder_config import DecoderConfig
from .rotary import Rotation, rotate, rotation

if TYPE_CHECKING:
    from .cache import RowCache

FeedForwardRunner = Callable[[nn.Module, torch.Tensor], torch.Tensor]
_INITIAL_STANDARD_DEVIATION = 0.02


class Cache(Protocol):
    """Keys and values of the tokens so far, of all layers. A cache attends itself, so it may keep them as it likes."""

    def begin(
        self,
        shape: tuple[int, int],
        *,
        positions: Int[torch.Tensor, "batch sequence"] | None,
        new_lengths: Sequence[int] | None,
    ) -> Int[torch.Tensor, "batch sequence"]:
        """Make room for one forward pass and return the positions of its tokens; the first layer follows.

        Args:
            shape: Rows and tokens per row.
            positions: What the caller of the decoder gave.
            new_lengths: How many of each row's tokens count; the others, at its end, are padding and leave no trace.
                None counts all.
        """

    def attend(
        self,
        layer: int,
        query: Float[torch.Tensor, "batch heads sequence head_dim"],
        key: Float[torch.Tensor, "batch kv_heads sequence head_dim"],
        value: Float[torch.Tensor, "batch kv_heads sequence head_dim"],
        *,
        positions: Int[torch.Tensor, "batch sequence"],
        sliding_window: int | None,
        scale: float,
    ) -> Float[torch.Tensor, "batch heads sequence head_dim"]:
        """Store the new keys and values of a layer, and attend to them and to the earlier ones."""


class Step(Protocol):
    """Passes of one new token a row, run in some other way than layer by layer."""

    def takes(
        self,
        token_ids: Int[torch.Tensor, "batch sequence"],
        cache: Cache | None,
        new_lengths: Sequence[int] | None,
    ) -> bool:
        """Tell whether it runs such a pass over such a cache."""

    def __call__(
        self, token_ids: Int[torch.Tensor, "batch 1"], positions: Int[torch.Tensor, "batch 1"], cache: Any
    ) -> Float[torch.Tensor, "batch 1 hidden_size"]:
        """Return the hidden states after the last norm, the new keys and values stored; the cache's pass has begun."""


Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class Transformer(nn.Module):
    """A decoder-only transformer.

    Args:
        config: Its shape.
        attention: How queries attend where no cache is given.
        feed_forward: Runs a layer's `FeedForward` on its input, say block by block; it works on each token alone.
            None calls it once.
        checkpoint: Whether each layer's activations are computed again in the backward pass and not kept.
        seed: Of the initial weights: normal with standard deviation 0.02, those that write to the residual stream
            divided by the square root of twice the number of layers.
    """

    def __init__(
        self,
        config: DecoderConfig,
        attention: Attention = full_attention,
        feed_forward: FeedForwardRunner | None = None,
        checkpoint: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.config = config
        self.attention = attention
        self.feed_forward = feed_forward
        self.checkpoint = checkpoint
        self.step: Step | None = None
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_size, config)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_embeddings:
            self.head.weight = self.embedding.weight
        if not self.head.weight.is_meta:
            self.initialize(seed)

    def forward(
        self,
        token_ids: Int[torch.Tensor, "batch sequence"],
        *,
        positions: Int[torch.Tensor, "batch sequence"] | None = None,
        segment_ids: Int[torch.Tensor, "batch sequence"] | None = None,
        cache: Cache | None = None,
        new_lengths: Sequence[int] | None = None,
    ) -> Float[torch.Tensor, "batch sequence hidden_size"]:
        """Return the hidden states after the final norm; `logits` turns those that are needed into logits.

        Args:
            token_ids: Tokens, in the order that the attention or the cache expects.
            positions: Place of each token in its text; 0, 1, 2, ... if not given, or after the cache's tokens. A
                process that holds a part of a sequence gives that part's.
            segment_ids: Tokens see only tokens with the same number (packed documents); not with a cache.
            cache: Earlier tokens; takes up the new ones.
            new_lengths: With a cache, how many of each row's tokens count; padding follows them.

        Raises:
            OctoberError: Segments with a cache, lengths without one, or token ids that are not [batch, sequence].
        """
        _check_arguments(token_ids, segment_ids, cache, new_lengths)
        if cache is not None:
            positions = cache.begin(
                (token_ids.shape[0], token_ids.shape[1]), positions=positions, new_lengths=new_lengths
            )
        elif positions is None:
            positions = torch.arange(token_ids.shape[1], device=token_ids.device)[None]
        if self.step is not None and self.step.takes(token_ids, cache, new_lengths):
            return self.step(token_ids, positions, cache)
        return self._through_layers(token_ids, positions, segment_ids, cache)

    def last_states(
        self, token_ids: Int[torch.Tensor, "batch sequence"], cache: "RowCache", new_lengths: Sequence[int]
    ) -> Float[torch.Tensor, "batch hidden_size"]:
        """Return the state after each row's last new token alone: what `forward` returns there.

        The other tokens end with their keys and values in the last layer: nothing reads what they would become there.

        Args:
            token_ids: Tokens.
            cache: Earlier tokens; takes up the new ones.
            new_lengths: How many of each row's tokens count; the state of a row without any says nothing.

        Raises:
            OctoberError: As `forward`.
        """
        if token_ids.ndim == 2 and token_ids.shape[1] == 1:
            state: torch.Tensor = self(token_ids, cache=cache, new_lengths=new_lengths)
            return state[:, 0]
        _check_arguments(token_ids, None, cache, new_lengths)
        shape = (token_ids.shape[0], token_ids.shape[1])
        positions = cache.begin(shape, positions=None, new_lengths=new_lengths)
        last = torch.tensor([max(count, 1) - 1 for count in new_lengths], device=token_ids.device)
        return self._through_layers(token_ids, positions, None, cache, last)[:, 0]

    def logits(self, hidden: Float[torch.Tensor, "*places hidden_size"]) -> Float[torch.Tensor, "*places vocab_size"]:
        """Return the logits of the next token for some of the hidden states that `forward` returned."""
        result: torch.Tensor = self.head(hidden)
        return result

    @torch.no_grad()
    def initialize(self, seed: int) -> None:
        """Draw all weights anew."""
        generator = torch.Generator(self.head.weight.device).manual_seed(seed)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 1:
                parameter.fill_(1.0 - self.config.norm_offset)
                continue
            writes = name.endswith(("output.weight", "down.weight"))
            depth = 2 * self.config.num_layers if writes else 1
            parameter.normal_(0.0, _INITIAL_STANDARD_DEVIATION * depth**-0.5, generator=generator)

    def _through_layers(
        self,
        token_ids: torch.Tensor,
        positions: torch.Tensor,
        segment_ids: torch.Tensor | None,
        cache: Cache | None,
        asked: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the states after the final norm: of all tokens, or of the one asked for in each row."""
        hidden = self._embed(token_ids)
        rotations = self._rotations(positions, hidden.dtype)
        for index, layer in enumerate(self.layers):
            only = asked if index == len(self.layers) - 1 else None
            attend = self._attend(index, positions, segment_ids, cache, only)
            arguments = (hidden, rotations[index], attend, self.feed_forward, only)
            if self.checkpoint and torch.is_grad_enabled():
                hidden = recomputed(layer, *arguments, use_reentrant=False)
            else:
                hidden = layer(*arguments)
        normed: torch.Tensor = self.norm(hidden)
        return normed

    def _embed(self, token_ids: torch.Tensor) -> torch.Tensor:
        embedded: torch.Tensor = self.embedding(token_ids)
        if self.config.embedding_scale == 1:
            return embedded
        return embedded * embedded.new_tensor(self.config.embedding_scale)  # rounded to its dtype, as trained

    def _rotations(self, positions: torch.Tensor, dtype: torch.dtype) -> list[Rotation]:
        """Return each layer's rotation; layers with the same frequencies share one."""
        kinds = list(zip(self.config.rope_bases, self.config.rope_scalings, strict=True))
        made = {kind: rotation(positions, self.config.head_dim, *kind, dtype=dtype) for kind in dict.fromkeys(kinds)}
        return [made[kind] for kind in kinds]

    def _attend(
        self,
        layer: int,
        positions: torch.Tensor,
        segment_ids: torch.Tensor | None,
        cache: Cache | None,
        asked: torch.Tensor | None,
    ) -> Attend:
        window, scale = self.config.sliding_windows[layer], self.config.scale
        if cache is None:
            return partial(self.attention, sliding_window=window, segment_ids=segment_ids, scale=scale)
        only: dict[str, Any] = {} if asked is None else {"asked": asked}  # which a `RowCache` alone takes
        return partial(cache.attend, layer, positions=positions, sliding_window=window, scale=scale, **only)


class DecoderLayer(nn.Module):
    """Attention, then feed-forward, each added to the residual stream."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.attention = SelfAttention(config)
        self.feed_forward = FeedForward(config)

    def forward(
        self,
        hidden: Float[torch.Tensor, "batch sequence hidden_size"],
        by: Rotation,
        attend: Attend,
        run: FeedForwardRunner | None = None,
        asked: Int[torch.Tensor, " batch"] | None = None,
    ) -> Float[torch.Tensor, "batch places hidden_size"]:
        """Return the residual stream after this layer: of all tokens, or of one of each row, to which `attend` cuts."""
        mixed = self.attention(hidden, by, attend)
        hidden = (hidden if asked is None else token_of_each_row(hidden, asked)) + mixed
        added: torch.Tensor = self.feed_forward(hidden) if run is None else run(self.feed_forward, hidden)
        return hidden + added


class SelfAttention(nn.Module):
    """Normalise, project to heads, rotate, attend, project back."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        width, kv_width = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        self.norm = RMSNorm(config.hidden_size, config)
        self.query = nn.Linear(config.hidden_size, width, bias=False)
        self.key = nn.Linear(config.hidden_size, kv_width, bias=False)
        self.value = nn.Linear(config.hidden_size, kv_width, bias=False)
        self.output = nn.Linear(width, config.hidden_size, bias=False)
        self.query_norm = RMSNorm(config.head_dim, config) if config.qk_norm else nn.Identity()
        self.key_norm = RMSNorm(config.head_dim, config) if config.qk_norm else nn.Identity()
        self.post_norm = RMSNorm(config.hidden_size, config) if config.post_norms else nn.Identity()

    def forward(
        self, hidden: Float[torch.Tensor, "batch sequence hidden_size"], by: Rotation, attend: Attend
    ) -> Float[torch.Tensor, "batch sequence hidden_size"]:
        """Return what attention adds to the residual stream."""
        normed = self.norm(hidden)
        query = rotate(self.query_norm(self._heads(self.query(normed))), by)
        key = rotate(self.key_norm(self._heads(self.key(normed))), by)
        mixed = attend(query, key, self._heads(self.value(normed)))
        result: torch.Tensor = self.post_norm(self.output(mixed.transpose(1, 2).flatten(2)))
        return result

    def _heads(self, projected: torch.Tensor) -> torch.Tensor:
        heads = projected.shape[-1] // self.head_dim  # not -1: a rank of a ring may hold no token at all
        return projected.view(*projected.shape[:-1], heads, self.head_dim).transpose(1, 2)


class FeedForward(nn.Module):
    """Normalise, then the gated feed-forward network: SwiGLU, or GeGLU (Shazeer, 2020). Each token alone."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.activation = (
            functional.silu if config.activation == "silu" else partial(functional.gelu, approximate="tanh")
        )
        self.norm = RMSNorm(config.hidden_size, config)
        self.gate = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)
        self.post_norm = RMSNorm(config.hidden_size, config) if config.post_norms else nn.Identity()

    def forward(
        self, hidden: Float[torch.Tensor, "batch sequence hidden_size"]
    ) -> Float[torch.Tensor, "batch sequence hidden_size"]:
        """Return what the network adds to the residual stream."""
        normed = self.norm(hidden)
        result: torch.Tensor = self.post_norm(self.down(self.activation(self.gate(normed)) * self.up(normed)))
        return result


def token_of_each_row(
    states: Float[torch.Tensor, "batch *heads sequence width"], asked: Int[torch.Tensor, " batch"]
) -> Float[torch.Tensor, "batch *heads 1 width"]:
    """Return the states of one token of each row."""
    return states.take_along_dim(asked.view(-1, *[1] * (states.ndim - 1)), dim=-2)


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + ε) times a weight, in float32 at least (Zhang and Sennrich, 2019)."""

    def __init__(self, width: int, config: DecoderConfig) -> None:
        super().__init__()
        self.epsilon = config.norm_epsilon
        self.offset = config.norm_offset
        self.weight = nn.Parameter(torch.full((width,), 1.0 - config.norm_offset))

    def forward(self, hidden: Float[torch.Tensor, "*places width"]) -> Float[torch.Tensor, "*places width"]:
        """Return the normalised states in their own dtype."""
        wide = hidden if hidden.dtype == torch.float64 else hidden.float()
        weight = self.weight.to(wide.dtype) + self.offset if self.offset else self.weight.to(wide.dtype)
        return functional.rms_norm(wide, weight.shape, weight, self.epsilon).to(hidden.dtype)


def _check_arguments(
    token_ids: torch.Tensor, segment_ids: torch.Tensor | None, cache: Cache | None, new_lengths: Sequence[int] | None
) -> None:
    if token_ids.ndim != 2:
        raise OctoberError(f"token_ids have shape {tuple(token_ids.shape)}: must be [batch, sequence]")
    if cache is not None and segment_ids is not None:
        raise OctoberError("segment_ids with a cache: packed documents cannot be continued; give one or the other")
    if cache is None and new_lengths is not None:
        raise OctoberError("new_lengths without a cache: padding needs no lengths where nothing is kept")
