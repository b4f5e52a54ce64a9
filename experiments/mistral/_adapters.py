"""Fine-tuned models by content: the same model, settings and conversations are never trained on twice."""

import json
import shutil
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from october.attention import decoder_from
from october.attention.mistral import Conversation, InstructSettings, MistralModel, fine_tune
from october.files import atomic_path, content_hash, data_home
from october.language_models import ModelHandle

LOSSES = "losses.json"


def in_float32(model: ModelHandle) -> tuple[Any, Any]:
    """Return a model of its own in float32, which may be changed, and its tokenizer: a CPU trains in float32 faster."""
    shared, tokenizer = replace(model, dtype="float32").load()
    return deepcopy(shared), tokenizer


def fine_tuned(
    model: ModelHandle, conversations: Sequence[Conversation], settings: InstructSettings, scratch: Path
) -> Path:
    """Return the folder of the fine-tuned model (or its adapters) and its losses; trained where it is not there yet.

    Args:
        model: The model to begin with.
        conversations: What it learns from.
        settings: How.
        scratch: Folder of checkpoints, from which a run that was killed goes on; removed at the end.
    """
    said = [[(message.role, message.content) for message in each.messages] for each in conversations]
    key = content_hash({"model": model.fingerprint(), "settings": asdict(settings), "conversations": said})
    folder = data_home() / "adapters" / key
    if not folder.exists():
        result = fine_tune(*in_float32(model), conversations, scratch, settings)
        with atomic_path(folder) as temporary:
            shutil.copytree(result.folder, temporary)
            (temporary / LOSSES).write_text(json.dumps(result.losses))
        shutil.rmtree(scratch)
    return folder


def losses_of(folder: Path) -> list[float]:
    """Return the loss of each step (nats per learned token)."""
    losses: list[float] = json.loads((folder / LOSSES).read_text())
    return losses


def language_model(model: ModelHandle, folder: Path | None = None) -> MistralModel:
    """Return a model in float32 on rolling buffers: as it is, or as fine-tuned in a folder."""
    if folder is None:
        network, tokenizer = replace(model, dtype="float32").load()
        return MistralModel(decoder_from(network), tokenizer, max_batch_tokens=model.max_batch_tokens)
    network, tokenizer = in_float32(model)
    if (folder / "adapter_config.json").exists():
        from peft import PeftModel

        network = PeftModel.from_pretrained(network, folder).merge_and_unload()
    else:
        network = type(network).from_pretrained(folder, dtype=network.dtype).to(network.device).eval()
    return MistralModel(decoder_from(network), tokenizer, max_batch_tokens=model.max_batch_tokens)
