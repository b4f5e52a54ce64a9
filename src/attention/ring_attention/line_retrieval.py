"""The line retrieval task of section 5.4 and Figure 3, with a word for a token: find a line among many by its name.

    line NAME CONTENT   line NAME CONTENT   …   question NAME CONTENT   question NAME CONTENT   …
                                                              ^ to be predicted, at NAME

A third of a context are questions, on lines anywhere in it, each asked once. Names and contents are drawn anew for
every sequence, so that nothing but the context tells the answer.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from ...errors import OctoberError
from .training_batch import IGNORED

_LINE, _QUESTION, _WORDS = 0, 1, 2  # tokens of the two marks, and how many tokens come before the names
TOKENS_A_LINE = 3
_TOKENS_A_QUESTION = 3 * TOKENS_A_LINE  # two lines, and the question itself


@dataclass(frozen=True)
class LineRetrieval:
    """The task with its vocabulary.

    Attributes:
        num_names: Names that a line can have; a context has at most as many lines.
        num_contents: What a line can hold; a guess is right once in so many.
    """

    num_names: int
    num_contents: int

    def __post_init__(self) -> None:
        for name, value in (("num_names", self.num_names), ("num_contents", self.num_contents)):
            if value < 1:
                raise OctoberError(f"{name}={value}: must be at least 1")

    @property
    def vocab_size(self) -> int:
        """Two marks, the names and the contents."""
        return _WORDS + self.num_names + self.num_contents

    def num_questions(self, context: int) -> int:
        """Return the questions in a context of so many tokens; it has twice as many lines.

        Raises:
            OctoberError: It is no multiple of 9, or has more lines than there are names.
        """
        questions, rest = divmod(context, _TOKENS_A_QUESTION)
        if questions < 1 or rest:
            raise OctoberError(f"context={context}: must be a multiple of {_TOKENS_A_QUESTION}, at least that")
        if 2 * questions > self.num_names:
            raise OctoberError(
                f"context={context}: its {2 * questions} lines need as many names; num_names={self.num_names}"
            )
        return questions

    def sequences(
        self, context: int, count: int, generator: torch.Generator
    ) -> tuple[Int[Tensor, "count context"], Int[Tensor, "count context"]]:
        """Draw sequences and their labels: the content at each question's name, elsewhere `IGNORED`.

        Args:
            context: Tokens of a sequence.
            count: Sequences.
            generator: Source of randomness.

        Raises:
            OctoberError: As `num_questions`.
        """
        questions = self.num_questions(context)
        lines = 2 * questions
        names = _WORDS + _distinct(count, self.num_names, lines, generator)
        contents = _WORDS + self.num_names + torch.randint(self.num_contents, (count, lines), generator=generator)
        asked = _distinct(count, lines, questions, generator)
        facts = _marked(_LINE, names, contents)
        answers = _marked(_QUESTION, names.gather(1, asked), contents.gather(1, asked))
        token_ids = torch.cat([facts, answers], dim=1)
        labels = torch.full_like(token_ids, IGNORED)
        labels[:, facts.shape[1] + 1 :: TOKENS_A_LINE] = contents.gather(1, asked)
        return token_ids, labels


def _distinct(rows: int, choices: int, number: int, generator: torch.Generator) -> Tensor:
    """Return `number` different choices in random order for each row."""
    return torch.rand(rows, choices, generator=generator).argsort(dim=1)[:, :number]


def _marked(mark: int, names: Tensor, contents: Tensor) -> Tensor:
    """Return mark, name, content for each line, one after the other."""
    return torch.stack([torch.full_like(names, mark), names, contents], dim=2).flatten(1)
