"""Embeddings of texts: each text once, in length-sorted batches, kept on disk by encoder and text.

    folder/about.json     the encoder's name and fingerprint, numbers in a vector, number type; written first
    folder/vectors.bin    one row after the other
    folder/rows.sqlite    the hash of each text and its row

A chunk's vectors are on disk before its keys are committed, all in one transaction. So a killed run leaves at most
vectors without keys at the end of the file, which the next writer cuts off: what has a key is whole.
"""

import hashlib
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from jaxtyping import Float
from tqdm.auto import tqdm

from ..errors import OctoberError, check_text
from ..files import only_writer, write_whole
from ..language_models import EncoderHandle
from ..language_models.batching import length_sorted_batches
from .folders import damaged, read_description
from .hits import check_queries

Storage = Literal["float32", "float16"]
Vectors = Float[np.ndarray, "n dimension"]

CHUNK_TEXTS = 4096  # texts encoded between two writes
_BATCH_TEXTS = 256  # fills a GPU
_BATCH_TOKENS_ON_CPU = 512  # padding included: so many keep it busy, and more leave its caches
_SECONDS_UNTIL_PROGRESS = 5.0


class TextEncoder(Protocol):
    """Turns texts into vectors whose inner products are scores."""

    @property
    def name(self) -> str:
        """The name it has in records."""

    def fingerprint(self) -> str:
        """Return what identifies its vectors."""

    def embed(self, texts: list[str]) -> Vectors:
        """Return a vector for each text, in order."""


class PassageEncoder:
    """The side of an encoder that reads passages."""

    def __init__(self, handle: EncoderHandle) -> None:
        self.handle = handle

    @property
    def name(self) -> str:
        """The handle's name."""
        return self.handle.name

    def fingerprint(self) -> str:
        """Return the handle's fingerprint."""
        return self.handle.fingerprint()

    def embed(self, texts: list[str]) -> Vectors:
        """Return a vector for each text, in float32."""
        return _embed(self.handle.load(), texts, query=False)


class QueryEncoder:
    """The side that reads queries: the same network, or one of its own (DRAGON+)."""

    def __init__(self, handle: EncoderHandle) -> None:
        self.handle = handle

    @property
    def name(self) -> str:
        """The handle's name."""
        return self.handle.name

    def fingerprint(self) -> str:
        """Return a fingerprint of the network that reads queries."""
        if self.handle.query_path is None:
            return self.handle.fingerprint()
        return replace(self.handle, path=self.handle.query_path, query_path=None).fingerprint()

    def embed(self, texts: list[str]) -> Vectors:
        """Return a vector for each text, in float32."""
        return _embed(self.handle.load_query(), texts, query=True)


class LoadedEncoder:
    """A sentence-transformers model in memory, such as one in training; it has no fingerprint."""

    name = "an encoder in memory"

    def __init__(self, model: Any, *, query: bool = False) -> None:
        self.model = model
        self.query = query

    def fingerprint(self) -> str:
        """Raise `OctoberError`: weights in memory change."""
        raise OctoberError("an encoder in memory has no fingerprint: save it and name its folder in an EncoderHandle")

    def embed(self, texts: list[str]) -> Vectors:
        """Return a vector for each text, in float32; the model is left in the mode in which it was."""
        training = self.model.training
        try:
            return _embed(self.model, texts, query=self.query)
        finally:
            self.model.train(training)


AnyEncoder = EncoderHandle | TextEncoder


def side(encoder: AnyEncoder, *, query: bool) -> TextEncoder:
    """Return the encoder of queries or of passages; a `TextEncoder` is its own."""
    if isinstance(encoder, EncoderHandle):
        return QueryEncoder(encoder) if query else PassageEncoder(encoder)
    return encoder


def encode(
    encoder: AnyEncoder,
    texts: Sequence[str],
    *,
    query: bool = False,
    cache: "EmbeddingCache | None" = None,
    progress: bool = True,
) -> Vectors:
    """Return a float32 vector for each text; equal texts are encoded once, longest first, without gradients.

    Args:
        encoder: A handle, or anything that embeds texts.
        texts: Queries or passages.
        query: Whether they are queries, which may have an encoder of their own and must not be empty.
        cache: Where this encoder's embeddings are kept; without it nothing is.
        progress: Show a bar if it takes over five seconds.

    Raises:
        OctoberError: Something that is not UTF-8 text, an empty query, a vector that is not finite, a cache of another
            encoder, or a full disk.
    """
    if isinstance(texts, str):
        raise OctoberError(f"texts={texts[:40]!r}: a list of texts is needed, this is one text")
    if query:
        check_queries(texts)
    _check_texts(texts)
    one_side = side(encoder, query=query)
    unique = list(dict.fromkeys(texts))
    if cache is None:
        vectors = _encoded(one_side, unique, progress)
    else:
        vectors = cache.encode(one_side, unique, progress=progress)
    if len(unique) == len(texts):
        return vectors
    places = {text: place for place, text in enumerate(unique)}
    return vectors[[places[text] for text in texts]]


