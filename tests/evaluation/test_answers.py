import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from tiny_lm import tiny_lm

from october.errors import OctoberError
from october.evaluation import (
    answer_from,
    contains_answer,
    count_words,
    exact_match,
    normalize_answer,
    num_tokens,
    paired_test,
    rouge_l,
    token_f1,
    word_perplexity,
)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Eiffel Tower!", "eiffel tower"),
        ("a an the", ""),
        ("Theatre, another anthem", "theatre another anthem"),
        ("The U.S.A.", "usa"),
        ("1,234.5", "12345"),
        ("rock-and-roll", "rockandroll"),
        ("Beyonce\u0301", "beyoncé"),
        ("\tSÃO\nPAULO ", "são paulo"),
        ("“quoted”", "“quoted”"),  # only ASCII punctuation goes, as in SQuAD's own
        ("A-Team", "ateam"),
        ("Vitamin A", "vitamin"),
    ],
)
def test_normal_forms(text, normal):
    assert normalize_answer(text) == normal
    assert normalize_answer(normal) == normal


@pytest.mark.parametrize(
    ("prediction", "answers", "match", "f1"),
    [
        ("the Beatles", ["Beatles"], 1, 1),
        ("Beatles.", ["The Rolling Stones", "The Beatles"], 1, 1),
        ("the rock band Beatles", ["The Beatles"], 0, 2 * (1 / 3) * 1 / (1 / 3 + 1)),
        ("14 July 1789", ["July 14, 1789"], 0, 1),
        ("1789", ["July 14, 1789", "1789 AD"], 0, 2 * 1 * 0.5 / 1.5),
        ("to be or not to be", ["to be"], 0, 2 * (2 / 6) * 1 / (2 / 6 + 1)),
        ("", ["Paris"], 0, 0),
        ("The", ["the"], 1, 1),
        ("Zürich", ["Zu\u0308rich"], 1, 1),
        ("Zurich", ["Zürich"], 0, 0),
        ("London", ["Paris", "Lutetia"], 0, 0),
    ],
)
def test_golden_scores(prediction, answers, match, f1):
    assert exact_match(prediction, answers) == match
    assert token_f1(prediction, answers) == pytest.approx(f1)


def test_yes_and_no_score_whole_or_not_at_all():
    assert token_f1("yes it is", ["yes"]) == pytest.approx(0.5)
    assert token_f1("yes it is", ["yes"], decided=True) == 0
    assert token_f1("yes", ["yes it is"], decided=True) == 0
    assert token_f1("Yes.", ["yes"], decided=True) == 1
    assert token_f1("noanswer", ["no answer at all", "noanswer"], decided=True) == 1
    assert token_f1("no man's land", ["no man's land at all"], decided=True) == pytest.approx(6 / 8)


@given(st.lists(st.sampled_from("abcd"), max_size=6), st.lists(st.sampled_from("bcde"), max_size=6))
def test_f1_counts_common_tokens_one_by_one(predicted, right):
    left = [word for word in right if word != "a"]
    common = 0
    for word in (word for word in predicted if word != "a"):  # 'a' is an article
        if word in left:
            left.remove(word)
            common += 1
    count, wanted = sum(word != "a" for word in predicted), len([word for word in right if word != "a"])
    if not count or not wanted:
        expected = float(count == wanted)
    else:
        precision, recall = common / count, common / wanted
        expected = 2 * precision * recall / (precision + recall) if common else 0.0
    assert token_f1(" ".join(predicted), [" ".join(right)]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (" Paris\nQuestion: and Rome?", "Paris"),
        ("So the answer is Paris.\nQuestion", "Paris."),
        ("He was born there, so the answer is \n Ulm \nmore", "Ulm"),
        ("the answer is 7; another answer is 8", "7; another answer is 8"),
        ("", ""),
        (" \n\n", ""),
        ("the answer is ", ""),
        ("\n\nParis", "Paris"),
    ],
)
def test_the_answer_is_cut_out(text, answer):
    assert answer_from(text) == answer


