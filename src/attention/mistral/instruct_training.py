"""Instruction fine-tuning (section 4): the loss is that of the answers, and a run that was killed goes on.

Training itself is `transformers.Trainer`'s, with LoRA by peft, so that accelerate's ways of using many devices work.
Rows of a batch are padded on the left, so that their answers, which stand last, share columns: logits are computed
for the columns in which some row has a learned token, and for no others.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from ...errors import OctoberError
from ...files import atomic_path, content_hash, write_whole
from .chat import NOT_LEARNED, Conversation, TrainingExample, training_example

_RUN = "run.json"
_MODEL = "model"


@dataclass(frozen=True)
class InstructSettings:
    """How a model is fine-tuned.

    Attributes:
        learning_rate: At its highest; falls along a cosine to 0.
        num_epochs: Passes over the conversations.
        batch_size: Conversations that one device sees at once.
        accumulated_batches: Batches whose gradients make one step.
        max_tokens: Of the longest conversation; a longer one is refused, never cut.
        lora_rank: Of the adapters on all linear maps (LoRA, with alpha of twice the rank); None trains all weights.
        save_every: Steps between checkpoints; the newest two are kept.
        seed: Of the adapters and of the order of the conversations.

    Raises:
        OctoberError: A number that must be positive is not.
    """

    learning_rate: float = 2e-4
    num_epochs: int = 1
    batch_size: int = 8
    accumulated_batches: int = 1
    max_tokens: int = 1024
    lora_rank: int | None = 16
    save_every: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name != "seed" and value is not None and not value > 0:
                raise OctoberError(f"{name}={value}: must be above 0")


class FineTuned(NamedTuple):
    """What fine-tuning leaves.

    Attributes:
        model: The model, with its adapters if it has any; also in `folder`, whole.
        losses: Of each step (nats per learned token), those before an interruption included.
        folder: Where the model (or its adapters) and the tokenizer were saved.
    """

    model: Any
    losses: list[float]
    folder: Path


def fine_tune(
    model: Any,
    tokenizer: Any,
    conversations: Sequence[Conversation],
    folder: str | Path,
    settings: InstructSettings = InstructSettings(),
) -> FineTuned:
    """Fine-tune a causal language model of transformers on the answers of conversations.

    Where the folder holds checkpoints of the same run, training goes on from the newest that is whole, to the same
    losses as if it had never stopped.

    Args:
        model: As loaded; with the same weights again when a run goes on.
        tokenizer: Its tokenizer, a fast one.
        conversations: What it learns from; each ends with an answer.
        folder: Of checkpoints and of the result.
        settings: How.

    Raises:
        OctoberError: As `training_example`; a conversation is too long, there is none, the folder holds another run,
            or one process sees several GPUs (start it with torchrun: one process for each).
    """
    examples = training_examples(tokenizer, conversations, settings.max_tokens)
    folder = Path(folder)
    _claim(folder, settings, examples)
    trainer = _trainer(model, tokenizer, examples, folder, settings)
    checkpoint = newest_whole_checkpoint(folder)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    if trainer.is_world_process_zero():
        with atomic_path(folder / _MODEL) as temporary:
            trainer.save_model(str(temporary))
    else:  # writes nothing, but hands over its part of the weights where they are sharded
        trainer.save_model(str(folder / _MODEL))
    return FineTuned(trainer.model, losses, folder / _MODEL)


def training_examples(tokenizer: Any, conversations: Sequence[Conversation], max_tokens: int) -> list[TrainingExample]:
    """Return the conversations as tokens with labels.

    Raises:
        OctoberError: As `fine_tune`.
    """
    if not conversations:
        raise OctoberError("conversations are empty: there is nothing to learn from")
    examples = [training_example(tokenizer, conversation) for conversation in conversations]
    for conversation, example in zip(conversations, examples, strict=True):
        if len(example.token_ids) > max_tokens:
            length = len(example.token_ids)
            raise OctoberError(f"{conversation.source}: has {length} tokens, more than max_tokens={max_tokens}")
    return examples


def answer_batch(examples: Sequence[TrainingExample], padding_id: int) -> dict[str, torch.Tensor]:
    """Return what a model is called with, and the labels of the logits that it then returns.

    The labels begin with a column that does not count: whoever counts learned tokens expects labels that are still to
    be shifted by one.
    """
    longest = max(len(example.token_ids) for example in examples)
    padding = [longest - len(example.token_ids) for example in examples]
    pairs = list(zip(padding, examples, strict=True))
    input_ids = torch.tensor([[padding_id] * pad + example.token_ids for pad, example in pairs])
    labels = torch.tensor([[NOT_LEARNED] * pad + example.labels for pad, example in pairs])
    targets = labels[:, 1:]
    columns = (targets != NOT_LEARNED).any(dim=0).nonzero()[:, 0]
    return {
        "input_ids": input_ids,
        "attention_mask": (torch.arange(longest) >= torch.tensor(padding)[:, None]).long(),
        "logits_to_keep": columns,
        "labels": torch.cat([labels.new_full((len(examples), 1), NOT_LEARNED), targets[:, columns]], dim=1),
    }


def answer_loss(
    outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
) -> torch.Tensor:
    """Return the mean negative log-probability (nats) of learned tokens, those of all accumulated batches counted."""
    targets = labels[:, 1:].flatten()
    total = functional.cross_entropy(
        outputs.logits.flatten(0, 1).float(), targets, ignore_index=NOT_LEARNED, reduction="sum"
    )
    count = (targets != NOT_LEARNED).sum() if num_items_in_batch is None else num_items_in_batch
    return total / count


def newest_whole_checkpoint(folder: Path) -> Path | None:
    """Return the checkpoint with the most steps whose state, which is written last, can be read."""
    steps: dict[int, Path] = {}
    for checkpoint in folder.glob("checkpoint-*"):
        try:
            steps[json.loads((checkpoint / "trainer_state.json").read_text())["global_step"]] = checkpoint
        except (OSError, ValueError, KeyError):  # killed while it was written
            continue
    return steps[max(steps)] if steps else None


def _claim(folder: Path, settings: InstructSettings, examples: Sequence[TrainingExample]) -> None:
    """Note whose folder it is; two runs in one folder would go on from each other's checkpoints."""
    run = content_hash({"settings": asdict(settings), "examples": [list(example) for example in examples]})
    record = folder / _RUN
    try:
        claimed = json.loads(record.read_text())["run"] if record.is_file() else run
    except (ValueError, KeyError, TypeError) as error:
        raise OctoberError(f"{record}: cannot be read; choose another folder") from error
    if claimed != run:
        raise OctoberError(f"{folder}: holds a run with other settings or conversations; choose another folder")
    write_whole(record, json.dumps({"run": run, "settings": asdict(settings)}, indent=2))


