"""The command `october-report`: the page, the Markdown tables, and what is recorded."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import OctoberError
from ..files import write_whole

if TYPE_CHECKING:
    from .published import Published
    from .store import Entry

DESCRIPTION = "Show what was run beside what the papers published, and record runs."
EPILOG = """\
Without --record, --markdown or --check: reads results/ and outputs/, writes the page and one Markdown file a paper
beside it, and prints the summary.
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; a mistake of the user ends it with one line and exit status 2, stale files with 1."""
    options = _parser().parse_args(argv)
    try:
        if options.record is not None:
            _record(options.record, options.results, options.outputs)
        if options.markdown or options.check:
            _generated(options.results, check=options.check)
        if options.record is None and not options.markdown and not options.check:
            _report(options.results, options.outputs, options.page)
    except OctoberError as error:
        print(f"october-report: {error}", file=sys.stderr)
        sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="october-report", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help="recorded runs (results)")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), metavar="DIR", help="your runs (outputs)")
    parser.add_argument("--page", type=Path, default=Path("report/index.html"), help="where to write the page")
    parser.add_argument(
        "--record",
        nargs="*",
        metavar="RUN",
        help="copy these runs' records to results/ (without RUN: the newest of each table, device and size)",
    )
    parser.add_argument("--markdown", action="store_true", help="fill the generated parts of the README files anew")
    parser.add_argument("--check", action="store_true", help="fail where a generated part of a README file is stale")
    return parser


def _record(folders: list[str], results: Path, outputs: Path) -> None:
    from . import store

    store.require_clean_tree()
    problems: list[str] = []
    if folders:
        runs = [store.run_at(folder) for folder in folders]
    else:
        runs, problems = store.newest_runs(outputs)
        runs = store.without_recorded(runs, store.recorded(results))
    accepted, refused = store.recordable(runs)
    _warn([*problems, *refused])
    if folders and refused:
        raise OctoberError("nothing was recorded")
    for entry in accepted:
        path, left_out = store.keep(entry, results)
        _warn(left_out)
        print(f"recorded: {path}")
    if not accepted:
        print(f"nothing new to record under {outputs}")


def _generated(results: Path, check: bool) -> None:
    from .benchmarks import benchmarks_by_name
    from .published import papers
    from .readme import readme_files, regenerated
    from .store import recorded

    records = [entry.record for entry in recorded(results)]
    benchmarks = benchmarks_by_name("benchmarks", results / "benchmarks")
    stale = regenerated(readme_files(Path()), papers(), records, benchmarks)
    if check:
        for path in stale:
            print(f"{path}: not what {results}/ says; run october-report --markdown", file=sys.stderr)
        if stale:
            sys.exit(1)
        return
    for path, text in stale.items():
        write_whole(path, text)
        print(f"written: {path}")


def _report(results: Path, outputs: Path, page: Path) -> None:
    from . import store
    from .page import linked_pages, render, write_markdown
    from .published import papers
    from .tables import summary

    published = papers()
    kept = store.recorded(results)
    runs, problems = store.newest_runs(outputs)
    runs, strangers = _known(store.without_recorded(runs, kept), published)
    unknown = sorted({entry.record.paper for entry in kept} - set(published))
    if unknown:
        raise OctoberError(
            f"{results}/{unknown[0]}: no experiments/{unknown[0]}/published.yaml says what the paper found"
        )
    _warn([*problems, *strangers])
    write_whole(page, render(published, kept, runs, results / "benchmarks"))
    for place, source in linked_pages(kept, runs).items():
        write_whole(page.parent / place, source.read_bytes())
    written = write_markdown(page.parent, published, kept, runs)
    for title, entries in (("Recorded", kept), ("Your runs", runs)):
        if entries or (title == "Recorded" and not runs):
            print(f"{title}\n\n{summary(list(published.values()), [entry.record for entry in entries])}\n")
    print(f"tables: {', '.join(map(str, written)) or 'none'}\npage:   {page.resolve()}")


def _known(runs: Sequence["Entry"], published: Mapping[str, "Published"]) -> "tuple[list[Entry], list[str]]":
    """Split the user's runs into those that can be shown and one line for each that cannot."""
    from .tables import view

    known, problems = [], []
    for entry in runs:
        try:
            if entry.record.paper not in published:
                raise OctoberError(f"no experiments/{entry.record.paper}/published.yaml says what the paper found")
            view(entry.record, published[entry.record.paper])
            known.append(entry)
        except OctoberError as error:
            problems.append(f"{entry.path}: not shown: {error}")
    return known, problems


def _warn(lines: Sequence[str]) -> None:
    for line in lines:
        print(f"october-report: {line}", file=sys.stderr)


if __name__ == "__main__":
    main()
