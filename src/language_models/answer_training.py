"""Fine-tuning of causal models on answers: prompts are read, answers are learned.

Training itself is `transformers.Trainer`'s, with LoRA by peft, so that accelerate's ways of using many devices work.
Rows of a batch are padded on the left, so that their answers, which stand last, share columns: logits are computed
for the columns in which some row has a learned token, and for no others.
"""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch.nn import functional

from ..errors import OctoberError
from .training_runs import LOGGED_AND_KEPT

NOT_LEARNED = -100  # torch's label for what does not count


class TrainingExample(NamedTuple):
    """A text as tokens; labels are the tokens themselves where they are learned, else `NOT_LEARNED`."""

    token_ids: list[int]
    labels: list[int]


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
    return token_loss(outputs.logits, labels[:, 1:], num_items_in_batch)


def token_loss(
    logits: Float[torch.Tensor, "rows places vocab_size"],
    targets: Int[torch.Tensor, "rows places"],
    count: torch.Tensor | int | None = None,
) -> torch.Tensor:
    """Return the summed negative log-probability (nats) of learned targets over a count of them; None counts these."""
    learned = targets.flatten()
    total = functional.cross_entropy(logits.flatten(0, 1).float(), learned, ignore_index=NOT_LEARNED, reduction="sum")
    return total / ((learned != NOT_LEARNED).sum() if count is None else count)


def answer_trainer(
    model: Any,
    tokenizer: Any,
    examples: Sequence[Any],
    arguments: Mapping[str, Any],
    *,
    batch: Callable[[Sequence[Any], int], dict[str, Any]] = answer_batch,
    validation: Sequence[Any] = (),
    score: Callable[[Any], float] | None = None,
) -> Any:
    """Return a `transformers.Trainer` of a causal model whose loss is that of the learned tokens.

    Where it evaluates, `eval_loss` is the mean over all learned tokens of the validation examples (nats), and
    `eval_score` what `score` says.

    Args:
        model: As loaded, or with adapters.
        tokenizer: Its tokenizer; saved with the model.
        examples: What it learns from, as `batch` takes them.
        arguments: Of `transformers.TrainingArguments`, `output_dir` among them.
        batch: Makes a batch of examples and a padding token.
        validation: What it is evaluated on.
        score: Judges the model, in evaluation mode.
    """
    from transformers import Trainer, TrainingArguments

    class AnswerTrainer(Trainer):
        """Evaluates exactly, whatever the batches are."""

        control: Any

        def evaluate(self, *_arguments: Any, **_more: Any) -> dict[str, float]:
            """Return what there is to know, and log it."""
            self.model.eval()
            metrics = {}
            if validation:
                at_once = self.args.per_device_eval_batch_size
                some = (validation[first : first + at_once] for first in range(0, len(validation), at_once))
                batches = (self._prepare_inputs(self.data_collator(each)) for each in some)
                metrics["eval_loss"] = mean_answer_loss(self.model, batches)
            if score is not None:
                metrics["eval_score"] = score(self.model)
            self.log(metrics)
            self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
            return metrics

    padding_id = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    return AnswerTrainer(
        model=model,
        args=TrainingArguments(
            **arguments, **LOGGED_AND_KEPT, remove_unused_columns=False, use_cpu=model.device.type == "cpu"
        ),
        train_dataset=list(examples),
        eval_dataset=list(validation),
        data_collator=lambda some: batch(some, padding_id),
        compute_loss_func=answer_loss,
        processing_class=tokenizer,
    )


@torch.no_grad()
def mean_answer_loss(model: Any, batches: Iterable[dict[str, Any]]) -> float:
    """Return the mean negative log-probability (nats) of the learned tokens of all batches.

    Args:
        model: A causal model of transformers.
        batches: As `answer_batch` makes them, where the model is.
    """
    total, count = 0.0, 0
    for batch in batches:
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        total += float(answer_loss(model(**inputs), batch["labels"], 1))
        count += int((batch["labels"][:, 1:] != NOT_LEARNED).sum())
    return total / count


def with_lora(
    model: Any, rank: int | None, seed: int, *, dropout: float = 0.0, targets: Sequence[str] | str = "all-linear"
) -> Any:
    """Return a causal model with adapters (LoRA), with alpha of twice the rank.

    Args:
        model: Its own weights are frozen.
        rank: Of the adapters; None leaves the model as it is.
        seed: Of the adapters.
        dropout: Of what goes into them.
        targets: The layers that have them, by the ends of their names; all linear maps by default.

    Raises:
        OctoberError: The model has no such layers.
    """
    if rank is None:
        return model
    from peft import LoraConfig, get_peft_model

    where = targets if isinstance(targets, str) else list(targets)
    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=dropout, target_modules=where, task_type="CAUSAL_LM")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return get_peft_model(model, config)
        except ValueError as error:
            raise OctoberError(f"lora_targets={where}: {type(model).__name__} has no such layers") from error


def trained_model(model: Any, folder: Path) -> Any:
    """Return a model as it was trained: with the adapters of a folder merged into a copy, or with the folder's weights.

    Args:
        model: What training began with; left as it is. Adapters are merged in float32 before its dtype is taken.
        folder: As `training_runs.save_model` leaves it.
    """
    if (folder / "adapter_config.json").exists():
        from peft import PeftModel

        merged = PeftModel.from_pretrained(copy.deepcopy(model).float(), folder).merge_and_unload()
        return merged.to(model.dtype).eval()
    return type(model).from_pretrained(folder, dtype=model.dtype).to(model.device).eval()
