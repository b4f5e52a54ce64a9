"""The real airports: counts, spot checks, and the rule for airports of one name."""

import csv

import pytest

from october.data import Airports, EntitySet, verified


@pytest.fixture(scope="module")
def airports() -> EntitySet:
    return Airports().load()


def test_counts_and_columns(airports: EntitySet) -> None:
    assert len(airports) == 26_863 == len(set(airports.names))
    assert airports.frame["split_key"].nunique() == 234
    assert set(airports.frame["entity_type"]) == {"airport"}
    assert "NA" in set(airports.frame["country"])  # Namibia
    assert airports.importance is None


@pytest.mark.parametrize(
    ("iata", "name", "latitude", "longitude"),
    [
        ("CDG", "Charles de Gaulle", 49.01, 2.55),
        ("JFK", "John F Kennedy", 40.64, -73.78),
        ("HND", "Tokyo", 35.55, 139.78),
    ],
)
def test_airports_lie_where_they_lie(
    airports: EntitySet, iata: str, name: str, latitude: float, longitude: float
) -> None:
    row = airports.frame.set_index("iata").loc[iata]
    assert name.lower() in row["name"].lower()
    assert (row["latitude"], row["longitude"]) == pytest.approx((latitude, longitude), abs=0.05)


def test_of_airports_of_one_name_the_better_known_stays(airports: EntitySet) -> None:
    with verified("airportsdata", "airportsdata/airports.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 28_298
    kept = {}
    for row in sorted(rows, key=lambda row: (row["iata"] == "", row["icao"])):
        kept.setdefault(row["name"].strip(), (row["iata"], float(row["lat"]), float(row["lon"])))
    got = airports.frame[["name", "iata", "latitude", "longitude"]].itertuples(index=False)
    assert {name: tuple(rest) for name, *rest in got} == kept


def test_a_limit_takes_the_same_sample_every_time() -> None:
    assert Airports().load(50).names == Airports().load(50).names == Airports().load().sample(50, seed=0).names
