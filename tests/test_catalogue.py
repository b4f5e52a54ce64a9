"""The list of experiments is read from the YAML files alone."""

from pathlib import Path

import pytest

from october import catalogue
from october.errors import OctoberError


def test_every_experiment_is_listed_with_what_it_needs() -> None:
    entries = {entry.name: entry for entry in catalogue.experiments()}
    assert entries["space_time/space"].table.startswith("Figure 2")
    assert "gemma3_270m" in entries["space_time/space"].needs
    assert set(entries) == set(catalogue.choices("experiment"))
    for entry in entries.values():
        assert entry.name in catalogue.listing()


def test_a_header_may_run_over_lines_and_must_be_whole(tmp_path: Path) -> None:
    path = tmp_path / "table.yaml"
    path.write_text(
        "# @package _global_\n# Table: one\n#        two\n# Run: r\n# Needs: n\n# Takes: t\nkey: 1\n# Run: no\n"
    )
    assert catalogue.read_header(path) == {"Table": "one two", "Run": "r", "Needs": "n", "Takes": "t"}
    path.write_text("# Table: one\n")
    with pytest.raises(OctoberError, match="lacks Run, Needs, Takes"):
        catalogue.read_header(path)


def test_groups_and_choices_are_the_folders_and_files() -> None:
    assert {"data", "experiment", "hardware", "model", "tracker"} <= set(catalogue.groups())
    assert catalogue.choices("tracker") == ["local", "wandb"]


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("gema", ["gemma", "llama"], " (did you mean gemma?)"),
        ("zzz", ["gemma", "llama"], " (one of: gemma, llama)"),
        ("zzz", [f"model{i}" for i in range(20)], ""),
        ("zzz", [], ""),
    ],
)
def test_near_names_are_offered(name: str, known: list[str], hint: str) -> None:
    assert catalogue.did_you_mean(name, known) == hint
