"""What the retriever learns from (section 2.3): text without labels, and instruction examples, at 95 to 5.

A chunk of unlabelled text is cut in two: its first half asks, and is to be continued by the second. (The paper's chunks
have 100 tokens, of which the first 50 are x and the last 50 y.) The chunk itself would tell the model everything, so it
is never retrieved for its own half.
"""

import random
from collections.abc import Collection, Sequence
from typing import NamedTuple

from ...errors import OctoberError
from ..passages import Passage
from .prompts import Example


class RetrieverExample(NamedTuple):
    """An example, and the ids of passages that must not be retrieved for it."""

    example: Example
    hidden: tuple[str, ...] = ()


def split_chunk(passage: Passage) -> RetrieverExample | None:
    """Return a passage's first half of words as the query that its second half continues; None for a single word."""
    words = passage.text.split()
    if len(words) < 2:
        return None
    first = " ".join(words[: len(words) // 2])
    second = " ".join(words[len(words) // 2 :])
    example = Example(task="corpus", family="unsupervised", instruction=first, answer=second, query=first)
    return RetrieverExample(example, (passage.id,))


def corpus_examples(
    passages: Sequence[Passage],
    count: int,
    *,
    min_words: int = 20,
    seed: int = 0,
    forbidden: Collection[str] = frozenset(),
) -> list[RetrieverExample]:
    """Return random passages, cut in two; the same for one seed.

    Args:
        passages: A store, of which only the chosen ones are read.
        count: Examples.
        min_words: Shorter passages are passed over.
        seed: Of the choice.
        forbidden: Ids or titles of documents whose passages are passed over, say those that test questions are about.

    Raises:
        OctoberError: `count` is below 0, `min_words` below 2, or there are not so many passages of that length
            besides those that are forbidden.
    """
    if count < 0 or min_words < 2:
        raise OctoberError(f"count={count}, min_words={min_words}: must be at least 0 and 2")
    found: list[RetrieverExample] = []
    order = iter(random.Random(seed).sample(range(len(passages)), len(passages)))
    while len(found) < count:
        place = next(order, None)
        if place is None:
            others = f", those of {len(set(forbidden))} forbidden documents apart" if forbidden else ""
            raise OctoberError(f"count={count}: only {len(found)} passages have {min_words} words or more{others}")
        passage = passages[place]
        allowed = passage.document_id not in forbidden and passage.title not in forbidden
        example = split_chunk(passage) if allowed and len(passage.text.split()) >= min_words else None
        found += [] if example is None else [example]
    return found


def mixed_examples(
    passages: Sequence[Passage],
    instructions: Sequence[Example],
    count: int,
    *,
    instruction_share: float = 0.05,
    min_words: int = 20,
    seed: int = 0,
    forbidden: Collection[str] = frozenset(),
) -> list[RetrieverExample]:
    """Return unlabelled chunks and instruction examples in random order; the same for one seed.

    Args:
        passages: See `corpus_examples`.
        instructions: At least as many as their share wants.
        count: Of all examples.
        instruction_share: 0.05 in the paper, where 0.1 works alike; 0 and 1 are one kind alone.
        min_words: See `corpus_examples`.
        seed: Of the choice and the order.
        forbidden: See `corpus_examples`.

    Raises:
        OctoberError: A share that is none, too few instruction examples, or as `corpus_examples`.
    """
    wanted = num_instructions(count, instruction_share, len(instructions))
    generator = random.Random(seed)
    chosen = [RetrieverExample(example) for example in generator.sample(list(instructions), wanted)]
    chosen += corpus_examples(passages, count - wanted, min_words=min_words, seed=seed, forbidden=forbidden)
    generator.shuffle(chosen)
    return chosen


def num_instructions(count: int, share: float, there: int) -> int:
    """Return how many of so many examples are instructions.

    Args:
        count: Of all examples.
        share: That instructions have.
        there: Instruction examples to choose from.

    Raises:
        OctoberError: A share that is none, or too few instruction examples.
    """
    if not 0 <= share <= 1:
        raise OctoberError(f"instruction_share={share}: must be from 0 to 1")
    wanted = round(share * count)
    if wanted > there:
        raise OctoberError(
            f"instruction_share={share} of {count} examples wants {wanted} instruction examples; there are {there}"
        )
    return wanted
