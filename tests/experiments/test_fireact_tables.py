"""What FireAct's tables compute in a tiny world: students are trained in no time, and a script acts for them."""

import itertools
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import tiny_fireact
from tiny_fireact import Lands, Towns, acting, claims_of, ran, settings

from october import configuration
from october.agents import Action, Step, Trajectory, finished, write_trajectories
from october.agents.fireact import (
    AgentTrainingSettings,
    GivenUp,
    ScriptedTeacher,
    Selection,
    Taught,
    method_of,
    write_alpaca,
)
from october.data.documents import Question
from october.errors import OctoberError
from october.evaluation import exact_match
from october.experiments.fireact import _cells as cells_module
from october.experiments.fireact import cost as cost_module
from october.experiments.fireact._agents import AGENT, Agents
from october.experiments.fireact._bench import Bench, Search, in_turns
from october.experiments.fireact._cells import found_cell, left_out_cells, viewer
from october.experiments.fireact._systems import PROMPTED, TUNED, compared
from october.experiments.fireact._tasks import Task, Tasks
from october.experiments.fireact._teaching import PromptedTeaching, ReleasedTeaching, ScriptedTeaching, check_first
from october.experiments.fireact.attempts import attempts
from october.experiments.fireact.cost import cost
from october.experiments.fireact.finetuning import finetuning
from october.experiments.fireact.generalization import generalization
from october.experiments.fireact.multi_method import multi_method
from october.experiments.fireact.multi_task import multi_task
from october.experiments.fireact.prompting import prompting
from october.experiments.fireact.robustness import kept_shares, robustness
from october.experiments.fireact.scaling import scaling
from october.language_models.training_runs import kept_models
from october.reporting.published import published_of

pytestmark = pytest.mark.usefixtures("own_home", "one_thread")

NOTHING_LEFT_OUT = {"leaks left out": 0, "duplicates left out": 0}
CURRENCIES = [each for each in Towns().load("test") if each.id.startswith("bridge_currency")][:8]
PROMPTED_EM = 100 * np.mean([each.text[-2] != "h" for each in CURRENCIES])  # as the script has it


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_fireact.student(tmp_path_factory.mktemp("student"))


@pytest.fixture(autouse=True)
def _acting(monkeypatch):
    acting(monkeypatch)


def values(result):
    return {row.name: {name: cell.value for name, cell in row.cells.items()} for row in result.rows}


def published_rows(table):
    return {row.name for entry in published_of("fireact").tables_of(table) for row in entry.rows}


def without(arguments, *names):
    return {name: value for name, value in arguments.items() if name not in names}


def folded(model):
    """The arguments of finetuning: of the compositions that are taught, a fold's own are not."""
    taught = ScriptedTeaching(["bridge_capital", "bridge_currency"], {"react": 4})
    return without(settings(model, folds=[["bridge_currency"]], teaching=taught, split="test"), "compositions")


def test_finetuning(tmp_path, model):
    _, result = ran(tmp_path, "finetuning", finetuning, folded(model))
    found = values(result)
    assert found[PROMPTED]["EM"] == PROMPTED_EM
    assert found[TUNED]["EM"] == 100.0
    assert found["one search, then read"]["EM"] == 50.0  # it says Pearl, the currency of one country of two
    by_composition = {name: value for name, value in found[TUNED].items() if name.startswith("EM, ")}
    assert by_composition == {"EM, bridge_currency": 100.0}
    assert found[TUNED]["answer found"] == 100.0
    assert "answer found" not in found["one search, then read"]  # it reads before it acts
    assert (found[TUNED]["rounds"], found[TUNED]["searches"]) == (3.0, 2.0)
    assert {name: found[TUNED][name] for name in ("taught", *NOTHING_LEFT_OUT)} == {"taught": 4, **NOTHING_LEFT_OUT}
    assert found[TUNED]["seconds, beside others"] > 0
    assert claims_of("finetuning") <= set(result.evidence)
    assert result.evidence[f"EM, {TUNED} over {PROMPTED}"].value == 100.0 - PROMPTED_EM
    (kept,) = kept_models(AGENT)
    assert (kept.about["trajectories"], kept.about["model"]) == (4, "student")
    assert {row.published for row in result.rows} - {None} == published_rows("finetuning")


