"""`DecoderLM` on rolling caches and chunked pre-fill: texts, scores and sessions equal those of transformers."""

import gc

import pytest
import tiny_tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from one_line import one_line
from tiny_decoders import hugging_face_model
from tiny_mistral import mistral

from october.attention import DecoderLM, Transformer, decoder_from
from october.attention.mistral import RollingBufferCache
from october.language_models import TransformersLM

pytestmark = pytest.mark.usefixtures("one_thread")

WORDS = ["The", " capital", " of", " France", " is", " Paris", ".", "\n", " naïve", " 日本", " river", "  two", "x"]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=25).map("".join)
SHARED = "Question: where is the tower? Answer: in the old town, near the river.\n"
WINDOW = 6


def pair_of(family, **settings):
    """The same weights and tokenizer behind both engines, ours on rolling caches."""
    tokenizer = tiny_tokenizers.sentencepiece_like()
    special = {"vocab_size": len(tokenizer), "eos_token_id": 1, "bos_token_id": 2}
    model = mistral(WINDOW, **special) if family == "mistral" else hugging_face_model(family, **special)
    settings = {"make_cache": RollingBufferCache, "prefill_chunk": 4, "max_batch_tokens": 200, **settings}
    return DecoderLM(decoder_from(model), tokenizer, **settings), TransformersLM(model, tokenizer, max_batch_tokens=200)


@pytest.fixture(scope="module", params=["mistral", "gemma3"])
def engines(request):
    return pair_of(request.param)


