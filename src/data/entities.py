"""Named entities with a place or a time: the table that probes are trained on, its checks, and files of one's own."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..errors import OctoberError

Kind = Literal["place", "time"]
Targets = tuple[str, ...]

PLACE: Targets = ("latitude", "longitude")
LIMITS = {"latitude": (-90.0, 90.0), "longitude": (-180.0, 180.0)}  # degrees
YEARS = (-4000.0, 2100.0)  # 1 BC is -1; there is no year 0 in history, and 0 is let through
TEXT_COLUMNS = ("split_key", "entity_type", "source", "licence")
IMPORTANCE = ("population", "page_views")


@dataclass(frozen=True, eq=False)
class EntitySet:
    """A set of named entities with their coordinates or years.

    Attributes:
        name: What the set is called in records.
        kind: 'place' or 'time'.
        frame: One row per entity: `name`, the targets, `split_key` (country, state, century …: the block to hold
            out), `entity_type`, `source`, `licence`, and whatever else the source gives (`population` …).
        targets: The columns to predict: latitude and longitude in degrees, or years (BC negative).
    """

    name: str
    kind: Kind
    frame: pd.DataFrame
    targets: Targets

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def names(self) -> list[str]:
        """The entities' names, as they stand in a prompt."""
        return [str(name) for name in self.frame["name"]]

    @property
    def values(self) -> npt.NDArray[np.float64]:
        """The targets, float64 [n, t]."""
        return self.frame[list(self.targets)].to_numpy(dtype=np.float64)

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change with any name, value or column."""
        head = "\x1f".join([self.name, self.kind, *self.targets])
        return hashlib.sha256(f"{head}\n{self.frame.to_csv(index=False)}".encode()).hexdigest()[:16]

    @property
    def importance(self) -> str | None:
        """The column that ranks the entities (population, page views); None where the source has none."""
        return next((column for column in IMPORTANCE if column in self.frame), None)

    def largest(self, n: int) -> "EntitySet":
        """Return the n most important entities, most important first, ties by name; all of them if n is larger.

        Raises:
            OctoberError: The set has no column of importance, or n < 1.
        """
        if self.importance is None:
            raise OctoberError(
                f"{self.name}: no column ranks the entities ({' or '.join(IMPORTANCE)}); use sample(n, seed)"
            )
        ranked = self.frame.sort_values([self.importance, "name"], ascending=[False, True], kind="stable")
        return self._with(ranked.head(_at_least_one(n)))

    def sample(self, n: int, seed: int) -> "EntitySet":
        """Return n entities drawn without replacement, in the set's order; all of them if n is larger."""
        size = min(_at_least_one(n), len(self))
        rows = np.random.default_rng(seed).choice(len(self), size=size, replace=False)
        return self._with(self.frame.iloc[np.sort(rows)])

    def where(self, mask: "npt.ArrayLike | pd.Series[bool]") -> "EntitySet":
        """Return the entities for which a boolean mask of the set's length is true."""
        keep = np.asarray(mask)
        if keep.dtype != np.bool_ or keep.shape != (len(self),):
            raise OctoberError(f"{self.name}: a mask must be {len(self)} booleans, got {keep.dtype} {list(keep.shape)}")
        return self._with(self.frame[keep])

    def concat(self, *others: "EntitySet", name: str | None = None) -> "EntitySet":
        """Return this set followed by others of the same kind and targets; a name may then occur once in each."""
        sets = [self, *others]
        for other in others:
            if (other.kind, other.targets) != (self.kind, self.targets):
                raise OctoberError(f"cannot join {self.name} {self.targets} with {other.name} {other.targets}")
        frame = pd.concat([entities.frame for entities in sets], ignore_index=True)
        return EntitySet(name or "+".join(entities.name for entities in sets), self.kind, frame, self.targets)

    def _with(self, frame: pd.DataFrame) -> "EntitySet":
        return replace(self, frame=frame.reset_index(drop=True))


class EntityHandle(ABC):
    """A set that is read on first use, so that configs cost nothing until their arguments have been checked."""

    name: str

    @abstractmethod
    def check(self) -> None:
        """Raise `OctoberError` if a file is missing; reads nothing, and so is quick."""

    @abstractmethod
    def _read(self) -> EntitySet:
        """Read the whole set."""

    def load(self, limit: int | None = None) -> EntitySet:
        """Return the set, or its `limit` most important entities (a fixed sample where nothing ranks them)."""
        if limit is None:
            return self._entities
        return self._entities.largest(limit) if self._entities.importance else self._entities.sample(limit, seed=0)

    @cached_property
    def _entities(self) -> EntitySet:
        return self._read()


class CsvEntities(EntityHandle):
    """A user's own entity file; see `load_csv`."""

    def __init__(self, path: str, kind: Kind | None = None, targets: Sequence[str] | None = None) -> None:
        self.path = Path(path).expanduser()
        self.name = self.path.stem
        self.kind = kind
        self.targets = targets

    def check(self) -> None:
        """Raise `OctoberError` if the file is not there."""
        if not self.path.is_file():
            raise OctoberError(f"data.path={self.path}: there is no such file")

    def _read(self) -> EntitySet:
        return load_csv(self.path, kind=self.kind, targets=self.targets)