def test_an_answer_is_found_where_a_search_gave_it():
    questions = [Question(str(number), "What?", ("the Euro", "EUR"), "bridge", "test") for number in range(4)]
    seen = ("Paid in EUR there.", "Euros and europium", None, "Nothing found.")
    made = [
        Trajectory(str(number), "What?", "react", (Step("t", Action("search", "s"), observation=text),))
        for number, text in enumerate(seen)
    ]
    assert found_cell(made, questions)["answer found"].value == 25.0
    assert found_cell([replace(each, steps=()) for each in made], questions) == {}


def test_settings_are_chosen_by_other_questions_which_decide_no_claim(tmp_path, model):
    _, result = ran(tmp_path, "finetuning", finetuning, {**folded(model), "split": "dev"})
    asked = Bench(Towns(), Lands(), Search(), ["bridge_currency"], None, "dev").questions
    assert {cells["EM"].n for cells in (row.cells for row in result.rows)} == {len(asked)}
    assert not {question.id for question in asked} & {q.id for q in Towns().load("test")}
    assert result.evidence == {}


def test_attempts(tmp_path, model):
    tried = [{"num_trajectories": 2}, {"num_epochs": 2, "learning_rate": 1e-4}]
    arguments = {**without(folded(model), "split"), "tried": tried}
    _, result = ran(tmp_path, "attempts", attempts, arguments)
    found = values(result)
    assert list(found) == ["one search, then read", "num_trajectories=2", "num_epochs=2, learning_rate=0.0001"]
    asked = Bench(Towns(), Lands(), Search(), ["bridge_currency"], None, "dev").questions
    assert {row.cells["EM"].n for row in result.rows} == {len(asked)}
    before, *tuned = found.values()
    assert before["EM over one search"] == 0.0
    for each in tuned:
        assert each["EM"] == each["EM, bridge_currency"] == 100.0
        assert each["EM over one search"] == 100.0 - before["EM"] > 0
    assert result.evidence == {}
    assert sorted(kept.about["trajectories"] for kept in kept_models(AGENT)) == [2, 4]
    for wrong, message in (
        ([*tried, tried[0]], "tried: two attempts are the same"),
        ([{"epochs": 1}], "tried: there is no epochs; allowed are num_trajectories, "),
        ([{"num_trajectories": 0}], "tried: num_trajectories=0: must be"),
        ([{"num_trajectories": 5}], "num_trajectories=5: the teaching gives 4"),
        ([{"num_epochs": 0}], "num_epochs=0"),
    ):
        with pytest.raises(OctoberError, match=message):
            ran(tmp_path, "wrong", attempts, {**arguments, "tried": wrong})


def test_prompting(tmp_path, model):
    _, result = ran(tmp_path, "prompting", prompting, without(settings(model), "training"))
    assert values(result)["ReAct"]["EM"] == PROMPTED_EM
    assert claims_of("prompting") <= set(result.evidence)
    assert {row.published for row in result.rows} - {None} == published_rows("prompting")
    assert kept_models(AGENT) == []


