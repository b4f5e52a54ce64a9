"""Every experiment config composes, matches its function, and runs at size=tiny on the real offline data.

One table of each paper that trains or asks Gemma asks the real one; the others a small network.
"""

from pathlib import Path

import pytest
import tiny_gemma

from october import catalogue, configuration
from october.errors import OctoberError
from october.experiments.fireact import _agents
from october.experiments.ra_dit import _bench, _reading
from october.experiments.recomp import _compressors
from october.experiments.space_time import _common
from october.finish import finish
from october.language_models import training_runs
from october.reporting import Record
from october.retrieval import retriever
from october.retrieval.ra_dit import chunk_scores
from october.run import Run
from october.tracking import LocalTracker

NAMES = catalogue.choices("experiment")
PAPER = [name for name in NAMES if name.endswith("_paper")]
OFFLINE = [name for name in NAMES if name not in PAPER]
SLOW_WITH_GEMMA = ("fireact/", "ra_dit/", "recomp/")
REAL = ("fireact/finetuning", "ra_dit/main", "recomp/open_qa")


@pytest.fixture(autouse=True)
def no_old_activations(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (_common, training_runs, _compressors, retriever, _bench, _reading, chunk_scores, _agents):
        monkeypatch.setattr(module, "data_home", lambda: tmp_path_factory.getbasetemp() / "october")


def config_of(*overrides: str) -> configuration.Config:
    return configuration.resolved(configuration.composed(list(overrides)))


def asks_for_a_folder(name: str) -> bool:
    """Whether it reads files of the paper's authors, which a user must name."""
    config = configuration.composed([f"experiment={name}"])
    return "data" in config and "folder" in set(config.data.keys())


WITH_FOLDER = [name for name in PAPER if asks_for_a_folder(name)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", ["tiny", "small", "full"])
def test_it_composes_at_every_size(name: str, size: str) -> None:
    folder = ["data.folder=somewhere"] if name in WITH_FOLDER else []
    config = config_of(f"experiment={name}", f"size={size}", *folder)
    assert config["_target_"].startswith("october.experiments.")


@pytest.mark.parametrize("entry", catalogue.experiments(), ids=lambda entry: entry.name)
def test_its_opening_comment_says_how_to_run_it(entry: catalogue.Experiment) -> None:
    assert entry.run.startswith(f"october experiment={entry.name}")
    assert "minute" in entry.takes or "second" in entry.takes


@pytest.mark.parametrize("name", WITH_FOLDER)
def test_a_paper_config_asks_for_the_papers_files(name: str, tmp_path: Path) -> None:
    with pytest.raises(OctoberError, match=r"data\.folder"):
        config_of(f"experiment={name}")
    with pytest.raises(OctoberError, match=r"llama|Llama|folder|csv"):
        configuration.bind(config_of(f"experiment={name}", f"data.folder={tmp_path}"))


@pytest.mark.parametrize("name", sorted(set(PAPER) - set(WITH_FOLDER)))
def test_a_paper_config_asks_for_the_papers_model(name: str) -> None:
    with pytest.raises(OctoberError, match=r"Mistral-7B|contriever|localhost|llama|gpt"):
        configuration.bind(config_of(f"experiment={name}"))


@pytest.fixture(scope="module")
def small_gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gemma.save(tmp_path_factory.mktemp("models") / "small_gemma")


@pytest.mark.gemma
@pytest.mark.parametrize("name", OFFLINE)
def test_it_runs_at_size_tiny(name: str, tmp_path: Path, small_gemma: Path) -> None:
    chosen = [f"experiment={name}", "size=tiny", "seeds=[0,1]"]
    if name.startswith(SLOW_WITH_GEMMA) and name not in REAL:
        for place in tiny_gemma.places(config_of(*chosen)):
            chosen += [f"{place}.embedded=null", f"{place}.path={small_gemma}"]
    config = config_of(*chosen)
    function, arguments = configuration.bind(config)
    with Run(tmp_path, name, config, LocalTracker()) as run:
        finish(run, function(**arguments, run=run), arguments.get("seeds", ()))
    record = Record.load(tmp_path / "record.json")
    assert record.rows
    assert record.fingerprints
    assert {claim.verdict for claim in record.claims} <= {"not tested at this scale"}
    if f"{name}_paper" in PAPER:  # at the paper's own scale the same function ends in a record too
        with Run(tmp_path, f"{name}_paper", config, LocalTracker()) as run:
            finish(run, function(**arguments, run=run))
    assert all((tmp_path / "figures" / figure.file).exists() for figure in record.figures)
    function(**arguments, run=finished(tmp_path, name, config))  # every step is there: nothing is computed again


def finished(folder: Path, name: str, config: configuration.Config) -> Run:
    run = Run(folder, name, config, LocalTracker())
    with run:
        steps = dict(run.finished)

    def known(key: str, *_: object, **__: object) -> object:
        return steps[key]

    run.once = known  # type: ignore[method-assign, assignment]
    return run
