import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from october.agents import CachedTool, RefusedArgument, ToolBox, ToolCall, ToolLimits
from october.agents.tools import one_line
from october.errors import OctoberError

QUICK = ToolLimits(seconds=20, wait=0)


class Scripted:
    """Does what a function says at each call, and counts them."""

    usage = "search[query]"

    def __init__(self, do, name="search"):
        self.do, self.name, self.calls = do, name, []

    def run(self, call):
        self.calls.append(call)
        return self.do(call, len(self.calls))


def ask(do, argument="x", limits=QUICK):
    tool = Scripted(do)
    return ToolBox([tool], limits).run("search", ToolCall(argument)), len(tool.calls)


def failing(times):
    def do(call, number):
        if number <= times:
            raise ConnectionError("line\nis down")
        return "up again"

    return do


def test_an_answer_is_one_line():
    answer, _ = ask(lambda call, number: f" two\nlines \t of {call.argument}\u2028 ")
    assert answer == ("two lines of x", None, 1)


@pytest.mark.parametrize("nothing", [None, "", " \n"])
def test_nothing_found_is_told(nothing):
    assert ask(lambda call, number: nothing) == (("None", None, 1), 1)


def test_what_raises_is_tried_again_and_there_is_an_end_to_it():
    assert ask(failing(2)) == (("up again", None, 3), 3)
    answer, calls = ask(failing(3))
    assert calls == answer.attempts == 3
    assert answer.text == "Error: search failed (ConnectionError: line is down)"
    assert answer.failure == "failed (ConnectionError: line is down)"


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), MemoryError(), StopIteration()])
def test_nothing_that_a_tool_raises_gets_out(error):
    def do(call, number):
        raise error

    assert type(error).__name__ in ask(do)[0].text


def test_an_answer_that_is_no_text_is_a_failure():
    assert "answers with text or None, not with int" in ask(lambda call, number: 3)[0].failure


def test_waits_double(monkeypatch):
    waits = []
    monkeypatch.setattr("october.agents.tools.time.sleep", waits.append)
    ask(failing(9), limits=ToolLimits(attempts=9, wait=0.5))
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_what_hangs_is_left_behind():
    never = threading.Event()
    answer, calls = ask(lambda call, number: never.wait() and "", limits=ToolLimits(seconds=0.1, attempts=2, wait=0))
    assert answer == ("Error: search gave no answer within 0.1 s", "gave no answer within 0.1 s", 2)
    assert calls == 2
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "tool search")
    never.set()


def test_a_refused_argument_is_told_and_not_tried_again():
    def refuse(call, number):
        raise RefusedArgument("Write a\nnumber.")

    assert ask(refuse) == (("Write a number.", "refused", 1), 1)


def test_a_tool_that_does_not_exist_is_told():
    box = ToolBox([Scripted(lambda call, number: "a")])
    answer = box.run("look\nup" * 30, ToolCall("x"))
    assert answer.text.endswith("Write search[query] or finish[answer].")
    assert len(answer.text) < 120
    assert answer.failure == "no such tool"
    assert box.run("Search", ToolCall("x")).text == "a"


@given(st.text(), st.integers(1, 60))
def test_lines_keep_their_words_and_their_limit(text, characters):
    line = one_line(text, characters)
    whole = " ".join(text.split())
    assert len(line) <= characters
    assert len(line.splitlines()) <= 1
    if len(whole) <= characters and len(text) <= 8 * characters:
        assert line == whole
    elif len(text) <= 8 * characters and characters > 4:
        assert line.endswith(" ...")
        assert whole.startswith(line.removesuffix(" ..."))


def test_a_megabyte_is_cut_at_a_word():
    answer, _ = ask(lambda call, number: "word " * 200_000)
    assert len(answer.text) <= 600
    assert set(answer.text.removesuffix(" ...").split()) == {"word"}
    assert ask(lambda call, number: "x" * 10**6)[0].text == "x" * 596 + " ..."


def test_calls_run_at_once_and_answers_keep_their_order():
    together = threading.Barrier(4)

    def meet(call, number):
        together.wait(timeout=20)  # breaks unless all four are here
        return call.argument

    box = ToolBox([Scripted(meet)], ToolLimits(seconds=30, attempts=1))
    answers = box.run_all([("search", ToolCall(str(number))) for number in range(4)])
    assert [answer.text for answer in answers] == ["0", "1", "2", "3"]
    assert box.run_all([]) == []


def test_no_more_run_at_once_than_allowed():
    running, most, lock = [], [0], threading.Lock()

    def note(call, number):
        with lock:
            running.append(call)
            most[0] = max(most[0], len(running))
        time.sleep(0.01)
        with lock:
            running.remove(call)
        return "a"

    ToolBox([Scripted(note)], ToolLimits(concurrent=2)).run_all([("search", ToolCall(str(i))) for i in range(8)])
    assert most[0] <= 2


def test_a_cache_asks_once_and_failures_again():
    tool = Scripted(failing(1))
    box = ToolBox([CachedTool(tool, {"known": "from before", "nothing": None})], ToolLimits(attempts=1))
    texts = [box.run("search", ToolCall(argument)).text for argument in ("x", "x", "x", "known", "nothing", "y")]
    assert texts[0].startswith("Error")
    assert texts[1:] == ["up again", "up again", "from before", "None", "up again"]
    assert [call.argument for call in tool.calls] == ["x", "x", "y"]


def test_of_equal_calls_at_once_one_asks():
    def slow(call, number):
        time.sleep(0.05)
        return str(number)

    tool = Scripted(slow)
    answers = ToolBox([CachedTool(tool)]).run_all([("search", ToolCall("x"))] * 6)
    assert {answer.text for answer in answers} == {"1"}
    assert len(tool.calls) == 1


def test_of_equal_calls_the_next_asks_where_the_first_raises_or_hangs():
    never = threading.Event()
    for first in (never.wait, lambda: 1 / 0):
        tool = Scripted(lambda call, number, first=first: first() and "late" if number == 1 else "there")
        box = ToolBox([CachedTool(tool, patience=0.2)], ToolLimits(seconds=1, attempts=2, wait=0))
        answers = box.run_all([("search", ToolCall("x"))] * 3)
        assert {answer.text for answer in answers} == {"there"}
        assert box.run("search", ToolCall("x")) == ("there", None, 1)
        assert len(tool.calls) == 2
    never.set()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CachedTool(Scripted(None), patience=0), "tools.patience=0: must be above 0"),
        (lambda: ToolBox([Scripted(None), Scripted(None, "Search")]), "tools=search, Search: names must differ"),
        (lambda: ToolBox([Scripted(None, "Finish")]), "none may be 'finish'"),
        (lambda: ToolLimits(attempts=0), "tools.attempts=0: must be at least 1"),
        (lambda: ToolLimits(seconds=0), "tools.seconds=0: must be above 0"),
        (lambda: ToolLimits(wait=-1), "tools.wait=-1"),
    ],
)
def test_settings_are_checked(make, message):
    with pytest.raises(OctoberError, match=message):
        make()
