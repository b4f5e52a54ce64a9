import pytest
import tiny_tokenizers
from hypothesis import given
from hypothesis import strategies as st

from october.language_models.stopping import StopStrings, decode_after
from october.language_models.text_stream import TextStream

PROMPTS = ["The capital", "x ", " 日", "naïve"]
TEXTS = st.text("the river日本é😀 .\n", max_size=20)


@pytest.fixture(scope="module", params=["sentencepiece_like", "byte_level", "llama_like"])
def tokenizer(request):
    if request.param != "llama_like":
        return getattr(tiny_tokenizers, request.param)()
    from tokenizers import decoders

    tokenizer = tiny_tokenizers.sentencepiece_like()  # as Llama's and Mistral's: a leading space is stripped
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.backend_tokenizer.decoder = decoders.Sequence(steps)
    return tokenizer


def streamed(tokenizer, prompt_token, token_ids, stop=()):
    stream = TextStream(tokenizer, prompt_token, stop)
    return [stream.piece(token) for token in token_ids]


@given(prompt=st.sampled_from(PROMPTS), text=TEXTS)
def test_pieces_are_the_beginning_of_the_whole_text(tokenizer, prompt, text):
    """After every token what came so far begins the text of all tokens, and at most one character run is missing."""
    last = tokenizer(prompt, add_special_tokens=False)["input_ids"][-1]
    token_ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    pieces = streamed(tokenizer, last, token_ids)
    whole = decode_after(tokenizer, last, token_ids)
    assert whole.startswith("".join(pieces))
    assert "\ufffd" not in "".join(pieces)
    finishing = tokenizer(".", add_special_tokens=False)["input_ids"]
    assert "".join(streamed(tokenizer, last, [*token_ids, *finishing])) == whole + "."


@given(token_ids=st.lists(st.integers(3, 250), max_size=12), prompt=st.sampled_from(PROMPTS))
def test_any_tokens_at_all(tokenizer, token_ids, prompt):
    """Bytes that are no characters come out as the tokenizer decodes them, once they can no longer become any."""
    last = tokenizer(prompt, add_special_tokens=False)["input_ids"][-1]
    whole = decode_after(tokenizer, last, token_ids)
    assert whole.startswith("".join(streamed(tokenizer, last, token_ids)))


STOPS = st.lists(st.sampled_from(["r", "ive", "e r", "日本", "\n\n", " th", ". "]), min_size=1, max_size=3)


@given(before=TEXTS, stop=STOPS, after=TEXTS)
def test_nothing_of_a_stop_string_comes_out(tokenizer, before, stop, after):
    """Though tokens go on to come, which no loop lets happen: what came was given out before the string was whole."""
    last = tokenizer("x", add_special_tokens=False)["input_ids"][-1]
    token_ids = tokenizer(before + stop[0] + after, add_special_tokens=False)["input_ids"]
    expected, found = StopStrings(tokenizer, stop).cut(decode_after(tokenizer, last, token_ids))
    assert found is not None
    assert expected.startswith("".join(streamed(tokenizer, last, token_ids, stop)))


def test_only_what_may_begin_a_stop_string_is_held_back():
    tokenizer = tiny_tokenizers.byte_level()
    last, *token_ids = tokenizer("x", add_special_tokens=False)["input_ids"] + [
        tokenizer(letter, add_special_tokens=False)["input_ids"][0] for letter in "abcabd"
    ]
    assert streamed(tokenizer, last, token_ids, ["abd"]) == ["", "", "abc", "", "", ""]
    assert streamed(tokenizer, last, token_ids, ["bcx"]) == ["a", "", "", "bca", "", "bd"]
