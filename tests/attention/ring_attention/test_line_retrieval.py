"""Sequences of the retrieval task, read token by token."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from october.attention.ring_attention.line_retrieval import LineRetrieval
from october.attention.ring_attention.training_batch import IGNORED
from october.errors import OctoberError


@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 2), st.integers(1, 9))
def test_every_answer_stands_in_the_line_of_its_name(questions, count, spare_names, num_contents):
    task = LineRetrieval(2 * questions + spare_names, num_contents)
    sequences, labels = task.sequences(9 * questions, count, torch.Generator().manual_seed(questions))
    assert sequences.shape == labels.shape == (count, 9 * questions)
    assert int(sequences.max()) < task.vocab_size
    for row, expected in zip(sequences.tolist(), labels.tolist(), strict=True):
        told, asked = {}, []
        for first in range(0, len(row), 3):
            mark, name, content = row[first : first + 3]
            assert 2 <= name < 2 + task.num_names <= content
            if mark == 0:
                assert name not in told
                assert expected[first : first + 3] == [IGNORED] * 3
                told[name] = content
            else:
                assert mark == 1
                assert told[name] == content
                assert expected[first : first + 3] == [IGNORED, content, IGNORED]
                asked.append(name)
        assert (len(told), len(set(asked)), len(asked)) == (2 * questions, questions, questions)


def test_questions_are_on_lines_from_everywhere():
    task = LineRetrieval(30, 5)
    sequences, _ = task.sequences(135, 400, torch.Generator().manual_seed(0))
    places = [row[1:90:3].tolist().index(row[91]) for row in sequences]
    counts = torch.bincount(torch.tensor(places), minlength=30)
    assert int(counts.min()) > 0
    assert sum(places) / len(places) == pytest.approx(14.5, abs=1.5)


def test_sequences_depend_on_the_generator_alone():
    task = LineRetrieval(12, 3)
    first, again, other = (task.sequences(18, 2, torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("context", "words"),
    [
        (0, "context=0: must be a multiple of 9"),
        (30, "context=30: must be a multiple of 9"),
        (63, "its 14 lines need as many names; num_names=12"),
    ],
)
def test_contexts_that_do_not_fit_are_named(context, words):
    with pytest.raises(OctoberError, match=words):
        LineRetrieval(12, 3).num_questions(context)


def test_an_empty_vocabulary_is_named():
    with pytest.raises(OctoberError, match="num_contents=0"):
        LineRetrieval(3, 0)
