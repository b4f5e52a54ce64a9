"""Training of the extractive compressor (section 3.1 and appendix) by sentence-transformers' trainer.

The model that is kept is the one whose first choice helps the language model most on validation queries, the one
before training included; of equal ones the earliest. Their candidates have been judged once, so that choosing needs no
language model:

    re-ranked score = mean over queries of Score(argmax_j <enc(x), enc(s_j)>)
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.util import dot_score

from ...errors import OctoberError
from ...language_models.training_runs import (
    LOGGED_AND_KEPT,
    PLAIN_ADAM,
    check_positive,
    claim_folder,
    save_model,
    train_or_go_on,
)
from ..embeddings import LoadedEncoder
from .candidates import EMPTY
from .contrastive import DistinctQueries, ListwiseLoss, listwise_columns, triplet_columns
from .dual_encoder import DualEncoder
from .training_examples import ContrastiveExample, ScoredExample

Loss = Literal["listwise", "in_batch"]


@dataclass(frozen=True)
class ExtractiveSettings:
    """How the encoder is trained; defaults are the paper's.

    Attributes:
        loss: `listwise`, the paper's formula, or `in_batch`, the released code's.
        scale: Of the inner products; encoders whose embeddings have length 1 learn little at 1, and want about 20.
        learning_rate: Of Adam at its highest, after the warm-up; falls to 0 along a line.
        num_epochs: Passes over the examples (3 in the paper, 10 by default in its code).
        batch_size: Queries (listwise) or triplets (in_batch) of a step.
        warmup_steps: Steps in which the learning rate rises.
        max_tokens: Of a query or sentence; what is longer is cut.
        evaluate_every: Steps between two measurements on validation, and two checkpoints (500 in the released code);
            unset for one at the end of each epoch.
        mixed_precision: Multiply in bfloat16 where there is a GPU.
        seed: Of the batches and of dropout.

    Raises:
        OctoberError: A number that must be positive is not, or an unknown loss.
    """

    loss: Loss = "listwise"
    scale: float = 1.0
    learning_rate: float = 2e-5
    num_epochs: int = 3
    batch_size: int = 64
    warmup_steps: int = 1000
    max_tokens: int = 100
    evaluate_every: int | None = None
    mixed_precision: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.loss not in ("listwise", "in_batch"):
            raise OctoberError(f"loss={self.loss!r}: must be 'listwise' or 'in_batch'")
        free = ("warmup_steps", "seed", "mixed_precision")
        check_positive({name: value for name, value in asdict(self).items() if name not in free})


class TrainedExtractive(NamedTuple):
    """What training leaves.

    Attributes:
        encoder: The encoder with the best re-ranked score, the earliest of equal ones and perhaps the one before
            training; or the last one where there was no validation.
        losses: Of each step (nats), those before an interruption included.
        validation: (step, re-ranked score) of each measurement; step 0 is the encoder before training.
        folder: Where the encoder was saved, as sentence-transformers does.
    """

    encoder: Any
    losses: list[float]
    validation: list[tuple[int, float]]
    folder: Path


def train_extractive(
    encoder: Any,
    examples: Sequence[ContrastiveExample],
    validation: Sequence[ScoredExample],
    folder: str | Path,
    settings: ExtractiveSettings = ExtractiveSettings(),
) -> TrainedExtractive:
    """Train an encoder of queries and sentences.

    Where the folder holds checkpoints of the same run, training goes on from the newest whole one to the same losses.

    Args:
        encoder: A `SentenceTransformer`, changed in place; with the same weights again when a run goes on.
        examples: What it learns from.
        validation: Judged queries that choose the model that is kept; may be none.
        folder: Of checkpoints and of the result.
        settings: How.

    Raises:
        OctoberError: There are no examples; some have the empty text as their positive and the loss is `in_batch`,
            where it would be the negative of all others; the folder holds another run; or training would end within
            its warm-up.
    """
    if not examples:
        raise OctoberError("examples are empty: there is nothing to learn from")
    if settings.loss == "in_batch" and any(example.positive == EMPTY for example in examples):
        raise OctoberError("loss='in_batch': the empty text is a positive, and so a negative of others; use 'listwise'")
    folder = Path(folder)
    claim_folder(folder, asdict(settings), [[list(row) for row in examples], [asdict(row) for row in validation]])
    encoder.max_seq_length = settings.max_tokens
    measured = [(0, reranked_score(encoder, validation))] if validation else []
    before = {name: weight.detach().cpu().clone() for name, weight in encoder.state_dict().items()}
    trainer = _trainer(encoder, examples, validation, folder, settings)
    losses = train_or_go_on(trainer, folder)
    history = trainer.state.log_history
    measured += [(entry["step"], entry[_METRIC]) for entry in history if _METRIC in entry]
    if measured and measured[0][1] >= max(score for _, score in measured):
        encoder.load_state_dict(before)
    return TrainedExtractive(encoder.eval(), losses, measured, save_model(trainer, folder))


def reranked_score(encoder: Any, validation: Sequence[ScoredExample]) -> float:
    """Return the mean score of the candidates that an encoder would choose; ties go to the first.

    Raises:
        OctoberError: There are no queries.
    """
    if not validation:
        raise OctoberError("validation is empty: there is nothing to measure")
    queries = [example.query for example in validation]
    similarities = DualEncoder(LoadedEncoder(encoder)).similarities(
        queries, [example.candidates for example in validation]
    )
    chosen = [row.scores[int(values.argmax())] for row, values in zip(validation, similarities, strict=True)]
    return sum(chosen) / len(chosen)


_METRIC = "eval_reranked_score"


class _RerankedScore(BaseEvaluator):
    """Measures the re-ranked score during training."""

    def __init__(self, validation: Sequence[ScoredExample]) -> None:
        super().__init__()
        self.validation = validation
        self.primary_metric = _METRIC

    def __call__(self, model: Any, *arguments: Any, **more: Any) -> dict[str, float]:
        return {_METRIC: reranked_score(model, self.validation)}


def _trainer(
    encoder: Any,
    examples: Sequence[ContrastiveExample],
    validation: Sequence[ScoredExample],
    folder: Path,
    settings: ExtractiveSettings,
) -> Any:
    listwise = settings.loss == "listwise"
    columns = listwise_columns(examples) if listwise else triplet_columns(examples)
    loss = (
        ListwiseLoss(encoder, settings.scale)
        if listwise
        else MultipleNegativesRankingLoss(encoder, scale=settings.scale, similarity_fct=dot_score)
    )
    return SentenceTransformerTrainer(
        model=encoder,
        args=_arguments(encoder, folder, settings, evaluated=bool(validation)),
        train_dataset=Dataset.from_dict(columns),
        loss=loss,
        evaluator=_RerankedScore(validation) if validation else None,
    )


def _arguments(encoder: Any, folder: Path, settings: ExtractiveSettings, *, evaluated: bool) -> Any:
    on_gpu = encoder.device.type == "cuda"
    when = "epoch" if settings.evaluate_every is None else "steps"
    return SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup_steps,
        num_train_epochs=settings.num_epochs,
        per_device_train_batch_size=settings.batch_size,
        batch_sampler=DistinctQueries,
        bf16=settings.mixed_precision and on_gpu and torch.cuda.is_bf16_supported(),
        use_cpu=encoder.device.type == "cpu",
        eval_strategy=when if evaluated else "no",
        eval_steps=settings.evaluate_every,
        save_strategy=when,
        save_steps=settings.evaluate_every or 1,
        load_best_model_at_end=evaluated,
        metric_for_best_model=_METRIC if evaluated else None,
        greater_is_better=True if evaluated else None,
        seed=settings.seed,
        **PLAIN_ADAM,
        **LOGGED_AND_KEPT,
    )
