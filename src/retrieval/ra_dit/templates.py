"""The paper's templates by family (`templates.yaml`), and the markers of their fields, drawn for each example."""

import hashlib
import random
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import yaml

from ...errors import OctoberError
from .prompts import Example

UNANSWERABLE = "I don't know"  # what SQuAD v2 teaches where the background does not hold the answer
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Markers(NamedTuple):
    """What stands around the fields of an instruction; the answer's own space comes with the answer."""

    start: str = "Question: "
    end: str = "\n"
    answer_start: str = "Answer:"


PLAIN = Markers()  # of evaluation
_STARTS = ("Q: ", "Question: ", "")
_ANSWER_STARTS = ("A:", "Answer:")


def random_markers(*key: object) -> Markers:
    """Return the markers that a key draws: the same for the same key, whatever else is drawn."""
    digest = hashlib.sha256("\x1f".join(map(str, key)).encode()).digest()
    generator = random.Random(digest)
    return Markers(generator.choice(_STARTS), "\n", generator.choice(_ANSWER_STARTS))


def families() -> list[str]:
    """Return the families that have a template."""
    return list(_templates())


def rendered(
    family: str,
    question: str = "",
    answer: str = "",
    *,
    task: str = "",
    markers: Markers = PLAIN,
    background: str | None = None,
    turns: Sequence[tuple[str, str]] = (),
    options: Sequence[str] = (),
    reasoning: str = "",
    task_text: str = "",
    aliases: Sequence[str] = (),
) -> Example:
    """Return an example in its family's template.

    Args:
        family: One of `families()`.
        question: What is asked: a question, a statement, the last turn of a dialogue, `{entity} [SEP] {relation}`.
        answer: y; of a listed multiple choice the right option itself, which becomes its letter.
        task: The data set; by default the family.
        markers: Of the fields.
        background: The context of reading comprehension, the article of a summary.
        turns: Of a dialogue, the earlier ones: what was said and the reply.
        options: Of a multiple choice; a template that lists them scores their letters, any other their texts.
        reasoning: Of a chain of thought, before the answer.
        task_text: Of a chain of thought, in front of the question.
        aliases: Other answers that count as right.

    Raises:
        OctoberError: No such family, the answer is not among the options, or a field that is needed is empty.
    """
    template = _template(family)
    lists_options = "{options}" in template["instruction"]
    if options and answer not in options:
        raise OctoberError(f"{family}: answer {answer!r} is not among the options {list(options)}")
    if lists_options and not 2 <= len(options) <= len(LETTERS):
        raise OctoberError(f"{family}: options={list(options)}: between 2 and {len(LETTERS)} are needed")
    values = {
        **markers._asdict(),
        "question": question.strip(),
        "answer": LETTERS[options.index(answer)] if lists_options else answer.strip(),
        "reasoning": reasoning.strip(),
        "task_text": f"{task_text.strip()}\n" if task_text.strip() else "",
        "history": "".join(_turn(said, reply, markers) for said, reply in turns),
        "history_text": "".join(f"{said.strip()} {reply.strip()} " for said, reply in turns),
        "options": "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)),
    }
    _require(family, template, values, background)
    return Example(
        task=task or family,
        family=family,
        instruction=template["instruction"].format(**values).rstrip(),
        answer=template["answer"].format(**values),
        query=template.get("query", "").format(**values),
        background=background,
        aliases=tuple(aliases),
        options=tuple(LETTERS[: len(options)]) if lists_options else tuple(options),
    )


def _turn(said: str, reply: str, markers: Markers) -> str:
    return f"{markers.start}{said.strip()}{markers.end}{markers.answer_start} {reply.strip()}\n"


def _require(family: str, template: dict[str, str], values: dict[str, str], background: str | None) -> None:
    """Name the first field that the template reads and that is empty."""
    for name in ("question", "answer", "reasoning"):
        if not values[name] and any(f"{{{name}}}" in text for text in template.values()):
            raise OctoberError(f"{family}: {name} is empty")
    if background is not None and not background.strip():
        raise OctoberError(f"{family}: background is empty; None is none")
    if background is None and family in ("reading_comprehension", "summarisation"):
        raise OctoberError(f"{family}: a background is needed: what is to be read")


def _template(family: str) -> dict[str, str]:
    if family not in _templates():
        raise OctoberError(f"family={family}: allowed are {', '.join(_templates())}")
    return _templates()[family]


@cache
def _templates() -> dict[str, dict[str, str]]:
    text = (files("october.retrieval.ra_dit") / "templates.yaml").read_text(encoding="utf-8")
    templates: dict[str, dict[str, str]] = yaml.safe_load(text)
    return templates
