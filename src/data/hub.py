"""Rows of a data set from the hub by its name, or from a local folder in the hub's format (parquet, JSON lines)."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import OctoberError, reason_of
from ..files import content_hash

_HUB_NAME = re.compile(r"^[\w.-]+(?:/[\w.-]+)?$")
_FILES = (".parquet", ".jsonl", ".json", ".csv", ".arrow")


@dataclass(frozen=True)
class Rows:
    """Where rows come from.

    Attributes:
        set_name: What the set is called in errors.
        path: A name on the hub (`google-research-datasets/nq_open`) or a local folder.
        config: The configuration on the hub; a local folder needs none, and one whose card lists configurations may
            have it.
        revision: Branch, tag or commit on the hub.
    """

    set_name: str
    path: str
    config: str | None = None
    revision: str | None = None

    @property
    def folder(self) -> Path | None:
        """The local folder, if it is one."""
        folder = Path(self.path).expanduser()
        return folder if folder.is_dir() else None

    def check(self) -> None:
        """Check without reading that the rows can be found.

        Raises:
            OctoberError: A folder without data files, a path that does not exist, no name of the hub's form.
        """
        if self.folder is not None:
            if not any(path.suffix in _FILES for path in self.folder.rglob("*")):
                raise OctoberError(f"{self.set_name}: {self.folder} holds no data files ({', '.join(_FILES)})")
        elif not _HUB_NAME.match(self.path):
            raise OctoberError(f"{self.set_name}: path={self.path}: neither a folder nor a name on the hub")

    def fingerprint(self) -> str:
        """Return 16 digits: of a folder's files, their names, sizes and times; of the hub, the names and revision."""
        if self.folder is None:
            return content_hash([self.path, self.config, self.revision])
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        stats = [(str(path.relative_to(self.folder)), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
        return content_hash([stats, self.config])

    def stream(self, split: str, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Return the rows one by one, of the named columns only; of Parquet nothing else is fetched, vectors say.

        Raises:
            OctoberError: The set cannot be reached or read, lacks the split or a column, or holds bytes that are not
                UTF-8, perhaps only as they are come to.
        """
        rows = self._load(split, streaming=True)
        self._require(rows.column_names or list(next(self.read(rows, split), {})), columns)
        if rows.info.builder_name == "parquet":
            return self.read(self._load(split, streaming=True, columns=list(columns)), split)
        return self.read(rows.select_columns(list(columns)), split)

    def table(self, split: str, columns: Sequence[str]) -> Any:
        """Return the rows as a `datasets.Dataset` of the named columns, which `read` goes through.

        Raises:
            OctoberError: The set cannot be reached or read, or lacks the split or a column.
        """
        rows = self._load(split, streaming=False)
        self._require(rows.column_names, columns)
        return rows.select_columns(list(columns))

    def read(self, rows: Iterable[dict[str, Any]], split: str) -> Iterator[dict[str, Any]]:
        """Return rows of a split one by one: texts are decoded only as they are come to.

        Raises:
            OctoberError: One cannot be read, say because it is not UTF-8.
        """
        count = 0
        try:
            for row in rows:
                yield row
                count += 1
        except Exception as error:
            raise self._unreadable(split, error, f" after {count} rows") from error

    def _load(self, split: str, *, streaming: bool, **options: Any) -> Any:
        from datasets import load_dataset

        self.check()
        path = str(self.folder) if self.folder is not None else self.path
        try:
            options |= {"split": split, "streaming": streaming, "revision": self.revision}
            return load_dataset(path, self._config(), **options)
        except Exception as error:
            offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") == "1" and not self.folder else ""
            raise self._unreadable(split, error, offline) from error

    def _unreadable(self, split: str, error: Exception, where: str) -> OctoberError:
        what = f"{self.set_name}: split {split} of {self.folder or self.path} cannot be read{where}"
        bad = next((one for one in (error, error.__cause__) if isinstance(one, UnicodeDecodeError)), None)
        return OctoberError(f"{what}: {reason_of(error) if bad is None else f'not UTF-8 ({bad})'}")

    def _config(self) -> str | None:
        """Return the configuration; none for a folder whose card does not list it."""
        if self.folder is None or self.config is None:
            return self.config
        card = self.folder / "README.md"
        return self.config if card.is_file() and self.config in card.read_text(encoding="utf-8") else None

    def _require(self, present: Sequence[str], columns: Sequence[str]) -> None:
        missing = [column for column in columns if column not in present]
        if missing:
            raise OctoberError(f"{self.set_name}: {self.path} has no column {missing[0]} (has {', '.join(present)})")