def test_scaling(tmp_path, model):
    arguments = settings(model, num_trajectories=[4, 2, 3, 4])
    _, result = ran(tmp_path, "scaling", scaling, arguments)
    assert [row.name for row in result.rows] == [PROMPTED, *(f"{count} trajectories" for count in (2, 3, 4))]
    assert sorted(kept.about["trajectories"] for kept in kept_models(AGENT)) == [2, 3, 4]
    assert [NOTHING_LEFT_OUT.items() <= row.items() for row in values(result).values()] == [False] * 3 + [True]
    assert set(result.evidence) == claims_of("scaling")
    assert result.evidence["EM, fewest trajectories over prompted"].value == 100.0 - PROMPTED_EM
    assert result.evidence["EM, most over fewest trajectories"].value == 0.0
    ran(tmp_path, "finetuning", finetuning, folded(model))
    assert len(kept_models(AGENT)) == 3  # the largest student is the same
    with pytest.raises(OctoberError, match="num_trajectories=5: the teaching gives 4"):
        ran(tmp_path, "more", scaling, {**arguments, "num_trajectories": [2, 5]})
    with pytest.raises(OctoberError, match=r"num_trajectories=\[3\]: give at least two numbers"):
        ran(tmp_path, "one", scaling, {**arguments, "num_trajectories": [3, 3]})


def test_robustness(tmp_path, model):
    arguments = settings(model, probability=0.5, noise_seed=1)
    _, result = ran(tmp_path, "robustness", robustness, arguments)
    found = values(result)
    assert found[PROMPTED]["no noise"] == PROMPTED_EM
    assert 0 < found[TUNED]["nothing"] < 100
    for name, kind in itertools.product((PROMPTED, TUNED), ("nothing", "random")):
        lost = found[name]["no noise"] - found[name][kind]
        assert found[name][f"lost to {kind}"] == pytest.approx(lost)
    share = {name: found[name]["nothing"] / found[name]["no noise"] for name in found}
    metric = "EM kept where searches find nothing, FireAct over prompted"
    assert result.evidence[metric].value == pytest.approx(100 * (share[TUNED] - share[PROMPTED]))
    assert set(result.evidence) == claims_of("robustness")
    assert not result.undecided
    _, certain = ran(tmp_path, "certain", robustness, {**arguments, "probability": 1.0})
    assert values(certain)[TUNED]["nothing"] == values(certain)[PROMPTED]["nothing"] == 0.0
    assert values(certain)[TUNED]["random"] < 100.0
    assert certain.evidence[metric].value == 0.0
    assert {row.published for row in result.rows} == published_rows("robustness")


def test_noise_is_not_judged_where_next_to_nothing_is_answered(tmp_path, model):
    """Of towns that end in 'sh' or 'ch' the prompted model answers none."""
    few = settings(model, probability=0.5, noise_seed=1, num_test=2)
    _, result = ran(tmp_path, "robustness", robustness, few)
    assert values(result)[PROMPTED]["no noise"] == 0.0
    assert set(result.evidence) == claims_of("robustness")
    assert set(result.undecided) == set(result.evidence)
    assert "less than 10 %" in next(iter(result.undecided.values()))


@pytest.mark.parametrize("seed", range(5))
def test_what_is_kept_is_a_share_with_the_error_of_a_ratio(seed):
    generator = np.random.default_rng(seed)
    normal = generator.random(4000) < 0.6
    noisy = normal & (generator.random(4000) < 0.5) | (generator.random(4000) < 0.05)
    found = kept_shares(normal.astype(float), noisy.astype(float))
    assert found.mean() == pytest.approx(noisy.sum() / normal.sum())
    draws = generator.integers(0, 4000, (2000, 4000))
    ratios = noisy[draws].sum(axis=1) / normal[draws].sum(axis=1)
    assert found.std() / np.sqrt(4000) == pytest.approx(ratios.std(), rel=0.1)
    assert not kept_shares(np.zeros(3), np.ones(3)).any()


