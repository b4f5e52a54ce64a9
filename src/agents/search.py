"""Search: over the passages of an index, or through an engine that a user plugs in.

FireAct's search answers with one short text: what a search engine has in its answer box, else its first snippet. Over
an index that is the best passage, or the sentence of the best passages that has most of the query's words.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from ..errors import OctoberError
from .tools import RefusedArgument, ToolCall

if TYPE_CHECKING:
    from ..retrieval import Passage, PassageStore, Retriever

_WORD = re.compile(r"\w+")
_SHORTEST = 4  # letters of a word that also counts by its beginning: 'born' is none of 'bo', 'borders' is of 'border'


class SearchEngine(Protocol):
    """What a search stands on; a hosted one plugs in here. It may be asked from several threads at once."""

    def snippets(self, query: str, k: int) -> Sequence[str]:
        """Return up to k short texts for a query, the best first; an answer box, where there is one, before all."""


class SearchTool:
    """`search[query]`.

    Args:
        engine: Finds texts.
        k: How many the agent reads: 1 as in the paper; more are numbered and stand in one line.
        name: What stands before the bracket.

    Raises:
        OctoberError: `k` below 1.
    """

    def __init__(self, engine: SearchEngine, *, k: int = 1, name: str = "search") -> None:
        if k < 1:
            raise OctoberError(f"search.k={k}: must be at least 1")
        self.engine = engine
        self.k = k
        self.name = name

    @property
    def usage(self) -> str:
        """How it is called."""
        return f"{self.name}[query]"

    def run(self, call: ToolCall) -> str | None:
        """Return what the engine finds, None where that is nothing."""
        query = " ".join(call.argument.split())
        if not query:
            raise RefusedArgument(f"The query is empty. Write {self.usage}.")
        found = [text for text in self.engine.snippets(query, self.k) if text.strip()][: self.k]
        return numbered(found) if found else None


def numbered(texts: Sequence[str]) -> str:
    """Return what an agent reads of several snippets; one stands by itself."""
    if len(texts) == 1:
        return texts[0]
    return " ".join(f"({number}) {text}" for number, text in enumerate(texts, start=1))


class PassageSearch:
    """A `SearchEngine` over passages.

    Args:
        retriever: Finds passages.
        sentences: Whether a snippet is one sentence with its passage's title in front, and not the whole passage.
        depth: Passages whose sentences are compared for the first snippet; the sentence that shares the rarest words
            with the query comes first. More snippets are the further passages'.
    """

    def __init__(self, retriever: "Retriever", *, sentences: bool = False, depth: int = 1) -> None:
        if depth < 1:
            raise OctoberError(f"search.depth={depth}: must be at least 1")
        self.retriever = retriever
        self.sentences = sentences
        self.depth = depth

    def snippets(self, query: str, k: int) -> list[str]:
        """Return the texts of the best passages."""
        (found,) = self.retriever.search([query], max(k, self.depth))
        passages = [hit.passage for hit in found]
        if not self.sentences:
            return [titled(passage) for passage in passages[:k]]
        return best_sentences(query, passages)[:k]


class PassageTexts:
    """The snippets of a store's passages, one by one, for who draws some at random.

    Args:
        store: Of passages.
        sentences: Whether a snippet is one sentence, here the first, as with `PassageSearch`.
    """

    def __init__(self, store: "PassageStore", *, sentences: bool = False) -> None:
        self._store = store
        self._sentences = sentences

    def __len__(self) -> int:
        return len(self._store)

    def __getitem__(self, place: int) -> str:
        passage = self._store[place]
        return next(iter(best_sentences("", [passage])), "") if self._sentences else titled(passage)


def titled(passage: "Passage") -> str:
    """Return what an agent reads of a passage: its text, the title in front where the text does not begin with it."""
    if not passage.title or passage.text.startswith(passage.title):
        return passage.text
    return f"{passage.title}: {passage.text}"


def best_sentences(query: str, passages: Sequence["Passage"]) -> list[str]:
    """Return each passage's best sentence, titled; the best of all first, of equal ones the better passage's.

    A sentence is worth the sum over the query's words that it shares of log(1 + N / n), where n of the N sentences
    share the word; the words of its passage's title count as its own.
    """
    from ..retrieval import sentence_spans

    asked = _words(query)
    rows = [(passage, passage.text[start:stop]) for passage in passages for start, stop in sentence_spans(passage.text)]
    shared = [asked & _words(f"{passage.title} {sentence}") for passage, sentence in rows]
    counts = Counter(word for words in shared for word in words)
    values = [sum(math.log(1 + len(rows) / counts[word]) for word in sorted(words)) for words in shared]
    best: dict[str, int] = {}
    for place, (passage, _) in enumerate(rows):
        if passage.id not in best or values[place] > values[best[passage.id]]:
            best[passage.id] = place
    return [_titled_sentence(*rows[place]) for place in sorted(best.values(), key=lambda place: -values[place])]


def _titled_sentence(passage: "Passage", sentence: str) -> str:
    known = not passage.title or passage.title.lower() in sentence.lower()
    return sentence if known else f"{passage.title}: {sentence}"


def _words(text: str) -> set[str]:
    """Return a text's words in lower case; plurals as singulars."""
    words = {word.lower() for word in _WORD.findall(text)}
    return {word[:-1] if word.endswith("s") and len(word) > _SHORTEST else word for word in words}
