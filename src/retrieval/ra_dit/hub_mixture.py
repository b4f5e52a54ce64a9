"""The paper's own mixture: its instruction sets from the hub, or from local folders in the hub's format."""

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from ...data.hub import Rows
from ...errors import OctoberError
from .instruction_sets import INSTRUCTION_SETS, LANGUAGE_MODEL_SETS, Row
from .instructions import PAPER_CAP, PAPER_SHARES, MixtureHandle
from .prompts import Example
from .templates import random_markers, rendered

_SHARED_ROOM = 4  # times the cap: what a set with a share of its own may have to give


class HubMixture(MixtureHandle):
    """The paper's mixture; of each set's training rows no more are read than can be drawn.

    Args:
        sets: Of `INSTRUCTION_SETS`; by default those that the language model learns from.
        paths: Of sets that are elsewhere: a local folder in the hub's format, or another name on the hub.
        shares: As of `MixtureHandle`.
        cap: As of `MixtureHandle`.
        num_examples: As of `MixtureHandle`.
        seed: As of `MixtureHandle`.

    Raises:
        OctoberError: There is no such set, or as `MixtureHandle`.
    """

    name = "ra_dit_paper"

    def __init__(
        self,
        sets: Sequence[str] = LANGUAGE_MODEL_SETS,
        paths: Mapping[str, str] | None = None,
        shares: Mapping[str, float] = PAPER_SHARES,
        cap: int = PAPER_CAP,
        num_examples: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__({name: share for name, share in shares.items() if name in sets}, cap, num_examples, seed)
        unknown = [name for name in [*sets, *(paths or {})] if name not in INSTRUCTION_SETS]
        if unknown:
            raise OctoberError(f"sets: no such set {unknown[0]} (there are {', '.join(INSTRUCTION_SETS)})")
        if not sets:
            raise OctoberError(f"sets=[]: give at least one of {', '.join(INSTRUCTION_SETS)}")
        self.rows = {name: _rows(name, (paths or {}).get(name)) for name in sets}

    def check(self) -> None:
        """Raise `OctoberError` if a path is neither a folder with data files nor a name on the hub."""
        for rows in self.rows.values():
            rows.check()

    def sets(self) -> dict[str, list[Example]]:
        """Return of each set as many examples as can be drawn, chosen by the seed.

        Raises:
            OctoberError: A set cannot be reached or read, or a row is not as its set's rows are.
        """
        return {name: self._examples(name, rows) for name, rows in self.rows.items()}

    def sources(self) -> dict[str, Any]:
        """Return the fingerprints of the sets."""
        return {"sets": {name: rows.fingerprint() for name, rows in self.rows.items()}}

    def _examples(self, name: str, rows: Rows) -> list[Example]:
        layout, room = INSTRUCTION_SETS[name], self.cap * (_SHARED_ROOM if name in self.shares else 1)
        found: list[Example] = []
        for number, row in self._some(name, rows):
            try:
                fields = layout.fields(row)
                if fields is not None:
                    markers = random_markers(self.seed, name, number)
                    found.append(rendered(layout.family, task=name, markers=markers, **fields))
            except OctoberError:  # a row without its question or its answer is none
                continue
            except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
                raise OctoberError(f"{name}: row {number} of {rows.path} is not as the set's rows are") from error
            if len(found) == room:
                break
        return found

    def _some(self, name: str, rows: Rows) -> Iterator[tuple[int, Row]]:
        """Return rows with their numbers, in a random order unless they come as a stream."""
        layout = INSTRUCTION_SETS[name]
        if layout.streamed:
            most = self.cap * _SHARED_ROOM
            return enumerate(islice(rows.stream("train", layout.columns), most))
        table: Any = rows.table("train", layout.columns)
        if layout.prepared is not None:
            table = list(layout.prepared(rows.read(table, "train")))
        order = list(range(len(table)))
        random.Random(f"{self.seed}\x1f{name}\x1frows").shuffle(order)
        return zip(order, rows.read((table[number] for number in order), "train"), strict=True)


def _rows(name: str, path: str | None) -> Rows:
    layout = INSTRUCTION_SETS[name]
    if path is not None:
        return Rows(name, path, layout.config)
    return Rows(name, layout.path, layout.config, layout.revision)
