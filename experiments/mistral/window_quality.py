"""Quality under sliding windows: a pretrained model's perplexity, and how far a trained one's information moves.

The pretrained model (Gemma-3-270M has a window of 512 in 15 of its 18 layers) reads held-out documents under its own
windows, smaller ones and none; through the rolling buffer, chunk by chunk; and with weights of 8 and 4 bits, in one
pass and through the buffer. The trained ones must tell, at every place of a text, which marker began it: see `_relay`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from october.data import wikipedia_documents_fingerprint
from october.evaluation import exact_cell, mean_cell, t_interval
from october.experiments.mistral._pretrained_windows import Quantized, Reader, Windows, in_sliding_layers
from october.experiments.mistral._quality_cells import difference_cell, perplexity_cell, share_cell
from october.experiments.mistral._relay import MARKERS, Span, measured_reach, spans_of, train_and_ask
from october.language_models import ModelHandle
from october.reporting import Cell, Result, Row, new_figure, save_figure
from october.run import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OWN, NONE = "own windows", "no windows"
GUESS = 1 / len(MARKERS)


def window_quality(
    model: ModelHandle,
    context: PositiveInt,
    num_documents: PositiveInt,
    windows: list[PositiveInt],
    windows_of_all_layers: list[PositiveInt],
    quantized: list[Quantized],
    chunk_sizes: list[PositiveInt],
    num_documents_in_float32: PositiveInt,
    spans: list[list[PositiveInt]],
    hidden_size: PositiveInt,
    num_sequences: PositiveInt,
    num_steps: PositiveInt,
    learning_rate: PositiveFloat,
    num_texts: PositiveInt,
    seeds: list[int],
    run: Run,
) -> Result:
    """Measure a pretrained model's perplexity by window, and a trained one's accuracy by distance.

    Args:
        model: The pretrained model.
        context: Tokens that it reads of each document.
        num_documents: Held-out documents.
        windows: Put in place of the windows of those layers that have one.
        windows_of_all_layers: Put into every layer.
        quantized: Kinds of weights besides bfloat16, on a CPU.
        chunk_sizes: Tokens that are fed at once through the rolling buffer.
        num_documents_in_float32: Of the documents, read through the rolling buffer.
        spans: Pairs of W and k of the trained models.
        hidden_size: Of the trained models; a multiple of 8.
        num_sequences: Texts in a step of their training.
        num_steps: Steps.
        learning_rate: The highest.
        num_texts: Texts that each is asked about.
        seeds: Of the trained models.
        run: The run.
    """
    reader, trained_spans = Reader(model, context, num_documents), spans_of(spans)
    losses = read_by_window(run, reader, windows, windows_of_all_layers)
    for kind in quantized:
        losses[f"{kind} weights"] = run.once(f"{kind} weights", reader.quantized_losses, kind)
        for size in chunk_sizes:
            name = f"{kind} weights, rolling buffer in chunks of {size}"
            losses[name] = run.once(name, reader.quantized_losses, kind, size)
    buffered = {
        size: run.once(f"rolling buffer, {size}", reader.buffered_losses, size, num_documents_in_float32)
        for size in chunk_sizes
    }
    right: dict[Span, list[np.ndarray]] = {}
    for span in run.progress(trained_spans, "training by window and layers"):
        settings = (hidden_size, num_sequences, num_steps, learning_rate, num_texts)
        asked = [run.once(f"{span}, seed {seed}", train_and_ask, span, *settings, seed) for seed in seeds]
        right[span] = [np.array(each) for each in asked]
        run.log({f"accuracy at k (W - 1), {name_of(span)}": float(np.concatenate(right[span])[:, span.reach].mean())})
    return Result(
        rows=[*perplexity_rows(losses), *buffer_rows(buffered), *(span_row(*pair) for pair in right.items())],
        evidence={**pretrained_evidence(losses, buffered), **span_evidence(right)},
        figures={"Perplexity by window, and accuracy by distance": draw(run.figures, losses, right)},
        fingerprints={
            "Wikipedia's vital articles, as long documents": wikipedia_documents_fingerprint(),
            model.name: model.fingerprint(),
        },
    )


def read_by_window(
    run: Run, reader: Reader, windows: Sequence[int], windows_of_all_layers: Sequence[int]
) -> dict[str, list[float]]:
    """Return each document's mean loss by what the windows are called, the model's own first."""
    own: Windows = tuple(run.once("the model's windows", reader.own_windows))
    settings = {OWN: own, NONE: (None,) * len(own)}
    settings |= {f"W = {window} in sliding layers": in_sliding_layers(own, window) for window in windows}
    settings |= {f"W = {window} in all layers": (window,) * len(own) for window in windows_of_all_layers}
    return {
        name: run.once(name, reader.losses, each) for name, each in run.progress(settings.items(), "reading by window")
    }


def perplexity_rows(losses: Mapping[str, Sequence[float]]) -> list[Row]:
    """Return a row for each way of reading: perplexity, and what it costs against the model's own."""
    return [
        Row(
            name=name,
            cells={
                "perplexity": perplexity_cell(each),
                "loss over own windows": difference_cell(each, losses[OWN], "nats"),
            },
        )
        for name, each in losses.items()
    ]


