"""The report: one HTML page that holds everything, asks the network for nothing and runs no script.

Figures are inlined as data, so that the page can be mailed or archived; a picture inside an `<img>` cannot run code.
What is a page of its own (trajectories to look through) lies beside it in the folder `pages`, and is linked.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import yaml
from jinja2 import Environment, StrictUndefined

from ..files import write_whole
from . import tables, text
from .benchmarks import bar_text, recorded_benchmarks
from .published import Published, PublishedTable, experiments_folder
from .readme import claims_block
from .records import ClaimResult, Figure, Record, Verdict
from .store import Entry

VERDICTS: dict[Verdict, tuple[str, str]] = {  # verdict to (CSS class, sign), so that colour is never the only sign
    "holds": ("holds", "✓"),
    "does not hold": ("fails", "✗"),
    "undecided": ("undecided", "?"),
    "not tested at this scale": ("untested", "–"),
}
_PLOT_WIDTH = 240.0
_PLOT_MARGIN = 12.0


@dataclass(frozen=True)
class Picture:
    """A figure as it stands in the page, or a page that it links to; `source` is None where its file is gone."""

    caption: str
    source: str | None


@dataclass(frozen=True)
class Shown:
    """A record as it stands in the page."""

    record: Record
    mine: bool
    view: tables.View
    pictures: list[Picture]
    pages: list[Picture]
    circumstances: str
    memory: str
    config: str


@dataclass(frozen=True)
class Experiment:
    """A table of ours with all that was run of it, and the published tables it stands beside."""

    name: str
    anchor: str
    beside: list[PublishedTable]
    shown: list[Shown]


@dataclass(frozen=True)
class Paper:
    """A paper as it stands in the page."""

    published: Published
    claims: list[ClaimResult]
    counts: dict[Verdict, int]
    headline: dict[str, str] | None
    experiments: list[Experiment]

    @property
    def judged(self) -> list[ClaimResult]:
        """Claims with a verdict, in the paper's order."""
        return [claim for claim in self.claims if claim.verdict != tables.NOT_TESTED]

    @property
    def untested(self) -> list[ClaimResult]:
        """Claims that nothing here tests."""
        return [claim for claim in self.claims if claim.verdict == tables.NOT_TESTED]

    @property
    def verified(self) -> set[str]:
        """Names of the claims whose place in the paper was checked."""
        return {claim.name for claim in self.published.claims if claim.verified}


def render(
    papers: Mapping[str, Published], kept: Sequence[Entry], runs: Sequence[Entry], benchmarks: str | Path
) -> str:
    """Return the page.

    Args:
        papers: What each paper says.
        kept: Recorded runs.
        runs: The user's own, shown beside them.
        benchmarks: Folder of benchmark files.
    """
    shown = [_paper(published, kept, runs) for published in papers.values()]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.globals.update(
        bar_text=bar_text,
        verdicts=VERDICTS,
        interval_plot=interval_plot,
        evidence_text=tables.evidence_text,
        numbered=tables.numbered,
        statuses=tables.PUBLISHED_STATUS,
    )
    environment.filters["capitalize_first"] = lambda sentence: sentence[:1].upper() + sentence[1:]
    template = environment.from_string(Path(__file__).with_name("report.html").read_text(encoding="utf-8"))
    totals = {verdict: sum(paper.counts[verdict] for paper in shown) for verdict in VERDICTS}
    cases = {name: entry["cases"] for name, entry in recorded_benchmarks(benchmarks).items()}
    return template.render(papers=shown, totals=totals, benchmarks=cases, notice=notice())


def linked_pages(kept: Sequence[Entry], runs: Sequence[Entry]) -> dict[str, Path]:
    """Return the pages that the report links to: from where each is to lie beside it to where it lies now."""
    entries = [(entry, False) for entry in kept] + [(entry, True) for entry in runs]
    pages = [(entry, figure, mine) for entry, mine in entries for figure in entry.record.figures if figure.is_page]
    places = {_page_place(entry, figure, mine): entry.figure(figure) for entry, figure, mine in pages}
    return {place: path for place, path in places.items() if place is not None}


def write_markdown(
    folder: str | Path, papers: Mapping[str, Published], kept: Sequence[Entry], runs: Sequence[Entry]
) -> list[Path]:
    """Write one Markdown file for each paper that has records, and return their paths."""
    written = []
    for name, published in papers.items():
        parts = [
            _section(label, record, published)
            for label, entries in (("Recorded:", kept), ("Your run:", runs))
            for record in (entry.record for entry in entries)
            if record.paper == name
        ]
        if parts:
            claims = claims_block(published, _judging(published, kept, runs))
            every = f"## Every table and figure of the paper\n\n{tables.published_tables(published)}\n"
            path = Path(folder) / f"{name}.md"
            write_whole(path, "\n\n".join([f"# {published.title}", claims, *parts, every]))
            written.append(path)
    return written


