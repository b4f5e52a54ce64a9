from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from october.errors import OctoberError
from october.retrieval import sentence_spans, split_all, split_sentences

TEXT = (
    "Johann Sebastian Bach (31 March 1685 – 28 July 1750) was a German composer. He was born in Eisenach, approx. 40 "
    "km from St. Wenzel.  Dr. J. Smith calls him “the greatest”! Was he?\nThe U.S. premiere cost $3.5 million."
)
SENTENCES = [
    "Johann Sebastian Bach (31 March 1685 – 28 July 1750) was a German composer.",
    "He was born in Eisenach, approx. 40 km from St. Wenzel.",
    "Dr. J. Smith calls him “the greatest”!",
    "Was he?",
    "The U.S. premiere cost $3.5 million.",
]


GOLDEN = [
    ["It lies in Poland.", "A traveller finds it in the west.", "Its position is 91.8° W.", "The city is old."],
    ["J. R. R. Tolkien met Dr. J. Brown.", "He lived in the U.S.", "The U.S. Army did not."],
    ["It existed c. 1465, p. 12, and c.\u2009500 BC.", "She died in Washington, D.C.", "In 1900 it rained."],
    ["Beta vulgaris subsp. vulgaris is classified as var. saccharifera.", "It grows."],
    ["He likes cars, trains, etc. and boats, etc.", "People differ.", "Mr. and Mrs. Smith, i.e. the Smiths, do."],
    ["Vol. 3, no. 5 of the review (est. 1890) cost approx. 4.5 kr. a copy.", "Prices rose in Jan. 1901."],
    ["He asked “Why?”", "Nobody answered!", "Plan B failed...", "The end."],
    ["Vitamin C.", "It is sour."],
]


@pytest.mark.parametrize("sentences", GOLDEN)
def test_golden_borders(sentences):
    assert split_sentences(" ".join(sentences)) == sentences


def test_sentences_of_an_ordinary_paragraph():
    assert split_sentences(TEXT) == SENTENCES
    assert [TEXT[start:stop] for start, stop in sentence_spans(TEXT)] == SENTENCES


def test_a_blank_line_ends_a_sentence_and_a_line_break_does_not():
    assert split_sentences("A heading\n \t\nthe text of\ntwo lines\r\n\r\n\n\nlast ") == [
        "A heading",
        "the text of\ntwo lines",
        "last",
    ]


@given(st.text("abC. !?\n　\"'", max_size=80), st.integers(1, 30))
def test_every_character_but_white_space_stands_in_one_sentence(text, limit):
    spans = sentence_spans(text, limit)
    covered = [place for start, stop in spans for place in range(start, stop) if not text[place].isspace()]
    assert covered == [place for place, character in enumerate(text) if not character.isspace()]
    for start, stop in spans:
        assert 0 < stop - start <= limit
        assert text[start:stop] == text[start:stop].strip()


@given(st.lists(st.text("abc", min_size=1, max_size=9), min_size=1, max_size=60), st.integers(9, 40))
def test_a_long_sentence_is_cut_between_words(words, limit):
    pieces = split_sentences(" ".join(words), limit)
    assert " ".join(pieces).split() == words
    for piece, after in pairwise(pieces):  # no word more would have fitted
        assert len(piece) + 1 + len(after.split()[0]) > limit


def test_one_enormous_sentence():
    sentence = "the same word " * 700 + "ends."
    assert len(split_sentences(sentence)) == 5
    assert " ".join(split_sentences(sentence)) == sentence
    assert "".join(split_sentences("x" * 10_000, 3000)) == "x" * 10_000


def test_many_texts_at_once():
    assert split_all([TEXT, "", "One. Two.", TEXT]) == [SENTENCES, [], ["One.", "Two."], SENTENCES]


def test_bad_input_is_named():
    with pytest.raises(OctoberError, match="max_characters=0"):
        split_sentences("a", 0)
    with pytest.raises(OctoberError, match="text is bytes"):
        split_sentences(b"a")
