"""Every notebook runs from its first cell to its last, in a kernel of its own, from the repository's root."""

import copy
from pathlib import Path

import nbformat
import pytest
import torch
from nbclient import NotebookClient

from october.data.worldqa import WorldQACorpus
from october.experiments.fireact._agents import AGENT
from october.experiments.ra_dit._retriever_tuning import RETRIEVER
from october.experiments.ra_dit._tuning import LANGUAGE_MODEL
from october.files import data_home
from october.language_models import EncoderHandle, ModelHandle
from october.language_models.answer_training import with_lora
from october.language_models.training_runs import trained_once

MODEL = ModelHandle(name="gemma3_270m", embedded="gemma3_270m")
ENCODER = EncoderHandle(name="minilm", embedded="minilm", max_sequence_length=256)
QUICKLY = """\
from dataclasses import replace
import october.agents
import october.experiments.fireact._notebook as shown
def by_words(student, search_of=shown.search_of):  # encoding the corpus takes minutes
    return replace(search_of(student), encoder=None)
shown.search_of = by_words
def one_round(settings=october.agents.AgentSettings, **_):
    return settings(max_rounds=1, max_new_tokens=8)
october.agents.AgentSettings = one_round
"""
NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.mark.gemma
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path: Path, root: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(root)}}).execute()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_committed_without_output(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    assert [cell for cell in cells if cell.cell_type == "code" and (cell.outputs or cell.execution_count)] == []


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder with what was made before, but for models that were tuned."""
    own, usual = tmp_path / "home", data_home()
    own.mkdir()
    for name in ("models", "worldqa", "indexes", "passages", "fingerprints"):
        (usual / name).mkdir(parents=True, exist_ok=True)
    for folder in usual.iterdir():
        if folder.name not in ("trained", "training"):
            (own / folder.name).symlink_to(folder)
    monkeypatch.setenv("OCTOBER_HOME", str(own))
    return own


def adapters(folder: Path) -> Path:
    """Save adapters of Gemma that change it a little; return where."""
    learner = with_lora(copy.deepcopy(MODEL.load()[0]), 1, 0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in learner.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=1e-3, generator=generator)
    learner.save_pretrained(folder / "model")
    return folder / "model"


def queries(folder: Path) -> Path:
    """Save MiniLM as a tuned encoder of queries; return the folder that a tuned retriever is kept in."""
    ENCODER.load_query().save(str(folder / "model" / "queries"))
    return folder / "model"


def texts(notebook: nbformat.NotebookNode) -> str:
    """Return everything that a notebook has printed or shown as text or HTML."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    shown = [output.get("data", {}) for output in outputs]
    return "\n".join(
        [*(output.get("text", "") for output in outputs), *(str(each.get("text/html", "")) for each in shown)]
    )


def executed(root: Path, name: str, first: str) -> str:
    """Run a notebook behind a cell of one's own; return what it shows."""
    notebook = nbformat.read(root / f"notebooks/{name}.ipynb", as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(first))
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(root)}}).execute()
    return texts(notebook)


@pytest.mark.gemma
@pytest.mark.usefixtures("home")
def test_ra_dit_s_tuned_models_are_shown_where_they_are_kept(root: Path) -> None:
    corpus = WorldQACorpus().fingerprint()
    of_model = {"base": MODEL.fingerprint(), "corpus": corpus, "mixture": "worldqa", "num_passages": 3}
    trained_once(LANGUAGE_MODEL, "tiny", lambda folder: (adapters(folder), of_model))
    base = {"base": ENCODER.fingerprint(), "model": MODEL.fingerprint(), "corpus": corpus}
    of_retriever = {**base, "tuned": "query", "share_of_texts": 0.5}
    trained_once(RETRIEVER, "tiny", lambda folder: (queries(folder), of_retriever))
    shown = executed(root, "ra_dit", "")
    assert shown.count("answer: ") == 2
    assert "tuned yet" not in shown


@pytest.mark.gemma
@pytest.mark.usefixtures("home")
def test_fireact_s_student_is_shown_where_one_is_kept(root: Path) -> None:
    trained_once(AGENT, "tiny", lambda folder: (adapters(folder), {"model": MODEL.name, "trajectories": 1}))
    shown = executed(root, "fireact", QUICKLY)
    assert shown.count("<b>What is the currency of the country that Kyoto lies in?</b>") == 2
    assert "tuned yet" not in shown
