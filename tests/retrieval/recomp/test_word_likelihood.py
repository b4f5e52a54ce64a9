"""The cache model of single words, against its formula summed one word at a time."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from october.errors import OctoberError
from october.retrieval.recomp import ScoringRequest, WordLikelihood

BACKGROUND = ["Rome is old.", "Oslo, the capital, is by the sea.", "the the sea"]
TEXTS = st.lists(st.sampled_from(["rome", "Oslo", "sea", "Lima", "the", "1843"]), max_size=6).map(" ".join)


def by_hand(history, text, share):
    """p of each word from lists that grow, without counters."""
    background = re.findall(r"\w+", " ".join(BACKGROUND).lower())
    read, total = history.lower().split(), 0.0
    for word in text.lower().split():
        rare = (background.count(word) + 1) / (len(background) + len(set(background)) + 1)
        recent = read.count(word) / len(read) if read else rare
        total += math.log(share * recent + (1 - share) * rare)
        read.append(word)
    return total


@given(history=TEXTS, text=TEXTS, share=st.floats(0.05, 0.95))
def test_it_is_the_mixture_of_what_was_read_and_the_background(history, text, share):
    model = WordLikelihood(BACKGROUND, share=share)
    assert model.log_probability(history, text) == pytest.approx(by_hand(history, text, share))


def test_words_and_one_unseen_word_have_probabilities_that_sum_to_one():
    model = WordLikelihood(BACKGROUND)
    total = sum(math.exp(model.log_probability("Rome by the sea", word)) for word in model.counts)
    assert total + math.exp(model.log_probability("Rome by the sea", "never")) == pytest.approx(1)


def test_the_sentence_with_the_answer_is_the_best():
    sentences = ("Rome: It is old.", "Oslo: It lies by the sea.", "")
    request = ScoringRequest("What is old?", ("Rome", "Roma"), sentences)
    ((told, misled, alone),) = WordLikelihood(BACKGROUND).scores([request])
    assert told > max(misled, alone)
    assert alone == pytest.approx(by_hand("What is old", "Rome", 0.5))


def test_its_fingerprint_is_that_of_background_and_share():
    names = {WordLikelihood(texts, share=share).fingerprint() for texts in (["a b"], ["a a"]) for share in (0.4, 0.5)}
    assert len(names) == 4
    assert WordLikelihood(["b a"]).fingerprint() == WordLikelihood(["a b"]).fingerprint()


@pytest.mark.parametrize(("texts", "share", "message"), [(["a"], 1.0, r"share=1\.0"), (["..."], 0.5, "no words")])
def test_mistakes_get_one_line(texts, share, message):
    with pytest.raises(OctoberError, match=message):
        WordLikelihood(texts, share=share)
