"""What the language model is fine-tuned on (section 2.3): a mixture of instruction sets, deterministic by its seed.

Each set gives as many examples as it has, but at most η; sets with a share of their own, such as unsupervised text and
dialogues, get that part of the whole instead. Where all sets have shares, these are parts of their sum.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import OctoberError
from ...files import content_hash
from .prompts import Example

PAPER_CAP = 7_500  # η, examples of one set
PAPER_SHARES = {"text": 0.1, "oasst1": 0.05}


class MixtureHandle(ABC):
    """A mixture that is read on first use.

    Args:
        shares: Of sets that have a fixed part of the whole, by their names; if all have one, of the sum of the shares.
        cap: The most examples of any other set: η.
        num_examples: Of the whole; None takes all that the cap leaves.
        seed: Of what is drawn, and of the markers.

    Raises:
        OctoberError: A share is not between 0 and 1 or they sum to more than 1; the cap or the number is below 1.
    """

    name: str

    def __init__(
        self, shares: Mapping[str, float], cap: int = PAPER_CAP, num_examples: int | None = None, seed: int = 0
    ) -> None:
        self.shares, self.cap, self.num_examples, self.seed = dict(shares), cap, num_examples, seed
        for name, share in self.shares.items():
            if not 0 < share <= 1:
                raise OctoberError(f"shares.{name}={share}: must be above 0 and at most 1")
        if sum(self.shares.values()) > 1 + 1e-9:
            raise OctoberError(f"shares={self.shares}: sum to more than 1")
        for field, value in (("cap", cap), ("num_examples", num_examples)):
            if value is not None and value < 1:
                raise OctoberError(f"{field}={value}: must be at least 1")

    @abstractmethod
    def check(self) -> None:
        """Raise `OctoberError` if a piece is missing; reads nothing, and so is quick."""

    @abstractmethod
    def sets(self) -> dict[str, list[Example]]:
        """Return all examples of each set, in a fixed order.

        Raises:
            OctoberError: A set cannot be read.
        """

    @abstractmethod
    def sources(self) -> dict[str, Any]:
        """Return what identifies the sets, as JSON can hold it: it changes with any example."""

    def load(self) -> list[Example]:
        """Return the mixture, its sets shuffled.

        Raises:
            OctoberError: A set cannot be read, or has too few examples for its share.
        """
        return mixed_instructions(self.sets(), self.shares, self.cap, self.num_examples, self.seed)

    def fingerprint(self) -> str:
        """Return 16 digits that change with any example."""
        return content_hash([self.sources(), self.shares, self.cap, self.num_examples, self.seed])

    def describe(self) -> dict[str, Any]:
        """Return what records say of the mixture."""
        settings = {"shares": self.shares, "cap": self.cap, "num_examples": self.num_examples, "seed": self.seed}
        return {"name": self.name, **settings, **self.sources()}


def mixed_instructions(
    sets: Mapping[str, Sequence[Example]],
    shares: Mapping[str, float],
    cap: int = PAPER_CAP,
    num_examples: int | None = None,
    seed: int = 0,
) -> list[Example]:
    """Return a shuffled mixture; no example stands in it twice.

    Args:
        sets: Their examples, by name.
        shares: As of `MixtureHandle`.
        cap: As of `MixtureHandle`.
        num_examples: As of `MixtureHandle`.
        seed: Of the draws; what is drawn of one set does not depend on the others, but for how much.

    Raises:
        OctoberError: As `quotas`.
    """
    wanted = quotas({name: len(examples) for name, examples in sets.items()}, shares, cap, num_examples)
    drawn: list[Example] = []
    for name, count in wanted.items():
        order = list(sets[name])
        random.Random(f"{seed}\x1f{name}").shuffle(order)
        drawn += order[:count]
    random.Random(seed).shuffle(drawn)
    return drawn


def quotas(
    sizes: Mapping[str, int], shares: Mapping[str, float], cap: int = PAPER_CAP, num_examples: int | None = None
) -> dict[str, int]:
    """Return how many examples each set gives.

    Args:
        sizes: Examples of each set.
        shares: As of `MixtureHandle`.
        cap: As of `MixtureHandle`.
        num_examples: As of `MixtureHandle`; without it the sets that have no share give all that the cap leaves them,
            and if all have one, the scarcest decides.

    Raises:
        OctoberError: A share is of no set, a set is empty, or has fewer examples than it would have to give; or shares
            leave nothing for the sets that have none.
    """
    _check_names(sizes, shares)
    capped = {name: min(size, cap) for name, size in sizes.items() if name not in shares}
    fixed = sum(shares.values())
    if capped and fixed > 1 - 1e-9:
        raise OctoberError(f"shares={dict(shares)}: leave nothing for {', '.join(capped)}, which have no share")
    if not capped:
        shares, fixed = {name: share / fixed for name, share in shares.items()}, 1.0
    if num_examples is None and capped:
        num_examples = round(sum(capped.values()) / (1 - fixed))
    elif num_examples is None:
        num_examples = int(min(sizes[name] / share for name, share in shares.items()) + 1e-9)
    parts = {name: share * num_examples for name, share in shares.items()}
    rest = (1 - fixed) * num_examples / max(1, sum(capped.values()))
    parts |= {name: rest * size for name, size in capped.items()}
    wanted = _whole({name: parts[name] for name in sizes}, round(sum(parts.values())))
    for name, count in wanted.items():
        most = capped.get(name, sizes[name])
        if count > most:
            raise OctoberError(f"num_examples={num_examples}: {name} would give {count}, and has {most} to give")
    return wanted


def _check_names(sizes: Mapping[str, int], shares: Mapping[str, float]) -> None:
    unknown = [name for name in shares if name not in sizes]
    if unknown:
        raise OctoberError(f"shares.{unknown[0]}: no such set (there are {', '.join(sizes)})")
    empty = [name for name, size in sizes.items() if size == 0]
    if empty:
        raise OctoberError(f"set {empty[0]} has no examples")


def _whole(parts: Mapping[str, float], total: int) -> dict[str, int]:
    """Round to whole numbers that sum to the total: the largest remainders are rounded up."""
    counts = {name: int(part + 1e-9) for name, part in parts.items()}
    by_remainder = sorted(parts, key=lambda name: counts[name] - parts[name])
    for name in by_remainder[: total - sum(counts.values())]:
        counts[name] += 1
    return counts
