"""`make reproduce` runs what was asked, does nothing twice, and ends with the report."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from october import reproduce
from october.errors import OctoberError

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def committed(house: Path) -> None:
    """Make the copy a clean checkout, as a fresh clone is."""
    if not (house / ".git").exists():
        (house / ".gitignore").write_text("__pycache__/\n")
        name = ("-c", "user.name=test", "-c", "user.email=test@example.org")
        for command in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "all")):
            subprocess.run(["git", "-C", str(house), *name, *command], check=True)


@pytest.mark.usefixtures("committed")
def test_a_second_time_runs_nothing_and_ends_with_the_same_report(october: Command, tmp_path: Path) -> None:
    first = october("--paper", "coin", "--size", "tiny", module="october.reproduce")
    assert first.returncode == 0, first.stderr
    assert "[1/1] coin/fairness at size=tiny" in first.stdout
    assert (tmp_path / "report" / "index.html").exists()
    assert "index.html" in first.stdout
    second = october("--paper", "coin", "--size", "tiny", module="october.reproduce")
    assert "already run by this code with this config" in second.stdout
    assert len(list(tmp_path.glob("outputs/coin/fairness/*/record.json"))) == 1


def test_the_headline_tables_exist_and_papers_leave_out_what_needs_a_cluster() -> None:
    assert "space_time/space" in reproduce.headline_tables()
    tables = reproduce.tables_of("space_time")
    assert {"space_time/space", "space_time/time", "space_time/neurons"} <= set(tables)
    assert not any(name.endswith("_paper") for name in tables)
    with pytest.raises(OctoberError, match="did you mean space_time"):
        reproduce.tables_of("space_tme")
