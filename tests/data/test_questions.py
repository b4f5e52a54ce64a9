"""The papers' question sets from folders that have exactly the hub's columns."""

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from october.data import HubQuestions
from october.errors import OctoberError

ALIASES = {"value": "Sinclair Lewis", "aliases": ["Sinclair Lewis", "Harry Sinclair Lewis", ""]}
TRIVIA = {
    "question": "Who?",
    "question_id": "tc_1",
    "question_source": "x",
    "answer": {**ALIASES, "normalized_aliases": ["sinclair lewis"], "type": "WikipediaEntity"},
}
HOTPOT = {
    "id": "5a7a",
    "question": "Were both Americans?",
    "answer": "yes",
    "type": "comparison",
    "level": "hard",
    "supporting_facts": {"title": ["Ed Wood", "Scott Derrickson", "Ed Wood"], "sent_id": [0, 1, 9]},
    "context": {
        "title": ["Ed Wood", "Scott Derrickson", "Other"],
        "sentences": [["Ed was American.", " He shot films."], ["Scott.", " He is American."], ["No."]],
    },
}


def write(folder: Path, split: str, rows: list[dict[str, Any]], parquet: bool = True) -> None:
    if parquet:
        Dataset.from_list(rows).to_parquet(folder / f"{split}.parquet")
    else:
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("parquet", [True, False])
def test_natural_questions(tmp_path: Path, parquet: bool) -> None:
    write(tmp_path, "train", [{"question": f"q{n}", "answer": ["a", " b "]} for n in range(20)], parquet)
    write(tmp_path, "validation", [{"question": "who?", "answer": ["x", "x"]}], parquet)
    handle = HubQuestions("natural_questions", path=str(tmp_path))
    handle.check()
    train, dev, test = (handle.load(split) for split in ("train", "dev", "test"))
    assert [question.text for question in train + dev] == [f"q{n}" for n in range(20)]
    assert len(dev) == 2  # a tenth, where there are fewer than the papers put aside
    assert dev[0].id == "train:18"
    assert dev[0].split == "dev"
    assert (test[0].answers, test[0].kind, test[0].gold_documents) == (("x",), "natural_questions", ())
    assert train[0].answers == ("a", "b")


def test_triviaqa_has_aliases(tmp_path: Path) -> None:
    write(tmp_path, "validation", [TRIVIA])
    (question,) = HubQuestions("triviaqa", path=str(tmp_path)).load("test")
    assert question.id == "tc_1"
    assert question.answers == ("Sinclair Lewis", "Harry Sinclair Lewis")


def test_hotpotqa_has_gold_sentences(tmp_path: Path) -> None:
    bridge = {**HOTPOT, "id": "b", "answer": "Kansas", "type": "bridge"}
    write(tmp_path, "validation", [HOTPOT, bridge])
    first, second = HubQuestions("hotpotqa", path=str(tmp_path)).load("test")
    assert (first.kind, second.kind) == ("yes_no", "bridge")
    assert first.gold_documents == ("Ed Wood", "Scott Derrickson")
    assert first.gold_sentences == ("Ed was American.", "He is American.")  # there is no sentence 9


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("natural_questions", {"question": "who?", "answer": [""]}),
        ("triviaqa", {**TRIVIA, "answer": {"value": "", "aliases": ["  "]}}),
        ("hotpotqa", {**HOTPOT, "answer": " "}),
    ],
)
def test_a_row_without_an_answer_is_named(tmp_path: Path, name: str, row: dict[str, Any]) -> None:
    write(tmp_path, "validation", [row])
    with pytest.raises(OctoberError, match=rf"^{name}: row 0 of validation: no answer to '.*'$"):
        HubQuestions(name, path=str(tmp_path)).load("test")


def test_a_row_without_a_question_is_named(tmp_path: Path) -> None:
    write(tmp_path, "train", [{"question": "a", "answer": ["x"]}, {"question": " ", "answer": ["x"]}])
    with pytest.raises(OctoberError, match=r"^natural_questions: row 1 of train: no question$"):
        HubQuestions("natural_questions", path=str(tmp_path)).load("train")


def test_wrong_names_splits_columns_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(OctoberError, match=r"^data\.name=squad: allowed are natural_questions, triviaqa, hotpotqa"):
        HubQuestions("squad")
    handle = HubQuestions("natural_questions", path=str(tmp_path))
    with pytest.raises(OctoberError, match="holds no data files"):
        handle.check()
    write(tmp_path, "train", [{"query": "a", "answer": ["x"]}])
    with pytest.raises(OctoberError, match=r"split=validation: allowed are train, dev, test"):
        handle.load("validation")
    with pytest.raises(OctoberError, match=r"has no column question \(has query, answer\)"):
        handle.load("train")
    with pytest.raises(OctoberError, match=r"^natural_questions: split validation of .* cannot be read: "):
        handle.load("test")
    with pytest.raises(OctoberError, match="neither a folder nor a name on the hub"):
        HubQuestions("triviaqa", path="/no/such/folder").check()


def test_the_hub_out_of_reach_is_one_line() -> None:
    with pytest.raises(OctoberError, match=r"^triviaqa: split validation of mandarjoshi/trivia_qa cannot be read"):
        HubQuestions("triviaqa").load("test")


def test_fingerprints_change_with_the_source(tmp_path: Path) -> None:
    write(tmp_path, "train", [{"question": "a", "answer": ["x"]}])
    local = HubQuestions("natural_questions", path=str(tmp_path))
    before = local.fingerprint()
    write(tmp_path, "validation", [{"question": "a", "answer": ["x"]}])
    prints = {before, local.fingerprint(), HubQuestions("natural_questions").fingerprint()}
    assert len(prints) == 3
    assert local.describe()["path"] == str(tmp_path)
