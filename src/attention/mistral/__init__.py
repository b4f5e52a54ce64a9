"""Mistral 7B (arXiv 2310.06825): sliding-window attention, rolling buffer cache, pre-fill and chunking."""

from typing import TYPE_CHECKING

from ...lazy import lazy_exports

if TYPE_CHECKING:
    from .chat import Conversation, Message, Role, chat_prompt, conversation_from, training_example
    from .compiled_steps import compile_steps_
    from .conversations import load_conversations
    from .guardrails import (
        CATEGORIES,
        GUARDRAIL_PROMPT,
        Category,
        LabelledText,
        Verdict,
        category_named,
        guardrail_prompt,
        load_labelled_texts,
        moderate,
        moderation_prompt,
        precision_cases,
        recall_cases,
    )
    from .hugging_face_cache import RollingCache
    from .instruct_training import (
        FineTuned,
        InstructSettings,
        fine_tune,
        training_examples,
    )
    from .long_prompts import gather_rolling_cache, ring_prefill
    from .model import MistralModel
    from .packed_decoder import pack_, pack_layer
    from .quantization import (
        Int4Linear,
        Int8Linear,
        check_quantization,
        quantize_,
        quantize_module_,
        quantized_int4,
        quantized_int8,
    )
    from .rolling_cache import RollingBufferCache
    from .sharded_rolling_cache import ShardedRollingCache

__all__ = [
    "CATEGORIES",
    "GUARDRAIL_PROMPT",
    "Category",
    "Conversation",
    "FineTuned",
    "InstructSettings",
    "Int4Linear",
    "Int8Linear",
    "LabelledText",
    "Message",
    "MistralModel",
    "Role",
    "RollingBufferCache",
    "RollingCache",
    "ShardedRollingCache",
    "Verdict",
    "category_named",
    "chat_prompt",
    "check_quantization",
    "compile_steps_",
    "conversation_from",
    "fine_tune",
    "gather_rolling_cache",
    "guardrail_prompt",
    "load_conversations",
    "load_labelled_texts",
    "moderate",
    "moderation_prompt",
    "pack_",
    "pack_layer",
    "precision_cases",
    "quantize_",
    "quantize_module_",
    "quantized_int4",
    "quantized_int8",
    "recall_cases",
    "ring_prefill",
    "training_example",
    "training_examples",
]

_HOMES = {
    "CATEGORIES": "guardrails",
    "GUARDRAIL_PROMPT": "guardrails",
    "Category": "guardrails",
    "Conversation": "chat",
    "FineTuned": "instruct_training",
    "InstructSettings": "instruct_training",
    "Int4Linear": "quantization",
    "Int8Linear": "quantization",
    "LabelledText": "guardrails",
    "Message": "chat",
    "MistralModel": "model",
    "Role": "chat",
    "RollingBufferCache": "rolling_cache",
    "RollingCache": "hugging_face_cache",
    "ShardedRollingCache": "sharded_rolling_cache",
    "Verdict": "guardrails",
    "category_named": "guardrails",
    "chat_prompt": "chat",
    "check_quantization": "quantization",
    "compile_steps_": "compiled_steps",
    "conversation_from": "chat",
    "fine_tune": "instruct_training",
    "gather_rolling_cache": "long_prompts",
    "guardrail_prompt": "guardrails",
    "load_conversations": "conversations",
    "load_labelled_texts": "guardrails",
    "moderate": "guardrails",
    "moderation_prompt": "guardrails",
    "pack_": "packed_decoder",
    "pack_layer": "packed_decoder",
    "precision_cases": "guardrails",
    "quantize_": "quantization",
    "quantize_module_": "quantization",
    "quantized_int4": "quantization",
    "quantized_int8": "quantization",
    "recall_cases": "guardrails",
    "ring_prefill": "long_prompts",
    "training_example": "chat",
    "training_examples": "instruct_training",
}

__getattr__ = lazy_exports(__name__, _HOMES)
