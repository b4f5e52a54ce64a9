"""Countries: facts that everybody can check."""

from october.data import load_countries


def test_countries_have_their_facts_and_stand_in_order():
    countries = {country.name: country for country in load_countries()}
    assert len(countries) > 240
    assert list(countries) == sorted(countries)
    assert countries["Norway"][1:4] == ("Oslo", "Europe", "Krone")
    assert countries["Japan"].population > 100_000_000
    assert countries["Antarctica"].capital == ""


def test_small_countries_can_be_left_out():
    large = load_countries(min_population=10_000_000)
    assert 80 < len(large) < 110
    assert min(country.population for country in large) >= 10_000_000
