"""Mistakes with real models and data, as a user makes them: one line each, before work starts."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from october.cli import main

Mistake = Callable[..., str]
SPACE = ["experiment=space_time/space", "tracker=local", "size=tiny"]
UNLOGGED = ["hydra/job_logging=none", "hydra/hydra_logging=none"]  # configuring it closes streams that pytest has open


@pytest.fixture
def mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Mistake:
    """Returns the one line that a command line gets in an empty folder; in this process, where torch is loaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)  # Hydra's is put in its place

    def line(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main([*arguments, *UNLOGGED])
        assert ended.value.code == 2
        (only,) = capsys.readouterr().err.splitlines()
        assert not list(tmp_path.rglob("record.json"))
        return only

    return line


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["experiment=space_time/spaces"], "did you mean space_time/space"),
        (["model=gemma3_270n"], "did you mean gemma3_270m"),
        (["model.path=nowhere"], "nowhere"),
        (["model.dtype=float8"], "model.dtype=float8: input should be 'auto', 'float32' or 'bfloat16'"),
        (["model.max_batch_token=1"], "did you mean model.max_batch_tokens"),
        (["subsets=[0]"], "subsets.0=0: input should be greater than 0"),
        (["subsets=5"], "subsets=5: input should be a valid list"),
        (["data=csv", "data.path=missing.csv"], "missing.csv: there is no such file"),
        (["data=csv"], "data.path: a value is needed"),
        (["prompt=rhyme"], "prompt='rhyme' does not exist for a place"),
        (["data=minilm"], "no such data"),
        (["model=served", "model.base_url=http://127.0.0.1:9/v1", "model.model=x"], "ServedHandle given where"),
    ],
)
def test_it_gets_one_line(mistake: Mistake, overrides: list[str], message: str) -> None:
    assert message in mistake(*SPACE, *overrides)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("retrieval.num_documents=0", "retrieval.num_documents=0: must be at least 1"),
        ("training.labels.epsilon=-1", "labels.epsilon=-1: must be at least 0"),
        ("training.extractive.loss=x", "training.extractive.loss=x: input should be 'listwise' or 'in_batch'"),
    ],
)
def test_what_a_class_refuses_is_one_line_too(mistake: Mistake, override: str, message: str) -> None:
    assert message in mistake("experiment=recomp/open_qa", "tracker=local", "size=tiny", override)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("Rome,91,12", "latitude"),
        ("Rome,41.9,", "longitude"),
        ("Rome,north,12", "latitude"),
        (",41.9,12.5", "name"),
    ],
)
def test_a_bad_row_of_an_entity_file_is_named(tmp_path: Path, mistake: Mistake, row: str, message: str) -> None:
    (tmp_path / "places.csv").write_text(f"name,latitude,longitude\nParis,48.9,2.4\n{row}\n")
    line = mistake(*SPACE, "data=csv", "data.path=places.csv", "subsets=[null]")
    assert "places.csv" in line
    assert message in line


@pytest.mark.parametrize("experiment", ["space_time/space", "recomp/open_qa"])
def test_missing_offline_packages_are_named_with_the_command(tmp_path: Path, experiment: str) -> None:
    """In a process of its own, as a user starts it."""
    done = subprocess.run(
        [sys.executable, "-m", "october", f"experiment={experiment}", "tracker=local", "size=tiny"],
        cwd=tmp_path,
        env={**os.environ, "OCTOBER_HOME": str(tmp_path / "empty")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert "october-offline" in line
