"""Training of the abstractive compressor (section 3.2): the student learns what the critic kept.

An encoder-decoder is trained by transformers' `Seq2SeqTrainer`, a causal model by its `Trainer` with LoRA. Either way
the loss is that of the summary's tokens and of the end token behind them, which is all there is of an empty summary.
"""

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor
from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments

from ...errors import OctoberError
from ...language_models.answer_training import NOT_LEARNED, TrainingExample, answer_trainer, token_loss, with_lora
from ...language_models.base import same_length
from ...language_models.training_runs import (
    LOGGED_AND_KEPT,
    PLAIN_ADAM,
    accumulated_batches,
    check_positive,
    claim_folder,
    save_model,
    train_or_go_on,
)
from .abstractive import documents_text, summary_inputs
from .teachers import TeacherRequest


@dataclass(frozen=True)
class AbstractiveSettings:
    """How the student is trained; defaults are the paper's for T5-large.

    Attributes:
        learning_rate: Of Adam at its highest, after the warm-up; falls to 0 along a line.
        num_epochs: Passes over the examples.
        batch_size: Examples of a step, over all devices.
        rows_at_once: That one device sees at once; memory grows with them.
        warmup_steps: Steps in which the learning rate rises.
        max_input_tokens: Of query and documents; the documents' last words are left out where there are more.
        max_target_tokens: Of a summary; a longer one is refused.
        with_titles: Titles stand in front of the documents' texts.
        lora_rank: Of the adapters on a causal model's linear maps (alpha twice as high); None trains all weights. Not
            used for an encoder-decoder.
        save_every: Steps between checkpoints; the newest two are kept.
        seed: Of the order and of the adapters.

    Raises:
        OctoberError: A number that must be positive is not.
    """

    learning_rate: float = 1e-5
    num_epochs: int = 3
    batch_size: int = 16
    rows_at_once: int = 1
    warmup_steps: int = 1000
    max_input_tokens: int = 1024
    max_target_tokens: int = 512
    with_titles: bool = False
    lora_rank: int | None = 16
    save_every: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        free = ("warmup_steps", "seed", "with_titles")
        check_positive({name: value for name, value in asdict(self).items() if name not in free})


class TrainedStudent(NamedTuple):
    """What training leaves.

    Attributes:
        model: The student in evaluation mode, adapters merged into it.
        losses: Of each step (nats per learned token), those before an interruption included.
        folder: Where it (or its adapters, see `answer_training.trained_model`) was saved, with its tokenizer.
    """

    model: Any
    losses: list[float]
    folder: Path


def train_seq2seq(
    model: Any,
    tokenizer: Any,
    requests: Sequence[TeacherRequest],
    summaries: Sequence[str],
    folder: str | Path,
    settings: AbstractiveSettings = AbstractiveSettings(),
) -> TrainedStudent:
    """Train an encoder-decoder to write summaries.

    Where the folder holds checkpoints of the same run, training goes on from the newest whole one to the same losses.

    Args:
        model: An `AutoModelForSeq2SeqLM`; a copy is trained.
        tokenizer: Its tokenizer, a fast one.
        requests: Queries and documents.
        summaries: What the student is to write for each; may be empty.
        folder: Of checkpoints and of the result.
        settings: How.

    Raises:
        OctoberError: No examples, different numbers of requests and summaries, a query or a summary that is too long,
            the folder holds another run, a batch is no multiple of what is seen at once, or training would end within
            its warm-up.
    """
    inputs = _inputs(tokenizer, requests, summaries, settings)
    encoded = tokenizer([text + " " for text in inputs])
    labels = [_target(tokenizer, tokenizer(text)["input_ids"], text, settings) for text in summaries]
    columns = zip(encoded["input_ids"], encoded["attention_mask"], labels, strict=True)
    rows = [{"input_ids": ids, "attention_mask": mask, "labels": label} for ids, mask, label in columns]
    claim_folder(Path(folder), asdict(settings), ["seq2seq", rows])
    student = copy.deepcopy(model).float()
    trainer = Seq2SeqTrainer(
        model=student,
        args=Seq2SeqTrainingArguments(
            **_arguments(folder, settings), **LOGGED_AND_KEPT, use_cpu=student.device.type == "cpu"
        ),
        train_dataset=rows,
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=student, label_pad_token_id=NOT_LEARNED),
        compute_loss_func=_seq2seq_loss,
        processing_class=tokenizer,
    )
    return _trained(trainer, Path(folder))