@pytest.mark.parametrize(
    ("text", "answers", "found"),
    [
        ("Born in Ulm, Einstein moved.", ["Ulm"], True),
        ("Born in Ulmer.", ["Ulm"], False),
        ("the new york times", ["New York"], True),
        ("New-York", ["New York"], False),
        ("York, New", ["New York"], False),
        ("He died in 1,955.", ["1955", "1,955"], True),
        ("Beyonce\u0301 sang", ["Beyoncé"], True),
        ("O'Neill", ["o'neill"], True),
        ("anything", [""], False),
        ("", ["x"], False),
    ],
)
def test_answers_stand_in_passages_token_by_token(text, answers, found):
    assert contains_answer(text, answers) is found


def test_perplexity_is_by_spaces_of_the_raw_text():
    text = " = Title = \n A  <unk> text . \n"
    assert count_words(text) == sum(character == " " for character in text) == 10
    losses = [0.5, 2.0, 1.25]
    assert word_perplexity(losses, text) == pytest.approx(math.exp(3.75 / 10))
    assert word_perplexity(np.array(losses), "a b") == pytest.approx(math.exp(3.75))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=14))
def test_for_hits_and_misses_it_is_mcnemars_exact_test(pairs):
    ours, theirs = ([float(pair[side]) for pair in pairs] for side in (0, 1))
    wins = sum(a and not b for a, b in pairs)
    losses = sum(b and not a for a, b in pairs)
    expected = scipy.stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert paired_test(ours, theirs) == pytest.approx(expected)


@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=2, max_size=8))
def test_few_pairs_are_scipys_exact_permutation_test(pairs):
    ours, theirs = np.array(pairs, dtype=float).T
    theirs_p = scipy.stats.permutation_test(
        (ours, theirs), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert paired_test(ours, theirs) == pytest.approx(theirs_p)


def test_many_pairs_are_close_to_the_t_test():
    generator = np.random.default_rng(0)
    theirs = generator.normal(size=300)
    ours = theirs + 0.1 + generator.normal(size=300)
    p = paired_test(ours, theirs)
    assert p == pytest.approx(scipy.stats.ttest_rel(ours, theirs).pvalue, abs=0.02)
    assert p == paired_test(ours, theirs)
    assert p != paired_test(ours, theirs, seed=1)
    assert paired_test(theirs + 1, theirs) == pytest.approx(1 / 10_001)
    assert paired_test(theirs, theirs) == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: exact_match("a", []), "at least one answer"),
        (lambda: token_f1("a", []), "at least one answer"),
        (lambda: contains_answer("a", []), "at least one answer"),
        (lambda: exact_match("a", "answer"), "a list of answers is needed"),
        (lambda: word_perplexity([1.0], "word"), "no space"),
        (lambda: paired_test([1.0], [1.0, 2.0]), "1 scores against 2"),
        (lambda: paired_test([], []), "at least one pair"),
        (lambda: paired_test([np.nan], [1.0]), "finite"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(OctoberError, match=message):
        call()


WORDS = st.lists(st.sampled_from(["the", "cat", "Cats", "sat", "3", "a-b", "é", "."]), max_size=9).map(" ".join)


@given(prediction=WORDS, answers=st.lists(WORDS, min_size=1, max_size=3))
def test_rouge_l_is_that_of_an_independent_implementation(prediction, answers):
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    theirs = max(scorer.score(answer, prediction)["rougeL"].fmeasure for answer in answers)
    assert rouge_l(prediction, answers) == pytest.approx(theirs)


def test_rouge_l_of_a_case_by_hand():
    assert rouge_l("Police killed the gunman.", ["police kill the gunman"]) == pytest.approx(3 / 4)
    assert rouge_l("x", ["", "y"]) == 0
    with pytest.raises(OctoberError, match="at least one answer"):
        rouge_l("x", [])


def test_tokens_in_context_are_those_without_special_ones():
    tokenizer = tiny_lm("llama").tokenizer
    texts = ["", "Rome is old.", "Rome is old. It lies on the Tiber."]
    expected = [len(tokenizer(text)["input_ids"]) - 1 for text in texts]  # without the start token
    assert expected[0] == 0 < expected[1] < expected[2]
    assert num_tokens(tokenizer, texts) == expected
    assert num_tokens(tokenizer, []) == []
    for bad, message in ((None, "text 1 is NoneType, not text"), ("half \ud800", "text 1 is not UTF-8")):
        with pytest.raises(OctoberError, match=message):
            num_tokens(tokenizer, ["a", bad])
