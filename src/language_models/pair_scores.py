"""Scores of many pairs of a prompt and what follows it, equal pairs computed once."""

from collections.abc import Sequence

from .base import LanguageModel, Score


def pair_scores(model: LanguageModel, pairs: Sequence[tuple[str, str]]) -> list[Score]:
    """Return the score of each pair's continuation.

    Raises:
        OctoberError: As `LanguageModel.score`.
    """
    distinct = list(dict.fromkeys(pairs))
    if not distinct:
        return []
    scores = model.score([prompt for prompt, _ in distinct], [continuation for _, continuation in distinct])
    found = dict(zip(distinct, scores, strict=True))
    return [found[pair] for pair in pairs]


def log_likelihoods(model: LanguageModel, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """Return log p(continuation | prompt) (nats) of each pair.

    Raises:
        OctoberError: As `LanguageModel.score`.
    """
    return [score.total for score in pair_scores(model, pairs)]