def test_multi_method(tmp_path, model):
    teaching = ScriptedTeaching(["bridge_capital"], {"react": 3, "cot": 2, "reflexion": 1})
    arguments = without(settings(model, teaching=teaching), "num_examples")
    _, result = ran(tmp_path, "multi_method", multi_method, arguments)
    found = values(result)
    assert {name: row["taught"] for name, row in found.items()} == {
        "ReAct": 3,
        "ReAct, CoT": 5,
        "ReAct, Reflexion": 4,
        "ReAct, CoT, Reflexion": 6,
    }
    assert NOTHING_LEFT_OUT.items() <= found["ReAct, CoT, Reflexion"].items()
    assert {row["by ReAct"] for row in found.values()} == {100.0}
    assert {row["by CoT"] + row["by Reflexion"] for row in found.values()} == {0.0}
    assert claims_of("multi_method") <= set(result.evidence)
    assert {row.published for row in result.rows} == published_rows("multi_method")
    with pytest.raises(OctoberError, match="teaching: it gives no trajectories of cot, reflexion"):
        ran(tmp_path, "one", multi_method, without(settings(model), "num_examples"))


def test_multi_task(tmp_path, model, monkeypatch):
    compositions = {"bridge": "bridge_currency", "comparison": "comparison_population", "yes_no": "yes_no_country"}
    tasks = Tasks(
        **{name: Task(Towns(), [one], ScriptedTeaching([one], {"react": 2})) for name, one in compositions.items()}
    )
    shared = ("model", "corpus", "search", "training", "agent")
    arguments = {name: settings(model)[name] for name in shared} | {"tasks": tasks, "num_test": 4}
    told = []
    trajectories = ScriptedTeaching.trajectories

    def telling(teaching, bench):
        told.append({each.id for each in bench.evaluated})
        return trajectories(teaching, bench)

    monkeypatch.setattr(ScriptedTeaching, "trajectories", telling)
    _, result = ran(tmp_path, "multi_task", multi_task, arguments)
    asked = [Bench(Towns(), Lands(), Search(), [one], 4).questions for one in compositions.values()]
    assert told == [{each.id for some in asked for each in some}] * 3  # no task's student learns what another asks
    assert sorted(kept.about["trajectories"] for kept in kept_models(AGENT)) == [2, 2, 2, 6]
    for row in values(result).values():  # the script knows of currencies, and says yes to all else
        asked = {"bridge": 100.0, "comparison": 0.0, "yes_no": 100.0, "all": pytest.approx(200 / 3)}
        assert row == {**asked, **NOTHING_LEFT_OUT}
    assert claims_of("multi_task") <= set(result.evidence)
    assert {cell.value for cell in result.evidence.values()} == {0.0}
    with pytest.raises(OctoberError, match="tasks=bridge: give at least two"):
        Tasks(bridge=tasks["bridge"])


def test_generalization(tmp_path, model):
    asked = {"seen": ["bridge_capital"], "unseen": ["bridge_currency"], "yes or no": ["yes_no_country"]}
    arguments = without(settings(model, asked=asked), "compositions")
    _, result = ran(tmp_path, "generalization", generalization, arguments)
    found = values(result)
    assert found[PROMPTED] == {"seen": PROMPTED_EM, "unseen": PROMPTED_EM, "yes or no": 100.0}
    assert found[TUNED] == dict.fromkeys(asked, 100.0)
    assert result.evidence["EM on unseen, FireAct over prompted"].value == 100.0 - PROMPTED_EM
    wanted = configuration.composed(["experiment=fireact/generalization"]).asked
    assert claims_of("generalization") <= {f"EM on {name}, FireAct over prompted" for name in wanted}
    assert {row.published for row in result.rows} == published_rows("generalization")


