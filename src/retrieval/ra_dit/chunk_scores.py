"""log p_LM(y | c o x) of chunks and examples (section 2.3): computed once, and kept by what decides it.

    folder/scores.sqlite     of each prompt and answer (hashed): the answer's log-probability and its number of tokens

Both numbers of a pair are kept, so that every score of Eq. 4 can be had from one pass. What is missing goes to the
model sorted by its text, in pieces that are committed whole: a killed run loses one piece, chunks that several examples
have found are read once, and so is the few-shot head in front of all.
"""

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tqdm.auto import tqdm

from ...errors import OctoberError
from ...files import content_hash, data_home
from ...language_models import LanguageModel
from .prompts import Example, answer_text, with_background

_PIECE = 512  # pairs between two commits
_SECONDS_UNTIL_PROGRESS = 5.0
Pair = tuple[str, str]


class ChunkScore(NamedTuple):
    """Of an answer behind a chunk and its instruction: log-probability (nats) and number of tokens."""

    log_likelihood: float
    num_tokens: int


class ChunkScorer:
    """Lets a frozen language model say how much chunks help it.

    Args:
        model: The frozen model.
        fingerprint: Of the model; scores of different models are kept apart.
        folder: Of the scores of all models; by default in october's data folder.
        head: Demonstrations in front of every prompt, see `few_shot_head`.
    """

    def __init__(
        self, model: LanguageModel, fingerprint: str, folder: str | Path | None = None, *, head: str = ""
    ) -> None:
        self.model = model
        self.fingerprint = fingerprint
        self.head = head
        root = data_home() / "chunk_scores" if folder is None else Path(folder)
        self._file = root / content_hash(fingerprint) / "scores.sqlite"

    def scores(self, pairs: Sequence[tuple[Example, str | None]]) -> list[ChunkScore]:
        """Return the scores of examples behind the texts of chunks; None is the example as it is.

        Raises:
            OctoberError: A prompt with its answer does not fit the model's context, or the file of scores is damaged.
        """
        asked = [self._texts(*pair) for pair in pairs]
        with self._open() as file:
            found = _kept(file, asked)
            missing = sorted(set(asked) - found.keys())
            shown: dict[str, Any] = {
                "desc": "scoring chunks",
                "unit": "pair",
                "delay": _SECONDS_UNTIL_PROGRESS,
                "leave": False,
            }
            with tqdm(total=len(missing), **shown) as bar:
                for first in range(0, len(missing), _PIECE):
                    piece = missing[first : first + _PIECE]
                    found |= self._compute(file, piece)
                    bar.update(len(piece))
        return [found[pair] for pair in asked]

    def fits(self, pairs: Sequence[tuple[Example, str | None]]) -> list[bool]:
        """Return which pairs `scores` takes: those that the model's context holds, as far as the model knows it."""
        texts = [self._texts(*pair) for pair in pairs]
        return self.model.fits([prompt for prompt, _ in texts], [answer for _, answer in texts])

    def _texts(self, example: Example, chunk: str | None) -> Pair:
        prompt = self.head + with_background(example, chunk)
        return prompt, answer_text(example.answer, prompt)

    def _compute(self, file: sqlite3.Connection, pairs: list[Pair]) -> dict[Pair, ChunkScore]:
        scores = self.model.score([prompt for prompt, _ in pairs], [answer for _, answer in pairs])
        found = {
            pair: ChunkScore(score.total, len(score.log_probabilities))
            for pair, score in zip(pairs, scores, strict=True)
        }
        rows = [(_key(pair), *score) for pair, score in found.items()]
        with file:
            file.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?)", rows)
        return found

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with closing(sqlite3.connect(self._file, timeout=600)) as file:
                file.execute("CREATE TABLE IF NOT EXISTS scores (key BLOB PRIMARY KEY, total REAL, tokens INTEGER)")
                yield file
        except sqlite3.OperationalError as error:  # a full disk, no permission
            raise OctoberError(f"{self._file} cannot be read or written ({error})") from error
        except sqlite3.DatabaseError as error:
            raise OctoberError(
                f"{self._file} is damaged ({error}); delete it, and scores are computed again"
            ) from error


def _key(pair: Pair) -> bytes:
    prompt, answer = (text.encode() for text in pair)
    return hashlib.blake2b(len(prompt).to_bytes(8, "little") + prompt + answer, digest_size=16).digest()


def _kept(file: sqlite3.Connection, pairs: Sequence[Pair]) -> dict[Pair, ChunkScore]:
    found = {}
    for pair in dict.fromkeys(pairs):
        row = file.execute("SELECT total, tokens FROM scores WHERE key = ?", (_key(pair),)).fetchone()
        if row is not None:
            found[pair] = ChunkScore(*row)
    return found
