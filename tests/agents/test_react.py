import dataclasses
import itertools
import time

import pytest
import tiny_agents
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle_model import OracleModel

from october.agents import (
    Action,
    AgentSettings,
    Prompting,
    Step,
    ToolBox,
    ToolLimits,
    few_shot,
    finished,
    parse_reply,
    parse_trajectory,
    render_step,
    render_trajectory,
    run_agents,
)
from october.agents.react_format import render_field
from october.agents.tools import ToolCall
from october.agents.trajectory import from_line, to_line
from october.attention import DenseCache
from october.data import Question
from october.errors import OctoberError

pytestmark = pytest.mark.usefixtures("one_thread")

STOPS = ["\nObservation:", "\nQuestion:"]
EXAMPLES = [
    finished(
        "e",
        "where is tower",
        "react",
        [Step("i", Action("search", "tower"), "near"), Step("so", Action("finish", "lake"))],
    )
] * 3
REACT = Prompting("react", tiny_agents.EXAMPLES)
PROMPTS = {
    "react": REACT,
    "reflexion": Prompting("reflexion", tiny_agents.EXAMPLES, reflection="so now", reflection_rounds=(2, 4)),
    "cot": Prompting("cot", tiny_agents.EXAMPLES),
    "io": few_shot("io", EXAMPLES),
}


def alone(lm, question, prompting, tools, settings):
    """One question by itself, the whole text sent for every reply: the steps, and the tokens of each reply."""
    text, steps, tokens = prompting.prefix + prompting.question(question.text), [], []
    if prompting.method == "io":
        (completion,) = lm.generate([f"{text}Answer:"], max_new_tokens=settings.max_new_tokens, stop=["\n"])
        return [Step("", Action("finish", completion.text.strip()))], [completion.token_ids]
    while len(steps) < settings.max_rounds:
        opening = prompting.opening(len(steps) + 1)
        for _ in range(2):
            (completion,) = lm.generate([text + opening], max_new_tokens=settings.max_new_tokens, stop=STOPS)
            tokens.append(completion.token_ids)
            reply = parse_reply(opening + completion.text)
            if reply.action:
                break
            opening = render_field("Thought", reply.thought) + "\nAction:"
        if reply.action and reply.action.is_finish:
            return [*steps, Step(reply.thought, reply.action)], tokens
        if reply.action:
            observed = tools.run(reply.action.name, ToolCall(reply.action.argument)).text
        else:
            observed = f"That is no action. Write {tools.usage}."
        steps.append(Step(reply.thought, reply.action, observed))
        text += render_step(steps[-1]) + "\n"
    return steps, tokens


@pytest.mark.parametrize(
    ("method", "seed", "slots"), [("react", 5, 3), ("reflexion", 3, 8), ("cot", 0, 4), ("io", 0, 4)]
)
def test_transcripts_are_those_of_one_at_a_time_token_for_token(monkeypatch, method, seed, slots):
    house, theirs = tiny_agents.engines(seed)
    asked, tools = tiny_agents.questions(8), ToolBox([tiny_agents.Search()] if method != "cot" else [])
    settings = AgentSettings(max_rounds=5, max_new_tokens=12, num_slots=slots)
    sessions, tokens, _ = tiny_agents.listen(monkeypatch, house)
    ours = run_agents(house, asked, PROMPTS[method], tools, settings)
    for question, trajectory, session in zip(asked, ours, sessions, strict=True):
        steps, replies = alone(theirs, question, PROMPTS[method], tools, settings)
        assert (trajectory.id, trajectory.question, trajectory.steps) == (question.id, question.text, tuple(steps))
        assert tokens[id(session)] == replies
        assert trajectory.cost.model_calls == len(replies)
        assert trajectory.cost.generated_tokens == sum(map(len, replies))
        answer = steps[-1].action and steps[-1].action.is_finish and steps[-1].action.argument
        assert trajectory.end == ("finished" if answer is not None and answer is not False else "max_rounds")
        assert trajectory.reward == float(trajectory.answer in question.answers)
    if method == "react":
        assert len({len(trajectory.steps) for trajectory in ours}) > 1  # they end at different times


