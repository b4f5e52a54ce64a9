"""The top k chunks of each example, and what the frozen language model makes of them; kept whole in one file.

file.npz    positions        of the chunks in the passage store, best first; -1 where there are fewer than k, or one is
                             left out
            log_likelihoods  log p_LM(y | c o x) (nats); -inf there
            num_tokens       of y; 0 there
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64

from ...errors import OctoberError
from ...files import atomic_path
from ..embeddings import Vectors
from ..hits import check_k
from ..index import DenseIndex
from ..passages import PassageStore
from .chunk_scores import ChunkScorer
from .lsr import ChunkScoreKind, log_distribution, lsr_scores
from .retriever_examples import RetrieverExample
from .retriever_settings import TooLong


class ChunkLabels(NamedTuple):
    """Of each example, its top k chunks; see the head of this file."""

    positions: Int64[np.ndarray, "examples k"]
    log_likelihoods: Float64[np.ndarray, "examples k"]
    num_tokens: Int64[np.ndarray, "examples k"]

    @property
    def usable(self) -> list[int]:
        """The examples that have a chunk."""
        return [int(row) for row in np.flatnonzero((self.positions >= 0).any(axis=1))]

    def of(self, rows: Sequence[int]) -> "ChunkLabels":
        """Return those of some examples."""
        own = list(rows)
        return ChunkLabels(*(column[own] for column in self))

    def log_p_lsr(self, rows: Sequence[int], kind: ChunkScoreKind, temperature: float) -> Float[torch.Tensor, "rows k"]:
        """Return log p_LSR of some examples (Eq. 4), computed in float64."""
        own = list(rows)
        scores = lsr_scores(torch.from_numpy(self.log_likelihoods[own]), torch.from_numpy(self.num_tokens[own]), kind)
        return log_distribution(scores, temperature)


def labelled_chunks(
    examples: Sequence[RetrieverExample],
    queries: Vectors,
    store: PassageStore,
    index: DenseIndex,
    scorer: ChunkScorer,
    k: int,
    too_long: TooLong = "refuse",
) -> ChunkLabels:
    """Search for each example and let the language model judge what was found.

    Args:
        examples: With what is hidden from them.
        queries: Their vectors.
        store: The passages.
        index: Of these passages.
        scorer: Of the frozen model; what it has judged before costs nothing.
        k: Chunks of each example; where the store holds fewer, rows end in chunks that do not count.
        too_long: What becomes of an example that the model's context does not hold behind a chunk: it is refused before
            anything is judged, or that chunk does not count; of some examples none may then.

    Raises:
        OctoberError: k below 1, an example for which there is no chunk, or one behind which it is too long; or as the
            index and the scorer.
    """
    check_k(k)
    depth = k + max((len(one.hidden) for one in examples), default=0)
    positions = np.full((len(examples), k), -1, dtype=np.int64)
    for row, (one, found) in enumerate(zip(examples, index.search(queries, depth).positions, strict=True)):
        there = found[found >= 0].tolist()
        passages = store.take(there) if one.hidden else [None] * len(there)
        allowed = [
            place
            for place, passage in zip(there, passages, strict=True)
            if passage is None or passage.id not in one.hidden
        ][:k]
        if not allowed:
            raise OctoberError(f"{_named(examples, row)}: no passage is left for it in {index.folder}")
        positions[row, : len(allowed)] = allowed
    return _judged(examples, positions, store, scorer, too_long)


def _judged(
    examples: Sequence[RetrieverExample],
    positions: Int64[np.ndarray, "examples k"],
    store: PassageStore,
    scorer: ChunkScorer,
    too_long: TooLong,
) -> ChunkLabels:
    there = positions >= 0
    rows = np.nonzero(there)[0].tolist()
    passages = store.take(positions[there].tolist())
    pairs = [(examples[row].example, passage.titled_text) for row, passage in zip(rows, passages, strict=True)]
    fits = scorer.fits(pairs)
    if too_long == "refuse" and not all(fits):
        longer = "behind a passage it is longer than the language model's context"
        raise OctoberError(f"{_named(examples, rows[fits.index(False)])}: {longer}; too_long=skip leaves such out")
    there[there] = fits
    positions = np.where(there, positions, -1)
    scores = scorer.scores([pair for pair, fitting in zip(pairs, fits, strict=True) if fitting])
    log_likelihoods = np.full(positions.shape, -np.inf)
    num_tokens = np.zeros(positions.shape, dtype=np.int64)
    log_likelihoods[there] = [score.log_likelihood for score in scores]
    num_tokens[there] = [score.num_tokens for score in scores]
    return ChunkLabels(positions, log_likelihoods, num_tokens)


def _named(examples: Sequence[RetrieverExample], row: int) -> str:
    return f"example {row} ({examples[row].example.query[:60]!r})"


def write_labels(labels: ChunkLabels, path: Path) -> None:
    """Write labels to a file, whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **labels._asdict())


def read_labels(path: Path) -> ChunkLabels:
    """Return the labels of a file.

    Raises:
        OctoberError: It is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return ChunkLabels(**{name: arrays[name] for name in ChunkLabels._fields})
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise OctoberError(f"{path}: cannot be read; delete it, and it is made again") from error
