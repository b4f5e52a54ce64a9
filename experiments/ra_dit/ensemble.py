"""How passages are put together (section 2.1): one to ten of them, mixed by weight, mixed equally, concatenated.

One reading of the most passages tells what any fewer of them would have given, mixed in either way: every prompt's own
answer and its likelihood of the others' are kept.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import PositiveInt

from october.data.documents import CorpusHandle, QuestionHandle
from october.evaluation import points_cell
from october.experiments.ra_dit._bench import Bench, Retrieval
from october.experiments.ra_dit._cells import answers_row, column_of, scored
from october.experiments.ra_dit._reading import answers
from october.experiments.ra_dit._retriever_tuning import RetrieverTuning
from october.experiments.ra_dit._systems import System, Systems
from october.experiments.ra_dit._tuning import LanguageModelTuning
from october.language_models import EncoderHandle, ModelHandle
from october.reporting import Cell, Result, Row, line_with_band, new_figure, save_figure
from october.retrieval.ra_dit import MixtureHandle
from october.run import Run

MIXED, EQUAL, CONCATENATED = "mixed", "mixed equally", "concatenated"
BEST = "1 passage"
PUBLISHED = ("3 passages, mixed", "3 passages, concatenated")
Given = Mapping[str, Sequence[str]]


def ensemble(
    model: ModelHandle,
    encoder: EncoderHandle,
    data: QuestionHandle,
    corpus: CorpusHandle,
    mixture: MixtureHandle,
    retrieval: Retrieval,
    language_model_tuning: LanguageModelTuning,
    retriever_tuning: RetrieverTuning,
    num_test: PositiveInt | None,
    num_concatenated: list[PositiveInt],
    max_answer_tokens: PositiveInt,
    run: Run,
) -> Result:
    """Let the tuned models answer from any number of passages.

    Args:
        model: As in `main`, like all that is not named here.
        encoder: As in `main`.
        data: As in `main`.
        corpus: As in `main`.
        mixture: As in `main`.
        retrieval: As in `main`; its number of passages is the largest.
        language_model_tuning: As in `main`.
        retriever_tuning: As in `main`.
        num_test: As in `main`.
        num_concatenated: Numbers of passages that are read in one prompt.
        max_answer_tokens: As in `main`.
        run: The run.
    """
    bench = Bench(data, corpus, encoder, num_test, retrieval)
    systems = Systems(model, mixture, bench, language_model_tuning, retriever_tuning, max_answer_tokens)
    systems.check()
    given = run.once("mixed", mixed, systems)
    for count in run.progress(num_concatenated, "concatenated"):
        name = title(count, CONCATENATED)
        given[name] = run.once(name, concatenated, systems, count)
    beside = run.table == "ensemble"
    rows = [
        answers_row(name, bench, each, name if beside and name in PUBLISHED else None) for name, each in given.items()
    ]
    return Result(
        rows=rows,
        evidence=evidence(bench, given),
        figures={"Answers by number of passages": draw(run, rows, column_of(bench))},
        fingerprints=systems.fingerprints(),
    )


def title(count: int, way: str) -> str:
    """Return a row's name."""
    return BEST if count == 1 else f"{count} passages, {way}"


def mixed(systems: Systems) -> dict[str, list[str]]:
    """Return the answers from the best passages, by their number, mixed by the retriever's weights and equally."""
    read = systems.read(System(language_model=True, retriever=True))
    most = max(len(row) for row in read["by_prompt"])
    ways = {MIXED: systems.bench.retrieval.temperature, EQUAL: None}
    return {
        title(count, way): answers(read, temperature, count)
        for way, temperature in ways.items()
        for count in range(1, most + 1)
    }


def concatenated(systems: Systems, count: int) -> list[str]:
    """Return the answers from the best passages in one prompt."""
    asked = systems.bench.asked(systems.tuned_encoder).best(count)
    return answers(systems.tuned.read(asked, "concatenation"))


def evidence(bench: Bench, given: Given) -> dict[str, Cell]:
    """Return what decides the claims, question by question, as far as so many passages were read."""
    pairs = {
        f"{column_of(bench)}, 10 passages mixed over 1 passage": (title(10, MIXED), BEST),
        f"{column_of(bench)}, 3 passages mixed over concatenated": (title(3, MIXED), title(3, CONCATENATED)),
    }
    return {
        metric: points_cell(scored(bench, given[ours]), scored(bench, given[theirs]))
        for metric, (ours, theirs) in pairs.items()
        if ours in given and theirs in given
    }


def draw(run: Run, rows: Sequence[Row], column: str) -> Path:
    """Draw the answers by number of passages, a line for each way to put them together."""
    figure, (axes,) = new_figure(width=7.2, height=4.0)
    for way in (MIXED, EQUAL, CONCATENATED):
        shown = sorted((row for row in rows if row.name == BEST or row.name.endswith(f", {way}")), key=count_of)
        cells = [row.cells[column] for row in shown]
        bounds = zip(*(cell.bounds for cell in cells), strict=True)
        line_with_band(axes, list(map(count_of, shown)), [float(cell.value or 0) for cell in cells], *bounds, way)
    axes.set(xlabel="passages", ylabel=f"{column} (%)")
    return save_figure(figure, run.figures, "ensemble")


def count_of(row: Row) -> int:
    """Return the number of passages in a row's name."""
    return int(row.name.split()[0])
