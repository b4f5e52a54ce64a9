"""The house's conventions that no linter knows."""

import re
from pathlib import Path

FIELDS = {"attention", "retrieval", "agents", "probing", "simulation", "evaluation"}


def python_files(root: Path) -> list[Path]:
    return [p for folder in ("src", "experiments", "benchmarks", "tests") for p in (root / folder).rglob("*.py")]


def test_nobody_imports_src(root: Path) -> None:
    pattern = re.compile(r"^\s*(import src\b|from src\b)", re.MULTILINE)
    assert [str(p) for p in python_files(root) if pattern.search(p.read_text())] == []


def test_src_imports_itself_relatively(root: Path) -> None:
    pattern = re.compile(r"^\s*(import october\b|from october\b)", re.MULTILINE)
    assert [str(p) for p in (root / "src").rglob("*.py") if pattern.search(p.read_text())] == []


def test_nothing_in_src_imports_an_experiment_and_no_shared_module_a_paper(root: Path) -> None:
    """What import-linter cannot see: `experiments/` lies outside `src`, and papers lie inside their field's package."""
    for path in (root / "src").rglob("*.py"):
        imported = re.findall(r"^\s*from (\.+[\w.]*) import", path.read_text(), re.MULTILINE)
        assert not any("experiments" in name for name in imported), path
        if path.parent.name in FIELDS and path.name != "__init__.py":
            papers = {folder.name for folder in path.parent.iterdir() if (folder / "__init__.py").exists()}
            assert not {name.lstrip(".").split(".")[0] for name in imported} & papers, path


def test_every_paper_has_its_page_its_published_numbers_and_its_configs(root: Path) -> None:
    for folder in (path for path in (root / "experiments").iterdir() if (path / "__init__.py").exists()):
        assert (folder / "README.md").exists(), folder
        assert (folder / "published.yaml").exists(), folder
        names = (path.stem for path in (root / "conf/experiment" / folder.name).glob("*.yaml"))
        configs = {name.removesuffix("_paper") for name in names}  # some need what only a network has
        tables = {path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")}
        assert tables <= configs, f"{folder.name}: tables without a config"
        assert (root / "notebooks" / f"{folder.name}.ipynb").exists(), folder


def test_experiment_packages_are_empty(root: Path) -> None:
    for path in (root / "experiments").glob("*/__init__.py"):
        assert "import" not in path.read_text(), path
