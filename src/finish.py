"""The end of a run: its result becomes a record with verdicts, on disk, at the tracker, and on the screen."""

from typing import TYPE_CHECKING

from .reporting.assembly import RunFacts, assemble
from .reporting.published import published_of
from .run import Run

if TYPE_CHECKING:
    from .reporting.records import Cell, Record, Result


def finish(run: Run, result: "Result") -> str:
    """Decide the claims, write `record.json`, hand tables and figures to the tracker.

    Returns:
        What the user reads: the table, each claim's verdict, and where everything is.
    """
    record = assemble(result, published_of(run.paper), _facts(run))
    path = run.folder / "record.json"
    record.save(path)
    rows = [[row.name, *(_shown(row.cells.get(column)) for column in record.columns)] for row in record.rows]
    run.tracker.table(run.table, ["row", *record.columns], rows)
    for caption, figure in result.figures.items():
        run.tracker.figure(caption, figure)
    return "\n".join([_grid([["", *record.columns], *rows]), "", *_verdicts(record), f"Record: {path}"])


def _facts(run: Run) -> RunFacts:
    return RunFacts(
        table=run.table,
        size=run.config["size"],
        seeds=run.config["seeds"],
        config=run.config,
        started=run.started,
        wall_seconds=run.seconds,
        commit=run.commit,
        clean=run.clean,
    )


def _shown(cell: "Cell | None") -> str:
    if cell is None or cell.value is None:
        return "–"
    if not isinstance(cell.value, float):
        return str(cell.value)
    text = f"{cell.value:.3g}" if abs(cell.value) >= 10 else f"{cell.value:.3f}"
    return f"{text} {cell.unit}" if cell.unit else text


def _grid(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)


def _verdicts(record: "Record") -> list[str]:
    return [f"{claim.verdict.upper():14} {claim.statement} ({claim.reason})" for claim in record.claims]
