"""worldqa as a question set and as a corpus: built once, then read from the disk."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import nupunkt

from ...errors import OctoberError
from ...files import content_hash, data_home, sha256_of, write_whole
from ..cities import CITIES, COUNTRIES, STATES
from ..cities import PACKAGE as PLACES
from ..documents import CorpusHandle, Document, Question, QuestionHandle
from ..offline import catalogue, find, licence
from ..people import PACKAGE as LEADS
from ..people import SUMMARIES
from .names import SPLITS

VERSION = "1"
_READERS = ("lives.py", "people.py", "countries.py", "cities.py")  # of the folder above, whose results are used here


class WorldQA(QuestionHandle):
    """Questions over real facts and real text that need no network; see the package's page.

    Args:
        seed: Decides the split of every entity, the wordings and the pairs that are compared.
    """

    name = "worldqa"

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def check(self) -> None:
        """Raise `OctoberError` if a package's file is missing."""
        _check()

    def load(self, split: str) -> list[Question]:
        """Return the questions of 'train', 'dev' or 'test'; in a fixed order that mixes the kinds.

        Raises:
            OctoberError: No such split, or a package's file is missing or damaged.
        """
        if split not in SPLITS:
            raise OctoberError(f"worldqa: split={split}: allowed are {', '.join(SPLITS)}")
        return [question for question in self.all() if question.split == split]

    def all(self) -> list[Question]:
        """Return the questions of all splits."""
        return [_question(row) for row in _rows(self.seed, "questions")]

    def fingerprint(self) -> str:
        """Return 16 digits that change with any question."""
        return content_hash(_rows(self.seed, "questions"))

    def describe(self) -> dict[str, Any]:
        """Return what records say of the set."""
        return {"name": self.name, "version": VERSION, "seed": self.seed, "licence": credits()}


class WorldQACorpus(CorpusHandle):
    """The 15,285 documents that hold the answers: leads of articles, countries, cities.

    Args:
        seed: As of `WorldQA`: it decides how the places are worded.
    """

    name = "worldqa"

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def check(self) -> None:
        """Raise `OctoberError` if a package's file is missing."""
        _check()

    def documents(self) -> Iterator[Document]:
        """Return the leads, then the countries, then the cities from the most populous on.

        Raises:
            OctoberError: A package's file is missing or damaged.
        """
        return (Document(**row) for row in _rows(self.seed, "documents"))

    def fingerprint(self) -> str:
        """Return 16 digits that change with any document."""
        return content_hash(_rows(self.seed, "documents"))

    def describe(self) -> dict[str, Any]:
        """Return what records say of the corpus."""
        return {"name": self.name, "version": VERSION, "seed": self.seed, "licence": credits()}


def credits() -> str:
    """Return the lines to show wherever the set is used: licences and attributions."""
    return " ".join(licence(package) for package in (LEADS, PLACES))


def _check() -> None:
    find(LEADS, SUMMARIES)
    for path in (CITIES, COUNTRIES, STATES):
        find(PLACES, path)


@cache
def _rows(seed: int, part: str) -> list[dict[str, Any]]:
    """Return the rows of 'documents' or 'questions' from the cache, after making it if need be."""
    folder = data_home() / "worldqa" / _version_hash(seed)
    path = folder / f"{part}.json"
    if not path.is_file():
        from .building import build

        built = build(seed)
        for name, items in (("documents", built.documents), ("questions", built.questions)):
            write_whole(folder / f"{name}.json", json.dumps([asdict(item) for item in items], ensure_ascii=False))
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return rows


def _version_hash(seed: int) -> str:
    """Return a hash of all that decides the result: the sources' pinned hashes, the code that reads them, the seed."""
    pins = {name: catalogue()[name].manifest["files"] for name in (LEADS, PLACES)}
    here = Path(str(files("october.data.worldqa")))
    own = [path for path in here.iterdir() if path.suffix in (".py", ".yaml")]
    code = {
        str(path.relative_to(here.parent)): sha256_of(path) for path in sorted([*own, *map(here.with_name, _READERS)])
    }
    return content_hash([VERSION, seed, pins, code, nupunkt.__version__])


def _question(row: dict[str, Any]) -> Question:
    lists = {name: tuple(row[name]) for name in ("answers", "gold_documents", "gold_sentences")}
    return Question(**{**row, **lists})
