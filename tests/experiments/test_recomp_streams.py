"""Documents as one stream of windows, windows to train on, and perplexity by word with its interval."""

import math
import random
from itertools import pairwise

import numpy as np
import pytest
import tiny_tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tiny_texts import NAMES, Cities, HeldOutCities

from october.errors import OctoberError
from october.evaluation import bootstrap_interval, count_words, word_perplexity
from october.experiments.recomp import _perplexity, _streams, _texts
from october.retrieval.recomp import strided_windows


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizers.sentencepiece_like()


@given(
    num_tokens=st.integers(2, 220),
    document_tokens=st.integers(1, 120),
    seed=st.integers(0, 3),
)
def test_a_stream_is_its_documents_one_after_the_other(num_tokens, document_tokens, seed):
    tokenizer, documents = tiny_tokenizers.sentencepiece_like(), HeldOutCities().load()
    order = random.Random(seed).sample(documents, len(documents))
    ids, owners = [], []
    for number, each in enumerate(order):  # token by token
        piece = each.text if number == 0 else "\n\n" + each.text
        for token in tokenizer(piece, add_special_tokens=False)["input_ids"][:document_tokens]:
            ids.append(token)
            owners.append(number)
    if len(ids) < num_tokens:
        with pytest.raises(OctoberError, match=f"num_tokens={num_tokens}: the text has only {len(ids)}"):
            _streams.stream_of(documents, tokenizer, num_tokens, document_tokens, seed)
        return
    if " " not in tokenizer.decode(ids[:num_tokens]):
        with pytest.raises(OctoberError, match="no space"):
            _streams.stream_of(documents, tokenizer, num_tokens, document_tokens, seed)
        return
    stream = _streams.stream_of(documents, tokenizer, num_tokens, document_tokens, seed)
    assert stream.token_ids == ids[:num_tokens]
    assert stream.owners == owners[:num_tokens]
    assert stream.text == tokenizer.decode(ids[:num_tokens])
    assert [stream.documents[owner].id for owner in stream.owners] == [order[o].id for o in owners[:num_tokens]]
    middle = num_tokens // 2
    assert stream.between(0, middle) == tokenizer.decode(ids[:middle]) if middle else True
    assert stream.between(middle, num_tokens) == tokenizer.decode(ids[middle:num_tokens])


def test_a_character_of_several_tokens_is_the_text_of_the_last_of_them(tokenizer):
    text = "naïve 日本 x"
    ids, ends = _streams.encoded(tokenizer, text)
    assert ends[-1] == len(text)
    assert ends == sorted(ends)
    pieces = [_streams.text_between(text, ends, place, place + 1) for place in range(len(ids))]
    assert "".join(pieces) == text


def test_words_are_divided_among_the_windows(tokenizer):
    stream = _streams.stream_of(HeldOutCities().load(), tokenizer, 180, 100, 0)
    windows = strided_windows(180, 40, 8)
    words = [count_words(stream.between(window.predicted, window.end)) for window in windows]
    assert sum(words) == count_words(stream.text)


def test_all_titles_that_a_window_touches_are_forbidden(tokenizer):
    stream = _streams.stream_of(HeldOutCities().load(), tokenizer, 180, 60, 0)
    several = 0
    for window in strided_windows(180, 40, 24):
        found = stream.forbidden_titles(HeldOutCities(), window, 12)
        expected = set()
        for place in range(180):
            if window.predicted - 12 <= place < window.end:
                expected.add(stream.documents[stream.owners[place]].title)
        assert found == expected
        several += len(found) > 1
    assert several


@pytest.mark.parametrize("count", [1, 8, 11])
def test_training_windows_are_of_documents_that_are_not_held_out(tokenizer, count):
    held_out = {"  ROME ", "oslo", "Lima", "Cairo"}
    windows = _streams.training_windows(Cities().documents(), tokenizer, held_out, count, (9, 7), seed=1)
    texts = {each.title: each.text for each in Cities().documents()}
    assert len(windows) == count
    assert not {window.title for window in windows} & {"Rome", "Oslo", "Lima", "Cairo"}
    assert len({window.title for window in windows}) == min(count, 8)  # no second window before each has given one
    places = {}
    for window in windows:
        text = texts[window.title]
        start = text.index(window.query + window.target)
        places.setdefault(window.title, []).append((start, start + len(window.query + window.target)))
    for spans in places.values():
        spans.sort()
        assert all(one[1] <= other[0] for one, other in pairwise(spans))


def test_training_windows_differ_with_the_seed_and_run_out(tokenizer):
    first, again, other = (
        _streams.training_windows(Cities().documents(), tokenizer, (), 6, (9, 7), seed) for seed in (1, 1, 2)
    )
    assert first == again != other
    with pytest.raises(OctoberError, match=r"999 training windows are wanted: .* only"):
        _streams.training_windows(Cities().documents(), tokenizer, (), 999, (9, 7), 0)
    with pytest.raises(OctoberError, match="there are only 0"):
        _streams.training_windows(Cities().documents(), tokenizer, set(NAMES), 1, (9, 7), 0)


@pytest.mark.parametrize(("num_tokens", "window", "stride"), [(40, 40, 8), (90, 40, 40), (90, 40, 0)])
def test_a_text_has_more_than_one_window(num_tokens, window, stride):
    with pytest.raises(OctoberError, match=r"num_tokens=40: must be above|stride=\d+: must be from 1"):
        _texts.Reading(num_tokens, 20, window, stride)


# Perplexity


@given(
    losses=st.lists(st.floats(0, 50), min_size=2, max_size=20),
    words=st.integers(1, 9),
)
def test_log_perplexity_with_equal_words_is_a_mean_with_its_interval(losses, words):
    found = _perplexity.log_perplexity(losses, [words] * len(losses))
    assert tuple(found) == pytest.approx(tuple(bootstrap_interval(np.array(losses) / words)), abs=1e-9)


def test_log_perplexity_is_that_of_the_text():
    text = "one two  three\nfour five six seven"
    words, losses = [2, 0, 4], [3.0, 1.5, 7.25]
    assert sum(words) == count_words(text)
    assert _perplexity.perplexity_cell(losses, words).value == pytest.approx(word_perplexity(losses, text))
    theirs = [4.0, 1.0, 9.0]
    difference = _perplexity.difference_cell(losses, theirs, words)
    assert difference.value == pytest.approx(
        math.log(word_perplexity(losses, text)) - math.log(word_perplexity(theirs, text))
    )
    assert difference.bounds[0] <= difference.value <= difference.bounds[1]


def test_the_interval_is_near_that_of_resampled_windows():
    generator = np.random.default_rng(0)
    words = generator.integers(15, 30, 200)
    losses = words * generator.normal(3.0, 0.4, 200)
    drawn = generator.integers(0, 200, (4000, 200))
    low, high = np.quantile(losses[drawn].sum(1) / words[drawn].sum(1), [0.025, 0.975])
    found = _perplexity.log_perplexity(losses, words)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.1 * (high - low))


def test_the_same_losses_differ_by_nothing():
    cell = _perplexity.difference_cell([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1, 1, 4])
    assert (cell.value, cell.interval) == (0.0, (0.0, 0.0))
    assert _perplexity.p_value_cell([1.0, 2.0], [1.0, 2.0]).value == 1.0
    assert _perplexity.p_value_cell([0.0] * 5, [1.0] * 5).value == pytest.approx(2 / 2**5)
