"""Figure 5: what a longer context costs in training FLOPs, relative to 4K, for the same number of tokens."""

from pathlib import Path

from october.attention.ring_attention.training_flops import (
    FIGURE_5_CONTEXTS,
    FIGURE_5_HIDDEN_SIZES,
    training_flops_ratio,
)
from october.evaluation import exact_cell
from october.experiments.ring_attention._common import agreeing, published_table
from october.files import content_hash
from october.reporting import Cell, Result, Row, new_figure, save_figure
from october.run import Run

TEXT_13B = 5140  # the hidden size that appendix D's text gives 13B


def flops(run: Run) -> Result:
    """Compute every cell of Figure 5, and 13B once more with the text's misprinted hidden size.

    Args:
        run: The run.
    """
    ratios = {name: ratios_of(hidden_size) for name, hidden_size in FIGURE_5_HIDDEN_SIZES.items()}
    misprint = ratios_of(TEXT_13B)
    rows = [
        Row(name=f"{name}, h = {FIGURE_5_HIDDEN_SIZES[name]:,}", cells=cells(row), published=name, status="reproduced")
        for name, row in ratios.items()
    ]
    rows.append(Row(name=f"13B, h = {TEXT_13B:,} as in the text", cells=cells(misprint), status="reproduced"))
    table = published_table("flops_by_context")
    return Result(
        rows=rows,
        evidence={
            "cells of Figure 5 that agree": exact_cell(agreeing(ratios, table, ratios)),
            "cells of 13B that agree with the text's h": exact_cell(agreeing({"13B": misprint}, table, ["13B"])),
            "cost of 1M tokens, 1TB relative to 7B": exact_cell(ratios["1TB"]["1M"] / ratios["7B"]["1M"]),
        },
        figures={"Training FLOPs for the same tokens, relative to a context of 4K": draw(run.figures, ratios)},
        fingerprints={"Figure 5 as published": content_hash(table.model_dump())},
    )


def ratios_of(hidden_size: int) -> dict[str, float]:
    """Return a row of Figure 5: the cost at each context, by the column's label."""
    return {label: training_flops_ratio(hidden_size, context) for label, context in FIGURE_5_CONTEXTS.items()}


def cells(row: dict[str, float]) -> dict[str, Cell]:
    """Return a row's numbers as cells."""
    return {label: Cell(value=ratio) for label, ratio in row.items()}


def draw(folder: Path, ratios: dict[str, dict[str, float]]) -> Path:
    """Draw a line for each model, both axes logarithmic."""
    figure, (axes,) = new_figure()
    contexts = list(FIGURE_5_CONTEXTS.values())
    for name, row in ratios.items():
        axes.plot(contexts, list(row.values()), marker="o", label=name)
    axes.set(xscale="log", yscale="log", xlabel="context (tokens)", ylabel="training FLOPs, relative to 4K")
    axes.set_xticks(contexts[::2], [*FIGURE_5_CONTEXTS][::2])
    axes.minorticks_off()
    axes.legend()
    return save_figure(figure, folder, "flops")
