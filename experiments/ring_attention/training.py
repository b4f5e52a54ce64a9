"""A byte-level language model on long documents: whether rings of 1, 2 and 4 train alike, and longer contexts help.

Equal losses: the same windows of text on a ring of each size, alone.
Longer context: a decoder trained at one process's context goes on at longer ones. Always the same processes train, with
the same tokens on each and the same text in every step; in rings of R they see R times the context of one::

    rings of 1      [a][b][c][d]        every process its own sequences
    rings of 2      [a  b][c  d]
    rings of 4      [a  b  c  d]        one ring
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional

from october.attention import Transformer
from october.attention.ring_attention import (
    ring_hidden_states,
    ring_training_step,
    sum_over_ranks_,
    training_shard,
)
from october.data import wikipedia_documents_fingerprint
from october.errors import OctoberError
from october.evaluation import bootstrap_interval, interval_cell, mean_cell, paired_bootstrap_interval
from october.experiments.ring_attention import _long_documents as documents
from october.experiments.ring_attention._ring_common import LazyProcesses
from october.experiments.ring_attention._small_decoder import (
    MAX_GRADIENT_NORM,
    Rings,
    Shape,
    learning_rates,
    processes_in_words,
    rings_of,
    set_rate,
)
from october.reporting import Cell, Result, Row, line_with_band, new_figure, save_figure
from october.run import Run

IN_WORDS = {2: "two", 4: "four", 8: "eight"}
HEAD_DIM = 32
WINDOWS_AT_ONCE = 16  # of the evaluation
LATER_RATE = 0.5  # of the first steps' learning rate
LATER_SEED = 1_000_003  # later steps read other windows than the first
LAST_SHARE = 0.1  # of the steps, whose mean is the loss at the end of training


def training(
    num_processes: PositiveInt,
    bytes_per_process: PositiveInt,
    num_sequences: PositiveInt,
    hidden_size: PositiveInt,
    num_layers: PositiveInt,
    learning_rate: PositiveFloat,
    num_equal_steps: PositiveInt,
    num_first_steps: PositiveInt,
    num_steps: PositiveInt,
    num_documents: PositiveInt,
    seeds: list[int],
    run: Run,
) -> Result:
    """Train at a fixed context on rings of several sizes, and at a context that grows with the ring.

    Args:
        num_processes: Processes, a power of two; rings of 1, 2, 4 … of them are compared.
        bytes_per_process: Tokens of each sequence that a process holds.
        num_sequences: Sequences of which it holds a part.
        hidden_size: Of the decoder; a multiple of 32.
        num_layers: Of the decoder.
        learning_rate: The highest, of AdamW.
        num_equal_steps: Steps in which rings of several sizes are compared at the longest context.
        num_first_steps: Steps at one process's context, from which the longer ones go on.
        num_steps: Steps at each context, one process's too.
        num_documents: Held-out documents.
        seeds: Of the weights and of the order of the text.
        run: The run.
    """
    sizes = ring_sizes(num_processes)
    documents.held_out_windows(num_documents, num_processes * bytes_per_process + 1)
    task = Task(
        Shape(hidden_size, 3 * hidden_size, num_layers, HEAD_DIM), num_sequences, bytes_per_process, learning_rate
    )
    equal: dict[int, list[list[float]]] = {size: [] for size in sizes}
    by_context: dict[int, list[dict[str, Any]]] = {size: [] for size in sizes}
    pairs = [(seed, size) for seed in seeds for size in sizes]
    with LazyProcesses(num_processes) as processes:

        def step(what: str, function: Callable[..., Any], *arguments: Any) -> Any:
            return run.once(what, lambda: processes.run(function, *arguments)[0])

        for seed, size in run.progress(pairs, "losses at one context"):
            equal[size].append(
                step(f"equal, ring of {size}, seed {seed}", train_alone, task, size, num_equal_steps, seed)
            )
        for seed in run.progress(seeds, "training by context"):
            steps = (num_first_steps, num_steps)
            trained = step(f"context, seed {seed}", train_by_context, task, sizes, steps, num_documents, seed)
            for size in sizes:
                by_context[size].append(trained[str(size)])
                run.log({f"bits per byte, rings of {size}, seed {seed}": float(np.mean(trained[str(size)]["bits"]))})
    bits = {size: np.mean([each["bits"] for each in trained], axis=0) for size, trained in by_context.items()}
    return Result(
        rows=equal_rows(equal, num_processes * bytes_per_process) + context_rows(by_context, bits, bytes_per_process),
        evidence={
            "largest difference of losses between ring sizes": mean_cell(
                [largest_difference(equal, seed) for seed in range(len(seeds))], "nats"
            ),
            f"loss at one process's context over {IN_WORDS.get(num_processes, num_processes)} processes' context": gain(
                bits[1], bits[sizes[-1]]
            ),
        },
        figures={"Held-out loss by context, and loss while training": draw(run.figures, by_context, bits, task)},
        fingerprints={"Wikipedia's vital articles, as long documents": wikipedia_documents_fingerprint()},
    )


@dataclass(frozen=True)
class Task:
    """What all training runs share: the decoder's shape, and what every process holds of a step's text."""

    shape: Shape
    num_sequences: int
    bytes_per_process: int
    learning_rate: float

    @property
    def longest(self) -> int:
        """The context of a ring of all processes."""
        return self.bytes_per_process * dist.get_world_size()


def ring_sizes(num_processes: int) -> list[int]:
    """Return 1, 2, 4 … up to the number of processes.

    Raises:
        OctoberError: It is not a power of two, or 1.
    """
    if num_processes < 2 or num_processes & (num_processes - 1):
        raise OctoberError(f"num_processes={num_processes}: must be 2, 4, 8 or another power of two")
    return [1 << power for power in range(num_processes.bit_length())]


def train_alone(task: Task, ring_size: int, num_steps: int, seed: int) -> list[float]:
    """Train one ring of the first ranks at the longest context and return the loss of every step; the others wait."""
    rings = rings_of(ring_size)
    if rings.number > 0:
        return []
    alone = replace(rings, everyone=rings.own, count=1)
    rates = learning_rates(task.learning_rate, num_steps)
    return train(task, new_decoder(task, seed), task.longest, alone, rates, seed)


def train_by_context(
    task: Task, sizes: Sequence[int], num_steps: tuple[int, int], num_documents: int, seed: int
) -> dict[str, dict[str, list[float]]]:
    """Train at one process's context, then go on from there at each ring size's.

    Returns:
        By ring size: the loss of every later step, and held-out bits per byte by document.
    """
    first, later = num_steps
    decoder = new_decoder(task, seed)
    train(task, decoder, task.bytes_per_process, rings_of(1), learning_rates(task.learning_rate, first), seed)
    results = {}
    for size in sizes:
        rings, context, longer = rings_of(size), size * task.bytes_per_process, deepcopy(decoder)
        rates = learning_rates(LATER_RATE * task.learning_rate, later)
        losses = train(task, longer, context, rings, rates, seed + LATER_SEED)
        results[str(size)] = {
            "losses": losses,
            "bits": bits_by_document(longer, rings, context, task.longest, num_documents),
        }
    return results


def new_decoder(task: Task, seed: int) -> Transformer:
    """Return the untrained decoder, the same on every rank."""
    return task.shape.decoder(documents.VOCABULARY, task.longest, seed)


def train(
    task: Task, decoder: Transformer, context: int, rings: Rings, rates: Iterable[float], seed: int
) -> list[float]:
    """Train on windows of the longest context, cut to `context`, a step for each rate; return each step's loss."""
    optimizer = torch.optim.AdamW(decoder.parameters(), betas=(0.9, 0.95), weight_decay=0.1)
    batches = documents.training_windows(seed, task.num_sequences, task.longest + 1)
    losses = []
    for rate, windows in zip(rates, batches, strict=False):
        set_rate(optimizer, rate)
        tokens, labels = (rings.share(part) for part in cut(windows, context))
        shard = training_shard(tokens, rings.own, labels=labels)
        losses.append(
            ring_training_step(
                decoder,
                optimizer,
                shard,
                rings.own,
                replicas=rings.everyone,
                max_gradient_norm=MAX_GRADIENT_NORM,
                checkpoint=False,  # so short a context has little to save
            )
        )
    return losses


