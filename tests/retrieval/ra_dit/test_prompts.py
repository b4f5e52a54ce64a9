import pytest
from hypothesis import given
from hypothesis import strategies as st

from october.errors import OctoberError
from october.retrieval.ra_dit import (
    Demonstration,
    Example,
    Markers,
    answer_text,
    families,
    few_shot_head,
    few_shot_prompt,
    random_markers,
    rendered,
    with_background,
)

SHORT = Markers("Q: ", "\n", "A:")


def whole(example, passage=None):
    """Everything the model reads and writes."""
    prompt = with_background(example, passage)
    return prompt + answer_text(example.answer, prompt)


def test_an_open_question_stands_behind_its_background():
    example = rendered("open_qa", "Who wrote Hamlet?", "Shakespeare", markers=SHORT)
    assert whole(example, "Hamlet is a play.") == (
        "Background: Hamlet is a play.\n\nQ: Who wrote Hamlet?\nA: Shakespeare"
    )
    assert whole(example) == "Q: Who wrote Hamlet?\nA: Shakespeare"
    assert example.query == "Who wrote Hamlet?"


def test_reading_comprehension_has_its_context_as_background_and_is_not_searched_for():
    example = rendered("reading_comprehension", "Where?", "Paris", background="It is in Paris.")
    assert whole(example) == "Background: It is in Paris.\n\nQuestion: Where?\nAnswer: Paris"
    assert whole(example, "Other.") == "Background: Other.\n\nQuestion: Where?\nAnswer: Paris"
    assert example.query == ""


def test_a_summary_follows_its_article():
    example = rendered("summarisation", answer="Short.", background="A long text.", markers=SHORT)
    assert whole(example) == "Background: A long text.\n\nSummarize this article:\nA: Short."


def test_a_dialogue_repeats_its_turns_and_is_searched_for_by_all_that_was_said():
    example = rendered("dialogue", "And where?", "In Paris", turns=[("When?", "In 1900")], markers=SHORT)
    assert whole(example) == "Q: When?\nA: In 1900\nQ: And where?\nA: In Paris"
    assert example.query == "When? In 1900 And where?"


def test_a_chain_of_thought_ends_with_the_answer():
    example = rendered("chain_of_thought", "2 x 3?", "6", reasoning="Twice three.", task_text="Think.", markers=SHORT)
    assert whole(example) == "Think.\nQ: 2 x 3?\nA: Twice three. The answer is 6."
    assert example.query == "2 x 3?"


def test_options_are_listed_and_scored_by_their_letters():
    example = rendered("mmlu", "Capital?", "Rome", options=["Paris", "Rome", "Bern", "Oslo"])
    assert whole(example) == "Question: Capital?\nA. Paris\nB. Rome\nC. Bern\nD. Oslo\nA: B"
    assert example.options == ("A", "B", "C", "D")
    drawn = rendered("multiple_choice", "Capital?", "Paris", options=["Paris", "Rome"], markers=Markers("", "\n", "A:"))
    assert whole(drawn) == "Capital?\nA. Paris\nB. Rome\nA: A"


@pytest.mark.parametrize(
    ("family", "question", "expected"),
    [
        ("fever", "Rome is old.", 'Question: Is this statement true? "Rome is old."\nAnswer:'),
        ("t_rex", "Rome [SEP] country", "Question: Rome [SEP] country\nAnswer:"),
        ("zs_re", "Rome [SEP] country", "Question: Rome [SEP] country\nAnswer:"),
        ("eli5", "Why is the sky blue?", "Question: Why is the sky blue?\nAnswer:"),
        (
            "aida",
            "In [START_ENT] Rome [END_ENT]",
            "Question: Output the Wikipedia page title of the entity mentioned between [START_ENT] and [END_ENT] "
            "in the given text\n\nIn [START_ENT] Rome [END_ENT]\nAnswer:",
        ),
    ],
)
def test_tasks_of_the_evaluation(family, question, expected):
    example = rendered(family, question, "x", task=family)
    assert example.instruction == expected
    assert example.query == question


