"""A dense index over a passage store, on faiss: built part by part, read through a memory map.

    folder/about.json         passages, encoder, dimension, factory, metric; written first
    folder/trained.faiss      the empty index after training (factories that need none are saved too)
    folder/part-00000.faiss   the vectors of as many passages as fit into a bounded memory
    folder/parts.json         hash and count of every part; written last

Every part is a copy of the trained index with its own passages added, so a search over the parts in turn, merged, finds
what one large index would (graphs apart, which are built per part); memory while building is that of one part. A killed
build keeps its whole parts, and takes the vectors of the others from the embedding cache as far as they are there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from ..errors import OctoberError
from ..language_models.fingerprints import cached_sha256
from .embeddings import AnyEncoder, side
from .folders import damaged, read_description
from .hits import Hits, check_k

Metric = Literal["inner_product", "l2"]
WHAT = "dense index"
_NEEDED = {"passages", "encoder", "encoder_fingerprint", "dimension", "metric", "count"}
_QUERIES_AT_ONCE = 1024
_QUERIES_FOR_MATRIX_PRODUCT = 4  # by default faiss 1.15 reads all flat vectors anew for each query of a batch


class DenseIndex:
    """A finished index.

    Attributes:
        folder: Where it is.
        about: What it was built from: `passages` (the store's fingerprint), `encoder`, `encoder_fingerprint`,
            `dimension`, `factory`, `metric`, `count`.
    """

    def __init__(self, folder: Path, about: dict[str, Any], parts: list[dict[str, Any]], settings: str = "") -> None:
        self.folder = folder
        self.about = about
        self._parts = parts
        self._settings = settings

    @classmethod
    def open(cls, folder: str | Path, *, settings: str = "", verify: bool = True) -> "DenseIndex":
        """Open a finished index without reading its vectors.

        Args:
            folder: What `build_index` wrote.
            settings: What faiss may be told of a search, such as 'nprobe=32' or 'efSearch=64'.
            verify: Hash the parts, once as long as their size and time stamp stay the same.

        Raises:
            OctoberError: There is none, it is damaged, or it knows no such settings.
        """
        folder = Path(folder)
        parts = read_description(folder / "parts.json", WHAT).get("parts")
        about = read_description(folder / "about.json", WHAT)
        if not isinstance(parts, list) or not about.keys() >= _NEEDED:
            raise damaged(folder / "parts.json", WHAT)
        for part in parts:
            _check_part(folder / part["name"], part, verify)
        index = cls(folder, about, parts, settings)
        if settings:
            _ = index._searcher  # so that wrong ones are known now
        return index

    def __len__(self) -> int:
        return int(self.about["count"])

    @property
    def passages(self) -> str:
        """The fingerprint of the passage store that it indexes."""
        return str(self.about["passages"])

    def check_encoder(self, encoder: AnyEncoder) -> None:
        """Check that the index holds this encoder's vectors.

        Raises:
            OctoberError: It was built with another encoder.
        """
        passages = side(encoder, query=False)
        for name, own, given in (
            ("encoder", self.about["encoder"], passages.name),
            ("encoder fingerprint", self.about["encoder_fingerprint"], passages.fingerprint()),
        ):
            if own != given:
                raise OctoberError(f"{self.folder} was built with {name} {own}, not {given}; build it again with that")

    def search(self, queries: Float[np.ndarray, "queries dimension"], k: int, num_threads: int | None = None) -> Hits:
        """Return the k best passages of each query.

        Args:
            queries: Their vectors.
            k: Passages for each.
            num_threads: Of this search; by default OpenMP's own number.

        Returns:
            Scores are inner products, or squared distances with the sign changed: higher is better.

        Raises:
            OctoberError: Vectors of another dimension or not finite, or k below 1.
        """
        check_k(k)
        vectors = self._checked(queries)
        scores = np.full((len(vectors), k), -np.inf, dtype=np.float32)
        positions = np.full((len(vectors), k), -1, dtype=np.int64)
        deep = min(k, len(self))
        with _searching(num_threads):
            for first in range(0, len(vectors), _QUERIES_AT_ONCE):
                rows = slice(first, first + _QUERIES_AT_ONCE)
                scores[rows, :deep], positions[rows, :deep] = self._searcher.search(vectors[rows], deep)
        scores = -scores if self.about["metric"] == "l2" else scores
        return Hits(np.where(positions < 0, -np.inf, scores).astype(np.float32), positions)

    def _checked(self, queries: Float[np.ndarray, "queries dimension"]) -> Float[np.ndarray, "queries dimension"]:
        vectors = np.ascontiguousarray(queries, dtype=np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != self.about["dimension"]:
            raise OctoberError(
                f"queries of shape {list(vectors.shape)} do not fit {self.folder}: vectors of "
                f"{self.about['dimension']} numbers (encoder {self.about['encoder']}) are needed"
            )
        if not np.isfinite(vectors).all():
            raise OctoberError("a query's vector holds numbers that are not finite")
        return vectors

    @cached_property
    def _searcher(self) -> Any:
        """The parts as one index, on the GPUs if faiss sees any."""
        parts = []
        for part in self._parts:
            mapped = _read(self.folder / part["name"], part["inverted_lists"])
            if self._settings:
                _set(mapped, self._settings)
            parts.append(_on_gpus(mapped))
        return parts[0] if len(parts) == 1 else _joined(parts, self.about["dimension"])


def check_factory(factory: str, dimension: int, metric: Metric) -> Any:
    """Return an empty faiss index as a factory string describes it.

    Raises:
        OctoberError: The string, or the metric, is none that faiss knows, or does not fit the dimension; or the index
            would be one of numbers of the user's own, and not of positions.
    """
    import faiss

    metrics = {"inner_product": faiss.METRIC_INNER_PRODUCT, "l2": faiss.METRIC_L2}
    if metric not in metrics:
        raise OctoberError(f"metric={metric!r} is not one of {', '.join(metrics)}")
    try:
        index = faiss.index_factory(dimension, factory, metrics[metric])
    except RuntimeError as error:
        raise OctoberError(
            f"factory={factory!r}: faiss makes no index of {dimension} numbers of it ({reason(error)})"
        ) from error
    if isinstance(index, faiss.IndexIDMap):
        raise OctoberError(f"factory={factory!r}: passages are found by position; leave IDMap out")
    return index


def _joined(parts: list[Any], dimension: int) -> Any:
    """Return one index that searches the parts in turn; positions go on from one to the next."""
    import faiss

    joined = faiss.IndexShards(dimension)
    for part in parts:
        joined.add_shard(part)
    return joined


def _on_gpus(part: Any) -> Any:
    import faiss

    if faiss.get_num_gpus() == 0:
        return part
    try:
        return faiss.index_cpu_to_all_gpus(part)
    except RuntimeError:  # a kind that has no version for GPUs
        return part


def _read(path: Path, inverted_lists: bool) -> Any:
    """Map a part's vectors; inverted lists and flat codes have flags of their own, and a few kinds cannot be mapped."""
    import faiss

    mapped = faiss.IO_FLAG_MMAP if inverted_lists else faiss.IO_FLAG_MMAP_IFC
    try:
        return faiss.read_index(str(path), mapped | faiss.IO_FLAG_READ_ONLY)
    except RuntimeError:
        pass
    try:
        return faiss.read_index(str(path))
    except RuntimeError as error:
        raise damaged(path, WHAT) from error


def _check_part(path: Path, part: dict[str, Any], verify: bool) -> None:
    try:
        whole = path.stat().st_size == part["bytes"] and (not verify or cached_sha256(path) == part["sha256"])
    except OSError as error:
        raise damaged(path, WHAT) from error
    if not whole:
        raise damaged(path, WHAT)


def _set(part: Any, settings: str) -> None:
    import faiss

    space: Any = faiss.ParameterSpace()  # faiss' stub has a number in place of the string
    try:
        space.set_index_parameters(part, settings)
    except RuntimeError as error:
        raise OctoberError(f"settings={settings!r}: this index does not take them ({reason(error)})") from error


def reason(error: RuntimeError) -> str:
    """Return the last part of faiss' message, without the place in its source."""
    return str(error).strip().splitlines()[-1].rpartition("Error: ")[2][:200]


@contextmanager
def _searching(num_threads: int | None) -> Iterator[None]:
    """Hold faiss' settings for a search; they are the process' own, and are given back."""
    import faiss

    threads, threshold = faiss.omp_get_max_threads(), faiss.cvar.distance_compute_blas_threshold
    if num_threads is not None:
        faiss.omp_set_num_threads(num_threads)
    faiss.cvar.distance_compute_blas_threshold = _QUERIES_FOR_MATRIX_PRODUCT
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)
        faiss.cvar.distance_compute_blas_threshold = threshold
