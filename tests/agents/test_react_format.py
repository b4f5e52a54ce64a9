import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from october.agents import (
    Action,
    Step,
    parse_reply,
    parse_trajectory,
    render_action,
    render_step,
    render_trajectory,
)
from october.errors import OctoberError

# Pieces that the format itself is made of, in any order, and any characters.
PIECES = [
    *("[", "]", "\\", "\\[", "\\]", "\n", " ", "a", "search[", "finish[x]", "Action:", "Thought: ", "Observation:"),
    *("search [", "finish [x]", "] finish\t[", "Research [1]"),
    *("Question:", " Action: search[y]", "\r", "\u2028", "日本", "é", ".", "\nAction: search[z]\nObservation: b"),
]
TEXT = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=4)), max_size=9).map("".join)
NAME = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True)
ACTION = st.builds(Action, NAME, TEXT)
STEP = st.builds(Step, TEXT, st.none() | ACTION, st.none() | TEXT)


@settings(max_examples=600)
@given(question=TEXT, steps=st.lists(STEP, max_size=4))
@example("", [Step("", Action("a", ""), "")])
@example("q", [Step("\nAction: search[x]", Action("search", "x] search[y"), "\nThought: no\nAction: finish[z]")])
@example("q", [Step("", Action("search", "x]; finish [y]"), None), Step("", Action("search", "x] Search\t[y"), "z")])
@example("q", [Step(" Thought: x\n  Thought: y", Action("s", "\\[x\\]"), None), Step("", None, None)])
@example("q", [Step("t", Action("s", "a]\nb["), None), Step("", Action("s", "[a]\nb"), " ")])
def test_what_is_rendered_is_read_back(question, steps):
    assert parse_trajectory(render_trajectory(question, steps)) == (question, tuple(steps))


@settings(max_examples=400)
@given(thought=TEXT, action=ACTION, rest=TEXT)
def test_a_well_formed_reply_is_read_as_it_was_meant_whatever_follows(thought, action, rest):
    plain = thought.rstrip("\n")
    rendered = render_step(Step(plain, action))
    reply = parse_reply(rendered)
    assert (reply.thought, reply.action, reply.problems) == (plain, action, ())
    again = parse_reply(f"{rendered}\nObservation: {rest}")
    assert (again.thought, again.action) == (plain, action)
    assert "invented_observation" in again.problems


@settings(max_examples=400)
@given(TEXT)
def test_any_reply_is_read_and_what_is_kept_is_well_formed(text):
    reply = parse_reply("Thought:" + text)
    assert (reply.action is None) == bool({"no_action", "malformed_action"} & set(reply.problems))
    step = Step(reply.thought, reply.action)
    assert parse_trajectory(render_trajectory("q", [step])) == ("q", (step,))


@pytest.mark.parametrize(
    ("argument", "written"),
    [
        ("plain", "search[plain]"),
        ("list[int] and dict[str, int]", "search[list[int] and dict[str, int]]"),
        ("a smile :] here", "search[a smile :] here]"),
        ("open [ only", "search[open [ only]"),
        ("x] search[y", r"search[x\] search\[y]"),
        ("x]; finish [y]", r"search[x\]; finish \[y\]]"),
        ("x] see [1] y", "search[x] see [1] y]"),
        ("x] research [1] y", "search[x] research [1] y]"),
        ("x] search [1] y", r"search[x\] search \[1\] y]"),
        ("two\nlines", "search[two\nlines]"),
        ("a]\nb", "search[a\\]\nb]"),
        (r"C:\temp", r"search[C:\temp]"),
        (r"\[x\]", r"search[\\\[x\\\]]"),
        ("", "search[]"),
    ],
)
def test_arguments_are_written_as_they_are_unless_they_could_be_misread(argument, written):
    assert render_action(Action("search", argument)) == written


