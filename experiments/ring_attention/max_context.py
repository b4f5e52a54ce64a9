"""Table 3: the longest context that trains within a memory budget per process, by method and number of processes.

A step is the forward and backward pass of a decoder, all layers computed again in the backward pass and logits in
chunks; its peak is the most bytes of live tensors on any process, weights and their gradients included. Every process
holds all weights: beside them, the contexts here are short. The analytical model of `training_memory` (nothing fitted)
predicts each number, and stands in for the paper's hardware.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from october.attention import Transformer
from october.attention.cross_entropy import chunked_cross_entropy
from october.attention.decoder_config import DecoderConfig
from october.attention.ring_attention import BlockwiseAttention, BlockwiseFeedForward, Ring
from october.attention.ring_attention.activation_memory import METHODS, Method
from october.attention.ring_attention.interconnect import GIBIBYTE
from october.attention.ring_attention.model_shapes import ModelShape
from october.attention.ring_attention.sum_over_ranks import sum_gradients
from october.attention.ring_attention.tensor_memory import TensorMemory
from october.attention.ring_attention.training_batch import training_shard
from october.attention.ring_attention.training_memory import largest_that, training_memory
from october.attention.ring_attention.training_step import ring_loss
from october.evaluation import exact_cell
from october.experiments.ring_attention._common import METHOD_LABELS
from october.experiments.ring_attention._longest import longest_context
from october.experiments.ring_attention._ring_common import LazyProcesses, world_sizes_here
from october.experiments.ring_attention._table_3 import comparisons, draw_comparison, model_rows
from october.experiments.ring_attention.memory import vanilla_attention
from october.files import content_hash
from october.reporting import Cell, Result, Row, new_figure, save_figure
from october.run import Run

Found = dict[str, Any]  # a `Longest` as JSON
Contexts = Mapping[tuple[Method, int], Found]  # by method and number of processes
BASELINES: tuple[Method, ...] = METHODS[:3]
PIECES = 4  # of keys and values on their way; the same at every length, so that memory is a line
BYTES, BYTES_PER_PARAMETER = 4, 8  # float32; a weight and its gradient
MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Setting:
    """What trains.

    Attributes:
        shape: Of the decoder.
        head_dim: Width of a head.
        block_size: Tokens of a feed-forward block, keys of an attention block, and tokens whose logits are there.
    """

    shape: ModelShape
    head_dim: int
    block_size: int

    def decoder(self, method: Method) -> Transformer:
        """Return the decoder, its layers computed again in the backward pass."""
        config = DecoderConfig(
            vocab_size=self.shape.vocab_size,
            hidden_size=self.shape.hidden_size,
            intermediate_size=self.shape.intermediate_size,
            num_layers=self.shape.num_layers,
            num_heads=self.shape.num_heads,
            num_kv_heads=self.shape.num_heads,
            head_dim=self.head_dim,
        )
        attention = Vanilla() if method == "vanilla" else BlockwiseAttention(self.block_size)
        feed_forward = BlockwiseFeedForward(self.block_size) if method == "blockwise_feedforward" else None
        return Transformer(config, attention=attention, feed_forward=feed_forward, checkpoint=True)


class Vanilla:
    """Attention with the whole matrix of scores, as the decoder takes it."""

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, **_: object) -> Tensor:
        """Attend causally; the decoder here has no window and no segments, and the usual scale."""
        return vanilla_attention(query, key, value)


def max_context(
    hidden_size: PositiveInt,
    num_layers: PositiveInt,
    head_dim: PositiveInt,
    vocab_size: PositiveInt,
    budget_gib: PositiveFloat,
    world_sizes: list[PositiveInt],
    step: PositiveInt,
    start: PositiveInt,
    longest_run: PositiveInt,
    block_size: PositiveInt,
    threads: PositiveInt,
    run: Run,
) -> Result:
    """Find the longest context of every method within a budget.

    Args:
        hidden_size: Of the decoder, h; its feed-forward network is 8 h / 3 wide.
        num_layers: Of the decoder.
        head_dim: Width of a head.
        vocab_size: Of the decoder.
        budget_gib: Live tensor bytes of a process, in GiB.
        world_sizes: Processes of the rings; under torchrun its own number alone.
        step: Tokens on each process are multiples of it.
        start: Tokens on each process that are tried first.
        longest_run: Tokens of the longest sequence that is run; beyond it memory is extrapolated by its line, which
            shows the most that could fit. The claims look at none of that.
        block_size: Tokens of a block in the blockwise methods, and whose logits are in memory at once.
        threads: Of torch, shared evenly by the processes.
        run: The run.
    """
    heads = max(1, hidden_size // head_dim)
    shape = ModelShape("ours", num_layers, hidden_size, heads, 8 * hidden_size // 3, vocab_size)
    setting, budget = Setting(shape, head_dim, block_size), round(budget_gib * GIBIBYTE)
    sizes = world_sizes_here(world_sizes)
    alone = world_sizes_here([1])[0]  # the baselines hold the whole sequence on every process, however many
    found: dict[tuple[Method, int], Found] = {}
    for size in run.progress(dict.fromkeys([alone, *sizes]), "processes"):
        methods = (*(BASELINES if size == alone else ()), *(("ring",) if size in sizes else ()))
        with LazyProcesses(size, threads_per_process=max(1, threads // size)) as processes:
            for method in methods:
                found[method, size] = run.once(
                    f"{method}, {size}", search, processes, method, setting, budget, step, start, longest_run
                )
    predicted = {key: model_context(*key, shape, budget) for key in found}
    cells = comparisons()
    return Result(
        rows=[context_row(*key, found[key], predicted[key]) for key in found] + model_rows(cells),
        evidence=evidence(found, sizes, alone),
        figures={
            "Longest context by number of processes: measured, and by the analytical model": draw(
                run.figures, found, sizes, alone, shape, budget
            ),
            "Longest context on the paper's hardware, by the analytical model": draw_comparison(run.figures, cells),
        },
        fingerprints={"decoder": content_hash([repr(setting), budget])},
    )


def search(
    processes: LazyProcesses, method: Method, setting: Setting, budget: int, step: int, start: int, longest_run: int
) -> Found:
    """Find a method's longest context; the ring's sequence grows by `step` on all of its processes."""
    share = processes.world_size if method == "ring" else 1

    def peak_at(length: int) -> int:
        return max(processes.run(step_peak, method, length, setting))

    longest = longest_context(peak_at, budget, share * step, share * start, longest_run)
    peaks = [[length, peak] for length, peak in sorted(longest.peaks.items())]
    return {"context": longest.context, "extrapolated": longest.extrapolated, "peaks": peaks}


def step_peak(method: Method, length: int, setting: Setting) -> int:
    """Run a training step on this rank and return its peak of live tensor bytes."""
    decoder = setting.decoder(method)
    tokens = torch.randint(setting.shape.vocab_size, (1, length), generator=torch.Generator().manual_seed(0))
    with TensorMemory(*decoder.parameters()) as memory:
        if method == "ring":
            ring = Ring(num_pieces=PIECES)
            shard = training_shard(tokens, ring)
            loss = ring_loss(
                decoder, shard, ring, feed_forward_block=setting.block_size, logits_chunk=setting.block_size
            )
            torch.autograd.backward(loss)
            sum_gradients(decoder.parameters(), ring)
        else:
            hidden = decoder(tokens)[:, :-1]
            loss = chunked_cross_entropy(hidden, decoder.head.weight, tokens[:, 1:], chunk_size=setting.block_size)
            torch.autograd.backward(loss)
    return memory.peak_bytes


def model_peak(method: Method, world_size: int, shape: ModelShape, context: int) -> int:
    """Return the peak by the analytical model, for weights that every process holds whole."""
    need = training_memory(method, shape, context, world_size, bytes_per_element=BYTES)
    return need.total - need.states - need.gathered + BYTES_PER_PARAMETER * shape.parameters


def model_context(method: Method, world_size: int, shape: ModelShape, budget: int) -> int:
    """Return the longest context by the analytical model."""
    return largest_that(lambda context: model_peak(method, world_size, shape, context) <= budget)


def context_row(method: Method, size: int, found: Found, predicted: int) -> Row:
    """Return a method's row: its longest context, how it was found, and the model's."""
    lengths = [length for length, _ in found["peaks"]]
    cells = {
        "longest context": exact_cell(found["context"], "tokens"),
        "found": Cell(value="at most, extrapolated" if found["extrapolated"] else "measured"),
        "longest run": exact_cell(max(lengths), "tokens"),
        "steps run": Cell(value=len(lengths)),
        "by the model": exact_cell(predicted, "tokens"),
        "over the model": exact_cell(found["context"] / predicted) if predicted else Cell(),
    }
    return Row(name=f"{METHOD_LABELS[method]}, {size} process{'es' * (size > 1)}", cells=cells)


def evidence(found: Contexts, sizes: Sequence[int], alone: int) -> dict[str, Cell]:
    """Return what decides the claims: measured contexts alone, as an extrapolated one is only a bound from above.

    Bytes are counted, so that every search finds the same.
    """
    measured = {size: found["ring", size]["context"] for size in sizes if not found["ring", size]["extrapolated"]}
    baselines = [found[method, alone] for method in BASELINES]
    best = max(each["context"] for each in baselines)
    if not measured or not min(measured.values()):
        return {}
    decided = {}
    if best and not any(each["extrapolated"] for each in baselines):
        share = min(context / (size * best) for size, context in measured.items())
        decided["measured context over the best baseline's, per process"] = exact_cell(share)
    if len(measured) > 1:
        slope = float(np.polyfit(np.log([*measured]), np.log([*measured.values()]), 1)[0])
        decided["slope of log measured context over log processes"] = exact_cell(slope)
    return decided


def draw(folder: Path, found: Contexts, sizes: Sequence[int], alone: int, shape: ModelShape, budget: int) -> Path:
    """Draw measured contexts as dots (hollow where extrapolated) and the model's as dashed lines."""
    figure, (axes,) = new_figure(width=6.8, height=4.4)
    for index, method in enumerate(METHODS):
        color = f"C{index}"
        for size in sizes:
            point = found["ring", size] if method == "ring" else found[method, alone]
            hollow = {"markerfacecolor": "white"} if point["extrapolated"] else {}
            axes.plot([size], [point["context"]], "o", color=color, **hollow)
        model = [model_context(method, size if method == "ring" else alone, shape, budget) for size in sizes]
        axes.plot(sizes, model, "--", color=color, label=METHOD_LABELS[method])
    axes.set(xscale="log", yscale="log", xlabel="processes", ylabel="longest context (tokens)")
    axes.set_xticks(list(sizes), [str(size) for size in sizes])
    axes.tick_params(axis="x", which="minor", bottom=False)
    axes.legend(fontsize=8, title="dots measured (hollow: extrapolated, at most), dashed by the model")
    return save_figure(figure, folder, "max_context")
