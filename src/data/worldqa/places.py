"""Countries and cities of GeoNames with everything that passages say of them."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from ..cities import CITIES, COUNTRIES, PACKAGE, STATES
from ..countries import CONTINENTS
from ..offline import verified
from .names import folded, with_article

NUM_CITIES = 5_000
_RIVAL_SHARE = 0.1  # a namesake with a tenth of the people is somebody's first thought


@dataclass(frozen=True)
class CountryFacts:
    """A country or territory; what is unknown, changed beyond repair or disputed is empty or None."""

    code: str
    name: str
    other_names: tuple[str, ...]
    capital: str
    continent: str
    currency: str
    currency_code: str
    languages: tuple[str, ...]
    neighbours: tuple[str, ...]
    area: int | None
    population: int | None
    former: bool

    @property
    def subject(self) -> str:
        """The name within a sentence: 'the Netherlands'."""
        return with_article(self.name)

    @property
    def entity(self) -> str:
        """What decides the split: the folded title of the country's article."""
        return folded(self.other_names[0]) if self.code in _OLD_TITLES else folded(self.name)

    @property
    def id(self) -> str:
        """The document's id."""
        return f"country:{self.code}"

    @property
    def answers(self) -> tuple[str, ...]:
        """Ways to write it as an answer."""
        return tuple(dict.fromkeys([self.name.removeprefix("The "), *self.other_names]))


@dataclass(frozen=True)
class CityFacts:
    """A city or another populated place.

    Attributes:
        ambiguous: Another place of its name, in the corpus or of a size to be thought of, lies in another country;
            or several in this one.
    """

    id: str
    name: str
    entity: str
    country: str
    state: str
    population: int
    time_zone: str
    latitude: float
    longitude: float
    ambiguous: bool


# Codes of countries whose article is headed by the first of their other names.
_OLD_TITLES = {"CZ", "CV", "MO", "FM"}


def load_countries_in_full() -> dict[str, CountryFacts]:
    """Return GeoNames' 252 countries by code, in the file's order.

    Raises:
        OctoberError: The package's file is missing or damaged.
    """
    entries = {code: {**entry, **_rules()["corrections"].get(code, {})} for code, entry in _read(COUNTRIES).items()}
    names = {code: _rules()["countries"].get(code, entry["name"]) for code, entry in entries.items()}
    return {code: _country(code, entry, names, entries) for code, entry in entries.items()}


def load_largest_cities(lead_entities: Mapping[str, str]) -> list[CityFacts]:
    """Return the 5,000 most populous places, most populous first.

    Args:
        lead_entities: Folded titles of articles about places, to the entity they belong to: a city that is known
            there under another of its names is the same entity.

    Raises:
        OctoberError: A file of the package is missing or damaged.
    """
    everywhere = sorted(_read(CITIES).values(), key=lambda entry: (-entry["population"], entry["geonameid"]))
    largest = everywhere[:NUM_CITIES]
    states = {code: entry["name"] for code, entry in _read(STATES).items()}
    ambiguous = _ambiguous_names(everywhere, largest)
    return [_city(entry, states, lead_entities, folded(entry["name"]) in ambiguous) for entry in largest]


def _country(
    code: str, entry: dict[str, Any], names: Mapping[str, str], entries: Mapping[str, dict[str, Any]]
) -> CountryFacts:
    rules = _rules()
    # The first is the main one; others count if GeoNames marks them as the country's own: 'de-CH,fr-CH,it-CH,rm'.
    tags = entry["languages"].split(",")
    languages = [
        rules["languages"].get(tag.split("-")[0]) for tag in tags if tag == tags[0] or tag.endswith(f"-{code}")
    ]
    # A border is taken for one where both sides list it: Cuba's with the United States is that of a naval base.
    mutual = [other for other in entry["neighbours"].split(",") if code in _neighbours(entries, other)]
    disputed = {key: code in rules[f"no_{key}"] for key in ("capital", "continent", "area")}
    return CountryFacts(
        code=code,
        name=names[code],
        other_names=tuple(rules["other_names"].get(code, ())),
        capital="" if disputed["capital"] else entry["capital"].strip(),
        continent="" if disputed["continent"] else CONTINENTS[entry["continentcode"]],
        currency=entry["currencyname"],
        currency_code=entry["currencycode"],
        languages=tuple(dict.fromkeys(name for name in languages if name)),
        neighbours=tuple(sorted(other for other in mutual if {code, other} != {"CU", "US"})),
        area=None if disputed["area"] else int(entry["areakm2"] or 0) or None,
        population=entry["population"] if entry["population"] > 1_000 else None,
        former=code in rules["former"],
    )


def _neighbours(entries: Mapping[str, dict[str, Any]], code: str) -> list[str]:
    neighbours: list[str] = entries[code]["neighbours"].split(",") if code in entries else []
    return neighbours


def _city(
    entry: dict[str, Any], states: Mapping[str, str], lead_entities: Mapping[str, str], ambiguous: bool
) -> CityFacts:
    names = [folded(name) for name in [entry["name"], *entry["alternatenames"]]]
    in_america = entry["countrycode"] == "US"
    return CityFacts(
        id=f"city:{entry['geonameid']}",
        name=entry["name"],
        entity=next((lead_entities[name] for name in names if name in lead_entities), names[0]),
        country=entry["countrycode"],
        state=states.get(entry["admin1code"], "") if in_america else "",
        population=entry["population"],
        time_zone=entry["timezone"].replace("_", " "),
        latitude=entry["latitude"],
        longitude=entry["longitude"],
        ambiguous=ambiguous,
    )


def _ambiguous_names(everywhere: Sequence[dict[str, Any]], largest: Sequence[dict[str, Any]]) -> set[str]:
    """Return the folded names that stand for more than one of the largest, or for a sizeable namesake abroad."""
    in_corpus = Counter(folded(entry["name"]) for entry in largest)
    sizes: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for entry in everywhere:
        sizes[folded(entry["name"])].append((entry["population"], entry["countrycode"]))
    return {
        name
        for name, count in in_corpus.items()
        if count > 1
        or any(
            size > _RIVAL_SHARE * sizes[name][0][0] and country != sizes[name][0][1] for size, country in sizes[name]
        )
    }


@cache
def _rules() -> dict[str, Any]:
    rules: dict[str, Any] = yaml.safe_load(
        (files("october.data.worldqa") / "geography.yaml").read_text(encoding="utf-8")
    )
    return rules


def _read(path: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(verified(PACKAGE, path).read_bytes())
    return content