def buffer_rows(buffered: Mapping[int, tuple[Sequence[float], float]]) -> list[Row]:
    """Return a row for each chunk size through the rolling buffer: perplexity, and how far any token's loss strays."""
    return [
        Row(
            name=f"{OWN}, float32, rolling buffer in chunks of {size}",
            cells={
                "perplexity": perplexity_cell(means),
                "largest difference from one pass": exact_cell(largest, "nats"),
            },
        )
        for size, (means, largest) in buffered.items()
    ]


def span_row(span: Span, right: Sequence[np.ndarray]) -> Row:
    """Return the row of one window and number of layers, over seeds."""
    together = np.concatenate(right)
    cells = {
        "k (W - 1)": Cell(value=span.reach),
        "measured reach": mean_cell([measured_reach(each) for each in right], "tokens"),
        "accuracy at W - 1": share_cell(together[:, span.window - 1]),
        "accuracy at k (W - 1)": share_cell(together[:, span.reach]),
        "accuracy beyond": share_cell(together[:, span.reach + 1 :].mean(axis=1)),
    }
    return Row(name=name_of(span), cells=cells)


def name_of(span: Span) -> str:
    """Return what rows and figures call a window and a number of layers."""
    return f"trained, W = {span.window}, {span.num_layers} layers"


def pretrained_evidence(
    losses: Mapping[str, Sequence[float]], buffered: Mapping[int, tuple[Sequence[float], float]]
) -> dict[str, Cell]:
    """Return what decides the claims on the pretrained model, as far as it was measured."""
    evidence = {
        f"loss of {kind} weights over bfloat16's": difference_cell(losses[f"{kind} weights"], losses[OWN], "nats")
        for kind in ("int8", "int4")
        if f"{kind} weights" in losses
    }
    smaller = [name for name in losses if name.endswith("in sliding layers")]
    if smaller:
        worst = max(smaller, key=lambda name: sum(losses[name]))
        evidence["loss of the worst smaller windows over own"] = difference_cell(losses[worst], losses[OWN], "nats")
    if buffered:
        largest = max(difference for _, difference in buffered.values())
        evidence["largest difference through the rolling buffer"] = exact_cell(largest, "nats")
    return evidence


def span_evidence(right: Mapping[Span, Sequence[np.ndarray]]) -> dict[str, Cell]:
    """Return what decides the claims on the attention span, over all windows, layers and seeds."""
    if not right:
        return {}
    runs = [(span, each) for span, seeds in right.items() for each in seeds]
    return {
        "accuracy at k (W - 1) tokens": share_cell(np.concatenate([each[:, span.reach] for span, each in runs])),
        "accuracy beyond k (W - 1), over a guess": share_cell(
            np.concatenate([each[:, span.reach + 1 :].mean(axis=1) for span, each in runs]), less=GUESS
        ),
        "measured reach over k (W - 1)": mean_cell([measured_reach(each) / span.reach for span, each in runs]),
    }


def draw(folder: Path, losses: Mapping[str, Sequence[float]], right: Mapping[Span, Sequence[np.ndarray]]) -> Path:
    """Draw perplexity by way of reading, and accuracy by distance with the reach of each window and depth."""
    figure, (bars, curves) = new_figure(1, 2, width=11.6, height=4.2)
    draw_losses(bars, losses)
    for span, seeds in right.items():
        accuracy = np.concatenate(seeds).mean(axis=0)
        (line,) = curves.plot(range(len(accuracy)), accuracy, label=f"W = {span.window}, {span.num_layers} layers")
        curves.axvline(span.reach, color=line.get_color(), linestyle=":", linewidth=1)
    curves.axhline(GUESS, color="black", linestyle="--", linewidth=1, label="a guess")
    curves.set(xlabel="tokens behind the marker (dotted: k (W - 1))", ylabel="accuracy", ylim=(0, 1.03))
    curves.legend()
    return save_figure(figure, folder, "window_quality")


def draw_losses(axes: "Axes", losses: Mapping[str, Sequence[float]]) -> None:
    """Draw each way of reading as a point with its interval over documents, against the model's own windows."""
    for place, (name, each) in enumerate(losses.items()):
        if name == OWN:
            continue
        interval = t_interval(np.subtract(each, losses[OWN]))
        axes.plot([interval.low, interval.high], [place, place], color="#0072B2", linewidth=1.4)
        axes.plot([interval.value], [place], "o", color="#0072B2")
    axes.axvline(0, color="black", linestyle="--", linewidth=1)
    axes.set_yticks(range(1, len(losses)), [name for name in losses if name != OWN], fontsize=8)
    axes.set(xlabel="loss over own windows (nats per token)")
    axes.invert_yaxis()
