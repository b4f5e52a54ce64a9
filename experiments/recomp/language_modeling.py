"""Table 1: perplexity by word of held-out text, by what stands in place of a window's first tokens.

Every row is the same text in the same windows; only the evidence differs. An oracle's choices are judged as training
examples are, by the likelihood of the predicted text after evidence and query alone, not in the whole window.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import PositiveInt

from october.data import CorpusHandle, LanguageModelingText
from october.errors import OctoberError
from october.evaluation import bootstrap_cell
from october.experiments.recomp._perplexity import (
    PERCENT,
    difference_cell,
    log_perplexity,
    p_value_cell,
    perplexity_cell,
)
from october.experiments.recomp._question_training import check_student
from october.experiments.recomp._text_compressors import TextBench, TextCompressors, TextTraining
from october.experiments.recomp._texts import Reading, TextTask
from october.language_models import EncoderHandle, ModelHandle, ServedHandle
from october.reporting import Cell, Result, Row, new_figure, save_figure
from october.retrieval.recomp import (
    Compressor,
    DualEncoder,
    ExtractiveCompressor,
    NoDocuments,
    TopDocuments,
    baseline,
)
from october.run import Run

NONE, TOP_1, TOP_5 = "no retrieval", "top-1 document", "top-5 documents"
ORACLE, UNTRAINED, EXTRACTIVE = "oracle sentence", "sentence by the untrained encoder", "extractive RECOMP"
Measured = Mapping[str, Mapping[str, Sequence[float]]]


def language_modeling(
    model: ModelHandle,
    teacher: ModelHandle | ServedHandle,
    student: ModelHandle | str,
    encoder: EncoderHandle,
    data: LanguageModelingText,
    corpus: CorpusHandle,
    training_corpus: CorpusHandle,
    num_corpus_documents: PositiveInt | None,
    passage_words: PositiveInt | None,
    num_tokens: PositiveInt,
    document_tokens: PositiveInt,
    window: PositiveInt,
    stride: PositiveInt,
    query_tokens: PositiveInt,
    num_documents: PositiveInt,
    max_evidence_tokens: PositiveInt,
    max_documents_tokens: PositiveInt,
    training: TextTraining,
    run: Run,
) -> Result:
    """Measure a text's perplexity behind every kind of evidence.

    Args:
        model: Reads the text, and judges what compressors learn from.
        teacher: Writes the summaries that the abstractive compressor imitates.
        student: What becomes of it; a causal model, or the folder or name of an encoder-decoder.
        encoder: Of sentences; what becomes the extractive compressor.
        data: The text.
        corpus: Is retrieved from, by BM25.
        training_corpus: Of the documents that compressors are trained on; held-out ones among them are left out.
        num_corpus_documents: The first so many of either corpus; null takes all.
        passage_words: In a passage; null keeps documents whole (those that are passages already).
        num_tokens: Of the text, many documents in a row.
        document_tokens: Of a document, at most.
        window: Tokens of a window.
        stride: Tokens that it predicts.
        query_tokens: Tokens before those, which are the query.
        num_documents: Passages that are retrieved for a window.
        max_evidence_tokens: Longer evidence is cut.
        max_documents_tokens: The same for the row of five passages.
        training: What compressors learn from, and how.
        run: The run.
    """
    check_student(student)
    check_fits(window, stride, max_evidence_tokens, max_documents_tokens)
    reading = Reading(num_tokens, document_tokens, window, stride, query_tokens, num_documents, passage_words)
    bench = TextBench(data, corpus, training_corpus, num_corpus_documents, teacher, reading, training)
    trained = bench.compressors(model, encoder, student)
    task = trained.task
    words = run.once("words by window", task.words)
    measured = {}
    for name, write in run.progress(evidence_by_row(task, trained).items(), "rows"):
        limit = max_documents_tokens if name == TOP_5 else max_evidence_tokens
        measured[name] = run.once(f"losses, {name}", task.losses, run.once(f"evidence, {name}", write), limit)
        run.log({f"perplexity, {name}": perplexity_cell(measured[name]["losses"], words).value})
    beside = run.table == "language_modeling"  # the other is the paper's own scale
    return Result(
        rows=[row_of(name, measured, words, name if beside else None) for name in measured],
        evidence=evidence_of(measured, words),
        figures={"Perplexity by word, and tokens of evidence in a window": draw(run.figures, measured, words)},
        fingerprints={
            data.name: data.fingerprint(),
            f"corpus {task.corpus.name}": task.corpus.fingerprint(),
            model.name: model.fingerprint(),
            encoder.name: encoder.fingerprint(),
        },
    )


def check_fits(window: int, stride: int, max_evidence_tokens: int, max_documents_tokens: int) -> None:
    """Check that evidence leaves a window's predicted tokens alone.

    Raises:
        OctoberError: It does not.
    """
    limits = {"max_evidence_tokens": max_evidence_tokens, "max_documents_tokens": max_documents_tokens}
    for name, limit in limits.items():
        if limit > window - stride:
            raise OctoberError(f"{name}={limit}: at most window - stride = {window - stride}")


def evidence_by_row(task: TextTask, trained: TextCompressors) -> dict[str, Callable[[], list[str]]]:
    """Return what writes the evidence of each row, in the table's order; nothing is written yet."""

    def by(make: Callable[[], Compressor]) -> Callable[[], list[str]]:
        return lambda: task.evidence(make())

    return {
        NONE: by(NoDocuments),
        TOP_1: by(lambda: TopDocuments(1)),
        TOP_5: by(lambda: TopDocuments(5, ascending=False, separator=" ")),
        "bag of words": by(lambda: baseline("bag_of_words")),
        "named entities": by(lambda: baseline("named_entities")),
        ORACLE: trained.oracle_sentences,
        "random sentence": by(lambda: baseline("random_sentence")),
        "sentence by BM25": by(lambda: baseline("bm25_sentence")),
        UNTRAINED: by(lambda: ExtractiveCompressor(DualEncoder(trained.encoder))),
        EXTRACTIVE: by(lambda: trained.extractive),
        "oracle summary": trained.oracle_summaries,
        "teacher's summary": trained.teacher_summaries,
        "student before training": lambda: trained.summaries(trained.untrained),
        "abstractive RECOMP": lambda: trained.summaries(trained.abstractive),
    }