def interval_plot(claim: ClaimResult) -> dict[str, float] | None:
    """Return where margin, interval and value lie in a drawing 240 wide; None where there is no number to draw.

    The drawing spans margin and interval with a little room; an unbounded end runs to the edge. `side` and
    `side_width` mark the half-line on which the claim is true.
    """
    if claim.evidence is None or claim.evidence.interval is None:
        return None
    low, high = claim.evidence.bounds
    value = claim.evidence.value
    points = [claim.margin, *(bound for bound in (low, high) if math.isfinite(bound))]
    points += [float(value)] if isinstance(value, int | float) else []
    first, span = min(points), (max(points) - min(points)) or 1.0

    def place(point: float) -> float:
        inner = _PLOT_WIDTH - 4 * _PLOT_MARGIN
        return round(min(_PLOT_WIDTH, max(0.0, 2 * _PLOT_MARGIN + (point - first) / span * inner)), 1)

    margin = place(claim.margin)
    side = (margin, _PLOT_WIDTH - margin) if claim.direction == ">" else (0.0, margin)
    ends = (place(low) if math.isfinite(low) else 0.0, place(high) if math.isfinite(high) else _PLOT_WIDTH)
    dot = place(float(value)) if isinstance(value, int | float) else ends[0]
    return {"margin": margin, "side": side[0], "side_width": side[1], "low": ends[0], "high": ends[1], "value": dot}


def notice() -> str:
    """Return the licences and attributions of what october builds on, from the file NOTICE."""
    beside = experiments_folder().parent / "NOTICE"  # a checkout; a wheel keeps it in its metadata
    if beside.exists():
        return beside.read_text(encoding="utf-8")
    try:
        return metadata.distribution("october").read_text("licenses/NOTICE") or ""
    except metadata.PackageNotFoundError:
        return ""


def _paper(published: Published, kept: Sequence[Entry], runs: Sequence[Entry]) -> Paper:
    own_kept = [entry for entry in kept if entry.record.paper == published.paper]
    own_runs = [entry for entry in runs if entry.record.paper == published.paper]
    records = _judging(published, kept, runs)
    claims = tables.paper_claims(published, records)
    counts = {verdict: sum(claim.verdict == verdict for claim in claims) for verdict in VERDICTS}
    entries = [(entry, False) for entry in own_kept] + [(entry, True) for entry in own_runs]
    experiments = []
    for name in dict.fromkeys(sorted(entry.record.name for entry, _ in entries)):
        shown = [_shown(entry, published, mine) for entry, mine in entries if entry.record.name == name]
        beside = published.tables_of(name.partition("/")[2])
        experiments.append(Experiment(name, name.replace("/", "-"), beside, shown))
    experiments.sort(key=lambda experiment: experiment.name != published.headline)
    return Paper(published, claims, counts, _headline(published, records), experiments)


def _section(label: str, record: Record, published: Published) -> str:
    table = tables.comparison(record, published)
    captions = "".join(f"- {tables.beside(entry)}\n" for entry in published.tables_of(record.table))
    return f"## {label} `{record.name}`\n\n{captions}\n{table}\n\nRun: {tables.circumstances(record)}."


def _judging(published: Published, kept: Sequence[Entry], runs: Sequence[Entry]) -> list[Record]:
    """Return the records that a paper's claims are judged by: the recorded ones; the user's own until there are any."""
    own = [[entry.record for entry in entries if entry.record.paper == published.paper] for entries in (kept, runs)]
    return own[0] or own[1]


def _headline(published: Published, records: Sequence[Record]) -> dict[str, str] | None:
    best = {record.name: record for record in tables.best_per_table(records)}
    record = best.get(published.headline) or next(iter(best.values()), None)
    found = tables.headline(record, published) if record else None
    if record is None or found is None:
        return None
    row, column = found
    theirs, whose = tables.published_number(record, published, row, column)
    return {
        "ours": text.cell_text(row.cells[column]),
        "row": row.name,
        "column": column,
        "run_at": f"{record.name}, size={record.size}, {record.hardware.device}",
        "published": theirs,
        "whose": whose,
        "status": row.status,
    }


def _shown(entry: Entry, published: Published, mine: bool) -> Shown:
    record = entry.record
    pages = [figure for figure in record.figures if figure.is_page]
    pictures = [figure for figure in record.figures if not figure.is_page]
    return Shown(
        record=record,
        mine=mine,
        view=tables.view(record, published),
        pictures=[Picture(figure.caption, _data_uri(entry.figure(figure))) for figure in pictures],
        pages=[Picture(figure.caption, _page_place(entry, figure, mine)) for figure in pages],
        circumstances=tables.circumstances(record),
        memory=text.gibibytes(record.peak_memory_bytes),
        config=yaml.safe_dump(record.config, sort_keys=False, allow_unicode=True),
    )


def _page_place(entry: Entry, figure: Figure, mine: bool) -> str | None:
    """Return where a page is to lie, seen from the report, each in another place; None where its file is gone."""
    if not entry.figure(figure).is_file():
        return None
    name = f"mine.{Path(entry.record.file_name).stem}.{figure.file}" if mine else figure.file  # `store.keep` names it
    return f"pages/{entry.record.paper}/{name}"


def _data_uri(path: Path) -> str | None:
    if not path.is_file():
        return None
    kind = "image/svg+xml" if path.suffix == ".svg" else "image/png"
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
