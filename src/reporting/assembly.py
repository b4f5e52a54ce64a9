"""From an experiment's result to the record of its run: claims are decided here, circumstances added."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import OctoberError
from .claims import decide
from .environment import hardware, peak_memory_bytes, versions
from .published import Published
from .records import Figure, Record, Result, Size


@dataclass(frozen=True)
class RunFacts:
    """What whoever runs an experiment knows of the run.

    Attributes:
        table: The experiment's table, as in `experiment=paper/table`.
        size: Its size.
        seeds: Those that it looped over; none where it takes none.
        config: The resolved config.
        started: When it first began, ISO 8601 in UTC.
        wall_seconds: Its wall time, earlier tries included.
        commit: The commit of the code; None outside a checkout.
        clean: Whether all of the run was made by exactly that code.
    """

    table: str
    size: Size
    seeds: list[int]
    config: Mapping[str, Any]
    started: str
    wall_seconds: float
    commit: str | None
    clean: bool


def assemble(result: Result, published: Published, facts: RunFacts) -> Record:
    """Return the record of a finished run, with a verdict on every claim that this table decides.

    Raises:
        OctoberError: A row's name is doubled, or it stands beside a published row that does not exist.
    """
    names = [row.name for row in result.rows]
    for row in result.rows:
        if names.count(row.name) > 1:
            raise OctoberError(f"{published.paper}/{facts.table}: two rows are called {row.name!r}")
        if row.published is not None:
            published.row(facts.table, row.published)
    return Record(
        paper=published.paper,
        table=facts.table,
        size=facts.size,
        seeds=facts.seeds,
        columns=result.columns,
        rows=result.rows,
        claims=[
            decide(claim, result.evidence, facts.size, result.undecided) for claim in published.claims_of(facts.table)
        ],
        config=dict(facts.config),
        commit=facts.commit,
        clean=facts.clean,
        hardware=hardware(),
        versions=versions(),
        started=facts.started,
        wall_seconds=facts.wall_seconds,
        peak_memory_bytes=peak_memory_bytes(),
        fingerprints=dict(result.fingerprints),
        figures=[Figure(file=Path(path).name, caption=caption) for caption, path in result.figures.items()],
    )
