"""The language model learns to use what it reads (section 2.3).

    L = - Σ_i Σ_j log p_LM(y_i | c_ij ∘ x_i)

over examples i and their passages j: the loss is that of the answers. Examples are packed into rows, with a start and
an end token around each and block-diagonal attention.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ...errors import OctoberError
from ...language_models.answer_training import NOT_LEARNED, TrainingExample, with_lora
from ...language_models.packing import packed, packed_trainer, rows_digest
from ...language_models.tokens import PromptTokenizer
from ...language_models.training_runs import (
    PLAIN_ADAM,
    accumulated_batches,
    check_positive,
    claim_folder,
    save_model,
    train_or_go_on,
)
from .augmentation import Instance

_SCHEDULES = {  # transformers' names, and what they call the rate at the end
    "cosine": ("cosine_with_min_lr", "min_lr"),
    "linear": ("polynomial", "lr_end"),  # of power 1
}
_MAY_BE_ZERO = ("seed", "warmup_steps", "final_learning_rate")


@dataclass(frozen=True)
class LanguageModelSettings:
    """How the language model is fine-tuned; the defaults are those of the paper's 7B model (Table 8).

    Attributes:
        learning_rate: At its highest.
        final_learning_rate: At the last step.
        schedule: How it falls.
        warmup_steps: In which it rises from 0.
        max_steps: Of the run.
        batch_size: Rows of a step, over all devices.
        rows_at_once: That one device sees at once; logits are computed for the places in which any of them learns.
        max_tokens: Of a row, start and end tokens included.
        too_long: What becomes of an example that is longer than a row: the run is refused, or the example is left out
            and counted. None is ever cut.
        checkpoint_every: Steps; where there is something to validate on, the best checkpoint is the result.
        lora_rank: Of adapters on all linear layers; None trains all weights.
        mixed_precision: Multiply in bfloat16; weights stay float32.
        seed: Of the adapters and of the order of the rows.

    Raises:
        OctoberError: A number is out of range, or a choice unknown.
    """

    learning_rate: float = 1e-5
    final_learning_rate: float = 1e-7
    schedule: Literal["cosine", "linear"] = "cosine"
    warmup_steps: int = 200
    max_steps: int = 500
    batch_size: int = 64
    rows_at_once: int = 1
    max_tokens: int = 2048
    too_long: Literal["refuse", "skip"] = "refuse"
    checkpoint_every: int = 100
    lora_rank: int | None = None
    mixed_precision: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        numbers = {name: value for name, value in asdict(self).items() if not isinstance(value, bool)}
        check_positive({name: value for name, value in numbers.items() if name not in _MAY_BE_ZERO})
        if not 0 <= self.warmup_steps < self.max_steps:
            raise OctoberError(f"warmup_steps={self.warmup_steps}: must be from 0 to below max_steps={self.max_steps}")
        if not 0 <= self.final_learning_rate < self.learning_rate:
            rates = f"final_learning_rate={self.final_learning_rate}"
            raise OctoberError(f"{rates}: must be from 0 to below learning_rate={self.learning_rate}")
        for name, allowed in (("schedule", tuple(_SCHEDULES)), ("too_long", ("refuse", "skip"))):
            if getattr(self, name) not in allowed:
                raise OctoberError(f"{name}={getattr(self, name)}: allowed are {', '.join(allowed)}")


FEW_SHOT_SETTINGS = LanguageModelSettings(  # Table 8: fine-tuning on 64 examples of one task
    final_learning_rate=1e-6, schedule="linear", warmup_steps=0, max_steps=100, batch_size=8, checkpoint_every=50
)


class Validated(NamedTuple):
    """What a checkpoint is worth: mean loss (nats per learned token) and score, where they were asked for."""

    step: int
    loss: float | None
    score: float | None


class TrainedLanguageModel(NamedTuple):
    """What fine-tuning leaves.

    Attributes:
        model: The tuned model, in evaluation mode, adapters merged, in float32: the best checkpoint where there was
            something to validate on, else the last.
        losses: Of each step (nats per learned token), those before an interruption included.
        validated: Each checkpoint, in their order.
        folder: Where the model (or its adapters) and the tokenizer were saved.
        num_skipped: Instances that were longer than a row.
    """

    model: Any
    losses: list[float]
    validated: list[Validated]
    folder: Path
    num_skipped: int

    @property
    def best_step(self) -> int | None:
        """The step of the checkpoint that was taken: of the highest score, else of the lowest loss."""
        if not self.validated:
            return None
        return max(self.validated, key=lambda each: -(each.loss or 0.0) if each.score is None else each.score).step


def train_language_model(
    model: Any,
    tokenizer: Any,
    instances: Sequence[Instance],
    folder: str | Path,
    settings: LanguageModelSettings = LanguageModelSettings(),
    *,
    validation: Sequence[Instance] = (),
    score: Callable[[Any], float] | None = None,
    in_place: bool = False,
) -> TrainedLanguageModel:
    """Fine-tune a causal model, or a copy of it, on the answers of instances.

    Where the folder holds checkpoints of the same run, training goes on from the newest that is whole, to the same
    losses as if it had never stopped.

    Args:
        model: Of transformers, as loaded; stays as it is unless it is trained itself.
        tokenizer: Its tokenizer, a fast one.
        instances: Examples with their passages.
        folder: Of checkpoints and of the result.
        settings: How.
        validation: Instances whose mean loss is taken at each checkpoint.
        score: Judges the model at each checkpoint, higher being better (the paper: mean score on six tasks); decides
            before the loss.
        in_place: Train the model itself, which takes no memory for a copy.

    Raises:
        OctoberError: As `training_rows`; the batch does not divide among the devices, the model lets packed examples
            see each other, the folder holds another run, or one process sees several GPUs.
    """
    accumulated = accumulated_batches(settings.batch_size, settings.rows_at_once)
    rows, num_skipped = training_rows(tokenizer, instances, settings)
    validation_rows = training_rows(tokenizer, validation, settings)[0] if validation else []
    claim_folder(Path(folder), asdict(settings), [rows_digest(rows), rows_digest(validation_rows), score is not None])
    learner = with_lora((model if in_place else copy.deepcopy(model)).float(), settings.lora_rank, settings.seed)
    arguments = _arguments(folder, settings, accumulated, validated=bool(validation_rows), scored=score is not None)
    trainer = packed_trainer(
        learner, tokenizer, rows, arguments, settings.rows_at_once, validation=validation_rows, score=score
    )
    losses = train_or_go_on(trainer, Path(folder))
    saved = save_model(trainer, Path(folder))
    return TrainedLanguageModel(_merged(trainer), losses, _validated(trainer), saved, num_skipped)


def training_rows(
    tokenizer: Any, instances: Sequence[Instance], settings: LanguageModelSettings
) -> tuple[list[list[TrainingExample]], int]:
    """Return the instances as packed rows, and how many were left out as too long.

    Raises:
        OctoberError: There are none, all are too long, one is where that is refused, or the tokenizer has no end token.
    """
    if not instances:
        raise OctoberError("instances are empty: there is nothing to learn from")
    examples = [training_example(tokenizer, instance) for instance in instances]
    for instance, example in zip(instances, examples, strict=True):
        if settings.too_long == "refuse" and len(example.token_ids) > settings.max_tokens:
            raise OctoberError(_too_long(instance, example, settings.max_tokens))
    fitting = [example for example in examples if len(example.token_ids) <= settings.max_tokens]
    if not fitting:
        raise OctoberError(f"max_tokens={settings.max_tokens}: all {len(examples)} instances are longer")
    return packed(fitting, settings.max_tokens), len(examples) - len(fitting)


def training_example(tokenizer: Any, instance: Instance) -> TrainingExample:
    """Return start token, prompt, answer and end token, of which the last two are learned.

    Raises:
        OctoberError: The tokenizer has no end token, or puts tokens of its own behind a text.
    """
    if tokenizer.eos_token_id is None:
        raise OctoberError(f"{type(tokenizer).__name__} has no end token: one is needed behind an answer")
    token_ids, border = PromptTokenizer(tokenizer).encode_pair(instance.prompt, instance.learned)
    if border == len(token_ids):
        raise OctoberError(f"{type(tokenizer).__name__} puts its end token behind every text: switch that off")
    if token_ids[0] != tokenizer.bos_token_id and tokenizer.bos_token_id is not None:
        token_ids, border = [tokenizer.bos_token_id, *token_ids], border + 1
    learned = [*token_ids[border:], tokenizer.eos_token_id]
    return TrainingExample(token_ids[:border] + learned, [NOT_LEARNED] * border + learned)


def _too_long(instance: Instance, example: TrainingExample, max_tokens: int) -> str:
    answer = sum(label != NOT_LEARNED for label in example.labels)
    begins = f"{instance.example.task}: the example {instance.example.instruction[:40]!r}"
    length = f"has {len(example.token_ids)} tokens, {answer} of them the answer's"
    return f"{begins} {length}, more than max_tokens={max_tokens}; too_long=skip leaves such examples out"


def _arguments(
    folder: str | Path, settings: LanguageModelSettings, accumulated: int, *, validated: bool, scored: bool
) -> dict[str, Any]:
    schedule, rate_at_the_end = _SCHEDULES[settings.schedule]
    arguments = {
        "output_dir": str(folder),
        **PLAIN_ADAM,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": schedule,
        "lr_scheduler_kwargs": {rate_at_the_end: settings.final_learning_rate},
        "warmup_steps": settings.warmup_steps,
        "max_steps": settings.max_steps,
        "per_device_train_batch_size": settings.rows_at_once,
        "per_device_eval_batch_size": settings.rows_at_once,
        "gradient_accumulation_steps": accumulated,
        "bf16": settings.mixed_precision,
        "save_strategy": "steps",
        "save_steps": settings.checkpoint_every,
        "seed": settings.seed,
    }
    if not validated and not scored:
        return arguments
    chosen = {"metric_for_best_model": "score" if scored else "loss", "greater_is_better": scored}
    when = {"eval_strategy": "steps", "eval_steps": settings.checkpoint_every, "load_best_model_at_end": True}
    return arguments | chosen | when


def _validated(trainer: Any) -> list[Validated]:
    entries = [entry for entry in trainer.state.log_history if "eval_loss" in entry or "eval_score" in entry]
    return [Validated(entry["step"], entry.get("eval_loss"), entry.get("eval_score")) for entry in entries]


def _merged(trainer: Any) -> Any:
    model = trainer.accelerator.unwrap_model(trainer.model).eval()
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
