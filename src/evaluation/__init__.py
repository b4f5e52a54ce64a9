"""How anything here is scored."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .intervals import Interval, bootstrap_interval, paired_bootstrap_interval, paired_t_interval, t_interval

__all__ = ["Interval", "bootstrap_interval", "paired_bootstrap_interval", "paired_t_interval", "t_interval"]

_HOMES = dict.fromkeys(__all__, "intervals")


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
