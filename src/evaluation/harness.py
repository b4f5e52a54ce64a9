"""Published benchmarks through the `lm-eval` engine, over any `LanguageModel`: its tasks, its prompts, its metrics.

The engine asks for log-likelihoods of choices or for text up to a stop string, and the model answers in batches. What
comes back is one number for each question, so that intervals and paired comparisons are the house's own.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import yaml

from ..errors import OctoberError
from ..language_models import LanguageModel

if TYPE_CHECKING:
    from lm_eval.api.model import LM

TaskConfig = Mapping[str, Any]


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
    with _task(benchmark, data_folder) as task:
        try:
            found = engine.simple_evaluate(tasks=[task], task_manager=_tasks_known(benchmark), **settings)
        except OctoberError:
            raise
        except Exception as error:  # loaders of data sets and tasks raise whatever they like
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise OctoberError(f"benchmark {benchmark.name}: the engine cannot run it ({reason})") from error
    return _values(benchmark, found["samples"])


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


@contextmanager
def _task(benchmark: Benchmark, data_folder: str | Path | None) -> Iterator[str | dict[str, Any]]:
    """Yield what the engine loads; a named task with changes is a file that says them."""
    changes = dict(benchmark.changes)
    if data_folder is not None:
        if not Path(data_folder).is_dir():
            raise OctoberError(f"data_folder={data_folder}: no such folder")
        changes["dataset_path"] = str(Path(data_folder).resolve())
    if not isinstance(benchmark.task, str):
        yield {**benchmark.task, **changes}
    elif not changes:
        yield benchmark.task
    else:
        with TemporaryDirectory() as scratch:
            path = Path(scratch) / "group.yaml"
            path.write_text(yaml.safe_dump({"group": "october", "task": [{"task": benchmark.task, **changes}]}))
            yield str(path)


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
