"""Data: what installs offline, entity sets with places and times, and the coastline to draw them on."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .offline import find, licence, verified

_HOME = {
    "find": "offline",
    "licence": "offline",
    "verified": "offline",
}

__all__ = ["find", "licence", "verified"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
