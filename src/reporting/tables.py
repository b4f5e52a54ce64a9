"""Our rows beside the published ones, claims and summaries: as plain data for the page, as Markdown everywhere else."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from .published import Claim, Published, PublishedRow, PublishedTable
from .records import SIZES, Cell, ClaimResult, Record, Row, Verdict
from .text import NOTHING, aligned, cell_text, duration, number

UNVERIFIED = "unverified"
NOT_TESTED: Verdict = "not tested at this scale"
PUBLISHED_STATUS = {"run": "run", "paper_config": "config only", "not_run": "not run"}


@dataclass(frozen=True)
class Line:
    """A line of a table as it is shown: `source` says whose numbers these are."""

    source: Literal["ours", "published"]
    name: str
    note: str
    cells: list[str]
    n: str
    status: str


@dataclass(frozen=True)
class View:
    """A table as it is shown."""

    columns: list[str]
    lines: list[Line]


def view(record: Record, published: Published) -> View:
    """Return our rows, each followed by the published row it stands beside, then the published rows not run here."""
    groups: dict[str | None, list[Row]] = {}
    for row in record.rows:
        groups.setdefault(row.published, []).append(row)
    pairs = {name: published.row(record.table, name) for name in groups if name is not None}
    rest = _not_run(record, published, [row for _, row in pairs.values()])
    columns = _all_columns(record, [row for _, row in [*pairs.values(), *rest]])
    units = {column: _shared_unit(record.rows, column) for column in columns}
    lines = []
    for name, rows in groups.items():
        lines += [_our_line(row, columns, units) for row in rows]
        if name is not None:
            lines.append(_published_line(*pairs[name], columns, "published"))
    lines += [_published_line(table, row, columns, "not run") for table, row in rest]
    headers = [f"{column} ({units[column]})" if units[column] else column for column in columns]
    return View(headers, lines)


def comparison(record: Record, published: Published) -> str:
    """Return a record's table in Markdown, published rows in italics."""
    shown = view(record, published)
    rows = []
    for line in shown.lines:
        label = f"{line.name}, {line.note}" if line.note else line.name
        rows.append([label if line.source == "ours" else f"*{label}*", *line.cells, line.n, line.status])
    return aligned(["row", *shown.columns, "n", "status"], rows)


def circumstances(record: Record) -> str:
    """Return one line on how a record was made: size, machine, time, memory, code."""
    gpu = f"{record.hardware.gpus} x {record.hardware.gpu}" if record.hardware.gpu else ""
    threads = record.hardware.threads
    machine = gpu or f"{record.hardware.cpu}, {threads} thread{'s' * (threads != 1)}"
    code = f"commit {record.commit[:10]}" if record.commit else "no commit"
    tree = "" if record.clean else " with uncommitted changes"
    seeds = f"{len(record.seeds)} seed{'s' * (len(record.seeds) != 1)}" if record.seeds else ""
    parts = [f"size={record.size}", seeds, machine, duration(record.wall_seconds), code + tree, record.started[:10]]
    return ", ".join(part for part in parts if part)


def claims_table(claims: Iterable[ClaimResult]) -> str:
    """Return claims with their verdicts in Markdown; empty where there are none."""
    rows = [
        [f"**{claim.verdict}**", claim.statement, claim.where, evidence_text(claim), claim.reason] for claim in claims
    ]
    return aligned(["verdict", "claim", "where", "evidence", "why"], rows) if rows else ""


def evidence_text(claim: ClaimResult) -> str:
    """Return what was measured for a claim beside what it asks: `0.21 ± .02 (claim: > 0.15)`."""
    measured = cell_text(claim.evidence) if claim.evidence else "not measured"
    return f"{measured} (claim: {claim.direction} {claim.margin:g})"


def beside(table: PublishedTable) -> str:
    """Return one line on a published table that ours stands beside, and on what differs."""
    differs = f" What differs: {table.why}" if table.why else ""
    return f"{numbered(table)}: {table.what.rstrip('.')}.{differs}"


