"""Table 2's benchmarks are the engine's, and ours are what they say."""

import json
import re
import sys
from dataclasses import replace

import pytest
from code_eval import CodeEval
from oracle_model import OracleHandle, OracleModel

from october.data import load_countries
from october.errors import OctoberError
from october.evaluation import benchmark_values
from october.experiments.mistral._harness_tasks import (
    CHOICES,
    FEWEST_PEOPLE,
    OFFLINE,
    TABLE_2,
    WRITTEN,
    benchmark_named,
    questions,
)
from october.experiments.mistral.benchmarks import benchmarks, check, columns_above, values
from october.finish import finish
from october.language_models import LanguageModel
from october.language_models.base import Completion
from october.reporting import Record
from october.reporting.published import published_of
from october.run import Run
from october.tracking import LocalTracker


def test_every_column_of_table_2_is_a_task_of_the_engine():
    from lm_eval.tasks import TaskManager

    table = published_of("mistral").table("benchmarks")
    assert list(TABLE_2) == table.columns
    manager = TaskManager()
    assert {benchmark.task for benchmark in TABLE_2.values()} <= set(manager.all_tasks)


@pytest.mark.parametrize("name", CHOICES)
def test_choices_hold_the_answer_once_and_the_fact_is_the_country_s(name):
    text, fact, num_choices = CHOICES[name]
    asked = questions(text, fact, num_choices)
    facts = {text.format(c.name): fact(c) for c in load_countries(min_population=FEWEST_PEOPLE) if fact(c)}
    assert len(asked) == len(facts) > 150
    assert asked == questions(text, fact, num_choices)
    for row in asked:
        assert row["choices"][row["gold"]] == row["answer"] == facts[row["question"]]
        assert len(set(row["choices"])) == num_choices
    places = [row["gold"] for row in asked]
    assert min(places.count(place) for place in range(num_choices)) > len(asked) / (2 * num_choices)


class Atlas(LanguageModel):
    """Knows the capital that stands in the question's own prompt last; writes it."""

    def __init__(self):
        self.capitals = {country.name: country.capital for country in load_countries()}

    def generate(self, prompts, **settings):
        asked = [prompt.rpartition("capital of ")[2].removesuffix("?\nAnswer:") for prompt in prompts]
        assert all(prompt.count("Question:") == 6 for prompt in prompts)  # five examples before it
        return [Completion(f" {self.capitals[name].upper()}", (), None, "stop", 1) for name in asked]

    def score(self, prompts, continuations):
        raise NotImplementedError


def test_written_answers_are_compared_without_capitals(tmp_path):
    assert values(Atlas(), WRITTEN, 12, None, False, tmp_path) == [1.0] * 12


@pytest.mark.parametrize(
    ("names", "folders", "message"),
    [
        ([], {}, "benchmarks are empty"),
        (["Capital"], {}, f"benchmarks=Capital: must be one of {', '.join(OFFLINE)}"),
        (["MBPP"], {}, "benchmarks=MBPP runs a model's programs: give allow_code=true"),
        (["PIQA"], {"PIQA": "nowhere"}, r"data_folders.PIQA=nowhere: no such folder"),
    ],
)
def test_what_cannot_be_measured_is_refused_first(names, folders, message):
    with pytest.raises(OctoberError, match=message):
        check(names, folders, allow_code=False)


def test_an_unknown_benchmark_and_the_published_columns(tmp_path):
    with pytest.raises(OctoberError, match="benchmarks=GLUE: must be one of"):
        benchmark_named("GLUE", tmp_path)
    assert columns_above() == 11  # the paper's own table: all but NQ


@pytest.mark.parametrize("table", ["benchmarks", "benchmarks_paper"])
def test_both_tables_end_in_a_record(tmp_path, table):
    """The published row stands beside one of them only: the other is the paper's own scale."""
    handle = OracleHandle(OracleModel(likes=lambda _, continuation: -float(len(continuation))))
    handle.name = "mistral_7b"
    settings = {"benchmarks": ["capital"], "num_questions": 3, "num_checked": None, "data_folders": {}}
    with Run(tmp_path, f"mistral/{table}", {"size": "tiny", "seeds": [0]}, LocalTracker()) as run:
        finish(run, benchmarks(handle, **settings, allow_code=False, run=run))
    row = Record.load(tmp_path / "record.json").rows[0]
    assert row.published == ("Mistral 7B" if table == "benchmarks" else None)
    assert row.cells["capital"].n == 3


def test_mathematics_is_judged_by_the_last_boxed_expression(tmp_path):
    """Of a group of the engine's: the seven subjects are read, examples are worked, and only the answer must agree."""
    for split in ("train", "test"):
        rows = [{"problem": f"{split} {n}", "solution": rf"So $\boxed{{\frac{{{n}}}{{7}}}}$."} for n in range(1, 6)]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    written = {1: r"First \boxed{2}, then $\boxed{\frac{1}{7}}$.", 2: r"$\frac{2}{7}$", 3: r"\boxed{\dfrac37}"}
    model = OracleModel(lambda prompt: written.get(int(re.findall(r"test (\d)", prompt)[-1]), "none"))
    settings = {"data_folder": tmp_path, "num_questions": 3}
    changes = {**TABLE_2["MATH"].changes, "dataset_name": None}
    right = benchmark_values(model, replace(TABLE_2["MATH"], changes=changes), **settings)
    assert right == [1.0, 0.0, 1.0] * 7
    assert all(prompt.count("Solution: So $\\boxed{") == 4 for prompt in model.asked)


