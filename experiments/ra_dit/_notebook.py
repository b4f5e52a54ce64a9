"""What the notebook shows of one question: weights before and after tuning, and answers being mixed."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from october.language_models import EncoderHandle
from october.language_models.training_runs import Kept, kept_models
from october.reporting import new_figure
from october.retrieval import Passage, Retrieved
from october.retrieval.embeddings import encode
from october.retrieval.ra_dit import Mixed

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Weighed(NamedTuple):
    """A passage with its weight before and after the retriever was tuned; 0 where it was not among the best."""

    passage: Passage
    before: float
    after: float


def weighed(before: Sequence[Retrieved], after: Sequence[Retrieved], temperature: float) -> list[Weighed]:
    """Return all passages that either retriever found with their weights, those of the tuned one first."""
    weights = [weights_of(found, temperature) for found in (before, after)]
    passages = {hit.passage.id: hit.passage for hit in (*after, *before)}
    return [Weighed(passage, *(each.get(name, 0.0) for each in weights)) for name, passage in passages.items()]


def weights_of(found: Sequence[Retrieved], temperature: float) -> dict[str, float]:
    """Return p_R of passages by their ids: softmax of the scores."""
    scores = np.array([hit.score for hit in found]) / temperature
    weights = np.exp(scores - scores.max(initial=-np.inf))
    return {hit.passage.id: float(weight) for hit, weight in zip(found, weights / weights.sum(), strict=True)}


def scored_again(found: Sequence[Retrieved], query: str, encoder: EncoderHandle) -> list[Retrieved]:
    """Return the same passages with another encoder's scores, best first."""
    texts = [hit.passage.titled_text for hit in found]
    scores = encode(encoder, texts) @ encode(encoder, [query], query=True)[0]
    again = [Retrieved(hit.passage, float(score)) for hit, score in zip(found, scores, strict=True)]
    return sorted(again, key=lambda hit: -hit.score)


def passages_html(rows: Sequence[Weighed]) -> str:
    """Return passages with a bar for the weight before tuning and one for that after."""
    return "".join(
        f"<p><b>{escape(row.passage.title)}</b> {_bar(row.before, '#999999')} before "
        f"{_bar(row.after, '#D55E00')} after<br>{escape(row.passage.text)}</p>"
        for row in rows
    )


def _bar(weight: float, color: str) -> str:
    width = f"display:inline-block;height:0.6em;width:{120 * weight:.0f}px;background:{color}"
    return f'<span style="{width}"></span> {weight:.2f}'


def mixing(mixed: Mixed, labels: Sequence[str]) -> "Figure":
    """Draw each passage's distribution over the candidates, weighed, and below them their sum: the mixture.

    Args:
        mixed: What was answered.
        labels: Of its prompts.
    """
    own = np.exp(np.array(mixed.by_prompt))
    weights = np.exp(np.array(mixed.log_weights))
    rows = [*(own * weights[:, None]), np.exp(np.array(mixed.log_probabilities))]
    names = [f"{label} ({weight:.2f})" for label, weight in zip(labels, weights, strict=True)] + ["mixture"]
    figure, (axes,) = new_figure(width=8.4, height=1.2 + 0.34 * len(rows))
    left = np.zeros(len(rows))
    for place, candidate in enumerate(mixed.candidates):
        lengths = np.array([row[place] for row in rows])
        axes.barh(range(len(rows)), lengths, left=left, label=candidate[:40])
        left += lengths
    axes.set_yticks(range(len(rows)), names)
    axes.invert_yaxis()
    axes.set(xlabel="probability, weighed by the passage")
    axes.legend(fontsize=7)
    return figure


def newest(what: str, **known: Any) -> Kept | None:
    """Return the newest of the models that were tuned here, or None.

    Args:
        what: `LANGUAGE_MODEL` or `RETRIEVER`.
        known: What must be known of it, as `tuned_language_model` and `tuned_retriever` keep it: its base's name alone
            does not tell ablations, trials and second stages apart.
    """
    found = kept_models(what, **known)
    return found[-1] if found else None