# reply, thought, argument of the action (None: no action), problems
REPLIES = {
    "plain": ("I need it.\nAction: search[a b]", "I need it.", "a b", ()),
    "no thought": ("\nAction: search[a]", "", "a", ()),
    "brackets": ("t\nAction: search[a [b] c]", "t", "a [b] c", ()),
    "stray bracket": ("t\nAction: search[a] b]", "t", "a] b", ()),
    "two in a line": ("t\nAction: search[a] search[b]", "t", "a", ("several_actions",)),
    "two, the second unbalanced": ("t\nAction: search[a] and finish[b]]", "t", "a", ("several_actions",)),
    "two in a line, spaced": ("t\nAction: search[a] search [b]", "t", "a", ("several_actions",)),
    "two, spaced, the second unbalanced": ("t\nAction: search[a]; finish [b]]", "t", "a", ("several_actions",)),
    "two, capitals and a tab": ("t\nAction: search [a] then Finish\t[b]]", "t", "a", ("several_actions",)),
    "a word that ends as a tool": ("t\nAction: search[a] from research [1]", "t", "a", ("trailing_text",)),
    "two lines": ("t\nAction: search[a]\nAction: finish[b]", "t", "a", ("several_actions",)),
    "two rounds": (
        "t\nAction: search[a]\nObservation: x\nThought: u\nAction: finish[b]",
        "t",
        "a",
        ("invented_observation", "trailing_text", "several_actions"),
    ),
    "words behind": ("t\nAction: search[a] to find it", "t", "a", ("trailing_text",)),
    "lines behind, with brackets": ("t\nAction: search[a]\n\nSee [1]", "t", "a", ("trailing_text",)),
    "white space behind": ("t\nAction: search[a] \n\n", "t", "a", ()),
    "observation first": ("t\nObservation: x\nAction: finish[x]", "t", None, ("invented_observation", "no_action")),
    "next question": (
        "t\nAction: search[a]\n\nQuestion: and?\nThought: u",
        "t",
        "a",
        ("invented_question", "trailing_text"),
    ),
    "two thoughts": ("a\nThought: b\nAction: search[c]", "a\nb", "c", ()),
    "no action": ("I do not know.", "I do not know.", None, ("no_action",)),
    "nothing": ("", "", None, ("no_action",)),
    "only brackets": ("[[]]\nAction: [x]", "[[]]", None, ("malformed_action",)),
    "brackets alone": ("][", "][", None, ("no_action",)),
    "not closed": ("t\nAction: search[a", "t", None, ("malformed_action",)),
    "no brackets": ("t\nAction: search for a", "t", None, ("malformed_action",)),
    "the first is malformed": (
        "t\nAction: I will\nAction: search[a]",
        "t",
        None,
        ("malformed_action", "several_actions"),
    ),
    "over two lines": ("t\nAction: search[a\nb]", "t", "a\nb", ()),
}


@pytest.mark.parametrize(("text", "thought", "argument", "problems"), REPLIES.values(), ids=REPLIES)
def test_replies_of_models(text, thought, argument, problems):
    reply = parse_reply(f"Thought:{'' if text.startswith(chr(10)) else ' '}{text}")
    assert (reply.thought, reply.problems) == (thought, problems)
    assert reply.action == (None if argument is None else Action("search", argument))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "begins with 'Question:', not with ''"),
        ("Thought: x", "begins with 'Question:'"),
        ("x\nQuestion: y", "begins with 'Question:', not with 'x"),
        (
            "Question: x\nAction: search[y]",
            "step 0: 'Action' follows 'the question'",
        ),
        ("Question: x\nThought: y\nAction: a[b]\nAction: c[d]", "step 1: 'Action' follows 'Action'"),
        ("Question: x\nThought: y\nAction: a[b] c", r"step 1: 'a\[b\] c' is not an action"),
        ("Question: x\nThought: y\nAction: nothing", "step 1: 'nothing' is not an action"),
        ("Question: x\nThought: y\nQuestion: z", "has one question"),
    ],
)
def test_a_transcript_that_breaks_the_format_is_refused(text, message):
    with pytest.raises(OctoberError, match=message):
        parse_trajectory(text)


def test_names_of_actions_are_checked():
    with pytest.raises(OctoberError, match=r"action 'two words': a name has letters"):
        Action("two words", "x")