def cut(windows: Tensor, context: int) -> tuple[Tensor, Tensor]:
    """Return tokens and labels [sequences, context]: every byte but a window's first is predicted once."""
    return windows[:, :-1].reshape(-1, context), windows[:, 1:].reshape(-1, context)


@torch.no_grad()
def bits_by_document(decoder: Transformer, rings: Rings, context: int, longest: int, num_documents: int) -> list[float]:
    """Return each held-out document's bits per byte, read at `context`; the bytes are the same for every context."""
    windows, owners = documents.held_out_windows(num_documents, longest + 1)
    tokens, labels = cut(windows, context)
    nats = torch.zeros(len(tokens), dtype=torch.float64)
    mine = range(rings.number, len(tokens), rings.count)
    for first in range(0, len(mine), WINDOWS_AT_ONCE):
        rows = list(mine[first : first + WINDOWS_AT_ONCE])
        shard = training_shard(tokens[rows], rings.own, labels=labels[rows])
        logits = decoder.logits(ring_hidden_states(decoder, shard, rings.own))
        nats[rows] = functional.cross_entropy(logits.mT, shard.labels, reduction="none").double().sum(dim=1)
    sum_over_ranks_(nats, rings.everyone, what="held-out loss")
    bits = nats.view(len(windows), -1).sum(dim=1) / (longest * torch.log(torch.tensor(2.0, dtype=torch.float64)))
    chosen = torch.tensor(owners)
    return [float(bits[chosen == owner].mean()) for owner in dict.fromkeys(owners)]


