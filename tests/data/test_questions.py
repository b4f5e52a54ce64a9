"""The papers' question sets from folders that have exactly the hub's columns."""

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from october.data import HubQuestions, ShuffledQuestions, shuffled_rows
from october.data.questions import LAYOUTS
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
STRATEGY = {
    "qid": "8722",
    "term": "Albany, Georgia",
    "description": "City in Georgia",
    "question": "Is Albany a port? ",
    "answer": False,
    "facts": "Albany lies inland.",
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


@pytest.mark.parametrize("parquet", [True, False])
def test_strategyqa_is_answered_by_yes_or_no(tmp_path: Path, parquet: bool) -> None:
    write(tmp_path, "train", [{**STRATEGY, "qid": str(number), "answer": True} for number in range(30)], parquet)
    write(tmp_path, "test", [STRATEGY], parquet)
    handle = HubQuestions("strategyqa", path=str(tmp_path))
    (test,) = handle.load("test")
    assert (test.id, test.text, test.answers, test.kind) == ("8722", "Is Albany a port?", ("no",), "strategyqa")
    dev = handle.load("dev")
    assert [(question.id, question.answers) for question in dev] == [(str(n), ("yes",)) for n in (27, 28, 29)]
    assert len(handle.load("train")) == 27


def test_bamboogle_has_a_test_split_alone(tmp_path: Path) -> None:
    write(tmp_path, "test", [{"Question": " Who? ", "Answer": "George VI\n"}, {"Question": "When?", "Answer": "1999"}])
    handle = HubQuestions("bamboogle", path=str(tmp_path))
    first, second = handle.load("test")
    assert (first.id, first.text, first.answers, first.split) == ("test:0", "Who?", ("George VI",), "test")
    assert (second.id, second.answers) == ("test:1", ("1999",))
    for split in ("train", "dev"):
        with pytest.raises(OctoberError, match=rf"^bamboogle: split={split}: allowed are test$"):
            handle.load(split)
    write(tmp_path, "test", [{"Question": "Who?", "Answer": "x"}, {"Question": " ", "Answer": "x"}])
    with pytest.raises(OctoberError, match=r"^bamboogle: row 1 of test: no question$"):
        handle.load("test")


def test_the_500_questions_are_those_that_the_seed_gives() -> None:
    rows = shuffled_rows(7405, 500, 233)
    assert len(set(rows)) == 500
    assert rows[:8] == [3687, 6238, 5388, 3522, 3824, 2866, 1551, 2544]
    assert rows[-3:] == [4959, 1335, 4082]
    assert (min(rows), max(rows), sum(rows)) == (3, 7390, 1_880_737)


def test_a_seed_picks_the_test_questions_and_leaves_the_others(tmp_path: Path) -> None:
    write(tmp_path, "train", [{**HOTPOT, "id": f"t{number}"} for number in range(20)])
    write(tmp_path, "validation", [{**HOTPOT, "id": f"v{number}"} for number in range(12)])
    handle = ShuffledQuestions("hotpotqa", num_questions=5, num_rows=12, seed=233, path=str(tmp_path))
    handle.check()
    assert handle.name == "hotpotqa_5"
    assert [question.id for question in handle.load("test")] == [f"v{row}" for row in shuffled_rows(12, 5, 233)]
    assert [question.id for question in handle.load("train")] == [f"t{row}" for row in range(18)]
    assert [question.id for question in handle.load("dev")] == ["t18", "t19"]
    other = ShuffledQuestions("hotpotqa", num_questions=5, num_rows=12, seed=234, path=str(tmp_path))
    assert other.fingerprint() != handle.fingerprint()
    described = {"name": "hotpotqa_5", "path": str(tmp_path), "num_questions": 5, "seed": 233}
    assert described.items() <= handle.describe().items()


def test_a_set_with_another_number_of_rows_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "validation", [HOTPOT] * 3)
    handle = ShuffledQuestions("hotpotqa", num_questions=500, num_rows=7405, seed=233, path=str(tmp_path))
    with pytest.raises(OctoberError, match=r"^hotpotqa_500: .* has 3 test questions where seed 233 picks from 7405$"):
        handle.load("test")
    with pytest.raises(OctoberError, match=r"^data\.num_questions=13: must be between 1 and data\.num_rows=12$"):
        ShuffledQuestions("hotpotqa", num_questions=13, num_rows=12, seed=0)


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("natural_questions", {"question": "who?", "answer": [""]}),
        ("triviaqa", {**TRIVIA, "answer": {"value": "", "aliases": ["  "]}}),
        ("hotpotqa", {**HOTPOT, "answer": " "}),
        ("strategyqa", {**STRATEGY, "answer": None}),
        ("bamboogle", {"Question": "who?", "Answer": " "}),
    ],
)
def test_a_row_without_an_answer_is_named(tmp_path: Path, name: str, row: dict[str, Any]) -> None:
    split = LAYOUTS[name].test
    write(tmp_path, split, [row])
    with pytest.raises(OctoberError, match=rf"^{name}: row 0 of {split}: no answer to '.*'$"):
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


def in_latin_1(folder: Path, name: str, lines: list[str]) -> None:
    (folder / name).write_bytes("\n".join(lines).encode("latin-1"))


def test_a_set_that_is_not_utf_8_is_one_line(tmp_path: Path) -> None:
    rows = [{"question": "where is the café?", "answer": ["Rome"]}, {"question": "who?", "answer": ["x"]}]
    in_latin_1(tmp_path, "validation.jsonl", [json.dumps(row, ensure_ascii=False) for row in rows[::-1]])
    with pytest.raises(OctoberError, match=r"^natural_questions: split validation of .* after 1 rows: not UTF-8 \("):
        HubQuestions("natural_questions", path=str(tmp_path)).load("test")


@pytest.mark.parametrize("column", ["supporting_facts", "context"])
def test_a_row_that_lacks_a_field_is_named(tmp_path: Path, column: str) -> None:
    write(tmp_path, "validation", [HOTPOT, {**HOTPOT, column: None}], parquet=False)
    with pytest.raises(OctoberError, match=rf"^hotpotqa: row 1 of validation: no {column}$"):
        HubQuestions("hotpotqa", path=str(tmp_path)).load("test")


def test_a_row_of_another_shape_is_named(tmp_path: Path) -> None:
    write(tmp_path, "validation", [{**HOTPOT, "context": {"title": ["Ed Wood"], "sentences": []}}])
    with pytest.raises(OctoberError, match=r"^hotpotqa: row 0 of validation: another shape than the set's rows \(zip"):
        HubQuestions("hotpotqa", path=str(tmp_path)).load("test")
