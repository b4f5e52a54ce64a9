import pytest
import tiny_tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_decoders import hugging_face_model

from october.attention import DecoderLM, DenseCache, decoder_from
from october.attention.mistral import RollingBufferCache

pytestmark = pytest.mark.usefixtures("one_thread")

EXAMPLES = "Question: where is the tower? Answer: in the old town, near the river.\n" * 3
WORDS = [" capital", " of", " France", ".", "\n", " naïve", " 日本", " river", "  two", "x"]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=9).map("".join)


def decoder(make_cache=DenseCache, family="mistral_gqa2", max_batch_tokens=400):
    tokenizer = tiny_tokenizers.sentencepiece_like()
    model = hugging_face_model(family, vocab_size=len(tokenizer), eos_token_id=1, bos_token_id=2)
    return DecoderLM(decoder_from(model), tokenizer, max_batch_tokens=max_batch_tokens, make_cache=make_cache)


@pytest.fixture
def fed(monkeypatch):
    """New tokens [of each row] of all forward passes that follow."""
    counts = []
    begin = DenseCache.begin

    def noting(cache, shape, *, positions=None, new_lengths=None):
        counts.append(list(new_lengths or [shape[1]] * shape[0]))
        return begin(cache, shape, positions=positions, new_lengths=new_lengths)

    monkeypatch.setattr(DenseCache, "begin", noting)
    return counts


@pytest.mark.parametrize(
    ("make_cache", "family"),
    [(DenseCache, "mistral_gqa2"), (DenseCache, "gemma3"), (RollingBufferCache, "mistral_gqa2")],
)
@settings(max_examples=5)
@given(data=st.data())
def test_sessions_with_a_common_beginning_write_what_whole_prompts_do(make_cache, family, data):
    lm, whole = decoder(make_cache, family), decoder(DenseCache, family)
    prefixes = data.draw(st.lists(st.sampled_from([EXAMPLES, EXAMPLES[:-9], "x" * 40, ""]), min_size=2, max_size=6))
    sessions, texts = [lm.start(prefix) for prefix in prefixes], list(prefixes)
    for _ in range(3):
        chosen = data.draw(st.permutations(range(len(sessions))))[: data.draw(st.integers(1, len(sessions)))]
        new = [data.draw(TEXTS) for _ in chosen]
        found = lm.step([sessions[index] for index in chosen], new, max_new_tokens=3)
        expected = whole.generate(
            [texts[index] + text for index, text in zip(chosen, new, strict=True)], max_new_tokens=3
        )
        for index, text, one, other in zip(chosen, new, found, expected, strict=True):
            assert (one.token_ids, one.num_prompt_tokens) == (other.token_ids, other.num_prompt_tokens)
            texts[index] += text + one.text


def test_a_beginning_is_encoded_once_for_all_who_have_it(fed):
    lm = decoder()
    length = len(lm.tokenizer(EXAMPLES)["input_ids"])
    first = [lm.start(EXAMPLES) for _ in range(5)]
    lm.step(first, [" capital", " river x", "\nx", " of", " naïve"], max_new_tokens=1)
    assert fed[0] == [fed[0][0]]
    assert length - 2 <= fed[0][0] <= length
    assert len(fed) == 2
    assert max(fed[1]) < 12
    later = lm.start(EXAMPLES)
    lm.step([later], [" France"], max_new_tokens=1)
    assert len(fed) == 3
    assert fed[2][0] < 6


def test_a_session_alone_is_encoded_in_one_pass(fed):
    lm = decoder()
    (completion,) = lm.step([lm.start(EXAMPLES)], [" capital"], max_new_tokens=1)
    assert fed == [[completion.num_prompt_tokens]]


def test_short_beginnings_take_no_pass_of_their_own(fed):
    lm = decoder()
    lm.step([lm.start("x"), lm.start("x")], [" of", " river"], max_new_tokens=1)
    assert [len(counts) for counts in fed] == [2]


def test_the_last_four_beginnings_are_kept():
    lm = decoder()
    for number in range(7):
        prefix = f"{number} {EXAMPLES}"
        lm.step([lm.start(prefix), lm.start(prefix)], ["x", "y"], max_new_tokens=1)
    kept = lm._prefixes._prefixes
    assert [prefix[0] for prefix in kept] == ["3", "4", "5", "6"]
    assert all(known.cache is not None for known in kept.values())


def test_rows_that_were_given_up_start_from_the_beginning_again(fed):
    """Room for one session only: two that take turns re-encode their own texts, but not what both begin with."""
    lm = decoder(max_batch_tokens=20)
    sessions = [lm.start(EXAMPLES), lm.start(EXAMPLES)]
    lm.step(sessions, [" capital", " river"], max_new_tokens=2)
    fed.clear()
    for turn in range(4):
        lm.step([sessions[turn % 2]], [" of"], max_new_tokens=1)
    assert max(max(counts) for counts in fed) < 25
