import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from october.agents import Action, Step, finished
from october.agents.fireact import read_alpaca, read_chat, read_dump, write_alpaca, write_chat
from october.errors import OctoberError

SEARCH = Step("I look for the river.", Action("search", "river [Asia] length"), "It is 6,300 km long.")
FINISH = Step("I have it.", Action("finish", "6,300 km"))
TEXT = (
    "Thought: I look for the river.\nAction: search[river [Asia] length]\nObservation: It is 6,300 km long.\n"
    "Thought: I have it.\nAction: finish[6,300 km]\nObservation: Episode finished, reward = {reward}\n"
)
MESSAGES = [
    {"role": "user", "content": "How long?"},
    {"role": "assistant", "content": "Thought: I look for the river.\nAction: search[river [Asia] length]"},
    {"role": "user", "content": "Observation: It is 6,300 km long."},
    {"role": "assistant", "content": "Thought: I have it.\nAction: finish[6,300 km]"},
    {"role": "user", "content": "Observation: Episode finished, reward = True"},
]
LINES = st.text(alphabet="ab[]\\\n :T", max_size=12)
STEP = st.builds(Step, LINES.map(lambda text: text.strip("\n")), st.builds(Action, st.just("search"), LINES), LINES)
TRAJECTORY = st.builds(
    lambda question, steps, answer, reward: finished(
        "1", question, "react", [*steps, Step("x", Action("finish", answer))], reward=reward
    ),
    LINES,
    st.lists(STEP, min_size=1, max_size=3),
    LINES,
    st.sampled_from([None, 0.0, 1.0]),
)


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(("told", "reward"), [("True", 1.0), ("1", 1.0), ("False", 0.0), ("0", 0.0)])
def test_a_row_in_alpacas_format(tmp_path, told, reward):
    row = {"instruction": "How long?", "input": "", "output": TEXT.format(reward=told)}
    read = read_alpaca(write(tmp_path / "rows.json", [row]))
    assert read == ([finished("1", "How long?", "react", [SEARCH, FINISH], reward=reward)], [])
    assert read.trajectories[0].answer == "6,300 km"


def test_a_line_of_messages(tmp_path):
    read = read_chat(write(tmp_path / "rows.jsonl", json.dumps({"messages": MESSAGES}) + "\n\n"))
    assert read == ([finished("1", "How long?", "react", [SEARCH, FINISH], reward=1.0)], [])


@given(st.lists(TRAJECTORY, max_size=3))
def test_what_is_exported_is_imported_again(tmp_path_factory, trajectories):
    folder = tmp_path_factory.mktemp("released")
    for name, write_rows, read_rows in (("a", write_alpaca, read_alpaca), ("c", write_chat, read_chat)):
        write_rows(folder / name, trajectories)
        read = read_rows(folder / name)
        assert read.bad == []
        for number, (ours, again) in enumerate(zip(trajectories, read.trajectories, strict=True), start=1):
            assert (again.question, again.steps, again.answer) == (ours.question, ours.steps, ours.answer)
            assert (again.id, again.reward, again.problems) == (str(number), ours.reward, {})


def test_rewards_stand_where_the_authors_put_them(tmp_path):
    trajectory = finished("i", "How long?", "react", [SEARCH, FINISH], reward=1.0)
    write_alpaca(tmp_path / "a.json", [trajectory])
    write_chat(tmp_path / "c.jsonl", [trajectory])
    row = {"instruction": "How long?", "input": "", "output": TEXT.format(reward="True")}
    assert json.loads((tmp_path / "a.json").read_text()) == [row]
    assert [json.loads(line) for line in (tmp_path / "c.jsonl").read_text().splitlines()] == [{"messages": MESSAGES}]


def test_methods_are_told_by_what_the_agent_did(tmp_path):
    reflected = "Not within 5 steps; let me do a reflection and think. Thought: I try another."
    outputs = [
        TEXT.format(reward=1),
        "Thought: I know it.\nAction: finish[a]\nObservation: Episode finished, reward = True\n",
        TEXT.format(reward=0).replace("I have it.", reflected),
    ]
    rows = [{"instruction": "Question: q\nA. x\nB. y", "input": "", "output": output} for output in outputs]
    read = read_alpaca(write(tmp_path / "rows.json", rows))
    assert [trajectory.method for trajectory in read.trajectories] == ["react", "cot", "reflexion"]
    assert read.trajectories[0].question == "Question: q\nA. x\nB. y"
    assert read.trajectories[2].steps[-1].thought == reflected