class EmbeddingCache:
    """One encoder's embeddings on disk; what was encoded once is read through a memory map ever after.

    Args:
        folder: Of this encoder alone, see `of`.
        storage: Number type on disk; float16 halves the file and rounds to three digits.
    """

    def __init__(self, folder: str | Path, storage: Storage = "float32") -> None:
        if storage not in ("float32", "float16"):
            raise OctoberError(f"storage={storage!r} is not one of float32, float16")
        self.folder = Path(folder)
        self.storage = storage

    @classmethod
    def of(
        cls, encoder: AnyEncoder, root: str | Path, *, query: bool = False, storage: Storage = "float32"
    ) -> "EmbeddingCache":
        """Return an encoder's cache among those in `root`, by its fingerprint."""
        return cls(Path(root) / f"{side(encoder, query=query).fingerprint()}.{storage}", storage)

    def __len__(self) -> int:
        with self._keys() as keys:
            return _count(keys)

    def encode(self, encoder: TextEncoder, texts: Sequence[str], *, progress: bool = True) -> Vectors:
        """Return the vectors of different texts, encoding and keeping those that are not there yet.

        Raises:
            OctoberError: As `encode`.
        """
        if (self.folder / "about.json").exists():
            self._check_encoder(encoder)
        with self._keys() as keys:
            found = _rows(keys, texts)
        if len(found) < len(texts):
            with only_writer(self.folder), self._keys() as keys:
                self._cut_torn_tail(keys)
                found = _rows(keys, texts)  # another process may have encoded some while this one waited
                missing = [text for text in texts if text not in found]
                for chunk, vectors in _chunks(encoder, missing, progress):
                    found |= self._append(keys, encoder, chunk, vectors)
        if not texts:
            return np.empty((0, 0), dtype=np.float32)
        return self._mapped()[[found[text] for text in texts]].astype(np.float32)

    def _append(
        self, keys: sqlite3.Connection, encoder: TextEncoder, texts: Sequence[str], vectors: Vectors
    ) -> dict[str, int]:
        with np.errstate(over="ignore"):  # said below
            stored = np.ascontiguousarray(vectors, dtype=self.storage)
        if not np.isfinite(stored).all():
            raise OctoberError(f"storage={self.storage} cannot hold the vectors of {encoder.name}; use float32")
        self._claim(encoder, stored.shape[1])
        with (self.folder / "vectors.bin").open("ab") as file:
            file.write(stored.data)
            file.flush()
            os.fsync(file.fileno())
        first = _count(keys)
        rows = {text: first + row for row, text in enumerate(texts)}
        with keys:
            keys.executemany("INSERT INTO rows VALUES (?, ?)", [(row, _key(text)) for text, row in rows.items()])
        return rows

    def _check_encoder(self, encoder: TextEncoder) -> None:
        """Refuse another encoder's vectors; whatever its name, it is its fingerprint that counts.

        A cache that was written before fingerprints were noted is known by its folder's name, as `of` gives it.
        """
        about = read_description(self.folder / "about.json", "embedding cache")
        own, given = about.get("fingerprint", self.folder.name.partition(".")[0]), encoder.fingerprint()
        if own != given:
            raise OctoberError(
                f"{self.folder} holds vectors of encoder {about.get('encoder')} with fingerprint {own}; "
                f"encoder {encoder.name} has {given}: name another folder"
            )

    def _claim(self, encoder: TextEncoder, dimension: int) -> None:
        """Write what the vectors are, or check that these are of the same kind."""
        path, name = self.folder / "about.json", encoder.name
        if not path.exists():
            made = {"encoder": name, "fingerprint": encoder.fingerprint()}
            write_whole(path, json.dumps({**made, "dimension": dimension, "storage": self.storage}))
        self._check_encoder(encoder)
        about = read_description(path, "embedding cache")
        if (about.get("dimension"), about.get("storage")) != (dimension, self.storage):
            raise OctoberError(
                f"{self.folder} holds {about.get('storage')} vectors of {about.get('dimension')} numbers; "
                f"encoder {name} gives {dimension} in {self.storage}: name another folder"
            )

    def _cut_torn_tail(self, keys: sqlite3.Connection) -> None:
        path = self.folder / "vectors.bin"
        if path.exists():
            wanted = _count(keys) * self._row_bytes()
            if path.stat().st_size < wanted:
                raise damaged(path, "embedding cache")
            os.truncate(path, wanted)

    def _row_bytes(self) -> int:
        about = read_description(self.folder / "about.json", "embedding cache")
        return int(about["dimension"]) * int(np.dtype(about["storage"]).itemsize)

    def _mapped(self) -> Vectors:
        path = self.folder / "vectors.bin"
        about = read_description(self.folder / "about.json", "embedding cache")
        with self._keys() as keys:
            shape = (_count(keys), int(about["dimension"]))
        try:
            return np.memmap(path, dtype=about["storage"], mode="r", shape=shape)
        except (ValueError, OSError) as error:
            raise damaged(path, "embedding cache") from error

    @contextmanager
    def _keys(self) -> Iterator[sqlite3.Connection]:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "rows.sqlite"
        try:
            with closing(sqlite3.connect(path, timeout=600)) as keys:
                keys.execute("CREATE TABLE IF NOT EXISTS rows (row INTEGER PRIMARY KEY, key BLOB UNIQUE)")
                yield keys
        except sqlite3.OperationalError as error:  # a full disk, no permission
            raise OctoberError(f"{path} cannot be read or written ({error})") from error
        except sqlite3.DatabaseError as error:
            raise damaged(path, "embedding cache") from error