def numbered(table: PublishedTable) -> str:
    """Return a published table's number, marked where it was not verified."""
    return table.number if table.verified else f"{table.number} (number {UNVERIFIED})"


def paper_claims(published: Published, records: Sequence[Record]) -> list[ClaimResult]:
    """Return every claim of a paper as the largest, then newest, record that judged it did.

    A verdict counts for the claim as it is written now: one whose metric, direction or margin was changed after the
    run is not tested.
    """
    judged: dict[str, ClaimResult] = {}
    for record in sorted(records, key=_largest_newest_last):
        for claim in record.claims:
            if claim.name not in judged or claim.verdict != NOT_TESTED:
                judged[claim.name] = claim
    return [_as_written(claim, judged.get(claim.name)) for claim in published.claims]


def _as_written(claim: Claim, judged: ClaimResult | None) -> ClaimResult:
    rule = (claim.metric, claim.direction, claim.margin)
    if judged is not None and (judged.metric, judged.direction, judged.margin) == rule:
        return judged
    shared = claim.model_dump(include={"name", "statement", "where", "metric", "direction", "margin"})
    reason = f"no record of {claim.table} judged it" if judged is None else "the claim was changed after the run"
    return ClaimResult(**shared, verdict=NOT_TESTED, evidence=None, reason=reason)


def tally(claims: Sequence[ClaimResult]) -> str:
    """Return `2 of 6 hold; does not hold: scale; undecided: prompts; 2 not tested`."""
    if not claims:
        return "no claims"
    holding = _named(claims, "holds")
    parts = [f"{len(holding)} of {len(claims)} hold"]
    if failing := _named(claims, "does not hold"):
        parts.append(f"**does not hold: {', '.join(failing)}**")
    if undecided := _named(claims, "undecided"):
        parts.append(f"undecided: {', '.join(undecided)}")
    if untested := _named(claims, NOT_TESTED):
        parts.append(f"{len(untested)} not tested")
    return "; ".join(parts)


def best_per_table(records: Iterable[Record]) -> list[Record]:
    """Return one record for each table: of the largest size, of those the newest."""
    best: dict[str, Record] = {}
    for record in sorted(records, key=_largest_newest_last):
        best[record.name] = record
    return [best[name] for name in sorted(best)]


def summary(published: Sequence[Published], records: Sequence[Record], links: bool = False) -> str:
    """Return for each paper its headline number, ours beside the published, and its claims, in Markdown.

    Args:
        published: The papers, in order; those without a record are left out.
        records: Of any papers.
        links: Whether a paper's title leads to its page, as in the README.
    """
    rows = []
    for paper in published:
        own = [record for record in records if record.paper == paper.paper]
        if own:
            rows.append([_title(paper, links), *_summary_cells(paper, own)])
    header = ["paper", "table", "ours", "run at", "published", "status", "claims"]
    return aligned(header, rows) if rows else "No runs are recorded yet."


def published_tables(published: Published) -> str:
    """Return every table and figure of a paper in Markdown, with what becomes of it here and why."""
    rows = [
        [
            numbered(table),
            table.what,
            f"`{table.experiment}`" if table.experiment else NOTHING,
            PUBLISHED_STATUS[table.status],
            table.why or NOTHING,
        ]
        for table in published.tables
    ]
    return aligned(["in the paper", "what", "experiment", "here", "why, or what differs"], rows)


def published_cells(table: PublishedTable) -> str:
    """Return what a published table prints, in Markdown: for tables that nothing here stands beside."""
    rows = [[row.name, *(_plain(row.cells.get(column)) for column in table.columns)] for row in table.rows]
    return f"{numbered(table)}: {table.what.rstrip('.')}.\n\n{aligned(['row', *table.columns], rows)}"