def test_cost(tmp_path, model, monkeypatch):
    """A clock that ticks once for each trajectory of a tuned model, and four times for one of a prompted model."""
    clock, asked = [0.0], []
    ask = Agents.ask

    def ticking(agents, agent, prompting, questions=None, **more):
        made = ask(agents, agent, prompting, questions, **more)
        if not more.get("kept", True):
            asked.append((agent.folder is not None, [each.id for each in questions]))
            clock[0] += len(questions) * (1 if agent.folder else 4)
        return made

    monkeypatch.setattr(Agents, "ask", ticking)
    monkeypatch.setattr(cost_module.time, "perf_counter", lambda: clock[0])
    run, result = ran(tmp_path, "cost", cost, settings(model, at_once=3))
    found = values(result)
    assert (found[PROMPTED]["seconds"], found[TUNED]["seconds"]) == (4.0, 1.0)
    assert [len(names) for _, names in asked] == [3] * 6 + [2] * 2  # the first ones twice, the others once
    assert [tuned for tuned, _ in asked] == [False, True] * 4
    assert asked[0] == (False, asked[1][1]) == asked[2]
    assert found[TUNED]["tokens read"] < found[PROMPTED]["tokens read"]
    assert result.evidence["seconds saved by fine-tuning, of those prompted"].value == 75.0
    assert set(result.evidence) == claims_of("cost")
    assert run.finished["seconds"] == {PROMPTED: [4.0] * 3, TUNED: [1.0] * 3}
    assert {row.published for row in result.rows} == published_rows("cost")


def test_what_students_were_not_taught_is_counted():
    first, second = Selection([], {"leak": ["a", "b"], "wrong": ["c"]}), Selection([], {"duplicate": ["d"], "leak": []})
    counts = {name: cell.value for name, cell in left_out_cells(first, second).items()}
    assert counts == {"leaks left out": 2, "duplicates left out": 1}


