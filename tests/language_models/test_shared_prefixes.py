from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from references import prompt_ids, score_token_by_token

from october.language_models import shared_prefixes
from october.language_models.shared_prefixes import prefix_groups

SEQUENCES = st.lists(st.lists(st.integers(0, 1), min_size=2, max_size=9), min_size=1, max_size=7)


def shared_length(sequences, limits):
    length = min(limits)
    return next((i for i in range(length) if len({ids[i] for ids in sequences}) > 1), length)


def best_saving(sequences, limits, base, worth):
    """The most tokens that any way of cutting the sorted sequences saves."""
    order = sorted(range(len(sequences)), key=sequences.__getitem__)
    best = 0
    for count in range(len(order)):
        for cuts in combinations(range(1, len(order)), count):
            saving = 0
            for start, end in zip((0, *cuts), (*cuts, len(order)), strict=True):
                some = order[start:end]
                length = shared_length([sequences[i] for i in some], [limits[i] for i in some])
                if len(some) > 1 and length - base < worth:
                    saving = -1
                    break
                saving += (len(some) - 1) * (length - base)
            best = max(best, saving)
    return best


@given(SEQUENCES, st.integers(1, 3))
def test_groups_save_as_much_as_the_best_of_all_cuts(sequences, worth):
    limits = [len(ids) - 1 for ids in sequences]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_prefixes, "_WORTH_SHARING", worth)
        groups = prefix_groups(sequences, limits, 0)
    assert sorted(index for group in groups for index in group.members) == list(range(len(sequences)))
    for members, length in groups:
        if len(members) > 1:
            assert length == shared_length([sequences[i] for i in members], [limits[i] for i in members]) >= worth
    saved = sum((len(group.members) - 1) * group.length for group in groups)
    assert saved == best_saving(sequences, limits, 0, worth)


def test_what_all_share_is_not_counted_again():
    head, passage = [1] * 40, [2] * 30
    sequences = [head + passage + [3, 4], head + [5] * 20, head + passage + [6, 7], head + [8] * 9]
    limits = [len(ids) - 1 for ids in sequences]
    assert {(tuple(sorted(members)), length) for members, length in prefix_groups(sequences, limits, 40)} == {
        ((0, 2), 70),
        ((1,), 59),
        ((3,), 48),
    }
    assert prefix_groups([], [], 0) == []


def test_groups_are_bounded():
    sequences = [[1] * 30 + [number] for number in range(150)]
    sizes = [len(members) for members, _ in prefix_groups(sequences, [30] * 150, 0)]
    assert sum(sizes) == 150
    assert max(sizes) <= 64


PASSAGES = ["The capital of France is Paris, near the river, and it is old.", "Question: where is it? In the old town."]
HEAD = "Observation: nothing found, in the old town, near the river.\n" * 8


@pytest.mark.parametrize("head", ["", HEAD])
def test_passages_and_prompts_that_some_pairs_share_are_read_once(lm, fed_tokens, head):
    prompts = [f"{head}{text} {end}" for text in PASSAGES for end in ("Where is", "What") for _ in range(3)]
    prompts.append(f"{head}x")
    continuations = [" Paris", " the river.", " 日本", " is it", " naïve river"] * 2 + [".", " x", " old"]
    order = [7, 2, 12, 0, 9, 4, 1, 11, 3, 10, 5, 8, 6]
    prompts, continuations = [prompts[i] for i in order], [continuations[i] for i in order]
    shapes = fed_tokens(lm)
    scores = lm.score(prompts, continuations)
    fed = sum(rows * tokens for rows, tokens in shapes)
    for prompt, continuation, score in zip(prompts, continuations, scores, strict=True):
        expected = score_token_by_token(lm, prompt, continuation)
        assert score.log_probabilities == pytest.approx(expected, abs=1e-4)
    own = [len(prompt_ids(lm, p + c)) - len(prompt_ids(lm, head)) for p, c in zip(prompts, continuations, strict=True)]
    assert fed < 0.75 * sum(own) + len(prompt_ids(lm, head))
