"""Years of birth and death, read from the short descriptions of encyclopedias and dictionaries."""

import re
from dataclasses import dataclass

# A date may be vague ('c.'), carry its era before or after it, and name alternatives ('672/3'): the first one counts.
_DATE = r"(?P<{0}_vague>c\.|ca\.|circa|about|trad\.)?\s*(?P<{0}_before>AD|BC)?\s*(?P<{0}>\d{{1,4}})"
_DATE += r"(?P<{0}_other>(?:/\d{{1,4}})*\??)\s*(?P<{0}_after>BCE|BC|CE|AD)?"
_SPAN = re.compile(r"\(\s*" + _DATE.format("birth") + r"\s*[–—-]\s*" + _DATE.format("death") + r"\s*(?:\)|$)")
_DATED = re.compile(r"\([^)]*\d")
_OF_A_GROUP = re.compile(r"\b(?:bands?|duo|group|quartet|team|trio|troupe)\s*\(")
# Shorter or longer spans are those of wars and empires.
SHORTEST_LIFE, LONGEST_LIFE = 15, 114


@dataclass(frozen=True)
class Life:
    """Years of birth and death (BC negative: 1 BC is -1), and whether either is vague ('c.', '672/3', '1544?')."""

    birth: int
    death: int
    vague: bool


def life_of(description: str, lead: str = "") -> Life | None:
    """Read a person's life span from a short description: 'Greek philosopher (384–322 BC)'.

    Args:
        description: The description; its only parenthesis with a number in it must be the span.
        lead: The opening of the article. A span that it calls a reign ('from 1520 to 1566') is no life.

    Returns:
        None where there is no span, or one that is not a person's life: years in office ('President of Chile from
        1970 to 1973', '(r. 912–929)', several spans), a band's, only a birth ('born 1950') or only a death, decades
        ('1460s'), an impossible length.
    """
    match = _SPAN.search(description.strip())
    if match is None or len(_DATED.findall(description)) > 1 or _OF_A_GROUP.search(description):
        return None
    death_era = match["death_before"] or match["death_after"] or ""
    birth_era = match["birth_before"] or match["birth_after"] or death_era
    birth = _signed(match["birth"], birth_era)
    death = _signed(match["death"], death_era)
    years = death - birth - (birth < 0 < death)  # there was no year 0
    if not SHORTEST_LIFE <= years <= LONGEST_LIFE or _is_reign(abs(birth), abs(death), lead):
        return None
    marks = ("birth_vague", "birth_other", "death_vague", "death_other")
    return Life(birth, death, any(match[mark] for mark in marks))


def century(year: int) -> str:
    """Return the century of a year: 1900 is in the '19th century', -322 in the '4th century BC'."""
    number = (abs(year) + 99) // 100
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix} century" + (" BC" if year < 0 else "")


def _signed(digits: str, era: str) -> int:
    return -int(digits) if era.startswith("BC") else int(digits)


def _is_reign(start: int, end: int, lead: str) -> bool:
    return re.search(rf"\bfrom\s+{start}\s+(?:to|until)\s+{end}\b", lead) is not None
