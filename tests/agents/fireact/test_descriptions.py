import pytest

from october.agents.fireact.descriptions import described


@pytest.mark.parametrize(
    ("question", "phrase"),
    [
        ("What money has the country of Oslo?", "the country of Oslo"),
        ("What borders the one in which Oslo lies?", "the country in which Oslo lies"),
        ("Name the money of the country where Oslo is found.", "the country where Oslo is found"),
        ("Who rules the country that Oslo belongs to?", "the country that Oslo belongs to"),
        ("The country of Oslo is how large?", "the country of Oslo"),
        ("Who lies next to the one around Oslo?", "the country around Oslo"),
        ("In which zone is the capital of the Oslo?", "the capital of the Oslo"),
        ("What is the zone of the Oslo's capital?", "the Oslo's capital"),
    ],
)
def test_a_place_is_described_in_the_questions_words(question, phrase):
    assert described(question, "Oslo") == phrase


@pytest.mark.parametrize(
    ("question", "phrase"),
    [
        ("When was the creator of Emma (1) born?", "the creator of Emma (1)"),
        ("In what year did Emma (1)'s creator die?", "Emma (1)'s creator"),
        ("The one who wrote Emma (1) was born when?", "the one who wrote Emma (1)"),
        ("When did the person die who wrote Emma (1)?", "the person who wrote Emma (1)"),
        ("How old was the person behind Emma (1)?", "the person behind Emma (1)"),
    ],
)
def test_so_is_who_made_a_work(question, phrase):
    assert described(question, "Emma (1)") == phrase


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
