"""Tuned once more, on 64 examples of the task itself (Table 3), beside the same without and after the instructions.

RA-DIT is tuned on instructions of many tasks and answers any of them. Where a task has a few examples of its own, the
language model learns those too, with their passages, by the same loss. One row, which the paper does not have, learns
the examples alone: what the instructions are still worth, once the task is known, shows beside it.
"""

from pydantic import PositiveInt

from october.data.documents import CorpusHandle, QuestionHandle
from october.evaluation import points_cell
from october.experiments.ra_dit._bench import Bench, Retrieval
from october.experiments.ra_dit._cells import answers_row, column_of, scored
from october.experiments.ra_dit._reading import Reader, answers
from october.experiments.ra_dit._retriever_tuning import RetrieverTuning
from october.experiments.ra_dit._systems import System, Systems
from october.experiments.ra_dit._tasks import TaskExamples
from october.experiments.ra_dit._tuning import LanguageModelTuning, check_validation, tuned_language_model
from october.language_models import EncoderHandle, ModelHandle
from october.reporting import Result, draw_rows
from october.retrieval.ra_dit import MixtureHandle
from october.run import Run

IN_CONTEXT, RA_DIT = "in-context retrieval", "RA-DIT before"
EXAMPLES_ALONE, PUBLISHED = "tuned on the examples alone", "RA-DIT"


def few_shot_tuned(
    model: ModelHandle,
    encoder: EncoderHandle,
    data: QuestionHandle,
    corpus: CorpusHandle,
    mixture: MixtureHandle,
    retrieval: Retrieval,
    language_model_tuning: LanguageModelTuning,
    retriever_tuning: RetrieverTuning,
    task_tuning: LanguageModelTuning,
    num_examples: PositiveInt,
    num_test: PositiveInt | None,
    max_answer_tokens: PositiveInt,
    run: Run,
) -> Result:
    """Tune a language model on a task's own examples, before and after it learned from instructions.

    Args:
        model: As in `main`, like all that is not named here.
        encoder: As in `main`.
        data: As in `main`; the examples are training questions of it.
        corpus: As in `main`.
        mixture: As in `main`.
        retrieval: As in `main`.
        language_model_tuning: As in `main`.
        retriever_tuning: As in `main`.
        task_tuning: How the language model learns the examples.
        num_examples: Of the task; those that it validates on included.
        num_test: As in `main`.
        max_answer_tokens: As in `main`.
        run: The run.
    """
    bench = Bench(data, corpus, encoder, num_test, retrieval)
    systems = Systems(model, mixture, bench, language_model_tuning, retriever_tuning, max_answer_tokens)
    systems.check()
    examples = TaskExamples(data, num_examples)
    examples.check()
    check_validation(task_tuning, num_examples)

    def taught(begins_with: ModelHandle) -> Reader:
        kept = tuned_language_model(begins_with, examples, bench, task_tuning)
        return Reader(begins_with, max_answer_tokens, kept.folder)

    def ask(reader: Reader, *, tuned_retriever: bool) -> list[str]:
        asked = systems.asked(System(retriever=tuned_retriever))
        return answers(reader.read(asked), retrieval.temperature)

    compared = {
        IN_CONTEXT: lambda: ask(systems.untuned, tuned_retriever=False),
        EXAMPLES_ALONE: lambda: ask(taught(model), tuned_retriever=False),
        RA_DIT: lambda: ask(systems.tuned, tuned_retriever=True),
        PUBLISHED: lambda: ask(taught(systems.tuned.tuned_handle()), tuned_retriever=True),
    }
    given = {name: run.once(name, compared[name]) for name in run.progress(compared, "reading")}
    published = {PUBLISHED} if run.table == "few_shot_tuned" else set()  # the other is the paper's own scale
    rows = [answers_row(name, bench, given[name], name if name in published else None) for name in compared]
    return Result(
        rows=rows,
        evidence={
            f"{column_of(bench)}, RA-DIT over {name}": points_cell(
                scored(bench, given[PUBLISHED]), scored(bench, given[other])
            )
            for name, other in (("before", RA_DIT), (EXAMPLES_ALONE, EXAMPLES_ALONE))
        },
        figures={"What is answered": draw_rows(run.figures, "few_shot_tuned", rows, column_of(bench))},
        fingerprints={**systems.fingerprints(), examples.name: examples.fingerprint()},
    )
