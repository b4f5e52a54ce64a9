"""Compiled steps: the same states and buffers as layer by layer, for any rows and slots, from one compilation."""

import copy
import shutil

import pytest
import tiny_tokenizers
import torch
from tiny_decoders import hugging_face_model
from tiny_mistral import mistral

from october.attention import DenseCache, decoder_from
from october.attention.mistral import (
    MistralModel,
    RollingBufferCache,
    compile_steps_,
    pack_,
    quantize_,
    rolling_pass,
)
from october.errors import OctoberError

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="there is no C++ compiler"),
]

ROWS = [[17, 3, 9], [5], [30], [1, 40]]  # tokens of each batch's rows, beyond the window and below


@pytest.fixture(scope="module", params=["mistral_gqa4", "gemma3"])
def decoders(request):
    """Return a decoder with compiled steps, and the same one without."""
    decoder = decoder_from(hugging_face_model(request.param))
    return compile_steps_(pack_(copy.deepcopy(decoder))), decoder


def token_ids(rows, sequence, seed=3):
    return torch.randint(61, (rows, sequence), generator=torch.Generator().manual_seed(seed))


def relative_error(found, expected):
    return ((found - expected).abs().max() / expected.abs().max()).item()


@torch.inference_mode()
def test_steps_are_those_of_the_layers_and_one_compilation_serves_all_rows_and_slots(decoders):
    compiled, decoder = decoders
    with torch.compiler.set_stance("fail_on_recompile"):
        for lengths in ROWS:
            rolling, dense = (make(decoder.config, len(lengths), 4) for make in (RollingBufferCache, DenseCache))
            compiled(token_ids(len(lengths), max(lengths)), cache=rolling, new_lengths=lengths)
            decoder(token_ids(len(lengths), max(lengths)), cache=dense, new_lengths=lengths)
            for step in range(12):
                ids = token_ids(len(lengths), 1, step)
                assert compiled.step.takes(ids, rolling, None)
                found, expected = compiled(ids, cache=rolling), decoder(ids, cache=dense)
                assert relative_error(found, expected) < 1e-5
            assert rolling.lengths == [length + 12 for length in lengths]


@torch.inference_mode()
def test_keys_and_values_are_stored_as_by_the_layers_and_buffers_stay_where_they_are(decoders):
    compiled, _ = decoders
    layers = copy.copy(compiled)
    layers.step = None
    caches = [RollingBufferCache(compiled.config, 3, 40) for _ in range(2)]
    for decoder, cache in zip((compiled, layers), caches, strict=True):
        decoder(token_ids(3, 9), cache=cache, new_lengths=[9, 2, 5])
        places = [buffer.data_ptr() for buffer in cache._buffers()]
        for step in range(20):
            decoder(token_ids(2, 1, step), cache=cache)  # the third row takes no part
        assert places == [buffer.data_ptr() for buffer in cache._buffers()]
    for one, other in zip(*(cache._buffers() for cache in caches), strict=True):
        assert relative_error(one, other) < 1e-5
        assert torch.equal(one[2], other[2])


@pytest.mark.parametrize("decoders", ["gemma3"], indirect=True)  # one of its layers keeps every token
@torch.inference_mode()
def test_no_step_makes_a_tensor_of_the_size_of_a_buffer(decoders):
    compiled, _ = decoders
    cache = RollingBufferCache(compiled.config, 2, 8192)
    largest = max(buffer.nbytes for buffer in cache.keys)
    compiled(token_ids(2, 1), cache=cache)
    with torch.profiler.profile(profile_memory=True) as profile:
        compiled(token_ids(2, 1), cache=cache)
        noticed = torch.empty(largest, dtype=torch.uint8)
    made = [event.nbytes() for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    assert sorted(made)[-1] >= noticed.nbytes  # the profiler sees such a tensor
    assert sorted(made)[-2] < largest / 2, "only the one made above"


@torch.inference_mode()
def test_other_passes_go_through_the_layers(decoders):
    compiled, decoder = decoders
    cache, ids = RollingBufferCache(decoder.config, 2, 8), token_ids(2, 1)
    assert not compiled.step.takes(token_ids(2, 2), cache, None)  # a chunk
    assert not compiled.step.takes(ids, cache, [1, 0])  # a row without a token
    assert not compiled.step.takes(ids, DenseCache(decoder.config, 2, 8), None)
    assert not compiled.step.takes(ids, RollingBufferCache(decoder.config, 2, 8, dtype=torch.bfloat16), None)
    with torch.inference_mode(False):
        assert not compiled.step.takes(ids, cache, None)


@torch.inference_mode()
def test_bfloat16_is_as_near_to_float32_as_layer_by_layer(monkeypatch):
    for name, value in (("_MANY_KEYS", 0), ("cpu_multiplies_bfloat16", lambda: True)):  # by products, as compiled
        monkeypatch.setattr(rolling_pass, name, value)
    exact = decoder_from(hugging_face_model("mistral_gqa2"))
    narrow = pack_(copy.deepcopy(exact).bfloat16())
    runs = [(exact, torch.float32), (narrow, torch.bfloat16), (compile_steps_(copy.copy(narrow)), torch.bfloat16)]
    states = []
    for decoder, dtype in runs:
        cache = RollingBufferCache(exact.config, 2, 16, dtype=dtype)
        decoder(token_ids(2, 7), cache=cache)
        states.append(torch.stack([decoder(token_ids(2, 1, step), cache=cache).float() for step in range(6)]))
    assert (states[2] - states[0]).norm() < 1.2 * (states[1] - states[0]).norm()


def test_a_loaded_model_writes_the_same_texts_compiled(tmp_path):
    tokenizer = tiny_tokenizers.sentencepiece_like()
    mistral(6, vocab_size=len(tokenizer), bos_token_id=2, eos_token_id=1).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    prompts, texts = ["one two three four five six seven", "three", "four five"], []
    for compile_steps in (True, False):
        model = MistralModel.load(tmp_path, weights="float32", device="cpu", compile_steps=compile_steps)
        assert (model.transformer.step is not None) == compile_steps
        texts.append([c.text for c in model.generate(prompts, max_new_tokens=12)])
    assert texts[0] == texts[1]


def test_what_cannot_be_compiled_is_refused_in_one_line(monkeypatch, tmp_path):
    decoder = decoder_from(hugging_face_model("mistral_gqa2"))
    with pytest.raises(OctoberError, match="packed decoder"):
        compile_steps_(decoder)
    with pytest.raises(OctoberError, match="packed decoder"):
        compile_steps_(quantize_(pack_(copy.deepcopy(decoder).bfloat16()), "int8"))
    hugging_face_model("mistral_gqa2").save_pretrained(tmp_path)
    with pytest.raises(OctoberError, match="not int8"):
        MistralModel.load(tmp_path, weights="int8", device="cpu", compile_steps=True)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OctoberError, match="no C\\+\\+ compiler"):
        compile_steps_(pack_(decoder))
