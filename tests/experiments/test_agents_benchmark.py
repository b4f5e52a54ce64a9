"""The agents' benchmark: both sides write the same tokens, and its checks see where they would not."""

import pytest

from october.agents import render_trajectory

pytestmark = pytest.mark.usefixtures("one_thread", "benchmarks")


@pytest.fixture(scope="module")
def model(request):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(request.config.rootpath / "benchmarks")
        from agents_cases.models import random_llama

        yield random_llama()


@pytest.fixture
def decoder(model):
    from october.attention import decoder_from

    return decoder_from(model)


def changed(replies):
    """The same, but for the last token of the first reply."""
    (*tokens, _), *others = replies[0]
    return [[(*tokens, -1), *others], *replies[1:]]


def test_the_model_has_nine_million_parameters_and_one_token_for_each_word(model):
    from agents_cases import models

    assert sum(parameter.numel() for parameter in model.parameters()) == 8_940_800
    words = models.tokenizer()
    assert len(words) == len(set(models.VOCABULARY)) == models.VOCAB_SIZE
    text = "\nThought:" + "".join(kind[7] for kind in models.THOUGHT_WORDS) + "\nAction: search[ aab]" + models.ENOUGH
    ids = words(text)["input_ids"]
    assert len(ids) == 1 + 1 + models.THOUGHT + 1 + 1 + 1 + 1 + 1
    assert "".join(models.VOCABULARY[token] for token in ids[1:]) == text
    assert [words.decode([token]) for token in ids[1:]] == [models.VOCABULARY[token] for token in ids[1:]]


@pytest.mark.parametrize(("steps", "num_examples"), [((2, 1), 1), ((3,), 0)])
def test_together_and_one_by_one_every_way_writes_the_same(model, decoder, steps, num_examples):
    from agents_cases import stepping
    from agents_cases.tasks import Task, check, one_by_one, together

    task = Task(steps, num_examples)
    _, ours = together(stepping.house_lm(decoder), task, 2)
    for write in (stepping.transformers_writer(model), stepping.house_writer(decoder)):
        theirs = one_by_one(write, task)
        check(ours, theirs, task)
        with pytest.raises(AssertionError, match="greedy transcripts differ"):
            check(ours, changed(theirs), task)
    with pytest.raises(AssertionError, match="replies of other lengths"):
        check(*[[[reply[1:] for reply in own] for own in ours]] * 2, task)
    with pytest.raises(AssertionError, match=r"steps \(.*\) instead of \("):
        check(ours[:-1], ours[:-1], task)


def test_the_faster_way_is_the_peer(model, decoder, monkeypatch):
    from agents_cases import stepping
    from agents_cases.tasks import Task

    seconds = iter([5.0, 4.0, 3.0, 6.0])
    monkeypatch.setattr(stepping, "one_by_one", lambda write, task: None)
    monkeypatch.setattr(stepping, "seconds_of", lambda call: next(seconds))
    _, settings = stepping.faster_writer(model, decoder, Task((1,)))
    assert settings.startswith("this library's DecoderLM.generate, one prompt a call: the faster of two; torch")


def test_nothing_is_kept_from_call_to_call(model, monkeypatch):
    from agents_cases import stepping
    from agents_cases.tasks import Task

    made = []
    house_lm = stepping.house_lm
    monkeypatch.setattr(stepping, "house_lm", lambda *given, **more: made.append(house_lm(*given, **more)) or made[-1])
    monkeypatch.setattr(stepping, "faster_writer", lambda *given: (None, ""))
    case = stepping.stepping_case(model, Task((1,)), "{}", ">=4")
    assert case.ours() == case.ours()
    assert len(made) == 2


def test_tokens_are_counted(decoder):
    """Read is what nobody wrote, and the label behind a reply where the text goes on: it was written but not read."""
    from agents_cases import models, stepping
    from agents_cases.tasks import Task, together

    task = Task((2, 1, 2), 1)
    case = stepping.prefill_case(decoder, task)
    trajectories, _ = together(stepping.house_lm(decoder), task, 3)
    words, prefix = models.tokenizer(), task.prompting.prefix
    first, least = len(words(prefix)["input_ids"]), 0
    for trajectory in trajectories:
        text = prefix + render_trajectory(trajectory.question, trajectory.steps) + "\nObservation:"
        rounds = len(trajectory.steps)
        least += len(words(text)["input_ids"]) - first - rounds * models.REPLY + rounds - 1
    assert case.peer == first + least
    assert case.peer <= case.ours <= 1.1 * case.peer
    assert (case.bar, case.better) == ("<=1.1", "lower")


def test_refilled_slots_take_fewer_rounds_than_groups(decoder, monkeypatch):
    from agents_cases import refilling
    from agents_cases.tasks import NotingLM, Task

    rounds = []
    step = NotingLM.step
    monkeypatch.setattr(
        NotingLM,
        "step",
        lambda lm, sessions, *given, **more: rounds.append(len(sessions)) or step(lm, sessions, *given, **more),
    )
    case = refilling.refilling_case(decoder, Task((4, 1, 2, 1, 3)), 2)
    ours, together = case.ours(), rounds.copy()
    rounds.clear()
    theirs = case.peer()
    case.check(ours, theirs)
    assert together == [2, 2, 2, 2, 1, 1, 1]  # 4 beside 1, 2 and 1, then 3
    assert rounds == [2, 1, 1, 1, 2, 1, 1, 1, 1]
    assert case.bar == ">=1.3"


def test_all_cases_at_a_small_size(monkeypatch):
    from agents_cases import refilling, stepping

    monkeypatch.setattr(stepping, "ROUNDS", 1)
    monkeypatch.setattr(refilling, "SLOTS", 2)
    monkeypatch.setattr(refilling, "MOST_STEPS", 2)
    cases = [*stepping.stepping_cases(16), *refilling.refilling_cases(32)]
    assert [case.bar for case in cases] == [">=4", ">=8", "<=1.1", ">=1.3"]
    assert "2 trajectories of 1 rounds, a few-shot prefix of 842 tokens" in cases[0].name
    assert "4 trajectories of 1 to 2 steps, 2 slots" in cases[3].name
    for case in cases[:2] + cases[3:]:
        case.check(case.ours(), case.peer())
