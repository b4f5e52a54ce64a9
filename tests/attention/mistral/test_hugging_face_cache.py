"""A rolling cache in the hands of transformers: the same tokens as with its own, and no copy where none is due."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from one_line import one_line
from tiny_decoders import LargestTensor, hugging_face_model
from tiny_mistral import mistral, texts_of
from transformers import DynamicCache, LlamaConfig, MistralConfig

from october.attention.mistral import RollingCache

pytestmark = pytest.mark.usefixtures("one_thread")

WINDOW = 6
NEW = 15


def model_of(family, **more):
    if family == "mistral":
        return mistral(WINDOW, **more)
    return hugging_face_model(family, initializer_range=0.2, **more)  # its windows are of 5 keys


def left_padded(lengths):
    texts, longest = texts_of(lengths, seed=sum(lengths), vocab_size=61), max(lengths)
    token_ids = torch.tensor([[0] * (longest - len(text)) + text for text in texts])
    mask = torch.tensor([[0] * (longest - len(text)) + [1] * len(text) for text in texts])
    return {"input_ids": token_ids, "attention_mask": mask}


def generated(model, inputs, cache, **settings):
    settings = {"max_new_tokens": NEW, "do_sample": False, "pad_token_id": 0, **settings}
    return model.generate(**inputs, past_key_values=cache, **settings).tolist()


@settings(deadline=None, max_examples=20)
@given(
    family=st.sampled_from(["mistral", "gemma3", "mistral_full"]),
    implementation=st.sampled_from(["sdpa", "eager"]),
    lengths=st.lists(st.integers(1, 3 * WINDOW), min_size=1, max_size=3),
    data=st.data(),
)
def test_greedy_tokens_equal_those_with_their_own_cache(family, implementation, lengths, data):
    """Prompts of any lengths with padding on the left, whether the cache knows the padding or not, in chunks or not."""
    model, inputs = model_of(family), left_padded(lengths)
    model.set_attn_implementation(implementation)
    mask = data.draw(st.sampled_from([None, inputs["attention_mask"]]))
    max_length = data.draw(st.sampled_from([None, 1, 4, max(lengths) + NEW]))
    chunk = data.draw(st.sampled_from([None, 2, 5]))
    found = generated(model, inputs, RollingCache(model.config, mask, max_length=max_length), prefill_chunk_size=chunk)
    assert found == generated(model, inputs, DynamicCache(config=model.config))


@pytest.mark.parametrize("settings", [{"num_beams": 3}, {"num_beams": 2, "num_return_sequences": 2}])
def test_beams(settings):
    model, inputs = model_of("mistral"), left_padded([9, 4])
    found = generated(model, inputs, RollingCache(model.config, inputs["attention_mask"]), **settings)
    assert found == generated(model, inputs, DynamicCache(config=model.config), **settings)


@pytest.mark.parametrize("family", ["mistral", "gemma3"])
def test_a_conversation_goes_on_in_the_same_cache(family):
    model = model_of(family)
    inputs = left_padded([9])
    mine, theirs = RollingCache(model.config, inputs["attention_mask"]), DynamicCache(config=model.config)
    for turn in range(3):
        found, expected = generated(model, inputs, mine), generated(model, inputs, theirs)
        assert found == expected
        (text,) = texts_of([4], seed=turn, vocab_size=61)
        token_ids = torch.tensor([found[0] + text])
        inputs = {"input_ids": token_ids, "attention_mask": torch.ones_like(token_ids)}


def pass_through(model, cache, mask, count):
    """Feed tokens one by one after a prompt; return whether the first layer's next read is the buffer itself."""
    columns, in_place = mask, []
    model(torch.full_like(mask, 7), attention_mask=mask, past_key_values=cache)
    update = cache.layers[0].update

    def noting(*states, **settings):
        keys, values = update(*states, **settings)
        in_place.append(keys.data_ptr() == cache.layers[0].keys.data_ptr())
        return keys, values

    cache.layers[0].update = noting
    for _ in range(count):
        columns = torch.cat([columns, torch.ones_like(mask[:, :1])], dim=1)
        model(torch.full_like(mask[:, :1], 7), attention_mask=columns, past_key_values=cache)
    return in_place


