"""How anything here is scored."""

from typing import TYPE_CHECKING

from ..lazy import lazy_exports

if TYPE_CHECKING:
    from .intervals import Interval, bootstrap_interval, paired_bootstrap_interval, paired_t_interval, t_interval

__all__ = ["Interval", "bootstrap_interval", "paired_bootstrap_interval", "paired_t_interval", "t_interval"]

_HOMES = dict.fromkeys(__all__, "intervals")

__getattr__ = lazy_exports(__name__, _HOMES)
