"""The paper's six sets, from small files in the layout of their public release."""

import datetime
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from october.data import PaperEntities
from october.data.world_models import decimal_year, readable
from october.errors import OctoberError

FILES = {
    "world_places": (
        "world_place.csv",
        "name,entity_subtype,country,latitude,longitude,flag,page_views,entity_type,area,population,is_test\n"
        "King Edward Cove,NaturalPlace,United_Kingdom,-54.2833,-36.5,1,5894.0,natural_place,,,True\n"
        "Lac Le Jeune,NaturalPlace,Canada,50.483,-120.477,1,7050.0,natural_place,,,False\n",
    ),
    "us_places": (
        "us_place.csv",
        "name,latitude,longitude,state_id,state_name,county_fips,population,density,timezone,entity_type,is_test\n"
        "New York,40.6943,-73.9249,NY,New York,36081,18908608,11080.3,America/New_York,city,False\n"
        "02134,42.36,-71.13,MA,Massachusetts,25025,21000,5000,America/New_York,zip,True\n",
    ),
    "nyc_places": (
        "nyc_place.csv",
        "name,source,latitude,longitude,borough_name,facility_t_name,is_test\n"
        "MANHATTAN COLLEGE MEMORIAL HALL,DCP,40.8897,-73.9018,Bronx,Education Facility,False\n"
        "PS 81 ROBERT J CHRISTEN,DOE,40.9035,-73.9048,Bronx,Education Facility,True\n",
    ),
    "art": (
        "art.csv",
        "title,creator,release_date,length,page_name,page_views,entity_type,is_test,decade\n"
        "The Stand,Stephen King,1978-07-02,823.0,The_Stand,3107749.0,book,False,1970\n"
        "The Moon,James,2000-01-01,366.0,The_Moon,10.0,song,True,2000\n",
    ),
    "historical_figures": (
        "historical_figure.csv",
        "wiki_id,name,description,gender,country,occupation,birth_year,death_year,is_test\n"
        "Q23,George Washington,1st president of the United States,Male,USA,politician,1732,1799.0,False\n"
        "Q868,Aristotle,philosopher,Male,,philosopher,-384,-322.0,True\n",
    ),
    "headlines": (
        "headline.csv",
        "headline,word_count,pub_date,print_section,print_page,section,news_desk,year,is_test\n"
        "Pilgrims Arrive in Mecca for Annual Hajj.,900,2020-07-02T00:00:00+0000,A,1,World,Foreign,2020,True\n"
        "Rain Falls.,9,2019-01-01 00:00:00+00:00,A,1,U.S.,National,2019,False\n",
    ),
}
NAMES = {
    "world_places": ["King Edward Cove", "Lac Le Jeune"],
    "us_places": ["New York", "02134"],
    "nyc_places": ["Manhattan College Memorial Hall", "PS 81 Robert J Christen"],
    "art": ["Stephen King's The Stand", "James' The Moon"],
    "historical_figures": ["George Washington", "Aristotle"],
    "headlines": ["Pilgrims Arrive in Mecca for Annual Hajj.", "Rain Falls."],
}
BLOCKS = {
    "world_places": ["United Kingdom", "Canada"],
    "us_places": ["New York", "Massachusetts"],
    "nyc_places": ["Bronx", "Bronx"],
    "art": ["1970s", "2000s"],
    "historical_figures": ["18th century", "4th century BC"],
    "headlines": ["2020", "2019"],
}
VALUES = {
    "world_places": [[-54.2833, -36.5], [50.483, -120.477]],
    "us_places": [[40.6943, -73.9249], [42.36, -71.13]],
    "nyc_places": [[40.8897, -73.9018], [40.9035, -73.9048]],
    "art": [[1978 + 182 / 365], [2000.0]],
    "historical_figures": [[1799.0], [-322.0]],
    "headlines": [[2020 + 183 / 366], [2019.0]],
}
TYPES = {
    "world_places": "natural_place",
    "us_places": "city",
    "nyc_places": "Education Facility",
    "art": "book",
    "historical_figures": "historical_figure",
    "headlines": "headline",
}


def write(tmp_path: Path, name: str, edit: tuple[str, str] = ("", "")) -> PaperEntities:
    file, text = FILES[name]
    (tmp_path / file).write_text(text.replace(*edit), encoding="utf-8")
    return PaperEntities(name, str(tmp_path))


@pytest.mark.parametrize("name", FILES)
def test_the_release_is_read(tmp_path: Path, name: str) -> None:
    handle = write(tmp_path, name)
    handle.check()
    entities = handle.load()
    assert entities.name == f"paper_{name}"
    assert entities.names == NAMES[name]
    assert entities.frame["split_key"].tolist() == BLOCKS[name]
    assert entities.values.tolist() == [pytest.approx(row) for row in VALUES[name]]
    first = name in ("world_places", "headlines")
    assert entities.frame["is_test"].tolist() == [first, not first]
    assert entities.frame["entity_type"].iloc[0] == TYPES[name]
    assert entities.kind == ("place" if "places" in name else "time")


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("world_places", ("-54.2833", "-154.2833"), "row 1: latitude is '-154.2833', not a number from -90 to 90"),
        ("world_places", ("country", "land"), "no column 'country'; has name"),
        ("us_places", ("zip,True", "zip,maybe"), "row 2: is_test is 'maybe', neither True nor False"),
        ("art", ("2000-01-01", "soon"), "row 2: release_date is 'soon', not a date"),
        ("headlines", ("2019-01-01 00:00:00+00:00", ""), "row 2: pub_date is '', not a date"),
        ("historical_figures", ("-322.0", "unknown"), "row 2: death_year is 'unknown', not a whole year"),
        ("historical_figures", ("death_year", "died"), "no column 'death_year'"),
    ],
)
def test_a_bad_release_gets_one_line(tmp_path: Path, name: str, edit: tuple[str, str], message: str) -> None:
    with pytest.raises(OctoberError, match=message):
        write(tmp_path, name, edit).load()


def test_a_wrong_name_and_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(OctoberError, match=r"data\.name=moon: allowed are world_places, us_places"):
        PaperEntities("moon", str(tmp_path))
    with pytest.raises(OctoberError, match=r"data\.folder=.*: holds no art\.csv, the file of paper_art"):
        PaperEntities("art", str(tmp_path)).check()


def test_works_of_one_title_stay_apart(tmp_path: Path) -> None:
    handle = write(tmp_path, "art", ("The Moon,James", "The Stand,Stephen King"))
    assert handle.load().names == ["Stephen King's The Stand"] * 2  # the release has such rows


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.dates(datetime.date(1900, 1, 1), datetime.date(2100, 12, 31)))
def test_decimal_years_are_days_over_the_years_length(day: datetime.date) -> None:
    start, end = datetime.date(day.year, 1, 1), datetime.date(day.year + 1, 1, 1)
    expected = day.year + (day - start).days / (end - start).days
    assert decimal_year(pd.Series([day.isoformat()]))[0] == pytest.approx(expected, abs=1e-12)


def test_names_in_capitals_become_readable() -> None:
    assert readable("CITY COLLEGE OF NYC & THE UN") == "City College of NYC & the UN"
