import gc

import pytest
import tiny_tokenizers
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_decoders import hugging_face_model

from october.attention import DecoderLM, DenseCache, decoder_from, decoder_language_model
from october.errors import OctoberError
from october.language_models import ModelHandle, TransformersLM

pytestmark = pytest.mark.usefixtures("one_thread")

WORDS = ["The", " capital", " of", " France", " is", " Paris", ".", "\n", " naïve", " 日本", " river", "  two", "x"]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=25).map("".join)
SHARED = "Question: where is the tower? Answer: in the old town, near the river.\n" * 4
HYPOTHESIS = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


def pair_of(family, max_batch_tokens=200, **more):
    """The same weights and tokenizer behind both engines."""
    tokenizer = tiny_tokenizers.sentencepiece_like()
    model = hugging_face_model(family, vocab_size=len(tokenizer), eos_token_id=1, bos_token_id=2, **more)
    ours = DecoderLM(decoder_from(model), tokenizer, max_batch_tokens=max_batch_tokens)
    return ours, TransformersLM(model, tokenizer, max_batch_tokens=max_batch_tokens)


@pytest.fixture(scope="module", params=["llama", "mistral_gqa4", "gemma3"])
def engines(request):
    return pair_of(request.param)


@pytest.fixture
def mistral():
    """Ours alone, and new: its sessions are those of one test."""
    return pair_of("mistral_gqa2")[0]


@pytest.fixture
def fed(monkeypatch):
    """The shapes [rows, tokens] of all forward passes that follow."""
    shapes = []
    begin = DenseCache.begin

    def noting(cache, shape, **settings):
        shapes.append(shape)
        return begin(cache, shape, **settings)

    monkeypatch.setattr(DenseCache, "begin", noting)
    return shapes


