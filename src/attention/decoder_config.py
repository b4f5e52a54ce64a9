"""The shape of a decoder: sizes, and what differs between the families and between the layers."""

from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

from ..errors import OctoberError

Activation = Literal["silu", "gelu_tanh"]
RopeScalingKind = Literal["linear", "llama3"]
Value = TypeVar("Value")


@dataclass(frozen=True)
class RopeScaling:
    """How rotary frequencies are lowered for contexts longer than those of pre-training.

    Attributes:
        kind: `linear` divides every frequency by `factor`; `llama3` (Llama 3.1) leaves wavelengths below
            `original_max_positions / high_frequency_factor` as they are, divides those above
            `original_max_positions / low_frequency_factor`, and goes smoothly from one to the other between them.
        factor: How many times longer the context becomes.
        low_frequency_factor: Of `llama3`.
        high_frequency_factor: Of `llama3`.
        original_max_positions: The context of pre-training, of `llama3`.
    """

    kind: RopeScalingKind
    factor: float
    low_frequency_factor: float = 1.0
    high_frequency_factor: float = 4.0
    original_max_positions: int = 8192

    def __post_init__(self) -> None:
        _check_choice("kind of RopeScaling", self.kind, get_args(RopeScalingKind))
        if not self.factor >= 1:
            raise OctoberError(f"factor={self.factor} of RopeScaling: must be at least 1")
        if not 0 < self.low_frequency_factor < self.high_frequency_factor:
            raise OctoberError(
                f"low_frequency_factor={self.low_frequency_factor} of RopeScaling: must be above 0 and below "
                f"high_frequency_factor={self.high_frequency_factor}"
            )
        _check_positive("original_max_positions of RopeScaling", self.original_max_positions)


@dataclass(frozen=True)
class DecoderConfig:
    """Everything that decides a decoder's function besides its weights.

    `sliding_windows`, `rope_bases` and `rope_scalings` take one value for each layer, or one for all of them; read
    back, they have one for each layer.

    Attributes:
        vocab_size: Tokens of the vocabulary.
        hidden_size: Width of the residual stream.
        intermediate_size: Width inside the feed-forward network.
        num_layers: Number of layers.
        num_heads: Query heads.
        num_kv_heads: Key and value heads; query head i reads key and value head i // (num_heads / num_kv_heads).
        head_dim: Width of a head; even.
        max_positions: Tokens of the longest context.
        norm_epsilon: Added to the mean square in every RMSNorm.
        norm_offset: Added to every RMSNorm's weight: 1 for Gemma, whose stored weights are centred on 0.
        sliding_windows: Keys that a query sees, itself included; None sees them all.
        rope_bases: θ of the rotary position embedding.
        rope_scalings: How its frequencies are lowered.
        activation: Of the gate in the feed-forward network: `silu` makes it SwiGLU, `gelu_tanh` GeGLU.
        tie_embeddings: Whether the output head is the embedding.
        embedding_scale: Factor on the token embeddings: the square root of hidden_size for Gemma.
        qk_norm: Whether queries and keys are normalised before they are rotated (Gemma 3).
        post_norms: Whether what attention and feed-forward add is normalised too (Gemma 2 and 3).
        attention_scale: Factor on the scores; None is the inverse square root of head_dim.

    Raises:
        OctoberError: A field is out of range, or two contradict each other.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_positions: int = 4096
    norm_epsilon: float = 1e-6
    norm_offset: float = 0.0
    sliding_windows: tuple[int | None, ...] = (None,)
    rope_bases: tuple[float, ...] = (10_000.0,)
    rope_scalings: tuple[RopeScaling | None, ...] = (None,)
    activation: Activation = "silu"
    tie_embeddings: bool = False
    embedding_scale: float = 1.0
    qk_norm: bool = False
    post_norms: bool = False
    attention_scale: float | None = None

    def __post_init__(self) -> None:
        for name in ("vocab_size", "hidden_size", "intermediate_size", "num_layers", "num_heads", "num_kv_heads"):
            _check_positive(name, getattr(self, name))
        _check_positive("head_dim", self.head_dim)
        _check_positive("max_positions", self.max_positions)
        if self.num_heads % self.num_kv_heads:
            raise OctoberError(f"num_heads={self.num_heads}: must be a multiple of num_kv_heads={self.num_kv_heads}")
        if self.head_dim % 2:
            raise OctoberError(f"head_dim={self.head_dim}: must be even, for the rotary position embedding")
        _check_choice("activation", self.activation, get_args(Activation))
        object.__setattr__(self, "sliding_windows", self._by_layer("sliding_windows", self.sliding_windows))
        object.__setattr__(self, "rope_bases", self._by_layer("rope_bases", self.rope_bases))
        object.__setattr__(self, "rope_scalings", self._by_layer("rope_scalings", self.rope_scalings))
        for window in self.sliding_windows:
            if window is not None:
                _check_positive("sliding_windows", window)
        for name, values in (("rope_bases", self.rope_bases), ("norm_epsilon", (self.norm_epsilon,))):
            if not all(value > 0 for value in values):
                raise OctoberError(f"{name}={min(values)}: must be above 0")

    @property
    def scale(self) -> float:
        """The factor on the attention scores."""
        return self.head_dim**-0.5 if self.attention_scale is None else self.attention_scale

    def _by_layer(self, name: str, values: tuple[Value, ...]) -> tuple[Value, ...]:
        values = tuple(values)
        if len(set(values)) == 1:  # however often: `replace` may change the number of layers
            return values[:1] * self.num_layers
        if len(values) != self.num_layers:
            raise OctoberError(
                f"{name} has {len(values)} values: give one, or one for each of {self.num_layers} layers"
            )
        return values


def _check_positive(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise OctoberError(f"{name}={value}: must be a whole number, at least 1")


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise OctoberError(f"{name}={value}: must be one of {', '.join(allowed)}")
