"""Whether documents hold what a sentence says, judged without people.

    copied        it stands in a document, word for word
    supported     at least some share of its content words stands in one document, and the documents make it likelier,
                  by more than a bound (nats per token):
                      gain(s) = [ log p(s | documents, query) - log p(s | query) ] / tokens of s
    unsupported   all others

The bound is what documents of other queries do: a high quantile of their gains. They make a sentence likelier too,
since they show what such sentences look like. Too high a quantile fails sentences that are held, too low a one lets
strange ones pass if their words fit: both are counted beside the summaries.

What this cannot see: a sentence that takes two documents' words together; a wrong word among many right ones (another
year, another name, a "not"); what is true and stands nowhere; and whether a summary leaves out what matters. A model
that finds every sentence likely, or none, judges nothing: so gold sentences and strange ones are judged beside them.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from october.evaluation import contains_answer
from october.language_models import LanguageModel
from october.retrieval import Passage, split_sentences
from october.retrieval.recomp import document_text, joined_documents
from october.retrieval.recomp.words import STOP_WORDS, words_of

Verdict = Literal["copied", "supported", "unsupported"]
VERDICTS: tuple[Verdict, ...] = ("copied", "supported", "unsupported")


class Statement(NamedTuple):
    """A sentence with the query that it was written for, and the documents that must hold it."""

    sentence: str
    query: str
    documents: tuple[Passage, ...]


class Measured(NamedTuple):
    """What is known of statements before any bound is: one number each."""

    copied: list[bool]
    overlap: list[float]
    gain: list[float]


def statements_of(
    summaries: Sequence[str], queries: Sequence[str], documents: Sequence[Sequence[Passage]]
) -> list[Statement]:
    """Return the sentences of summaries; what holds no word is none."""
    return [
        Statement(sentence, query, tuple(found))
        for summary, query, found in zip(summaries, queries, documents, strict=True)
        for sentence in split_sentences(summary)
        if words_of(sentence)
    ]


def with_documents_of_others(statements: Sequence[Statement], step: int) -> list[Statement]:
    """Return sentences and queries with the documents of another statement that has none of theirs.

    Args:
        statements: To take documents from as well; one for which there is no such other is left out.
        step: Where the search for another begins: so many places on.
    """
    found = []
    for place, one in enumerate(statements):
        own = {document.id for document in one.documents}
        later = (statements[(place + step + more) % len(statements)] for more in range(len(statements)))
        other = next((each for each in later if own.isdisjoint(document.id for document in each.documents)), None)
        if other is not None:
            found.append(one._replace(documents=other.documents))
    return found


def measured(model: LanguageModel, statements: Sequence[Statement]) -> Measured:
    """Return what decides the verdicts on statements."""
    return Measured(
        [is_copied(one.sentence, one.documents) for one in statements],
        [overlap(one.sentence, one.documents) for one in statements],
        gains(model, statements),
    )


def is_copied(sentence: str, documents: Sequence[Passage]) -> bool:
    """Return whether a sentence stands in a document; case, white space and its last mark make no difference.

    A page's title in front of it, as extractive summaries have it, does not either.
    """
    plain = sentence.strip().rstrip(".!?")
    return any(
        contains_answer(document_text(document), [plain.removeprefix(f"{document.title}: ")]) for document in documents
    )


def overlap(sentence: str, documents: Sequence[Passage]) -> float:
    """Return the largest share of a sentence's distinct content words that stands in one document; 0 without any."""
    words = set(words_of(sentence)) - STOP_WORDS
    if not words:
        return 0.0
    shares = [len(words & set(words_of(document_text(document)))) / len(words) for document in documents]
    return max(shares, default=0.0)


def gains(model: LanguageModel, statements: Sequence[Statement]) -> list[float]:
    """Return how much likelier documents make each sentence (nats per token)."""
    if not statements:
        return []
    plain = [f"{one.query}\n" for one in statements]
    after = [f"{joined_documents(one.documents)}\n\n{start}" for one, start in zip(statements, plain, strict=True)]
    sentences = [one.sentence for one in statements]
    scores = model.score([*after, *plain], [*sentences, *sentences])
    means = [float(np.mean(score.log_probabilities)) for score in scores]
    return [with_them - without for with_them, without in zip(means, means[len(statements) :], strict=False)]


def bound_of(shuffled: Sequence[float], quantile: float) -> float:
    """Return the gain that only so small a share of sentences reaches with documents of other queries."""
    return float(np.quantile(shuffled, quantile))


def verdicts(found: Measured, bound: float, min_overlap: float, *, count_copies: bool = True) -> list[Verdict]:
    """Return the verdicts on statements.

    Args:
        found: What was measured.
        bound: That a gain must exceed.
        min_overlap: That an overlap must reach.
        count_copies: Without it copies are judged like all others: a check of the other two rules.
    """
    rows = zip(*found, strict=True)
    return [
        "copied" if copied and count_copies else "supported" if share >= min_overlap and gain > bound else "unsupported"
        for copied, share, gain in rows
    ]
