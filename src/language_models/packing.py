"""Many short examples in one row, none of which sees another.

A row of examples of lengths a, b, … has positions 0 … a-1, 0 … b-1, …, and token i sees token j ≤ i only where both
are of one example: attention is block-diagonal.

    positions   0 1 2 | 0 1 | 0 1 2 3
    example 1   x     |     |
                x x   |     |
                x x x |     |
    example 2         | x   |
                      | x x |
    example 3         |     | x …

transformers finds the blocks by itself where positions start again, but only without an attention mask and without a
cache; with either it lets the examples see each other and says nothing. So a batch here never has a mask, always
forbids the cache, and `check_isolation` compares a model's logits once before it is trained this way.
"""

import hashlib
import os
from array import array
from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..errors import OctoberError
from .answer_training import NOT_LEARNED, TrainingExample, answer_trainer

Row = Sequence[TrainingExample]


def packed(examples: Sequence[TrainingExample], max_tokens: int) -> list[list[TrainingExample]]:
    """Return rows of whole examples, none longer than the limit: best-fit decreasing.

    The longest example is placed first, each into the fullest row that still has room for it, else into a new one.

    Args:
        examples: Each with at least one token.
        max_tokens: Of a row.

    Raises:
        OctoberError: An example is longer than a row: it would have to be cut.
    """
    rows: list[list[TrainingExample]] = []
    room: list[tuple[int, int]] = []  # tokens free, and the row's number; sorted
    for example in sorted(examples, key=lambda example: -len(example.token_ids)):
        length = len(example.token_ids)
        if length > max_tokens:
            raise OctoberError(f"max_tokens={max_tokens}: an example has {length} tokens, and none is cut")
        fullest = bisect_left(room, (length, 0))
        if fullest == len(room):
            rows.append([])
            free, number = max_tokens, len(rows) - 1
        else:
            free, number = room.pop(fullest)
        rows[number].append(example)
        insort(room, (free - length, number))
    return rows


def packed_batch(rows: Sequence[Row], padding_id: int) -> dict[str, Any]:
    """Return what a model is called with, and the labels of the logits that it then returns, as `answer_batch` does.

    Args:
        rows: Of examples; shorter rows are filled on the right with one more block that nobody learns from.
        padding_id: The token they are filled with.
    """
    length = max(sum(len(example.token_ids) for example in row) for row in rows)
    filled = [[*row, _filler(length - sum(len(example.token_ids) for example in row), padding_id)] for row in rows]
    labels = torch.tensor([[label for example in row for label in _targets(example)] for row in filled])
    columns = (labels != NOT_LEARNED).any(dim=0).nonzero()[:, 0]
    return {
        "input_ids": torch.tensor([[token for example in row for token in example.token_ids] for row in filled]),
        "position_ids": torch.tensor(
            [[place for example in row for place in range(len(example.token_ids))] for row in filled]
        ),
        "use_cache": False,
        "logits_to_keep": columns,
        "labels": torch.cat([labels.new_full((len(rows), 1), NOT_LEARNED), labels[:, columns]], dim=1),
    }


def rows_digest(rows: Sequence[Row]) -> str:
    """Return what tells one set of rows from another; they may be too many to be written down."""
    digest = hashlib.sha256()
    for row in rows:
        for token_ids, labels in row:
            digest.update(array("q", [len(token_ids), *token_ids, *labels]).tobytes())
        digest.update(b"|")
    return digest.hexdigest()[:16]


def packed_trainer(
    learner: Any, tokenizer: Any, rows: Sequence[Row], arguments: Mapping[str, Any], rows_at_once: int, **more: Any
) -> Any:
    """Return a trainer on packed rows, of a model that was seen to keep their examples apart.

    Args:
        learner: In float32, with adapters or without.
        tokenizer: Its tokenizer.
        rows: What it learns from.
        arguments: As in `answer_trainer`, like what follows.
        rows_at_once: In a batch.
        more: `validation` and `score`.

    Raises:
        OctoberError: As `check_isolation`.
    """
    check_isolation(learner.eval(), rows_at_once)
    return answer_trainer(learner, tokenizer, rows, arguments, batch=packed_batch, **more)


@torch.inference_mode()
def check_isolation(model: Any, rows_at_once: int = 1) -> None:
    """Check that a model keeps the examples of a packed row apart: its logits are those of each example alone.

    Args:
        model: A causal model of transformers, in float32. Of the processes of a machine the first one checks: the
            others may have no weights yet.
        rows_at_once: In a batch; flash attention, for one, finds the blocks of a single row only.

    Raises:
        OctoberError: It lets them see each other.
    """
    if os.environ.get("LOCAL_RANK", "0") != "0":
        return
    highest = model.get_input_embeddings().weight.shape[0] - 1
    tokens = [[min(token, highest) for token in some] for some in ([5, 9, 7], [8, 6, 4, 3])]
    examples = [TrainingExample(ids, ids) for ids in tokens]
    together = _logits(model, [examples] * rows_at_once)
    alone = torch.cat([_logits(model, [[example]]) for example in examples], dim=1)
    if not torch.allclose(together, alone, rtol=1e-3, atol=1e-3 * float(alone.std())):
        raise OctoberError(
            f"{type(model).__name__} lets the examples of a packed row see each other, {rows_at_once} rows at once: "
            "choose another attention implementation, or another model"
        )


def _logits(model: Any, rows: Sequence[Row]) -> torch.Tensor:
    batch = {name: value for name, value in packed_batch(rows, 0).items() if name != "labels"}
    moved = {name: value.to(model.device) if torch.is_tensor(value) else value for name, value in batch.items()}
    logits: torch.Tensor = model(**moved).logits.float()
    return logits


def _targets(example: TrainingExample) -> list[int]:
    """Return what each token is to predict: the next one's label, and nothing at the end."""
    return [*example.labels[1:], NOT_LEARNED] if example.labels else []


def _filler(count: int, padding_id: int) -> TrainingExample:
    return TrainingExample([padding_id] * count, [NOT_LEARNED] * count)
