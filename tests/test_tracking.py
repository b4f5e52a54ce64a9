"""Whether W&B is asked to go online depends on credentials alone; nothing here contacts it."""

import types
from pathlib import Path
from typing import Any

import pytest

from october.tracking import RunInfo, WandbTracker, logged_in


@pytest.fixture(autouse=True)
def nobody_logged_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def test_credentials_are_found_where_wandb_keeps_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert not logged_in()
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password secret\n")
    assert logged_in()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org/")
    assert not logged_in()
    monkeypatch.setenv("WANDB_API_KEY", "key")
    assert logged_in()


@pytest.mark.parametrize(
    ("mode", "environment", "key", "expected"),
    [
        ("auto", None, None, "offline"),
        ("auto", None, "key", "online"),
        ("auto", "offline", "key", "offline"),
        ("offline", None, "key", "offline"),
        ("online", None, None, "online"),
    ],
)
def test_the_mode_and_the_group_that_wandb_gets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: Any, environment: str | None, key: str | None, expected: str
) -> None:
    import wandb

    asked: dict[str, Any] = {}
    logged: list[dict[str, Any]] = []
    stand_in = types.SimpleNamespace(id="1", log=logged.append, finish=lambda exit_code: asked.update(exit=exit_code))

    def init(**options: Any) -> Any:
        asked.update(options)
        return stand_in

    monkeypatch.setattr(wandb, "init", init)
    for name, value in (("WANDB_MODE", environment), ("WANDB_API_KEY", key)):
        if value is not None:
            monkeypatch.setenv(name, value)
    tracker = WandbTracker(mode=mode)
    tracker.start(RunInfo(tmp_path, "paper", "table", {"num": 3}))
    tracker.log({"r2": 0.5})
    tracker.finish(None)
    assert asked["mode"] == expected
    assert asked["group"] == "paper/table"
    assert asked["config"] == {"num": 3}
    assert asked["exit"] == 1
    assert logged == [{"r2": 0.5}]
    assert (tmp_path / "metrics.jsonl").exists()
