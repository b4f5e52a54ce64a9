"""Losses and batches for the extractive compressor (section 3.1).

    listwise    -log [ exp<x,p> / ( exp<x,p> + sum_{n in N} exp<x,n> ) ]     N the query's own negatives: the paper
    in_batch    the same with every positive and negative of the batch in the sum: the released code

In a batch for the second, two triplets (x, p, n) of one query would make p its own negative, and so would two queries
with the same positive. The batches here hold no such pair. The first sees no other row: of many queries whose positive
is the empty text as many stand in a batch as it has rows.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from sentence_transformers.base.sampler import DefaultBatchSampler
from torch import nn

from .training_examples import ContrastiveExample


class ListwiseLoss(nn.Module):
    """The paper's loss over a query, its positive, and as many columns of negatives as the longest row has.

    Args:
        model: A `SentenceTransformer`.
        scale: Of the inner products; 1 in the paper.
    """

    def __init__(self, model: Any, scale: float = 1.0) -> None:
        super().__init__()
        self.model = model
        self.scale = scale

    def forward(self, sentence_features: Iterable[dict[str, torch.Tensor]], labels: torch.Tensor) -> torch.Tensor:
        """Return the mean loss (nats); `labels` tells how many of a row's columns of negatives are its own."""
        query, *candidates = (self.model(features)["sentence_embedding"] for features in sentence_features)
        return listwise_loss(self.scale * (query[:, None] * torch.stack(candidates, dim=1)).sum(dim=-1), labels)


def listwise_loss(
    scores: Float[torch.Tensor, "rows candidates"], num_negatives: Int[torch.Tensor, " rows"]
) -> Float[torch.Tensor, ""]:
    """Return the mean of -log softmax at the first column; columns behind a row's negatives do not count."""
    columns = torch.arange(scores.shape[1], device=scores.device)
    counted = columns[None] <= num_negatives[:, None]
    return -scores.masked_fill(~counted, -torch.inf).log_softmax(dim=-1)[:, 0].mean()


class DistinctQueries(DefaultBatchSampler):
    """Batches in which no two rows share their query nor, if they are triplets, their positive; all in every epoch.

    Rows are dealt like cards, those of one group (linked by a query or a positive) one after the other, to so many
    batches that none gets two of a group. So the number of batches is the same in every epoch, and their order new.

    Args:
        dataset: Rows with `query`; those with `positive` and `negative` are triplets.
        batch_size: Rows of a batch at most.
        drop_last: Drops no rows here, since there is no small last batch; where several processes share the batches,
            those that are not enough for all processes are left out.
        valid_label_columns: Not used.
        generator: Of the order.
        seed: Of the generator, the epoch added.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        drop_last: bool = False,
        valid_label_columns: list[str] | None = None,
        generator: torch.Generator | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(dataset, batch_size, drop_last, valid_label_columns, generator, seed)
        self.batch_size = None  # they vary by one, and accelerate would skip what is not full
        linking = ("query", "positive") if "negative" in dataset.column_names else ("query",)
        self._groups = linked_groups(list(zip(*(dataset[name] for name in linking), strict=True)))
        rows = sum(map(len, self._groups))
        self._num_batches = max(-(-rows // batch_size), *map(len, self._groups))

    def __len__(self) -> int:
        """Return the number of batches."""
        return self._num_batches

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the rows of each batch."""
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        cards = [row for group in _shuffled(self._groups, generator) for row in _shuffled(group, generator)]
        yield from _shuffled([cards[first :: len(self)] for first in range(len(self))], generator)


def linked_groups(rows: Sequence[tuple[str, ...]]) -> list[list[int]]:
    """Return the numbers of rows in groups: those that share a text in some column, and what is linked through others.

    Args:
        rows: Of a query, or of a query and a positive.
    """
    parent = list(range(len(rows)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = row = parent[parent[row]]
        return row

    first_with: dict[tuple[int, str], int] = {}
    for row, texts in enumerate(rows):
        for key in enumerate(texts):
            parent[root(row)] = root(first_with.setdefault(key, row))
    groups: dict[int, list[int]] = {}
    for row in range(len(rows)):
        groups.setdefault(root(row), []).append(row)
    return list(groups.values())


def triplet_columns(examples: Sequence[ContrastiveExample]) -> dict[str, list[str]]:
    """Return one row for each negative: query, positive, negative."""
    rows = [(query, positive, negative) for query, positive, negatives in examples for negative in negatives]
    names = ("query", "positive", "negative")
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def listwise_columns(examples: Sequence[ContrastiveExample]) -> dict[str, list[Any]]:
    """Return one row for each query; where it has few negatives its last is repeated, and `label` counts its own."""
    longest = max(len(example.negatives) for example in examples)
    columns: dict[str, list[Any]] = {
        "query": [example.query for example in examples],
        "positive": [example.positive for example in examples],
    }
    for place in range(longest):
        columns[f"negative_{place}"] = [row.negatives[min(place, len(row.negatives) - 1)] for row in examples]
    columns["label"] = [len(example.negatives) for example in examples]
    return columns


def _shuffled(items: list[Any], generator: torch.Generator) -> list[Any]:
    return [items[place] for place in torch.randperm(len(items), generator=generator).tolist()]
