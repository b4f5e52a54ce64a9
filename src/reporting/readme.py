"""The parts of README files that are made from records, never typed.

A file marks such a part with two comment lines, and what stands between them is replaced:

    <!-- results:start -->                  the summary of all papers
    <!-- table:NAME/TABLE:start -->         our table beside theirs
    <!-- claims:NAME:start -->              the paper's claims with their verdicts
    <!-- published:NAME:start -->           every table and figure of the paper, and what becomes of it here
    <!-- cells:NAME/ID:start -->            what the paper prints in the table of that id in published.yaml
    <!-- benchmark:NAME:start -->           what benchmarks/NAME.py measured beside its peers, and the bars
    <!-- ...:end -->
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import OctoberError
from .benchmarks import benchmark_block
from .published import Published
from .records import Record
from .tables import (
    beside,
    best_per_table,
    circumstances,
    claims_table,
    comparison,
    paper_claims,
    published_cells,
    published_tables,
    summary,
    tally,
)

_MARK = re.compile(r"^<!-- (\w+)(?::([\w/.-]+))?:(start|end) -->[ \t]*$", re.MULTILINE)


def regenerated(
    files: Sequence[Path],
    papers: Mapping[str, Published],
    records: Sequence[Record],
    benchmarks: Mapping[str, Sequence[Mapping[str, Any]]] = MappingProxyType({}),
) -> dict[Path, str]:
    """Return the new text of every file whose generated parts are not what the records say.

    Args:
        files: Where they stand.
        papers: By name.
        records: Of tables.
        benchmarks: As `benchmarks_by_name` gives them.

    Raises:
        OctoberError: A part that is opened and not closed, or that names something unknown.
    """
    changed = {}
    for path in files:
        text = path.read_text(encoding="utf-8")
        new = _filled(path, text, partial(_block, papers=papers, records=records, benchmarks=benchmarks))
        if new != text:
            changed[path] = new
    return changed


def readme_files(root: Path) -> list[Path]:
    """Return the README files under the root of the checkout that exist."""
    return [path for path in [root / "README.md", *sorted(root.glob("experiments/*/README.md"))] if path.exists()]


def table_block(published: Published, table: str, records: Sequence[Record]) -> str:
    """Return our table beside theirs, from the record of the largest size on each device."""
    name = f"{published.paper}/{table}"
    chosen = [
        record
        for device in ("cpu", "gpu")
        for record in best_per_table(record for record in records if record.hardware.device == device)
        if record.name == name
    ]
    if not chosen:
        return f"Not recorded yet: `october experiment={name}` runs it."
    captions = "\n".join(f"- {beside(entry)}" for entry in published.tables_of(table))
    shown = [f"{comparison(record, published)}\n\nRun: {circumstances(record)}." for record in chosen]
    return "\n\n".join(part for part in [captions, *shown] if part)


def claims_block(published: Published, records: Sequence[Record]) -> str:
    """Return a paper's claims with their verdicts."""
    claims = paper_claims(published, [record for record in records if record.paper == published.paper])
    return f"{tally(claims)}.\n\n{claims_table(claims)}" if claims else "The paper's claims are not written down yet."


def _filled(path: Path, text: str, block_of: Callable[[Path, str, str], str]) -> str:
    marks = list(_MARK.finditer(text))
    parts, position = [], 0
    for opening, closing in zip(marks[::2], [*marks[1::2], None], strict=False):
        if (
            closing is None
            or opening[3] != "start"
            or closing[3] != "end"
            or opening.group(1, 2) != closing.group(1, 2)
        ):
            raise OctoberError(f"{path}: {opening[0].strip()} is not followed by its own end mark")
        block = block_of(path, opening[1], opening[2] or "")
        parts += [text[position : opening.end()], f"\n\n{block}\n\n"]
        position = closing.start()
    return "".join([*parts, text[position:]])


def _block(
    path: Path,
    kind: str,
    name: str,
    papers: Mapping[str, Published],
    records: Sequence[Record],
    benchmarks: Mapping[str, Sequence[Mapping[str, Any]]],
) -> str:
    if kind == "benchmark" and name in benchmarks:
        return benchmark_block(name, benchmarks[name])
    if kind == "results" and not name:
        return summary(list(papers.values()), records, links=True)
    paper, _, table = name.partition("/")
    if kind == "cells" and paper in papers and any(entry.id == table for entry in papers[paper].tables):
        return published_cells(papers[paper].table(table))
    if kind not in ("table", "claims", "published") or paper not in papers or bool(table) != (kind == "table"):
        raise OctoberError(
            f"{path}: nothing is known to fill {kind}:{name} with (papers: {', '.join(papers) or 'none'})"
        )
    if kind == "table":
        return table_block(papers[paper], table, records)
    return claims_block(papers[paper], records) if kind == "claims" else published_tables(papers[paper])
