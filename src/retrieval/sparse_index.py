"""BM25 over a passage store (Robertson and Zaragoza 2009) by `bm25s`, which computes scores when the index is built.

    score(q, d) = sum over words t of q of  idf(t) · tf / (tf + k1 · (1 - b + b · |d| / mean |d|))
    idf(t) = ln(1 + (N - n(t) + 1/2) / (n(t) + 1/2))

tf counts t in d, |d| the words of d, N the passages, n(t) those with t: Lucene's form. k1 = 0.9 and b = 0.4 are what
Anserini and Pyserini use, and with them the baselines of the papers on retrieval; bm25s' own are 1.5 and 0.75.
"""

import json
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64
from tqdm.auto import tqdm

from ..errors import OctoberError
from ..files import atomic_path, only_writer, sha256_of
from ..language_models.fingerprints import sha256_of_files
from .folders import damaged, read_description
from .hits import Hits, check_k, check_queries
from .passages import PassageStore

_WHAT = "sparse index"
_WORD = re.compile(r"\w+")
_SECONDS_UNTIL_PROGRESS = 5.0


class Words:
    """Turns a text into the words that BM25 counts: lower case, no stop words, stems.

    Args:
        stemmer: A Snowball language, such as 'english'; None keeps words as they are.
        stop_words: Words to leave out, in lower case.

    Raises:
        OctoberError: No such stemmer.
    """

    def __init__(self, stemmer: str | None, stop_words: Iterable[str]) -> None:
        self._stemmer = _stemmer(stemmer) if stemmer else None
        self._forms: dict[str, str | None] = dict.fromkeys(stop_words)  # what each word seen so far becomes

    def __call__(self, text: str) -> list[str]:
        """Return the words in order, repeated ones as often as they occur."""
        found = _WORD.findall(text.lower())
        for word in found:
            if word not in self._forms:
                self._forms[word] = self._stemmer.stemWord(word) if self._stemmer else word
        return [form for word in found if (form := self._forms[word]) is not None]


class SparseIndex:
    """A finished index, its arrays read through a memory map.

    Attributes:
        folder: Where it is.
        passages: The fingerprint of the passage store that it indexes.
    """

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        self.folder = folder
        self.passages: str = about["passages"]
        self._count = int(about["count"])
        self._words = Words(about["stemmer"], about["stop_words"])

    @classmethod
    def open(cls, folder: str | Path) -> "SparseIndex":
        """Open a finished index; its files are hashed, once as long as their size and time stamp stay the same.

        Of an index that was built before hashes were noted the sizes are compared.

        Raises:
            OctoberError: There is none, or it is damaged.
        """
        folder = Path(folder)
        about = read_description(folder / "index" / "about.json", _WHAT)
        try:
            index = cls(folder, about)
            noted = about["bytes"] if "bytes" in about else about["sha256"]
            seen = _sizes if "bytes" in about else sha256_of_files
            found = seen(folder / "index" / name for name in noted)
        except (KeyError, TypeError, OSError) as error:
            raise damaged(folder / "index" / "about.json", _WHAT) from error
        for name in noted:
            if found[name] != noted[name]:
                raise damaged(folder / "index" / name, _WHAT)
        return index

    @classmethod
    def build(
        cls,
        store: PassageStore,
        folder: str | Path,
        *,
        k1: float = 0.9,
        b: float = 0.4,
        stemmer: str | None = "english",
        stop_words: Sequence[str] | None = None,
        progress: bool = True,
    ) -> "SparseIndex":
        """Index titles and texts; an index of the same passages and settings is opened at once.

        All word counts are held in memory while it is built, and a killed build starts again: it is a matter of
        minutes where embeddings are one of hours.

        Args:
            store: The passages.
            folder: Of this index alone.
            k1: How soon repeated words stop counting, at least 0.
            b: How much long passages are held back, from 0 to 1.
            stemmer: A Snowball language; None keeps words as they are.
            stop_words: Words left out; by default Lucene's 33 English ones.
            progress: Show a bar if it takes over five seconds.

        Raises:
            OctoberError: Settings out of range, passages without a word, a folder that holds another index, or a
                full disk.
        """
        if not (k1 >= 0 and 0 <= b <= 1):
            raise OctoberError(f"k1={k1}, b={b}: k1 must be at least 0 and b from 0 to 1")
        stop_words = sorted(_default_stop_words() if stop_words is None else stop_words)
        about = {"passages": store.fingerprint, "count": len(store), "k1": k1, "b": b}
        about |= {"stemmer": stemmer, "stop_words": stop_words}
        folder, words = Path(folder), Words(stemmer, stop_words)
        with only_writer(folder):
            if (folder / "index").exists():
                _check_same(folder, about)
            else:
                _build(store, folder / "index", words, about, progress)
        return cls.open(folder)

    def __len__(self) -> int:
        return self._count

    def search(self, queries: Sequence[str], k: int) -> Hits:
        """Return the k best passages of each query; those that share no word with it are not among them.

        Of equal scores the passage that stands first in the store comes first.

        Raises:
            OctoberError: An empty query, or k below 1.
        """
        check_queries(queries)
        check_k(k)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        positions = np.full((len(queries), k), -1, dtype=np.int64)
        for row, query in enumerate(queries):
            found = self._scores(query)
            best = _best(found, k)
            scores[row, : len(best)] = found[best]
            positions[row, : len(best)] = best
        return Hits(scores, positions)

    def _scores(self, query: str) -> Float32[np.ndarray, " passages"]:
        """Add up the stored scores of the query's words, a repeated word as often as it occurs."""
        scores = np.zeros(self._count, dtype=np.float32)
        indices, data, starts = (self._bm25.scores[name] for name in ("indices", "data", "indptr"))
        for word in self._words(query):
            number = self._bm25.vocab_dict.get(word)
            if number is not None:
                rows = slice(int(starts[number]), int(starts[number + 1]))
                scores[indices[rows]] += data[rows]  # a passage stands at most once in a word's list
        return scores

    @cached_property
    def _bm25(self) -> Any:
        import bm25s

        try:
            return bm25s.BM25.load(str(self.folder / "index"), mmap=True)
        except (ValueError, KeyError, OSError) as error:
            raise damaged(self.folder / "index" / "about.json", _WHAT) from error


