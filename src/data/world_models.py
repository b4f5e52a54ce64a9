"""The six entity sets of 'Language Models Represent Space and Time' in the layout of their public release.

The authors' repository (github.com/wesg52/world-models, MIT) holds four of the CSV files under data/entity_datasets/;
the historical figures and the headlines are made by its scripts from data sets that are downloaded apart. Nothing is
redistributed here: give the folder in which the files lie.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import OctoberError
from .entities import (
    PLACE,
    EntityHandle,
    EntitySet,
    Kind,
    Targets,
    read_table,
    refuse_rows,
    require_columns,
    validate,
)
from .lives import century

LICENCE = "Entity sets of Gurnee and Tegmark (arXiv 2310.02207), https://github.com/wesg52/world-models. Licence: MIT."
# How New York's list, all in capitals, is written in prompts (the paper's normalisation).
_LOWER = {"AND", "OR", "OF", "THE", "A", "AT", "IN", "TO"}
_INITIALS = set("FDNY NYCT YMCA LGA US NYC PS IS NYS UN NY EMS JCC NYU CC NYPD NYPA DHS".split())  # noqa: SIM905


@dataclass(frozen=True)
class Layout:
    """One file of the release: which of its columns say what.

    Attributes:
        file: The file's name.
        kind: 'place' or 'time'.
        targets: The columns to predict; a `…_date` is made of `date_column`, as a decimal year.
        needs: The columns that must be there besides the targets.
        name: Makes the names that stand in prompts.
        split_key: Makes the blocks of the hold-out tests.
        entity_type: The type of all its entities, where `type_column` does not say it of each.
        type_column: The column with the entities' types.
        date_column: Where the date stands as text, if there is one.
    """

    file: str
    kind: Kind
    targets: Targets
    needs: tuple[str, ...]
    name: Callable[[pd.DataFrame], "pd.Series[str]"]
    split_key: Callable[[pd.DataFrame], "pd.Series[str]"]
    entity_type: str = ""
    type_column: str = ""
    date_column: str = ""


class PaperEntities(EntityHandle):
    """One of the paper's six sets; the release's own test split is in the column `is_test`.

    Args:
        name: 'world_places', 'us_places', 'nyc_places', 'art', 'historical_figures' or 'headlines'.
        folder: Where the release's CSV files lie.
    """

    def __init__(self, name: str, folder: str) -> None:
        if name not in LAYOUTS:
            raise OctoberError(f"data.name={name}: allowed are {', '.join(LAYOUTS)}")
        self.name = f"paper_{name}"
        self.layout = LAYOUTS[name]
        self.path = Path(folder).expanduser() / self.layout.file

    def check(self) -> None:
        """Raise `OctoberError` if the folder does not hold the set's file."""
        if not self.path.is_file():
            raise OctoberError(f"data.folder={self.path.parent}: holds no {self.path.name}, the file of {self.name}")

    def _read(self) -> EntitySet:
        self.check()
        layout, label, table = self.layout, str(self.path), read_table(self.path)
        require_columns(table, (*layout.needs, "is_test"), label)
        refuse_rows(table, ~table["is_test"].isin(["True", "False"]), "is_test", label, "neither True nor False")
        columns = {
            "name": layout.name(table),
            "entity_type": table[layout.type_column] if layout.type_column else layout.entity_type,
            "is_test": table["is_test"] == "True",
        }
        if layout.date_column:
            columns[layout.targets[0]] = _dates(table, layout.date_column, label)
        table = table.assign(**columns, source="world-models", licence=LICENCE)
        frame = validate(table, layout.kind, layout.targets, label, unique_names=False)
        return EntitySet(self.name, layout.kind, frame.assign(split_key=layout.split_key(frame)), layout.targets)


def decimal_year(dates: "pd.Series[str]") -> "pd.Series[float]":
    """Return ISO dates as decimal years: '2000-07-02' is 2000.5; what is no date becomes NaN."""
    stamps = pd.to_datetime(dates, errors="coerce", format="ISO8601", utc=True)
    days = np.where(stamps.dt.is_leap_year, 366.0, 365.0)
    return stamps.dt.year + (stamps.dt.day_of_year - 1) / days


def readable(name: str) -> str:
    """Return a name in capitals as it is written in prompts: 'CITY COLLEGE OF NYC' is 'City College of NYC'."""
    words = [
        word if word in _INITIALS else word.lower() if word in _LOWER else word.capitalize() for word in name.split()
    ]
    return " ".join(words)


def _dates(table: pd.DataFrame, column: str, label: str) -> "pd.Series[float]":
    years = decimal_year(table[column])
    refuse_rows(table, years.isna(), column, label, "not a date such as 1999-12-31")
    return years


def _column(name: str) -> Callable[[pd.DataFrame], "pd.Series[str]"]:
    return lambda table: table[name].str.replace("_", " ")


def _work(table: pd.DataFrame) -> "pd.Series[str]":
    """Name a work with its maker, as the paper does: "Stephen King's The Stand"."""
    possessive = np.where(table["creator"].str.endswith("s"), "'", "'s")
    return table["creator"] + possessive + " " + table["title"]


LAYOUTS: dict[str, Layout] = {
    "world_places": Layout(
        file="world_place.csv",
        kind="place",
        targets=PLACE,
        needs=("name", "country", "entity_type"),
        name=_column("name"),
        split_key=_column("country"),
        type_column="entity_type",
    ),
    "us_places": Layout(
        file="us_place.csv",
        kind="place",
        targets=PLACE,
        needs=("name", "state_name", "entity_type"),
        name=_column("name"),
        split_key=_column("state_name"),
        type_column="entity_type",
    ),
    "nyc_places": Layout(
        file="nyc_place.csv",
        kind="place",
        targets=PLACE,
        needs=("name", "borough_name", "facility_t_name"),
        name=lambda table: table["name"].map(readable),
        split_key=_column("borough_name"),
        type_column="facility_t_name",
    ),
    "art": Layout(
        file="art.csv",
        kind="time",
        targets=("release_date",),
        needs=("title", "creator", "release_date", "entity_type"),
        name=_work,
        split_key=lambda table: (table["release_date"] // 10 * 10).astype(int).astype(str) + "s",
        type_column="entity_type",
        date_column="release_date",
    ),
    "historical_figures": Layout(
        file="historical_figure.csv",
        kind="time",
        targets=("death_year",),
        needs=("name", "death_year"),
        name=_column("name"),
        split_key=lambda table: table["death_year"].astype(int).map(century),
        entity_type="historical_figure",
    ),
    "headlines": Layout(
        file="headline.csv",
        kind="time",
        targets=("publication_date",),
        needs=("headline", "pub_date"),
        name=_column("headline"),
        split_key=lambda table: table["publication_date"].astype(int).astype(str),
        entity_type="headline",
        date_column="pub_date",
    ),
}
