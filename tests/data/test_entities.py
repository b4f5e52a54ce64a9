"""The entity table: what it computes, against slow obvious references, and every way in which a table can be wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from october.data import CsvEntities, EntitySet, load_csv
from october.data.entities import PLACE, read_table, validate
from october.errors import OctoberError

quick = settings(deadline=None, max_examples=40, derandomize=True)
HEADER = "name,latitude,longitude,split_key,population\n"
CITIES = HEADER + "Paris,48.85,2.35,FR,2138551\nNA,-1.5,36.8,KE,\n Nan ,18.78,100.77,TH,24310\n"


def places(populations: list[int], name: str = "toy") -> EntitySet:
    n = len(populations)
    table = {"name": [f"city {i}" for i in range(n)], "latitude": np.linspace(-90, 90, n), "longitude": [0.5] * n}
    return EntitySet(
        name, "place", validate(pd.DataFrame(table | {"population": populations}), "place", PLACE, name), PLACE
    )


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "cities.csv"
    path.write_text(CITIES, encoding="utf-8")
    return path


def test_a_file_of_places(csv: Path) -> None:
    cities = load_csv(csv)
    assert (cities.name, cities.kind, cities.targets, len(cities)) == ("cities", "place", PLACE, 3)
    assert cities.names == ["Paris", "NA", "Nan"]  # names that pandas would take for missing values
    np.testing.assert_array_equal(cities.values, [[48.85, 2.35], [-1.5, 36.8], [18.78, 100.77]])
    assert cities.values.dtype == np.float64
    assert cities.frame["population"].tolist() == [2138551, 0, 24310]
    assert cities.frame["entity_type"].tolist() == ["place"] * 3


def test_a_file_of_times(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_bytes("\ufeffname,birth_year,death_year,note\nPlato,-428,-347,\nMarie Curie,1867,1934.0,\n".encode())
    people = load_csv(path)
    assert (people.kind, people.targets) == ("time", ("birth_year", "death_year"))
    np.testing.assert_array_equal(people.values, [[-428, -347], [1867, 1934]])
    assert load_csv(path, targets=["death_year"]).values.tolist() == [[-347.0], [1934.0]]


def test_a_handle_checks_first_and_reads_once(csv: Path) -> None:
    handle = CsvEntities(str(csv))
    handle.check()
    first = handle.load()
    csv.unlink()
    assert handle.load() is first
    assert handle.load(2).names == ["Paris", "Nan"]
    with pytest.raises(OctoberError, match=r"data\.path=.*cities\.csv: there is no such file"):
        handle.check()


BAD_FILES = {
    "no such column": ("name,lat,lon\nParis,1,2\n", "no columns latitude and longitude and none that ends in _year"),
    "no name": ("city,latitude,longitude\nParis,1,2\n", "no column 'name'; has city, latitude, longitude"),
    "no rows": (HEADER, "no rows"),
    "nothing": ("", "not a CSV table"),
    "latitude": (CITIES + "X,90.5,0,,\nY,91,0,,\n", r"row 4: latitude is '90.5', not a number from -90 to 90 \(2 such"),
    "longitude": (
        CITIES + "X,0,-180.01,,\n",
        r"row 4: longitude is '-180.01', not a number from -180 to 180 \(",
    ),
    "missing": (CITIES + "X,,0,,\n", "row 4: latitude is '', not a number"),
    "nan": (CITIES + "X,nan,0,,\n", "row 4: latitude is 'nan', not a number"),
    "infinite": (CITIES + "X,0,inf,,\n", "row 4: longitude is 'inf', not a number"),
    "word": (CITIES + "X,48°N,0,,\n", "row 4: latitude is '48°N', not a number"),
    "empty name": (CITIES + " ,1,2,,\n", "row 4: name is '', empty"),
    "same name": (CITIES + "Paris,33.66,-95.55,US,\n", "row 4: name is 'Paris', a name that stands further up"),
    "population": (CITIES + "X,1,2,,many\n", "row 4: population is 'many', not a number of 0 or more"),
    "shifted": ("name,latitude,longitude\nParis,48,2,FR\n", "more cells than the header"),
    "ragged": (CITIES + "X,1,2,,3,4,5\n", "not a CSV table"),
    "year": ("name,death_year\nA,1900\nB,1900.5\n", "row 2: death_year is '1900.5', not a whole year"),
    "far year": ("name,death_year\nA,19000\n", "row 1: death_year is '19000', not a whole year from -4000 to 2100"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_gets_one_line(tmp_path: Path, case: str) -> None:
    text, message = BAD_FILES[case]
    path = tmp_path / "bad.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(OctoberError, match=message) as caught:
        load_csv(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(OctoberError, match="No such file"):
        load_csv(tmp_path / "missing.csv")
    with pytest.raises(OctoberError, match="Is a directory"):
        load_csv(tmp_path)
    (tmp_path / "latin.csv").write_bytes("name,latitude,longitude\nMünchen,48,11\n".encode("latin-1"))
    with pytest.raises(OctoberError, match=r"not UTF-8 text \(byte \d+: 0xfc\)"):
        load_csv(tmp_path / "latin.csv")


@pytest.mark.parametrize(
    ("kind", "targets", "message"),
    [("space", PLACE, "kind is 'space'"), ("place", ("latitude",), "the targets of places"), ("time", ("x",), "'x'")],
)
def test_kind_and_targets_must_fit(csv: Path, kind: Any, targets: tuple[str, ...], message: str) -> None:
    with pytest.raises(OctoberError, match=message):
        validate(read_table(csv), kind, targets, "cities")


@quick
@given(st.lists(st.floats(-400, 400), min_size=1, max_size=30))
def test_the_first_row_out_of_range_is_named(latitudes: list[float]) -> None:
    frame = pd.DataFrame({"name": [str(i) for i in range(len(latitudes))], "latitude": latitudes, "longitude": 0.0})
    bad = [i for i, latitude in enumerate(latitudes) if not -90 <= latitude <= 90]
    if not bad:
        assert validate(frame, "place", PLACE, "t")["latitude"].tolist() == latitudes
        return
    with pytest.raises(OctoberError) as caught:
        validate(frame, "place", PLACE, "t")
    count = f"{len(bad)} such rows" if len(bad) > 1 else "the only such row"
    assert str(caught.value).startswith(f"t: row {bad[0] + 1}: latitude is {latitudes[bad[0]]!r}, ")
    assert str(caught.value).endswith(f"({count})")


@quick
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(1, 40))
def test_largest_is_a_sort_by_population_then_name(populations: list[int], n: int) -> None:
    entities = places(populations)
    expected = sorted(zip(populations, entities.names, strict=True), key=lambda row: (-row[0], row[1]))[:n]
    assert entities.largest(n).names == [name for _, name in expected]
    shuffled = entities.where(np.ones(len(entities), bool))
    assert shuffled.largest(n).names == entities.largest(n).names


@quick
@given(st.integers(1, 40), st.integers(1, 60), st.integers(0, 2**32))
def test_a_sample_is_a_subset_in_order_and_hangs_on_the_seed_alone(size: int, n: int, seed: int) -> None:
    entities = places([0] * size)
    names = entities.sample(n, seed).names
    assert len(names) == min(n, size) == len(set(names))
    assert names == [name for name in entities.names if name in names]
    assert names == places([0] * size).sample(n, seed).names


def test_samples_of_other_seeds_differ_and_reach_every_entity() -> None:
    entities = places([0] * 10)
    drawn = [tuple(entities.sample(3, seed).names) for seed in range(40)]
    assert len(set(drawn)) > 20
    assert {name for names in drawn for name in names} == set(entities.names)


def test_where_keeps_the_marked_rows() -> None:
    entities = places([3, 1, 2, 5])
    assert entities.where(entities.frame["population"] > 2).names == ["city 0", "city 3"]
    for mask in ([True, False], [1, 0, 0, 1]):
        with pytest.raises(OctoberError, match="a mask must be 4 booleans"):
            entities.where(mask)


def test_concat_joins_sets_of_one_kind(tmp_path: Path) -> None:
    joined = places([1, 2]).concat(places([3], "more"), places([4], "most"))
    assert (joined.name, joined.names) == ("toy+more+most", ["city 0", "city 1", "city 0", "city 0"])
    np.testing.assert_array_equal(joined.values[:, 0], [-90, 90, -90, -90])
    assert places([1]).concat(places([2]), name="both").name == "both"
    (tmp_path / "people.csv").write_text("name,death_year\nA,1900\n")
    with pytest.raises(OctoberError, match=r"cannot join toy .* with people"):
        places([1]).concat(load_csv(tmp_path / "people.csv"))


def test_the_fingerprint_follows_the_content() -> None:
    one = places([1, 2, 3])
    assert one.fingerprint == places([1, 2, 3]).fingerprint
    others = [places([1, 2, 4]), places([1, 2, 3], "toys"), one.largest(3), one.where([True, True, False])]
    assert len({one.fingerprint, *(other.fingerprint for other in others)}) == 5


def test_sizes_and_ranks_that_make_no_sense() -> None:
    entities = places([1, 2])
    for n in (0, -1):
        with pytest.raises(OctoberError, match=f"at least 1, got {n}"):
            entities.largest(n)
        with pytest.raises(OctoberError, match=f"at least 1, got {n}"):
            entities.sample(n, 0)
    unranked = EntitySet("toy", "place", entities.frame.drop(columns="population"), PLACE)
    with pytest.raises(OctoberError, match=r"toy: no column ranks .* use sample"):
        unranked.largest(1)
