"""What a finished run is: a record of rows, claims and circumstances. The record's JSON schema lives here alone.

Only finite numbers reach a record, since JSON has no others. A cell's value that is NaN or infinite becomes null
("no number"); an infinite bound of an interval becomes null ("unbounded on this side"); an interval with a NaN
bound is dropped whole; in the config, where infinity can be a setting, such a number becomes its name ("inf").
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator, model_validator

from ..errors import OctoberError
from ..files import write_whole

SCHEMA_VERSION: Literal[1] = 1

Size = Literal["tiny", "small", "full"]
SIZES: tuple[Size, ...] = ("tiny", "small", "full")  # from small to large
Status = Literal["reproduced", "scaled down", "not run"]
Verdict = Literal["holds", "does not hold", "undecided", "not tested at this scale"]


class Strict(BaseModel):
    """A model that refuses unknown keys, so that a misspelt one is never ignored."""

    model_config = ConfigDict(extra="forbid")


class Cell(Strict):
    """One number (or word) of a table, with how sure it is.

    Attributes:
        value: The number; None where there is none (not run, or not a finite number).
        n: How many things it was measured on or repeated over.
        interval: 95 % interval (low, high); a bound of None is unbounded.
        unit: Unit of value and interval, such as 'km'; None for pure numbers.
    """

    value: float | int | str | bool | None = None
    n: int | None = Field(default=None, ge=0)
    interval: tuple[float | None, float | None] | None = None
    unit: str | None = None

    @field_validator("value", mode="before")
    @classmethod
    def _plain_finite(cls, value: Any) -> Any:
        value = _plain(value)
        return None if isinstance(value, float) and not math.isfinite(value) else value

    @field_validator("interval", mode="before")
    @classmethod
    def _finite_bounds(cls, interval: Any) -> Any:
        try:
            low, high = (_plain(bound) for bound in interval)
        except (TypeError, ValueError):
            return interval  # None, or nothing of two parts: pydantic says what is wrong
        if low == math.inf or high == -math.inf or low != low or high != high:  # NaN is what differs from itself
            return None
        return (None if low == -math.inf else low, None if high == math.inf else high)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.bounds
        if low > high:
            raise ValueError(f"interval: the low end {low} is above the high end {high}")
        return self

    @property
    def bounds(self) -> tuple[float, float]:
        """The interval with infinities for missing bounds: (-inf, inf) where no interval was measured."""
        low, high = self.interval or (None, None)
        return (-math.inf if low is None else low, math.inf if high is None else high)


class Row(Strict):
    """One row of a table.

    Attributes:
        name: What was measured: a model, a method, a setting.
        cells: Column name to cell.
        published: The published row it stands beside: its name in `published.yaml`, or 'table id/name' where two
            tables of one experiment use the same name; None for a row that the paper does not have.
        status: 'reproduced' only where the paper's own model, data and size were run.
    """

    name: str
    cells: dict[str, Cell]
    published: str | None = None
    status: Status = "scaled down"


class ClaimResult(Strict):
    """A claim of the paper, as judged in one run; it carries all that is needed to show it.

    Attributes:
        name: The claim's name in `published.yaml`.
        statement: What the paper claims.
        where: Section, table or figure of the paper.
        metric: The key of the evidence that decides it.
        direction: The claim says `metric direction margin`.
        margin: See `direction`.
        verdict: One of the four.
        evidence: What was measured; None where nothing was.
        reason: Why this verdict, in half a sentence.
    """

    name: str
    statement: str
    where: str
    metric: str
    direction: Literal[">", "<"]
    margin: float
    verdict: Verdict
    evidence: Cell | None
    reason: str


class Figure(Strict):
    """A picture, or a page that needs no other file: its name in the run's `figures` folder, and its caption."""

    file: str
    caption: str

    @field_validator("file")
    @classmethod
    def _bare_name(cls, file: str) -> str:
        if Path(file).name != file or Path(file).suffix not in (".svg", ".png", ".html"):
            raise ValueError(f"{file!r} is not the bare name of an .svg, .png or .html file")
        return file

    @property
    def is_page(self) -> bool:
        """Whether it is a page of its own: a report links to it and shows no picture."""
        return Path(self.file).suffix == ".html"


