import pytest

from october.agents.fireact.descriptions import described


@pytest.mark.parametrize(
    ("question", "phrase", "again"),
    [
        ("What money has the country of Oslo?", "the country of Oslo", "What money has it?"),
        ("What borders the one in which Oslo lies?", "the country in which Oslo lies", "What borders it?"),
        ("Name the money of the one where Oslo is found.", "the country where Oslo is found", "Name the money of it."),
        ("Who rules the country that Oslo belongs to?", "the country that Oslo belongs to", "Who rules it?"),
        ("The country of Oslo is how large?", "the country of Oslo", "It is how large?"),
        ("Who lies next to the one around Oslo?", "the country around Oslo", "Who lies next to it?"),
        ("In which zone is the capital of the Oslo?", "the capital of the Oslo", "In which zone is it?"),
        ("What is the zone of the Oslo's capital?", "the Oslo's capital", "What is the zone of it?"),
    ],
)
def test_a_place_is_described_in_the_questions_words(question, phrase, again):
    description = described(question, "Oslo")
    assert description.phrase == phrase
    assert description.asked_of("it") == again


@pytest.mark.parametrize(
    ("question", "phrase", "again"),
    [
        ("When was the creator of Emma (1) born?", "the creator of Emma (1)", "When was she born?"),
        ("In what year did Emma (1)'s creator die?", "Emma (1)'s creator", "In what year did she die?"),
        ("The one who wrote Emma (1) was born when?", "the one who wrote Emma (1)", "She was born when?"),
        ("When did the person die who wrote Emma (1)?", "the person who wrote Emma (1)", "When did she die?"),
        ("How old was the person behind Emma (1)?", "the person behind Emma (1)", "How old was she?"),
    ],
)
def test_so_is_who_made_a_work(question, phrase, again):
    description = described(question, "Emma (1)")
    assert description.phrase == phrase
    assert description.asked_of("she") == again


@pytest.mark.parametrize(
    "question",
    [
        "How old is Oslo?",
        "Oslo lies in a country with which money?",
        "What money has the country of Bergen?",
        "What money has the country of Oslofjord?",
    ],
)
def test_nothing_is_made_up(question):
    assert described(question, "Oslo") is None
