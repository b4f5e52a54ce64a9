"""Fine-tuned models by content: the same model, settings and conversations are never trained on twice."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from october.attention import decoder_from
from october.attention.mistral import Conversation, InstructSettings, MistralModel, fine_tune
from october.language_models import ModelHandle
from october.language_models.answer_training import trained_model
from october.language_models.training_runs import Kept, trained_once


def in_float32(model: ModelHandle) -> tuple[Any, Any]:
    """Return a model of its own in float32, which may be changed, and its tokenizer: a CPU trains in float32 faster."""
    shared, tokenizer = replace(model, dtype="float32").load()
    return deepcopy(shared), tokenizer


def fine_tuned(model: ModelHandle, conversations: Sequence[Conversation], settings: InstructSettings) -> Kept:
    """Return the fine-tuned model (or its adapters); `about` holds the losses. Trained where it is not there yet.

    Args:
        model: The model to begin with.
        conversations: What it learns from.
        settings: How.
    """

    def train(scratch: Path) -> tuple[Path, dict[str, Any]]:
        result = fine_tune(*in_float32(model), conversations, scratch, settings)
        return result.folder, {"model": model.name, "losses": result.losses}

    said = [[(message.role, message.content) for message in each.messages] for each in conversations]
    return trained_once("instruct model", [model.fingerprint(), asdict(settings), said], train)


def language_model(model: ModelHandle, folder: Path | None = None) -> MistralModel:
    """Return a model in float32 on rolling buffers: as it is, or as fine-tuned in a folder."""
    network, tokenizer = replace(model, dtype="float32").load()
    if folder is not None:
        network = trained_model(network, folder)
    return MistralModel(decoder_from(network), tokenizer, max_batch_tokens=model.max_batch_tokens)