def test_each_token_is_encoded_once(monkeypatch):
    """Tokens that pass through the network before and between replies: at most 1.1 times those that had to."""
    house, _ = tiny_agents.engines(seed=2, clean=True)
    passed = [0]
    begin = DenseCache.begin

    def counting(cache, shape, *, positions=None, new_lengths=None):
        passed[0] += sum(new_lengths or [shape[0] * shape[1]])
        return begin(cache, shape, positions=positions, new_lengths=new_lengths)

    monkeypatch.setattr(DenseCache, "begin", counting)
    sessions, tokens, together = tiny_agents.listen(monkeypatch, house)
    settings = AgentSettings(max_rounds=4, max_new_tokens=16, num_slots=5)
    ours = run_agents(house, tiny_agents.questions(12), REACT, ToolBox([tiny_agents.Search()]), settings)
    replies = [reply for session in sessions for reply in tokens[id(session)]]
    prefilled = passed[0] - (sum(map(len, replies)) - len(replies))  # a reply's last token is not fed with it
    prefix = len(house.tokenizer(tiny_agents.EXAMPLES)["input_ids"])
    least = prefix + sum(
        trajectory.cost.prompt_tokens - prefix - sum(len(reply) - 1 for reply in tokens[id(session)][:-1])
        for trajectory, session in zip(ours, sessions, strict=True)
    )
    resent = sum(trajectory.cost.model_calls for trajectory in ours) * prefix
    assert prefilled <= 1.1 * least
    assert resent > 3 * least  # what sending whole texts would cost at the very least
    assert max(together) == 5
    assert len(replies) > 24


def test_a_free_slot_is_refilled_at_once(monkeypatch):
    house, _ = tiny_agents.engines(seed=5)
    _, _, together = tiny_agents.listen(monkeypatch, house)
    settings = AgentSettings(max_rounds=6, max_new_tokens=12, num_slots=3)
    ours = run_agents(house, tiny_agents.questions(10), REACT, ToolBox([tiny_agents.Search()]), settings)
    calls = [trajectory.cost.model_calls for trajectory in ours]
    assert len(set(calls)) > 1
    free = [0] * 3  # when each slot is free again, if the next question takes the first free one
    for count in calls:
        free[free.index(min(free))] += count
    assert len(together) == max(free)
    assert sum(together) == sum(calls)
    assert together == sorted(together, reverse=True)


QUESTIONS = [Question(f"q{place}", f"question {place}", ("yes",), "made up", "test") for place in range(5)]


class Tool:
    name, usage = "search", "search[query]"

    def __init__(self, do=lambda call: "found"):
        self.do, self.calls = do, []

    def run(self, call):
        self.calls.append(call)
        return self.do(call)


def run(answer, *, prompting=REACT, tool=None, questions=QUESTIONS[:1], limits=None, **settings):
    model = OracleModel(answer)
    box = ToolBox([tool or Tool()], limits)
    return run_agents(model, questions, prompting, box, AgentSettings(**settings)), model


def test_what_a_model_writes_too_much_is_not_shown_to_it_again():
    replies = iter(
        [
            " a\nAction: search[b] \nObservation: invented\nThought: c\nAction: finish[no]\n\nQuestion: next",
            " d\nAction: finish[yes]\nQuestion: another",
        ]
    )
    (trajectory,), model = run(lambda prompt: next(replies))
    assert (
        model.asked[1]
        == f"{REACT.prefix}Question: question 0\nThought: a\nAction: search[b]\nObservation: found\nThought:"
    )
    assert trajectory.steps == (Step("a", Action("search", "b"), "found"), Step("d", Action("finish", "yes")))
    assert (trajectory.answer, trajectory.reward, trajectory.end) == ("yes", 1.0, "finished")
    assert trajectory.problems == {
        "invented_observation": 1,
        "invented_question": 2,
        "several_actions": 1,
        "trailing_text": 1,
    }


@pytest.mark.parametrize(
    ("reply", "problems", "calls"),
    [
        (" again\nAction: search[same]", {"repeated_action": 6}, 7),
        (" I cannot say.", {"no_action": 7, "malformed_action": 7}, 14),
        ("", {"no_action": 7, "malformed_action": 7}, 14),
        ("[[]]", {"no_action": 7, "malformed_action": 7}, 14),
        ("\nAction: [x]", {"malformed_action": 14, "several_actions": 7}, 14),
        (" a\nAction: search[never closed", {"malformed_action": 14, "several_actions": 7}, 14),
        (" a\nAction: look[x]", {"refused_action": 7, "repeated_action": 6}, 7),
        (" a\nAction: search[]", {"repeated_action": 6}, 7),
    ],
)
def test_a_model_that_never_finishes_is_ended(reply, problems, calls):
    (trajectory,), model = run(lambda prompt: reply, max_rounds=7)
    assert (trajectory.end, trajectory.answer, trajectory.reward) == ("max_rounds", None, 0.0)
    assert len(trajectory.steps) == 7
    assert trajectory.problems == problems
    assert trajectory.cost.model_calls == len(model.asked) == calls


