"""A store of passages on disk: built shard by shard from a stream of documents, read through a memory map.

    folder/source.json       what the passages are made from; written first
    folder/shard-00000.arrow one batch of rows (id, title, text, source), whole or not there
    folder/manifest.json     the shards, the rows and the SHA-256 of each, a hash of all rows; written last

Documents are cut as for dense passage retrieval (Karpukhin et al. 2020, section 4.1): disjoint blocks of 100 words,
each with its document's title. What remains at a document's end is a passage of its own, however short; their released
passages fill it up with the document's first words instead. A word is what stands between white space, and a passage is
the exact text from its first word to its last.
"""

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import pyarrow as pa
from tqdm.auto import tqdm

from ..errors import OctoberError, check_text
from ..files import atomic_path, only_writer, write_whole
from ..language_models.fingerprints import cached_sha256
from .fingerprints import RunningHash, SeenNames
from .folders import damaged, read_description

if TYPE_CHECKING:
    from ..data.documents import Document

WORDS_PER_PASSAGE = 100
_SHARD_PASSAGES = 16_384
_SHARD_CHARACTERS = 1 << 26  # a shard's strings must stay below Arrow's 2 GiB, and in memory
_SECONDS_UNTIL_PROGRESS = 5.0
_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Passage:
    """A piece of a document.

    Attributes:
        id: The document's id, '#', and the passage's number in the document.
        title: The document's.
        text: Exactly as in the document.
        source: The document's.
    """

    id: str
    title: str
    text: str
    source: str

    @property
    def document_id(self) -> str:
        """The document it was cut from."""
        return self.id.rpartition("#")[0]

    @property
    def titled_text(self) -> str:
        """Title and text in one line: what encoders and BM25 read."""
        return f"{self.title} {self.text}" if self.title else self.text


_FIELDS = [field.name for field in fields(Passage)]
_SCHEMA = pa.schema([(name, pa.string()) for name in _FIELDS])


def split_document(document: "Document", words: int | None = WORDS_PER_PASSAGE) -> list[Passage]:
    """Return a document's passages.

    Args:
        document: With some text.
        words: In a passage; None keeps the document whole (one that already is a passage).

    Raises:
        OctoberError: No text, or text that is not UTF-8.
    """
    _check_document(document)
    spans = [(match.start(), match.end()) for match in _WORD.finditer(document.text)]
    size = words or len(spans)
    blocks = [spans[first : first + size] for first in range(0, len(spans), size)]
    return [
        Passage(f"{document.id}#{number}", document.title, document.text[block[0][0] : block[-1][1]], document.source)
        for number, block in enumerate(blocks)
    ]


