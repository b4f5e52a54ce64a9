import pytest

from october.errors import OctoberError
from october.retrieval.recomp import in_chunks


def doubled(items):
    return [{"value": 2 * item, "text": "é\u2028\n"} for item in items]


def test_a_run_that_was_killed_goes_on_where_it_was(tmp_path):
    seen = []

    def work(items):
        if 7 in items and 7 not in seen:
            seen.append(7)
            raise KeyboardInterrupt
        seen.extend(items)
        return doubled(items)

    with pytest.raises(KeyboardInterrupt):
        in_chunks(tmp_path, "key", range(10), work, chunk_size=3, what="test")
    assert seen == [0, 1, 2, 3, 4, 5, 7]
    rows = in_chunks(tmp_path, "key", range(10), work, chunk_size=3, what="test")
    assert seen == [0, 1, 2, 3, 4, 5, 7, 6, 7, 8, 9]
    assert rows == doubled(range(10))
    assert in_chunks(tmp_path, "key", range(10), None, chunk_size=3, what="test") == rows
    assert in_chunks(tmp_path, "other", range(2), doubled, chunk_size=3, what="test") == doubled(range(2))


def test_damaged_chunks_are_named(tmp_path):
    in_chunks(tmp_path, "key", range(4), doubled, chunk_size=2, what="test")
    first = min(tmp_path.glob("*/*.jsonl"))
    first.write_text(first.read_text().split("\n")[0] + "\n")
    with pytest.raises(OctoberError, match="holds 1 rows of 2; delete it"):
        in_chunks(tmp_path, "key", range(4), doubled, chunk_size=2, what="test")
    first.write_text("{")
    with pytest.raises(OctoberError, match="cannot be read; delete it"):
        in_chunks(tmp_path, "key", range(4), doubled, chunk_size=2, what="test")
    with pytest.raises(OctoberError, match="chunk_size=0: must be at least 1"):
        in_chunks(tmp_path, "key", [], doubled, chunk_size=0, what="test")
