"""The end of a run: its result becomes a record with verdicts, on disk, at the tracker, and on the screen."""

from typing import TYPE_CHECKING

from .reporting.assembly import RunFacts, assemble
from .reporting.published import published_of
from .reporting.tables import claims_table, comparison
from .run import Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .reporting.records import Record, Result


def finish(run: Run, result: "Result", seeds: "Sequence[int]" = ()) -> str:
    """Decide the claims, write `record.json`, hand tables and figures to the tracker.

    Args:
        run: The run.
        result: What the experiment returned.
        seeds: Those that it looped over; none where it takes none.

    Returns:
        What the user reads: our rows beside the published ones, each claim's verdict, and where the record is.
    """
    published = published_of(run.paper)
    record = assemble(result, published, _facts(run, seeds))
    path = run.folder / "record.json"
    record.save(path)
    _track(run, record, result)
    parts = [comparison(record, published), claims_table(record.claims), f"Record: {path} (october-report shows it)"]
    return "\n\n".join(part for part in parts if part)


def _facts(run: Run, seeds: "Sequence[int]") -> RunFacts:
    return RunFacts(
        table=run.table,
        size=run.config["size"],
        seeds=list(seeds),
        config=run.config,
        started=run.started,
        wall_seconds=round(run.seconds, 3),
        commit=run.commit,
        clean=run.clean,
    )


def _track(run: Run, record: "Record", result: "Result") -> None:
    cells = [
        [row.name, *(row.cells[c].value if c in row.cells else None for c in record.columns)] for row in record.rows
    ]
    run.tracker.table("rows", ["row", *record.columns], cells)
    verdicts = [[claim.name, claim.verdict, claim.statement] for claim in record.claims]
    run.tracker.table("claims", ["claim", "verdict", "statement"], verdicts)
    for caption, figure in result.figures.items():
        run.tracker.figure(caption, figure)
