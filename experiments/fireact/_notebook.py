"""What the notebook shows: a trajectory step by step, and which tokens of a training example are learned."""

from collections.abc import Iterator
from dataclasses import replace
from html import escape
from itertools import groupby
from typing import Any

from hydra.utils import instantiate

from october import configuration
from october.agents import Step, Trajectory, render_action
from october.experiments.fireact._agents import AGENT, Agent
from october.experiments.fireact._bench import Search
from october.language_models import ModelHandle
from october.language_models.answer_training import NOT_LEARNED, TrainingExample
from october.language_models.training_runs import fullest_model

_OWN, _TOLD = "#0072B2", "#777777"


def fullest_student(model: ModelHandle) -> Agent | None:
    """Return what was tuned from a model on the most trajectories, the newest of equals; None where nothing was."""
    fullest = fullest_model(AGENT, "trajectories", model=model.name)
    return None if fullest is None else Agent(model, fullest.folder)


def search_of(student: Agent | None) -> Search:
    """Return the search that `fireact/finetuning` teaches with; by words where no student needs the passages' index."""
    config = configuration.resolved(configuration.composed(["experiment=fireact/finetuning"]))
    search: Search = instantiate(config["search"])
    return search if student is not None else replace(search, encoder=None)


def trajectory_html(made: Trajectory) -> str:
    """Return a trajectory's steps, each in a block of its own, and its answer."""
    blocks = "".join(_block(number, step) for number, step in enumerate(made.steps, start=1))
    answer = "no answer" if made.answer is None else f"answer: <b>{escape(made.answer)}</b>"
    searches = f"{made.num_searches} search{'es' * (made.num_searches != 1)}"
    return f"<p><b>{escape(made.question)}</b></p>{blocks}<p>{answer} ({searches})</p>"


def _block(number: int, step: Step) -> str:
    lines = [f"{number}. {escape(step.thought)}"]
    if step.action is not None:
        lines.append(f'<b style="color:{_OWN}">{escape(render_action(step.action))}</b>')
    if step.observation is not None:
        lines.append(f'<span style="color:{_TOLD}">{escape(step.observation)}</span>')
    return f'<div style="margin:0.5em 0 0.5em 1em">{"<br>".join(lines)}</div>'


def labels_html(tokenizer: Any, example: TrainingExample) -> str:
    """Return a training example's text; what is learned is coloured, the end token included."""
    shown = "".join(
        f'<span style="color:{_OWN};font-weight:bold">{text}</span>' if learned else text
        for text, learned in _runs(tokenizer, example)
    )
    return f'<pre style="white-space:pre-wrap">{shown}</pre>'


def _runs(tokenizer: Any, example: TrainingExample) -> Iterator[tuple[str, bool]]:
    """Yield runs of tokens as escaped text, and whether they are learned."""
    pairs = zip(example.token_ids, example.labels, strict=True)
    for learned, run in groupby(pairs, key=lambda pair: pair[1] != NOT_LEARNED):
        yield escape(tokenizer.decode([token for token, _ in run])), learned