def row_of(name: str, measured: Measured, words: Sequence[int], published: str | None) -> Row:
    """Return the row of one kind of evidence; the first window, which never has any, is not counted in its tokens."""
    losses, tokens = measured[name]["losses"], np.array(measured[name]["tokens"][1:], dtype=float)
    cells = {
        "tokens": bootstrap_cell(tokens),
        "perplexity": perplexity_cell(losses, words),
        "windows with evidence": bootstrap_cell(PERCENT * (tokens > 0), "%"),
    }
    if name != NONE:
        plain = measured[NONE]["losses"]
        cells["log-perplexity over no retrieval"] = difference_cell(losses, plain, words)
        cells["p"] = p_value_cell(losses, plain)
    return Row(name=name, cells=cells, published=published)


def evidence_of(measured: Measured, words: Sequence[int]) -> dict[str, Cell]:
    """Return what decides the claims, window by window."""
    pairs = {
        "extractive RECOMP over no retrieval": (EXTRACTIVE, NONE),
        "extractive RECOMP over the untrained encoder's sentence": (EXTRACTIVE, UNTRAINED),
        "oracle sentence over top-1 document": (ORACLE, TOP_1),
    }
    return {
        f"log-perplexity, {what}": difference_cell(measured[ours]["losses"], measured[theirs]["losses"], words)
        for what, (ours, theirs) in pairs.items()
    }


def draw(folder: Path, measured: Measured, words: Sequence[int]) -> Path:
    """Draw what each kind of evidence wins over none, with intervals, against the tokens that it takes."""
    figure, (axes,) = new_figure(width=8.6, height=4.8)
    plain = measured[NONE]["losses"]
    for name, found in measured.items():
        if name == NONE:
            continue
        gain = log_perplexity(np.subtract(found["losses"], plain), words)
        tokens = float(np.mean(found["tokens"][1:]))
        (line,) = axes.plot([tokens, tokens], [gain.low, gain.high], linewidth=1.2)
        axes.plot([tokens], [gain.value], "o", color=line.get_color())
        axes.annotate(name, (tokens, gain.value), xytext=(5, 2), textcoords="offset points", fontsize=8)
    axes.axhline(0, color="black", linestyle="--", linewidth=1)
    axes.set(xlabel="tokens of evidence in a window (mean)", ylabel="log-perplexity over no retrieval (nats per word)")
    axes.margins(x=0.2)
    return save_figure(figure, folder, "language_modeling")
