"""What a model reads and is to write (section 2.2): background, instruction, answer; and few-shot prompts of them.

Background: {passage}

{instruction} {answer}
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ...errors import OctoberError

_BETWEEN = "\n\n"  # background and instruction, and two demonstrations


@dataclass(frozen=True)
class Example:
    """One example of an instruction: x and y of the paper, and what is searched for.

    Attributes:
        task: The data set it is from.
        family: The kind of task, which decides its template: see `templates.families`.
        instruction: x as its template renders it, markers included, without background; ends where y begins, never with
            white space. Empty for unsupervised text, which is learned as it is.
        answer: y, without white space in front.
        query: What a retriever is asked.
        background: The context that stands in the background field in place of retrieved passages (reading
            comprehension, summarisation).
        aliases: Other answers that count as right.
        options: Of a multiple choice, as they are scored.

    Raises:
        OctoberError: The instruction ends, or the answer begins, with white space; or there is no answer.
    """

    task: str
    family: str
    instruction: str
    answer: str
    query: str
    background: str | None = None
    aliases: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.instruction != self.instruction.rstrip():
            raise OctoberError(f"instruction {self.instruction[-40:]!r} of {self.task}: must not end with white space")
        if not self.answer.strip() or self.answer != self.answer.lstrip():
            raise OctoberError(f"answer {self.answer[:40]!r} of {self.task}: needs text, and no white space in front")


class Demonstration(NamedTuple):
    """An example that is shown with its answer; with a passage as its background, its own background, or none."""

    example: Example
    passage: str | None = None


def with_background(example: Example | str, passage: str | None) -> str:
    """Return an instruction behind its background: what the answer follows.

    Args:
        example: An example, or its instruction alone.
        passage: The background; None leaves an example its own, if it has one.
    """
    if isinstance(example, str):
        instruction, background = example, passage
    else:
        instruction, background = example.instruction, example.background if passage is None else passage
    return instruction if background is None else f"Background: {background}{_BETWEEN}{instruction}"


def answer_text(answer: str, prompt: str | None = None) -> str:
    """Return what is learned or scored behind a prompt: the answer with a space in front.

    Args:
        answer: y.
        prompt: What stands before it: with nothing there, or white space at its end, no space is put in front. None is
            a prompt that ends in a word or a marker, as those of examples do.
    """
    joined = prompt is not None and (not prompt or prompt[-1].isspace())
    return answer if joined else f" {answer}"


def few_shot_head(demonstrations: Sequence[Demonstration]) -> str:
    """Return the demonstrations as text, what all prompts of a run begin with; empty for none.

    They come before the background of the example that is asked, so that a model encodes them once.
    """
    return "".join(_shown(demonstration) + _BETWEEN for demonstration in demonstrations)


def few_shot_prompt(demonstrations: Sequence[Demonstration], example: Example | str, passage: str | None = None) -> str:
    """Return demonstrations, background and instruction: what the answer follows.

    Args:
        demonstrations: Shown first, in their order; none for zero-shot.
        example: As `with_background` takes it.
        passage: As `with_background` takes it.
    """
    return few_shot_head(demonstrations) + with_background(example, passage)


def _shown(demonstration: Demonstration) -> str:
    prompt = with_background(*demonstration)
    return prompt + answer_text(demonstration.example.answer, prompt)
