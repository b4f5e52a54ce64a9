"""The LLaMA-type models that the paper trains: what their memory and work depend on."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class ModelShape:
    """A decoder with SwiGLU feed-forward, RMSNorm, untied embeddings and as many key/value heads as query heads.

    Attributes:
        name: As in Table 3.
        num_layers: Layers, L.
        hidden_size: h.
        num_heads: Query heads, n.
        intermediate_size: Of the feed-forward network.
        vocab_size: Rows of the embedding, and of the output head.
    """

    name: str
    num_layers: int
    hidden_size: int
    num_heads: int
    intermediate_size: int
    vocab_size: int = 32_000

    @property
    def layer_parameters(self) -> int:
        """Weights of one layer: four attention matrices, three of the feed-forward network, two norms."""
        return self.hidden_size * (4 * self.hidden_size + 3 * self.intermediate_size + 2)

    @property
    def parameters(self) -> int:
        """All weights: the layers, embedding, output head and last norm."""
        return self.num_layers * self.layer_parameters + self.hidden_size * (2 * self.vocab_size + 1)


MODEL_SHAPES: Mapping[str, ModelShape] = MappingProxyType(
    {
        shape.name: shape
        for shape in (
            ModelShape("3B", 26, 3200, 32, 8640),
            ModelShape("7B", 32, 4096, 32, 11008),
            ModelShape("13B", 40, 5120, 40, 13824),
            ModelShape("30B", 60, 6656, 52, 17920),
            ModelShape("65B", 80, 8192, 64, 22016),
        )
    }
)
"""The paper names only sizes. 7B to 65B are LLaMA's (arXiv 2302.13971, Table 2; its 33B is the paper's 30B), 3B is
OpenLLaMA's, whose authors overlap: an assumption. Appendix D counts the 33B with h = 7168 where LLaMA has 6656."""
