"""What several sessions begin with, few-shot examples say: encoded once, then copied into each session's row.

prefix   [p p p p p p]                       a cache of one row, made when a second session begins with it
row 0    [p p p p p p | q q q]
row 1    [p p p p p p | q q q q q]           only what follows passes through the network
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..language_models import Session
from .cache import RowCache

_MOST_PREFIXES = 4
_FEWEST_TOKENS = 16  # fewer are not worth a pass of their own


@dataclass
class StartedSession(Session):
    """A session that knows what it began with."""

    prefix: str = ""


@dataclass
class _Prefix:
    num_sessions: int = 0
    token_ids: list[int] = field(default_factory=list)
    cache: RowCache | None = None


class SessionPrefixes:
    """The last few texts that sessions began with, those of two and more encoded.

    Args:
        tokenize: From a text to its tokens.
        encode: From tokens to a cache whose only row holds them.
    """

    def __init__(self, tokenize: Callable[[str], list[int]], encode: Callable[[list[int]], RowCache]) -> None:
        self._tokenize = tokenize
        self._encode = encode
        self._prefixes: OrderedDict[str, _Prefix] = OrderedDict()

    def start(self, prefix: str) -> StartedSession:
        """Open a session."""
        known = self._prefixes.setdefault(prefix, _Prefix())
        known.num_sessions += 1
        self._prefixes.move_to_end(prefix)
        if len(self._prefixes) > _MOST_PREFIXES:
            self._prefixes.popitem(last=False)
        return StartedSession(prefix, prefix)

    def num_shared(self, session: Session, token_ids: Sequence[int]) -> int:
        """Return how many of a text's first tokens `copy` would find encoded; the last one never counts."""
        known = self._encoded(session, token_ids)
        if known is None:
            return 0
        limit = min(len(known.token_ids), len(token_ids) - 1)
        return next((place for place in range(limit) if known.token_ids[place] != token_ids[place]), limit)

    def copy(self, session: Session, token_ids: Sequence[int], cache: RowCache, row: int) -> int:
        """Copy what a session began with into its empty row; return how many of its tokens then lie there."""
        shared = self.num_shared(session, token_ids)
        known = self._encoded(session, token_ids)
        if known is None or known.cache is None or shared == 0:
            return 0
        cache.copy_row(row, known.cache, 0)
        return cache.crop(row, shared)

    def _encoded(self, session: Session, token_ids: Sequence[int]) -> _Prefix | None:
        """Return a session's prefix, encoded; None if no other session began with it."""
        known = self._prefixes.get(session.prefix) if isinstance(session, StartedSession) else None
        if known is None or known.num_sessions < 2:
            return None
        if known.cache is None:
            own = self._tokenize(session.prefix) if isinstance(session, StartedSession) else []
            ends = (place for place, pair in enumerate(zip(own, token_ids, strict=False)) if pair[0] != pair[1])
            known.token_ids = own[: next(ends, min(len(own), len(token_ids) - 1))]  # tokens may reach over the border
            if len(known.token_ids) < _FEWEST_TOKENS:
                return None
            known.cache = self._encode(known.token_ids)
        return known
