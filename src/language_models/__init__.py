"""One interface to every language model, local or served, and light handles that load them on first use."""

from typing import TYPE_CHECKING

from ..lazy import lazy_exports

if TYPE_CHECKING:
    from .base import Completion, LanguageModel, Rescored, Score, Session
    from .handles import EncoderHandle, ModelHandle, ServedHandle
    from .served_lm import ServedLM
    from .transformers_lm import TransformersLM

_HOMES = {
    "Completion": "base",
    "EncoderHandle": "handles",
    "LanguageModel": "base",
    "ModelHandle": "handles",
    "Rescored": "base",
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
    "Rescored",
    "Score",
    "ServedHandle",
    "ServedLM",
    "Session",
    "TransformersLM",
]

__getattr__ = lazy_exports(__name__, _HOMES)
