"""FireAct (arXiv 2310.05915): language agents that learn from their own kind of trajectories."""

from typing import TYPE_CHECKING

from ...lazy import lazy_exports

if TYPE_CHECKING:
    from .released_files import (
        DumpedTrajectory,
        ReadDump,
        method_of,
        read_alpaca,
        read_chat,
        read_dump,
        write_alpaca,
        write_chat,
    )

__all__ = [
    "DumpedTrajectory",
    "ReadDump",
    "method_of",
    "read_alpaca",
    "read_chat",
    "read_dump",
    "write_alpaca",
    "write_chat",
]

_HOMES = dict.fromkeys(__all__, "released_files")

__getattr__ = lazy_exports(__name__, _HOMES)
