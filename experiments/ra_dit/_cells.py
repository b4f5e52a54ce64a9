"""Rows over questions, and the picture of some rows, each number with its interval."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from october.evaluation import percent_cell
from october.experiments.ra_dit._bench import Bench
from october.experiments.ra_dit._tasks import COLUMNS, scores_of
from october.reporting import Row, new_figure, save_figure


def scored(bench: Bench, given: Sequence[str]) -> np.ndarray:
    """Return the score of each answer by the task's own metric."""
    return scores_of(given, bench.examples, bench.metric)


def column_of(bench: Bench) -> str:
    """Return what the task's metric is called in tables."""
    return COLUMNS[bench.metric]


def answers_row(name: str, bench: Bench, given: Sequence[str], published: str | None = None) -> Row:
    """Return a row of answers: the task's own metric, and F1 beside exact match.

    Args:
        name: Of the row.
        bench: The questions.
        given: The answers to them.
        published: The row of the paper that it stands beside.
    """
    cells = {column_of(bench): percent_cell(scored(bench, given))}
    if bench.metric == "exact_match":
        cells["F1"] = percent_cell(scores_of(given, bench.examples, "f1"))
    return Row(name=name, cells=cells, published=published)


def draw_rows(folder: Path, name: str, rows: Sequence[Row], column: str) -> Path:
    """Draw one column of rows, a dot with its interval each, the first on top."""
    shown = [row for row in rows if column in row.cells]
    figure, (axes,) = new_figure(width=7.2, height=1.0 + 0.34 * len(shown))
    for height, row in enumerate(reversed(shown)):
        low, high = row.cells[column].bounds
        axes.plot([low, high], [height] * 2, color="#0072B2", linewidth=1.4)
        axes.plot([row.cells[column].value], [height], "o", color="#0072B2")
    axes.set_yticks(range(len(shown)), [row.name for row in reversed(shown)])
    axes.set(xlabel=f"{column} (%)")
    return save_figure(figure, folder, name)
