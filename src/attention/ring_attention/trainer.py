"""`RingTrainer`: transformers' Trainer for sequences that are spread over a ring.

With T labels in all batches of an optimiser step and s_r the summed loss of rank r's tokens, the loss is Σ_r s_r / T.
Data parallelism averages gradients, and logging averages losses, over W ranks: rank r's loss is W s_r / T.
"""

from typing import Any

import torch
import torch.distributed as dist
from accelerate.data_loader import BatchSamplerShard
from torch import Tensor
from transformers import Trainer

from ...errors import OctoberError
from .batch import shard_batch, shift_labels
from .hugging_face import NAME, ring_context
from .layouts import Layout
from .ring import Ring, ring_of
from .sum_over_ranks import sum_over_ranks_

_WHOLE_TEXTS = "a rank has a part of each text only"


class RingTrainer(Trainer):
    """A Trainer whose ranks share each sequence: all ranks of a ring are given the same batches.

    Batches are what `shard_batch` takes, with labels; columns that the model's `forward` does not name, such as
    `segment_ids`, need `remove_unused_columns=False`. Only losses are evaluated.

    Args:
        arguments: As for Trainer.
        ring: The ring, or its process group; all ranks if None. Several rings are data parallel.
        layout: How sequences are dealt out.
        settings: As for Trainer.

    Raises:
        OctoberError: The model's attention is not the ring, or an option cannot be had in a ring.
    """

    def __init__(
        self,
        *arguments: Any,
        ring: "Ring | dist.ProcessGroup | None" = None,
        layout: Layout = "zigzag",
        **settings: Any,
    ) -> None:
        super().__init__(*arguments, **settings)
        _check(self)
        self.ring, self.layout = ring_of(ring), layout
        self._rings = _all_rings(self.ring)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return this rank's share of the loss, scaled so that the mean over all ranks is the loss."""
        shard = shard_batch(inputs, self.ring, self.layout)
        labels, segment_ids = shard.pop("shift_labels", None), shard.pop("segment_ids", None)
        length = inputs["input_ids"].shape[1]
        with ring_context(self.ring, layout=self.layout, sequence_length=length, segment_ids=segment_ids):
            outputs = model(**shard, use_cache=False)
        loss = _summed_loss(outputs, labels) * self.ring.world_size
        if num_items_in_batch is None or not model.training:  # evaluated texts must not weigh by what other rings have
            loss = loss / (shift_labels(inputs) != -100).sum()
        else:  # each ring's labels, counted by all of its ranks
            everywhere = self.args.world_size if self.args.average_tokens_across_devices else 1
            loss = loss * everywhere / num_items_in_batch
        return (loss, outputs) if return_outputs else loss

    def prediction_step(self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None) -> Any:
        """Return the loss of a batch, the same on all ranks of its ring."""
        loss, _, _ = super().prediction_step(model, inputs, True, ignore_keys)
        if loss is None:
            raise OctoberError("batch: must have labels to evaluate on")
        return sum_over_ranks_(loss.reshape(1), self.ring)[0] / self.ring.world_size, None, None

    def evaluation_loop(self, *arguments: Any, **settings: Any) -> Any:
        """Evaluate; each ring counts once."""
        self.gather_function = self._gather_from_rings
        return super().evaluation_loop(*arguments, **settings)

    def get_train_dataloader(self) -> Any:
        """Return batches that are the same on every rank of a ring."""
        return _deal_to_rings(super().get_train_dataloader(), self._rings)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Return batches that are the same on every rank of a ring."""
        return _deal_to_rings(super().get_eval_dataloader(eval_dataset), self._rings)

    def get_test_dataloader(self, test_dataset: Any) -> Any:
        """Refuse to predict."""
        raise OctoberError(f"predict: {_WHOLE_TEXTS}; use evaluate for losses, ring_generate for texts")

    def get_total_train_batch_size(self, args: Any) -> int:
        """Return the sequences of an optimiser step."""
        return int(super().get_total_train_batch_size(args)) // self.ring.world_size

    def _gather_from_rings(self, losses: Tensor) -> Tensor:
        everyone: Tensor = self.accelerator.gather(losses)
        state = self.accelerator.gradient_state
        once = everyone.view(self.args.world_size, -1)[[ring[0] for ring in self._rings]].flatten()
        return once[: state.remainder] if state.end_of_dataloader and state.remainder > 0 else once


def _summed_loss(outputs: Any, labels: Tensor | None) -> Tensor:
    if labels is None:
        raise OctoberError("batch: must have labels to train on")
    if getattr(outputs, "aux_loss", None) is not None:
        raise OctoberError("output_router_logits: the routers' loss is not summed over a ring; switch it off")
    return torch.nn.functional.cross_entropy(outputs.logits.flatten(0, 1).float(), labels.flatten(), reduction="sum")


def _all_rings(ring: Ring) -> list[tuple[int, ...]]:
    """Return the ranks of every ring, in the order of their first ranks; together they are all ranks."""
    if not dist.is_initialized():
        return [(0,)]
    rings: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(rings, tuple(dist.get_process_group_ranks(ring.transport.group)))
    found = sorted(set(rings))
    if sorted(rank for each in found for rank in each) != list(range(len(rings))) or len(set(map(len, found))) > 1:
        raise OctoberError(f"ring: the rings {found} must be of one size and hold each of {len(rings)} ranks once")
    return found


def _deal_to_rings(dataloader: Any, rings: list[tuple[int, ...]]) -> Any:
    """Give every rank of a ring the same batches, where accelerate gives every rank its own."""
    if len(rings[0]) == 1:
        return dataloader
    sampler = dataloader.batch_sampler
    if not isinstance(sampler, BatchSamplerShard):
        raise OctoberError("dataset: a ring needs one with a length, and accelerator_config without dispatch_batches")
    sampler.num_processes = len(rings)
    sampler.process_index = next(index for index, ring in enumerate(rings) if dist.get_rank() in ring)
    sampler.even_batches = len(rings) > 1  # one ring alone may have a short last batch
    return dataloader


def _check(trainer: Trainer) -> None:
    """Refuse what a ring cannot do."""
    model: Any = trainer.model
    if model.config._attn_implementation != NAME:
        raise OctoberError(f'attn_implementation="{model.config._attn_implementation}": must be "{NAME}"')
    arguments = trainer.args
    refused = {
        "label_smoothing_factor": arguments.label_smoothing_factor,
        "compute_metrics": trainer.compute_metrics,
        "compute_loss_func": trainer.compute_loss_func,
        "include_for_metrics": arguments.include_for_metrics,
        "parallelism_config": getattr(arguments, "parallelism_config", None),
    }
    for name, value in refused.items():
        if value:
            raise OctoberError(f"{name}: not with RingTrainer, for {_WHOLE_TEXTS}")
    if arguments.n_gpu > 1:
        raise OctoberError(f"n_gpu={arguments.n_gpu}: start one process for each device (torchrun)")
