"""Searching flat vectors: milliseconds a query in batches, and against one query at a time."""

import statistics
from pathlib import Path

import faiss
import numpy as np
from shared_cases.timing import seconds_of

from october.reporting.benchmarks import Case, Measured
from october.retrieval import DenseIndex, EmbeddingCache, Hits, PassageStore, build_index
from recomp_cases.index_run import DIMENSION, FakeEncoder

NUM_QUERIES, BATCH, DEPTH = 256, 64, 5
MOST_MILLISECONDS = 5.0  # a query
REPEATS = 5


def searching_cases(folder: Path, divisor: int) -> list[Case | Measured]:
    """Return the cases on the passages that `indexing_cases` left in the folder."""
    return cases_of(one_part(folder / "whole"), NUM_QUERIES // divisor)


def one_part(folder: Path) -> DenseIndex:
    """Return an index over a store's passages in one part, as settings are by default; embeddings are there."""
    store, cache = PassageStore.open(folder / "passages"), EmbeddingCache(folder / "embeddings")
    return build_index(store, FakeEncoder(folder / "searching.txt"), folder / "one_part", cache=cache)


def cases_of(index: DenseIndex, num_queries: int) -> list[Case | Measured]:
    """Return both cases of an index."""
    queries = np.random.default_rng(0).uniform(-1, 1, (num_queries, DIMENSION)).astype(np.float32)
    name = f"search {len(index):,} flat vectors of {DIMENSION} numbers, {DEPTH} passages a query, batches of {BATCH}"
    settings = f"faiss {faiss.__version__}, {faiss.omp_get_max_threads()} threads"
    return [
        Measured(
            name=f"{name}: against {MOST_MILLISECONDS:g} ms a query",
            ours=milliseconds(index, queries),
            peer=MOST_MILLISECONDS,
            unit="ms",
            bar="<=1",
            peer_settings=f"the bar; ours is the median of {REPEATS}; {settings}",
        ),
        Case(
            name=f"{name}, {num_queries} queries: against one query at a time",
            ours=lambda: searched(index, queries, BATCH),
            peer=lambda: searched(index, queries, 1),
            bar=None,
            unit="ms",
            check=check,
            peer_settings=f"the same index; {settings}",
        ),
    ]


def milliseconds(index: DenseIndex, queries: np.ndarray) -> float:
    """Return the median time of a query in batches, after one round that is not timed."""
    searched(index, queries, BATCH)
    seconds = [seconds_of(lambda: searched(index, queries, BATCH)) for _ in range(REPEATS)]
    return 1000 * statistics.median(seconds) / len(queries)


def searched(index: DenseIndex, queries: np.ndarray, batch: int) -> Hits:
    """Return the best passages of all queries."""
    found = [index.search(queries[first : first + batch], DEPTH) for first in range(0, len(queries), batch)]
    return Hits(*(np.concatenate(arrays) for arrays in zip(*found, strict=True)))


def check(ours: Hits, theirs: Hits) -> None:
    """Check that both find passages of the same scores; equal ones may change places."""
    np.testing.assert_allclose(ours.scores, theirs.scores, rtol=1e-4)
