"""Perplexity with retrieval, window by window (section 4, the protocol of in-context retrieval augmentation).

    text        |0 ............................................................|
    window 0    [ predicted: all                ]
    window 1        [ evidence | tokens before  | s predicted ]
    window 2            [ evidence | tokens before  | s predicted ]

Windows of W tokens move on by s, and each predicts what the one before did not reach. The query is the text of the last
tokens before the predicted ones. Evidence takes the place of a window's first tokens: lengths stay as they are. The
first window has none, and one for which nothing is retrieved stays plain. Perplexity is that of words,

    exp( sum of the negative log-probabilities / number of spaces in the raw text )

A model whose texts begin with a start token gets it in front of every window; then the text's first token is predicted
too. Without one it predicts nothing, as in the original.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int

from ...errors import OctoberError, check_text
from ...evaluation import word_perplexity
from ...language_models import TransformersLM
from ...language_models.base import check_context, same_length
from ...language_models.batching import length_sorted_batches, progress_bar
from ...language_models.output_head import OutputHead
from .compressor import Compressor

if TYPE_CHECKING:
    from ..passages import Passage
    from ..retriever import Retriever


@dataclass(frozen=True)
class Window:
    """A stretch of tokens: `begin` to `end`, those from `predicted` on are predicted."""

    begin: int
    predicted: int
    end: int


class StridedLosses(NamedTuple):
    """What a model made of a text.

    Attributes:
        windows: In their order.
        losses: Of each window, the negative log-probability (nats) of what it predicts, summed.
        evidence_tokens: Of each window, how many of its tokens were evidence.
        tokens: Predicted in all.
    """

    windows: list[Window]
    losses: Float[np.ndarray, " windows"]
    evidence_tokens: Int[np.ndarray, " windows"]
    tokens: int

    def word_perplexity(self, text: str) -> float:
        """Return the perplexity of the raw text's words.

        Raises:
            OctoberError: The text has no space.
        """
        return word_perplexity(self.losses, text)


def strided_windows(num_tokens: int, window: int = 1024, stride: int = 32) -> list[Window]:
    """Return the windows of a text.

    Raises:
        OctoberError: There are no tokens, or not 1 <= stride < window.
    """
    if num_tokens < 1:
        raise OctoberError("text is empty: it has no tokens to predict")
    if not 1 <= stride < window:
        raise OctoberError(f"window={window}, stride={stride}: the stride must be from 1 to below the window")
    windows = [Window(0, 0, min(window, num_tokens))]
    while windows[-1].end < num_tokens:
        last = windows[-1]
        windows.append(Window(last.begin + stride, last.end, min(last.end + stride, num_tokens)))
    return windows


def window_queries(
    tokenizer: Any, token_ids: Sequence[int], windows: Sequence[Window], query_tokens: int = 32
) -> list[str]:
    """Return the text of the last tokens before each window's predicted ones; nothing for a first window.

    Raises:
        OctoberError: `query_tokens` is below 1.
    """
    if query_tokens < 1:
        raise OctoberError(f"query_tokens={query_tokens}: must be at least 1")
    spans = [(max(0, window.predicted - query_tokens), window.predicted) for window in windows]
    return [tokenizer.decode(list(token_ids[first:last]), skip_special_tokens=True) for first, last in spans]


def window_documents(
    retriever: "Retriever", queries: Sequence[str], k: int, forbidden_titles: Collection[str]
) -> list[list["Passage"]]:
    """Return what is retrieved for each window, best first; nothing for an empty query.

    Args:
        retriever: Over the passages.
        queries: Of the windows.
        k: Passages for each.
        forbidden_titles: Titles whose passages must not be seen: the text's own, and those that hold its test set.

    Raises:
        OctoberError: As `Retriever.search`.
    """
    asked = [place for place, query in enumerate(queries) if query.strip()]
    found = (
        retriever.search([queries[place] for place in asked], k, forbidden_titles=[forbidden_titles] * len(asked))
        if asked
        else []
    )
    documents: list[list[Passage]] = [[] for _ in queries]
    for place, retrieved in zip(asked, found, strict=True):
        documents[place] = [one.passage for one in retrieved]
    return documents


def window_evidence(
    compressor: Compressor, queries: Sequence[str], documents: Sequence[Sequence["Passage"]]
) -> list[str]:
    """Return each window's summary of its documents; nothing where nothing was retrieved.

    Raises:
        OctoberError: As `Compressor.compress_many`.
    """
    same_length("queries", queries, "lists of documents", documents)
    found = [place for place, retrieved in enumerate(documents) if retrieved]
    written = compressor.compress_many([queries[place] for place in found], [documents[place] for place in found])
    evidence = [""] * len(queries)
    for place, text in zip(found, written, strict=True):
        evidence[place] = text
    return evidence


def text_tokens(tokenizer: Any, text: str) -> list[int]:
    """Return a text's tokens without special ones.

    Raises:
        OctoberError: It is not UTF-8 text.
    """
    check_text(text, "text")
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


@torch.inference_mode()
def strided_losses(
    lm: TransformersLM,
    token_ids: Sequence[int],
    evidence: Sequence[str],
    *,
    window: int = 1024,
    stride: int = 32,
    max_evidence_tokens: int = 256,
) -> StridedLosses:
    """Return the losses of a text's windows.

    Logits are computed for predicted tokens alone, windows of similar length together.

    Args:
        lm: The model.
        token_ids: The text, without a start token.
        evidence: For each window of `strided_windows`, what stands in place of its first tokens; empty for none.
            That of the first window is not used.
        window: Tokens of a window (W).
        stride: Tokens that a window after the first predicts (s).
        max_evidence_tokens: Longer evidence is cut.

    Raises:
        OctoberError: As `strided_windows`; another number of evidence than of windows; evidence would reach the
            predicted tokens; or a window is longer than the model's context.
    """
    windows = strided_windows(len(token_ids), window, stride)
    same_length("windows", windows, "evidence", evidence)
    if not 0 <= max_evidence_tokens <= window - stride:
        raise OctoberError(f"max_evidence_tokens={max_evidence_tokens}: must be from 0 to window - stride")
    start = _start_token(lm.tokenizer)
    context = getattr(lm.model.config.get_text_config(), "max_position_embeddings", None)
    check_context([windows[0].end - 1 + len(start)], context, "window")
    in_front = [text_tokens(lm.tokenizer, text)[:max_evidence_tokens] if text else [] for text in evidence]
    in_front[0] = []
    rows = [_row(token_ids, *pair, start) for pair in zip(windows, in_front, strict=True)]
    losses = _losses(OutputHead(lm.model), rows, lm.max_batch_tokens)
    return StridedLosses(
        windows, losses, np.array([len(ids) for ids in in_front]), sum(len(row.targets) for row in rows)
    )


class _Row(NamedTuple):
    """What is fed for a window; its last tokens predict `targets`."""

    fed: list[int]
    targets: list[int]


def _row(token_ids: Sequence[int], window: Window, evidence: list[int], start: list[int]) -> _Row:
    first = max(window.predicted, 1 - len(start))  # without a start token nothing predicts a text's first one
    fed = [*start, *evidence, *token_ids[window.begin + len(evidence) : window.end - 1]]
    return _Row(fed, list(token_ids[first : window.end]))


def _losses(head: OutputHead, rows: Sequence[_Row], max_batch_tokens: int) -> Float[np.ndarray, " windows"]:
    losses = np.zeros(len(rows))
    with progress_bar(len(rows), "windows") as bar:
        for batch in length_sorted_batches([len(row.fed) for row in rows], max_batch_tokens):
            for index, loss in zip(batch, _batch_losses(head, [rows[index] for index in batch]), strict=True):
                losses[index] = loss
            bar.update(len(batch))
    return losses


def _batch_losses(head: OutputHead, rows: Sequence[_Row]) -> list[float]:
    asked = [(number, place) for number, row in enumerate(rows) for place in _places(row)]
    if not asked:
        return [0.0] * len(rows)
    longest, device = max(len(row.fed) for row in rows), head.backbone.device
    input_ids = torch.tensor([row.fed + [0] * (longest - len(row.fed)) for row in rows], device=device)
    hidden = head.backbone(input_ids=input_ids, use_cache=False).last_hidden_state
    numbers, places = torch.tensor(asked, device=device).T
    targets = torch.tensor([target for row in rows for target in row.targets], device=device)
    values = head.token_scores(hidden[numbers, places], targets).log_probabilities.double()
    sums = torch.zeros(len(rows), dtype=torch.float64, device=device).index_add_(0, numbers, values)
    return [-value for value in sums.tolist()]


def _places(row: _Row) -> range:
    """Return the places of the tokens that predict."""
    return range(len(row.fed) - len(row.targets), len(row.fed))


def _start_token(tokenizer: Any) -> list[int]:
    """Return the token that the model's texts begin with, if its tokenizer puts one there."""
    ids = tokenizer("")["input_ids"]
    return list(ids[:1]) if ids and ids[0] == tokenizer.bos_token_id else []
