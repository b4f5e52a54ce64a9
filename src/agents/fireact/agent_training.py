"""Fine-tuning on trajectories (section 4): adapters or all weights, through the transformers Trainer.

| | adapters (the authors' LoRA) | all weights |
|---|---|---|
| learning rate | 3e-4, linear | as printed 2e-3 (2e-5 in the recipe that it builds on), cosine |
| batch | 128 | 4 devices of 4, 8 times |
| epochs | 30 | 30 |
| warm-up | 100 steps | 3 % of the steps |
| loss on | all tokens | the answer to the prompt |
"""

import copy
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tqdm.auto import tqdm

from ...errors import OctoberError
from ...language_models.answer_training import TrainingExample, with_lora
from ...language_models.packing import packed, packed_trainer, rows_digest
from ...language_models.training_runs import (
    PLAIN_ADAM,
    accumulated_batches,
    check_positive,
    claim_folder,
    save_model,
    train_or_go_on,
)
from ..trajectory import Trajectory
from .supervision import Learned, SupervisedExamples, supervised_examples

_MAY_BE_ZERO = ("seed", "warmup_steps", "lora_dropout")


@dataclass(frozen=True)
class AgentTrainingSettings:
    """How a model is fine-tuned on trajectories; the defaults are those of the authors' LoRA script.

    Attributes:
        learning_rate: At its highest.
        schedule: How it falls, to 0 at the last step.
        warmup_steps: In which it rises from 0. Where a training has no more steps than these, it rises in all but the
            last, and a line says so: students of fewer and fewer trajectories share their settings.
        num_epochs: Times that every trajectory is learned from.
        batch_size: Rows of a step, over all devices.
        rows_at_once: That one device sees at once.
        max_tokens: Of an example; a longer trajectory becomes several.
        row_tokens: Examples are packed into rows of so many tokens, in which none sees another; None gives each a row
            of its own, as the authors do.
        learned: The agent's own words, or all tokens as in the authors' script.
        lora_rank: Of adapters; alpha is twice as much. None trains all weights.
        lora_dropout: Of what goes into the adapters.
        lora_targets: The layers that have adapters.
        checkpoint_every: Steps.
        mixed_precision: Multiply in bfloat16; weights stay float32.
        seed: Of the adapters and of the order of the rows.

    Raises:
        OctoberError: A number is out of range, or a choice unknown.
    """

    learning_rate: float = 3e-4
    schedule: Literal["linear", "cosine"] = "linear"
    warmup_steps: int = 100
    num_epochs: int = 30
    batch_size: int = 128
    rows_at_once: int = 16
    max_tokens: int = 512
    row_tokens: int | None = None
    learned: Learned = "own"
    lora_rank: int | None = 8
    lora_dropout: float = 0.05
    lora_targets: Sequence[str] | str = ("q_proj", "v_proj")
    checkpoint_every: int = 200
    mixed_precision: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        numbers = {name: value for name, value in asdict(self).items() if not isinstance(value, bool)}
        check_positive({name: value for name, value in numbers.items() if name not in _MAY_BE_ZERO})
        for name in _MAY_BE_ZERO:
            if getattr(self, name) < 0:
                raise OctoberError(f"{name}={getattr(self, name)}: must not be below 0")
        if self.lora_dropout >= 1:
            raise OctoberError(f"lora_dropout={self.lora_dropout}: must be below 1")
        if self.row_tokens is not None and self.row_tokens < self.max_tokens:
            raise OctoberError(f"row_tokens={self.row_tokens}: must be at least max_tokens={self.max_tokens}")
        for name, allowed in (("schedule", ("linear", "cosine")), ("learned", ("own", "all"))):
            if getattr(self, name) not in allowed:
                raise OctoberError(f"{name}={getattr(self, name)}: allowed are {', '.join(allowed)}")

    def num_steps(self, num_rows: int) -> int:
        """Return the steps of a run."""
        return self.num_epochs * math.ceil(num_rows / self.batch_size)


class TrainedAgent(NamedTuple):
    """What fine-tuning leaves.

    Attributes:
        folder: Of the model, or of its adapters, with the tokenizer.
        losses: Of each step (nats per learned token), those before an interruption included.
        examples: What was learned from.
    """

    folder: Path
    losses: list[float]
    examples: SupervisedExamples


def train_agent(
    model: Any,
    tokenizer: Any,
    trajectories: Sequence[Trajectory],
    folder: str | Path,
    settings: AgentTrainingSettings = AgentTrainingSettings(),
) -> TrainedAgent:
    """Fine-tune a copy of a causal model on trajectories.

    Where the folder holds checkpoints of the same run, training goes on from the newest that is whole, to the same
    losses as if it had never stopped.

    Args:
        model: Of transformers, as loaded; stays as it is.
        tokenizer: Its tokenizer, a fast one.
        trajectories: What it learns from.
        folder: Of checkpoints and of the result.
        settings: How.

    Raises:
        OctoberError: As `supervised_examples`; the batch does not divide among the devices, the model lets packed
            examples see each other, the folder holds another run, or one process sees several GPUs.
    """
    examples = supervised_examples(tokenizer, trajectories, max_tokens=settings.max_tokens, learned=settings.learned)
    rows = _rows(examples.examples, settings)
    arguments = _arguments(Path(folder), settings, len(rows))
    claim_folder(Path(folder), asdict(settings), rows_digest(rows))
    learner = with_lora(
        copy.deepcopy(model).float(),
        settings.lora_rank,
        settings.seed,
        dropout=settings.lora_dropout,
        targets=settings.lora_targets,
    )
    trainer = packed_trainer(learner, tokenizer, rows, arguments, settings.rows_at_once)
    losses = train_or_go_on(trainer, Path(folder))
    return TrainedAgent(save_model(trainer, Path(folder)), losses, examples)


def _rows(examples: Sequence[TrainingExample], settings: AgentTrainingSettings) -> list[list[TrainingExample]]:
    if settings.row_tokens is None:
        return [[example] for example in examples]
    return packed(examples, settings.row_tokens)


def _arguments(folder: Path, settings: AgentTrainingSettings, num_rows: int) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        **PLAIN_ADAM,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": settings.schedule,
        "warmup_steps": _warmup_steps(settings, num_rows),
        "num_train_epochs": settings.num_epochs,
        "per_device_train_batch_size": settings.rows_at_once,
        "gradient_accumulation_steps": accumulated_batches(settings.batch_size, settings.rows_at_once),
        "bf16": settings.mixed_precision,
        "save_strategy": "steps",
        "save_steps": settings.checkpoint_every,
        "seed": settings.seed,
    }


def _warmup_steps(settings: AgentTrainingSettings, num_rows: int) -> int:
    """Return the steps in which the rate rises; say so where they are fewer than was wanted."""
    num_steps = settings.num_steps(num_rows)
    if settings.warmup_steps < num_steps:
        return settings.warmup_steps
    rises = f"the learning rate rises in {num_steps - 1} of them"
    tqdm.write(f"warmup_steps={settings.warmup_steps}: this training has {num_steps} steps; {rises}", file=sys.stderr)
    return num_steps - 1
