"""What the paper says: `experiments/NAME/published.yaml`, every table, figure and claim, with what was verified.

paper: space_time
title: Language Models Represent Space and Time
arxiv: "2310.02207"
headlines:                       # optional: the cell that the summary table shows for an experiment
  space: {row: gemma3_270m, column: World}
tables:
  - id: probes
    number: Table 2
    what: test R2 of linear and nonlinear probes
    verified: true               # number and content were checked against the source
    experiment: space_time/space
    status: run                  # run | paper_config (at the paper's scale only) | not_run
    why: a smaller model         # what differs (run), what it needs (paper_config), why not (not_run)
    columns: [World]
    rows:
      - {name: Llama-2-7B, cells: {World: 0.881}}      # verified: as the table, unless it says otherwise
claims:
  - name: linear
    statement: a linear probe is as good as a nonlinear one
    where: Section 3.2
    table: linearity             # the experiment that decides it
    metric: linear_minus_mlp     # the key of its evidence
    direction: ">"
    margin: -0.02
    sizes: [small, full]
"""

from collections import Counter
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from ..errors import OctoberError
from .records import Strict, describe

FILE_NAME = "published.yaml"


class PublishedRow(Strict):
    """A row of a published table; `verified` is filled in from the table where it is not given."""

    name: str
    cells: dict[str, float | int | str | None]
    verified: bool | None = None


class PublishedTable(Strict):
    """A table or figure of the paper, its numbers, and what becomes of it here."""

    id: str
    number: str
    what: str
    verified: bool
    experiment: str | None = None
    status: Literal["run", "paper_config", "not_run"]
    why: str = ""
    columns: list[str] = Field(default_factory=list)
    rows: list[PublishedRow] = Field(default_factory=list)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.status != "not_run" and self.experiment is None:
            raise ValueError(f"table {self.id}: status {self.status} needs an experiment")
        if self.status != "run" and not self.why.strip():
            raise ValueError(f"table {self.id}: status {self.status} needs a why")
        _refuse_duplicates(f"table {self.id}: row", (row.name for row in self.rows))
        _refuse_duplicates(f"table {self.id}: column", self.columns)
        for row in self.rows:
            unknown = sorted(set(row.cells) - set(self.columns))
            if unknown:
                raise ValueError(f"table {self.id}: row {row.name} has a cell {unknown[0]!r} that is no column")
            if row.verified is None:
                row.verified = self.verified
        return self


class Claim(Strict):
    """A claim, written before the run that decides it: `metric direction margin`, judged at `sizes` alone."""

    name: str
    statement: str
    where: str
    table: str
    metric: str
    direction: Literal[">", "<"]
    margin: float = Field(allow_inf_nan=False)
    sizes: list[Literal["small", "full"]] = Field(min_length=1)
    verified: bool = False

    @field_validator("table")
    @classmethod
    def _bare(cls, table: str) -> str:
        if "/" in table:
            raise ValueError(f"give the experiment's table alone, {table.rpartition('/')[2]!r}")
        return table


class HeadlineCell(Strict):
    """The cell that stands for an experiment in the summary."""

    row: str
    column: str


class Published(Strict):
    """Everything that `published.yaml` says."""

    paper: str
    title: str
    arxiv: str
    headlines: dict[str, HeadlineCell] = Field(min_length=1)
    tables: list[PublishedTable]
    claims: list[Claim]

    @model_validator(mode="after")
    def _unique(self) -> Self:
        _refuse_duplicates("table id", (table.id for table in self.tables))
        _refuse_duplicates("claim", (claim.name for claim in self.claims))
        for table in self.tables:
            if table.experiment is not None and not table.experiment.startswith(f"{self.paper}/"):
                raise ValueError(f"experiment {table.experiment!r} is not of the form {self.paper}/TABLE")
        return self

    @property
    def headline(self) -> str:
        """The experiment that stands for the paper, as 'paper/table'."""
        return f"{self.paper}/{next(iter(self.headlines))}"

    @classmethod
    def load(cls, path: str | Path) -> "Published":
        """Read a `published.yaml`.

        Raises:
            OctoberError: One line with the file's name: unreadable, not YAML, an unknown or doubled key or name, a
                missing `why`.
        """
        try:
            content = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_UniqueKeys)  # noqa: S506 (a SafeLoader)
            return cls.model_validate(content)
        except ValidationError as error:
            raise OctoberError(f"{path}: {describe(error)}") from error
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise OctoberError(f"{path}: {' '.join(str(error).split())}") from error

    def claims_of(self, table: str) -> list[Claim]:
        """Return the claims that the experiment `table` decides."""
        return [claim for claim in self.claims if claim.table == table]

    def table(self, table_id: str) -> PublishedTable:
        """Return a table by its `id`."""
        return next(table for table in self.tables if table.id == table_id)

    def tables_of(self, table: str) -> list[PublishedTable]:
        """Return the published tables that the experiment `table` stands beside."""
        return [entry for entry in self.tables if entry.experiment == f"{self.paper}/{table}"]

    def row(self, table: str, name: str) -> tuple[PublishedTable, PublishedRow]:
        """Return the published row that `Row.published` names, and its table.

        Args:
            table: The experiment's table.
            name: The row's name, or 'table id/name'.

        Raises:
            OctoberError: No such row, or more than one.
        """
        pairs = [(entry, row) for entry in self.tables_of(table) for row in entry.rows]
        found = [pair for pair in pairs if name in (pair[1].name, f"{pair[0].id}/{pair[1].name}")]
        if len(found) != 1:
            known = ", ".join(f"{entry.id}/{row.name}" for entry, row in pairs) or "none"
            problem = "no published row" if not found else f"{len(found)} published rows"
            raise OctoberError(f"{self.paper}/{table}: {problem} {name!r} in {FILE_NAME} (there are: {known})")
        return found[0]


def experiments_folder() -> Path:
    """Return the folder that holds the papers' experiments, wherever the package is installed."""
    return Path(str(files("october.experiments")))


def papers(folder: Path | None = None) -> dict[str, Published]:
    """Return what every paper says, by its name, sorted: all `published.yaml` files under the experiments' folder."""
    paths = sorted((folder or experiments_folder()).glob(f"*/{FILE_NAME}"))
    return {path.parent.name: _in_its_folder(path) for path in paths}


def published_of(paper: str) -> Published:
    """Return what one paper says."""
    return _in_its_folder(experiments_folder() / paper / FILE_NAME)


def _in_its_folder(path: Path) -> Published:
    published = Published.load(path)
    if published.paper != path.parent.name:
        raise OctoberError(f"{path}: paper {published.paper!r} stands in the folder {path.parent.name!r}")
    return published


class _UniqueKeys(yaml.SafeLoader):
    """YAML that refuses a key written twice, where the plain loader silently keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key, count in Counter(map(str, keys)).items():
            if count > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is written twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


def _refuse_duplicates(what: str, names: Iterable[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise ValueError(f"{what} {name!r} is written {count} times")
