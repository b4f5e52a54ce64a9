"""Facts about people: years from the heading, everything else from the lead's own sentences.

What a sentence says is taken only where the article's short description agrees with it.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache

from ..people import TOPICS
from .facts import Evidence, Fact
from .leads import Lead

# 'German', 'South African', 'Hong Kong': what a description of a person opens with.
_NATIONALITY = re.compile(
    r"^(?P<nationality>(?:(?:South|North|New|Hong|Puerto|Costa|Sri|Saudi) )?[A-Z][a-zéī]+)"
    r"(?![\w-])(?! and [A-Z])(?= [a-z])"
)
_OTHER_OPENINGS = """
    Founder Leader Ruler Queen King Emperor Empress President Prime Head Pope Chancellor Wife Son Daughter Sultan Shah
    Early Ancient Islamic Muslim Christian Catholic Jewish Buddhist Hindu Holy Baroque Renaissance Medieval Founding
    First Last Major Nazi Soviet Roman Byzantine Umayyad Abbasid Mughal Ottoman Imperial Communist Protestant Lutheran
    Sufi Sunni Shia Anglican Cherokee Virtuoso Classical Romantic Art
"""
_NO_NATIONALITY = frozenset(_OTHER_OPENINGS.split())
_OFFICE = re.compile(r"^(?P<office>[A-Z][^,;()0-9]+?) from (?:AD )?(?P<begin>\d{3,4}) (?:to|until) (?P<end>\d{3,4})$")
RULERS = re.compile(
    r"\b(?:king|queen|emperor|empress|president|leader|sultan|minister|head|ruler|dictator|chancellor|shah|khan|tsar"
    r"|archbishop|prince|viceroy|regent|premier|pope|patriarch|hetman|khedive|caliph|pharaoh|monarch|governor)\b",
    re.IGNORECASE,
)
_NOBEL = re.compile(
    r"\b(?:awarded|received|won|shared|receiving|sharing|winning)\b[^.;]{0,40}?\bNobel (?:Memorial )?(?:Peace )?Prize\b"
)
_NOBEL_YEAR = re.compile(r"\b(?P<before>\d{4}) Nobel\b|\bNobel [^.;]{0,60}? in (?P<after>\d{4})\b")
_NOBEL_FIELD = re.compile(
    r"Nobel (?:Memorial )?Prize in"
    r" (?P<field>Physics|Chemistry|Literature|Physiology or Medicine|Economic Sciences|Economics)"
)
_PLACE = r"(?P<answer>[A-Z][\w’'-]+(?:(?: of| de| del| la| am| upon)? [A-Z][\w’'-]+){0,2})"
_BORN_IN = re.compile(
    rf"^(?:He|She|[A-Z][\w'-]+) was born (?:and raised )?in {_PLACE}(?=[,.;]| in | to | into | and | on )"
)
# Up to three words in small letters that are neither an article's phrase nor say how somebody is seen.
_TRADE = re.compile(
    r"^(?!(?:the|one|an?|also|later|former|track)\b)"
    r"(?!.*\b(?:as|one|recogni[sz]ed|speciali[sz]ing|famous|noted|renowned|regarded|considered)\b)"
    r"[a-z][a-z-]+(?: [a-z][a-z-]+){0,2}$"
)
_BIRTH_IN_PROSE = re.compile(r"\bborn (?:in |on [^.,]*?)?(?P<year>\d{4})\b")
_DEATH_IN_PROSE = re.compile(
    r"\b(?:death|died|killed|assassinated|executed|assassination)\b (?:in |on [^.,]*?)?(?P<year>\d{4})\b"
)
_NOT_SOLE = re.compile(r"^(?: and|-| or|,? and)")


def people_facts(lead: Lead) -> Iterator[Fact]:
    """Return what a person's lead says; nothing for a lead that is not of a person."""
    if lead.is_person:
        yield from _years(lead)
        yield from _nationality(lead)
        yield from _occupation(lead)
        yield from _nobel(lead)
        yield from _birthplace(lead)
    yield from _reign(lead)


def _years(lead: Lead) -> Iterator[Fact]:
    if lead.life is not None and lead.life.vague:
        return
    born = lead.life.birth if lead.life else lead.birth_year
    assert born is not None
    if not _contradicted(_BIRTH_IN_PROSE, lead.prose, born):
        yield _fact(lead, "birth_year", _year(born, lead), lead.heading, "description", value=born)
    if lead.life and not _contradicted(_DEATH_IN_PROSE, lead.prose, lead.life.death):
        yield _fact(
            lead, "death_year", _year(lead.life.death, lead), lead.heading, "description", value=lead.life.death
        )