def assert_same(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        assert (one.text, one.token_ids, one.finish_reason) == (other.text, other.token_ids, other.finish_reason)
        assert one.log_probabilities == pytest.approx(other.log_probabilities, abs=1e-4)


@settings(deadline=None, max_examples=6)
@given(prompts=st.lists(TEXTS, min_size=1, max_size=5), shared=st.booleans(), temperature=st.sampled_from([0.0, 1.0]))
def test_texts_equal_those_of_transformers(engines, prompts, shared, temperature):
    ours, theirs = engines
    prompts = [SHARED * shared + prompt for prompt in prompts]
    arguments = {"max_new_tokens": 12, "stop": ["river", "é"], "temperature": temperature, "seed": 5}
    assert_same(ours.generate(prompts, **arguments), theirs.generate(prompts, **arguments))


def test_scores_equal_those_of_transformers(engines):
    ours, theirs = engines
    texts = [SHARED + word for word in WORDS], [f" {word} river of" for word in WORDS]
    for one, other in zip(ours.score(*texts), theirs.score(*texts), strict=True):
        assert one.log_probabilities == pytest.approx(other.log_probabilities, abs=1e-4)


@settings(deadline=None, max_examples=4)
@given(data=st.data())
def test_sessions_that_come_and_go_equal_one_at_a_time(engines, data):
    """Ragged sessions step together in any order; some end and new ones take their rows; transformers re-sends all."""
    ours, theirs = engines
    mine, others = [], []
    for _ in range(3):
        for text in data.draw(st.lists(TEXTS, min_size=not mine, max_size=2)):
            mine.append(ours.start(text))
            others.append(theirs.start(text))
        chosen = data.draw(st.permutations(range(len(mine))))[: data.draw(st.integers(1, len(mine)))]
        texts = [data.draw(TEXTS) for _ in chosen]
        arguments = {"max_new_tokens": data.draw(st.integers(1, 9)), "stop": data.draw(st.sampled_from([(), ("e",)]))}
        found = ours.step([mine[index] for index in chosen], texts, **arguments)
        alone = [theirs.step([others[i]], [text], **arguments)[0] for i, text in zip(chosen, texts, strict=True)]
        assert_same(found, alone)
        ended = data.draw(st.integers(0, len(mine) - 1))
        if len(mine) > 1:
            del mine[ended], others[ended]
        gc.collect()


def test_a_session_that_ends_leaves_the_others_as_they_are():
    """A new session takes the row of one that has ended; the one beside it goes on as if it had been alone."""
    ours, _ = pair_of("mistral")
    alone, _ = pair_of("mistral")
    kept, by_itself = ours.start(SHARED), alone.start(SHARED)
    for turn in range(4):
        (found, _) = ours.step([kept, ours.start("The capital" * turn)], [" of", " x"], max_new_tokens=8)
        (expected,) = alone.step([by_itself], [" of"], max_new_tokens=8)
        assert found.token_ids == expected.token_ids
        assert found.log_probabilities == pytest.approx(expected.log_probabilities, abs=1e-5)
        gc.collect()
    assert len(ours._sessions.cache.lengths) == 2


def test_a_turn_feeds_only_what_is_new(monkeypatch):
    """A text four windows long is not encoded again for its next turn."""
    ours, _ = pair_of("mistral", prefill_chunk=None)
    session = ours.start(SHARED)
    (first,) = ours.step([session], [""], max_new_tokens=1)
    shapes, begin = [], RollingBufferCache.begin

    def noting(cache, shape, **settings):
        shapes.append(shape)
        return begin(cache, shape, **settings)

    monkeypatch.setattr(RollingBufferCache, "begin", noting)
    (completion,) = ours.step([session], [" The capital of France"], max_new_tokens=1)
    assert first.num_prompt_tokens > 4 * WINDOW
    assert shapes == [(1, completion.num_prompt_tokens - first.num_prompt_tokens)]
    assert ours._sessions.cache.memory_bytes() == 2 * 3 * WINDOW * 2 * 8 * 4


def test_no_text_passes_in_pieces_larger_than_the_chunk(monkeypatch):
    ours, _ = pair_of("mistral")
    shapes, begin = [], RollingBufferCache.begin

    def noting(cache, shape, **settings):
        shapes.append(shape)
        return begin(cache, shape, **settings)

    monkeypatch.setattr(RollingBufferCache, "begin", noting)
    ours.generate([SHARED, SHARED + "x", "x"], max_new_tokens=2)
    assert max(tokens for _, tokens in shapes) == 4


def test_rows_count_by_the_window_and_not_by_their_tokens(monkeypatch):
    """The bound is 8 x 64 places: by tokens one of these texts would fill it, by its 6 slots a layer hardly any."""
    ours, _ = pair_of("mistral", max_batch_tokens=64)
    sessions = [ours.start("".join(WORDS * 12)), ours.start("".join(WORDS[::-1] * 12))]
    first = ours.step(sessions, ["", ""], max_new_tokens=1)
    assert min(completion.num_prompt_tokens for completion in first) > 256
    fed, begin = [], RollingBufferCache.begin

    def noting(cache, shape, *, new_lengths=None, **settings):
        fed.append(sum(new_lengths))
        return begin(cache, shape, new_lengths=new_lengths, **settings)

    monkeypatch.setattr(RollingBufferCache, "begin", noting)
    second = ours.step(sessions, [" The capital", " of France"], max_new_tokens=1)
    new = [later.num_prompt_tokens - one.num_prompt_tokens for one, later in zip(first, second, strict=True)]
    assert sum(fed) == sum(new)


@pytest.mark.parametrize("shared", ["", SHARED])
def test_no_scored_text_passes_in_pieces_larger_than_the_chunk(monkeypatch, shared):
    whole, _ = pair_of("mistral", prefill_chunk=None)
    ours, _ = pair_of("mistral", prefill_chunk=5)
    prompts = [shared + "".join(WORDS[count:]) for count in (0, 4, 9)]
    continuations = [" river of Paris", "x", " France" * 6]
    pieces, forward = [], Transformer.forward

    def noting(decoder, token_ids, **settings):
        pieces.append(token_ids.shape[1])
        return forward(decoder, token_ids, **settings)

    expected = whole.score(prompts, continuations)
    monkeypatch.setattr(Transformer, "forward", noting)
    for found, other in zip(ours.score(prompts, continuations), expected, strict=True):
        assert found.token_ids == other.token_ids
        assert found.log_probabilities == pytest.approx(other.log_probabilities, abs=1e-5)
    assert max(pieces) == 5


def test_bad_arguments_are_named():
    with one_line("prefill_chunk=0: must be at least 1"):
        pair_of("mistral", prefill_chunk=0)
