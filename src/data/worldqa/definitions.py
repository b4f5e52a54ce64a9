"""From a description to the term it describes: the answer is the article's name, in its lead's first sentence."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from .facts import Fact
from .leads import Lead
from .names import folded

MIN_WORDS, MIN_CONTENT_WORDS = 5, 4  # a shorter description fits more than one thing
_STEM = 5  # letters by which words are taken for the same
_COMMON_WORDS = "a an and any are as at by for from in into is it its of on or that the their to used which with"
_COMMON = frozenset(_COMMON_WORDS.split())
# 'X, also known as Y, is …'
_ALSO = (
    r"s?,? (?:also|or|commonly|sometimes|often|formerly)"
    r"(?: (?:also|commonly|known|called|as|simply|transcribed|spelled|spelt))*"
    r" (?:an? |the )?(?P<other>[\w’'-]+(?: [\w’'-]+)?)(?=,| is| are)"
)
_ARTICLE = r"(?:(?:The|An|A|In [a-z ]+, an?|In [a-z ]+,) )?"


def definition_facts(leads: Sequence[Lead]) -> Iterator[Fact]:
    """Return a fact for every lead that its description singles out.

    The description must be the only one of its words, hold no number and at most half of the name's words, and share
    two content words with the lead; and the first sentence must hold the name.
    """
    counts = Counter(_content(lead.description) for lead in leads)
    names = Counter(lead.entity for lead in leads)
    for lead in leads:
        words = _content(lead.description)
        if counts[words] > 1 or names[lead.entity] > 1 or not _is_telling(lead) or lead.is_person:
            continue
        opening = lead.sentences[0]
        if lead.name.lower() in opening.lower() and len(words & _content(lead.prose)) >= 2:
            yield Fact(
                kind="definition",
                entity=lead.entity,
                subject=lead.subject,
                answers=_names(lead, taken=names.keys()),
                document=lead.id,
                sentence=opening,
                evidence="prose",
                slots={"description": lead.description},
            )


def _is_telling(lead: Lead) -> bool:
    words = lead.description.split()
    if (
        len(words) < MIN_WORDS
        or len(_content(lead.description)) < MIN_CONTENT_WORDS
        or re.search(r"[\d\"]", lead.description)
        or not lead.sentences
    ):
        return False
    name = {word[:_STEM] for word in _content(lead.name)}
    return 2 * len(name & {word[:_STEM] for word in _content(lead.description)}) <= len(name) - (len(name) == 1)


def _content(text: str) -> frozenset[str]:
    return frozenset(word for word in folded(text).split() if word not in _COMMON and len(word) > 2)


def _names(lead: Lead, taken: Collection[str]) -> tuple[str, ...]:
    """Return the name without its article, and the first other that the opening gives, unless it heads another lead."""
    bare = lead.name.removeprefix("The ")
    other = re.match(_ARTICLE + re.escape(lead.name) + _ALSO, lead.sentences[0], re.IGNORECASE)
    others = [other["other"]] if other and folded(other["other"]) not in taken else []
    return tuple(dict.fromkeys([bare, *others]))