def headline(record: Record, published: Published) -> tuple[Row, str] | None:
    """Return the row and column that stand for a record.

    They are those that `headlines` names where the record has them; otherwise the first number of the first row
    beside a published one, or of the first row.
    """
    wanted = published.headlines.get(record.table)
    if wanted is not None:
        for row in record.rows:
            if row.name == wanted.row and wanted.column in row.cells:
                return row, wanted.column
    for row in sorted(record.rows, key=lambda row: row.published is None):
        for column in record.columns:
            if _is_number(row.cells.get(column)):
                return row, column
    return None


def _largest_newest_last(record: Record) -> tuple[int, str]:
    return SIZES.index(record.size), record.started


def _title(paper: Published, links: bool) -> str:
    return f"[{paper.title}](experiments/{paper.paper}/README.md)" if links else paper.paper


def _summary_cells(paper: Published, records: Sequence[Record]) -> list[str]:
    best = best_per_table(records)
    record = next((record for record in best if record.name == paper.headline), best[0])
    claims = tally(paper_claims(paper, records))
    run_at = f"{record.size}, {record.hardware.device}"
    found = headline(record, paper)
    if found is None:
        return [record.table, NOTHING, run_at, NOTHING, NOTHING, claims]
    row, column = found
    ours = f"{row.name}, {column}: {cell_text(row.cells[column])}"
    theirs = "{} ({})".format(*published_number(record, paper, row, column)) if row.published else NOTHING
    return [record.table, ours, run_at, theirs, row.status, claims]


def published_number(record: Record, paper: Published, row: Row, column: str) -> tuple[str, str]:
    """Return the number that the paper has in the place of ours, and whose it is: ('0.881', 'Llama-2-7B, Table 2')."""
    if row.published is None:
        return NOTHING, "the paper has no such row"
    table, theirs = paper.row(record.table, row.published)
    return _plain(theirs.cells.get(column)), f"{theirs.name}, {_note(table, theirs)}"


def _not_run(
    record: Record, published: Published, shown: Sequence[PublishedRow]
) -> list[tuple[PublishedTable, PublishedRow]]:
    pairs = [(table, row) for table in published.tables_of(record.table) for row in table.rows]
    return [pair for pair in pairs if not any(pair[1] is row for row in shown)]


def _all_columns(record: Record, rows: Iterable[PublishedRow]) -> list[str]:
    theirs = (column for row in rows for column in row.cells)
    return list(dict.fromkeys([*record.columns, *theirs]))


def _shared_unit(rows: Iterable[Row], column: str) -> str | None:
    units = {row.cells[column].unit for row in rows if column in row.cells and row.cells[column].value is not None}
    return units.pop() if len(units) == 1 else None


def _our_line(row: Row, columns: Sequence[str], units: dict[str, str | None]) -> Line:
    cells = [cell_text(row.cells.get(column), unit=units[column] is None) for column in columns]
    counts = sorted({cell.n for cell in row.cells.values() if cell.n is not None})
    n = number(counts[0]) if len(counts) == 1 else f"{number(counts[0])}–{number(counts[-1])}" if counts else NOTHING
    return Line("ours", row.name, "", cells, n, row.status)


def _published_line(table: PublishedTable, row: PublishedRow, columns: Sequence[str], status: str) -> Line:
    cells = [_plain(row.cells.get(column)) for column in columns]
    return Line("published", row.name, _note(table, row), cells, NOTHING, status)


def _note(table: PublishedTable, row: PublishedRow) -> str:
    """Return where a published row stands, marked where its numbers were not verified."""
    return table.number if row.verified else f"{table.number}, {UNVERIFIED}"


def _plain(value: float | int | str | None) -> str:
    """Return a published value as the paper prints it."""
    if value is None:
        return NOTHING
    return f"{value:,}" if isinstance(value, int) else str(value)


def _is_number(cell: Cell | None) -> bool:
    return cell is not None and isinstance(cell.value, int | float) and not isinstance(cell.value, bool)


def _named(claims: Iterable[ClaimResult], verdict: Verdict) -> list[str]:
    return [claim.name for claim in claims if claim.verdict == verdict]