def test_dumps_in_their_three_forms(tmp_path):
    scores = {"reward": True, "em": True, "f1": 1.0, "gt": "6300 km", "pred": "6300 km", "prompt": ""}
    wrapped = f"Below.\n\n### Instruction:\nHow long?\n\n### Response:\n{TEXT.format(reward=True)}"
    rows = {
        "6238": {**scores, "traj": wrapped, "traj_by_line": wrapped.split("\n")},
        "17": {**scores, "traj": "How long?\n" + TEXT.format(reward=True)},
        "4": {**scores, "prompt": [], "traj": MESSAGES},
        "5": {**scores, "em": False, "f1": 0, "traj": "How long?"},
        "6": {"traj": MESSAGES},
    }
    read = read_dump(write(tmp_path / "dump.json", rows))
    assert [trajectory.id for trajectory in read.trajectories] == ["6238", "17", "4"]
    for trajectory in read.trajectories:
        assert trajectory.steps == (SEARCH, FINISH)
        assert (trajectory.question, trajectory.reward) == ("How long?", 1.0)
        assert read.answers[trajectory.id] == ("6300 km", "6300 km", 1.0, 1.0)
    assert read.answers.keys() == {"6238", "17", "4", "5"}  # whatever came of the trajectory of the fourth
    assert read.answers["5"] == ("6300 km", "6300 km", 0.0, 0.0)
    assert read.bad == [(4, "there is no thought in it"), (5, "no field 'em'")]


def test_what_models_did_wrong_is_counted_and_rows_without_a_trajectory_are_told(tmp_path):
    outputs = {
        "Thought: a\nAction: search[b] and more\nObservation: c\nThought: d\nObservation: e": None,
        "": "there are no steps",
        "So:\nThought: a": "steps begin with 'Thought:', not with 'So:'",
        "Thought: a\nAction: finish[b]\nObservation: Episode finished, reward = 1\nThought: c": "follows the one that",
        "Thought: a\nObservation: b\nAction: search[c]": "step 1: 'Action' in a place",
    }
    rows = [{"instruction": "q", "input": "", "output": output} for output in outputs]
    read = read_alpaca(write(tmp_path / "rows.json", [*rows, {"instruction": "q"}, "row"]))
    (kept,) = read.trajectories
    assert kept.steps == (Step("a", Action("search", "b"), "c"), Step("d", None, "e"))
    assert kept.problems == {"trailing_text": 1, "no_action": 1}
    assert [number for number, _ in read.bad] == [2, 3, 4, 5, 6, 7]
    words = [reason for reason in outputs.values() if reason] + ["no field 'output'", "not a row of this format"]
    for (_, reason), expected in zip(read.bad, words, strict=True):
        assert re.search(expected, reason)
    lines = [
        json.dumps({"messages": [{"role": "system", "content": "x"}]}),
        "{",
        json.dumps({"messages": [*MESSAGES[:2], {"role": "user", "content": "x"}]}),
    ]
    bad = read_chat(write(tmp_path / "rows.jsonl", "\n".join(lines))).bad
    assert [number for number, _ in bad] == [1, 2, 3]
    assert "messages of system: user and assistant must take turns" in bad[0].reason
    assert "message 3: an observation is needed, not 'x'" in bad[2].reason


def test_what_is_no_text_makes_a_bad_row_and_the_rest_is_kept(tmp_path):
    good = {"instruction": "How long?", "input": "", "output": TEXT.format(reward=1)}
    rows = [{**good, "output": None}, {**good, "output": ["x"]}, {**good, "instruction": 5}, good]
    read = read_alpaca(write(tmp_path / "rows.json", [*rows, {**good, "instruction": None}]))
    assert [each.id for each in read.trajectories] == ["4"]
    assert read.bad == [
        (1, "steps: NoneType in place of a text"),
        (2, "steps: list in place of a text"),
        (3, "question: int in place of a text"),
        (5, "question: NoneType in place of a text"),
    ]
    lines = [[*MESSAGES[:1], {"role": "assistant", "content": None}], [{**MESSAGES[0], "content": 5}], MESSAGES, "text"]
    chat = read_chat(write(tmp_path / "rows.jsonl", "\n".join(json.dumps({"messages": line}) for line in lines)))
    assert [each.id for each in chat.trajectories] == ["3"]
    assert chat.bad == [
        (1, "message 2, content: NoneType in place of a text"),
        (2, "message 1, content: int in place of a text"),
        (4, "messages: str in place of a list"),
    ]


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (read_alpaca, "{}", "a list of rows"),
        (read_dump, "[]", "an object with a row"),
        (read_alpaca, "[", "not JSON"),
        (read_chat, None, "cannot be read"),
    ],
)
def test_files_of_another_format_are_refused(tmp_path, read, content, message):
    path = tmp_path / "file"
    if content is not None:
        path.write_text(content)
    with pytest.raises(OctoberError, match=message):
        read(path)
