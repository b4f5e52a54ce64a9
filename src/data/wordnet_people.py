"""People with years of birth and death from WordNet, when a folder with its database files is at hand.

A noun of `data.noun` is one line (WordNet's manual, wndb(5WN)):

    offset file type count word id [word id]… pointers [symbol offset type place]… | gloss
    09923673 18 n 02 Einstein 0 Albert_Einstein 0 001 @i 10428004 n 0000 | physicist … (1879-1955)

People are the synsets of file 18 (noun.person) that are an instance (`@i`) and whose gloss holds a life span.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from ..errors import OctoberError
from .entities import EntitySet
from .lives import life_of
from .people import YEARS, DatedPeople

PERSON_FILE = "18"
INSTANCE = "@i"
LICENCE = "WordNet by Princeton University. Licence: WordNet licence (https://wordnet.princeton.edu)."


class WordNetPeople(DatedPeople):
    """People from a WordNet `dict` folder (about 2,700 in WordNet 3.0); the name is the longest of a synset's.

    Args:
        wordnet_path: The folder that holds `data.noun`.
        targets: What to predict, of 'birth_year' and 'death_year'.
    """

    name = "wordnet_people"

    def __init__(self, wordnet_path: str, targets: Sequence[str] = YEARS) -> None:
        super().__init__(targets)
        self.path = Path(wordnet_path).expanduser() / "data.noun"

    def check(self) -> None:
        """Raise `OctoberError` if the folder does not hold WordNet's nouns."""
        if not self.path.is_file():
            raise OctoberError(f"data.wordnet_path={self.path.parent}: holds no data.noun (WordNet's dict folder does)")

    def _read(self) -> EntitySet:
        self.check()
        rows = pd.DataFrame(_people(self.path), columns=["name", *YEARS, "vague"])
        if rows.empty:
            raise OctoberError(f"{self.path}: no person with a life span in it; is it WordNet's data.noun?")
        return self._finished(rows, "wordnet", LICENCE)


def _people(path: Path) -> Iterator[tuple[str, int, int, bool]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise OctoberError(f"{path}: not UTF-8 text (byte {error.start})") from error
    for number, line in enumerate(lines, start=1):
        if line.startswith("  "):  # the licence, which opens the file
            continue
        try:
            names, gloss = _instance_of_person(line)
        except (ValueError, IndexError) as error:
            raise OctoberError(f"{path}: line {number} is not in WordNet's database format") from error
        life = life_of(gloss.split('; "')[0]) if names else None
        if life is not None:
            yield max(names, key=len), life.birth, life.death, life.vague


def _instance_of_person(line: str) -> tuple[list[str], str]:
    """Return a synset's names and gloss; no names where it is not one particular person."""
    head, _, gloss = line.partition("|")
    fields = head.split()
    end_of_words = 4 + 2 * int(fields[3], 16)
    num_pointers = int(fields[end_of_words])
    symbols = [fields[end_of_words + 1 + 4 * pointer] for pointer in range(num_pointers)]
    if fields[1] != PERSON_FILE or INSTANCE not in symbols:
        return [], gloss
    return [word.replace("_", " ") for word in fields[4:end_of_words:2]], gloss
