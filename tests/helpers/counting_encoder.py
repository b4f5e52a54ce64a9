"""An encoder without a network that counts what it is asked, and documents to go with it."""

import hashlib
import os
import random
import signal

import numpy as np

from october.data.documents import Document


def vector(text, dimension=16):
    """A vector that depends on the text alone."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).standard_normal(dimension).astype(np.float32)


class CountingEncoder:
    """Gives each text its own random vector; may kill its process after some calls."""

    def __init__(self, dimension=16, name="counting", kill_after=None):
        self.dimension = dimension
        self.name = name
        self.kill_after = kill_after
        self.calls = []

    def fingerprint(self):
        return f"{self.name}-{self.dimension}"

    def embed(self, texts):
        if self.kill_after is not None and len(self.calls) >= self.kill_after:
            os.kill(os.getpid(), signal.SIGKILL)
        self.calls.append(list(texts))
        return np.stack([vector(text, self.dimension) for text in texts])

    @property
    def texts(self):
        return [text for call in self.calls for text in call]


def documents(number, words=150, seed=0):
    """Documents of one to `words` random words, four of them to a title."""
    generator = random.Random(seed)
    vocabulary = ["".join(generator.choices("abcdefghijklmnop", k=generator.randint(2, 7))) for _ in range(400)]
    for index in range(number):
        text = " ".join(generator.choices(vocabulary, k=generator.randint(1, words)))
        yield Document(f"d{index}", f"Title {index // 4}", text, "made up")


class Corpus:
    """A corpus handle over `documents`."""

    name = "made up"

    def __init__(self, number, seed=0):
        self.number = number
        self.seed = seed
        self.times_read = 0

    def fingerprint(self):
        return f"made-up-{self.number}-{self.seed}"

    def documents(self):
        self.times_read += 1
        yield from documents(self.number, seed=self.seed)
