"""Names: how they are compared, which split an entity belongs to, how countries and languages are written."""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import TypeVar

from ..people import without_disambiguation

SPLITS = ("train", "dev", "test")
_SHARES = {"train": 0.7, "dev": 0.1, "test": 0.2}
_PLURAL_OR_COMMON = re.compile(
    r"\b(?:Islands|Republic|Kingdom|States|Emirates|Territor\w+|Isle|Netherlands|Philippines|Bahamas|Gambia|Maldives"
    r"|Comoros|Antilles|Seychelles)\b"
)

T = TypeVar("T")


@cache
def folded(name: str) -> str:
    """Return a name for comparison: no accents, case, punctuation, leading article or '(philosopher)'."""
    plain = unicodedata.normalize("NFKD", without_disambiguation(name)).encode("ascii", "ignore").decode()
    words = re.sub(r"[^a-z0-9]+", " ", plain.lower().replace("'", "")).split()
    return " ".join(words[1:] if len(words) > 1 and words[0] == "the" else words) or name.lower()


def fraction(*key: object) -> float:
    """Return a number in [0, 1) that depends on the key alone, evenly spread over keys."""
    digits = hashlib.sha256("\x1f".join(map(str, key)).encode()).hexdigest()[:13]
    return int(digits, 16) / 16**13


def chosen(options: Sequence[T], *key: object) -> T:
    """Return the option that the key picks."""
    return options[int(fraction(*key) * len(options))]


def split_of(entity: str, seed: int) -> str:
    """Return the split of an entity (its folded name): 70 % train, 10 % dev, 20 % test."""
    point = fraction(seed, entity)
    return "train" if point < _SHARES["train"] else "dev" if point < _SHARES["train"] + _SHARES["dev"] else "test"


def share_of(split: str, total: int) -> int:
    """Return how many of `total` questions a split is to have."""
    return round(total * _SHARES[split])


def with_article(country: str) -> str:
    """Return a country's name as it stands within a sentence: 'the Netherlands', 'Norway'."""
    bare = country.removeprefix("The ").strip()
    is_list = bare.startswith(("Heard", "South Georgia", "Svalbard"))
    return f"the {bare}" if _PLURAL_OR_COMMON.search(bare) and not is_list else bare


def capitalised(text: str) -> str:
    """Return the text with its first letter in capitals, the rest as it is."""
    return text[:1].upper() + text[1:]


def listed(items: Sequence[str]) -> str:
    """Return 'a', 'a and b', 'a, b and c'."""
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))