def _build(store: PassageStore, target: Path, words: Words, about: dict[str, Any], progress: bool) -> None:
    import bm25s

    shown: dict[str, Any] = {"desc": "BM25", "unit": "passage", "delay": _SECONDS_UNTIL_PROGRESS, "leave": False}
    vocabulary: dict[str, int] = {}
    rows = [
        [vocabulary.setdefault(word, len(vocabulary)) for word in words(passage.titled_text)]
        for passage in tqdm(store, total=len(store), disable=not progress, **shown)
    ]
    if not vocabulary:
        raise OctoberError(f"{store.folder}: no passage has a word that is not a stop word; there is nothing to index")
    index = bm25s.BM25(k1=about["k1"], b=about["b"], method="lucene")
    index.index((rows, vocabulary), show_progress=False)
    with atomic_path(target) as temporary:
        index.save(str(temporary))
        hashes = {path.name: sha256_of(path) for path in sorted(temporary.iterdir())}
        (temporary / "about.json").write_text(json.dumps(about | {"sha256": hashes}), encoding="utf-8")


def _sizes(paths: Iterable[Path]) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in paths}


def _check_same(folder: Path, about: dict[str, Any]) -> None:
    found = read_description(folder / "index" / "about.json", _WHAT)
    for name, value in about.items():
        if found.get(name) != value:
            raise OctoberError(f"{folder} holds an index with another {name}; name another folder")


def _best(scores: Float32[np.ndarray, " passages"], k: int) -> Int64[np.ndarray, " found"]:
    """Return the positions of the k highest scores above 0, ties in the order of the store."""
    wanted = min(k, int((scores > 0).sum()))
    if wanted == 0:
        return np.empty(0, dtype=np.int64)
    least = np.partition(scores, len(scores) - wanted)[len(scores) - wanted]
    candidates = np.flatnonzero(scores >= least)
    return candidates[np.argsort(-scores[candidates], kind="stable")][:wanted]


def _default_stop_words() -> Sequence[str]:
    from bm25s.stopwords import STOPWORDS_EN

    return tuple(STOPWORDS_EN)


def _stemmer(language: str) -> Any:
    import Stemmer

    if language not in Stemmer.algorithms():
        raise OctoberError(f"stemmer={language!r} is not one of {', '.join(Stemmer.algorithms())}")
    return Stemmer.Stemmer(language)
