import dataclasses
import signal
import subprocess
import sys
from pathlib import Path

import agents_run
import pytest
from oracle_model import OracleModel

from october.agents import Action, Journal, Step, finished, read_trajectories
from october.errors import OctoberError

ONE, TWO = (finished(name, "q", "react", [Step("t\n", Action("finish", "a"))], reward=0.5) for name in "ab")


def kept(path, identity="x"):
    with Journal(path, identity) as journal:
        return list(journal.finished.values())


def test_what_was_added_is_there_again(tmp_path):
    path = tmp_path / "deep" / "run.jsonl"
    with Journal(path, "x") as journal:
        journal.add(ONE)
        assert kept_file(path) == [ONE]  # at once, not at the end
        journal.add(TWO)
        with pytest.raises(OctoberError, match="there is a trajectory 'a' already"):
            journal.add(ONE)
    assert kept(path) == [ONE, TWO]
    with pytest.raises(OctoberError, match="another model"):
        kept(path, "y")


def kept_file(path):
    return read_trajectories(path).trajectories


@pytest.mark.parametrize("cut", [1, 7, 60])
def test_a_line_that_a_kill_cut_short_is_dropped(tmp_path, cut):
    path = tmp_path / "run.jsonl"
    with Journal(path, "x") as journal:
        journal.add(ONE)
        journal.add(TWO)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    assert kept(path) == [ONE]
    with Journal(path, "x") as journal:
        journal.add(TWO)
    assert path.read_bytes() == whole


def test_a_first_line_that_was_cut_short_is_written_again(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_bytes(b'{"ident')
    assert kept(path) == []
    with Journal(path, "x") as journal:
        journal.add(ONE)
    assert kept(path) == [ONE]


def test_damage_is_told_with_its_line(tmp_path):
    path = tmp_path / "run.jsonl"
    with Journal(path, "x") as journal:
        journal.add(ONE)
    path.write_bytes(path.read_bytes() + b"{}\n")
    with pytest.raises(OctoberError, match=r"run\.jsonl line 3 is damaged \(id: "):
        kept(path)


@pytest.mark.parametrize("content", [b"my notes", b"my notes\nand more", b'{"identity": "y"}', b'{"identity": "x"} \n'])
def test_a_file_that_is_no_journal_stays_as_it_is(tmp_path, content):
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(OctoberError, match=r"notes\.txt is no journal, or holds trajectories of another model"):
        kept(path)
    assert path.read_bytes() == content


READS = "import sys; from october.agents import Journal\nwith Journal(sys.argv[1], 'x') as kept: print(*kept.finished)"


def test_one_process_writes_and_the_other_waits_and_reads_what_it_left(tmp_path):
    path = tmp_path / "run.jsonl"
    with Journal(path, "x") as journal:
        command = [sys.executable, "-c", READS, str(path)]
        other = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert other.stderr.readline() == f"{path}: waits for another process, which makes these trajectories\n"
        journal.add(ONE)
        journal.add(TWO)
    assert other.communicate(timeout=60) == ("a b\n", "")
    assert other.returncode == 0


def test_runs_that_are_killed_lose_nothing_and_do_nothing_twice(tmp_path):
    path = tmp_path / "run.jsonl"
    counts = []
    for replies in (8, 7):
        ended = subprocess.run(
            [sys.executable, agents_run.__file__, str(path), str(replies)],
            env={**__import__("os").environ, "PYTHONPATH": str(Path(agents_run.__file__).parent)},
            check=False,
            timeout=300,
        )
        assert ended.returncode == -signal.SIGKILL
        counts.append(len(kept_file(path)))
    assert 0 < counts[0] < counts[1] < len(agents_run.QUESTIONS)
    before = kept_file(path)
    model = OracleModel(agents_run.reply)
    resumed = agents_run.run(path, model)
    assert sorted(one.id for one in kept_file(path)) == sorted(question.id for question in agents_run.QUESTIONS)
    asked = {prompt.split("\n")[0].removeprefix("Question: ") for prompt in model.asked}
    assert asked.isdisjoint(one.question for one in before)
    undisturbed = agents_run.run(tmp_path / "other.jsonl", OracleModel(agents_run.reply))
    assert without_seconds(resumed) == without_seconds(undisturbed)


def without_seconds(trajectories):
    return [dataclasses.replace(one, cost=dataclasses.replace(one.cost, seconds=0.0)) for one in trajectories]
