"""`make reproduce`: run each paper's headline table (or every table of one paper), then write the report.

A table that was already run to the end by this very code with this very config is not run again.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from . import catalogue
from .errors import OctoberError
from .reporting.records import SIZES


def main(argv: list[str] | None = None) -> None:
    """Run the tables one after the other, each in a process of its own, and end with the summary."""
    parser = argparse.ArgumentParser(prog="october.reproduce", description=__doc__.splitlines()[0])
    parser.add_argument("--paper", help="every table of this paper (default: each paper's headline table)")
    parser.add_argument("--size", default="small", choices=SIZES)
    arguments = parser.parse_args(argv)
    try:
        names = tables_of(arguments.paper) if arguments.paper else headline_tables()
        reproduce(names, arguments.size)
    except OctoberError as error:
        print(f"october: {error}", file=sys.stderr)
        sys.exit(2)


def reproduce(names: list[str], size: str) -> None:
    """Run the experiments called `names` at `size` and write the report."""
    from .reporting import cli as report

    for position, name in enumerate(names, start=1):
        print(f"[{position}/{len(names)}] {name} at size={size}", flush=True)
        if done := finished_run(name, size):
            print(f"  already run by this code with this config: {done}")
            continue
        started = time.monotonic()
        command = [sys.executable, "-m", "october", f"experiment={name}", f"size={size}", "resume=true"]
        if subprocess.run(command).returncode != 0:
            raise OctoberError(f"{name} failed; the same command goes on where it stopped: {' '.join(command[1:])}")
        print(f"  {time.monotonic() - started:.0f} s", flush=True)
    report.main([])


def headline_tables() -> list[str]:
    """Return each paper's headline experiment: the first of `headlines` in its `published.yaml`."""
    from .reporting.published import papers

    return [f"{name}/{next(iter(published.headlines))}" for name, published in papers().items()]


def tables_of(paper: str) -> list[str]:
    """Return the experiments of one paper that run on this machine (those of its own scale, `*_paper`, do not)."""
    names = [name for name in catalogue.choices("experiment") if name.startswith(f"{paper}/")]
    if not names:
        known = sorted({name.split("/")[0] for name in catalogue.choices("experiment")})
        raise OctoberError(f"PAPER={paper}: no such paper{catalogue.did_you_mean(paper, known)}")
    return [name for name in names if not name.endswith("_paper")]


def finished_run(name: str, size: str) -> Path | None:
    """Return the folder of a finished run of the same config by the same, committed code; None if there is none."""
    from .configuration import composed, resolved
    from .reporting.environment import commit
    from .run import config_hash

    revision, clean = commit()
    digest = config_hash(resolved(composed([f"experiment={name}", f"size={size}", "resume=true"])))
    for path in sorted(Path("outputs", name).glob("*/run.json"), reverse=True):
        state = json.loads(path.read_text())
        same_code = clean and state["clean"] and state["commit"] == revision
        if state["status"] == "finished" and same_code and state["config_hash"] == digest:
            return path.parent
    return None


if __name__ == "__main__":
    main()
