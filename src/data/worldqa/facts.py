"""A fact: one thing that one sentence of one document says of one entity; questions are made of these."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import yaml

from .names import capitalised, chosen

Evidence = Literal["prose", "description", "template"]


@dataclass(frozen=True)
class Fact:
    """What a sentence says, and how a question names it.

    Attributes:
        kind: Of the questions that ask for it: 'capital', 'birth_year' …
        entity: Whom it is about, as a folded name: decides the split.
        subject: The entity's name within a sentence.
        answers: Ways to write what is asked for, the canonical one first; the sentence holds one of them.
        document: The id of the document.
        sentence: A sentence of the document, word for word.
        evidence: 'prose' of an article's lead, its short 'description', or a passage made from a 'template'.
        value: The answer as a number, where facts of the kind can be compared.
        target: What the answer stands for: a country's code, a person's entity; for questions over two documents.
        slots: What else the question's wording needs.
    """

    kind: str
    entity: str
    subject: str
    answers: tuple[str, ...]
    document: str
    sentence: str
    evidence: Evidence
    value: float | None = None
    target: str = ""
    slots: Mapping[str, str] = field(default_factory=dict)


@cache
def wordings(file: str) -> dict[str, dict[str, list[str]]]:
    """Return the wordings of `questions`, `country` or `city`: kind, then split, then the list to choose from."""
    text = (files("october.data.worldqa") / "wordings.yaml").read_text(encoding="utf-8")
    content: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return content[file]


def worded(file: str, kind: str, split: str, key: object, **slots: str) -> str:
    """Return a sentence in one of the split's wordings, picked by the key; `{Slot}` starts with a capital."""
    wording = chosen(wordings(file)[kind][split], file, kind, split, key)
    capitals = {capitalised(name): capitalised(value) for name, value in slots.items()}
    return capitalised(wording.format_map({**capitals, **slots}))
