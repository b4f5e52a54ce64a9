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
    from .selection import Selection, select_for_training
    from .teacher import GivenUp, ScriptedTeacher, Taught

__all__ = [
    "DumpedTrajectory",
    "GivenUp",
    "ReadDump",
    "ScriptedTeacher",
    "Selection",
    "Taught",
    "method_of",
    "read_alpaca",
    "read_chat",
    "read_dump",
    "select_for_training",
    "write_alpaca",
    "write_chat",
]

_HOMES = {
    "DumpedTrajectory": "released_files",
    "GivenUp": "teacher",
    "ReadDump": "released_files",
    "ScriptedTeacher": "teacher",
    "Selection": "selection",
    "Taught": "teacher",
    "method_of": "released_files",
    "read_alpaca": "released_files",
    "read_chat": "released_files",
    "read_dump": "released_files",
    "select_for_training": "selection",
    "write_alpaca": "released_files",
    "write_chat": "released_files",
}

__getattr__ = lazy_exports(__name__, _HOMES)
