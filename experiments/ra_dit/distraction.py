"""Robustness to passages that do not tell: the model as it was, tuned with passages, and tuned without them.

Questions about one document are asked behind the passage that tells, behind it and distractors, and behind distractors
alone, which are the most similar passages of other documents without the answer. All passages have one weight, so that
the language model alone decides which to believe. Last, all questions behind what the retriever finds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from pydantic import PositiveInt

from october.data.documents import CorpusHandle, QuestionHandle
from october.errors import OctoberError
from october.evaluation import normalize_answer, percent_cell, points_cell
from october.experiments.ra_dit._bench import Asked, Bench, Retrieval
from october.experiments.ra_dit._cells import column_of
from october.experiments.ra_dit._distractors import Told, as_asked, told
from october.experiments.ra_dit._reading import Reader, Strategy, answers
from october.experiments.ra_dit._tasks import scores_of
from october.experiments.ra_dit._tuning import LanguageModelTuning, check_language_model, tuned_language_model
from october.language_models import EncoderHandle, ModelHandle
from october.reporting import Cell, Result, Row, draw_rows
from october.retrieval.ra_dit import UNANSWERABLE, MixtureHandle
from october.run import Run

UNTUNED, WITHOUT, WITH = "untuned", "tuned without passages", "tuned with passages"
PUBLISHED = (WITHOUT, WITH)
GOLD, AMONG, IN_ONE = "gold", "gold and distractors", "gold and distractors in one prompt"
NOTHING, RETRIEVED = "distractors", "retrieved"
Given = Mapping[str, Mapping[str, Sequence[str]]]  # by model and by what it reads


def distraction(
    model: ModelHandle,
    encoder: EncoderHandle,
    data: QuestionHandle,
    corpus: CorpusHandle,
    mixture: MixtureHandle,
    retrieval: Retrieval,
    language_model_tuning: LanguageModelTuning,
    num_test: PositiveInt | None,
    num_distractors: PositiveInt,
    max_answer_tokens: PositiveInt,
    run: Run,
) -> Result:
    """Let language models answer behind passages that tell, and behind such that do not.

    Args:
        model: As in `main`, like all that is not named here.
        encoder: As in `main`; never tuned here, so that all models read the same.
        data: As in `main`; with gold documents.
        corpus: As in `main`.
        mixture: As in `main`.
        retrieval: As in `main`.
        language_model_tuning: As in `main`.
        num_test: As in `main`.
        num_distractors: Passages that do not tell, beside the one that does.
        max_answer_tokens: As in `main`.
        run: The run.
    """
    bench = Bench(data, corpus, encoder, num_test, retrieval)
    tunings = {
        UNTUNED: None,
        WITHOUT: replace(language_model_tuning, num_passages=0),
        WITH: language_model_tuning,
    }
    for wanted in filter(None, tunings.values()):
        check_language_model(model, mixture, bench, wanted)
    chosen = told(bench, num_distractors)
    if not chosen:
        raise OctoberError(f"num_test={num_test}: no question about one document has {num_distractors} distractors")

    def read(name: str) -> dict[str, list[str]]:
        tuning = tunings[name]
        kept = tuned_language_model(model, mixture, bench, tuning) if tuning else None
        return behind(Reader(model, max_answer_tokens, kept and kept.folder), bench, chosen)

    given = {name: run.once(name, read, name) for name in run.progress(tunings, "reading")}
    rows = [row_of(name, bench, chosen, given[name], run.table == "distraction") for name in tunings]
    return Result(
        rows=rows,
        evidence=evidence(bench, chosen, given),
        figures={
            f"Behind the passage that tells and {num_distractors} that do not": draw_rows(
                run.figures, "distraction", rows, f"{column_of(bench)}, {AMONG}"
            )
        },
        fingerprints={
            **bench.fingerprints(),
            model.name: model.fingerprint(),
            f"mixture {mixture.name}": mixture.fingerprint(),
        },
    )


def behind(reader: Reader, bench: Bench, chosen: Sequence[Told]) -> dict[str, list[str]]:
    """Return a model's answers, by what it reads."""
    asked: dict[str, tuple[Asked, Strategy]] = {
        GOLD: (as_asked(chosen, gold=True, distractors=False), "mixture"),
        AMONG: (as_asked(chosen, gold=True, distractors=True), "mixture"),
        IN_ONE: (as_asked(chosen, gold=True, distractors=True), "concatenation"),
        NOTHING: (as_asked(chosen, gold=False, distractors=True), "mixture"),
    }
    found = {name: answers(reader.read(*pair)) for name, pair in asked.items()}
    return {**found, RETRIEVED: answers(reader.read(bench.asked()), bench.retrieval.temperature)}


def row_of(name: str, bench: Bench, chosen: Sequence[Told], given: Mapping[str, Sequence[str]], beside: bool) -> Row:
    """Return a model's row: its score behind each kind of passages, and how often it says that it does not know."""
    cells = {f"{column_of(bench)}, {what}": percent_cell(scored(bench, chosen, given, what)) for what in given}
    for what in (GOLD, NOTHING):
        unknown = [normalize_answer(answer) == normalize_answer(UNANSWERABLE) for answer in given[what]]
        cells[f"does not know, {what}"] = percent_cell(unknown)
    return Row(name=name, cells=cells, published=name if beside and name in PUBLISHED else None)


def scored(bench: Bench, chosen: Sequence[Told], given: Mapping[str, Sequence[str]], what: str) -> np.ndarray:
    """Return the score of each answer behind one kind of passages."""
    examples = bench.examples if what == RETRIEVED else [question.example for question in chosen]
    return scores_of(given[what], examples, bench.metric)


def evidence(bench: Bench, chosen: Sequence[Told], given: Given) -> dict[str, Cell]:
    """Return what decides the claims, question by question."""
    column = column_of(bench)

    def of(name: str, what: str) -> np.ndarray:
        return scored(bench, chosen, given[name], what)

    kept = {name: of(name, AMONG) - of(name, GOLD) for name in (WITH, UNTUNED)}
    return {
        f"{column} behind the gold passage, tuned over untuned": points_cell(of(WITH, GOLD), of(UNTUNED, GOLD)),
        f"{column} kept beside distractors, tuned over untuned": points_cell(kept[WITH], kept[UNTUNED]),
        f"{column} with retrieved passages, tuned with passages over tuned without": points_cell(
            of(WITH, RETRIEVED), of(WITHOUT, RETRIEVED)
        ),
    }
