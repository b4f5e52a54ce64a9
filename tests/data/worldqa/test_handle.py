"""The handles, their cache, the exported folder, the baseline."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from october.data import Document, Question
from october.data.worldqa import WorldQA, WorldQACorpus, export, handle, pattern_baseline
from october.data.worldqa.building import Built
from october.data.worldqa.card import card, evidence_of
from october.errors import OctoberError


@dataclass
class Text:
    title: str
    text: str


@pytest.fixture
def cached(built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for worldqa, the sources where they are."""
    monkeypatch.setattr(handle, "data_home", lambda: tmp_path)
    handle._rows.cache_clear()
    yield tmp_path / "worldqa"
    handle._rows.cache_clear()


def test_splits_add_up_and_come_from_the_disk_the_second_time(
    cached: Path, questions: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    by_split = {split: WorldQA().load(split) for split in ("train", "dev", "test")}
    assert sum(map(len, by_split.values())) == len(questions)
    assert all(question.split == split for split, loaded in by_split.items() for question in loaded)
    assert sorted(path.name for path in cached.rglob("*.json")) == ["documents.json", "questions.json"]
    handle._rows.cache_clear()
    monkeypatch.setattr("october.data.worldqa.building.build", None)
    assert WorldQA().all() == questions


@pytest.mark.parametrize("name", ["lives.py", "people.py", "countries.py", "cities.py", "building.py", "names.py"])
def test_the_folder_changes_with_the_code_that_reads_the_sources(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = handle._version_hash(0)
    hashed = handle.sha256_of
    monkeypatch.setattr(handle, "sha256_of", lambda path: "another" if path.name == name else hashed(path))
    assert handle._version_hash(0) != before


def test_a_split_that_is_none_is_named() -> None:
    with pytest.raises(OctoberError, match=r"^worldqa: split=validation: allowed are train, dev, test"):
        WorldQA().load("validation")


def test_the_corpus_and_the_fingerprints(cached: Path, built: Built) -> None:
    assert list(WorldQACorpus().documents()) == list(built.documents)
    prints = {WorldQA().fingerprint(), WorldQACorpus().fingerprint()}
    assert len(prints) == 2
    assert all(len(text) == 16 for text in prints)
    assert WorldQA().describe()["version"] == handle.VERSION
    assert "CC BY-SA 4.0" in WorldQACorpus().describe()["licence"]


def test_an_exported_folder_reads_back(cached: Path, questions: list[Question], tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    export(tmp_path / "worldqa_hub")
    loaded = datasets.load_dataset(str(tmp_path / "worldqa_hub"), cache_dir=str(tmp_path / "cache"))
    assert sum(map(len, loaded.values())) == len(questions)
    first = next(question for question in questions if question.split == "test")
    row = loaded["test"][0]
    assert (row["id"], row["text"], tuple(row["answers"])) == (first.id, first.text, first.answers)
    texts = datasets.load_dataset(str(tmp_path / "worldqa_hub"), "documents", cache_dir=str(tmp_path / "cache"))
    assert len(texts["train"]) == 15_285


def test_the_card_counts_by_kind_and_names_the_licences(questions: list[Question], built: Built) -> None:
    text = card(questions, built.documents, seed=0)
    capitals = [question for question in questions if question.kind == "capital"]
    row = next(line for line in text.splitlines() if line.startswith("| capital |"))
    assert f" {len(capitals):,} " in row
    assert "CC BY-SA 4.0" in text
    assert "CC BY 4.0" in text
    assert "{" not in text.replace("{split:", "").replace("{document", "")


def ask(kind: str, text: str, id: str = "") -> Question:
    return Question(id or f"{kind}:x", text, ("?",), kind, "test")


def test_evidence() -> None:
    def evidence(documents: tuple[str, ...], sentences: tuple[str, ...]) -> str:
        return evidence_of(Question("x", "?", ("a",), "k", "test", documents, sentences))

    assert evidence(("lead:Bach",), ("Bach was a composer.",)) == "prose"
    assert evidence(("lead:Bach",), ("J. S. Bach (1685–1750).",)) == "description"
    assert evidence(("lead:Bach",), ("He died (1750). Then he rested.",)) == "prose"
    assert evidence(("city:1", "lead:Bach"), ("It lies in Norway.", "Bach (1–2).")) == "template"


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (ask("birth_year", "When was Ada Lovell born?"), "1685"),
        (ask("death_year", "When did Ada Lovell die?"), "1750"),
        (ask("nationality", "What nationality was Ada Lovell?"), "German"),
        (ask("capital", "What is the capital of Norway?"), "Oslo"),
        (ask("population", "How many people live in Norway?"), "5,314,336"),
        (ask("definition", "What is a land?"), "Norway"),
        (ask("comparison", "Who was born earlier, Ada Lovell or Bo Berg?", "comparison_birth_year:x"), "Ada Lovell"),
        (ask("comparison", "Who died earlier, Ada Lovell or Bo Berg?", "comparison_death_year:x"), "Ada Lovell"),
        (ask("yes_no", "Was Bo Berg born before Ada Lovell?", "yes_no_birth_year:x"), "no"),
        (ask("yes_no", "Does Norway border Sweden?", "yes_no_border:x"), "yes"),
        (ask("yes_no", "Does Norway border Chad?", "yes_no_border:x"), "no"),
        (ask("genus", "What is the genus of Bo Berg?"), ""),
    ],
)
def test_the_pattern_baseline(question: Question, answer: str) -> None:
    passages = [
        Text("Norway", "Norway lies in Europe. Its capital is Oslo. It borders Sweden. It has 5,314,336 inhabitants."),
        Text("Ada Lovell", "Ada Lovell (1685–1750). Ada Lovell was a German composer."),
        Text("Bo Berg", "Bo Berg (1701–1760). Bo Berg was a Danish painter."),
    ]
    assert pattern_baseline(question, passages) == answer


def test_the_baseline_needs_no_passages() -> None:
    for kind in ("birth_year", "definition", "comparison", "yes_no", "bridge"):
        assert pattern_baseline(ask(kind, "?"), []) in ("", "no")


def test_the_baseline_finds_most_answers_in_the_gold_passages(
    questions: list[Question], documents: dict[str, Document]
) -> None:
    sample = [question for question in questions if question.split == "train"][:2000]
    right = 0
    for question in sample:
        found = pattern_baseline(question, [documents[gold] for gold in question.gold_documents])
        right += found.lower() in {answer.lower() for answer in question.answers}
    assert right > len(sample) / 2


def test_rows_are_plain_json(cached: Path) -> None:
    WorldQA().load("dev")
    (path,) = cached.rglob("questions.json")
    assert json.loads(path.read_text())[0].keys() == vars(Question("", "", (), "", "")).keys()
