"""How far a ring's output and gradients are from dense attention in float64: by type, ring size, layout and mask."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from statistics import mean
from typing import Literal, NamedTuple

import torch
import torch.distributed as dist
from pydantic import PositiveInt
from torch import Tensor

from october.attention.ring_attention import Layout, ring_attention, shard, unshard
from october.attention.ring_attention.layouts import LAYOUTS
from october.evaluation import interval_cell, t_interval
from october.experiments.ring_attention._ring_common import (
    DTYPES,
    QUANTITIES,
    Heads,
    LazyProcesses,
    drawn,
    relative_error,
    world_sizes_here,
)
from october.files import content_hash
from october.reporting import Cell, Result, Row, new_figure, save_figure
from october.run import Run

Mask = Literal["causal", "not causal", "window", "packed"]
Errors = dict[str, float]
DOCUMENTS = 5  # in a packed sequence, one of them padding
JUDGED = ("float32", "bfloat16")  # float64 is the reference's own precision


class Setting(NamedTuple):
    """One comparison; every rank can draw its tensors from it."""

    dtype: str
    mask: Mask
    layout: Layout
    seed: int
    length: int
    heads: Heads
    sliding_window: int

    @property
    def options(self) -> dict[str, bool | int | None]:
        """What `ring_attention` is asked for."""
        return {"causal": self.mask != "not causal", "sliding_window": self._window}

    @property
    def _window(self) -> int | None:
        return self.sliding_window if self.mask == "window" else None

    @property
    def segment_ids(self) -> Tensor | None:
        """Documents of random lengths, the last of them padding; None unless packed."""
        if self.mask != "packed":
            return None
        generator = torch.Generator().manual_seed(self.seed)
        ends = torch.randint(1, self.length, (DOCUMENTS - 1,), generator=generator).sort().values
        ids = torch.searchsorted(ends, torch.arange(self.length), right=True)
        return torch.where(ids == DOCUMENTS - 1, -1, ids)[None]


def exactness(
    length: PositiveInt,
    sliding_window: PositiveInt,
    num_heads: PositiveInt,
    num_kv_heads: PositiveInt,
    head_dim: PositiveInt,
    world_sizes: list[PositiveInt],
    dtypes: list[Literal["float64", "float32", "bfloat16"]],
    masks: list[Mask],
    seeds: list[int],
    run: Run,
) -> Result:
    """Compare rings of several sizes with dense attention on random sequences.

    Args:
        length: Tokens of a sequence.
        sliding_window: Of the mask `window`.
        num_heads: Query heads.
        num_kv_heads: Key/value heads.
        head_dim: Width of a head.
        world_sizes: Processes of the rings; under torchrun its own number alone.
        dtypes: Of the tensors; the reference is computed in float64 from the same, rounded numbers.
        masks: Who attends to whom.
        seeds: One sequence each.
        run: The run.
    """
    heads, sizes = Heads(num_heads, num_kv_heads, head_dim), world_sizes_here(world_sizes)
    settings = [
        Setting(dtype, mask, layout, seed, length, heads, sliding_window)
        for dtype, mask, seed, layout in itertools.product(dtypes, masks, seeds, LAYOUTS)
    ]
    errors: dict[tuple[int, Setting], Errors] = {}
    for size in sizes:
        with LazyProcesses(size) as processes:
            for setting in run.progress(settings, f"{size} processes"):
                key = f"{size} processes, {setting.dtype}, {setting.mask}, {setting.layout}, seed {setting.seed}"
                errors[size, setting] = run.once(key, errors_of, processes, setting)
    rows = [by_ring_size(errors, dtype, size, seeds) for dtype, size in itertools.product(dtypes, sizes)]
    rows += [by_mask(errors, "float32", *pair, seeds) for pair in itertools.product(LAYOUTS, masks)]
    return Result(
        rows=rows,
        evidence=evidence(errors, sizes, seeds),
        figures={"Largest error by ring size": draw(run.figures, errors, dtypes, sizes)},
        fingerprints={"random sequences": content_hash([repr(setting) for setting in settings])},
    )


def errors_of(processes: LazyProcesses, setting: Setting) -> Errors:
    """Return the largest errors of output and gradients relative to the largest number, and the output's as it is."""
    shards = processes.run(attend_on_rank, setting)
    expected = dense_reference(setting._replace(layout="contiguous"))
    found = [unshard(parts, setting.layout, dim=2) for parts in zip(*shards, strict=True)]
    errors = {name: relative_error(*pair) for name, *pair in zip(QUANTITIES, found, expected, strict=True)}
    return {**errors, "absolute": float((found[0].double() - expected[0]).abs().max())}


