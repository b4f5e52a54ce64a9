import math
import re
from collections import Counter

import pytest

from october.agents import NoAnswer, RandomAnswer, ToolBox, ToolCall
from october.errors import OctoberError

CALLS = [ToolCall(f"query {number % 50}", f"question {number}, round 1") for number in range(4000)]
TEXTS = [f"text {number}" for number in range(7)]


class Echo:
    name = "search"
    usage = "search[query]"

    def run(self, call):
        return f"true answer to {call.argument}"


def failed(tool):
    return [tool.run(call) != Echo().run(call) for call in CALLS]


def test_the_share_of_calls_that_fail_is_the_probability():
    for probability in (0.0, 0.25, 0.5, 1.0):
        share = sum(failed(NoAnswer(Echo(), probability))) / len(CALLS)
        assert abs(share - probability) <= 4 * math.sqrt(probability * (1 - probability) / len(CALLS))
    assert {NoAnswer(Echo(), 1.0).run(call) for call in CALLS[:5]} == {"None"}


def test_it_is_a_matter_of_seed_and_call_alone():
    first = failed(NoAnswer(Echo(), 0.5))
    assert first == failed(NoAnswer(Echo(), 0.5))[::1]
    assert [NoAnswer(Echo(), 0.5).run(call) == "None" for call in reversed(CALLS)] == first[::-1]
    assert abs(sum(a == b for a, b in zip(first, failed(NoAnswer(Echo(), 0.5, seed=1)), strict=True)) - 2000) < 200
    repeated = [NoAnswer(Echo(), 0.5).run(ToolCall("same", f"round {number}")) for number in range(40)]
    assert 5 < repeated.count("None") < 35  # the same query does not always fail


def test_what_fails_rarely_fails_often_too_and_both_kinds_fail_alike():
    rare, often = failed(NoAnswer(Echo(), 0.2)), failed(NoAnswer(Echo(), 0.6))
    assert all(b for a, b in zip(rare, often, strict=True) if a)
    assert failed(RandomAnswer(Echo(), 0.6, TEXTS)) == often


def test_random_answers_are_spread_evenly():
    counts = Counter(RandomAnswer(Echo(), 1.0, TEXTS).run(call) for call in CALLS)
    assert set(counts) == set(TEXTS)
    expected = len(CALLS) / len(TEXTS)
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 30  # chi-squared, 6 degrees


def test_several_random_texts_are_numbered_as_a_searchs_are_and_differ():
    noisy = RandomAnswer(Echo(), 1.0, TEXTS, k=3)
    drawn = [re.fullmatch(r"\(1\) text (\d) \(2\) text (\d) \(3\) text (\d)", noisy.run(call)) for call in CALLS]
    assert all(len(set(match.groups())) == 3 for match in drawn)
    assert [f"text {match[1]}" for match in drawn] == [RandomAnswer(Echo(), 1.0, TEXTS).run(call) for call in CALLS]
    for place in (2, 3):
        counts = Counter(match[place] for match in drawn)
        expected = len(CALLS) / len(TEXTS)
        assert sum((count - expected) ** 2 / expected for count in counts.values()) < 30
    both = {RandomAnswer(Echo(), 1.0, TEXTS[:2], k=2).run(call) for call in CALLS}
    assert both == {"(1) text 0 (2) text 1", "(1) text 1 (2) text 0"}


def test_in_a_box_noise_is_an_answer():
    noisy = RandomAnswer(NoAnswer(Echo(), 0.0), 0.0, TEXTS)
    answer = ToolBox([noisy]).run("search", ToolCall("x"))
    assert answer == ("true answer to x", None, 1)
    assert noisy.usage == "search[query]"


def test_settings_are_checked():
    with pytest.raises(OctoberError, match=r"noise\.probability=1\.5"):
        NoAnswer(Echo(), 1.5)
    with pytest.raises(OctoberError, match=r"noise\.k=1: must be from 1 to the 0 texts"):
        RandomAnswer(Echo(), 0.5, [])
