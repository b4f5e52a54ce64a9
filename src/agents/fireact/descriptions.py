"""What a question over two documents describes, and leaves to be found first.

    When was the creator of Emma born?               the creator of Emma           When was Jane Austen born?
    Name the money of the one where Oslo is found.   the country where Oslo is found   Name the money of Norway.

These are the question's own words: who learns to take them from there can do so with words that were not taught. With
what was found in their place, the question is one over a single document.
"""

import re
from typing import NamedTuple

from ...data.worldqa.names import capitalised

_DESCRIPTIONS = (
    r"the (?:country|one) (?:in which|where) {name} (?:lies|is found)",
    r"the country that {name} belongs to",
    r"the (?:country|capital|creator) of (?:the )?{name}",
    r"the (?:country|one) around {name}",
    r"the (?:person|one) (?:who [^?]*?|behind ){name}",
    r"(?:the )?{name}'s (?:capital|creator)",
)
_PARTED = r"(the person) (\w+) (who [^?]*?{name})"  # the person born who wrote Emma


class Description(NamedTuple):
    """A phrase of a question that stands for what is to be found first.

    Attributes:
        phrase: In the question's words, as it could be searched for.
        before: What precedes it in the question.
        after: What follows it.
    """

    phrase: str
    before: str
    after: str

    def asked_of(self, found: str) -> str:
        """Return the question with what was found in place of the phrase."""
        return capitalised(f"{self.before}{found}{self.after}")


def described(question: str, name: str) -> Description | None:
    """Return the phrase of a question that stands for what is to be found first, or None where there is none.

    Args:
        question: Over two documents.
        name: What it names; the phrase holds it.
    """
    quoted = rf"{re.escape(name)}(?!\w)"
    if match := re.search(_PARTED.format(name=quoted), question, re.IGNORECASE):
        return Description(f"{match[1]} {match[3]}", question[: match.start()], f" {match[2]}{question[match.end() :]}")
    match = re.search("|".join(_DESCRIPTIONS).format(name=quoted), question, re.IGNORECASE)
    if match is None:
        return None
    phrase = re.sub(r"^The ", "the ", match[0])
    phrase = re.sub(r"^the one (in which|where|around)", r"the country \1", phrase)
    return Description(phrase, question[: match.start()], question[match.end() :])
