"""Mistakes with real models and data, as a user makes them: one line each, before work starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from october.cli import main

SPACE = ["experiment=space_time/space", "tracker=local", "size=tiny"]


def october(folder: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "october", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def one_line(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


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
def test_it_gets_one_line(tmp_path: Path, overrides: list[str], message: str) -> None:
    assert message in one_line(october(tmp_path, *SPACE, *overrides))
    assert not list(tmp_path.rglob("record.json"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("retrieval.num_documents=0", "retrieval.num_documents=0: must be at least 1"),
        ("training.labels.epsilon=-1", "labels.epsilon=-1: must be at least 0"),
        ("training.extractive.loss=x", "training.extractive.loss=x: input should be 'listwise' or 'in_batch'"),
    ],
)
def test_what_a_class_refuses_is_one_line_too(override: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["experiment=recomp/open_qa", "tracker=local", "size=tiny", override])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("Rome,91,12", "latitude"),
        ("Rome,41.9,", "longitude"),
        ("Rome,north,12", "latitude"),
        (",41.9,12.5", "name"),
    ],
)
def test_a_bad_row_of_an_entity_file_is_named(tmp_path: Path, row: str, message: str) -> None:
    (tmp_path / "places.csv").write_text(f"name,latitude,longitude\nParis,48.9,2.4\n{row}\n")
    line = one_line(october(tmp_path, *SPACE, "data=csv", "data.path=places.csv", "subsets=[null]"))
    assert "places.csv" in line
    assert message in line


def test_missing_offline_packages_are_named_with_the_command(tmp_path: Path) -> None:
    line = one_line(october(tmp_path, *SPACE, OCTOBER_HOME=str(tmp_path / "empty")))
    assert "october-offline" in line
