"""What each part is worth: either half of the tuning alone, fewer passages, other data for the retriever.

The retriever's variants are read by the untuned language model, so that nothing else changes. They differ in the share
of texts and instructions that they learned from, and in whether the passages' encoder moved as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pydantic import PositiveInt

from october.data.documents import CorpusHandle, QuestionHandle
from october.evaluation import percent_cell, points_cell
from october.experiments.ra_dit._bench import Bench, Retrieval
from october.experiments.ra_dit._cells import answers_row, column_of, scored
from october.experiments.ra_dit._reading import answers
from october.experiments.ra_dit._retriever_tuning import RetrieverTuning, check_retriever, recalled
from october.experiments.ra_dit._systems import System, Systems
from october.experiments.ra_dit._tuning import LanguageModelTuning
from october.language_models import EncoderHandle, ModelHandle
from october.reporting import Cell, Result, Row, draw_rows
from october.retrieval.ra_dit import MixtureHandle
from october.run import Run

STEPS = {
    "neither tuned": System(),
    "R-ft only": System(retriever=True),
    "LM-ft only": System(language_model=True),
    "both tuned": System(language_model=True, retriever=True),
}
UNTUNED, INSTRUCTIONS, TEXTS = "untuned retriever", "instructions alone", "texts alone"
MIXED, BOTH_ENCODERS = "texts and instructions", "texts alone, both encoders"


def ablation(
    model: ModelHandle,
    encoder: EncoderHandle,
    data: QuestionHandle,
    corpus: CorpusHandle,
    mixture: MixtureHandle,
    retrieval: Retrieval,
    language_model_tuning: LanguageModelTuning,
    retriever_tuning: RetrieverTuning,
    num_test: PositiveInt | None,
    num_passages: list[PositiveInt],
    variants: bool,
    max_answer_tokens: PositiveInt,
    run: Run,
) -> Result:
    """Let parts of RA-DIT answer.

    Args:
        model: As in `main`, like all that is not named here.
        encoder: As in `main`.
        data: As in `main`.
        corpus: As in `main`.
        mixture: As in `main`.
        retrieval: As in `main`.
        language_model_tuning: As in `main`.
        retriever_tuning: As in `main`.
        num_test: As in `main`.
        num_passages: Of the whole, one row for each number.
        variants: Tune the retriever on other data too, and both its encoders.
        max_answer_tokens: As in `main`.
        run: The run.
    """
    bench = Bench(data, corpus, encoder, num_test, retrieval)
    systems = Systems(model, mixture, bench, language_model_tuning, retriever_tuning, max_answer_tokens)
    tunings = variants_of(retriever_tuning) if variants else {}
    systems.check()
    for tuning in filter(None, tunings.values()):
        check_retriever(systems.untuned, mixture, bench, tuning)
    steps = {name: run.once(name, systems.answers, STEPS[name]) for name in run.progress(STEPS, "reading")}
    fewer = {f"both tuned, {count} passage{'s' * (count > 1)}": count for count in num_passages}
    by_count = {name: run.once(name, first_passages, systems, count) for name, count in fewer.items()}
    tuned = {name: run.once(name, of_retriever, systems, tunings[name]) for name in run.progress(tunings, "variants")}
    beside = run.table == "ablation"
    rows = [
        *(answers_row(name, bench, given, name if beside else None) for name, given in steps.items()),
        *(answers_row(name, bench, given) for name, given in by_count.items()),
        *(retriever_row(name, bench, found, name if beside else None) for name, found in tuned.items()),
    ]
    return Result(
        rows=rows,
        evidence=evidence(bench, steps, {name: found["answers"] for name, found in tuned.items()}),
        figures={"What each part is worth": draw_rows(run.figures, "ablation", rows, column_of(bench))},
        fingerprints=systems.fingerprints(),
    )


def first_passages(systems: Systems, count: int) -> list[str]:
    """Return the answers of the whole from the best passages alone."""
    return answers(systems.read(STEPS["both tuned"]), systems.bench.retrieval.temperature, count)


def variants_of(tuning: RetrieverTuning) -> dict[str, RetrieverTuning | None]:
    """Return the retrievers that are compared; None is the untuned one."""
    texts = replace(tuning, share_of_texts=1.0)
    both = replace(texts, settings=replace(texts.settings, tuned="both"))
    return {
        UNTUNED: None,
        INSTRUCTIONS: replace(tuning, share_of_texts=0.0),
        TEXTS: texts,
        MIXED: tuning,
        BOTH_ENCODERS: both,
    }


def of_retriever(systems: Systems, tuning: RetrieverTuning | None) -> dict[str, list[float] | list[str]]:
    """Return what the untuned language model answers behind a retriever's passages, and where the gold ones stand."""
    asked = systems.bench.asked(systems.encoder_tuned_by(tuning) if tuning else None)
    read = systems.untuned.read(asked)
    return {
        "answers": answers(read, systems.bench.retrieval.temperature),
        "recalled": recalled(systems.bench, asked),
    }


def retriever_row(name: str, bench: Bench, found: Mapping[str, Sequence], published: str | None) -> Row:
    """Return a row of answers with the share of questions for which a gold document was found."""
    row = answers_row(name, bench, found["answers"], published)
    row.cells["gold document found"] = percent_cell(found["recalled"])
    return row


def evidence(bench: Bench, steps: Mapping[str, Sequence[str]], tuned: Mapping[str, Sequence[str]]) -> dict[str, Cell]:
    """Return what decides the claims, question by question."""
    given = {**steps, **tuned}
    pairs = [
        ("both tuned", "LM-ft only"),
        ("both tuned", "R-ft only"),
        ("LM-ft only", "neither tuned"),
        ("R-ft only", "neither tuned"),
        *([(MIXED, TEXTS), (TEXTS, BOTH_ENCODERS)] if tuned else []),
    ]
    renamed = {(TEXTS, BOTH_ENCODERS): "query encoder alone over both encoders"}
    return {
        f"{column_of(bench)}, {renamed.get(pair, ' over '.join(pair))}": points_cell(
            *(scored(bench, given[name]) for name in pair)
        )
        for pair in pairs
    }
