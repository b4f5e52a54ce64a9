"""Tiny models and a handful of documents."""

import shutil

import pytest
import tiny_sentence_encoder
from huggingface_hub import constants
from tiny_lm import tiny_lm

from october.retrieval import Passage
from october.retrieval.embeddings import LoadedEncoder
from october.retrieval.recomp import DualEncoder


@pytest.fixture(autouse=True, scope="module")
def _one_thread(one_thread: None) -> None:
    """For every test here."""


@pytest.fixture(scope="session")
def llama():
    """A tiny Llama."""
    return tiny_lm("llama")


@pytest.fixture(scope="session")
def gemma():
    """A tiny Gemma with a layer of windowed attention."""
    return tiny_lm("gemma3")


@pytest.fixture(scope="session")
def backbone(tmp_path_factory):
    """A tiny BERT's folder."""
    return tiny_sentence_encoder.save_backbone(tmp_path_factory.mktemp("encoder") / "bert")


@pytest.fixture
def sentence_transformer(backbone):
    """A fresh tiny sentence encoder, always with the same weights."""
    return tiny_sentence_encoder.sentence_encoder(backbone)


@pytest.fixture
def dual_encoder(sentence_transformer):
    """The same as a dual encoder."""
    return DualEncoder(LoadedEncoder(sentence_transformer))


@pytest.fixture
def add_to_hub_cache(tmp_path, monkeypatch):
    """An empty cache of the hub; the function puts a folder there as a repository's snapshot."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def add(name, folder):
        repository = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        commit = "0" * 40
        shutil.copytree(folder, repository / "snapshots" / commit)
        (repository / "refs").mkdir()
        (repository / "refs/main").write_text(commit)

    return add


@pytest.fixture
def passages():
    """Three documents of several sentences; the last repeats one of the first."""
    rome = "Rome is the capital of Italy. It lies on the Tiber. Two million people live there."
    tiber = "The Tiber is 405 km long. It flows through Rome. It ends in the Tyrrhenian Sea."
    again = "Rome is the capital of Italy. The city was founded in 753 BC, as legend has it."
    return [
        Passage("a#0", "Rome", rome, "test"),
        Passage("b#0", "Tiber", tiber, "test"),
        Passage("c#0", "Rome", again, "test"),
    ]
