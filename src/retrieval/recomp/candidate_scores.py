"""How much a candidate sentence helps a frozen language model M (section 3.1).

    language modelling     Score(M, y, [s; x]) = log p_M(y | s, x)
    questions              Score(M, y, [s; x]) = whether the answer that M writes after [s; x] is y

The likelihood of the gold answer scores questions as well, without steps; a model that is rarely right needs it.

All prompts of a call go to the model at once: it encodes the examples in front of them once, takes prompts of similar
length together, and computes logits for the answers' tokens alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from ...errors import OctoberError, check_text
from ...evaluation import answer_from, exact_match
from ...files import content_hash
from ...language_models import LanguageModel
from ...language_models.pair_scores import log_likelihoods
from .prompts import QuestionPrompt

Value = TypeVar("Value")


@dataclass(frozen=True)
class ScoringRequest:
    """Texts to be scored for one query.

    Attributes:
        query: A question, or the text before the target.
        targets: The answers that count as right, the canonical one first, or the one text that follows.
        candidates: Sentences, summaries; the empty text is the model without any.

    Raises:
        OctoberError: There are no targets, one is empty, or something is not UTF-8 text.
    """

    query: str
    targets: tuple[str, ...]
    candidates: tuple[str, ...]

    def __post_init__(self) -> None:
        check_text(self.query, "query")
        for kind, texts in (("target", self.targets), ("candidate", self.candidates)):
            for number, text in enumerate(texts):
                check_text(text, f"query {self.query[:40]!r}: {kind} {number}")
        if not self.targets or not all(self.targets):
            raise OctoberError(f"targets of {self.query[:40]!r} are empty: a score needs what is to be predicted")


class CandidateScorer(Protocol):
    """Scores candidates; the higher, the more they help."""

    def scores(self, requests: Sequence[ScoringRequest]) -> list[list[float]]:
        """Return a score for each candidate of each request."""
        ...

    def fingerprint(self) -> str:
        """Return what decides the scores, hashed."""
        ...


class AnswerMatch:
    """Whether the model's answer is exactly one of the right ones: 1 or 0.

    Args:
        model: The frozen model.
        prompt: How it is asked.
        max_new_tokens: Of an answer.
        model_fingerprint: Names the model in caches; `fingerprint` needs it.
    """

    def __init__(
        self, model: LanguageModel, prompt: QuestionPrompt, *, max_new_tokens: int = 16, model_fingerprint: str = ""
    ) -> None:
        self.model = model
        self.prompt = prompt
        self.max_new_tokens = max_new_tokens
        self._named = {"kind": "answer_match", "model": model_fingerprint, "new": max_new_tokens}

    def scores(self, requests: Sequence[ScoringRequest]) -> list[list[float]]:
        """Return 1 for candidates after which the answer is right, else 0."""
        answers = self.answers(requests)
        return [
            [float(exact_match(answer, request.targets)) for answer in written]
            for request, written in zip(requests, answers, strict=True)
        ]

    def answers(self, requests: Sequence[ScoringRequest]) -> list[list[str]]:
        """Return what the model answers after each candidate."""
        prompts = [self.prompt.prompt(request.query, text) for request in requests for text in request.candidates]
        distinct = list(dict.fromkeys(prompts))
        if not distinct:
            return [[] for _ in requests]
        written = self.model.generate(distinct, max_new_tokens=self.max_new_tokens, stop=self.prompt.stop)
        answer = {text: answer_from(found.text) for text, found in zip(distinct, written, strict=True)}
        return _rows([answer[text] for text in prompts], requests)

    def fingerprint(self) -> str:
        """Return what decides the scores, hashed.

        Raises:
            OctoberError: The model has no fingerprint.
        """
        return _hashed({**self._named, "prompt": self.prompt.prompt("?", "."), "stop": self.prompt.stop})


class AnswerLikelihood:
    """The log-probability (nats) of the canonical answer after evidence and question.

    Args:
        model: The frozen model.
        prompt: How it is asked.
        model_fingerprint: Names the model in caches; `fingerprint` needs it.
    """

    def __init__(self, model: LanguageModel, prompt: QuestionPrompt, *, model_fingerprint: str = "") -> None:
        self.model = model
        self.prompt = prompt
        self._named = {"kind": "answer_likelihood", "model": model_fingerprint}

    def scores(self, requests: Sequence[ScoringRequest]) -> list[list[float]]:
        """Return the answers' log-probabilities."""
        pairs = [
            (self.prompt.prompt(request.query, text), self.prompt.continuation(request.targets[0]))
            for request in requests
            for text in request.candidates
        ]
        return _rows(log_likelihoods(self.model, pairs), requests)

    def fingerprint(self) -> str:
        """Return what decides the scores, hashed.

        Raises:
            OctoberError: The model has no fingerprint.
        """
        return _hashed({**self._named, "prompt": self.prompt.prompt("?", ".")})


class ContinuationLikelihood:
    """The log-probability (nats) of the text that follows the query, a candidate standing in front of the query.

    Args:
        model: The frozen model.
        separator: Stands between a candidate and the query.
        model_fingerprint: Names the model in caches; `fingerprint` needs it.
    """

    def __init__(self, model: LanguageModel, *, separator: str = "\n", model_fingerprint: str = "") -> None:
        self.model = model
        self.separator = separator
        self._named = {"kind": "continuation_likelihood", "model": model_fingerprint, "separator": separator}

    def scores(self, requests: Sequence[ScoringRequest]) -> list[list[float]]:
        """Return the continuations' log-probabilities."""
        pairs = [
            (text + self.separator + request.query if text else request.query, request.targets[0])
            for request in requests
            for text in request.candidates
        ]
        return _rows(log_likelihoods(self.model, pairs), requests)

    def fingerprint(self) -> str:
        """Return what decides the scores, hashed.

        Raises:
            OctoberError: The model has no fingerprint.
        """
        return _hashed(self._named)


def _hashed(named: Mapping[str, Any]) -> str:
    if not named["model"]:
        raise OctoberError("model_fingerprint is empty: labels of one model would be read as another's; name the model")
    return content_hash(dict(named))


def _rows(values: Sequence[Value], requests: Sequence[ScoringRequest]) -> list[list[Value]]:
    """Divide values among requests, one for each candidate."""
    rest = iter(values)
    return [[next(rest) for _ in request.candidates] for request in requests]
