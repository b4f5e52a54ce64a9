"""Countries of the world, from GeoNames: capital, continent, currency, population."""

import json
from typing import NamedTuple

from .cities import COUNTRIES, PACKAGE
from .offline import verified

CONTINENTS = {
    "AF": "Africa",
    "AN": "Antarctica",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North America",
    "OC": "Oceania",
    "SA": "South America",
}


class Country(NamedTuple):
    """A country; a capital or a currency that it does not have is an empty text."""

    name: str
    capital: str
    continent: str
    currency: str
    population: int


def load_countries(*, min_population: int = 0) -> list[Country]:
    """Return the countries with so many people or more, ordered by name.

    Raises:
        OctoberError: The package's file is missing or damaged.
    """
    entries = json.loads(verified(PACKAGE, COUNTRIES).read_bytes()).values()
    countries = [
        Country(
            entry["name"],
            entry["capital"],
            CONTINENTS[entry["continentcode"]],
            entry["currencyname"],
            entry["population"],
        )
        for entry in entries
    ]
    return sorted(country for country in countries if country.population >= min_population)