@torch.inference_mode()
def test_the_window_is_copied_only_while_there_is_padding_in_it():
    model, mask = model_of("mistral"), left_padded([9, 6])["attention_mask"]
    told, untold = RollingCache(model.config, mask), RollingCache(model.config)
    whole = RollingCache(model.config, mask[:1])
    assert pass_through(model, whole, mask[:1], 5) == [True] * 5
    assert pass_through(model, told, mask, 5) == [True] * 5, "the padding of 3 has left the window of 6 at position 9"
    assert pass_through(model, untold, mask, 8) == [False] * 5 + [True] * 3, "until the prompt of 9 has left it"
    more = torch.tensor([[0] * 6 + [1] * 3, [1] * 9])
    assert pass_through(model, RollingCache(model.config, more), more, 4) == [False, False, True, True]


@pytest.mark.parametrize("family", ["mistral", "gemma3"])
@torch.inference_mode()
def test_a_decode_step_makes_nothing_of_the_size_of_the_cache(family):
    """transformers copies its whole window at each step; the full layers' keys too."""
    model = model_of(family)
    model.config.sliding_window = 200
    cache, sizes = RollingCache(model.config, torch.ones(2, 250), max_length=300), {}
    theirs = DynamicCache(config=model.config)
    for name, each in (("ours", cache), ("theirs", theirs)):
        model(torch.zeros(2, 250, dtype=torch.long), past_key_values=each, logits_to_keep=1)
        key, value = (torch.zeros(2, each.layers[0].keys.shape[1], 1, 8) for _ in range(2))
        with LargestTensor() as largest:
            for layer in range(len(each.layers)):
                each.update(key, value, layer)
        sizes[name] = largest.nbytes
    kept = cache.layers[0].keys
    assert kept.shape[2] == 200
    assert sizes["theirs"] >= kept.nbytes
    assert sizes["ours"] == 0


def test_bytes_stay_those_of_the_window():
    model, inputs = model_of("mistral"), left_padded([4, 9])
    cache = RollingCache(model.config)
    assert cache.memory_bytes() == 0
    for _ in range(2):
        cache.reset()
        generated(model, inputs, cache)
        assert cache.memory_bytes() == 2 * 3 * WINDOW * 2 * 8 * 4 * 2
    short = RollingCache(model.config, max_length=5)
    generated(model, left_padded([2]), short, max_new_tokens=3)
    assert short.memory_bytes() == 2 * 3 * 5 * 2 * 8 * 4


@torch.inference_mode()
def test_going_back_gives_the_same_logits_again():
    model = model_of("mistral")
    (text,) = texts_of([12], vocab_size=61)
    for length, back in [(WINDOW, 4), (WINDOW, 1), (12, 1), (12, 0), (4, 4)]:
        cache = RollingCache(model.config)
        model(torch.tensor([text[:length]]), past_key_values=cache)
        cache.crop(-back)
        assert cache.get_seq_length() == length - back
        logits = model(torch.tensor([[5, 6, 7]]), past_key_values=cache).logits[0]
        whole = model(torch.tensor([[*text[: length - back], 5, 6, 7]]), use_cache=False).logits[0, -3:]
        torch.testing.assert_close(logits, whole, rtol=0, atol=1e-5)


def test_mistakes_are_named():
    model = model_of("mistral")
    cache = RollingCache(model.config)
    with one_line("keeps no gradients"):
        model(torch.zeros(1, 9, dtype=torch.long), past_key_values=cache)
    with torch.no_grad():
        model(torch.zeros(1, 9, dtype=torch.long), past_key_values=cache)
    for count, words in [(-2, "tokens_to_remove=-2: must be from -1 to 0"), (3, "tokens_to_remove=3")]:
        with one_line(words):
            cache.crop(count)
    cache.crop(-1)
    with one_line("tokens_to_remove=-1: must be from 0 to 0"):
        cache.crop(-1)
    with one_line(r"attention_mask \(3,\): must be \[batch, prompt\]"):
        RollingCache(model.config, torch.ones(3))
    with one_line("max_length=0"):
        RollingCache(model.config, max_length=0)
    for window in (0, -1):
        with one_line(f"sliding_window={window}: must be at least 1, or None"):
            RollingCache(MistralConfig(sliding_window=window))
    with one_line("layer of type chunked_attention"):
        RollingCache(LlamaConfig(num_hidden_layers=1, layer_types=["chunked_attention"], attention_chunk_size=4))
