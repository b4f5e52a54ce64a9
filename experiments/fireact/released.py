"""What the authors released, computed anew: scores from their dumps of evaluations, counts from their training files.

A dump has a row for each question that was finished, so those that are missing count as wrong.
"""

import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from october.agents import METHODS
from october.agents.fireact import ReleasedFolder, f1_for, read_alpaca, read_dump, reward_for
from october.agents.fireact.released_folder import AUTHORS
from october.data import shuffled_rows
from october.errors import OctoberError
from october.evaluation import exact_cell, percent_cell, points_cell
from october.evaluation.answers import normalize_answer
from october.evaluation.cells import PERCENT, bootstrap_cell
from october.experiments.fireact._cells import METHOD_NAMES
from october.files import content_hash, sha256_of
from october.reporting import Cell, Result, Row, draw_rows
from october.reporting.published import published_of
from october.run import Run

SEVEN, THIRTEEN, GPT = "Llama-2-7B", "Llama-2-13B", "GPT-3.5"
MODELS = {"llama-2-7b": SEVEN, "llama-2-13b": THIRTEEN, "gpt-3.5": GPT}  # by what stands in a dump's name
NUM_QUESTIONS, NUM_ROWS, SEED = 500, 7405, 233  # of HotpotQA's development questions
_RANGE = re.compile(r"hotpotqa_dev_(\d+)_(\d+)_")
Dumped = Mapping[str, Any]


def released(released: ReleasedFolder, run: Run) -> Result:
    """Score the dumps and count the training files of a folder; without one, say where there is one.

    Args:
        released: The authors' files.
        run: The run.
    """
    evaluated = {"evaluated questions": content_hash(shuffled_rows(NUM_ROWS, NUM_QUESTIONS, SEED))}
    if released.folder is None:
        print(f"october: nothing is computed without released.folder=FOLDER, a clone of {AUTHORS}", file=sys.stderr)
        rows = [Row(name=name, cells={"EM": Cell()}, published=name, status="not run") for name in MODELS.values()]
        return Result(rows=rows, evidence={}, fingerprints=evaluated)
    paths = named(released.dumps())
    dumps = {name: run.once(f"dump {path.name}", scored, path) for name, path in paths.items()}
    files = {path.stem: run.once(f"training {path.name}", counted, path) for path in released.training_files()}
    rows = [dump_row(name, dump) for name, dump in dumps.items()]
    title = "Exact match of the released evaluations"
    return Result(
        rows=[*rows, *(training_row(name, counts) for name, counts in files.items())],
        evidence=evidence(dumps, files),
        figures={title: draw_rows(run.figures, "released", rows, "EM")} if rows else {},
        fingerprints=evaluated
        | {path.name: sha256_of(path)[:16] for path in (*paths.values(), *released.training_files())},
    )


def named(paths: Sequence[Path]) -> dict[str, Path]:
    """Return dumps by the model that their names tell; the second of one model, and others, by the file's name."""
    names: dict[str, Path] = {}
    for path in paths:
        model = next((name for part, name in MODELS.items() if part in path.name.lower()), path.stem)
        names[path.stem if model in names else model] = path
    return names


def asked_in(path: Path) -> list[int]:
    """Return the rows of HotpotQA's development questions that were asked, as the seed picks them for a dump's name."""
    found = _RANGE.search(path.name)
    start, end = (int(found[1]), int(found[2])) if found else (0, NUM_QUESTIONS)
    return shuffled_rows(NUM_ROWS, end, SEED)[start:]


