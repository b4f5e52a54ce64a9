"""The knowledge-intensive tasks from folders that have exactly the hub's columns."""

import json
from pathlib import Path
from typing import Any

import pytest

from october.data import ChoiceQuestion, KnowledgeTask
from october.data.knowledge_tasks import TASKS
from october.errors import OctoberError

PAGE = {"title": "Oslo", "wikipedia_id": "22309", "section": "Section::::Abstract.", "bleu_score": 1.0}
KILT = {
    "id": "k1",
    "input": " Oslo [SEP] country ",
    "meta": {"left_context": "", "mention": "", "right_context": ""},
    "output": [
        {"answer": "Norway", "meta": {"score": 0}, "provenance": [PAGE, {**PAGE, "title": "Norway"}]},
        {"answer": "", "meta": {"score": 0}, "provenance": [PAGE]},
        {"answer": "Kingdom of Norway ", "meta": {"score": 0}, "provenance": []},
        {"answer": "Norway", "meta": {"score": 0}, "provenance": []},
    ],
}
MMLU = {"question": "Which is a prime?", "subject": "number_theory", "choices": ["4", "6", "7", "9"], "answer": 2}

MMLU_CARD = """---
configs:
- config_name: all
  data_files:
  - {split: test, path: test.jsonl}
  - {split: validation, path: validation.jsonl}
  - {split: dev, path: shown.jsonl}
---
"""


def task(folder: Path, name: str, **rows: list[dict[str, Any]]) -> KnowledgeTask:
    for split, content in rows.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    handle = KnowledgeTask(name, path=str(folder))
    handle.check()
    return handle


@pytest.mark.parametrize("name", sorted(set(TASKS) - {"mmlu"}))
def test_a_task_of_kilt(tmp_path: Path, name: str) -> None:
    (question,) = task(tmp_path, name, validation=[KILT]).load("test")
    assert (question.id, question.text, question.kind, question.split) == ("k1", "Oslo [SEP] country", name, "test")
    assert question.answers == ("Norway", "Kingdom of Norway")
    assert question.gold_documents == ("Oslo", "Norway")


def test_development_takes_the_last_rows_of_training(tmp_path: Path) -> None:
    rows = [{**KILT, "id": f"k{number}"} for number in range(30)]
    handle = task(tmp_path, "fever", train=rows, validation=rows[:2])
    assert [question.id for question in handle.load("train")] == [f"k{number}" for number in range(27)]
    assert [question.id for question in handle.load("dev")] == ["k27", "k28", "k29"]
    assert {question.split for question in handle.load("dev")} == {"dev"}
    handle.num_dev = 1
    assert [question.id for question in handle.load("dev")] == ["k29"]


def test_multiple_choice_has_options(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(MMLU_CARD)
    handle = task(tmp_path, "mmlu", shown=[MMLU], validation=[MMLU] * 2, test=[{**MMLU, "answer": 0}])
    (shown,), (first, second), (asked,) = (handle.load(split) for split in ("train", "dev", "test"))
    assert isinstance(shown, ChoiceQuestion)
    assert (shown.options, shown.answers, shown.kind) == (("4", "6", "7", "9"), ("7",), "number_theory")
    assert (first.id, second.id) == ("validation:0", "validation:1")
    assert asked.answers == ("4",)


@pytest.mark.parametrize(
    ("name", "metric"),
    [("mmlu", "accuracy"), ("zsre", "exact_match"), ("eli5", "rouge_l"), ("wow", "f1"), ("fever", "accuracy")],
)
def test_each_task_has_its_metric(name: str, metric: str) -> None:
    assert KnowledgeTask(name).metric == metric


@pytest.mark.parametrize(
    ("name", "row", "said"),
    [
        (
            "trex",
            {**KILT, "output": [{**KILT["output"][1]}]},
            "trex: row validation:0: no answer to 'Oslo",
        ),  # type: ignore[index]
        ("trex", {**KILT, "input": " "}, "trex: row validation:0: no question"),
        ("trex", {"id": "k1", "input": "x"}, "has no column output"),
    ],
)
def test_a_row_that_cannot_be_asked_is_named(tmp_path: Path, name: str, row: dict[str, Any], said: str) -> None:
    with pytest.raises(OctoberError, match=said):
        task(tmp_path, name, validation=[row]).load("test")


@pytest.mark.parametrize("place", [-1, 4, None])
def test_a_right_option_that_is_none_of_them_is_named(tmp_path: Path, place: int | None) -> None:
    with pytest.raises(OctoberError, match="mmlu: row test:0: no answer"):
        task(tmp_path, "mmlu", test=[{**MMLU, "answer": place}]).load("test")


def test_mistakes_of_a_user() -> None:
    with pytest.raises(OctoberError, match=r"data\.name=kilt: allowed are mmlu, eli5"):
        KnowledgeTask("kilt")
    with pytest.raises(OctoberError, match="wow: split=validation: allowed are train, dev, test"):
        KnowledgeTask("wow").load("validation")
    with pytest.raises(OctoberError, match="neither a folder nor a name"):
        KnowledgeTask("wow", path="/no/such/folder").check()
