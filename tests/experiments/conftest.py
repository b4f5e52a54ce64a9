"""The benchmarks' modules, and tiny models on disk."""

import pytest
import tiny_questions
from fireact_run import trajectory

from october.agents import write_trajectories
from october.language_models import ServedHandle


@pytest.fixture
def benchmarks(root, monkeypatch):
    """Benchmarks find their cases beside them."""
    monkeypatch.syspath_prepend(root / "benchmarks")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A handle on a tiny encoder."""
    return tiny_questions.encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """A handle on a tiny causal model with random weights."""
    return tiny_questions.student(tmp_path_factory.mktemp("student"))


@pytest.fixture
def what_a_reader_has(tmp_path, monkeypatch):
    """The files and folders that pages name, the hub, and an engine."""
    monkeypatch.delenv("HF_HUB_OFFLINE")  # checks fetch nothing
    monkeypatch.setattr(ServedHandle, "check", lambda _: None)
    write_trajectories(tmp_path / "examples.jsonl", [trajectory("Rome", "Italy")])
    files = tmp_path / "FireAct/data/finetune/alpaca_format"
    files.mkdir(parents=True)
    for name in ("hotpotqa", "hotpotqa_multimethod"):
        (files / f"{name}.json").write_text("[]")
    (tmp_path / "PATH").mkdir()
    (tmp_path / "PATH/world_place.csv").touch()
    for name in ("my_conversations.jsonl", "my_texts.jsonl", "section_5_1.txt"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
