"""What a search finds, and what every search is asked."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

from ..errors import OctoberError, check_text


class Hits(NamedTuple):
    """The best passages of each query, highest score first.

    Attributes:
        scores: Higher is better, whatever the index; -inf where there are fewer than k.
        positions: In the passage store; -1 where there are fewer than k.
    """

    scores: Float32[np.ndarray, "queries k"]
    positions: Int64[np.ndarray, "queries k"]


def check_queries(queries: Sequence[str]) -> None:
    """Check what every search is given.

    Raises:
        OctoberError: One text in place of a list, something that is not UTF-8 text, or an empty query.
    """
    if isinstance(queries, str):
        raise OctoberError(f"queries={queries[:40]!r}: a list of queries is needed, this is one")
    for number, query in enumerate(queries):
        check_text(query, f"query {number}")
        if not query.strip():
            raise OctoberError(f"query {number} is empty: there is nothing to search for")


def check_k(k: int) -> None:
    """Raise `OctoberError` unless at least one passage is asked for."""
    if k < 1:
        raise OctoberError(f"k={k}: must be at least 1")