def load_csv(path: str | Path, kind: Kind | None = None, targets: Sequence[str] | None = None) -> EntitySet:
    """Read a user's own entities from a CSV file (UTF-8, a header row, comma-separated).

    Args:
        path: The file. It needs a column `name` and the targets; `split_key`, `entity_type`, `population` … are
            taken where they stand.
        kind: 'place' or 'time'; by default 'place' if there are columns latitude and longitude, else 'time'.
        targets: The columns to predict; by default latitude and longitude, or every column that ends in `_year`.

    Raises:
        OctoberError: The file cannot be read, or `validate` refuses it.
    """
    path = Path(path)
    frame = read_table(path)
    kind = kind or ("place" if set(PLACE) <= set(frame.columns) else "time")
    years = [column for column in frame.columns if str(column).endswith("_year")]
    chosen = tuple(targets) if targets else (PLACE if kind == "place" else tuple(years))
    if not chosen:
        raise OctoberError(
            f"{path}: no columns latitude and longitude and none that ends in _year; has {_listed(frame)}"
        )
    return EntitySet(path.stem, kind, validate(frame, kind, chosen, str(path)), chosen)


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV file as text, so that a place called 'NA' or 'Nan' keeps its name.

    Raises:
        OctoberError: No file, no table in it, not UTF-8.
    """
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except OSError as error:
        raise OctoberError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise OctoberError(f"{path}: not UTF-8 text (byte {error.start}: {error.object[error.start]:#04x})") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise OctoberError(f"{path}: not a CSV table ({str(error).strip()})") from error
    if not isinstance(frame.index, pd.RangeIndex):  # pandas took the first column for labels
        raise OctoberError(f"{path}: the rows have more cells than the header ({_listed(frame)})")
    return frame.rename(columns=str.strip)


def validate(frame: pd.DataFrame, kind: Kind, targets: Targets, label: str, unique_names: bool = True) -> pd.DataFrame:
    """Check a table of entities and return it with numeric targets and every column of an `EntitySet`.

    Args:
        frame: The table; values may be text.
        kind: 'place' (targets are latitude and longitude) or 'time' (`…_year`: whole years; `…_date`: decimal ones).
        targets: The columns to predict.
        label: Names the table in errors.
        unique_names: Whether a name may stand only once.

    Raises:
        OctoberError: One line that names the first offending row (1 is the first below the header), its value and
            how many such rows there are.
    """
    _check_columns(frame, kind, targets, label)
    frame = frame.reset_index(drop=True)
    frame["name"] = frame["name"].map(lambda name: name.strip() if isinstance(name, str) else "")
    refuse_rows(frame, frame["name"] == "", "name", label, "empty")
    for target in targets:
        frame[target] = _numeric(frame, target, label)
    if unique_names:
        refuse_rows(frame, frame["name"].duplicated(), "name", label, "a name that stands further up already")
    for column in IMPORTANCE:
        if column in frame:
            frame[column] = _counts(frame, column, label)
    for column in TEXT_COLUMNS:
        if column not in frame:
            frame[column] = kind if column == "entity_type" else ""
    return frame


def require_columns(frame: pd.DataFrame, columns: Sequence[str], label: str) -> None:
    """Raise `OctoberError` if a column is missing."""
    missing = [column for column in columns if column not in frame]
    if missing:
        raise OctoberError(f"{label}: no column {', '.join(map(repr, missing))}; has {_listed(frame)}")


def refuse_rows(frame: pd.DataFrame, bad: "pd.Series[bool]", column: str, label: str, what: str) -> None:
    """Raise `OctoberError` if a row is bad: it names the first one's number and value, and how many there are."""
    if bad.any():
        row = int(np.flatnonzero(bad.to_numpy())[0])
        count = int(bad.sum())
        more = "the only such row" if count == 1 else f"{count} such rows"
        raise OctoberError(f"{label}: row {row + 1}: {column} is {frame[column].tolist()[row]!r}, {what} ({more})")


def _check_columns(frame: pd.DataFrame, kind: Kind, targets: Targets, label: str) -> None:
    if kind not in ("place", "time"):
        raise OctoberError(f"{label}: kind is {kind!r}; allowed are 'place' and 'time'")
    if kind == "place" and targets != PLACE:
        raise OctoberError(f"{label}: the targets of places are {', '.join(PLACE)}; got {', '.join(targets)}")
    require_columns(frame, ("name", *targets), label)
    if frame.empty:
        raise OctoberError(f"{label}: no rows")


def _numeric(frame: pd.DataFrame, target: str, label: str) -> "pd.Series[float]":
    low, high = LIMITS.get(target, YEARS)
    numbers = pd.to_numeric(frame[target], errors="coerce").astype(np.float64)
    inside = numbers.between(low, high)  # false for missing and infinite ones too
    what = f"a number from {low:g} to {high:g}"
    if target.endswith("_year"):
        inside &= numbers == numbers.round()
        what = f"a whole year from {low:g} to {high:g}"
    refuse_rows(frame, ~inside, target, label, f"not {what}")
    return numbers


def _counts(frame: pd.DataFrame, column: str, label: str) -> "pd.Series[float]":
    given = frame[column].fillna("").astype(str).str.strip() != ""
    numbers = pd.to_numeric(frame[column], errors="coerce").astype(np.float64)
    refuse_rows(frame, given & ~(numbers >= 0), column, label, "not a number of 0 or more")
    return numbers.fillna(0.0)


def _at_least_one(n: int) -> int:
    if n < 1:
        raise OctoberError(f"the number of entities must be at least 1, got {n}")
    return n


def _listed(frame: pd.DataFrame) -> str:
    return ", ".join(map(str, frame.columns)) or "none"
