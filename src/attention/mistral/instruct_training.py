"""Instruction fine-tuning (section 4): the loss is that of the answers, and a run that was killed goes on."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import OctoberError
from ...language_models.answer_training import TrainingExample, answer_trainer, with_lora
from ...language_models.training_runs import check_positive, claim_folder, save_model, train_or_go_on
from .chat import Conversation, training_example


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
        check_positive({name: value for name, value in asdict(self).items() if name != "seed"})


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
    claim_folder(folder, asdict(settings), [list(example) for example in examples])
    model = with_lora(model, settings.lora_rank, settings.seed)
    trainer = answer_trainer(model, tokenizer, examples, _arguments(folder, settings))
    losses = train_or_go_on(trainer, folder)
    return FineTuned(trainer.model, losses, save_model(trainer, folder))


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


def _arguments(folder: Path, settings: InstructSettings) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "cosine",
        "num_train_epochs": settings.num_epochs,
        "per_device_train_batch_size": settings.batch_size,
        "gradient_accumulation_steps": settings.accumulated_batches,
        "save_strategy": "steps",
        "save_steps": settings.save_every,
        "seed": settings.seed,
    }