def _check_texts(texts: Sequence[str]) -> None:
    for number, text in enumerate(texts):
        check_text(text, f"text {number}")


def _count(keys: sqlite3.Connection) -> int:
    last = keys.execute("SELECT MAX(row) FROM rows").fetchone()[0]
    return 0 if last is None else int(last) + 1


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _rows(keys: sqlite3.Connection, texts: Sequence[str]) -> dict[str, int]:
    """Return the rows of those texts that have one."""
    found: dict[str, int] = {}
    for some in _batched(texts, 1024):
        by_key = {_key(text): text for text in some}
        places = ",".join("?" * len(by_key))
        query = f"SELECT key, row FROM rows WHERE key IN ({places})"  # noqa: S608 (question marks only)
        found |= {by_key[key]: row for key, row in keys.execute(query, list(by_key))}
    return found


def _encoded(encoder: TextEncoder, texts: Sequence[str], progress: bool) -> Vectors:
    done: dict[str, Float[np.ndarray, " dimension"]] = {}
    for chunk, vectors in _chunks(encoder, texts, progress):
        done |= dict(zip(chunk, vectors, strict=True))
    return np.stack([done[text] for text in texts]) if texts else np.empty((0, 0), dtype=np.float32)


def _chunks(encoder: TextEncoder, texts: Sequence[str], progress: bool) -> Iterator[tuple[Sequence[str], Vectors]]:
    """Yield texts with their vectors, the longest texts first: chunks of one length pad little."""
    shown: dict[str, Any] = {"desc": f"encode ({encoder.name})", "unit": "text", "leave": False}
    with tqdm(total=len(texts), delay=_SECONDS_UNTIL_PROGRESS, disable=not progress, **shown) as bar:
        for chunk in _batched(sorted(texts, key=len, reverse=True), CHUNK_TEXTS):
            vectors = np.asarray(encoder.embed(list(chunk)), dtype=np.float32)
            if vectors.ndim != 2 or len(vectors) != len(chunk):
                raise OctoberError(f"encoder {encoder.name} gives {vectors.shape} for {len(chunk)} texts")
            finite = np.isfinite(vectors).all(axis=1)
            if not finite.all():
                text = chunk[int((~finite).argmax())]
                raise OctoberError(f"encoder {encoder.name} gives a vector that is not finite for {text[:60]!r}")
            yield chunk, vectors
            bar.update(len(chunk))


def _batched(texts: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (texts[first : first + size] for first in range(0, len(texts), size))


def _embed(model: Any, texts: list[str], *, query: bool) -> Vectors:
    give = partial(
        model.encode_query if query else model.encode_document, show_progress_bar=False, convert_to_numpy=True
    )
    if model.device.type != "cpu":
        return np.asarray(give(texts, batch_size=_BATCH_TEXTS), dtype=np.float32)
    batches = list(length_sorted_batches(_token_counts(model, texts), _BATCH_TOKENS_ON_CPU))

    def embed_batch(rows: Sequence[int]) -> Vectors:
        return np.asarray(give([texts[row] for row in rows], batch_size=len(rows)), dtype=np.float32)

    first = [embed_batch(rows) for rows in batches[:1]]  # sets the tokenizer to padding, which no two threads may do
    found = [*first, *_side_by_side(embed_batch, batches[1:])]
    return np.asarray(np.concatenate(found)[np.argsort(np.concatenate(batches))])


def _side_by_side(embed_batch: Callable[[Sequence[int]], Vectors], batches: Sequence[Sequence[int]]) -> list[Vectors]:
    """Return the vectors of each batch, on a core of its own: cores that share a small product wait for each other."""
    if not batches:  # all fitted into the first, as one query does
        return []
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(embed_batch, batches))
    finally:
        torch.set_num_threads(threads)  # what a worker sets holds for the process, too


def _token_counts(model: Any, texts: list[str]) -> list[int]:
    """Return how many tokens the encoder reads of each text; characters tell too little where there are many names."""
    limit = model.max_seq_length or sys.maxsize
    return [min(len(ids), limit) for ids in model.tokenizer(texts, verbose=False)["input_ids"]]
