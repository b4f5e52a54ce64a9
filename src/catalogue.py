"""What can be run: the experiments and config groups, read from the YAML files alone so that listing is instant.

Every experiment opens with a comment of four fields, the only place where they stand:

    # Table: Figure 2, R2 of linear probes by layer
    # Run:   october experiment=space_time/space
    # Needs: gemma3_270m, world cities; 4 GiB of memory
    # Takes: 3 minutes at size=small on two cores, 12 at size=full
"""

import re
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path

from .errors import OctoberError

FIELDS = ("Table", "Run", "Needs", "Takes")


@dataclass(frozen=True)
class Experiment:
    """One entry of the list: `name` is what a user types after `experiment=`."""

    name: str
    table: str
    run: str
    needs: str
    takes: str


def config_folder() -> Path:
    """Return the folder of the Hydra configs, wherever the package is installed."""
    return Path(str(files("october.conf")))


def choices(group: str) -> list[str]:
    """Return the names that a config group offers, sorted: `choices("model")` holds `gemma3_270m`."""
    folder = config_folder() / group
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def groups() -> list[str]:
    """Return the config groups, sorted."""
    return sorted(path.name for path in config_folder().iterdir() if path.is_dir() and any(path.rglob("*.yaml")))


def read_header(path: Path) -> dict[str, str]:
    """Read the four fields of an experiment's opening comment; a field may run over several comment lines."""
    header: dict[str, str] = {}
    field = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        text = line.lstrip("# ").strip()
        match = re.match(rf"({'|'.join(FIELDS)}):\s*(.*)", text)
        if match:
            field = match[1]
            header[field] = match[2]
        elif field and text and not text.startswith("@package"):
            header[field] += " " + text
    missing = [name for name in FIELDS if not header.get(name)]
    if missing:
        raise OctoberError(f"{path.name}: the opening comment lacks {', '.join(missing)}")
    return header


def experiments() -> list[Experiment]:
    """Return every experiment, sorted by name."""
    folder = config_folder() / "experiment"
    entries = []
    for name in choices("experiment"):
        header = read_header(folder / f"{name}.yaml")
        entries.append(Experiment(name, header["Table"], header["Run"], header["Needs"], header["Takes"]))
    return entries


def did_you_mean(name: str, known: list[str]) -> str:
    """Return ' (did you mean X?)', or all names where nothing is near and they are few."""
    near = get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        return f" (did you mean {' or '.join(near)}?)"
    return f" (one of: {', '.join(known)})" if 0 < len(known) <= 12 else ""


def listing() -> str:
    """Return the text that `october` prints without arguments."""
    lines = ["Experiments (run one with: october experiment=NAME [overrides]; see october --help)", ""]
    for entry in experiments():
        lines += [
            f"  {entry.name}",
            f"      {entry.table}",
            f"      needs {entry.needs}",
            f"      takes {entry.takes}",
        ]
    return "\n".join(lines)
