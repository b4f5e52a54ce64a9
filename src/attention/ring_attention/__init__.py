"""Ring Attention with blockwise transformers (arXiv 2310.01889)."""

from typing import TYPE_CHECKING

from ...lazy import lazy_exports

if TYPE_CHECKING:
    from .activation_memory import (
        METHODS,
        LayerActivations,
        Method,
        layer_activations,
        ring_attention_elements,
        table_1_bytes,
    )
    from .all_reduce_merge import merge_over
    from .batch import shard_batch
    from .blockwise import BlockwiseAttention, BlockwiseFeedForward, blockwise_attention
    from .choice import AttentionChoice
    from .continued import continued_attention
    from .generation import ring_generate
    from .hugging_face import RingContext, ring_context
    from .interconnect import (
        DEVICES,
        Device,
        HopCost,
        hop_cost,
        hops_in_reach,
        minimal_block,
        minimal_sequence,
    )
    from .layouts import LAYOUTS, Layout, shard, shard_length, shard_positions, unshard
    from .model_shapes import MODEL_SHAPES, ModelShape
    from .ring import Ring, RingAttention, ring_attention
    from .sharded_cache import ShardedCache, ring_continue
    from .step_estimate import StepEstimate, devices_needed, estimate_step
    from .sum_over_ranks import sum_gradients, sum_over_ranks_
    from .tensor_memory import AnonymousMemory, TensorMemory
    from .trainer import RingTrainer
    from .training_batch import TrainingShard, next_tokens, training_shard
    from .training_flops import training_flops_ratio
    from .training_memory import TrainingMemory, max_context
    from .training_step import ring_hidden_states, ring_loss, ring_training_step
    from .transport import RingError
    from .work_balance import attended_pairs, imbalance

__all__ = [
    "DEVICES",
    "LAYOUTS",
    "METHODS",
    "MODEL_SHAPES",
    "AnonymousMemory",
    "AttentionChoice",
    "BlockwiseAttention",
    "BlockwiseFeedForward",
    "Device",
    "HopCost",
    "LayerActivations",
    "Layout",
    "Method",
    "ModelShape",
    "Ring",
    "RingAttention",
    "RingContext",
    "RingError",
    "RingTrainer",
    "ShardedCache",
    "StepEstimate",
    "TensorMemory",
    "TrainingMemory",
    "TrainingShard",
    "attended_pairs",
    "blockwise_attention",
    "continued_attention",
    "devices_needed",
    "estimate_step",
    "hop_cost",
    "hops_in_reach",
    "imbalance",
    "layer_activations",
    "max_context",
    "merge_over",
    "minimal_block",
    "minimal_sequence",
    "next_tokens",
    "ring_attention",
    "ring_attention_elements",
    "ring_context",
    "ring_continue",
    "ring_generate",
    "ring_hidden_states",
    "ring_loss",
    "ring_training_step",
    "shard",
    "shard_batch",
    "shard_length",
    "shard_positions",
    "sum_gradients",
    "sum_over_ranks_",
    "table_1_bytes",
    "training_flops_ratio",
    "training_shard",
    "unshard",
]

_HOMES = {
    "METHODS": "activation_memory",
    "LayerActivations": "activation_memory",
    "Method": "activation_memory",
    "layer_activations": "activation_memory",
    "ring_attention_elements": "activation_memory",
    "table_1_bytes": "activation_memory",
    "merge_over": "all_reduce_merge",
    "shard_batch": "batch",
    "BlockwiseAttention": "blockwise",
    "BlockwiseFeedForward": "blockwise",
    "blockwise_attention": "blockwise",
    "AttentionChoice": "choice",
    "continued_attention": "continued",
    "ring_generate": "generation",
    "RingContext": "hugging_face",
    "ring_context": "hugging_face",
    "DEVICES": "interconnect",
    "Device": "interconnect",
    "HopCost": "interconnect",
    "hop_cost": "interconnect",
    "hops_in_reach": "interconnect",
    "minimal_block": "interconnect",
    "minimal_sequence": "interconnect",
    "LAYOUTS": "layouts",
    "Layout": "layouts",
    "shard": "layouts",
    "shard_length": "layouts",
    "shard_positions": "layouts",
    "unshard": "layouts",
    "MODEL_SHAPES": "model_shapes",
    "ModelShape": "model_shapes",
    "Ring": "ring",
    "RingAttention": "ring",
    "ring_attention": "ring",
    "ShardedCache": "sharded_cache",
    "ring_continue": "sharded_cache",
    "sum_gradients": "sum_over_ranks",
    "sum_over_ranks_": "sum_over_ranks",
    "TrainingShard": "training_batch",
    "next_tokens": "training_batch",
    "training_shard": "training_batch",
    "RingTrainer": "trainer",
    "ring_hidden_states": "training_step",
    "ring_loss": "training_step",
    "ring_training_step": "training_step",
    "StepEstimate": "step_estimate",
    "devices_needed": "step_estimate",
    "estimate_step": "step_estimate",
    "AnonymousMemory": "tensor_memory",
    "TensorMemory": "tensor_memory",
    "training_flops_ratio": "training_flops",
    "TrainingMemory": "training_memory",
    "max_context": "training_memory",
    "RingError": "transport",
    "attended_pairs": "work_balance",
    "imbalance": "work_balance",
}

__getattr__ = lazy_exports(__name__, _HOMES)
