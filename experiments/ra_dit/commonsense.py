"""Commonsense reasoning without retrieval: what tuning to read costs, or gives, where there is nothing to read.

The tasks, their prompts and their metrics are those of lm-eval.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import PositiveInt

from october.data.documents import CorpusHandle, QuestionHandle
from october.evaluation import Benchmark, benchmark_values, percent_cell
from october.experiments.ra_dit._bench import Bench, Retrieval
from october.experiments.ra_dit._reading import Reader
from october.experiments.ra_dit._tuning import LanguageModelTuning, check_language_model, tuned_language_model
from october.language_models import EncoderHandle, ModelHandle
from october.reporting import Cell, Result, Row
from october.retrieval.ra_dit import MixtureHandle
from october.run import Run

Task = Literal[
    "boolq", "piqa", "social_iqa", "hellaswag", "winogrande", "arc_easy", "arc_challenge", "openbookqa"
]  # fmt: skip
METRICS: Mapping[Task, str] = {
    "boolq": "acc",
    "piqa": "acc_norm",
    "social_iqa": "acc",
    "hellaswag": "acc_norm",
    "winogrande": "acc",
    "arc_easy": "acc",
    "arc_challenge": "acc_norm",
    "openbookqa": "acc_norm",
}
BEFORE, AFTER = "before tuning", "after tuning"


def commonsense(
    model: ModelHandle,
    encoder: EncoderHandle,
    data: QuestionHandle,
    corpus: CorpusHandle,
    mixture: MixtureHandle,
    retrieval: Retrieval,
    language_model_tuning: LanguageModelTuning,
    tasks: list[Task],
    data_folders: dict[str, str],
    num_questions: PositiveInt | None,
    run: Run,
) -> Result:
    """Let a language model answer multiple choices before and after it was tuned to read.

    Args:
        model: As in `main`, like all that is not named here.
        encoder: As in `main`.
        data: As in `main`; only part of what finds the tuned model.
        corpus: As in `main`.
        mixture: As in `main`.
        retrieval: As in `main`.
        language_model_tuning: As in `main`.
        tasks: Of lm-eval.
        data_folders: By task, a folder with its data in the hub's format; the hub for the others.
        num_questions: Of each task, the first so many; null takes all.
        run: The run.
    """
    bench = Bench(data, corpus, encoder, None, retrieval)
    check_language_model(model, mixture, bench, language_model_tuning)

    def measure(name: str, task: Task) -> list[float]:
        kept = tuned_language_model(model, mixture, bench, language_model_tuning) if name == AFTER else None
        return benchmark_values(
            Reader(model, 1, kept and kept.folder).model,
            Benchmark(task, METRICS[task], num_fewshot=0),
            num_questions=num_questions,
            data_folder=data_folders.get(task),
        )

    found = {
        name: {task: run.once(f"{task}, {name}", measure, name, task) for task in run.progress(tasks, name)}
        for name in (BEFORE, AFTER)
    }
    beside = run.table == "commonsense_paper"
    return Result(
        rows=[
            Row(name=name, cells=cells_of(values), published=name if beside else None) for name, values in found.items()
        ],
        evidence={},
        fingerprints={model.name: model.fingerprint(), f"mixture {mixture.name}": mixture.fingerprint()},
    )


def cells_of(values: Mapping[str, Sequence[float]]) -> dict[str, Cell]:
    """Return a row: each task's accuracy, and the mean of all tasks, each of which counts as one."""
    cells = {task: percent_cell(each) for task, each in values.items()}
    average = sum(float(cell.value or 0) for cell in cells.values()) / len(cells)
    return {**cells, "average": Cell(value=average, unit="%")}