def assert_same(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        assert one.log_probabilities == pytest.approx(other.log_probabilities, abs=1e-4)
        for field in ("text", "token_ids", "finish_reason", "num_prompt_tokens", "stop"):
            assert getattr(one, field) == getattr(other, field)


@settings(max_examples=6, **HYPOTHESIS)
@given(prompts=st.lists(TEXTS, min_size=1, max_size=5), shared=st.booleans(), temperature=st.sampled_from([0.0, 1.0]))
def test_texts_equal_those_of_transformers(engines, prompts, shared, temperature):
    ours, theirs = engines
    prompts = [SHARED * shared + prompt for prompt in prompts]
    arguments = {"max_new_tokens": 9, "stop": ["river", "é"], "temperature": temperature, "top_p": 0.9, "seed": 5}
    assert_same(ours.generate(prompts, **arguments), theirs.generate(prompts, **arguments))


@settings(max_examples=6, **HYPOTHESIS)
@given(
    pairs=st.lists(st.tuples(TEXTS, TEXTS.filter(bool)), min_size=1, max_size=4),
    shared=st.booleans(),
)
def test_scores_equal_those_of_transformers(engines, pairs, shared):
    ours, theirs = engines
    texts = [SHARED * shared + prompt for prompt, _ in pairs], [continuation for _, continuation in pairs]
    for one, other in zip(ours.score(*texts), theirs.score(*texts), strict=True):
        assert (one.tokens, one.token_ids) == (other.tokens, other.token_ids)
        assert one.log_probabilities == pytest.approx(other.log_probabilities, abs=1e-4)


@settings(max_examples=6, **HYPOTHESIS)
@given(data=st.data())
def test_sessions_equal_sending_the_whole_text(engines, data):
    """Any sessions, in any order, several turns, stopped or not: the default `step` of transformers re-sends all."""
    ours, theirs = engines
    starts = data.draw(st.lists(TEXTS, min_size=1, max_size=4))
    mine, others = [ours.start(text) for text in starts], [theirs.start(text) for text in starts]
    for _ in range(3):
        chosen = data.draw(st.permutations(range(len(starts))))[: data.draw(st.integers(1, len(starts)))]
        texts = [data.draw(TEXTS) for _ in chosen]
        arguments = {"max_new_tokens": data.draw(st.integers(1, 6)), "stop": data.draw(st.sampled_from([(), ("e",)]))}
        found = ours.step([mine[index] for index in chosen], texts, **arguments)
        assert_same(found, theirs.step([others[index] for index in chosen], texts, **arguments))
        assert [session.text for session in mine] == [session.text for session in others]


def test_a_turn_feeds_only_what_is_new(mistral, fed):
    session = mistral.start(SHARED)
    (first,) = mistral.step([session], ["The capital"], max_new_tokens=5)
    assert fed == [(1, first.num_prompt_tokens)] + [(1, 1)] * 4
    fed.clear()
    (second,) = mistral.step([session], [" of France"], max_new_tokens=2)
    stored = [*mistral.tokenizer(SHARED + "The capital")["input_ids"], *first.token_ids[:-1]]
    ids = mistral.tokenizer(SHARED + "The capital" + first.text + " of France")["input_ids"]
    shared = next(place for place, token in enumerate(ids) if place == len(stored) or token != stored[place])
    assert shared >= first.num_prompt_tokens
    assert fed == [(1, second.num_prompt_tokens - shared), (1, 1)]


def test_a_shared_prefix_is_encoded_once(mistral, fed):
    endings = ["The", "", "river " * 9, "x", "Question: where is Paris?", " naïve"]
    completions = mistral.generate([SHARED + ending for ending in endings], max_new_tokens=3)
    prompt_passes = [shape for shape in fed if shape[1] > 1]
    assert prompt_passes[0][0] == 1
    whole = sum(completion.num_prompt_tokens for completion in completions)
    assert sum(rows * tokens for rows, tokens in prompt_passes) < 0.6 * whole
    fed.clear()
    scores = mistral.score([SHARED + ending for ending in endings], [" river"] * 6)
    assert fed[0][0] == 1
    assert sum(rows * tokens for rows, tokens in fed) < 0.6 * (whole + sum(len(score.tokens) for score in scores))


def test_finished_rows_leave_the_batch_and_the_others_stay_as_they_are(mistral, fed):
    prompts = ["The capital of", "x naïve", "river", "  two The"]
    free = mistral.generate(prompts, max_new_tokens=16)
    stop = free[1].text[:2]
    fed.clear()
    stopped = mistral.generate(prompts, max_new_tokens=16, stop=[stop])
    for completion, whole in zip(stopped, free, strict=True):
        assert completion.text == (whole.text[: whole.text.find(stop)] if stop in whole.text else whole.text)
    rows = [rows for rows, _ in fed]
    assert rows[0] == 4
    assert rows == sorted(rows, reverse=True)
    assert rows[-1] < 4


def test_logits_are_computed_for_the_last_position_only(mistral, monkeypatch):
    sizes = []
    mistral.transformer.head.register_forward_hook(lambda module, args, logits: sizes.append(tuple(logits.shape[:-1])))
    mistral.generate(["The capital of", "x"], max_new_tokens=3)
    assert sizes == [(2,)] * 3


def test_no_batch_exceeds_the_bound(mistral, fed):
    mistral.generate([f"{'river ' * (index % 7)}{index}" for index in range(40)], max_new_tokens=4)
    assert max(rows * tokens for rows, tokens in fed) <= mistral.max_batch_tokens
    assert max(rows for rows, _ in fed) > 4


def test_rows_of_sessions_that_are_gone_are_lent_again(mistral):
    kept = mistral.start("The")
    mistral.step([kept], [" capital"], max_new_tokens=3)
    for turn in range(10):
        mistral.step([mistral.start("x")], [" river"], max_new_tokens=2 + turn % 3)
        gc.collect()
    assert len(mistral._sessions.cache.lengths) == 2


def test_sessions_beyond_the_bound_are_encoded_anew(fed):
    """Eight sessions of 60 tokens and more, room for 240: every turn gives the same text, within the bound."""
    ours, theirs = pair_of("mistral_gqa2", max_batch_tokens=30)
    mine, others = (
        [ours.start(f"{index} x" * 12) for index in range(8)],
        [theirs.start(f"{index} x" * 12) for index in range(8)],
    )
    for turn in range(3):
        for one, other in zip(mine, others, strict=True):
            assert_same(
                ours.step([one], [f" of {turn}"], max_new_tokens=3),
                theirs.step([other], [f" of {turn}"], max_new_tokens=3),
            )
            cache = ours._sessions.cache
            assert len(cache.lengths) * max(cache.lengths) <= 2 * 8 * 30


def test_a_call_that_is_broken_off_leaves_nothing_wrong_behind(mistral, monkeypatch):
    session, same = mistral.start("The capital"), mistral.start("The capital")
    mistral.step([session, same], [" of", " of"], max_new_tokens=3)
    attend, calls = DenseCache.attend, []

    def failing(cache, layer, *heads, **settings):
        calls.append(layer)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return attend(cache, layer, *heads, **settings)

    monkeypatch.setattr(DenseCache, "attend", failing)
    with pytest.raises(KeyboardInterrupt):
        mistral.step([session], [" river river"], max_new_tokens=3)
    assert session.text == same.text
    assert_same(mistral.step([session], [" is"], max_new_tokens=6), mistral.step([same], [" is"], max_new_tokens=6))


def test_bfloat16_and_the_end_token(mistral):
    lm = DecoderLM(mistral.transformer.bfloat16(), mistral.tokenizer)
    (free,) = lm.generate(["The capital"], max_new_tokens=8)
    assert len(free.token_ids) == 8
    end = free.token_ids[3]
    ending = DecoderLM(lm.transformer, lm.tokenizer, end_ids=[end])
    (ended,) = ending.generate(["The capital"], max_new_tokens=8)
    assert ended.finish_reason == "end"
    assert ended.token_ids == free.token_ids[: free.token_ids.index(end) + 1]


def test_a_handle_chooses_the_engine(tmp_path):
    _, theirs = pair_of("mistral_gqa2")
    theirs.model.save_pretrained(tmp_path)
    theirs.tokenizer.save_pretrained(tmp_path)
    handle = ModelHandle("tiny", path=str(tmp_path), dtype="float32", device="cpu", max_batch_tokens=77)
    lm = decoder_language_model(handle)
    assert lm.max_batch_tokens == 77
    assert lm.transformer.norm.weight is handle.load()[0].model.norm.weight
    prompts = ["The capital of", " river"]
    assert_same(lm.generate(prompts, max_new_tokens=6), theirs.generate(prompts, max_new_tokens=6))
    with pytest.raises(OctoberError, match="model tiny: an encoder generates no text"):
        decoder_language_model(ModelHandle("tiny", path=str(tmp_path), kind="encoder"))


def test_bad_arguments_are_named(mistral):
    session = mistral.start("x")
    for call, words in [
        (lambda: mistral.generate(["x"], max_new_tokens=0), "max_new_tokens=0"),
        (lambda: mistral.generate(["x"], max_new_tokens=600), "prompt 0 with 600 new has"),
        (lambda: mistral.score(["a"], [""]), "continuation 0 is empty"),
        (lambda: mistral.score(["river " * 600], [" x"]), "prompt and continuation 0 has"),
        (lambda: mistral.step([session], [], max_new_tokens=1), "1 sessions and 0 appended_texts"),
        (lambda: mistral.step([session] * 2, ["a", "b"], max_new_tokens=1), "sessions 0 and 1 are the same"),
        (lambda: mistral.step([session], ["river " * 600], max_new_tokens=1), "prompt 0 with 1 new has"),
        (lambda: DecoderLM(mistral.transformer, mistral.tokenizer, max_batch_tokens=0), "max_batch_tokens=0"),
    ]:
        with pytest.raises(OctoberError, match=words):
            call()
    assert (
        mistral.generate([], max_new_tokens=1) == mistral.score([], []) == mistral.step([], [], max_new_tokens=1) == []
    )
    assert session.text == "x"
    assert torch.is_grad_enabled()
