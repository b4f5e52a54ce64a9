"""A baseline without any learning: one regular expression per kind of question, over passages that a search returned.

The expressions follow the wordings of the training split and common turns of encyclopedias; the other splits' passages
about places are worded otherwise, as they are for a model.
"""

import re
from collections.abc import Sequence
from typing import Protocol

from ..documents import Question
from ..people import without_disambiguation

_WORD = r"[A-Z](?:\.|[\w’'-]*)"
_NAME = rf"{_WORD}(?: (?:(?:of|and|the|de|del|la|van|von) )?{_WORD})*"
_NUMBER = r"\d[\d,]*"

PATTERNS: dict[str, list[str]] = {
    "continent": [r"\b(Africa|Antarctica|Asia|Europe|North America|Oceania|South America)\b"],
    "capital": [
        rf"capital(?: of [^.]*?)? is ({_NAME})",
        rf"({_NAME}) is the capital",
        rf"has ({_NAME}) as its capital",
    ],
    "currency": [r"(?:currency is|pay with|money is|pays in) (?:the )?([A-Z][\w' ]+?) ?[(,]", r"\b([A-Z]{3})\b"],
    "language": [r"(?:speak|hears|include|in use:) ([A-Z]\w+)", r"\b([A-Z]\w+) language"],
    "neighbour": [rf"(?:borders|borders with|neighbours are|lie) (?:the )?({_NAME})"],
    "area": [rf"({_NUMBER}) (?:square kilometres|km2)"],
    "population": [rf"({_NUMBER}) (?:inhabitants|people)", rf"population (?:of .*? )?is ({_NUMBER})"],
    "country": [
        rf"\b(?:lies in|place in|belongs to|In|city in|located in|in) (?:the )?(?:{_NAME}, )*(?:the )?({_NAME})"
    ],
    "time_zone": [
        r"\b((?:Africa|America|Antarctica|Asia|Atlantic|Australia|Europe|Indian|Pacific)/[\w/-]+(?: [A-Z]\w+)*)"
    ],
    "capital_of": [rf"capital (?:and [a-z ]+ )?of (?:the )?(?:state of |province of )?({_NAME})", rf"serves ({_NAME})"],
    "birth_year": [r"\((?:born )?(?:c\. ?)?(\d+)"],
    "death_year": [r"\([^()]*[–-] ?(?:c\. ?)?(\d+(?: BC)?)\)"],
    "nationality": [rf"\b(?:was|is) an? (?:[a-z]+ ){{0,3}}({_NAME}) [a-z]"],
    "occupation": [rf"\b(?:was|is) an? (?:[a-z]+ )*(?:{_NAME}) ([a-z-]+(?: [a-z-]+)?)(?=[ ,.])"],
    "category": [r"\b(?:type|form|kind|branch|style|breed|field|genre|subset|species|genus) of ([a-z]+(?: [a-z]+)?)"],
    "language_group": [rf"\bis an? ({_NAME}) language"],
    "family": [r"\bfamily ([A-Z][a-z]+)"],
    "genus": [r"\bgenus ([A-Z][a-z]+)"],
    "order": [r"\border ([A-Z][a-z]+)"],
    "chemical_symbol": [r"\bsymbol ([A-Z][a-z]?)\b"],
    "atomic_number": [r"\batomic number (\d+)"],
    "constellation": [rf"\bconstellation (?:of )?({_NAME})"],
    "creator": [rf"\b(?:by|author|director|painter|composer) (?:[a-z]+ )*({_NAME})"],
    "work_year": [r"\b(\d{4})\b"],
    "begin_year": [r"\b(\d{4})\b"],
    "end_year": [r"\b\d{4}\b.*?\b(\d{4})\b"],
    "reign_begin": [r"\b(?:from|since) (?:AD )?(\d{3,4})"],
    "reign_end": [r"\b(?:to|until)\b.*?\b(\d{3,4})\b"],
    "founded": [r"\b(?:founded|established|formed|created|launched|opened|completed)\b[^.]*?(\d{4})"],
    "agent": [rf"\bby (?:the )?(?:[\w-]+ )*?({_NAME})"],
    "nobel_prize": [r"Nobel (?:Memorial )?Prize in (Physiology or Medicine|Economic Sciences|\w+)"],
    "nobel_year": [r"\b(\d{4}) Nobel", r"Nobel .*? in (\d{4})"],
    "native": [rf"\bnative to (?:the )?((?:[a-z]+ )?{_NAME})"],
    "birthplace": [rf"\bborn (?:and raised )?in ({_NAME})"],
}


class TitledText(Protocol):
    """What a passage has, wherever it comes from."""

    @property
    def title(self) -> str:
        """The title of its document."""

    @property
    def text(self) -> str:
        """Its text."""


def pattern_baseline(question: Question, passages: Sequence[TitledText]) -> str:
    """Return an answer found by patterns in passages, best first; an empty text where none matches.

    Passages whose title stands in the question come first. A comparison is decided by what the patterns find for the
    two names; a question for yes or no by the same, or by whether the other name is in the text.
    """
    wording = question.id.split(":")[0]
    named = [passage for passage in passages if without_disambiguation(passage.title) in question.text]
    ordered = [*named, *(passage for passage in passages if passage not in named)]
    if question.kind == "definition":
        return without_disambiguation(passages[0].title) if passages else ""
    if question.kind == "comparison":
        return _compared(wording.removeprefix("comparison_"), named)
    if question.kind == "yes_no":
        return _yes_or_no(wording.removeprefix("yes_no_"), question, named)
    if question.kind == "bridge":
        return _bridged(wording.removeprefix("bridge_"), ordered)
    return _first(question.kind, ordered)


def _first(kind: str, passages: Sequence[TitledText]) -> str:
    for passage in passages:
        for pattern in PATTERNS.get(kind, []):
            if match := re.search(pattern, passage.text):
                return match[1]
    return ""


def _compared(kind: str, named: Sequence[TitledText]) -> str:
    values = [(_value(kind, passage), passage.title) for passage in named]
    known = [(value, title) for value, title in values if value is not None]
    if not known:
        return ""
    larger_wins = kind in ("population", "area", "atomic_number")
    return without_disambiguation((max if larger_wins else min)(known)[1])


def _value(kind: str, passage: TitledText) -> int | None:
    digits = re.sub(r"\D", "", _first(kind, [passage]))
    return int(digits) if digits else None


def _yes_or_no(kind: str, question: Question, named: Sequence[TitledText]) -> str:
    if kind == "birth_year":
        ordered = sorted(named, key=lambda passage: question.text.find(without_disambiguation(passage.title)))
        values = [value for passage in ordered if (value := _value(kind, passage)) is not None]
        return "yes" if len(values) > 1 and values[0] < values[1] else "no"
    if kind in ("same_country", "continent"):
        found = {_first("country" if kind == "same_country" else kind, [passage]) for passage in named[:2]}
        return "yes" if len(found) == 1 else "no"
    # 'Is X in Y?': Y must stand in X's passage.
    others = [name for name in re.findall(_NAME, question.text) if named and name not in named[0].title]
    return "yes" if any(re.search(rf"\b{re.escape(name)}\b", named[0].text) for name in others[-1:]) else "no"


def _bridged(kind: str, passages: Sequence[TitledText]) -> str:
    """Answer from the passage whose title the first passages name, else from any."""
    first = " ".join(passage.text for passage in passages[:1])
    second = [passage for passage in passages[1:] if passage.title in first]
    return _first(kind, second or passages)