def train_causal(
    model: Any,
    tokenizer: Any,
    requests: Sequence[TeacherRequest],
    summaries: Sequence[str],
    folder: str | Path,
    settings: AbstractiveSettings = AbstractiveSettings(),
) -> TrainedStudent:
    """Train a causal language model to continue queries and documents by summaries.

    Args:
        model: An `AutoModelForCausalLM`; a copy in float32 is trained.
        tokenizer: Its tokenizer, a fast one.
        requests: As in `train_seq2seq`, like all others.
        summaries: What the student is to write.
        folder: Of checkpoints and of the result.
        settings: How.

    Raises:
        OctoberError: As `train_seq2seq`.
    """
    inputs = _inputs(tokenizer, requests, summaries, settings)
    rows = [_continuation(tokenizer, *pair, settings) for pair in zip(inputs, summaries, strict=True)]
    claim_folder(Path(folder), asdict(settings), ["causal", [list(row) for row in rows]])
    student = with_lora(copy.deepcopy(model).float(), settings.lora_rank, settings.seed)
    trainer = answer_trainer(student, tokenizer, rows, _arguments(folder, settings))
    return _trained(trainer, Path(folder))


def _inputs(
    tokenizer: Any, requests: Sequence[TeacherRequest], summaries: Sequence[str], settings: AbstractiveSettings
) -> list[str]:
    same_length("requests", requests, "summaries", summaries)
    if not requests:
        raise OctoberError("requests are empty: there is nothing to learn from")
    texts = [documents_text(request.documents, with_titles=settings.with_titles) for request in requests]
    return summary_inputs(tokenizer, [request.query for request in requests], texts, settings.max_input_tokens)


def _continuation(tokenizer: Any, text: str, summary: str, settings: AbstractiveSettings) -> TrainingExample:
    """Return input, summary and end token as one row in which the last two are learned."""
    prompt = list(tokenizer(text)["input_ids"])
    written = tokenizer(f" {summary}", add_special_tokens=False)["input_ids"] if summary else []
    target = _target(tokenizer, [*written, tokenizer.eos_token_id], summary, settings)
    return TrainingExample(prompt + target, [NOT_LEARNED] * len(prompt) + target)


def _target(tokenizer: Any, token_ids: list[int], summary: str, settings: AbstractiveSettings) -> list[int]:
    if token_ids[-1] != tokenizer.eos_token_id:
        raise OctoberError(f"{type(tokenizer).__name__} puts no end token behind a summary: one is needed")
    if len(token_ids) > settings.max_target_tokens:
        limit = settings.max_target_tokens
        raise OctoberError(f"summary {summary[:40]!r} has {len(token_ids)} tokens, more than max_target_tokens={limit}")
    return token_ids


def _seq2seq_loss(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int) -> Tensor:
    """Return the mean negative log-probability of a step's tokens, whatever number of them this batch has."""
    return token_loss(outputs.logits, labels, num_items_in_batch)


def _arguments(folder: str | Path, settings: AbstractiveSettings) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        **PLAIN_ADAM,
        "learning_rate": settings.learning_rate,
        "warmup_steps": settings.warmup_steps,
        "num_train_epochs": settings.num_epochs,
        "per_device_train_batch_size": settings.rows_at_once,
        "gradient_accumulation_steps": accumulated_batches(settings.batch_size, settings.rows_at_once),
        "save_strategy": "steps",
        "save_steps": settings.save_every,
        "seed": settings.seed,
    }


def _trained(trainer: Any, folder: Path) -> TrainedStudent:
    losses = train_or_go_on(trainer, folder)
    saved = save_model(trainer, folder)
    model = trainer.accelerator.unwrap_model(trainer.model).eval()
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    return TrainedStudent(model, losses, saved)
