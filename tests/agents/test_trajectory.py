import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from october.agents import (
    METHODS,
    Action,
    Cost,
    Step,
    Trajectory,
    finished,
    read_trajectories,
    write_trajectories,
)
from october.errors import OctoberError

ACTION = st.builds(Action, st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True), st.text())
NUMBER = st.integers(0, 2**40)
SECONDS = st.floats(allow_nan=False, allow_infinity=False)
TRAJECTORY = st.builds(
    Trajectory,
    id=st.text(),
    question=st.text(),
    method=st.sampled_from(METHODS),
    steps=st.lists(st.builds(Step, st.text(), st.none() | ACTION, st.none() | st.text()), max_size=3).map(tuple),
    answer=st.none() | st.text(),
    reward=st.none() | SECONDS,
    cost=st.builds(Cost, NUMBER, NUMBER, NUMBER, NUMBER, NUMBER, SECONDS),
    end=st.sampled_from(["finished", "max_rounds", "context"]),
    problems=st.dictionaries(st.text(), NUMBER, max_size=2),
)


@given(st.lists(TRAJECTORY, max_size=4))
def test_files_give_back_what_was_written(tmp_path_factory, trajectories):
    path = tmp_path_factory.mktemp("files") / "trajectories.jsonl"
    write_trajectories(path, trajectories)
    assert read_trajectories(path) == (trajectories, [])


def test_bad_lines_are_told_and_the_others_kept(tmp_path):
    good = finished("g", "q", "react", [Step("t", Action("finish", "a"))])
    path = tmp_path / "trajectories.jsonl"
    write_trajectories(path, [good])
    line = path.read_text().strip()
    row = json.loads(line)
    more = [
        b"{not json",
        json.dumps({**row, "method": "guess"}).encode(),
        b"",
        line.encode(),
        json.dumps({**row, "more": 1}).encode(),
        json.dumps({**row, "steps": [{"thought": "t", "action": {"name": "two words", "argument": ""}}]}).encode(),
        json.dumps({**row, "reward": "1"}).encode(),
        json.dumps({key: value for key, value in row.items() if key != "question"}).encode(),
        b'"\xff"',
        b"[]",
        json.dumps({**row, "reward": float("nan")}).encode(),
        line[:-20].encode(),
    ]
    path.write_bytes(line.encode() + b"\r\n" + b"\n".join(more))
    read = read_trajectories(path)
    assert read.trajectories == [good, good]
    assert [number for number, _ in read.bad] == [2, 3, 6, 7, 8, 9, 10, 11, 12, 13]
    reasons = [reason for _, reason in read.bad]
    for reason, words in zip(
        reasons,
        [
            "JSON",
            "method: .*'io', 'cot'",
            "more: .*",
            "steps: action 'two words'",
            "reward",
            "question",
            "JSON",
            "",
            "reward",
            "JSON",
        ],
        strict=True,
    ):
        assert "\n" not in reason
        assert re.search(words, reason), reason


def test_what_no_file_can_hold_is_refused_and_nothing_is_written(tmp_path):
    path = tmp_path / "trajectories.jsonl"
    good = finished("g", "q", "react", [])
    with pytest.raises(OctoberError, match="trajectory 'b': text that is not UTF-8"):
        write_trajectories(path, [good, Trajectory("b", "half \ud800", "io", ())])
    with pytest.raises(OctoberError, match="trajectory 'c': a reward or a time"):
        write_trajectories(path, [good, Trajectory("c", "q", "io", (), reward=float("inf"))])
    assert not path.exists()
    with pytest.raises(OctoberError, match="cannot be read"):
        read_trajectories(path)


def test_the_answer_is_what_the_last_step_finished_with():
    search, finish = Step("t", Action("search", "x"), "y"), Step("", Action("Finish", "a"))
    assert finished("i", "q", "react", [search, finish], reward=1.0).answer == "a"
    assert finished("i", "q", "react", [finish, search]).answer is None
    assert finished("i", "q", "react", []).answer is None
    assert finished("i", "q", "react", [search, finish]).num_searches == 1
