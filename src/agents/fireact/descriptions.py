"""What a question over two documents describes, and leaves to be found first.

    When was the creator of Emma born?               the creator of Emma
    Name the money of the one where Oslo is found.   the country where Oslo is found

These are the question's own words: who learns to take them from there can do so with words that were not taught.
"""

import re

_DESCRIPTIONS = (
    r"the (?:country|one) (?:in which|where) {name} (?:lies|is found)",
    r"the country that {name} belongs to",
    r"the (?:country|capital|creator) of (?:the )?{name}",
    r"the (?:country|one) around {name}",
    r"the (?:person|one) (?:who [^?]*?|behind ){name}",
    r"(?:the )?{name}'s (?:capital|creator)",
)
_PARTED = r"(the person) \w+ (who [^?]*?{name})"  # the person born who wrote Emma


def described(question: str, name: str) -> str | None:
    """Return the phrase of a question that stands for what is to be found first, or None where there is none.

    Args:
        question: Over two documents.
        name: What it names; the phrase holds it.
    """
    quoted = rf"{re.escape(name)}(?!\w)"
    if match := re.search(_PARTED.format(name=quoted), question, re.IGNORECASE):
        return f"{match[1]} {match[2]}"
    match = re.search("|".join(_DESCRIPTIONS).format(name=quoted), question, re.IGNORECASE)
    if match is None:
        return None
    phrase = re.sub(r"^The ", "the ", match[0])
    return re.sub(r"^the one (in which|where|around)", r"the country \1", phrase)
