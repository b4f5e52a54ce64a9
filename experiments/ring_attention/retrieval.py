"""Figure 3: retrieving a line among many, by context length, with training and evaluation through the ring.

The context grows while training: a stage at each length, twice the one before, until the loss is low or its steps are
used up; at the end come the measured ones in turn. Short ones come first because there the two steps of the task (read
which name precedes a content; find the name asked for) can be learned from an attention that is still nearly uniform.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import PositiveFloat, PositiveInt

from october.attention import Transformer
from october.attention.ring_attention import (
    AttentionChoice,
    Ring,
    ring_hidden_states,
    ring_training_step,
    sum_over_ranks_,
    training_shard,
)
from october.attention.ring_attention.line_retrieval import LineRetrieval
from october.attention.ring_attention.training_batch import IGNORED
from october.errors import OctoberError
from october.evaluation import bootstrap_cell, bootstrap_interval, interval_cell, paired_bootstrap_interval
from october.experiments.ring_attention._ring_common import LazyProcesses
from october.experiments.ring_attention._small_decoder import MAX_GRADIENT_NORM, Shape, processes_in_words, set_rate
from october.files import content_hash
from october.reporting import Cell, Result, Row, line_with_band, new_figure, save_figure
from october.run import Run

NUM_HEADS = 4  # with fewer, it takes much longer until one finds the token before
SHORTEST_CONTEXT = 9  # tokens of the first stage: two lines and a question
SMOOTHING = 20  # steps over which the loss of a stage is averaged
WARMUP_STEPS = 30


@dataclass(frozen=True)
class Course:
    """How the model attends and is trained: through which contexts, and when the next one comes."""

    task: LineRetrieval
    shape: Shape
    attention: AttentionChoice
    contexts: tuple[int, ...]
    measured: tuple[int, ...]
    tokens_per_step: int
    learning_rate: float
    low_loss: float
    most_steps: int
    final_steps: int


def retrieval(
    attention: AttentionChoice,
    num_processes: PositiveInt,
    contexts: list[PositiveInt],
    num_contents: PositiveInt,
    hidden_size: PositiveInt,
    num_layers: PositiveInt,
    tokens_per_step: PositiveInt,
    learning_rate: PositiveFloat,
    low_loss: PositiveFloat,
    most_steps: PositiveInt,
    final_steps: PositiveInt,
    num_questions: PositiveInt,
    seeds: list[int],
    run: Run,
) -> Result:
    """Train a small decoder to retrieve lines at growing contexts, and measure its accuracy at each.

    Args:
        attention: The ring and its layout, or attention within one process.
        num_processes: Processes of the ring.
        contexts: Tokens, ascending multiples of 9, at which accuracy is measured; training goes up to the longest.
        num_contents: What a line can hold; a guess is right once in so many.
        hidden_size: Of the decoder; a multiple of 8.
        num_layers: Of the decoder.
        tokens_per_step: Short sequences are batched up to so many.
        learning_rate: Of AdamW.
        low_loss: Nats per answer at which the context is doubled.
        most_steps: At one context, after which it is doubled all the same.
        final_steps: At all measured contexts in turn, at the end, while the rate falls to 0.
        num_questions: At each context, from as many sequences as it takes.
        seeds: Of the weights and the sequences.
        run: The run.
    """
    attention.check_processes(num_processes)
    if contexts != sorted(set(contexts)):
        raise OctoberError(f"contexts={contexts}: must ascend")
    task = LineRetrieval(2 * max(contexts) // 9, num_contents)
    for context in contexts:
        task.num_questions(context)
    shape = Shape(hidden_size, hidden_size // 2, num_layers, hidden_size // NUM_HEADS)
    course = Course(
        task,
        shape,
        attention,
        stages(max(contexts)),
        tuple(contexts),
        tokens_per_step,
        learning_rate,
        low_loss,
        most_steps,
        final_steps,
    )
    trained: list[dict[str, Any]] = []
    with LazyProcesses(num_processes) as processes:

        def step(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
            return run.once(name, lambda: processes.run(function, *arguments)[0])

        for seed in run.progress(seeds, "training at growing contexts"):
            trained.append(step(f"seed {seed}", train_and_ask, course, contexts, num_questions, seed))
            run.log(
                {
                    f"accuracy at {context}, seed {seed}": np.mean(trained[-1]["right"][str(context)])
                    for context in contexts
                }
            )
    right = {context: np.concatenate([each["right"][str(context)] for each in trained]) for context in contexts}
    return Result(
        rows=[row(context, right, trained, num_processes) for context in contexts],
        evidence={
            "accuracy at the longest context": accuracy(right[max(contexts)]),
            "accuracy at the longest context over the shortest": difference(right, max(contexts), min(contexts)),
            "accuracy at the longest context over a guess": above_a_guess(right[max(contexts)], num_contents),
        },
        figures={"Accuracy of line retrieval by context": draw(run.figures, right, num_contents, attention)},
        fingerprints={"the task": content_hash([task.num_names, num_contents, contexts])},
    )


def stages(longest: int) -> tuple[int, ...]:
    """Return the contexts of training: 9 tokens, doubled as long as that is shorter than the longest, and that."""
    contexts = [SHORTEST_CONTEXT]
    while 2 * contexts[-1] < longest:
        contexts.append(2 * contexts[-1])
    return (*contexts, longest) if longest > SHORTEST_CONTEXT else (longest,)


def train_and_ask(course: Course, contexts: Sequence[int], num_questions: int, seed: int) -> dict[str, Any]:
    """Train one decoder on this ring; return the steps of each stage, and which answers are right at each context."""
    ring = Ring()
    decoder, steps = train(course, ring, seed)
    generator = torch.Generator().manual_seed(seed + 1_000_003)  # no sequence of the training
    right = {str(c): right_answers(decoder, ring, course, c, num_questions, generator) for c in contexts}
    return {"steps": steps, "right": right}


def train(course: Course, ring: Ring, seed: int) -> tuple[Transformer, dict[str, int]]:
    """Train through all stages, then at the measured contexts in turn; return the decoder and the steps at each."""
    decoder = course.shape.decoder(course.task.vocab_size, max(course.contexts), seed)
    optimizer = torch.optim.AdamW(decoder.parameters(), betas=(0.9, 0.98), weight_decay=0.0)
    generator = torch.Generator().manual_seed(seed)
    attention = course.attention.within_process()
    steps = dict.fromkeys(map(str, (*course.contexts, *course.measured)), 0)

    def step(context: int, rate: float) -> float:
        set_rate(optimizer, course.learning_rate * rate)
        tokens, labels = course.task.sequences(context, max(1, course.tokens_per_step // context), generator)
        shard = training_shard(tokens, ring, layout=course.attention.layout, labels=labels)
        steps[str(context)] += 1
        return ring_training_step(
            decoder,
            optimizer,
            shard,
            ring,
            attention=attention,
            max_gradient_norm=MAX_GRADIENT_NORM,
            checkpoint=False,
        )

    for context in course.contexts:
        losses: list[float] = []
        while len(losses) < course.most_steps and not is_low(losses, course.low_loss):
            losses.append(step(context, min(1.0, (sum(steps.values()) + 1) / WARMUP_STEPS)))
    for index in range(course.final_steps):
        step(course.measured[index % len(course.measured)], 1 - index / course.final_steps)
    return decoder, steps


def is_low(losses: Sequence[float], low_loss: float) -> bool:
    """Tell whether the mean of a stage's last losses is low; every rank says the same, since losses are equal."""
    return len(losses) >= SMOOTHING and float(np.mean(losses[-SMOOTHING:])) < low_loss


