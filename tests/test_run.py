"""The run's folder: steps are never computed twice, a torn line is dropped, and two writers never meet."""

import json
from pathlib import Path

import pytest

from october.errors import OctoberError
from october.run import Run, config_hash, folder_to_resume
from october.tracking import LocalTracker

CONFIG = {"num": 3, "tracker": {"_target_": "x"}, "resume": False, "seeds": [0]}


def open_run(folder: Path, config: dict[str, object] = CONFIG) -> Run:
    return Run(folder, "paper/table", config, LocalTracker())


def test_a_finished_step_is_not_computed_again(tmp_path: Path) -> None:
    calls = []

    def step(value: int) -> dict[str, object]:
        calls.append(value)
        return {"value": value, "pair": (1, 2)}

    def first_try() -> None:
        with open_run(tmp_path) as run:
            assert run.once("a", lambda: step(1)) == {"value": 1, "pair": [1, 2]}
            raise RuntimeError

    with pytest.raises(RuntimeError):
        first_try()
    with open_run(tmp_path) as run:
        assert run.once("a", lambda: step(1)) == {"value": 1, "pair": [1, 2]}
        assert run.once("b", lambda: step(2))["value"] == 2
    assert calls == [1, 2]
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "finished"


def test_a_line_cut_by_a_kill_is_dropped_and_computed_anew(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        run.once("a", lambda: 1)
        run.once("b", lambda: 2)
    steps = tmp_path / "steps.jsonl"
    whole = steps.read_bytes()
    steps.write_bytes(whole[:-9])
    with open_run(tmp_path) as run:
        assert sorted(run.finished) == ["a"]
        assert run.once("b", lambda: 3) == 3
    with open_run(tmp_path) as run:
        assert run.finished == {"a": 1, "b": 3}


def test_the_seconds_of_a_killed_try_are_those_of_its_finished_steps(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        run.once("a", lambda: 1)
    steps, state = tmp_path / "steps.jsonl", tmp_path / "run.json"
    steps.write_text(json.dumps({"key": "a", "value": 1, "seconds": 70.5}) + "\n")
    state.write_text(json.dumps({**json.loads(state.read_text()), "seconds": 0.0}))  # as a kill leaves it
    with open_run(tmp_path) as run:
        assert 70.5 <= run.seconds < 80
    with open_run(tmp_path) as run:  # the tries' own seconds, once they are known, hold the steps
        assert 70.5 <= run.seconds < 80
    state.write_text(json.dumps({**json.loads(state.read_text()), "seconds": 100.0}))
    with open_run(tmp_path) as run:
        assert 100 <= run.seconds < 110


def test_resume_finds_the_newest_unfinished_run_of_the_same_config(tmp_path: Path) -> None:
    for name, config in (("1", CONFIG), ("2", CONFIG), ("3", {**CONFIG, "num": 4})):
        with pytest.raises(RuntimeError), open_run(tmp_path / name, config):
            raise RuntimeError
    with open_run(tmp_path / "4"):
        pass  # finished, so not taken up
    fresh = tmp_path / "5"
    fresh.mkdir()
    assert folder_to_resume(True, fresh, {**CONFIG, "resume": True}) == tmp_path / "2"
    assert not fresh.exists()
    assert folder_to_resume(False, fresh, CONFIG) == fresh
    assert folder_to_resume(True, fresh, {**CONFIG, "num": 5}) == fresh


def test_a_run_that_another_process_writes_is_left_alone(tmp_path: Path) -> None:
    with open_run(tmp_path / "1"):
        assert folder_to_resume(True, tmp_path / "2", CONFIG) == tmp_path / "2"
        with pytest.raises(OctoberError, match="another process"), open_run(tmp_path / "1"):
            pass


def test_resuming_with_another_config_is_refused(tmp_path: Path) -> None:
    with open_run(tmp_path / "1"):
        pass
    with pytest.raises(OctoberError, match="another config"), open_run(tmp_path / "1", {**CONFIG, "num": 9}):
        pass
    with pytest.raises(OctoberError, match="no run is there"):
        folder_to_resume(str(tmp_path / "nowhere"), tmp_path / "2", CONFIG)


def test_the_hash_leaves_out_where_results_go(tmp_path: Path) -> None:
    assert config_hash(CONFIG) == config_hash({**CONFIG, "tracker": None, "resume": True})
    assert config_hash(CONFIG) != config_hash({**CONFIG, "seeds": [1]})


def test_metrics_go_to_the_local_file(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        run.log({"r2": 0.5, "layer": 3})
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert {key: json.loads(line)[key] for key in ("r2", "layer")} == {"r2": 0.5, "layer": 3}
