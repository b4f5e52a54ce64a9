"""Published benchmarks through the `lm-eval` engine, over any `LanguageModel`: its tasks, its prompts, its metrics.

The engine asks for log-likelihoods of choices or for text up to a stop string, and the model answers in batches. What
comes back is one number for each question, so that intervals and paired comparisons are the house's own.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OctoberError, reason_of
from ..language_models import LanguageModel

if TYPE_CHECKING:
    from lm_eval.api.model import LM

TaskConfig = Mapping[str, Any]
_ALLOW_CODE = "HF_ALLOW_CODE_EVAL"


@dataclass(frozen=True)
class Benchmark:
    """How the engine measures one benchmark.

    Attributes:
        task: The engine's name of a task or of a group of tasks, or a task's own configuration, whose `task` names it.
        metric: The engine's name of what is measured, such as `acc_norm` or `exact_match`.
        num_fewshot: Examples before each question; None leaves it to the task.
        filter: The engine's name of what extracts the answer; the task's first if None.
        runs_code: Whether it runs the programs that a model writes, as HumanEval and MBPP do.
        changes: Settings in place of the task's own.
    """

    task: str | TaskConfig
    metric: str
    num_fewshot: int | None = None
    filter: str | None = None
    runs_code: bool = False
    changes: TaskConfig = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The engine's name of it."""
        return self.task if isinstance(self.task, str) else str(self.task["task"])


def benchmark_values(
    model: "LanguageModel | LM",
    benchmark: Benchmark,
    *,
    num_questions: int | None = None,
    data_folder: str | Path | None = None,
    allow_code: bool = False,
    seed: int = 0,
) -> list[float]:
    """Let the engine measure a model; return the metric of each question, in the engine's order.

    Args:
        model: Any language model; or a model of the engine's own.
        benchmark: What is measured.
        num_questions: The first so many of each task; None for all.
        data_folder: A folder with the data set's files, in the hub's format; the hub (or its cache) if None.
        allow_code: Run programs that the model writes, on this machine and with this user's rights.
        seed: Of the choice of few-shot examples.

    Raises:
        OctoberError: The engine is not installed, knows no such task or metric, or cannot load its data; or it would
            run a model's programs and was not allowed to.
    """
    if benchmark.runs_code and not allow_code:
        raise OctoberError(
            f"benchmark {benchmark.name} runs programs that the model writes: give allow_code=true, in a sandbox"
        )
    engine = _engine()
    settings = {
        "model": harness_model(model) if isinstance(model, LanguageModel) else model,
        "num_fewshot": benchmark.num_fewshot,
        "limit": num_questions,
        "bootstrap_iters": 0,
        "random_seed": seed,
        "fewshot_random_seed": seed,
        "confirm_run_unsafe_code": allow_code,
    }
    changes = _changes(benchmark, data_folder)
    with _running(benchmark):
        tasks = _tasks(benchmark, changes)
        found = engine.simple_evaluate(tasks=tasks, task_manager=_tasks_known(benchmark), **settings)
    return _values(benchmark, found["samples"])


def check_importable(benchmark: Benchmark) -> None:
    """Refuse a named benchmark for which something is not installed, before any data or model is loaded.

    To import a benchmark that runs programs is to run one of the engine's own; the user must have allowed that.

    Raises:
        OctoberError: The engine is not installed, knows no such task, or cannot import what the task needs.
    """
    _engine()
    from lm_eval.tasks._yaml_loader import load_yaml

    with _running(benchmark):
        index = _tasks_known(benchmark).task_index
        for path in _files(index[benchmark.name], index):
            load_yaml(path, resolve_func=True)


def harness_model(model: LanguageModel) -> "LM":
    """Return a language model as the engine takes it.

    Raises:
        OctoberError: The engine is not installed.
    """
    _engine()
    from .harness_adapter import HarnessModel

    return HarnessModel(model)


def _engine() -> Any:
    try:
        import lm_eval
    except ImportError as error:
        raise OctoberError("lm-eval is not installed: pip install 'october[eval]'") from error
    return lm_eval


def _tasks_known(benchmark: Benchmark) -> Any:
    """Return the engine's index of its tasks; a task that brings its configuration needs none of them."""
    return _task_manager(include_defaults=isinstance(benchmark.task, str))


@cache  # reading thousands of files
def _task_manager(*, include_defaults: bool) -> Any:
    from lm_eval.tasks import TaskManager

    return TaskManager(include_defaults=include_defaults)


def _changes(benchmark: Benchmark, data_folder: str | Path | None) -> dict[str, Any]:
    """Return the settings in place of the task's own."""
    if data_folder is None:
        return dict(benchmark.changes)
    if not Path(data_folder).is_dir():
        raise OctoberError(f"data_folder={data_folder}: no such folder")
    return {**benchmark.changes, "dataset_path": str(Path(data_folder).resolve())}


def _tasks(benchmark: Benchmark, changes: TaskConfig) -> list[Any]:
    """Return what the engine runs: a name, a configuration, or the tasks of that name built with the changes.

    The engine has no public way to change the settings of a named task: a file that does is refused, and one that
    includes a group gives all its tasks one name.
    """
    if not isinstance(benchmark.task, str):
        return [{**benchmark.task, **changes}]
    manager = _tasks_known(benchmark)
    if not changes or benchmark.task not in manager.task_index:
        return [benchmark.task]
    built = manager._factory.build(
        manager.task_index[benchmark.task], overrides=dict(changes), registry=manager.task_index
    )
    return built if isinstance(built, list) else [built]


def _files(entry: Any, index: Mapping[str, Any]) -> Iterator[Path]:
    """Yield the files of a task of the engine's, or of all tasks of a group or a tag."""
    members = (entry.cfg or {}).get("task") if entry.kind.name == "GROUP" else sorted(entry.tags)
    if entry.kind.name not in ("GROUP", "TAG"):
        yield entry.yaml_path
        return
    for member in members or ():
        name = member if isinstance(member, str) else member.get("task", member.get("group"))
        yield from _files(index[name], index)


@contextmanager
def _running(benchmark: Benchmark) -> Iterator[None]:
    """Let the engine run; say in one line what it cannot do."""
    try:
        with _code_allowed() if benchmark.runs_code else nullcontext():
            yield
    except OctoberError:
        raise
    except Exception as error:  # loaders of data sets and tasks raise whatever they like
        raise OctoberError(f"benchmark {benchmark.name}: the engine cannot run it ({reason_of(error)})") from error


@contextmanager
def _code_allowed() -> Iterator[None]:
    """Tell the engine's metric of programs that it may run them; without this it refuses when it is imported."""
    before = os.environ.get(_ALLOW_CODE)
    os.environ[_ALLOW_CODE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_ALLOW_CODE]
        else:
            os.environ[_ALLOW_CODE] = before


def _values(benchmark: Benchmark, samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[float]:
    rows = [row for name in sorted(samples) for row in samples[name]]
    wanted = benchmark.filter or rows[0]["filter"]
    filters = sorted({row["filter"] for row in rows})
    if wanted not in filters:
        raise OctoberError(f"benchmark {benchmark.name}: filter={wanted}: must be one of {', '.join(filters)}")
    rows = [row for row in rows if row["filter"] == wanted]
    if benchmark.metric not in rows[0]:
        known = ", ".join(rows[0].get("metrics", []))
        raise OctoberError(f"benchmark {benchmark.name}: metric={benchmark.metric}: must be one of {known}")
    return [float(row[benchmark.metric]) for row in rows]