def attend_on_rank(setting: Setting) -> list[Tensor]:
    """Return this rank's shards of the output and of the gradients."""
    rank, world_size, layout = dist.get_rank(), dist.get_world_size(), setting.layout
    whole = drawn(setting.seed, setting.length, setting.heads, DTYPES[setting.dtype])
    *inputs, grad_output = (shard(tensor, rank, world_size, layout, dim=2) for tensor in whole)
    inputs = [tensor.requires_grad_() for tensor in inputs]
    ids = setting.segment_ids
    output = ring_attention(
        *inputs,
        layout=layout,
        sequence_length=setting.length,
        segment_ids=None if ids is None else shard(ids, rank, world_size, layout),
        **setting.options,
    )
    return [output.detach(), *torch.autograd.grad(output, inputs, grad_output)]


@lru_cache(maxsize=64)
def dense_reference(setting: Setting) -> list[Tensor]:
    """Return output and gradients by the whole matrix of scores in float64, one query head after another."""
    whole = drawn(setting.seed, setting.length, setting.heads, DTYPES[setting.dtype])
    *inputs, grad_output = (tensor.double() for tensor in whole)
    query, key, value = (tensor.requires_grad_() for tensor in inputs)
    allowed, group = allowed_pairs(setting), setting.heads.num_heads // setting.heads.num_kv_heads
    outputs = []
    totals = [torch.zeros_like(tensor) for tensor in (query, key, value)]
    for head in range(setting.heads.num_heads):
        output = _attend(query[:, head], key[:, head // group], value[:, head // group], allowed)
        shares = torch.autograd.grad(output, (query, key, value), grad_output[:, head])
        for total, share in zip(totals, shares, strict=True):
            total += share
        outputs.append(output.detach())
    return [torch.stack(outputs, dim=1), *totals]


def allowed_pairs(setting: Setting) -> Tensor:
    """Return [1, length, length]: whether query i attends to key j."""
    i, j = torch.arange(setting.length)[:, None], torch.arange(setting.length)[None]
    allowed = torch.ones(1, setting.length, setting.length, dtype=torch.bool)
    if setting.mask != "not causal":
        allowed &= j <= i
    if setting.mask == "window":
        allowed &= i - j < setting.sliding_window
    ids = setting.segment_ids
    return allowed if ids is None else allowed & (ids[:, :, None] == ids[:, None]) & (ids >= 0)[:, :, None]


def mean_errors(
    world_size: int, dtypes: Iterable[str], length: int, heads: Heads, seeds: Sequence[int]
) -> dict[str, Errors]:
    """Return each type's errors under a causal mask, zigzag, as means over the seeds."""
    with LazyProcesses(world_size) as processes:
        found = {
            dtype: [
                errors_of(processes, Setting(dtype, "causal", "zigzag", seed, length, heads, length)) for seed in seeds
            ]
            for dtype in dtypes
        }
    return {
        dtype: {name: mean(each[name] for each in errors) for name in QUANTITIES} for dtype, errors in found.items()
    }


def by_ring_size(errors: Mapping[tuple[int, Setting], Errors], dtype: str, size: int, seeds: Sequence[int]) -> Row:
    """Return the row of a type and a ring size: the largest error of all layouts and masks."""
    cells = {name: _largest(errors, name, seeds, dtype=dtype, size=size) for name in (*QUANTITIES, "absolute")}
    return _row(f"{dtype}, {size} process{'es' * (size > 1)}", dtype, cells)


def by_mask(
    errors: Mapping[tuple[int, Setting], Errors], dtype: str, layout: Layout, mask: Mask, seeds: Sequence[int]
) -> Row:
    """Return the row of a layout and a mask: the largest error of all ring sizes."""
    cells = {
        name: _largest(errors, name, seeds, dtype=dtype, layout=layout, mask=mask) for name in (*QUANTITIES, "absolute")
    }
    return _row(f"{dtype}, {layout}, {mask}", dtype, cells)


def evidence(
    errors: Mapping[tuple[int, Setting], Errors], sizes: Sequence[int], seeds: Sequence[int]
) -> dict[str, Cell]:
    """Return the largest errors in float32, and how the error grows with the ring, each over the seeds."""
    found = {
        "largest output error, float32": _largest(errors, "output", seeds, dtype="float32"),
        "largest gradient error, float32": _over_seeds(
            [max(_chosen(errors, name, seed, dtype="float32")) for name in QUANTITIES[1:]] for seed in seeds
        ),
    }
    if len(sizes) > 1:
        found["growth of the error from one process to the largest ring"] = _over_seeds(
            [growth(errors, dtype, name, sizes, seed) for dtype in JUDGED for name in QUANTITIES] for seed in seeds
        )
    return found


def growth(
    errors: Mapping[tuple[int, Setting], Errors], dtype: str, name: str, sizes: Sequence[int], seed: int
) -> float:
    """Return the error in the largest ring over that in the smallest, both as means over layouts and masks."""
    largest, smallest = (mean(_chosen(errors, name, seed, dtype=dtype, size=size)) for size in (max(sizes), min(sizes)))
    return largest / smallest


def draw(
    folder: Path, errors: Mapping[tuple[int, Setting], Errors], dtypes: Sequence[str], sizes: Sequence[int]
) -> Path:
    """Draw output and gradient errors by ring size, a panel for each type."""
    figure, panels = new_figure(1, len(dtypes), width=4.0 * len(dtypes), height=3.4)
    seeds = sorted({setting.seed for _, setting in errors})
    for panel, dtype in zip(panels, dtypes, strict=True):
        for name in QUANTITIES:
            means = [
                mean(error for seed in seeds for error in _chosen(errors, name, seed, dtype=dtype, size=size))
                for size in sizes
            ]
            panel.plot(sizes, means, "o-", label=name)
        panel.set(title=dtype, xlabel="processes", ylabel="largest error, relative", ylim=(0, None), xticks=sizes)
    panels[0].legend(fontsize=8)
    return save_figure(figure, folder, "exactness")


def _attend(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor) -> Tensor:
    scores = (query @ key.mT) * query.shape[-1] ** -0.5
    weights = torch.softmax(scores.masked_fill(~allowed, -torch.inf), dim=-1)
    return weights.masked_fill(~allowed.any(-1, keepdim=True), 0.0) @ value


def _chosen(errors: Mapping[tuple[int, Setting], Errors], name: str, seed: int, **wanted: object) -> list[float]:
    """Return a quantity's errors of one seed in all settings that have the wanted fields."""
    return [
        error[name]
        for (size, setting), error in errors.items()
        if setting.seed == seed and all({**setting._asdict(), "size": size}[key] == wanted[key] for key in wanted)
    ]


def _largest(errors: Mapping[tuple[int, Setting], Errors], name: str, seeds: Sequence[int], **wanted: object) -> Cell:
    return _over_seeds(_chosen(errors, name, seed, **wanted) for seed in seeds)


def _over_seeds(errors: Iterable[Sequence[float]]) -> Cell:
    """Return the mean over seeds of each seed's largest number, with its interval."""
    return interval_cell(t_interval([max(of_seed) for of_seed in errors]))


def _row(name: str, dtype: str, cells: Mapping[str, Cell]) -> Row:
    """Return a row of errors in units of the type's epsilon, in which all types have numbers of one size."""
    epsilon = torch.finfo(DTYPES[dtype]).eps
    labels = {"absolute": "output, absolute"}
    return Row(name=name, cells={labels.get(key, key): _scaled(cell, epsilon) for key, cell in cells.items()})


def _scaled(cell: Cell, unit: float) -> Cell:
    low, high = cell.bounds
    return Cell(value=cell.value / unit, n=cell.n, interval=(low / unit, high / unit), unit="ε")  # type: ignore[operator]
