"""Knowledge-intensive questions (Table 2): no retrieval, retrieval in context, and both halves tuned for it.

In-context retrieval is REPLUG's setting: neither the language model nor the retriever was tuned, and every passage
stands in a prompt of its own (Eq. 2). One row, which the paper does not have, asks the tuned language model without
passages: what it learned of the form of answers, and not of reading, shows there.
"""

from collections.abc import Mapping, Sequence

from pydantic import NonNegativeInt, PositiveInt

from october.data.documents import CorpusHandle, QuestionHandle
from october.evaluation import points_cell
from october.experiments.ra_dit._bench import Bench, Retrieval
from october.experiments.ra_dit._cells import answers_row, column_of, scored
from october.experiments.ra_dit._retriever_tuning import RetrieverTuning
from october.experiments.ra_dit._systems import System, Systems
from october.experiments.ra_dit._tuning import LanguageModelTuning
from october.language_models import EncoderHandle, ModelHandle
from october.reporting import Cell, Result, draw_rows
from october.retrieval.ra_dit import MixtureHandle
from october.run import Run

NONE, TUNED_ALONE = "no retrieval", "tuned language model, no retrieval"
IN_CONTEXT, RA_DIT = "in-context retrieval", "RA-DIT"
TABLES = ("main", "five_shot")  # those that stand beside the paper's
PUBLISHED = [f"{name}, {count}-shot" for name in (NONE, IN_CONTEXT, RA_DIT) for count in (0, 5)]


def main(
    model: ModelHandle,
    encoder: EncoderHandle,
    data: QuestionHandle,
    corpus: CorpusHandle,
    mixture: MixtureHandle,
    retrieval: Retrieval,
    language_model_tuning: LanguageModelTuning,
    retriever_tuning: RetrieverTuning,
    num_test: PositiveInt | None,
    shots: list[NonNegativeInt],
    max_answer_tokens: PositiveInt,
    run: Run,
) -> Result:
    """Let a language model answer before and after both steps of tuning.

    Args:
        model: The language model; it also says which passages it prefers.
        encoder: The retriever.
        data: The questions.
        corpus: What is searched.
        mixture: What the language model is tuned on.
        retrieval: How passages are found and weighed.
        language_model_tuning: How the language model is tuned.
        retriever_tuning: How the retriever is.
        num_test: Questions of the table; null takes all.
        shots: Numbers of examples in front of every prompt; all systems answer with each.
        max_answer_tokens: Of an answer.
        run: The run.
    """
    bench = Bench(data, corpus, encoder, num_test, retrieval)
    systems = Systems(model, mixture, bench, language_model_tuning, retriever_tuning, max_answer_tokens)
    systems.check()
    compared = {name: system for count in shots for name, system in with_shots(count).items()}
    given = {name: run.once(name, systems.answers, compared[name]) for name in run.progress(compared, "reading")}
    published = PUBLISHED if run.table in TABLES else ()
    rows = [answers_row(name, bench, given[name], name if name in published else None) for name in compared]
    return Result(
        rows=rows,
        evidence=evidence(bench, given, shots),
        figures={"What is answered": draw_rows(run.figures, "main", rows, column_of(bench))},
        fingerprints=systems.fingerprints(),
    )


def with_shots(count: int) -> dict[str, System]:
    """Return what is compared with so many examples in front."""
    compared = {
        NONE: System(strategy="no_retrieval", shots=count),
        TUNED_ALONE: System(language_model=True, strategy="no_retrieval", shots=count),
        IN_CONTEXT: System(shots=count),
        RA_DIT: System(language_model=True, retriever=True, shots=count),
    }
    return {f"{name}, {count}-shot": system for name, system in compared.items()}


def evidence(bench: Bench, given: Mapping[str, Sequence[str]], shots: Sequence[int]) -> dict[str, Cell]:
    """Return what decides the claims, question by question."""
    found = {}
    for count in shots:
        for ours, theirs in ((IN_CONTEXT, NONE), (RA_DIT, IN_CONTEXT)):
            pair = [scored(bench, given[f"{name}, {count}-shot"]) for name in (ours, theirs)]
            found[f"{column_of(bench)}, {ours} over {theirs}, {count}-shot"] = points_cell(*pair)
    return found