PIECES = [" a", "\n", "[", "]", "\\", " search[", "finish[]", "\n Action: look[", "\u2028", "日本", "\r", "\x00"]
PIECES += ["Thought:", "\nThought: ", "\nAction:", "\nAction: search[x]", "\nAction: finish[y]", "\nQuestion: c"]
PIECES += ["\nObservation: b", "\nObservation:"]


@settings(max_examples=300)
@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=7).map("".join), min_size=1, max_size=6))
def test_whatever_a_model_writes_the_run_ends_and_the_model_sees_the_trajectory(replies):
    written = itertools.cycle(replies)
    (trajectory,), model = run(lambda prompt: next(written), max_rounds=4)
    assert len(trajectory.steps) <= 4
    assert trajectory.cost.model_calls == len(model.asked) <= 8
    assert (trajectory.end, trajectory.answer is None) in (("finished", False), ("max_rounds", True))
    text = render_trajectory("question 0", trajectory.steps)
    assert parse_trajectory(text) == ("question 0", trajectory.steps)
    for prompt in model.asked:
        assert (REACT.prefix + text).startswith(prompt.removesuffix("\nAction:"))
        assert prompt.endswith(("\nThought:", "\nAction:"))
    assert from_line(to_line(trajectory)) == trajectory


def test_a_model_that_forgets_the_action_is_asked_for_it_once():
    replies = iter([" I think so.", " search[b]", "nothing", "still nothing", " c\nAction: finish[yes]"])
    (trajectory,), model = run(lambda prompt: next(replies))
    assert model.asked[1].endswith("\nThought: I think so.\nAction:")
    assert model.asked[3].endswith("Thought: nothing\nAction:")
    told = "That is no action. Write search[query] or finish[answer]."
    assert model.asked[4].endswith(f"\nThought: nothing\nObservation: {told}\nThought:")
    assert [step.thought for step in trajectory.steps] == ["I think so.", "nothing", "c"]
    assert trajectory.steps[1] == Step("nothing", None, told)
    assert trajectory.answer == "yes"


def searching(prompt):
    return " a\nAction: finish[yes]" if "Observation:" in prompt.split("question")[-1] else " a\nAction: search[x]"


def raising(call):
    raise RuntimeError("out of order")


@pytest.mark.parametrize(
    ("do", "seconds", "observation", "failures"),
    [
        (raising, 30, "Error: search failed (RuntimeError: out of order)", 1),
        (lambda call: time.sleep(60), 0.2, "Error: search gave no answer within 0.2 s", 1),
        (lambda call: "yy " * 300_000, 30, "yy " * 15 + "...", 0),
        (lambda call: None, 30, "None", 0),
    ],
)
def test_tools_that_fail_hang_or_flood_stop_nobody(do, seconds, observation, failures):
    limits = ToolLimits(seconds=seconds, attempts=2, wait=0, characters=50)
    ours, _ = run(searching, tool=Tool(do), questions=QUESTIONS, limits=limits)
    for trajectory in ours:
        assert trajectory.steps[0].observation == observation
        assert trajectory.answer == "yes"
        assert (trajectory.cost.tool_calls, trajectory.cost.tool_failures) == (1, failures)


def test_calls_carry_their_place():
    tool = Tool()
    run(searching, tool=tool, questions=QUESTIONS)
    assert sorted(tool.calls) == [ToolCall("x", f"q{place}, step 1") for place in range(5)]


def test_a_reflection_begins_the_thought_of_its_round():
    prompting = few_shot("reflexion")
    (trajectory,), model = run(lambda prompt: " more\nAction: search[x]", prompting=prompting)
    begun = [step.thought.startswith(prompting.reflection) for step in trajectory.steps]
    assert [place + 1 for place, reflected in enumerate(begun) if reflected] == [6, 10]
    assert trajectory.steps[5].thought == f"{prompting.reflection} more"
    assert model.asked[5].endswith(f"\nThought: {prompting.reflection}")
    assert trajectory.method == "reflexion"