def test_a_table_of_many_trajectories_has_a_page_that_records_keep(tmp_path, monkeypatch):
    questions = Towns().load("test")
    made = [finished(each.id, each.text, "react", [Step("hm " * 700)]) for each in questions]
    (only,) = viewer(tmp_path / "small", {"one": made, "other": made}, questions).values()
    size = only.stat().st_size
    monkeypatch.setattr(cells_module, "LARGEST_KEPT_PAGE_BYTES", size // 2)
    whole, sample = viewer(tmp_path / "large", {"one": made, "other": made}, questions).values()
    assert whole.stat().st_size == size > 2 * sample.stat().st_size
    text = sample.read_text()
    count = int(re.search(rf"Trajectories of the first (\d+) of {len(questions)} questions", text)[1])
    assert len(questions) // 4 < count < len(questions) // 2
    assert [each.id for each in in_turns(questions) if f'"{each.id}"' in text] == [
        each.id for each in in_turns(questions)[:count]
    ]


TABLES = ("finetuning", "scaling", "robustness", "generalization", "cost")


@pytest.mark.parametrize("size", ["tiny", "small", "full"])
def test_the_tables_share_their_student_and_trajectories(size):
    configs = [
        configuration.resolved(configuration.composed([f"experiment=fireact/{name}", f"size={size}"]))
        for name in TABLES
    ]
    for config in configs[1:]:
        for name in ("model", "data", "corpus", "search", "training", "agent", "num_examples"):
            assert config[name] == configs[0][name], name
        asked, taught = configs[0]["folds"][0], configs[0]["teaching"]["compositions"]
        assert sorted(config["teaching"]["compositions"]) == sorted({*taught} - {*asked})
    assert configs[1]["compositions"] == configs[2]["compositions"] == configs[0]["folds"][0]
    taught, most = (config["teaching"]["num_trajectories"] for config in configs[:2])
    assert all(config["teaching"]["num_trajectories"] == taught for config in configs[2:])
    assert taught["react"] in configs[1]["num_trajectories"]
    assert max(configs[1]["num_trajectories"]) == most["react"]
    same = configs[1:3] if size == "small" else configs[:3]  # finetuning asks fewer there, to end within 8 minutes
    assert len({config["num_test"] for config in same}) == 1
    assert size != "small" or configs[0]["num_test"] < configs[1]["num_test"]
    mixed, tried = (
        configuration.resolved(configuration.composed([f"experiment=fireact/{name}", f"size={size}"]))
        for name in ("multi_method", "attempts")
    )
    assert mixed["teaching"]["num_trajectories"]["react"] in configs[1]["num_trajectories"]
    assert tried["folds"] == configs[0]["folds"]
    assert tried["training"] == configs[0]["training"]


@pytest.mark.parametrize("name", ["scaling", "robustness", "multi_method", "cost"])
def test_nothing_that_is_asked_was_taught(name):
    config = configuration.resolved(configuration.composed([f"experiment=fireact/{name}", "size=full"]))
    assert not set(config["compositions"]) & set(config["teaching"]["compositions"])


def test_the_warm_up_of_all_weights_is_three_percent_of_the_steps():
    config = configuration.composed(["experiment=fireact/finetuning_paper", "training=fireact_full_paper"]).training
    given = {name: value for name, value in config.items() if name != "_target_"}
    settings = AgentTrainingSettings(**given)
    assert (settings.num_steps(500), settings.warmup_steps) == (120, math.ceil(0.03 * 120))
    assert (settings.lora_rank, settings.batch_size, settings.schedule) == (None, 128, "cosine")


class TestCountsAreCheckedFirst:
    """Before an index is built: here none can be."""

    @pytest.fixture(autouse=True)
    def _no_index(self, monkeypatch):
        monkeypatch.setattr(Bench, "retriever", property(lambda bench: pytest.fail("an index is built")))

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"folds": [["bridge_currency"], ["bridge_capitol"]]}, "compositions=bridge_capitol: worldqa has bridge_"),
            ({"folds": [["bridge_currency", "bridge_capital"]]}, "all of them are asked"),
            ({"num_examples": 99}, "num_examples=99: 4 development questions are there"),
            (
                {"teaching": ScriptedTeaching(["bridge_capital", "bridge_currency"], {"react": 9, "cot": 4})},
                r"num_trajectories\.cot=4: only 3 questions are left to teach",
            ),
        ],
    )
    def test_of_every_fold(self, tmp_path, model, changed, message):
        with pytest.raises(OctoberError, match=message):
            ran(tmp_path, "finetuning", finetuning, {**folded(model), **changed})

    def test_of_every_table(self, tmp_path, model):
        few = ScriptedTeaching(["bridge_capital"], {"react": 99})
        left = r"num_trajectories\.react=99: only 12 questions are left"
        for table, own in (
            (robustness, {"probability": 0.5, "noise_seed": 0}),
            (cost, {"at_once": 2}),
            (scaling, {"num_trajectories": [2, 99]}),
        ):
            arguments = settings(model, teaching=few, **own)
            with pytest.raises(OctoberError, match=left):
                ran(tmp_path, table.__name__, table, arguments)
        with pytest.raises(OctoberError, match=left):
            ran(tmp_path, "multi_method", multi_method, without(settings(model, teaching=few), "num_examples"))
        with pytest.raises(OctoberError, match="num_trajectories=5: the teaching gives 4"):
            ran(tmp_path, "scaling", scaling, settings(model, num_trajectories=[2, 5]))
        arguments = without(settings(model, num_examples=99, teaching=few), "training")
        with pytest.raises(OctoberError, match="num_examples=99: 4 development"):
            ran(tmp_path, "prompting", prompting, arguments)

    def test_of_every_teaching(self, tmp_path, model):
        bench = Bench(Towns(), Lands(), Search(), ["bridge_currency"], None)
        steps = [Step("", Action("search", "Which?"), "Reed"), Step("", Action("finish", "Reed"))]
        made = replace(finished("1", "Which?", "react", steps), reward=1.0)
        write_trajectories(tmp_path / "shown.jsonl", [made] * 2)
        write_alpaca(tmp_path / "some.json", [made] * 3)
        released = ReleasedTeaching(str(tmp_path / "some.json"))
        asking = PromptedTeaching(model, str(tmp_path / "shown.jsonl"), num_questions=5, agent=settings(model)["agent"])
        for teaching, most_shown, most_taught in ((released, 3, 3), (asking, 2, 5)):
            check_first(bench, teaching, most_shown, most_taught)
            with pytest.raises(OctoberError, match=f"num_examples={most_shown + 1}: {most_shown} trajectories are in"):
                check_first(bench, teaching, most_shown + 1)
            with pytest.raises(OctoberError, match=f"={most_taught + 1}: the teaching gives {most_taught}"):
                check_first(bench, teaching, most_shown, most_taught + 1)


