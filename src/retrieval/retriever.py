"""Passages for queries: a store, an index over it and, for a dense one, the encoder of queries."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

from ..errors import OctoberError
from ..files import content_hash, data_home
from .embeddings import AnyEncoder, EmbeddingCache, Storage, Vectors, encode, side
from .hits import Hits, check_k, check_queries
from .index import DenseIndex, Metric
from .index_building import build_index
from .passages import WORDS_PER_PASSAGE, Passage, PassageStore
from .sparse_index import SparseIndex

if TYPE_CHECKING:
    from ..data.documents import CorpusHandle


class Retrieved(NamedTuple):
    """A passage with its score; higher is better."""

    passage: Passage
    score: float


class Retriever:
    """Searches one store through one index.

    Args:
        store: The passages.
        index: Dense or sparse, of these passages.
        encoder: Of queries; for a dense index, and only for one.
        query_cache: Where the queries' embeddings are kept; without it nothing is.

    Raises:
        OctoberError: The index is of other passages, or of another encoder.
    """

    def __init__(
        self,
        store: PassageStore,
        index: DenseIndex | SparseIndex,
        encoder: AnyEncoder | None = None,
        *,
        query_cache: EmbeddingCache | None = None,
    ) -> None:
        if index.passages != store.fingerprint:
            raise OctoberError(f"{index.folder} indexes passages {index.passages}, not {store.fingerprint}")
        if isinstance(index, DenseIndex):
            if encoder is None:
                raise OctoberError(f"{index.folder} is a dense index: an encoder of queries is needed")
            index.check_encoder(encoder)
        elif encoder is not None:
            raise OctoberError(f"{index.folder} is a sparse index: it takes no encoder")
        self.store = store
        self.index = index
        self.encoder = encoder
        self.query_cache = query_cache

    def search(
        self, queries: Sequence[str], k: int, *, forbidden_titles: Sequence[Collection[str]] | None = None
    ) -> list[list[Retrieved]]:
        """Return the k best passages of each query, highest score first; fewer where there are not so many.

        Args:
            queries: None of them empty.
            k: Passages for each.
            forbidden_titles: For each query the titles whose passages are never returned (its own article, say);
                upper and lower case and white space make no difference. The search goes as deep as it must.

        Raises:
            OctoberError: An empty query, k below 1, or as many sets of titles as there are no queries.
        """
        check_queries(queries)
        check_k(k)
        forbidden = _forbidden(queries, forbidden_titles)
        asked = self._asked(queries)
        found: list[list[Retrieved]] = [[] for _ in queries]
        waiting, depth = list(range(len(queries))), k
        while waiting:
            depth = min(depth, len(self.store))
            hits = self._hits(asked, waiting, depth)
            for row, scores, positions in zip(waiting, hits.scores, hits.positions, strict=True):
                found[row] = self._allowed(scores, positions, forbidden[row])[:k]
            if depth == len(self.store):
                break
            whole = [row for row, positions in zip(waiting, hits.positions, strict=True) if (positions >= 0).all()]
            waiting = [row for row in whole if len(found[row]) < k]  # deeper there may be more
            depth *= 4
        return found

    def _asked(self, queries: Sequence[str]) -> Sequence[str] | Vectors:
        """Return what the index is asked: vectors or texts."""
        if self.encoder is None:
            return queries
        return encode(self.encoder, queries, query=True, cache=self.query_cache)

    def _hits(self, asked: Sequence[str] | Vectors, rows: list[int], depth: int) -> Hits:
        if isinstance(self.index, DenseIndex):
            return self.index.search(np.asarray(asked)[rows], depth)
        return self.index.search([str(asked[row]) for row in rows], depth)

    def _allowed(
        self, scores: Float32[np.ndarray, " depth"], positions: Int64[np.ndarray, " depth"], forbidden: set[str]
    ) -> list[Retrieved]:
        there = positions >= 0
        passages = self.store.take(positions[there].tolist())
        pairs = zip(passages, scores[there].tolist(), strict=True)
        return [Retrieved(passage, score) for passage, score in pairs if _plain(passage.title) not in forbidden]


def open_retriever(
    corpus: "CorpusHandle",
    encoder: AnyEncoder,
    *,
    factory: str = "Flat",
    metric: Metric = "inner_product",
    settings: str = "",
    words: int | None = WORDS_PER_PASSAGE,
    storage: Storage = "float32",
    cache_root: str | Path | None = None,
    progress: bool = True,
) -> Retriever:
    """Return a dense retriever over a corpus; passages, embeddings and index are made only where they are missing.

    Args:
        corpus: The documents.
        encoder: Of passages and queries.
        factory: See `build_index`.
        metric: See `build_index`.
        settings: See `DenseIndex.open`.
        words: In a passage; None keeps each document whole.
        storage: Number type of the embeddings on disk.
        cache_root: Where all of it is kept; by default october's data folder.
        progress: Show bars for what takes over five seconds.

    Raises:
        OctoberError: As `PassageStore.build` and `build_index`.
    """
    root = Path(cache_root) if cache_root is not None else data_home()
    store = _open_store(corpus, words, root, progress)
    passages = side(encoder, query=False)
    key = [store.fingerprint, passages.name, passages.fingerprint(), factory, metric, storage]
    index = build_index(
        store,
        encoder,
        root / "indexes" / content_hash(key),
        cache=EmbeddingCache.of(encoder, root / "embeddings", storage=storage),
        factory=factory,
        metric=metric,
        progress=progress,
    )
    if settings:
        index = DenseIndex.open(index.folder, settings=settings)
    queries = EmbeddingCache.of(encoder, root / "embeddings" / "queries", query=True)
    return Retriever(store, index, encoder, query_cache=queries)


def open_sparse_retriever(
    corpus: "CorpusHandle",
    *,
    k1: float = 0.9,
    b: float = 0.4,
    stemmer: str | None = "english",
    words: int | None = WORDS_PER_PASSAGE,
    cache_root: str | Path | None = None,
    progress: bool = True,
) -> Retriever:
    """Return a BM25 retriever over a corpus; passages and index are made only where they are missing.

    Args:
        corpus: The documents.
        k1: See `SparseIndex.build`.
        b: See `SparseIndex.build`.
        stemmer: See `SparseIndex.build`.
        words: In a passage; None keeps each document whole.
        cache_root: Where all of it is kept; by default october's data folder.
        progress: Show bars for what takes over five seconds.

    Raises:
        OctoberError: As `PassageStore.build` and `SparseIndex.build`.
    """
    root = Path(cache_root) if cache_root is not None else data_home()
    store = _open_store(corpus, words, root, progress)
    folder = root / "indexes" / content_hash([store.fingerprint, "bm25", k1, b, stemmer])
    index = SparseIndex.build(store, folder, k1=k1, b=b, stemmer=stemmer, progress=progress)
    return Retriever(store, index)


def _open_store(corpus: "CorpusHandle", words: int | None, root: Path, progress: bool) -> PassageStore:
    source = corpus.fingerprint()
    folder = root / "passages" / content_hash([source, words])
    if (folder / "manifest.json").exists():
        return PassageStore.open(folder)
    return PassageStore.build(corpus.documents(), folder, source=source, words=words, progress=progress)


def _forbidden(queries: Sequence[str], titles: Sequence[Collection[str]] | None) -> list[set[str]]:
    if titles is None:
        return [set() for _ in queries]
    if len(titles) != len(queries):
        raise OctoberError(f"{len(queries)} queries and {len(titles)} sets of forbidden titles: give one for each")
    if any(isinstance(some, str) for some in titles):
        raise OctoberError("forbidden_titles: a set of titles for each query is needed, not one title")
    return [{_plain(title) for title in some} for some in titles]


def _plain(title: str) -> str:
    return " ".join(title.casefold().split())
