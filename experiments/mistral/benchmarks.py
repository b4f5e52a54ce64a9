"""Table 2: accuracy on public benchmarks, by the `lm-eval` engine over any language model.

The embedded model answers four benchmarks of ours about countries; `benchmarks_paper` those of the paper. Beside the
model stands a guess; as a check, the engine's own adapter over the same weights must find the same answers right.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import PositiveInt

from october.errors import OctoberError
from october.evaluation import benchmark_values, check_importable, exact_cell, percent_cell
from october.experiments.mistral._harness_tasks import CHOICES, OFFLINE, TABLE_2, benchmark_named, chance
from october.files import content_hash
from october.language_models import ModelHandle, ServedHandle, TransformersLM
from october.reporting import Cell, Result, Row
from october.reporting.published import published_of
from october.run import Run

PERCENT = 100.0
OURS, THEIRS = "Mistral 7B", "Llama 2 13B"  # rows of Table 2
PUBLISHED = {"mistral_7b": OURS, "llama2_7b": "Llama 2 7B", "llama2_13b": THEIRS}


def benchmarks(
    model: ModelHandle | ServedHandle,
    benchmarks: list[str],
    num_questions: PositiveInt | None,
    num_checked: PositiveInt | None,
    data_folders: dict[str, str],
    allow_code: bool,
    run: Run,
) -> Result:
    """Measure a model on benchmarks.

    Args:
        model: Any language model.
        benchmarks: Columns of Table 2, or ours: capital, continent, currency, and `capital, written`.
        num_questions: The first so many of each task; null takes all.
        num_checked: Questions that the engine's own adapter answers too; null for none.
        data_folders: Folders with data sets in the hub's format, by benchmark; the others come from the hub.
        allow_code: Run the programs that a model writes (HumanEval, MBPP).
        run: The run.
    """
    check(benchmarks, data_folders, allow_code=allow_code)
    right = {
        name: run.once(name, values, model, name, num_questions, data_folders.get(name), allow_code, run.folder)
        for name in run.progress(benchmarks, "benchmarks")
    }
    evidence = {f"columns of Table 2 in which {OURS} is above {THEIRS}": exact_cell(columns_above())}
    beside = PUBLISHED if run.table == "benchmarks" else {}  # the other is the paper's own scale
    cells = {name: percent_cell(cases) for name, cases in right.items()}
    rows = [Row(name=model.name, cells=cells, published=beside.get(model.name))]
    if set(benchmarks) & set(OFFLINE):
        guesses = {name: Cell(value=PERCENT * chance(name), unit="%") for name in benchmarks if name in OFFLINE}
        rows.append(Row(name="a guess", cells=guesses))
    if num_checked is not None:
        checked = {
            name: run.once(f"{name}, checked", disagreements, model, name, right[name][:num_checked], run.folder)
            for name in run.progress([name for name in benchmarks if name in CHOICES], "the engine's own adapter")
        }
        cells = {name: exact_cell(different) for name, different in checked.items()}
        rows.append(Row(name=f"answered differently by the engine's own adapter, of {num_checked}", cells=cells))
        evidence["questions answered differently by the engine's own adapter"] = exact_cell(sum(checked.values()))
    return Result(
        rows=rows,
        evidence=evidence,
        fingerprints={"benchmarks": content_hash(benchmarks), model.name: model.fingerprint()},
    )


def check(names: list[str], data_folders: Mapping[str, str], *, allow_code: bool) -> None:
    """Refuse what cannot be measured before a model is loaded.

    Raises:
        OctoberError: No benchmark, an unknown one, one that runs programs without leave, a folder that is not there,
            or something that the engine needs for a benchmark is not installed.
    """
    known = (*OFFLINE, *TABLE_2)
    if not names:
        raise OctoberError(f"benchmarks are empty: give some of {', '.join(known)}")
    for name in (*names, *data_folders):
        if name not in known:
            raise OctoberError(f"benchmarks={name}: must be one of {', '.join(known)}")
        if name in TABLE_2 and TABLE_2[name].runs_code and not allow_code:
            raise OctoberError(f"benchmarks={name} runs a model's programs: give allow_code=true, in a sandbox")
    for name, folder in data_folders.items():
        if not Path(folder).is_dir():
            raise OctoberError(f"data_folders.{name}={folder}: no such folder")
    for name in names:
        if name in TABLE_2:
            check_importable(TABLE_2[name])


def values(
    model: Any, name: str, num_questions: int | None, data_folder: str | None, allow_code: bool, folder: Path
) -> list[float]:
    """Return whether each question of a benchmark is answered rightly (1 or 0)."""
    benchmark, written = benchmark_named(name, folder / "data")
    lm = model.language_model() if hasattr(model, "language_model") else model  # else one of the engine's own
    place = data_folder or written
    return benchmark_values(lm, benchmark, num_questions=num_questions, data_folder=place, allow_code=allow_code)


def disagreements(model: ModelHandle | ServedHandle, name: str, ours: list[float], folder: Path) -> int:
    """Return how many of the first questions are right through one adapter and wrong through the other.

    Raises:
        OctoberError: The model is served: the engine's own adapter wants its weights.
    """
    lm = model.language_model()
    if not isinstance(lm, TransformersLM):
        raise OctoberError(f"num_checked={len(ours)}: model {model.name} is not local; give num_checked=null")
    from lm_eval.models.huggingface import HFLM

    theirs = values(HFLM(pretrained=lm.model, tokenizer=lm.tokenizer), name, len(ours), None, False, folder)
    return int(np.sum(np.array(ours) != np.array(theirs)))


def columns_above() -> int:
    """Return in how many columns of the published Table 2 the paper's model is above the larger one."""
    table = published_of("mistral").table("benchmarks")
    by_name = {row.name: row.cells for row in table.rows}
    ours, theirs = by_name[OURS], by_name[THEIRS]
    return sum(float(ours[column]) > float(theirs[column]) for column in table.columns)  # type: ignore[arg-type]
