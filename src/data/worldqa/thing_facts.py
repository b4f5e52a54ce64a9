"""Facts about works, events, living things, elements, places and ideas, from the leads' own sentences.

Where the article's short description says the same thing, sentence and description must agree.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from .facts import Fact
from .leads import Lead
from .names import folded
from .people_facts import RULERS

# How a work is made: (of a person) and (of the work).
_MADE = {
    "film": ("directed", "directed"),
    "novel novella book play poem essay treatise work tragedy comedy story epic ballad memoir": ("wrote", "written"),
    "painting fresco portrait": ("painted", "painted"),
    "opera symphony oratorio ballet concerto": ("composed", "composed"),
    "album song single": ("recorded", "recorded"),
    "sculpture statue": ("made", "made"),
}
_WORKS = {work: verbs for works, verbs in _MADE.items() for work in works.split()}
_WORK = re.compile(
    rf"^(?:(?P<year>\d{{4}}) )?(?:[\w'’-]+ ){{0,4}}?(?P<work>{'|'.join(_WORKS)})"
    r" (?:\w+ )?by (?P<maker>(?-i:[A-Z][\w.’'-]*(?: (?:de|da|van|von|al-)? ?[A-Z][\w.’'-]*){0,3}))$",
    re.IGNORECASE,
)
_YEARS = re.compile(r"(?<![\w–])(?P<begin>[12]\d{3})\s*(?:–|to|until|and)\s*(?P<end>[12]\d{3})(?![\w–])")
_HAPPENED = ("History", "Uncategorized")
_FOUNDED = re.compile(
    r"^(?P<subject>It|The [a-z]+|[A-Z][^,.;]*?) was (?:first |officially |originally )?"
    r"(?P<verb>founded|established|formed|created|launched|completed|opened|incorporated|inaugurated)"
    r" (?:in|on) (?:\d{1,2} )?(?:[A-Z][a-z]+ )?(?:\d{1,2}, )?(?P<answer>\d{4})\b(?! BC)"
)
_PERSON = (
    r"(?:[A-Z][a-z-]+ (?=[a-z]))?(?:[a-z-]+ ){0,4}?"
    r"(?P<answer>[A-Z][\w.’'-]*(?: (?:de|van|von|of|der|da|di|la|al-)?(?: )?[A-Z][\w.’'-]+){1,3})"
)
_AGENT = re.compile(
    r"^(?P<subject>It|The [a-z]+|[A-Z][^,.;]*?) (?:was|were) (?:first |originally |independently )?"
    r"(?P<verb>founded|discovered|invented|designed|developed|introduced|coined|proposed|established|created|composed)"
    rf" (?:in (?:[A-Z][a-z]+ )?\d{{4}} )?by (?:the )?{_PERSON}"
    r"(?=[,.;]| in \d| in the | at | on | from | who | as | between )(?!, [A-Z]\w+ )"
)
_BODY = re.compile(
    r"\b(?:Church|Society|Empire|University|Party|Company|Army|Government|Union|Congress|States|Kingdom)\b"
)
_TAXA = {
    "family": re.compile(r"\bfamily (?P<answer>[A-Z][a-z]+(?:idae|aceae))\b"),
    "genus": re.compile(r"\bgenus (?P<answer>[A-Z][a-z]+)\b"),
    "order": re.compile(
        r"(?<!sub)\border (?P<answer>[A-Z][a-z]+(?:formes|ales|ptera|ida|iformes|ora|tia|pha|ura|ata))\b"
    ),
}
_MEMBER = re.compile(r"\b(?:in|of|to|within|under) the (?:[\w-]+ ){0,3}?$")
_ELEMENT = re.compile(r"symbol (?P<symbol>[A-Z][a-z]?) and atomic number (?P<number>\d+)")
_CONSTELLATION = re.compile(r"\bconstellation (?:of )?(?P<answer>[A-Z]\w+(?: [A-Z]\w+)?)")
_LANGUAGE = re.compile(
    r"\b(?:is|was) an? (?:extinct |endangered )?(?P<answer>[A-Z][\w–-]+(?: [A-Z][\w–-]+)?) language\b"
)
_NATIVE = re.compile(
    r"(?:^[^,.]{0,40}\b(?:is|are)|,) native to (?:the )?"
    r"(?P<answer>(?:(?:north|south|east|west|central|tropical|[Nn]orth\w+|[Ss]outh\w+|[Ee]ast\w+"
    r"|[Ww]est\w+|[Cc]entral|[Tt]ropical) )?[A-Z][\w-]+(?: [A-Z][\w-]+)*)"
    r"(?=\.|;|, (?:where|but|and is|though)| and is\b| where\b)"
)
_CAPITAL = re.compile(
    r"^[^.;]{0,80}? is the (?:national )?capital(?: city)?(?: and (?:[a-z-]+ )*?(?:city|municipality|metropolis|town))?"
    r" of (?:the )?(?:(?:[A-Za-z-]+ )?(?:state|province|region|department|republic|oblast|governorate|prefecture) of )?"
    r"(?:[A-Z]\w+'s )?(?P<answer>[A-Z][\w’'-]+(?:(?: (?:of the|of|and|the|de|do|del|da))? [A-Z][\w’'-]+)*)"
)
_SORTS = "type form kind branch style breed field genre subset species genus subfield"
_CATEGORY = re.compile(
    rf"^[^.;]{{0,70}}? (?P<is>is|are) (?:an?|the|any) (?P<sort>{_SORTS.replace(' ', '|')}) of (?:an? |the )?"
    r"(?P<answer>[a-z][a-z–-]+(?: [a-z][a-z–-]+){0,3}?)"
    r"(?=[,.;(]| that | which | in | of | from | with | native | found | used | made"
    r" | whose | where | and | or | belonging | concerned | dealing | by | for | based | known | to | often | usually "
    r"| characterized | consisting | containing | having | originating | produced | typically | commonly | generally )"
)


def thing_facts(lead: Lead, countries: Sequence[tuple[str, tuple[str, ...]]]) -> Iterator[Fact]:
    """Return what the lead of an article that is not of a person says.

    Args:
        lead: The lead.
        countries: Names within a sentence and ways to write them as an answer.
    """
    if lead.is_person or not lead.sentences:
        return
    yield from _work(lead)
    yield from _span(lead)
    yield from _founding(lead)
    yield from _taxa(lead)
    yield from _element(lead)
    yield from _single_patterns(lead)
    yield from _category(lead)
    if lead.topic == "Geography":
        yield from _geography(lead, countries)


def _work(lead: Lead) -> Iterator[Fact]:
    match = _WORK.match(lead.description)
    if match is None:
        return
    made, made_by = _WORKS[match["work"].lower()]
    maker, year = match["maker"], match["year"]
    sentence = next(
        (text for text in lead.sentences[:2] if re.search(rf"\b{re.escape(maker.split()[-1])}\b", text)), ""
    )
    if sentence and " and " not in maker:
        full = _full_name(maker, sentence)
        answers = tuple(dict.fromkeys([full, maker, full.split()[-1]]))
        slots = {"made": made, "made_by": made_by}
        yield Fact("creator", lead.entity, lead.name, answers, lead.id, sentence, "prose", None, folded(full), slots)
    if year and re.search(rf"\b{year}\b", lead.sentences[0]):
        others = set(re.findall(r"\b[12]\d{3}\b", lead.sentences[0])) - {year}
        if not others:
            work = {"work": match["work"].lower()}
            fact = _fact(lead, "work_year", (year,), lead.sentences[0], int(year), work)
            yield replace(fact, subject=lead.name)


def _full_name(maker: str, sentence: str) -> str:
    """Return the name as the sentence writes it in full: 'Handel' is 'George Frideric Handel'."""
    if maker in sentence and " " in maker:
        return maker
    last = re.escape(maker.split()[-1])
    match = re.search(rf"(?:(?:[A-Z][\w.’'-]*|van|von|de|da) ){{0,3}}{last}\b", sentence)
    name = match[0] if match else maker
    return re.sub(r"^(?:de|da|van|von|The|In) ", "", name) if maker in name or maker.split()[-1] in name else maker


def _span(lead: Lead) -> Iterator[Fact]:
    described = _YEARS.search(lead.description)
    if described is None or lead.topic not in _HAPPENED:
        return
    if re.search(r"\bc\. ", lead.description) or RULERS.search(
        lead.description
    ):  # vague, or somebody's years in office
        return
    years = (described["begin"], described["end"])
    for sentence in lead.sentences[:3]:
        if re.findall(r"(?<!\d)[12]\d{3}(?!\d)", sentence) == list(years):
            for kind, year in zip(("begin_year", "end_year"), years, strict=True):
                yield _fact(lead, kind, (year,), sentence)
            return


def _founding(lead: Lead) -> Iterator[Fact]:
    names = ("It", lead.name, f"The {lead.name}")
    dated = [(match, text) for text in lead.sentences if (match := _FOUNDED.match(text))]
    if len(dated) == 1 and _is_subject(dated[0][0]["subject"], names, lead):
        match, sentence = dated[0]
        yield _fact(lead, "founded", (match["answer"],), sentence, slots={"verb": match["verb"]})
    by = [(match, text) for text in lead.sentences if (match := _AGENT.match(text))]
    if len(by) == 1 and _is_subject(by[0][0]["subject"], names, lead) and not _BODY.search(by[0][0]["answer"]):
        match, sentence = by[0]
        yield _fact(lead, "agent", (match["answer"],), sentence, slots={"verb": match["verb"]})


def _is_subject(words: str, names: Sequence[str], lead: Lead) -> bool:
    """Whether the words that open a sentence mean the article's subject: its name, 'It', 'The company'."""
    nouns = lead.description.lower().split()
    return words in names or (words.startswith("The ") and words[4:] in nouns)


