"""Shared by all tests: two threads, no network, and a scratch copy of the package with the smallest paper in it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("house", deadline=None, derandomize=True)  # no timing is ever asserted
settings.load_profile("house")

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"

ROOT = Path(__file__).parent.parent
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package laid out as in a wheel, with the paper of CONTRIBUTING.md added as it says."""
    folder = tmp_path_factory.mktemp("house")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src", folder / "october", ignore=ignore)
    for name in ("conf", "experiments"):
        shutil.copytree(ROOT / name, folder / "october" / name, ignore=ignore)
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for path, content in re.findall(r"^`(\S+)`\n```\w+\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        target = folder / "october" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
    return folder


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tiny models run faster without threads that wait for each other; and sums keep one order."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder."""
    monkeypatch.setenv("OCTOBER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def october(house: Path, tmp_path: Path) -> Command:
    """Run `python -m october` of the copy in an empty folder, as a user would."""

    def run(*arguments: str, module: str = "october", **environment: str | None) -> "subprocess.CompletedProcess[str]":
        variables = {**os.environ, "PYTHONPATH": str(house), **environment}
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=tmp_path,
            env={name: value for name, value in variables.items() if value is not None},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run
