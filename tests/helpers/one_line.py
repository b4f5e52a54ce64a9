"""What every mistake of a user gets."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from october.errors import OctoberError


@contextmanager
def one_line(words: str | re.Pattern[str]) -> Iterator[None]:
    """Expect an `OctoberError` that says so, in one line."""
    with pytest.raises(OctoberError, match=words) as caught:
        yield
    assert "\n" not in str(caught.value)
