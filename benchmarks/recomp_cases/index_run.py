"""A process that indexes made-up passages: `index_run.py FOLDER NUM_PASSAGES KILL_AFTER`.

The encoder has no network, so that what is measured is all the rest. Seconds and bytes are printed as JSON. With
KILL_AFTER above 0 the process is killed where it would embed for one more time than that.
"""

import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from hashlib import shake_128
from pathlib import Path
from types import TracebackType
from typing import Self

import faiss  # noqa: F401 (what the library itself takes is no memory of the indexing)
import numpy as np
import psutil

from october.data.documents import Document
from october.retrieval import DenseIndex, EmbeddingCache, PassageStore, build_index

DIMENSION = 384  # MiniLM's
PART_PASSAGES = 16_384
WORDS = [f"word{number}" for number in range(5000)]
WORDS_A_PASSAGE = 100


class FakeEncoder:
    """Makes a vector of each text's hash, and writes down how many texts it was asked for."""

    name = "made up"

    def __init__(self, log: Path, kill_after: int = 0) -> None:
        self.log = log
        self.kill_after = kill_after
        self.calls = 0

    def fingerprint(self) -> str:
        """Return the same for all."""
        return f"made-up-{DIMENSION}"

    def embed(self, texts: list[str]) -> np.ndarray:
        """Return vectors of numbers from -1 to 1."""
        if self.kill_after and self.calls == self.kill_after:
            os.kill(os.getpid(), signal.SIGKILL)
        self.calls += 1
        with self.log.open("a") as file:
            file.write(f"{len(texts)}\n")
        digests = b"".join(shake_128(text.encode()).digest(2 * DIMENSION) for text in texts)
        return np.frombuffer(digests, dtype="<i2").reshape(len(texts), DIMENSION) / np.float32(1 << 15)


class OwnMemory:
    """The most memory above the start, looked at a hundred times a second: in all, and without mapped files."""

    def __enter__(self) -> Self:
        self._process = psutil.Process()
        self._start = self._now()
        self.resident = self.own = 0
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._watcher.join()

    def _now(self) -> tuple[int, int]:
        memory = self._process.memory_info()
        return memory.rss, memory.rss - memory.shared

    def _watch(self) -> None:
        while not self._ended.wait(0.01):
            resident, own = self._now()
            self.resident = max(self.resident, resident - self._start[0])
            self.own = max(self.own, own - self._start[1])


def made_up(count: int) -> Iterator[Document]:
    """Yield documents of one passage each."""
    generator = random.Random(0)
    for number in range(count):
        text = " ".join(generator.choices(WORDS, k=WORDS_A_PASSAGE))
        yield Document(str(number), f"Title {number}", text, "made up")


def index_all(folder: Path, count: int, encoder: FakeEncoder) -> DenseIndex:
    """Cut, embed and index, in parts whose memory is small."""
    store = PassageStore.build(made_up(count), folder / "passages", source=f"{count} made up")
    cache = EmbeddingCache(folder / "embeddings")
    return build_index(store, encoder, folder / "index", cache=cache, part_passages=PART_PASSAGES)


def main() -> None:
    """Index, and say how long it took and what memory."""
    folder, count, kill_after = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    encoder = FakeEncoder(folder / "encoded.txt", kill_after)
    with OwnMemory() as memory:
        started = time.perf_counter()
        index_all(folder, count, encoder)
        seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "resident": memory.resident, "own": memory.own}))


if __name__ == "__main__":
    main()