@torch.no_grad()
def right_answers(
    decoder: Transformer, ring: Ring, course: Course, context: int, num_questions: int, generator: torch.Generator
) -> list[int]:
    """Return for each question whether the most likely token is the content of its line (1) or not (0)."""
    answers: list[int] = []
    while len(answers) < num_questions:
        count = max(1, course.tokens_per_step // context)
        tokens, labels = course.task.sequences(context, count, generator)
        places = torch.where(labels == IGNORED, IGNORED, torch.arange(labels.numel()).view_as(labels))
        shard, of_places = (
            training_shard(tokens, ring, layout=course.attention.layout, labels=each) for each in (labels, places)
        )
        own, attention = of_places.labels, course.attention.within_process()
        asked = own != IGNORED
        hidden = ring_hidden_states(decoder, shard, ring, attention=attention)
        found = decoder.logits(hidden[asked]).argmax(dim=-1)
        right = torch.zeros(labels.numel())
        right[own[asked]] = (found == shard.labels[asked]).float()
        answers += sum_over_ranks_(right, ring, what="right answers")[places[places != IGNORED]].int().tolist()
    return answers[:num_questions]


def row(context: int, right: Mapping[int, np.ndarray], trained: Sequence[Mapping[str, Any]], num_processes: int) -> Row:
    """Return a context's row: what a process holds, the lines, the accuracy, and what it loses against the shortest."""
    steps = [each["steps"].get(str(context)) for each in trained]
    cells = {
        "tokens per process": Cell(value=context / num_processes),
        "lines": Cell(value=2 * context // 9),
        "accuracy": accuracy(right[context]),
        "over the shortest context": difference(right, context, min(right)),
        "training steps": Cell(value=None if None in steps else float(np.mean(steps))),
    }
    return Row(name=f"{context:,} tokens over {processes_in_words(num_processes)}", cells=cells)


def accuracy(right: np.ndarray) -> Cell:
    """Return the share of right answers with its interval over questions."""
    return bootstrap_cell(right)


def difference(right: Mapping[int, np.ndarray], context: int, other: int) -> Cell:
    """Return how much more is right at one context than at another; the questions are independent of each other."""
    return interval_cell(paired_bootstrap_interval(right[context], right[other]))


def above_a_guess(right: np.ndarray, num_contents: int) -> Cell:
    """Return the accuracy above that of a guess among all contents."""
    return bootstrap_cell(right - 1 / num_contents)


def draw(folder: Path, right: Mapping[int, np.ndarray], num_contents: int, attention: AttentionChoice) -> Path:
    """Draw accuracy by context with its interval, and the level of a guess."""
    figure, (axes,) = new_figure()
    intervals = [bootstrap_interval(each) for each in right.values()]
    mean, low, high = ([interval[place] for interval in intervals] for place in range(3))
    line_with_band(axes, list(right), mean, low, high, f"{attention.kind} attention")
    axes.axhline(1 / num_contents, color="black", linestyle="--", linewidth=1, label="a guess")
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(right), [f"{context:,}" for context in right])
    axes.set(xlabel="context (tokens)", ylabel="accuracy", ylim=(0, 1.02))
    axes.legend()
    return save_figure(figure, folder, "retrieval")
