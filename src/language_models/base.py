"""The interface that every language model has, local or served."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..errors import OctoberError

FinishReason = Literal["stop", "length", "end"]


@dataclass(frozen=True)
class Completion:
    """What a model wrote after a prompt.

    Attributes:
        text: The generated text, cut before the stop string.
        token_ids: All generated tokens, those of the stop string and the end token included; empty where an engine
            does not tell them.
        log_probabilities: Of each generated token under the model at temperature 1 (nats); None where an engine gives
            none.
        finish_reason: `stop` (a stop string), `end` (the model's end token) or `length` (`max_new_tokens`).
        num_prompt_tokens: Tokens of the prompt, special ones included.
        stop: The stop string that ended it.
    """

    text: str
    token_ids: tuple[int, ...]
    log_probabilities: tuple[float, ...] | None
    finish_reason: FinishReason
    num_prompt_tokens: int
    stop: str | None = None


@dataclass(frozen=True)
class Rescored:
    """What the prompts of a group were continued with, and what every one of them thinks of each continuation.

    Attributes:
        candidates: The different continuations, by the first prompt that wrote each.
        written: Of each prompt, which of them it wrote.
        log_probabilities: Of each prompt, each candidate's (nats), the stop string or end token behind it included;
            -inf for one without any text, where an engine cannot be asked for it.
    """

    candidates: tuple[Completion, ...]
    written: tuple[int, ...]
    log_probabilities: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Score:
    """Log-probabilities (nats) of a continuation's tokens, given the prompt and the tokens before.

    Prompt and continuation are tokenised together; the continuation's tokens are those that reach beyond the prompt's
    last character. Where a token spans the border, its log-probability counts whole.

    Attributes:
        tokens: As the tokenizer writes them.
        token_ids: Empty where an engine does not tell them.
        log_probabilities: Of each token.
        likeliest: Whether no token is likelier in its place; None where an engine does not tell.
    """

    tokens: tuple[str, ...]
    token_ids: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    likeliest: tuple[bool, ...] | None = None

    @property
    def total(self) -> float:
        """The continuation's log-probability."""
        return sum(self.log_probabilities)


@dataclass
class Session:
    """A text that grows in turns: what a caller appends, and what the model writes.

    Models that keep a cache between turns derive from it.
    """

    text: str


class LanguageModel(ABC):
    """Batched generation and scoring, and sessions for methods that call a model many times.

    Results come in the order of the inputs.
    """

    @abstractmethod
    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> list[Completion]:
        """Continue each prompt.

        Args:
            prompts: Texts; the model's start token is put in front.
            max_new_tokens: At most so many tokens each.
            stop: Strings that end a text, wherever token borders fall; they are cut off.
            temperature: 0 takes the likeliest token, above 0 samples.
            top_p: Sample from the likeliest tokens that together have this probability.
            seed: A prompt's samples depend on it, on the prompt, and on how many equal prompts stand before it in
                the call, not on the other prompts.

        Raises:
            OctoberError: An argument is out of range, or a prompt does not fit the model's context.
        """

    @abstractmethod
    def score(self, prompts: Sequence[str], continuations: Sequence[str]) -> list[Score]:
        """Return the log-probabilities of each continuation after its prompt.

        Raises:
            OctoberError: Different numbers of prompts and continuations, an empty continuation, or one that does not
                fit the model's context.
        """

    def fits(self, prompts: Sequence[str], continuations: Sequence[str]) -> list[bool]:
        """Return whether `score` takes each prompt with its continuation: whether the model's context holds both.

        Nothing is computed. This default knows no context, and says that all fit.

        Raises:
            OctoberError: Different numbers of prompts and continuations, or an empty continuation.
        """
        check_scoring(prompts, continuations)
        return [True] * len(prompts)

    def generate_and_rescore(
        self, groups: Sequence[Sequence[str]], *, max_new_tokens: int, stop: Sequence[str] = ()
    ) -> list[Rescored]:
        """Continue all prompts of all groups greedily, and score what one wrote behind every other of its group.

        This default generates and then scores texts; a model that keeps what it read need not read prompts twice.

        Raises:
            OctoberError: As `generate`; or a group has no prompts.
        """
        check_groups(groups)
        prompts = [prompt for group in groups for prompt in group]
        completions = iter(self.generate(prompts, max_new_tokens=max_new_tokens, stop=stop))
        written = [[next(completions) for _ in group] for group in groups]
        texts = [[completion.text + (completion.stop or "") for completion in row] for row in written]
        pairs = [
            (prompt, text) for group, row in zip(groups, texts, strict=True) for prompt in group for text in row if text
        ]
        distinct = list(dict.fromkeys(pairs))
        scores = self.score([prompt for prompt, _ in distinct], [text for _, text in distinct]) if distinct else []
        totals = {pair: score.total for pair, score in zip(distinct, scores, strict=True)}
        found = []
        for group, row, completed in zip(groups, texts, written, strict=True):
            places = {text: place for place, text in enumerate(dict.fromkeys(row))}
            values = tuple(tuple(totals.get((prompt, text), -math.inf) for text in places) for prompt in group)
            candidates = tuple(completed[row.index(text)] for text in places)
            found.append(Rescored(candidates, tuple(places[text] for text in row), values))
        return found

    def start(self, prefix: str) -> Session:
        """Open a session that begins with a text."""
        return Session(prefix)

    def step(
        self,
        sessions: Sequence[Session],
        appended_texts: Sequence[str],
        *,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> list[Completion]:
        """Append a text to each session and let the model continue it; its text becomes part of the session.

        A stop string does not. This default sends the whole text again.

        Raises:
            OctoberError: As `generate`; or different numbers of sessions and texts.
        """
        same_length("sessions", sessions, "appended_texts", appended_texts)
        prompts = [session.text + text for session, text in zip(sessions, appended_texts, strict=True)]
        completions = self.generate(
            prompts, max_new_tokens=max_new_tokens, stop=stop, temperature=temperature, top_p=top_p, seed=seed
        )
        for session, prompt, completion in zip(sessions, prompts, completions, strict=True):
            session.text = prompt + completion.text
        return completions


def check_generation(
    prompts: Sequence[str], max_new_tokens: int, stop: Sequence[str], temperature: float, top_p: float
) -> None:
    """Check what every model's `generate` is given.

    Raises:
        OctoberError: One line that names the argument, its value and what is allowed.
    """
    _not_one_string("prompts", prompts)
    if max_new_tokens < 1:
        raise OctoberError(f"max_new_tokens={max_new_tokens}: must be at least 1")
    if not temperature >= 0:
        raise OctoberError(f"temperature={temperature}: must be 0 (greedy) or above")
    if not 0 < top_p <= 1:
        raise OctoberError(f"top_p={top_p}: must be above 0 and at most 1")
    if isinstance(stop, str) or not all(stop):
        raise OctoberError(f"stop={stop!r}: must be a list of strings, none of them empty")


def check_groups(groups: Sequence[Sequence[str]]) -> None:
    """Raise `OctoberError` for the first group of prompts that is empty."""
    for index, group in enumerate(groups):
        if not group:
            raise OctoberError(f"group {index} has no prompts: there is nothing to continue")


def check_scoring(prompts: Sequence[str], continuations: Sequence[str]) -> None:
    """Check what every model's `score` is given.

    Raises:
        OctoberError: Different numbers of prompts and continuations, or an empty continuation.
    """
    _not_one_string("prompts", prompts)
    _not_one_string("continuations", continuations)
    same_length("prompts", prompts, "continuations", continuations)
    for index, continuation in enumerate(continuations):
        if not continuation:
            raise OctoberError(f"continuation {index} is empty: there is nothing to score")


def check_context(lengths: Sequence[int], context: int | None, what: str, addition: str = "") -> None:
    """Raise `OctoberError` for the first text, a `what`, whose tokens are more than a model's context holds."""
    for index, length in enumerate(lengths):
        if context is not None and length > context:
            raise OctoberError(
                f"{what} {index}{addition} has {length} tokens, more than the model's context of {context}"
            )


def same_length(name: str, items: Sequence[object], other_name: str, others: Sequence[object]) -> None:
    """Raise `OctoberError` unless two arguments have the same number of items."""
    if len(items) != len(others):
        raise OctoberError(f"{len(items)} {name} and {len(others)} {other_name}: their numbers must be equal")


def _not_one_string(name: str, texts: Sequence[str]) -> None:
    if isinstance(texts, str):
        raise OctoberError(f"{name}={texts[:40]!r}: a list of texts is needed, this is one text")