def test_answers_without_steps():
    (trajectory,), model = run(lambda prompt: " yes ", prompting=few_shot("io"))
    assert model.asked == ["Answer each question briefly.\n\nQuestion: question 0\nAnswer:"]
    assert trajectory.steps == (Step("", Action("finish", "yes")),)
    assert (trajectory.method, trajectory.reward) == ("io", 1.0)


@pytest.mark.parametrize(("context", "end", "steps"), [(132, "context", 1), (133, "max_rounds", 4)])
def test_a_trajectory_that_could_outgrow_the_models_context_ends(context, end, steps):
    """The oracle says that every prompt has 1 token and this reply 4; 28 bytes go behind it, 100 tokens may follow."""
    settings = {"context": context, "max_new_tokens": 100, "max_rounds": 4}
    (trajectory,), _ = run(lambda prompt: " a\nAction: search[x]", **settings)
    assert (trajectory.end, len(trajectory.steps), trajectory.answer) == (end, steps, None)


def test_nobody_judges_if_nobody_is_to():
    ours = run_agents(OracleModel(searching), QUESTIONS, REACT, ToolBox([Tool()]), reward=None)
    assert [trajectory.reward for trajectory in ours] == [None] * 5
    assert run_agents(OracleModel(searching), [], REACT, ToolBox([])) == []


def test_bad_settings_are_named():
    with pytest.raises(OctoberError, match="the id 'q0' occurs twice"):
        run(searching, questions=[QUESTIONS[0], QUESTIONS[0]])
    for name in ("max_rounds", "num_slots", "max_new_tokens", "context"):
        with pytest.raises(OctoberError, match=rf"agent\.{name}=0: must be at least 1"):
            AgentSettings(**{name: 0})


def same(trajectories):
    """Without what depends on the clock."""
    return [dataclasses.replace(one, cost=dataclasses.replace(one.cost, seconds=0.0)) for one in trajectories]


def test_a_run_that_breaks_off_goes_on_where_it_was(tmp_path):
    def breaking(prompt):
        if "question 3" in prompt:
            raise OctoberError("the engine is gone")
        return searching(prompt)

    arguments = (QUESTIONS, REACT, ToolBox([Tool()]), AgentSettings(num_slots=2))
    with pytest.raises(OctoberError, match="the engine is gone"):
        run_agents(OracleModel(breaking), *arguments, journal=tmp_path / "run.jsonl", identity="m")
    again = OracleModel(searching)
    resumed = run_agents(again, *arguments, journal=tmp_path / "run.jsonl", identity="m")
    assert not any("question 0" in prompt or "question 1" in prompt for prompt in again.asked)
    assert same(resumed) == same(run_agents(OracleModel(searching), *arguments))
    untouched = OracleModel(None)
    assert run_agents(untouched, *arguments, journal=tmp_path / "run.jsonl", identity="m") == resumed
    with pytest.raises(OctoberError, match="another model, prompt, tool or setting"):
        run_agents(untouched, *arguments, journal=tmp_path / "run.jsonl", identity="other")


def test_what_is_kept_is_judged_anew_and_is_of_the_same_questions(tmp_path):
    def again(questions, **more):
        nobody = pytest.fail  # there is nothing to ask
        return run_agents(nobody, questions, REACT, ToolBox([Tool()]), journal=tmp_path / "run.jsonl", **more)

    run_agents(OracleModel(searching), QUESTIONS, REACT, ToolBox([Tool()]), journal=tmp_path / "run.jsonl", reward=None)
    assert [one.reward for one in again(QUESTIONS)] == [1.0] * 5
    other = dataclasses.replace(QUESTIONS[1], answers=("no",))
    assert [one.reward for one in again([other, QUESTIONS[0]])] == [0.0, 1.0]
    assert [one.reward for one in again(QUESTIONS, reward=lambda answer, answers: len(answer) / 4)] == [0.75] * 5
    assert [one.reward for one in again(QUESTIONS, reward=None)] == [None] * 5
    changed = dataclasses.replace(QUESTIONS[1], text="Who?")
    with pytest.raises(OctoberError, match=r"run\.jsonl: its question 'q1' has another text; choose another journal"):
        again([QUESTIONS[0], changed])