class TestBench:
    def test_answers_are_scored_as_the_set_is(self, tmp_path):
        class Choices(Towns):
            name = "mmlu"

            def load(self, split):
                from october.data import ChoiceQuestion

                return [ChoiceQuestion("1", "Prime?", ("7",), "numbers", split, options=("4", "7", "9", "6"))]

        bench = Bench(Choices(), Lands(), Search(), None, None)
        (asked,) = bench.questions
        assert (asked.answers, asked.text.splitlines()[2]) == (("B",), "B. 7")
        assert bench.reward("b, I think", asked.answers) == 1.0
        assert bench.f1 is None
        assert Bench(Towns(), Lands(), Search(), None, None).reward is exact_match

    def test_a_composition_that_is_not_there_is_named(self):
        bench = Bench(Towns(), Lands(), Search(), ["bridge_area"], None)
        with pytest.raises(OctoberError, match="compositions=bridge_area: worldqa has bridge_capital, bridge_currency"):
            bench.questions  # noqa: B018


def giving_up_the_first(teacher, questions, method):
    """As the teacher, but the first question is too much for it."""
    taught = Taught([], [])
    for question in questions:
        if question.id == "bridge_currency:Fenash+Fenland":
            taught.given_up.append(GivenUp(question.id, "tired"))
        else:
            made = finished(question.id, question.text, method, [Step("", Action("finish", *question.answers))])
            taught.trajectories.append(replace(made, reward=1.0))
    return taught


def test_the_teacher_takes_turns_and_its_first_trajectories_are_those_of_fewer(monkeypatch):
    bench = Bench(Towns(), Lands(), Search(), ["bridge_currency"], None)
    both = ScriptedTeaching(["bridge_capital", "bridge_currency"], {"react": 6, "cot": 2})
    kept = both.trajectories(bench).kept
    assert [each.id.partition(":")[0] for each in kept[:4]] == ["bridge_currency", "bridge_capital"] * 2
    assert [each.method for each in kept] == ["react"] * 6 + ["cot"] * 2
    assert [method_of(each.steps) for each in kept] == [each.method for each in kept]
    assert len({each.id for each in kept}) == 8
    with monkeypatch.context() as patch:
        patch.setattr(ScriptedTeacher, "teach", giving_up_the_first)
        assert replace(both, num_trajectories={"react": 4}).trajectories(bench).dropped["given up"] == [kept[0].id]
    fewer = replace(both, num_trajectories={"react": 4}).trajectories(bench).kept
    assert fewer == kept[:4]
    with pytest.raises(OctoberError, match=r"num_trajectories\.react=99: only 24 questions are left to teach"):
        replace(both, num_trajectories={"react": 99}).trajectories(bench)
    with pytest.raises(OctoberError, match=r"num_trajectories\.io: allowed are cot, react, reflexion"):
        replace(both, num_trajectories={"io": 1})