class PassageStore(Sequence[Passage]):
    """The passages of a folder, in the order of their documents; nothing is read before it is asked for.

    Attributes:
        folder: Where they are.
        fingerprint: 16 digits that change with any passage, and with nothing else.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.fingerprint: str = manifest["fingerprint"]
        self._shards: list[dict[str, Any]] = manifest["shards"]
        self._starts = [0, *accumulate(shard["passages"] for shard in self._shards)]

    @classmethod
    def open(cls, folder: str | Path, *, verify: bool = True) -> "PassageStore":
        """Open a finished store.

        Args:
            folder: What `build` wrote.
            verify: Hash the shards, once as long as their size and time stamp stay the same: a minute where 14 GB of
                them are read for the first time. Of a store that was built before hashes were noted, and without
                this, sizes alone are compared.

        Raises:
            OctoberError: There is none, or it is damaged.
        """
        folder = Path(folder)
        manifest = read_description(folder / "manifest.json", "passage store")
        try:
            store = cls(folder, manifest)
            whole = [_is_whole(folder / shard["name"], shard, verify) for shard in manifest["shards"]]
        except (KeyError, TypeError, OSError) as error:
            raise damaged(folder / "manifest.json", "passage store") from error
        if not all(whole):
            raise damaged(folder / manifest["shards"][whole.index(False)]["name"], "passage store")
        return store

    @classmethod
    def build(
        cls,
        documents: Iterable["Document"],
        folder: str | Path,
        *,
        source: str,
        words: int | None = WORDS_PER_PASSAGE,
        shard_passages: int = _SHARD_PASSAGES,
        progress: bool = True,
    ) -> "PassageStore":
        """Cut documents into passages and store them; a finished folder is opened at once.

        One shard is held in memory at a time. A killed build goes on behind its last whole shard: the documents are
        read again up to there, and must be the same.

        Args:
            documents: Any stream of them, the same at every try.
            folder: Of this store alone.
            source: What identifies the documents, such as a corpus' fingerprint.
            words: In a passage; None keeps each document whole.
            shard_passages: Rows of a shard.
            progress: Show a bar if it takes over five seconds.

        Raises:
            OctoberError: No documents, an empty one, two of the same id, text that is not UTF-8, a folder that holds
                the passages of others, or a full disk.
        """
        if words is not None and words < 1:
            raise OctoberError(f"words={words}: a passage needs at least 1 word")
        if shard_passages < 1:
            raise OctoberError(f"shard_passages={shard_passages}: must be at least 1")
        folder = Path(folder)
        with only_writer(folder):
            _claim(folder, {"source": source, "words": words})
            if not (folder / "manifest.json").exists():
                _build(documents, folder, words, shard_passages, progress)
        return cls.open(folder)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @overload
    def __getitem__(self, index: int) -> Passage: ...

    @overload
    def __getitem__(self, index: slice) -> list[Passage]: ...

    def __getitem__(self, index: int | slice) -> Passage | list[Passage]:
        if isinstance(index, slice):
            return self.take(range(len(self))[index])
        return self.take([index])[0]

    def __iter__(self) -> Iterator[Passage]:
        for number in range(len(self._shards)):
            columns = self._columns(number)
            for row in range(self._shards[number]["passages"]):
                yield _passage(columns, row)

    def take(self, indices: Sequence[int]) -> list[Passage]:
        """Return the passages of these positions; a negative one counts from the end.

        Raises:
            OctoberError: A position outside the store, or a damaged shard.
        """
        taken = []
        for index in indices:
            if not -len(self) <= index < len(self):
                raise OctoberError(f"passage {index} does not exist: the store holds {len(self)}")
            position = int(index) % len(self)
            shard = bisect_right(self._starts, position) - 1
            taken.append(_passage(self._columns(shard), position - self._starts[shard]))
        return taken

    def titled_texts(self, start: int, stop: int) -> list[str]:
        """Return what encoders read of a range of passages."""
        return [passage.titled_text for passage in self.take(range(start, min(stop, len(self))))]

    def _columns(self, shard: int) -> list[pa.StringArray]:
        if self._mapped[shard] is None:
            self._mapped[shard] = _read_shard(self.folder / self._shards[shard]["name"])
        columns = self._mapped[shard]
        assert columns is not None
        return columns

    @cached_property
    def _mapped(self) -> list[list[pa.StringArray] | None]:
        return [None] * len(self._shards)


def _check_document(document: "Document") -> None:
    for name in ("id", "title", "text", "source"):
        check_text(getattr(document, name), f"document {document.id!r}: its {name}")
    if not document.text.strip():
        raise OctoberError(f"document {document.id!r}: it has no text")


def _claim(folder: Path, about: dict[str, Any]) -> None:
    """Write what the folder is for, or check that it is for this."""
    path = folder / "source.json"
    if not path.exists():
        write_whole(path, json.dumps(about))
        return
    found = read_description(path, "passage store")
    if found != about:
        names = " and ".join(f"{name}={found.get(name)}" for name in about)
        wanted = " and ".join(f"{name}={value}" for name, value in about.items())
        raise OctoberError(f"{folder} holds passages of {names}, not of {wanted}; name another folder")


def _build(documents: Iterable["Document"], folder: Path, words: int | None, size: int, progress: bool) -> None:
    hashed, shards = RunningHash(), []
    shown: dict[str, Any] = {"desc": "passages", "unit": "passage", "delay": _SECONDS_UNTIL_PROGRESS, "leave": False}
    with tqdm(disable=not progress, **shown) as bar:
        for number, rows in enumerate(_shards(_checked_passages(documents, words), size)):
            for passage in rows:
                hashed.update(passage.id, passage.title, passage.text, passage.source)
            path = folder / f"shard-{number:05d}.arrow"
            _write_or_compare(path, rows)
            noted = {"bytes": path.stat().st_size, "sha256": cached_sha256(path)}
            shards.append({"name": path.name, "passages": len(rows), **noted})
            bar.update(len(rows))
    if not shards:
        raise OctoberError(f"{folder}: there are no documents to make passages of")
    write_whole(folder / "manifest.json", json.dumps({"fingerprint": hashed.digits, "shards": shards}))


def _checked_passages(documents: Iterable["Document"], words: int | None) -> Iterator[Passage]:
    seen = SeenNames()
    for document in documents:
        passages = split_document(document, words)
        if not seen.add(document.id):
            raise OctoberError(f"document {document.id!r} occurs twice: ids must differ")
        yield from passages


def _shards(passages: Iterable[Passage], size: int) -> Iterator[list[Passage]]:
    rows: list[Passage] = []
    characters = 0
    for passage in passages:
        rows.append(passage)
        characters += len(passage.text) + len(passage.title)
        if len(rows) == size or characters >= _SHARD_CHARACTERS:
            yield rows
            rows, characters = [], 0
    if rows:
        yield rows


def _write_or_compare(path: Path, rows: list[Passage]) -> None:
    """Write a shard that is missing; check of one that is there that it holds these rows."""
    columns = [pa.array([getattr(row, name) for row in rows], pa.string()) for name in _FIELDS]
    if path.exists():
        pairs = zip(columns, _read_shard(path), strict=True)
        if not all(ours.equals(theirs) for ours, theirs in pairs):
            raise OctoberError(f"{path} holds other passages than the documents give now; delete {path.parent}")
        return
    with atomic_path(path) as temporary, pa.ipc.new_file(str(temporary), _SCHEMA) as writer:
        writer.write_batch(pa.record_batch(columns, schema=_SCHEMA))


def _is_whole(path: Path, shard: dict[str, Any], verify: bool) -> bool:
    same_size = path.stat().st_size == shard["bytes"]
    return same_size and (not verify or "sha256" not in shard or cached_sha256(path) == shard["sha256"])


def _read_shard(path: Path) -> list[pa.StringArray]:
    try:
        batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
        return [batch.column(name) for name in _FIELDS]
    except (pa.ArrowInvalid, KeyError, OSError) as error:
        raise damaged(path, "passage store") from error


def _passage(columns: list[pa.StringArray], row: int) -> Passage:
    return Passage(*(column[row].as_py() for column in columns))