def _year(year: int, lead: Lead) -> tuple[str, ...]:
    if year > 0:
        return (str(year), f"AD {year}") if year < 1000 else (str(year),)
    return (f"{-year} BC", f"{-year} BCE", str(-year))


def _contradicted(pattern: re.Pattern[str], prose: str, year: int) -> bool:
    return any(int(match["year"]) != abs(year) for match in pattern.finditer(prose))


def _nationality(lead: Lead) -> Iterator[Fact]:
    word = _described_nationality(lead)
    opening = lead.sentences[0]
    match = word and re.search(rf"\b(?:was|is) (?:an?|the) (?:[a-z]+,? ){{0,3}}{word}(?P<after>\W+\w+)", opening)
    if match and not _NOT_SOLE.match(match["after"]):
        yield _fact(lead, "nationality", (word,), opening, "prose", slots=_tense(lead))


@cache
def _described_nationality(lead: Lead) -> str:
    match = _NATIONALITY.match(lead.description)
    return match["nationality"] if match and match["nationality"].split()[0] not in _NO_NATIONALITY else ""


def _occupation(lead: Lead) -> Iterator[Fact]:
    opening, word = lead.sentences[0], _described_nationality(lead)
    described = _occupations_described(lead)
    said = re.search(rf"\b(?:was|is) an? (?:[a-z]+ )*{word} (?P<list>[^.;()]+)", opening) if word else None
    if said is None:
        return
    # Everything that the sentence lists is right; the description's own come first.
    items = re.split(r",? and |, | or ", re.split(r" (?:who|whose|known|best|of|in|from|at|for) ", said["list"])[0])
    listed = [item.strip() for item in items if _TRADE.match(item.strip())]
    confirmed = [item for item in described if re.search(rf"\b{re.escape(item)}\b", opening)]
    if confirmed:
        answers = tuple(dict.fromkeys([*confirmed, *listed, f"{word} {confirmed[0]}"]))
        yield _fact(lead, "occupation", answers, opening, "prose", slots=_tense(lead))


def _occupations_described(lead: Lead) -> list[str]:
    word = _described_nationality(lead)
    rest = lead.description.removeprefix(word).split("(")[0].strip()
    if not word or re.search(r"[A-Z]| (?:of|who|for|in|from|at) ", rest):
        return []
    return [item for item in (part.strip() for part in re.split(r",? and |, ", rest)) if 0 < len(item.split()) < 4]


def _nobel(lead: Lead) -> Iterator[Fact]:
    awards = [sentence for sentence in lead.sentences if "Nobel" in sentence]
    if len(awards) != 1 or awards[0].count("Nobel") != 1 or not _NOBEL.search(awards[0]) or " not " in awards[0]:
        return
    if not re.match(rf"(?:He|She|In \d{{4}}|{re.escape(lead.name.split()[-1])}|{re.escape(lead.name)})\b", awards[0]):
        return
    field, year = _NOBEL_FIELD.search(awards[0]), _NOBEL_YEAR.search(awards[0])
    if field:
        yield _fact(lead, "nobel_prize", (field["field"], f"Nobel Prize in {field['field']}"), awards[0], "prose")
    if year:
        yield _fact(lead, "nobel_year", (year["before"] or year["after"],), awards[0], "prose")


def _birthplace(lead: Lead) -> Iterator[Fact]:
    found = [(match["answer"], sentence) for sentence in lead.sentences if (match := _BORN_IN.match(sentence))]
    if len(found) == 1:
        yield _fact(lead, "birthplace", (found[0][0],), found[0][1], "prose")


def _reign(lead: Lead) -> Iterator[Fact]:
    match = _OFFICE.match(lead.description) if lead.topic in TOPICS else None
    if match is None or not RULERS.search(match["office"]):
        return
    years = (match["begin"], match["end"])
    sentences = [text for text in lead.sentences if all(re.search(rf"\b{year}\b", text) for year in years)]
    if sentences and len(re.findall(r"\b\d{3,4}\b", sentences[0])) == 2:  # no other years that one could mean
        for kind, year in zip(("reign_begin", "reign_end"), years, strict=True):
            yield _fact(lead, kind, (year,), sentences[0], "prose", slots={"office": match["office"]})


def _tense(lead: Lead) -> dict[str, str]:
    return {"was": "is" if lead.life is None else "was"}


def _fact(
    lead: Lead,
    kind: str,
    answers: tuple[str, ...],
    sentence: str,
    evidence: Evidence,
    value: float | None = None,
    slots: Mapping[str, str] | None = None,
) -> Fact:
    return Fact(kind, lead.entity, lead.name, answers, lead.id, sentence, evidence, value, slots=slots or {})
