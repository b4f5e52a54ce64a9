"""Training of the abstractive compressor (section 3.2): the student learns what the critic kept.

An encoder-decoder is trained by transformers' `Seq2SeqTrainer`, a causal model by its `Trainer` with LoRA. Either way
the loss is that of the summary's tokens and of the end token behind them, which is all there is of an empty summary.
"""

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments, Trainer, TrainingArguments

from ...attention.mistral import TrainingExample, answer_batch, answer_loss
from ...errors import OctoberError
from ...files import atomic_path
from ...language_models.base import same_length
from .abstractive import documents_text, summary_inputs
from .teachers import TeacherRequest
from .training_runs import check_positive, claim_folder, train_or_go_on

_MODEL = "model"
_NOT_LEARNED = -100


@dataclass(frozen=True)
class AbstractiveSettings:
    """How the student is trained; defaults are the paper's for T5-large.

    Attributes:
        learning_rate: Of Adam at its highest, after the warm-up; falls to 0 along a line.
        num_epochs: Passes over the examples.
        batch_size: Examples of a step.
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
        folder: Where it was saved, with its tokenizer.
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
            or the folder holds another run.
    """
    inputs = _inputs(tokenizer, requests, summaries, settings)
    encoded = tokenizer([text + " " for text in inputs])
    labels = [_target(tokenizer, tokenizer(text)["input_ids"], text, settings) for text in summaries]
    columns = zip(encoded["input_ids"], encoded["attention_mask"], labels, strict=True)
    rows = [{"input_ids": ids, "attention_mask": mask, "labels": label} for ids, mask, label in columns]
    student = copy.deepcopy(model).float()
    trainer = Seq2SeqTrainer(
        model=student,
        args=Seq2SeqTrainingArguments(**_arguments(student, folder, settings)),
        train_dataset=rows,
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=student, label_pad_token_id=_NOT_LEARNED),
        processing_class=tokenizer,
    )
    return _trained(trainer, tokenizer, Path(folder), [asdict(settings), "seq2seq", rows])


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
    student = _with_adapters(copy.deepcopy(model).float(), settings)
    padding_id = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    trainer = Trainer(
        model=student,
        args=TrainingArguments(**_arguments(student, folder, settings), remove_unused_columns=False),
        train_dataset=rows,
        data_collator=lambda batch: answer_batch(batch, padding_id),
        compute_loss_func=answer_loss,
        processing_class=tokenizer,
    )
    return _trained(trainer, tokenizer, Path(folder), [asdict(settings), "causal", [list(row) for row in rows]])


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
    return TrainingExample(prompt + target, [_NOT_LEARNED] * len(prompt) + target)


def _target(tokenizer: Any, token_ids: list[int], summary: str, settings: AbstractiveSettings) -> list[int]:
    if token_ids[-1] != tokenizer.eos_token_id:
        raise OctoberError(f"{type(tokenizer).__name__} puts no end token behind a summary: one is needed")
    if len(token_ids) > settings.max_target_tokens:
        limit = settings.max_target_tokens
        raise OctoberError(f"summary {summary[:40]!r} has {len(token_ids)} tokens, more than max_target_tokens={limit}")
    return token_ids


def _with_adapters(model: Any, settings: AbstractiveSettings) -> Any:
    if settings.lora_rank is None:
        return model
    from peft import LoraConfig, get_peft_model

    rank = settings.lora_rank
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return get_peft_model(model, config)


def _arguments(model: Any, folder: str | Path, settings: AbstractiveSettings) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "optim": "adamw_torch",
        "weight_decay": 0.0,  # so it is Adam
        "learning_rate": settings.learning_rate,
        "warmup_steps": settings.warmup_steps,
        "num_train_epochs": settings.num_epochs,
        "per_device_train_batch_size": settings.batch_size,
        "use_cpu": model.device.type == "cpu",
        "save_strategy": "steps",
        "save_steps": settings.save_every,
        "save_total_limit": 2,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "seed": settings.seed,
        "report_to": "none",
    }


def _trained(trainer: Any, tokenizer: Any, folder: Path, run: list[Any]) -> TrainedStudent:
    """Train, merge adapters, and save the whole model, so that it loads as any other."""
    claim_folder(folder, run)
    losses = train_or_go_on(trainer, folder)
    model = trainer.accelerator.unwrap_model(trainer.model).eval()
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    if trainer.is_world_process_zero():
        with atomic_path(folder / _MODEL) as temporary:
            model.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
    return TrainedStudent(model, losses, folder / _MODEL)
