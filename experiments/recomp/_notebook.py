"""What the notebook shows: documents with what was chosen from them, accuracy by compression, compressors at hand."""

from collections.abc import Collection, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from october.language_models.training_runs import Kept, fullest_model
from october.reporting import Record, new_figure
from october.retrieval import Passage, sentence_spans
from october.retrieval.recomp import Candidate

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def documents_html(documents: Sequence[Passage], chosen: Collection[Candidate]) -> str:
    """Return documents as HTML, best first, the chosen sentences marked."""
    parts = []
    for rank, document in enumerate(documents):
        places = {candidate.place for candidate in chosen if candidate.document == rank}
        text = _marked(document.text, places)
        parts.append(f"<p><b>{rank + 1}. {escape(document.title)}</b><br>{text}</p>")
    return "\n".join(parts)


def _marked(text: str, places: Collection[int]) -> str:
    pieces, end = [], 0
    for place, (start, stop) in enumerate(sentence_spans(text)):
        sentence = escape(text[start:stop])
        pieces += [escape(text[end:start]), f"<mark>{sentence}</mark>" if place in places else sentence]
        end = stop
    return "".join([*pieces, escape(text[end:])])


def accuracy_by_compression(record: Record, accuracy: str = "EM", share: str = "compression") -> "Figure":
    """Draw each row's accuracy, with its interval, by the share of the documents' tokens that it takes."""
    figure, (axes,) = new_figure(width=8.0, height=4.6)
    for row in record.rows:
        if row.cells.keys() >= {accuracy, share} and row.cells[share].value is not None:
            place, height = row.cells[share].value, row.cells[accuracy].value
            (dot,) = axes.plot([place], [height], "o", color="#D55E00" if "RECOMP" in row.name else "#0072B2")
            axes.plot([place] * 2, row.cells[accuracy].bounds, color=dot.get_color(), linewidth=1)
            axes.annotate(row.name, (place, height), xytext=(4, 3), textcoords="offset points", fontsize=7)
    axes.set_xscale("symlog", linthresh=1)
    axes.set(xlabel="tokens, % of the documents'", ylabel=f"{accuracy} (%)")
    return figure


def trained_here(what: str, **known: Any) -> Kept | None:
    """Return the compressor, among those trained here, with the most examples, the newest of equal ones; or None.

    Args:
        what: `EXTRACTIVE` or `ABSTRACTIVE`.
        known: What `trained_extractive` and `trained_abstractive` write of it: the `task`, the name of the `encoder` or
            of the `student` that was trained, `with_empty`, `loss`.
    """
    return fullest_model(what, "training", **known)
