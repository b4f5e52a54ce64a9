"""Hashes of long streams, in bounded memory."""

import hashlib

import numpy as np

_MERGED_AT = 1 << 16  # names held in a set before they join the sorted array


class RunningHash:
    """A hash of rows of texts, in order; rows that differ anywhere, even in where a text ends, hash differently."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def update(self, *texts: str) -> None:
        """Add a row."""
        for text in texts:
            data = text.encode()
            self._hash.update(len(data).to_bytes(8, "little"))
            self._hash.update(data)

    @property
    def digits(self) -> str:
        """The hash so far: 16 hexadecimal digits."""
        return self._hash.hexdigest()[:16]


class SeenNames:
    """The names seen so far, as 64-bit hashes: 8 bytes each, which makes 21 million of them 170 MB.

    That two different names of so many share a hash has a chance of 1 in 80,000.
    """

    def __init__(self) -> None:
        self._recent: set[int] = set()
        self._merged = np.empty(0, dtype=np.uint64)

    def add(self, name: str) -> bool:
        """Add a name; return whether it is new."""
        key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
        place = int(np.searchsorted(self._merged, np.uint64(key)))
        if key in self._recent or (place < len(self._merged) and int(self._merged[place]) == key):
            return False
        self._recent.add(key)
        if len(self._recent) >= max(_MERGED_AT, len(self._merged) // 8):
            recent = np.fromiter(self._recent, dtype=np.uint64, count=len(self._recent))
            self._merged = np.sort(np.concatenate([self._merged, recent]))
            self._recent.clear()
        return True
