"""Which row of a cache belongs to which session, and the tokens that lie in it."""

import weakref
from collections.abc import Callable, Sequence

from ..language_models import Session
from .cache import RowCache


class SessionRows:
    """The rows of one cache, lent to sessions.

    A row whose session no longer exists is lent again. Where the rows of all sessions would hold more than the bound,
    those that are not asked for are given up; their texts are encoded anew when they are.

    Args:
        make_cache: From rows and tokens per row to an empty cache.
        max_cached_tokens: Bound on rows times the places that the longest takes.
    """

    def __init__(self, make_cache: Callable[[int, int], RowCache], max_cached_tokens: int) -> None:
        self._make_cache = make_cache
        self._max_cached_tokens = max_cached_tokens
        self._cache: RowCache | None = None
        self._owners: list[weakref.ref[Session] | None] = []
        self._token_ids: list[list[int]] = []

    @property
    def cache(self) -> RowCache:
        """The cache; `arrange` makes it."""
        assert self._cache is not None, "arrange() comes first"
        return self._cache

    def num_shared(self, session: Session, token_ids: Sequence[int]) -> int:
        """Return how many of a text's first tokens lie in the session's row; the last one never counts."""
        row = self._row(session)
        stored = [] if row is None else self._token_ids[row]
        limit = min(len(stored), len(token_ids) - 1)
        return next((place for place in range(limit) if stored[place] != token_ids[place]), limit)

    def arrange(self, sessions: Sequence[Session], capacity: int) -> None:
        """Give the first rows to these sessions, all different, in their order.

        Args:
            sessions: Those of one forward pass.
            capacity: Tokens of the longest, those to come included.
        """
        lent = sum(1 for owner in self._owners if owner is not None and owner() is not None)
        num_rows = lent + sum(self._row(session) is None for session in sessions)
        longest = max([capacity, *(len(ids) for ids in self._token_ids)])
        if self._cache is None or num_rows * self._cache.row_places(longest) > self._max_cached_tokens:
            self._keep_only(sessions, capacity)
        for place, session in enumerate(sessions):
            row = self._row(session)
            row = self._free_row(session) if row is None else row
            self.swap_rows(place, row)

    def take(self, row: int, token_ids: Sequence[int]) -> int:
        """Crop a row to what it shares with a text that is about to be written; return how many tokens remain.

        Until `record` the row counts as empty, so that a call that is broken off leaves nothing wrong behind.
        """
        owner = self._owners[row]
        session = None if owner is None else owner()
        assert session is not None
        remaining = self.cache.crop(row, self.num_shared(session, token_ids))
        self._token_ids[row] = []
        return remaining

    def record(self, session: Session, token_ids: Sequence[int]) -> None:
        """Note the tokens that now lie in a session's row."""
        row = self._row(session)
        assert row is not None
        self._token_ids[row] = list(token_ids)

    def swap_rows(self, row: int, other: int) -> None:
        """Let two rows change places, with their sessions."""
        self.cache.swap_rows(row, other)
        owners, token_ids = self._owners, self._token_ids
        owners[row], owners[other] = owners[other], owners[row]
        token_ids[row], token_ids[other] = token_ids[other], token_ids[row]

    def _row(self, session: Session) -> int | None:
        rows = (row for row, owner in enumerate(self._owners) if owner is not None and owner() is session)
        return next(rows, None)

    def _free_row(self, session: Session) -> int:
        """Lend a row to a session that has none."""
        free = (row for row, owner in enumerate(self._owners) if owner is None or owner() is None)
        row = next(free, len(self._owners))
        if row == len(self._owners):
            self.cache.add_rows(row)  # twice as many, so that copies are few
            self._owners += [None] * row
            self._token_ids += [[] for _ in range(row)]
        self._owners[row], self._token_ids[row] = weakref.ref(session), []
        return row

    def _keep_only(self, sessions: Sequence[Session], capacity: int) -> None:
        """Move to a new cache that has rows for these sessions alone."""
        cache = self._make_cache(len(sessions), capacity)
        token_ids: list[list[int]] = []
        for place, session in enumerate(sessions):
            row = self._row(session)
            token_ids.append([] if row is None else self._token_ids[row])
            if row is not None:
                cache.copy_row(place, self.cache, row)
        self._cache, self._token_ids = cache, token_ids
        self._owners = [weakref.ref(session) for session in sessions]
