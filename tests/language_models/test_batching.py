from hypothesis import given, settings
from hypothesis import strategies as st

from october.language_models.batching import CACHED_PER_FED, length_sorted_batches
from october.language_models.prefix_cache import shared_prefix


@settings(deadline=None, max_examples=100)
@given(
    lengths=st.lists(st.integers(0, 60), max_size=40),
    bound=st.integers(1, 200),
    prefix=st.integers(0, 500),
)
def test_every_row_is_in_one_batch_under_the_bounds(lengths: list[int], bound: int, prefix: int) -> None:
    batches = list(length_sorted_batches(lengths, bound, lambda own: prefix + own))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    longest = [max(lengths[i] for i in batch) for batch in batches]
    assert longest == sorted(longest, reverse=True)
    for batch, fed in zip(batches, longest, strict=True):
        if len(batch) > 1:
            assert len(batch) * fed <= bound
            assert len(batch) * (prefix + fed) <= CACHED_PER_FED * bound


@settings(deadline=None, max_examples=100)
@given(lengths=st.lists(st.integers(0, 60), max_size=60), bound=st.integers(1, 800))
def test_tight_batches_pad_little_once_they_are_an_eighth_full(lengths: list[int], bound: int) -> None:
    batches = list(length_sorted_batches(lengths, bound, tight=True))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        fed = lengths[batch[0]]
        assert len(batch) == 1 or len(batch) * fed <= bound
        shorter = [place for place, index in enumerate(batch) if 8 * lengths[index] < 7 * fed]
        assert all(8 * place * fed < bound for place in shorter)


@settings(deadline=None, max_examples=100)
@given(
    head=st.lists(st.integers(0, 2), max_size=80),
    tails=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=4), min_size=1, max_size=12),
)
def test_the_shared_prefix_is_the_longest_one_that_saves_enough(head: list[int], tails: list[list[int]]) -> None:
    sequences = [head + tail for tail in tails]
    limits = [len(sequence) - 1 for sequence in sequences]
    length = 0
    while length < min(limits) and len({tuple(sequence[: length + 1]) for sequence in sequences}) == 1:
        length += 1
    expected = sequences[0][:length] if length * (len(sequences) - 1) >= 256 else []
    assert shared_prefix(sequences, limits) == expected
