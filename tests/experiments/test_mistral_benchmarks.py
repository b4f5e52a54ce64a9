"""Table 2's benchmarks are the engine's, and ours are what they say."""

import pytest

from october.data import load_countries
from october.errors import OctoberError
from october.experiments.mistral._harness_tasks import (
    CHOICES,
    FEWEST_PEOPLE,
    OFFLINE,
    TABLE_2,
    WRITTEN,
    benchmark_named,
    questions,
)
from october.experiments.mistral.benchmarks import check, columns_above, values
from october.language_models import LanguageModel
from october.language_models.base import Completion
from october.reporting.published import published_of


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