LETTERS = {"text": ["stone", "cloud", "river", "house"], "label": ["A", "B", "C", "D"]}
ARC = {"question": "What falls?", "choices": LETTERS}
FALLS = {"sentence": "The tower fell on the house, for the _ was old.", "option1": "tower", "option2": "house"}
CARE = {"goal": "dry a shirt", "sol1": "hang it in the sun", "sol2": "put it in a pond"}
SUBJECT = {"question": " Which is wet? ", "choices": LETTERS["text"]}
AS_ON_THE_HUB = {  # configuration, split that is asked, a row answered rightly and one that is not, what is liked
    "WinoGrande": (
        "winogrande_xl",
        "validation",
        ({**FALLS, "answer": "1"}, {**FALLS, "answer": "2"}),
        lambda prompt, rest: prompt.endswith("for the tower") and rest == " was old.",
    ),
    "PIQA": (
        None,
        "validation",
        ({**CARE, "label": 0}, {**CARE, "label": 1}),
        lambda prompt, rest: prompt == "Question: dry a shirt\nAnswer:" and rest == " hang it in the sun",
    ),
    "ARC-e": (
        "ARC-Easy",
        "test",
        ({**ARC, "answerKey": "A"}, {**ARC, "answerKey": "D"}),
        lambda prompt, rest: prompt == "Question: What falls?\nAnswer:" and rest == " stone",
    ),
    "ARC-c": (
        "ARC-Challenge",
        "test",
        ({**ARC, "answerKey": "B"}, {**ARC, "answerKey": "C"}),
        lambda prompt, rest: prompt == "Question: What falls?\nAnswer:" and rest == " cloud",
    ),
}


def on_disk(folder, config, **splits):
    """A data set as one downloads it from the hub, with the card that tells its configuration."""
    for split, rows in splits.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = "".join(f"\n  - {{split: {split}, path: {split}.jsonl}}" for split in splits)
    (folder / "README.md").write_text(
        f"---\nconfigs:\n- config_name: {config or 'default'}\n  data_files:{files}\n---\n"
    )
    return str(folder)


@pytest.mark.parametrize("name", AS_ON_THE_HUB)
def test_choices_of_the_engine_s_are_read_from_a_folder(tmp_path, name):
    config, split, rows, liked = AS_ON_THE_HUB[name]
    folder = on_disk(tmp_path, config, **{"train": rows, "validation": rows, split: rows})
    model = OracleModel(likes=lambda prompt, continuation: -1.0 if liked(prompt, continuation) else -9.0)
    assert values(model, name, None, folder, False, tmp_path) == [1.0, 0.0]


def test_a_subject_of_mmlu_is_read_from_a_folder(tmp_path):
    """One of 57, after five examples of its own; that a folder reaches all of them the harness's tests show."""
    rows = [{**SUBJECT, "answer": 2}, {**SUBJECT, "answer": 0}]
    folder = on_disk(tmp_path, "anatomy", test=rows, dev=rows * 3)
    model = OracleModel(likes=lambda prompt, letter: -1.0 if letter == " C" and prompt.count("Which") == 6 else -9.0)
    subject = replace(TABLE_2["MMLU"], task="mmlu_anatomy")
    assert benchmark_values(model, subject, data_folder=folder) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("name", "config", "answer"),
    [
        ("NQ", None, ["the Seine", "Seine"]),
        ("TriviaQA", "rc.nocontext", {"aliases": ["the Seine", "Seine"], "value": "Seine"}),
    ],
)
def test_short_answers_of_the_engine_s_are_read_from_a_folder(tmp_path, name, config, answer):
    def rows(split):
        return [{"question": f"{split} {number}: which river", "answer": answer} for number in range(6)]

    folder = on_disk(tmp_path, config, train=rows("train"), validation=rows("asked"))
    written = iter([" Seine", " the Seine", " seine", " Rhine", "", " Seine and Oise"])
    model = OracleModel(lambda prompt: next(written))
    assert values(model, name, None, folder, False, tmp_path) == [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    assert all(prompt.count("train") == 5 for prompt in model.asked)
    assert all(prompt.endswith((": which river?\nA:", ": which river?\nAnswer:")) for prompt in model.asked)


def test_programs_of_mbpp_are_read_from_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("evaluate.load", lambda name: CodeEval())
    monkeypatch.delitem(sys.modules, "lm_eval.tasks.mbpp.utils", raising=False)
    row = {"task_id": 11, "text": "Write f.", "code": "", "test_list": [f"assert f() == {n}" for n in (3, 4, 5)]}
    folder = on_disk(tmp_path, "full", test=[row, {**row, "text": "Write g."}])
    model = OracleModel(lambda prompt: "def f():\n    return " + ("4" if "Write g." in prompt else "3"))
    assert values(model, "MBPP", None, folder, True, tmp_path) == [1.0, 0.0]
    assert all(prompt.count("[DONE]") == 3 and prompt.endswith("[BEGIN]\n") for prompt in model.asked)
