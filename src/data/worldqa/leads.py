"""The leads of Wikipedia's vital articles as documents, with the years of a life where the description has them.

The package's leads have lost the parenthesis of birth and death that follows a person's name; the short description
keeps it, 'German composer (1685–1750)'. It opens the document in the form in which an encyclopedia heads its entries:

    Johann Sebastian Bach (1685–1750). Johann Sebastian Bach was a German composer …
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import nupunkt

from ..documents import Document
from ..lives import Life, life_of
from ..offline import verified
from ..people import PACKAGE, SUMMARIES, TOPICS, without_disambiguation
from .names import folded

_SPAN = re.compile(r"\([^()]*\d[^()]*\)?$")
_BORN = re.compile(r"\(born (?P<year>\d{4})\)$", re.IGNORECASE)


@dataclass(frozen=True)
class Lead:
    """One article's lead.

    Attributes:
        title: The article's.
        prose: The lead itself, white space made single.
        description: The article's short description; may be empty.
        topic: Of the list of vital articles.
    """

    title: str
    prose: str
    description: str
    topic: str

    @property
    def name(self) -> str:
        """The title without what tells it from its namesakes."""
        return without_disambiguation(self.title)

    @property
    def entity(self) -> str:
        """What decides the split."""
        return folded(self.title)

    @property
    def id(self) -> str:
        """The document's id."""
        return f"lead:{self.title}"

    @property
    def is_person(self) -> bool:
        """Whether the topic is people and the description has a life in it."""
        return self.topic in TOPICS and (self.life is not None or self.birth_year is not None)

    @cached_property
    def life(self) -> Life | None:
        """Years of birth and death."""
        return life_of(self.description, self.prose) if self.topic in TOPICS else None

    @cached_property
    def birth_year(self) -> int | None:
        """The year of birth of somebody alive."""
        match = _BORN.search(self.description) if self.topic in TOPICS else None
        return int(match["year"]) if match else None

    @property
    def heading(self) -> str:
        """'Johann Sebastian Bach (1685–1750).'; empty where no life is known."""
        span = _SPAN.search(self.description)
        if span is None or not self.is_person:
            return ""
        return f"{self.name} {span[0].removesuffix(')')})."

    @property
    def text(self) -> str:
        """The document's text."""
        return " ".join(filter(None, [self.heading, self.prose]))

    @cached_property
    def sentences(self) -> Sequence[str]:
        """The sentences of the prose."""
        return tuple(
            self.prose[start:stop].strip()
            for start, stop in nupunkt.sent_spans(self.prose)
            if self.prose[start:stop].strip()
        )

    @cached_property
    def subject(self) -> str:
        """The name as it stands within a sentence: 'the Boxer Rebellion', 'an emu', 'gorillas', 'Mount Fuji'."""
        opening = re.match(
            rf"(?:(?P<article>The|An|A) )?(?P<name>{re.escape(self.name)}(?:e?s)?)\b", self.prose, re.IGNORECASE
        )
        name = self.name + (opening["name"][len(self.name) :] if opening else "")
        lower = name[:1].lower() + name[1:]
        # A common noun is written small wherever it does not open a sentence.
        if self.description.startswith("Chemical element") or re.search(rf"(?<=[\w,] ){re.escape(lower)}", self.prose):
            name = lower
        if name.endswith(" language"):
            return f"the {self.name}"
        article = opening["article"] if opening else None
        return name if article is None or name.lower().startswith("the ") else f"{article.lower()} {name}"

    def document(self) -> Document:
        """Return the lead as a document."""
        return Document(self.id, self.title, self.text, PACKAGE)


def load_leads() -> list[Lead]:
    """Return the 10,033 leads in the package's order.

    Raises:
        OctoberError: The package's file is missing or damaged.
    """
    articles = json.loads(verified(PACKAGE, SUMMARIES).read_bytes()).values()
    return [
        Lead(entry["title"], " ".join(entry["extract"].split()), (entry["description"] or "").strip(), entry["topic"])
        for entry in articles
    ]
