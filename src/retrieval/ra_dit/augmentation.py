"""Each example becomes k independent ones, one for each retrieved passage in its background field (section 2.3)."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ..hits import check_k
from ..retriever import Retrieved
from .prompts import Example, answer_text, with_background


class Searches(Protocol):
    """What finds passages: a `Retriever`."""

    def search(self, queries: Sequence[str], k: int) -> list[list[Retrieved]]:
        """Return the k best passages of each query."""


class Instance(NamedTuple):
    """An example with the passage in its background field; None leaves it its own background, if it has one."""

    example: Example
    passage: str | None = None

    @property
    def prompt(self) -> str:
        """What is read."""
        return with_background(self.example, self.passage)

    @property
    def learned(self) -> str:
        """What is to be written behind the prompt."""
        return answer_text(self.example.answer, self.prompt)


class Augmented(NamedTuple):
    """Examples with passages.

    Attributes:
        instances: In the order of the examples, the best passage first.
        num_searched: Examples that were searched for.
        num_without: Of these, the examples for which nothing was found; each is kept once, without a background.
        num_fewer: Of these, the examples for which something was found, but fewer than k passages.
    """

    instances: list[Instance]
    num_searched: int
    num_without: int
    num_fewer: int


def retrieved_examples(examples: Sequence[Example], retriever: Searches, k: int = 3) -> Augmented:
    """Return k instances of each example, or one where it has its own background or nothing to search for.

    A passage stands in the background as encoders read it: its title, then its text.

    Args:
        examples: Of any families.
        retriever: Asked once, with all queries.
        k: Passages for each; three in the paper.

    Raises:
        OctoberError: k is below 1, or as the retriever.
    """
    check_k(k)
    searched = [example.background is None and bool(example.query.strip()) for example in examples]
    queries = [example.query for example, wanted in zip(examples, searched, strict=True) if wanted]
    found = iter(retriever.search(queries, k) if queries else [])
    instances: list[Instance] = []
    counts: list[int] = []
    for example, wanted in zip(examples, searched, strict=True):
        passages = [hit.passage.titled_text for hit in next(found)] if wanted else []
        instances += [Instance(example, passage) for passage in passages] or [Instance(example)]
        counts += [len(passages)] if wanted else []
    return Augmented(instances, len(counts), counts.count(0), sum(0 < count < k for count in counts))