class Hardware(Strict):
    """The machine of a run: CPU model, its cores, the threads used, memory in bytes, and the GPU if one was used."""

    cpu: str
    cores: int
    threads: int
    memory_bytes: int
    gpu: str | None = None
    gpus: int = 0

    @property
    def device(self) -> Literal["cpu", "gpu"]:
        """What the run computed on, as in the names of recorded files."""
        return "cpu" if self.gpu is None else "gpu"


class Record(Strict):
    """A finished run: `record.json`. Rows and columns are in the order in which they are shown."""

    schema_version: Literal[1] = SCHEMA_VERSION
    paper: str
    table: str
    size: Size
    seeds: list[int]
    columns: list[str]
    rows: list[Row]
    claims: list[ClaimResult]
    config: dict[str, JsonValue]
    commit: str | None
    clean: bool
    hardware: Hardware
    versions: dict[str, str]
    started: str
    wall_seconds: float = Field(ge=0, allow_inf_nan=False)
    peak_memory_bytes: int = Field(ge=0)
    fingerprints: dict[str, str] = Field(default_factory=dict)
    figures: list[Figure] = Field(default_factory=list)

    @field_validator("config", mode="before")
    @classmethod
    def _json_config(cls, config: Any) -> Any:
        return _named_infinities(config)

    @property
    def name(self) -> str:
        """'paper/table', what a user types after `experiment=`."""
        return f"{self.paper}/{self.table}"

    @property
    def file_name(self) -> str:
        """The name under which the record is kept in `results/NAME/`."""
        return f"{self.table}.{self.hardware.device}.{self.size}.json"

    def save(self, path: str | Path) -> None:
        """Write the record whole or not at all."""
        write_whole(path, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "Record":
        """Read a record.

        Raises:
            OctoberError: One line: no such file, not JSON, another schema version, or a field that is wrong.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise OctoberError(f"{path}: cannot be read as a record ({_first_line(error)})") from error
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise OctoberError(f"{path}: {describe(error)}") from error


@dataclass
class Result:
    """What an experiment returns; everything else in the record is known to whoever runs it.

    Attributes:
        rows: The table, in the order to show it.
        evidence: By claim metric: the measured value with its 95 % interval.
        figures: Caption to file, each in the run's `figures` folder: a picture (.svg, .png), or a page (.html) that
            needs no other file.
        fingerprints: By name, what identifies the data and weights that were used (hash or version).
        undecided: By claim metric: why what was measured here must decide nothing, in half a sentence.
    """

    rows: list[Row]
    evidence: Mapping[str, Cell] = field(default_factory=dict)
    figures: Mapping[str, Path] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    undecided: Mapping[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """Every column of the rows, in the order in which they first appear."""
        return list(dict.fromkeys(column for row in self.rows for column in row.cells))


def describe(error: ValidationError) -> str:
    """Return pydantic's first complaint as one line that names the field and its value."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "json_invalid":
        return f"not valid JSON ({first['ctx']['error']})"
    if first["type"] == "extra_forbidden":
        return f"unknown key {place}"
    if first["type"] == "missing":
        return f"missing key {place}"
    message = first["msg"].removeprefix("Value error, ").replace("\n", " ")
    given = "" if isinstance(first["input"], dict | list) else f" (got {str(first['input'])[:80]!r})"
    more = f"; and {error.error_count() - 1} more" if error.error_count() > 1 else ""
    return f"{place}: {message}{given}{more}" if place else f"{message}{more}"


def _plain(value: Any) -> Any:
    """Turn a numpy or torch scalar into Python's own number."""
    return value.item() if hasattr(value, "item") else value


def _named_infinities(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _named_infinities(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_named_infinities(entry) for entry in value]
    return value


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
