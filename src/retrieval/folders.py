"""What describes a finished folder, and what is said of a damaged one."""

import json
from pathlib import Path
from typing import Any

from ..errors import OctoberError


def read_description(path: Path, what: str) -> dict[str, Any]:
    """Return the JSON object that describes a finished folder.

    Raises:
        OctoberError: There is none, or it is damaged.
    """
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OctoberError(f"{path.parent} holds no finished {what}; build it first") from None
    except (ValueError, OSError) as error:
        raise damaged(path, what) from error
    if not isinstance(description, dict):
        raise damaged(path, what)
    return description


def damaged(path: Path, what: str) -> OctoberError:
    """Return the error for a file that is not what was written."""
    return OctoberError(f"{path} is damaged; delete {path.parent} and build the {what} again")
