"""Agents behind a real engine, over HTTP."""

import pytest
import tiny_agents
from serving import running

from october.agents import AgentSettings, Prompting, ToolBox, read_trajectories, run_agents
from october.errors import OctoberError
from october.language_models import ServedLM, served_lm

pytestmark = pytest.mark.usefixtures("one_thread")

REACT = Prompting("react", tiny_agents.EXAMPLES)
QUESTIONS = tiny_agents.questions(8)
SETTINGS = AgentSettings(max_rounds=5, max_new_tokens=16, num_slots=3)


@pytest.fixture(scope="module")
def local():
    return tiny_agents.engines(seed=2, clean=True)[1]


@pytest.fixture
def engine(local):
    with running(local) as server:
        yield server


def served(engine, monkeypatch, **more):
    monkeypatch.setattr(served_lm, "_FIRST_WAIT", 0.01)
    return ServedLM(engine.base_url, **{"model": "tiny", "timeout": 30, "max_retries": 2, "max_concurrent": 4, **more})


def run(lm, tool=None, **more):
    return run_agents(lm, QUESTIONS, REACT, ToolBox([tool or tiny_agents.Search()]), SETTINGS, **more)


def told(trajectories):
    """All but the clock and the count of tokens that were written, which an engine does not tell."""
    return [
        (one.id, one.steps, one.answer, one.reward, one.end, one.problems, one.cost.model_calls, one.cost.prompt_tokens)
        for one in trajectories
    ]


@pytest.mark.parametrize("clean", [True, False])
def test_trajectories_are_those_of_the_local_model(engine, monkeypatch, clean):
    """Whether the model keeps to the format or not."""
    engine.lm = tiny_agents.engines(seed=2, clean=clean)[1]
    engine.hang = 0.03  # so that requests meet
    ours, theirs = run(served(engine, monkeypatch)), run(engine.lm)
    assert told(ours) == told(theirs)
    assert sum(one.cost.tool_calls for one in ours) >= (20 if clean else 1)
    assert any("no_action" in one.problems for one in ours) != clean
    assert {one.end for one in ours} == {"finished", "max_rounds"}
    assert engine.num_requests == sum(one.cost.model_calls for one in ours)
    assert 2 <= engine.most_at_once <= 3  # what is stepped together is asked together
    assert {one.cost.generated_tokens for one in ours} == {0}


def test_an_engine_that_falters_changes_nothing(engine, local, monkeypatch):
    engine.failures = 2
    assert told(run(served(engine, monkeypatch))) == told(run(local))


def unauthorised(engine):
    engine.key = "secret"


def overloaded(engine):
    engine.failures = 10**6


def hanging(engine):
    engine.hang = 30.0


@pytest.mark.parametrize(
    ("break_", "more", "message"),
    [
        (overloaded, {}, r"/v1/completions: answered 503 \(overloaded sorry\) after 3 attempts"),
        (unauthorised, {}, r"/v1/completions: the engine refused the key \(401\); set api_key"),
        (hanging, {"timeout": 0.2, "max_retries": 0}, r"/v1/completions: no answer within 0\.2 s"),
        (
            lambda engine: None,
            {"model": "other"},
            r"not found; check base_url and that the engine serves model 'other'",
        ),
    ],
    ids=["overloaded", "unauthorised", "hanging", "no such model"],
)
def test_an_engine_that_fails_for_good_ends_the_run_in_one_line(engine, monkeypatch, break_, more, message):
    break_(engine)
    with pytest.raises(OctoberError, match=message) as caught:
        run(served(engine, monkeypatch, **more))
    assert "\n" not in str(caught.value)
    assert engine.base_url in str(caught.value)


def test_nobody_at_the_address_is_told(monkeypatch, engine):
    lm = served(engine, monkeypatch, max_retries=0)
    lm.base_url = "http://127.0.0.1:9/v1"
    with pytest.raises(OctoberError, match=r"^http://127\.0\.0\.1:9/v1/completions: cannot be reached \(.*\)$"):
        run(lm)


def test_a_run_whose_engine_goes_away_goes_on_when_it_is_back(engine, local, monkeypatch, tmp_path):
    class Last(tiny_agents.Search):
        """Its seventh answer is the last thing that works."""

        def run(self, call):
            if len(self.calls) == 6:
                overloaded(engine)
            return super().run(call)

    path, lm = tmp_path / "run.jsonl", served(engine, monkeypatch)
    with pytest.raises(OctoberError, match="answered 503"):
        run(lm, Last(), journal=path)
    kept = read_trajectories(path).trajectories
    assert 0 < len(kept) < len(QUESTIONS)
    engine.failures, engine.num_requests = 0, 0
    resumed = run(lm, journal=path)
    assert told(resumed) == told(run(local))
    assert engine.num_requests == sum(one.cost.model_calls for one in resumed if one not in kept)
    assert sorted(one.id for one in read_trajectories(path).trajectories) == [question.id for question in QUESTIONS]