def _taxa(lead: Lead) -> Iterator[Fact]:
    if lead.topic != "Biology and health sciences":
        return
    for kind, pattern in _TAXA.items():
        found = {match["answer"] for match in pattern.finditer(lead.prose)} - {lead.name}
        opening = lead.sentences[0]
        match = pattern.search(opening)
        if len(found) == 1 and match and lead.name not in found and _MEMBER.search(opening[: match.start()]):
            if kind == "genus" and re.search(r"\b(?:species|genera) (?:of|in) ", opening[: match.start()]) is None:
                continue
            yield _fact(lead, kind, (match["answer"],), opening, slots=_number(lead))


def _element(lead: Lead) -> Iterator[Fact]:
    match = _ELEMENT.search(lead.sentences[0])
    if match:
        yield _fact(lead, "chemical_symbol", (match["symbol"],), lead.sentences[0])
        number = int(match["number"])
        yield _fact(lead, "atomic_number", (match["number"],), lead.sentences[0], value=number)


def _single_patterns(lead: Lead) -> Iterator[Fact]:
    constellations = {match["answer"] for match in _CONSTELLATION.finditer(lead.prose)}
    match = _CONSTELLATION.search(lead.sentences[0])
    if match and len(constellations) == 1 and "constellation" not in lead.description.lower().split()[:2]:
        yield _fact(lead, "constellation", (match["answer"],), lead.sentences[0])
    match = _LANGUAGE.search(lead.sentences[0])
    if match and match["answer"].split()[-1] in lead.description:
        yield _fact(lead, "language_group", (match["answer"], f"{match['answer']} languages"), lead.sentences[0])
    natives = [(match["answer"], text) for text in lead.sentences[:3] if (match := _NATIVE.search(text))]
    if len(natives) == 1 and lead.topic == "Biology and health sciences":
        yield _fact(lead, "native", (natives[0][0],), natives[0][1], slots=_number(lead))