def largest_difference(equal: Mapping[int, Sequence[Sequence[float]]], seed: int) -> float:
    """Return the largest difference of two ring sizes' losses at any step of one seed's runs."""
    losses = np.array([runs[seed] for runs in equal.values()])
    return float((losses.max(axis=0) - losses.min(axis=0)).max())


def equal_rows(equal: Mapping[int, Sequence[Sequence[float]]], context: int) -> list[Row]:
    """Return a row for each ring size at one context: the last step's loss, and how far it strays from one process."""
    rows = []
    for size, runs in equal.items():
        strays = [float(np.abs(np.subtract(own, alone)).max()) for own, alone in zip(runs, equal[1], strict=True)]
        cells = {
            "context": Cell(value=context),
            "loss of the last step": mean_cell([losses[-1] for losses in runs], "nats"),
            "largest difference from one process": mean_cell(strays, "nats"),
        }
        rows.append(Row(name=f"same context, {processes_in_words(size)}", cells=cells))
    return rows


def context_rows(
    by_context: Mapping[int, Sequence[Mapping[str, Any]]], bits: Mapping[int, np.ndarray], bytes_per_process: int
) -> list[Row]:
    """Return a row for each context that grows with the ring: held-out bits per byte and the gain over one process."""
    rows = []
    for size, trained in by_context.items():
        held_out = bootstrap_interval(bits[size])
        ends = [np.mean(each["losses"][-max(1, round(LAST_SHARE * len(each["losses"]))) :]) for each in trained]
        cells = {
            "context": Cell(value=size * bytes_per_process),
            "training loss at the end": mean_cell([float(end) for end in ends], "nats"),
            "held-out bits per byte": interval_cell(held_out, "bits"),
            "bits saved over one process": gain(bits[1], bits[size]),
        }
        rows.append(Row(name=f"growing context, {processes_in_words(size)}", cells=cells))
    return rows


def gain(shorter: np.ndarray, longer: np.ndarray) -> Cell:
    """Return the bits per byte that a longer context saves, pair by pair over the held-out documents."""
    return interval_cell(paired_bootstrap_interval(shorter, longer), "bits")


def draw(
    folder: Path, by_context: Mapping[int, Sequence[Mapping[str, Any]]], bits: Mapping[int, np.ndarray], task: Task
) -> Path:
    """Draw held-out bits per byte by context, and the mean loss of the seeds while training."""
    figure, (held_out, curves) = new_figure(1, 2, width=10.4, height=3.9)
    contexts = [size * task.bytes_per_process for size in bits]
    intervals = [bootstrap_interval(each) for each in bits.values()]
    mean, low, high = ([interval[place] for interval in intervals] for place in range(3))
    line_with_band(held_out, contexts, mean, low, high, "held-out documents")
    held_out.set_xscale("log", base=2)
    held_out.set_xticks(contexts, [str(context) for context in contexts])
    held_out.set(xlabel="context (bytes)", ylabel="bits per byte")
    for size, trained in by_context.items():
        losses = np.mean([each["losses"] for each in trained], axis=0)
        smooth = max(1, len(losses) // 20)
        means = np.convolve(losses, np.ones(smooth) / smooth, mode="valid")
        curves.plot(range(smooth, len(losses) + 1), means, label=f"context of {processes_in_words(size)}")
    curves.set(xlabel="step", ylabel="training loss (nats per byte)")
    curves.legend()
    return save_figure(figure, folder, "training")