def scored(path: Path) -> dict[str, Any]:
    """Return what a dump is worth, question by question, and what is odd about it.

    Raises:
        OctoberError: The file is no dump, or of other questions.
    """
    read, asked = read_dump(path), asked_in(path)
    names = {str(row) for row in asked}
    if not names & read.answers.keys():
        raise OctoberError(f"{path}: has none of the {len(asked)} questions of HotpotQA that seed {SEED} picks")
    reward, f1 = reward_for("hotpotqa"), f1_for("hotpotqa")
    assert f1 is not None
    worth = {name: (reward(a.prediction, [a.gold]), f1(a.prediction, [a.gold])) for name, a in read.answers.items()}
    finished = [made for made in read.trajectories if made.id in names]
    otherwise = [
        normalize_answer(made.answer or "") != normalize_answer(read.answers[made.id].prediction) for made in finished
    ]
    return {
        "EM": [worth.get(str(row), (0.0, 0.0))[0] for row in asked],
        "F1": [worth.get(str(row), (0.0, 0.0))[1] for row in asked],
        "searches": [made.num_searches for made in finished],
        "finished": len(names & read.answers.keys()),
        "other questions": len(read.answers.keys() - names),
        "scored otherwise": sum(
            abs(worth[name][0] - theirs.exact_match) + abs(worth[name][1] - theirs.f1) > 1e-6
            for name, theirs in read.answers.items()
        ),
        "answer read otherwise": sum(otherwise),
        "unread": len(read.bad),
    }


def counted(path: Path) -> dict[str, int]:
    """Return how many rows a file to learn from has, of each method, that failed, and without a trajectory.

    Raises:
        OctoberError: The file is of another format.
    """
    read = read_alpaca(path)
    if not read.trajectories:
        reason = f" (row {read.bad[0].number}: {read.bad[0].reason})" if read.bad else ""
        raise OctoberError(f"{path}: holds no trajectory{reason}")
    methods = Counter(made.method for made in read.trajectories)
    return {
        "rows": len(read.trajectories) + len(read.bad),
        **{METHOD_NAMES[method]: methods[method] for method in METHODS if methods[method]},
        "failed": sum(made.reward == 0 for made in read.trajectories),
        "unread": len(read.bad),
    }


def dump_row(name: str, dump: Dumped) -> Row:
    """Return the row of a dump."""
    searches = dump["searches"]
    counts = ("finished", "other questions", "scored otherwise", "answer read otherwise", "unread")
    cells = {"EM": percent_cell(dump["EM"]), "F1": percent_cell(dump["F1"]), "finished": Cell(value=dump["finished"])}
    if searches:
        cells["searches"] = bootstrap_cell(searches)
        cells["no search"] = Cell(value=searches.count(0))
    cells |= {count: Cell(value=dump[count]) for count in counts}
    return Row(name=name, cells=cells, published=name if name in MODELS.values() else None, status="reproduced")


def training_row(name: str, counts: Mapping[str, int]) -> Row:
    """Return the row of a file to learn from."""
    there = {row.name for row in published_of("fireact").table("training_files").rows}
    return Row(
        name=f"training file {name}",
        cells={count: Cell(value=value) for count, value in counts.items()},
        published=f"training_files/{name}" if name in there else None,
        status="reproduced",
    )


def evidence(dumps: Mapping[str, Dumped], files: Mapping[str, Mapping[str, int]]) -> dict[str, Cell]:
    """Return what decides the claims, as far as the files are there."""
    found: dict[str, Cell] = {}
    published = {row.name: row.cells["EM"] for row in published_of("fireact").table("released").rows}
    known = [name for name in dumps if name in published]
    if known:
        means = {name: PERCENT * sum(dumps[name]["EM"]) / len(dumps[name]["EM"]) for name in known}
        apart = max(abs(means[name] - float(published[name] or 0)) for name in known)
        found["EM, largest difference of a dump from the published"] = exact_cell(apart, "points")
    if {SEVEN, THIRTEEN} <= dumps.keys() and len(dumps[SEVEN]["EM"]) == len(dumps[THIRTEEN]["EM"]):
        found["EM, Llama-2-13B over Llama-2-7B"] = points_cell(dumps[THIRTEEN]["EM"], dumps[SEVEN]["EM"])
    if files:
        found["failed trajectories in a training file, at most"] = exact_cell(
            max(counts["failed"] for counts in files.values())
        )
    return found
