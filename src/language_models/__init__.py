"""One interface to every language model, local or served, and light handles that load them on first use."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import Completion, LanguageModel, Score, Session
    from .handles import EncoderHandle, ModelHandle, ServedHandle
    from .served_lm import ServedLM
    from .transformers_lm import TransformersLM

_HOMES = {
    "Completion": "base",
    "EncoderHandle": "handles",
    "LanguageModel": "base",
    "ModelHandle": "handles",
    "Score": "base",
    "ServedHandle": "handles",
    "ServedLM": "served_lm",
    "Session": "base",
    "TransformersLM": "transformers_lm",
}

__all__ = [
    "Completion",
    "EncoderHandle",
    "LanguageModel",
    "ModelHandle",
    "Score",
    "ServedHandle",
    "ServedLM",
    "Session",
    "TransformersLM",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