def test_statements_are_scored_by_their_own_words():
    example = rendered("fever", "Rome is old.", "True", options=("True", "False"))
    assert (example.answer, example.options) == ("True", ("True", "False"))


def test_unsupervised_text_is_learned_as_it_is():
    example = rendered("text", answer="Once upon a time.")
    assert whole(example) == "Once upon a time."


def test_braces_in_fields_are_plain_text():
    example = rendered("open_qa", "What is {answer}?", "{0.__class__}")
    assert whole(example) == "Question: What is {answer}?\nAnswer: {0.__class__}"


def test_demonstrations_come_first_so_that_prompts_share_them():
    shown = [rendered("open_qa", f"q{n}?", f"a{n}", markers=SHORT) for n in range(2)]
    demonstrations = [Demonstration(shown[0], "b0"), Demonstration(shown[1])]
    head = "Background: b0\n\nQ: q0?\nA: a0\n\nQ: q1?\nA: a1\n\n"
    assert few_shot_head(demonstrations) == head
    asked = rendered("open_qa", "q?", "a", markers=SHORT)
    assert few_shot_prompt(demonstrations, asked, "p") == f"{head}Background: p\n\nQ: q?\nA:"
    assert few_shot_prompt((), asked.instruction, None) == "Q: q?\nA:"


@given(st.text(), st.integers())
def test_markers_depend_on_their_key_alone_and_all_are_drawn(key, seed):
    assert random_markers(seed, key) == random_markers(seed, key)
    drawn = {random_markers(seed, key, number) for number in range(200)}
    assert len(drawn) == 6
    starts = [random_markers(seed, key, number).start for number in range(600)]
    assert all(140 < starts.count(start) < 260 for start in ("", "Q: ", "Question: "))


@given(
    st.sampled_from([family for family in families() if family != "text"]),
    st.text(min_size=1).filter(lambda text: text.strip()),
    st.integers(),
)
def test_no_prompt_ends_with_white_space_and_one_space_parts_it_from_the_answer(family, text, seed):
    options = (text, "other than that", "third") if family in ("mmlu", "multiple_choice") else ()
    example = rendered(
        family, text, text, background="b", turns=[(text, text)], options=options, reasoning="r",
        markers=random_markers(seed),
    )  # fmt: skip
    prompt = with_background(example, "passage")
    assert prompt == prompt.rstrip()
    learned = answer_text(example.answer, prompt)
    assert learned[0] == " "
    assert learned[1:] == learned[1:].lstrip()


def test_bad_fields_are_named():
    with pytest.raises(OctoberError, match="family=quiz: allowed are open_qa"):
        rendered("quiz", "q", "a")
    with pytest.raises(OctoberError, match="open_qa: question is empty"):
        rendered("open_qa", " ", "a")
    with pytest.raises(OctoberError, match="open_qa: answer is empty"):
        rendered("open_qa", "q")
    with pytest.raises(OctoberError, match="chain_of_thought: reasoning is empty"):
        rendered("chain_of_thought", "q", "a")
    with pytest.raises(OctoberError, match="summarisation: a background is needed"):
        rendered("summarisation", answer="a")
    with pytest.raises(OctoberError, match="reading_comprehension: background is empty"):
        rendered("reading_comprehension", "q", "a", background=" ")
    with pytest.raises(OctoberError, match=r"mmlu: answer 'c' is not among the options \['a', 'b'\]"):
        rendered("mmlu", "q", "c", options=["a", "b"])
    with pytest.raises(OctoberError, match=r"mmlu: options=\['a'\]: between 2 and 26 are needed"):
        rendered("mmlu", "q", "a", options=["a"])
    with pytest.raises(OctoberError, match="instruction 'Q: ' of t: must not end with white space"):
        Example("t", "open_qa", "Q: ", "a", "q")
    with pytest.raises(OctoberError, match="answer ' a' of t: needs text, and no white space in front"):
        Example("t", "open_qa", "Q:", " a", "q")
