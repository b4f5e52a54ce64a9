import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from october.errors import OctoberError
from october.probing import block_splits, cross_type_split, random_split


@settings(deadline=None, max_examples=30)
@given(st.integers(10, 500), st.integers(0, 99))
def test_random_split_parts_the_rows(num_rows, seed):
    split = random_split(num_rows, seed)
    assert len(split.test) == round(0.2 * num_rows)
    assert sorted([*split.train, *split.test]) == list(range(num_rows))
    assert (np.diff(split.train) > 0).all()
    np.testing.assert_array_equal(random_split(num_rows, seed).test, split.test)


def test_seeds_differ():
    assert random_split(100, 0).test.tolist() != random_split(100, 1).test.tolist()


@pytest.mark.parametrize(("num_rows", "fraction"), [(2, 0.2), (10, 0.0), (10, 1.0)])
def test_an_empty_side_is_refused(num_rows, fraction):
    with pytest.raises(OctoberError, match="leaves one side"):
        random_split(num_rows, 0, fraction)


def test_blocks_are_whole_groups_largest_first():
    groups = ["FR", "DE", "FR", None, "DE", "FR", "IT", float("nan"), "AT", "AT"]
    blocks = list(block_splits(groups, min_members=2))
    assert [name for name, _ in blocks] == ["FR", "AT", "DE"]
    assert blocks[0][1].test.tolist() == [0, 2, 5]
    for _, split in blocks:
        assert {3, 7} <= set(split.train.tolist())
        assert sorted([*split.train, *split.test]) == list(range(10))
    assert [name for name, _ in block_splits(groups, 2, max_blocks=1)] == ["FR"]


def test_groups_too_small_or_alone_are_named():
    with pytest.raises(OctoberError, match="min_members=3 rows; the largest has 2"):
        list(block_splits(["a", "a", "b"], 3))
    with pytest.raises(OctoberError, match="'a' holds every row"):
        list(block_splits(["a", "a"]))


def test_cross_type():
    split = cross_type_split(["city", "airport", "city", "river"], "city", "airport")
    assert (split.train.tolist(), split.test.tolist()) == ([0, 2], [1])
    with pytest.raises(OctoberError, match=r"no row has the type 'lake'; the types are airport, city, river"):
        cross_type_split(["city", "airport", "river"], "city", "lake")
