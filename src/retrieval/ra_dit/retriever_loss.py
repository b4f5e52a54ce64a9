"""The loss of the retriever, and how near it is to the language model's liking.

Passages have fixed vectors, which are data: gradients reach the encoder of queries and nothing else. Only where both
encoders are tuned (an ablation that the paper finds worse) are passages encoded anew in each step.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..embeddings import AnyEncoder, EmbeddingCache, LoadedEncoder, encode
from ..passages import PassageStore
from .lsr import entropy, log_distribution, lsr_loss
from .retriever_labels import ChunkLabels
from .retriever_settings import RetrieverSettings


class FixedPassages:
    """The vectors of passages, as the encoder of passages gave them once.

    Args:
        store: The passages.
        encoder: Of passages.
        cache: Where its vectors are kept.
    """

    def __init__(self, store: PassageStore, encoder: AnyEncoder, cache: EmbeddingCache | None) -> None:
        self._store, self._encoder, self._cache = store, encoder, cache

    def vectors(self, model: Any, positions: Int64[np.ndarray, "rows k"]) -> Float[torch.Tensor, "rows k dimension"]:
        """Return the vectors of passages; where a position is below 0, some passage's.

        Args:
            model: What is in training.
            positions: In the store.
        """
        different, places = np.unique(positions.clip(min=0), return_inverse=True)
        texts = [passage.titled_text for passage in self._store.take(different.tolist())]
        return self._encoded(model, texts)[torch.from_numpy(places.reshape(positions.shape))]

    def _encoded(self, model: Any, texts: list[str]) -> Float[torch.Tensor, "passages dimension"]:
        return torch.from_numpy(encode(self._encoder, texts, cache=self._cache, progress=False))


class TunedPassages(FixedPassages):
    """The vectors that the model in training gives passages, with their gradients.

    Args:
        store: The passages.
    """

    def __init__(self, store: PassageStore) -> None:
        self._store = store

    def _encoded(self, model: Any, texts: list[str]) -> Float[torch.Tensor, "passages dimension"]:
        if not torch.is_grad_enabled():
            return torch.from_numpy(encode(LoadedEncoder(model), texts, progress=False))
        features = model.preprocess(texts, prompt=model.prompts.get("document") or None, task="document")
        moved = {name: value.to(model.device) if hasattr(value, "to") else value for name, value in features.items()}
        embeddings: torch.Tensor = model(moved)["sentence_embedding"]
        return embeddings


class LsrLoss(nn.Module):
    """The divergence between what the retriever and what the language model make of the same chunks (Eq. 5).

    Args:
        model: A `SentenceTransformer`, the encoder of queries.
        passages: Gives the chunks' vectors.
        labels: Of all examples; may be replaced.
        settings: Of the distributions and the direction.

    Attributes:
        entropies: Mean entropy (nats) of p_LSR in each batch since they were last cleared.
    """

    def __init__(self, model: Any, passages: FixedPassages, labels: ChunkLabels, settings: RetrieverSettings) -> None:
        super().__init__()
        self.model = model
        self.passages = passages
        self.labels = labels
        self.settings = settings
        self.entropies: list[float] = []

    @property
    def bare_model(self) -> Any:
        """The encoder of queries without what several processes wrap it in."""
        return self.model.module if isinstance(self.model, DistributedDataParallel) else self.model

    def forward(self, sentence_features: Iterable[dict[str, torch.Tensor]], labels: torch.Tensor) -> torch.Tensor:
        """Return the mean divergence (nats); `labels` tells which examples the queries belong to."""
        (features,) = sentence_features
        queries = self.model(features)["sentence_embedding"]
        rows = labels.tolist()
        log_p_lsr = self.labels.log_p_lsr(rows, self.settings.score, self.settings.lsr_temperature)
        self.entropies.append(entropy(log_p_lsr).mean().item())
        positions = self.labels.positions[rows]
        vectors = self.passages.vectors(self.bare_model, positions).to(queries)
        own = log_p_retriever(queries, vectors, positions, self.settings.retriever_temperature)
        return lsr_loss(own, log_p_lsr.to(queries), self.settings.direction)


def log_p_retriever(
    queries: Float[torch.Tensor, "rows dimension"],
    passages: Float[torch.Tensor, "rows k dimension"],
    positions: Int64[np.ndarray, "rows k"],
    temperature: float,
) -> Float[torch.Tensor, "rows k"]:
    """Return log p_R: the softmax of inner products over a row's chunks; -inf where there is none."""
    scores = (queries[:, None] * passages).sum(dim=-1)
    nothing = torch.from_numpy(positions < 0).to(scores.device)
    return log_distribution(scores.masked_fill(nothing, -torch.inf), temperature)


class Liking(NamedTuple):
    """How near a retriever is to the language model's liking, on examples whose chunks are fixed.

    Attributes:
        mrr: Mean over examples of 1 / the retriever's rank of the chunk that the language model likes best.
        kl: Mean divergence (nats), in the direction that is trained.
        entropy: Mean of p_LSR (nats): log k where the language model's scores are flat and teach nothing.
    """

    mrr: float
    kl: float
    entropy: float


@torch.no_grad()
def liking(
    model: Any, queries: Sequence[str], passages: FixedPassages, labels: ChunkLabels, settings: RetrieverSettings
) -> Liking:
    """Measure an encoder of queries.

    Args:
        model: A `SentenceTransformer`.
        queries: Of the examples.
        passages: Gives the chunks' vectors.
        labels: Of the examples.
        settings: Of the distributions and the direction.
    """
    vectors = torch.from_numpy(encode(LoadedEncoder(model, query=True), queries, query=True, progress=False))
    log_p_lsr = labels.log_p_lsr(range(len(queries)), settings.score, settings.lsr_temperature)
    chunks = passages.vectors(model, labels.positions)
    own = log_p_retriever(vectors, chunks, labels.positions, settings.retriever_temperature).double()
    best = own.gather(1, log_p_lsr.argmax(dim=1, keepdim=True))
    ranks = 1 + (own > best).sum(dim=1)
    return Liking(
        (1 / ranks.double()).mean().item(),
        lsr_loss(own, log_p_lsr, settings.direction).item(),
        entropy(log_p_lsr).mean().item(),
    )