def _trainer(
    model: Any, tokenizer: Any, examples: list[TrainingExample], folder: Path, settings: InstructSettings
) -> Any:
    from transformers import ProgressCallback, Trainer, TrainingArguments

    class Bar(ProgressCallback):
        """The bar without a line for each step."""

        def on_log(self, *arguments: Any, **more: Any) -> None:
            """Print nothing."""

    arguments = TrainingArguments(
        output_dir=str(folder),
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        num_train_epochs=settings.num_epochs,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulated_batches,
        save_strategy="steps",
        save_steps=settings.save_every,
        save_total_limit=2,
        logging_steps=1,
        logging_nan_inf_filter=False,
        seed=settings.seed,
        report_to="none",
        remove_unused_columns=False,
        use_cpu=model.device.type == "cpu",
        disable_tqdm=False,
    )
    if arguments.n_gpu > 1:
        raise OctoberError(f"one process sees {arguments.n_gpu} GPUs: start it with torchrun, one process for each")
    padding_id = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    trainer = Trainer(
        model=_with_adapters(model, settings),
        args=arguments,
        train_dataset=examples,
        data_collator=lambda batch: answer_batch(batch, padding_id),
        compute_loss_func=answer_loss,
        processing_class=tokenizer,
    )
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(Bar)
    return trainer


def _with_adapters(model: Any, settings: InstructSettings) -> Any:
    if settings.lora_rank is None:
        return model
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=2 * settings.lora_rank,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return get_peft_model(model, config)