class TestTeachings:
    @pytest.fixture
    def bench(self):
        return Bench(Towns(), Lands(), Search(), ["bridge_currency"], None)

    @pytest.fixture
    def kept(self, bench):
        return ScriptedTeaching(["bridge_capital"], {"react": 3}).trajectories(bench).kept

    def test_released_files_teach_what_is_right_in_them(self, tmp_path, bench, kept):
        wrong = replace(kept[0], question="Why?", reward=0.0)
        leak = replace(kept[0], question=bench.questions[0].text)
        write_alpaca(tmp_path / "some.json", [wrong, *kept, leak])
        teaching = ReleasedTeaching(str(tmp_path / "some.json"))
        teaching.check()
        found = teaching.trajectories(bench)
        assert [each.steps for each in found.kept] == [each.steps for each in kept]
        assert found.counts == {"wrong": 1, "unfinished": 0, "duplicate": 0, "leak": 1, "unread": 0}
        rows = json.loads((tmp_path / "some.json").read_text())
        (tmp_path / "torn.json").write_text(json.dumps([{"instruction": "Why?"}, *rows]))
        assert ReleasedTeaching(str(tmp_path / "torn.json")).trajectories(bench).dropped["unread"] == ["row 1"]
        assert teaching.examples(bench, 2) == found.kept[:2]
        write_trajectories(tmp_path / "shown.jsonl", kept[2:])
        shown = replace(teaching, shown=str(tmp_path / "shown.jsonl"))
        assert shown.examples(bench, 2) == kept[2:]
        with pytest.raises(OctoberError, match=r"teaching\.path=nowhere\.json: there is no such file; https"):
            ReleasedTeaching("nowhere.json").check()
        with pytest.raises(OctoberError, match=r"teaching\.shown=nowhere: there is no such file"):
            replace(teaching, shown="nowhere").check()

    def test_a_prompted_teacher_is_asked_training_questions_and_its_right_answers_are_kept(
        self, tmp_path, bench, kept, model
    ):
        shown = tmp_path / "shown.jsonl"
        write_trajectories(shown, kept)
        teaching = PromptedTeaching(model, str(shown), num_questions=10, agent=settings(model)["agent"])
        teaching.check()
        found = teaching.trajectories(bench)
        asked = {each.id: each for each in Towns().load("train")[:10]}
        assert {each.id for each in found.kept} <= set(asked)
        assert len(found.kept) + len(found.dropped["wrong"]) == 10
        assert all(exact_match(each.answer, asked[each.id].answers) for each in found.kept)
        assert teaching.examples(bench, 2) == kept[:2]
        some = replace(teaching, compositions=["bridge_capital", "bridge_currency"], num_questions=99)
        for apart, taught in (([], {"bridge_capital", "bridge_currency"}), (["bridge_currency"], {"bridge_capital"})):
            found = some.without(apart).trajectories(bench)
            names = [*(each.id for each in found.kept), *(name for ids in found.dropped.values() for name in ids)]
            assert {name.partition(":")[0] for name in names} == taught
        with pytest.raises(OctoberError, match=r"teaching\.compositions: all of them are asked"):
            some.without(["bridge_capital"]).without(["bridge_currency"]).trajectories(bench)
        for wrong, message in (
            ({"methods": ["io"]}, "methods=io: allowed are cot"),
            ({"num_questions": 0}, "=0: must"),
        ):
            with pytest.raises(OctoberError, match=message):
                replace(teaching, **wrong)
        shown.write_text("{}\n")
        with pytest.raises(OctoberError, match=r"shown\.jsonl: line 1: "):
            teaching.check()
        shown.write_text("")
        with pytest.raises(OctoberError, match=r"shown\.jsonl: is empty"):
            teaching.check()


def test_what_is_kept_is_not_asked_again(model, monkeypatch):
    bench = Bench(Towns(), Lands(), Search(), ["bridge_currency"], 3)
    arguments = settings(model)
    systems = compared(model, bench, arguments["teaching"], arguments["training"], 2)
    first = Agents(bench, arguments["agent"]).ask(*systems[TUNED])
    monkeypatch.setattr("october.experiments.fireact._agents.Agent.language_model", None)
    again = Agents(bench, arguments["agent"])
    again.loaded = lambda agent: None
    assert again.ask(*systems[TUNED]) == first
    with pytest.raises(AttributeError):
        again.ask(*systems[TUNED], kept=False)
