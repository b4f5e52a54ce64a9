"""Building a dense index: train on a sample, then part by part, each written whole."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from tqdm.auto import tqdm

from ..errors import OctoberError
from ..files import atomic_path, only_writer, write_whole
from ..language_models.fingerprints import cached_sha256
from .embeddings import CHUNK_TEXTS, AnyEncoder, EmbeddingCache, encode, side
from .folders import damaged, read_description
from .index import WHAT, DenseIndex, Metric, check_factory, reason
from .passages import PassageStore

_PART_BYTES = 1 << 30  # of float32 vectors in one part
_TRAINING_PASSAGES = 262_144
_SECONDS_UNTIL_PROGRESS = 5.0


def build_index(
    store: PassageStore,
    encoder: AnyEncoder,
    folder: str | Path,
    *,
    cache: EmbeddingCache,
    factory: str = "Flat",
    metric: Metric = "inner_product",
    training_passages: int = _TRAINING_PASSAGES,
    part_passages: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> DenseIndex:
    """Index a store's passages; an index of the same passages, encoder and settings is opened at once.

    Args:
        store: The passages; titles and texts are encoded.
        encoder: A handle, or anything that embeds texts.
        folder: Of this index alone.
        cache: Where the encoder's embeddings are kept, so that none is computed twice.
        factory: What faiss' `index_factory` takes: 'Flat', 'IVF1024,SQ8', 'OPQ48_192,IVF4096,PQ48' …
        metric: The inner product, or the Euclidean distance.
        training_passages: At most so many are sampled to train a factory that needs it.
        part_passages: Passages of a part; by default as many as take 1 GiB in float32.
        seed: Of the sample.
        progress: Show a bar if it takes over five seconds.

    Raises:
        OctoberError: A factory that faiss does not know or that cannot be trained on so few passages, a folder that
            holds another index, or a full disk.
    """
    _check_sizes(training_passages, part_passages)
    folder, texts = Path(folder), side(encoder, query=False)
    dimension = encode(encoder, store.titled_texts(0, CHUNK_TEXTS), cache=cache, progress=progress).shape[1]
    empty = check_factory(factory, dimension, metric)
    size = part_passages or max(1, _PART_BYTES // (4 * dimension))
    about = {"passages": store.fingerprint, "count": len(store), "encoder": texts.name}
    about |= {"encoder_fingerprint": texts.fingerprint(), "dimension": dimension, "factory": factory, "metric": metric}
    about |= {"part_passages": size, "training_passages": training_passages, "seed": seed}
    with only_writer(folder):
        _claim(folder, about)
        if not (folder / "parts.json").exists():
            trained = _trained(empty, folder, _Vectors(store, encoder, cache), about)
            _build_parts(trained, folder, _Vectors(store, encoder, cache, progress), size)
    return DenseIndex.open(folder)


class _Vectors:
    """The passages' vectors, chunk by chunk, behind a bar."""

    def __init__(self, store: PassageStore, encoder: AnyEncoder, cache: EmbeddingCache, progress: bool = False) -> None:
        self.store = store
        self.encoder = encoder
        self.cache = cache
        shown: dict[str, Any] = {"desc": "index", "unit": "passage", "delay": _SECONDS_UNTIL_PROGRESS, "leave": False}
        self.bar = tqdm(total=len(store), disable=not progress, **shown)

    def between(self, start: int, stop: int) -> Iterator[Float[np.ndarray, "chunk dimension"]]:
        """Yield the vectors of a range; chunks end at multiples of their size, so that a resumed run's are the same."""
        borders = [start, *range(start - start % CHUNK_TEXTS + CHUNK_TEXTS, stop, CHUNK_TEXTS), stop]
        for first, last in pairwise(borders):
            yield self._encode(self.store.titled_texts(first, last))
            self.bar.update(last - first)

    def at(self, positions: list[int]) -> Iterator[Float[np.ndarray, "chunk dimension"]]:
        """Yield the vectors of some passages."""
        for first in range(0, len(positions), CHUNK_TEXTS):
            some = self.store.take(positions[first : first + CHUNK_TEXTS])
            yield self._encode([passage.titled_text for passage in some])

    def _encode(self, texts: list[str]) -> Float[np.ndarray, "chunk dimension"]:
        return encode(self.encoder, texts, cache=self.cache, progress=False)


def _check_sizes(training_passages: int, part_passages: int | None) -> None:
    if training_passages < 1:
        raise OctoberError(f"training_passages={training_passages}: must be at least 1")
    if part_passages is not None and part_passages < 1:
        raise OctoberError(f"part_passages={part_passages}: must be at least 1")


def _claim(folder: Path, about: dict[str, Any]) -> None:
    """Write what the index is of, or check that the folder's is the same."""
    path = folder / "about.json"
    if not path.exists():
        write_whole(path, json.dumps(about))
    found = read_description(path, WHAT)
    for name, value in about.items():
        if found.get(name) != value:
            raise OctoberError(f"{folder} holds an index with {name}={found.get(name)}, not {value}; name another")


def _trained(empty: Any, folder: Path, vectors: _Vectors, about: dict[str, Any]) -> Any:
    """Return the index after training; a training that was finished is read.

    Raises:
        OctoberError: What was trained is damaged, or the factory cannot be trained on so few passages.
    """
    import faiss

    path = folder / "trained.faiss"
    if path.exists():
        try:
            return faiss.read_index(str(path))
        except RuntimeError as error:  # not trained again: the parts that are there have this training's lists
            raise damaged(path, WHAT) from error
    if not empty.is_trained:
        count = min(about["training_passages"], about["count"])
        sample = np.random.default_rng(about["seed"]).choice(about["count"], count, replace=False)
        try:
            empty.train(np.concatenate(list(vectors.at(sorted(sample.tolist())))))
        except RuntimeError as error:
            raise OctoberError(
                f"factory={about['factory']!r} cannot be trained on {count} passages ({reason(error)})"
            ) from error
    _write(empty, path)
    return empty


def _build_parts(trained: Any, folder: Path, vectors: _Vectors, size: int) -> None:
    import faiss

    parts = []
    for number, start in enumerate(range(0, len(vectors.store), size)):
        stop = min(start + size, len(vectors.store))
        path = folder / f"part-{number:05d}.faiss"
        if path.exists():
            vectors.bar.update(stop - start)
        else:
            part = faiss.clone_index(trained)
            for chunk in vectors.between(start, stop):
                part.add(chunk)
            _write(part, path)
        parts.append({"name": path.name, "bytes": path.stat().st_size, "sha256": cached_sha256(path)})
    vectors.bar.close()
    lists = faiss.try_extract_index_ivf(trained) is not None
    write_whole(folder / "parts.json", json.dumps({"parts": [part | {"inverted_lists": lists} for part in parts]}))


def _write(index: Any, path: Path) -> None:
    import faiss

    with atomic_path(path) as temporary:
        faiss.write_index(index, str(temporary))
