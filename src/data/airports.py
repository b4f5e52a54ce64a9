"""Airports of the world: the second entity type with coordinates that installs offline."""

import pandas as pd

from .entities import PLACE, EntityHandle, EntitySet, read_table, validate
from .offline import find, licence, verified

PACKAGE = "airportsdata"
AIRPORTS = "airportsdata/airports.csv"


class Airports(EntityHandle):
    """26,863 airports, airfields and seaplane bases of distinct names, out of 28,298.

    Of several of one name the one with an IATA code stays (the better known), then the first by ICAO code. Nothing
    in the source ranks them. Names that contain a city's ('Boston Logan International Airport') or equal one stay as
    they are. Columns besides the usual ones: `city`, `country` (two-letter code), `iata`; the split key is the country.
    """

    name = "airports"

    def check(self) -> None:
        """Raise `OctoberError` if the package's file is missing."""
        find(PACKAGE, AIRPORTS)

    def _read(self) -> EntitySet:
        table = read_table(verified(PACKAGE, AIRPORTS)).rename(columns={"lat": "latitude", "lon": "longitude"})
        table["name"] = table["name"].str.strip()
        table["without_iata"] = table["iata"] == ""
        ranked = table[table["name"] != ""].sort_values(["without_iata", "icao"], kind="stable")
        frame = ranked.drop_duplicates("name")[["name", *PLACE, "city", "country", "iata"]]
        return EntitySet(self.name, "place", self._finished(frame), PLACE)

    def _finished(self, frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.assign(
            split_key=frame["country"], entity_type="airport", source=PACKAGE, licence=licence(PACKAGE)
        )
        return validate(frame, "place", PLACE, self.name)
