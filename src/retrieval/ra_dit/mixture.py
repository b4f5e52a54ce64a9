"""Parallel in-context retrieval augmentation (section 2.1): k passages, each in a prompt of its own, mixed.

    p(y | x) = sum_{c in C'} p_LM(y | c o x) p_R(c | x)                                                  Eq. 2
    log p    = logsumexp_c [ log p_LM(y | c o x) + log p_R(c | x) ]           p_R: softmax of the scores of the top k

Multiple choice weighs what each passage gives the options. Generation decodes from every prompt by itself and scores
every answer that came of it under the mixture: tokens are not mixed on the way. Other ways to read the same passages
are choices: only the first, all in one prompt, equal weights (REPLUG), none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float

from ...errors import OctoberError
from ...language_models import LanguageModel, Rescored
from ...language_models.base import same_length
from ...language_models.pair_scores import log_likelihoods, pair_scores
from .lsr import log_distribution
from .prompts import Example, answer_text, with_background

Strategy = Literal["mixture", "uniform", "top_1", "concatenation", "no_retrieval"]
OptionScore = Literal["nll", "nll_char", "nll_token", "nll_compl"]

_COMPLETION_PROMPT = "Answer:"  # nll_compl divides by what an option has behind this alone


@dataclass(frozen=True)
class Reading:
    """What is asked, and what was retrieved for it.

    Attributes:
        example: Or its instruction alone.
        passages: Texts, as they stand in the background field, best first; there may be none.
        scores: The retriever's.

    Raises:
        OctoberError: As many passages as there are no scores.
    """

    example: Example | str
    passages: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.passages) != len(self.scores):
            raise OctoberError(f"{len(self.passages)} passages and {len(self.scores)} scores: give one for each")


@dataclass(frozen=True)
class Mixed:
    """An answer, and how it came about.

    Attributes:
        text: The best candidate's.
        log_probability: Of it under the mixture (nats; of an option as it is scored).
        candidates: All different ones: what the prompts wrote, or the options.
        log_probabilities: Of each candidate under the mixture.
        log_weights: log p_R of each prompt.
        by_prompt: Of each prompt, each candidate's log-probability.
        written: Of each prompt, the candidate that it wrote, or likes best.
    """

    text: str
    log_probability: float
    candidates: tuple[str, ...]
    log_probabilities: tuple[float, ...]
    log_weights: tuple[float, ...]
    by_prompt: tuple[tuple[float, ...], ...]
    written: tuple[str, ...]


@dataclass(frozen=True)
class Ensemble:
    """A language model that reads retrieved passages.

    Attributes:
        model: Any.
        strategy: `mixture` is Eq. 2; `uniform` gives all passages one weight, `top_1` reads the first, `concatenation`
            all of them in one prompt, `no_retrieval` none. Without passages all read the example alone.
        temperature: Of p_R: what the retriever's scores are divided by.
        head: Demonstrations in front of every prompt, see `few_shot_head`; encoded once.

    Raises:
        OctoberError: An unknown strategy, or a temperature that is not above 0.
    """

    model: LanguageModel
    strategy: Strategy = "mixture"
    temperature: float = 1.0
    head: str = ""

    def __post_init__(self) -> None:
        if self.strategy not in get_args(Strategy):
            raise OctoberError(f"strategy={self.strategy!r}: must be one of {', '.join(get_args(Strategy))}")
        if not self.temperature > 0:
            raise OctoberError(f"temperature={self.temperature}: must be above 0")

    def prompts(self, reading: Reading) -> list[str]:
        """Return what the model reads."""
        instruction = reading.example if isinstance(reading.example, str) else reading.example.instruction
        if self.strategy == "no_retrieval":
            return [self.head + instruction]
        texts: Sequence[str | None] = reading.passages or [None]
        if self.strategy == "top_1":
            texts = texts[:1]
        elif self.strategy == "concatenation" and reading.passages:
            texts = ["\n".join(reading.passages)]
        return [self.head + with_background(reading.example, text) for text in texts]

    def log_weights(self, reading: Reading) -> Float[torch.Tensor, " prompts"]:
        """Return the logarithms of the prompts' weights, which sum to 1 (float64)."""
        if len(reading.passages) < 2 or self.strategy in ("top_1", "concatenation", "no_retrieval"):
            return torch.zeros(1, dtype=torch.float64)
        scores = torch.tensor(reading.scores, dtype=torch.float64)
        return log_distribution(torch.zeros_like(scores) if self.strategy == "uniform" else scores, self.temperature)

    def answers(
        self, readings: Sequence[Reading], *, max_new_tokens: int, stop: Sequence[str] = ("\n",)
    ) -> list[Mixed]:
        """Decode from every prompt, greedily; of all that was written return what is likeliest under the mixture.

        All prompts go to the model at once. A text's probability includes that it ends there; one that was written in
        several ways (with another end, in other tokens) has the sum of theirs.

        Args:
            readings: Questions with their passages.
            max_new_tokens: Of an answer.
            stop: Strings that end it.

        Raises:
            OctoberError: As `LanguageModel.generate`.
        """
        groups = [self.prompts(reading) for reading in readings]
        found = self.model.generate_and_rescore(groups, max_new_tokens=max_new_tokens, stop=stop)
        return [self._answer(reading, each) for reading, each in zip(readings, found, strict=True)]

    def choices(
        self, readings: Sequence[Reading], options: Sequence[Sequence[str]], *, score: OptionScore = "nll"
    ) -> list[Mixed]:
        """Return for each question the option with the highest weighted average of its probabilities.

        Args:
            readings: Questions with their passages.
            options: Of each question, without white space in front.
            score: What an option's probability is: `nll` the text's, `nll_char` and `nll_token` that of a character or
                token on (geometric) average, `nll_compl` the text's over its probability behind 'Answer:' alone.

        Raises:
            OctoberError: A question without options, an unknown score, or as `LanguageModel.score`.
        """
        if score not in get_args(OptionScore):
            raise OctoberError(f"score={score!r}: must be one of {', '.join(get_args(OptionScore))}")
        same_length("readings", readings, "lists of options", options)
        for reading, some in zip(readings, options, strict=True):
            if not some:
                raise OctoberError(f"no options for {str(reading.example)[:60]!r}: there is nothing to choose from")
        values = iter(self._option_scores(readings, options, score))
        mixed = []
        for reading, some in zip(readings, options, strict=True):
            rows = [[next(values) for _ in some] for _ in self.prompts(reading)]
            likes = [some[max(range(len(some)), key=row.__getitem__)] for row in rows]
            mixed.append(self._mixed(reading, tuple(some), torch.tensor(rows, dtype=torch.float64), likes))
        return mixed

    def _answer(self, reading: Reading, found: Rescored) -> Mixed:
        texts = [completion.text.strip() for completion in found.candidates]
        values = torch.tensor(found.log_probabilities, dtype=torch.float64)
        columns = [
            values[:, [place for place, other in enumerate(texts) if other == text]].logsumexp(dim=1)
            for text in dict.fromkeys(texts)
        ]
        written = [texts[place] for place in found.written]
        return self._mixed(reading, tuple(dict.fromkeys(texts)), torch.stack(columns, dim=1), written)

    def _mixed(
        self,
        reading: Reading,
        candidates: tuple[str, ...],
        values: Float[torch.Tensor, "prompts candidates"],
        written: Sequence[str],
    ) -> Mixed:
        log_weights = self.log_weights(reading)
        mixed = mixed_log_probabilities(values, log_weights).tolist()
        best = max(range(len(candidates)), key=mixed.__getitem__)
        by_prompt = tuple(tuple(row) for row in values.tolist())
        return Mixed(
            candidates[best],
            mixed[best],
            candidates,
            tuple(mixed),
            tuple(log_weights.tolist()),
            by_prompt,
            tuple(written),
        )

    def _option_scores(
        self, readings: Sequence[Reading], options: Sequence[Sequence[str]], score: OptionScore
    ) -> list[float]:
        """Return the logarithms of what is averaged: of each question, of each prompt, each option's."""
        asked = [
            (prompt, option)
            for reading, some in zip(readings, options, strict=True)
            for prompt in self.prompts(reading)
            for option in some
        ]
        found = pair_scores(self.model, [(prompt, answer_text(option, prompt)) for prompt, option in asked])
        totals = [each.total for each in found]
        if score == "nll":
            return totals
        if score == "nll_compl":
            alone = log_likelihoods(
                self.model, [(_COMPLETION_PROMPT, answer_text(option, _COMPLETION_PROMPT)) for _, option in asked]
            )
            return [total - other for total, other in zip(totals, alone, strict=True)]
        lengths = (
            [len(option) for _, option in asked]
            if score == "nll_char"
            else [len(each.log_probabilities) for each in found]
        )
        return [total / length for total, length in zip(totals, lengths, strict=True)]


def mixed_log_probabilities(
    log_likelihoods: Float[torch.Tensor, "prompts candidates"], log_weights: Float[torch.Tensor, " prompts"]
) -> Float[torch.Tensor, " candidates"]:
    """Return log p(y | x) of each candidate (Eq. 2).

    Args:
        log_likelihoods: log p_LM of each candidate behind each prompt.
        log_weights: log p_R of each prompt's passage.
    """
    return (log_likelihoods + log_weights[:, None]).logsumexp(dim=0)