def _category(lead: Lead) -> Iterator[Fact]:
    match = _CATEGORY.match(lead.sentences[0])
    if match is None or lead.name.lower() in match["answer"]:
        return
    answer = match["answer"].strip()
    # The description must name the same thing: its head noun, in the singular or the plural.
    stem = answer.split()[-1].rstrip("s")[:6]
    if stem in lead.description.lower():
        answers = tuple(dict.fromkeys([answer, answer.split()[-1]]))
        yield _fact(lead, "category", answers, lead.sentences[0], slots={"sort": match["sort"], **_number(lead)})


def _geography(lead: Lead, countries: Sequence[tuple[str, tuple[str, ...]]]) -> Iterator[Fact]:
    match = _CAPITAL.match(lead.sentences[0])
    if match and re.search(r"\bcapital\b", lead.description, re.IGNORECASE):
        rest = lead.sentences[0][match.end() :]
        country = re.match(rf"(?:, {_PLAIN_NAME})", rest)
        longer = match["answer"] + (country[0] if country else "")
        shorter = re.sub(r" (?:Province|Prefecture|State|Governorate|Oblast)$", "", match["answer"])
        answers = tuple(dict.fromkeys([match["answer"], longer, shorter]))
        yield _fact(lead, "capital_of", answers, lead.sentences[0])
    yield from _country(lead, countries)


def _country(lead: Lead, countries: Sequence[tuple[str, tuple[str, ...]]]) -> Iterator[Fact]:
    """Return in which country a place is: the only one that the description, at its end, and a sentence name."""
    named = [entry for entry in countries if re.search(rf"\b{re.escape(entry[0])}\b", lead.description)]
    if len(named) != 1 or not re.search(rf"(?:, |\b(?:in|of)\b.* ){re.escape(named[0][0])}$", lead.description):
        return
    bare = named[0][0]
    sentence = next((text for text in lead.sentences[:2] if re.search(rf"\b{re.escape(bare)}\b", text)), "")
    abroad = [name for name, _ in countries if name != bare and re.search(rf"\b{re.escape(name)}\b", sentence)]
    if sentence and not abroad and not re.search(rf"{re.escape(bare)}|\b(?:Sea|Ocean)$", lead.name):
        yield _fact(lead, "country", named[0][1], sentence)


_PLAIN_NAME = r"[A-Z][\w’'-]+(?: [A-Z][\w’'-]+)*"


def _number(lead: Lead) -> dict[str, str]:
    """Return the forms of the verbs that follow the subject: 'is' or 'are'."""
    plural = re.match(r"[^.;]{0,70}? (?P<verb>is|are|was|were) ", lead.sentences[0])
    several = plural is not None and plural["verb"] in ("are", "were") and lead.subject.endswith("s")
    return {
        "is": "are" if several else "is",
        "does": "do" if several else "does",
        "belongs": "belong" if several else "belongs",
    }


def _fact(
    lead: Lead,
    kind: str,
    answers: tuple[str, ...],
    sentence: str,
    value: float | None = None,
    slots: Mapping[str, str] | None = None,
) -> Fact:
    return Fact(kind, lead.entity, lead.subject, answers, lead.id, sentence, "prose", value, slots=slots or {})
