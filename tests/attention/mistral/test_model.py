import json
import shutil

import pytest
import tiny_tokenizers
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from one_line import one_line
from safetensors.torch import load_file, save_file
from tiny_mistral import mistral
from torch import nn
from transformers import MistralConfig, MistralForCausalLM

import october.attention.mistral.model as model_module
from october.attention import checkpoints, load_decoder
from october.attention.mistral import Int4Linear, Int8Linear, MistralModel, RollingBufferCache
from october.attention.perplexity import token_losses
from october.data import wikipedia_documents
from october.experiments.mistral._pretrained_windows import losses_through_buffer
from october.language_models import TransformersLM
from october.language_models.embedded import embedded_folder

pytestmark = pytest.mark.usefixtures("one_thread")

WINDOW = 6
PROMPTS = ["The capital of France is", "x", "", "Observation: nothing found. " * 3, "日本 naïve"]


def saved(folder, **more):
    tokenizer = tiny_tokenizers.sentencepiece_like()
    model = mistral(WINDOW, vocab_size=len(tokenizer), bos_token_id=2, **{"eos_token_id": 1, **more})
    model.save_pretrained(folder, max_shard_size="20KB")
    tokenizer.save_pretrained(folder)
    return model, tokenizer


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "mistral"
    return folder, *saved(folder)


@pytest.fixture(scope="module")
def model(stored):
    return MistralModel.load(stored[0], weights="float32", device="cpu", prefill_chunk=4)


def test_texts_equal_those_of_transformers(stored, model):
    """From shards, on rolling caches, in chunks, a ragged batch with prompts below and beyond the window."""
    _, theirs, tokenizer = stored
    assert isinstance(model._new_cache(1, 3), RollingBufferCache)
    assert model.transformer.config.sliding_windows == (WINDOW,) * 3
    for arguments in ({}, {"temperature": 0.8, "top_p": 0.7, "seed": 3, "stop": ["e", "日"]}):
        found = model.generate(PROMPTS, max_new_tokens=15, **arguments)
        expected = TransformersLM(theirs, tokenizer).generate(PROMPTS, max_new_tokens=15, **arguments)
        for one, other in zip(found, expected, strict=True):
            assert (one.text, one.token_ids, one.stop) == (other.text, other.token_ids, other.stop)
            assert one.log_probabilities == pytest.approx(other.log_probabilities, abs=1e-4)


@settings(deadline=None, max_examples=12)
@given(
    prompt=st.sampled_from(PROMPTS),
    stop=st.lists(st.sampled_from(["e", "日", "th", " is", "\ufffd"]), max_size=2),
    temperature=st.sampled_from([0.0, 1.0]),
    seed=st.integers(0, 5),
)
def test_the_pieces_of_a_stream_are_the_text(model, prompt, stop, temperature, seed):
    arguments = {"max_new_tokens": 14, "stop": stop, "temperature": temperature, "top_p": 0.9, "seed": seed}
    (expected,) = model.generate([prompt], **arguments)
    pieces = list(model.stream(prompt, **arguments))
    assert "".join(pieces) == expected.text
    assert all(pieces)


def test_a_stream_comes_token_by_token_and_leaves_the_mode_of_its_reader(model, monkeypatch):
    fed = []
    begin = RollingBufferCache.begin

    def noting(cache, shape, **more):
        fed.append(shape[1])
        return begin(cache, shape, **more)

    monkeypatch.setattr(RollingBufferCache, "begin", noting)
    endless = MistralModel(model.transformer, model.tokenizer, end_ids=[])
    stream = endless.stream("The river", max_new_tokens=30)
    assert fed == []
    next(stream)
    assert not torch.is_inference_mode_enabled()
    assert len(fed) < 30
    assert len(list(stream)) > 1
    assert fed[-25:] == [1] * 25


@pytest.mark.parametrize("kind", ["bfloat16", "int8", "int4"])
def test_narrower_weights(kind, tmp_path):
    """Wide enough for int4's groups; logits near those of float32, and nothing left wide."""
    tokenizer = tiny_tokenizers.sentencepiece_like()
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=len(tokenizer) - len(tokenizer) % 16 + 16,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=WINDOW,
        initializer_range=0.1,
    )
    MistralForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    ids = torch.randint(200, (2, 11), generator=torch.Generator().manual_seed(0))
    wide = load_decoder(tmp_path)
    lm = MistralModel.load(tmp_path, weights=kind, device="cpu")
    with torch.inference_mode():
        expected = wide.logits(wide(ids))
        found = lm.transformer.logits(lm.transformer(ids))
    assert found.dtype == torch.bfloat16
    bound = {"bfloat16": 0.02, "int8": 0.03, "int4": 0.25}[kind]
    assert (found.float() - expected).norm() < bound * expected.norm()
    linear = {"bfloat16": nn.Linear, "int8": Int8Linear, "int4": Int4Linear}[kind]
    assert isinstance(lm.transformer.layers[0].attention.query_key_value, linear)
    assert isinstance(lm.transformer.head, nn.Linear if kind == "bfloat16" else Int8Linear)
    (completion,) = lm.generate(["The capital"], max_new_tokens=5)
    assert "".join(lm.stream("The capital", max_new_tokens=5)) == completion.text


def test_layers_are_quantised_while_later_shards_are_still_on_disk(stored, monkeypatch):
    decoders, waiting = [], []
    empty = checkpoints._empty

    def noting_empty(*arguments):
        decoders.append(empty(*arguments))
        return decoders[0]

    def noting_quantize(layer, kind):
        waiting.append(sum(parameter.is_meta for parameter in decoders[0].parameters()))

    monkeypatch.setattr(checkpoints, "_empty", noting_empty)
    monkeypatch.setattr(model_module, "quantize_module_", noting_quantize)
    monkeypatch.setattr(model_module, "quantize_", lambda decoder, kind: decoder)
    MistralModel.load(stored[0], weights="int8", device="cpu")
    assert len(waiting) == 3
    assert waiting[0] >= 9, "the layers after the first are still on disk"
    assert waiting == sorted(waiting, reverse=True)


def copied(folder, target):
    shutil.copytree(folder, target)
    return target


def test_end_tokens_are_those_of_the_files(stored, tmp_path):
    (free,) = MistralModel.load(stored[0], weights="float32").generate(["The"], max_new_tokens=9)
    end = free.token_ids[4]
    folder = copied(stored[0], tmp_path / "copy")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, end]}))
    (ended,) = MistralModel.load(folder, weights="float32").generate(["The"], max_new_tokens=9)
    assert ended.finish_reason == "end"
    assert ended.token_ids == free.token_ids[: free.token_ids.index(end) + 1]
    (folder / "generation_config.json").write_text("[")
    with one_line(r"generation_config.json: cannot be read"):
        MistralModel.load(folder, weights="float32")
    (folder / "generation_config.json").unlink()
    assert MistralModel.load(folder, weights="float32")._end_ids == [1]


def test_bad_arguments_are_named_before_anything_is_computed(stored, model, tmp_path, monkeypatch):
    for call, words in [
        (lambda: MistralModel.load(tmp_path / "nowhere"), "nowhere: no such folder"),
        (lambda: MistralModel.load(stored[0], weights="int2"), "weights=int2: must be one of auto, float32"),
        (lambda: MistralModel.load(stored[0], prefill_chunk=0), "prefill_chunk=0: must be at least 1"),
        (lambda: MistralModel.load(stored[0], max_batch_tokens=0), "max_batch_tokens=0: must be at least 1"),
        (lambda: model.stream("x", max_new_tokens=0), "max_new_tokens=0"),
        (lambda: model.stream("x", max_new_tokens=1, temperature=-1), "temperature=-1"),
        (lambda: model.stream("x", max_new_tokens=1, top_p=0), "top_p=0"),
        (lambda: model.stream("x", max_new_tokens=1, stop="x"), "stop='x'"),
        (
            lambda: model.stream("river " * 600, max_new_tokens=1),
            "prompt 0 with 1 new has .* the model's context of 512",
        ),
        (lambda: model.generate(["x", "river " * 600], max_new_tokens=2), "prompt 1 with 2 new has"),
    ]:
        with one_line(words):
            call()
    folder = copied(stored[0], tmp_path / "copy")
    (folder / "tokenizer.json").write_text("{")
    with one_line("copy: its tokenizer cannot be read"):
        MistralModel.load(folder)
    monkeypatch.delattr(torch, "_weight_int8pack_mm")
    with one_line("has no _weight_int8pack_mm; choose bfloat16"):
        MistralModel.load(tmp_path / "nowhere", weights="int8")


def test_a_prompt_shorter_than_a_chunk_passes_whole(stored):
    longer = MistralModel.load(stored[0], weights="float32", prefill_chunk=500)
    whole = MistralModel.load(stored[0], weights="float32", prefill_chunk=None)
    assert [c.token_ids for c in longer.generate(PROMPTS, max_new_tokens=5)] == [
        c.token_ids for c in whole.generate(PROMPTS, max_new_tokens=5)
    ]


def test_an_empty_prompt_is_the_start_token_and_without_one_it_is_refused(stored, model):
    assert "".join(model.stream("", max_new_tokens=4)) == model.generate([""], max_new_tokens=4)[0].text
    tokenizer = tiny_tokenizers.byte_level()
    tokenizer.eos_token = None
    other = MistralModel(model.transformer, tokenizer, end_ids=[0])
    with one_line("an empty prompt needs a tokenizer with a start token"):
        other.stream("", max_new_tokens=4)


def test_damaged_weights_are_named(stored, tmp_path):
    folder = copied(stored[0], tmp_path / "copy")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 2
    whole = shards[1].read_bytes()
    shards[1].write_bytes(whole[:-100])
    with one_line(rf"{shards[1].name}: cannot be read"):
        MistralModel.load(folder)
    shards[1].write_bytes(whole)
    weights = load_file(shards[1])
    name = next(iter(weights))
    save_file({**weights, "model.layers.0.self_attn.q_proj.bias": torch.ones(2)}, shards[1])
    with one_line(r"q_proj.bias is not one of a 3-layer decoder as configured"):
        MistralModel.load(folder)
    save_file({other: weight for other, weight in weights.items() if other != name}, shards[1])
    with one_line(f"the weights lack 1 tensors, {name} first"):
        MistralModel.load(folder)
    save_file({**weights, name: weights[name][:1]}, shards[1])
    with one_line(rf"{name} has shape .*, the config says"):
        MistralModel.load(folder)
    save_file(weights, shards[1])
    config = json.loads((folder / "config.json").read_text())
    for change, message in [
        ({"sliding_window": 0}, "sliding_windows=0: must be a whole number, at least 1"),
        ({"sliding_window": "many"}, r"config.json: .*sliding_window"),
        ({"num_key_value_heads": 3}, "num_heads=8: must be a multiple of num_kv_heads=3"),
        ({"num_hidden_layers": 2}, r"tensor model.layers.2.\S+ is not one of a 2-layer decoder"),
        ({"num_hidden_layers": 4}, r"the weights lack 9 tensors, model.layers.3.self_attn.q_proj.weight first"),
        ({"hidden_size": 16}, r"tensor \S+ has shape .*, the config says"),
        ({"model_type": "mixtral"}, "model_type=mixtral: the decoder knows"),
    ]:
        (folder / "config.json").write_text(json.dumps({**config, **change}))
        with one_line(message):
            MistralModel.load(folder)
    (folder / "config.json").write_text("{")
    with one_line(r"copy/config.json: cannot be read"):
        MistralModel.load(folder)


@pytest.mark.gemma
def test_the_real_gemma_in_eight_bits():
    """Beyond its window of 512: int8 on rolling caches in chunks finds a text as likely as bfloat16 at once."""
    folder = embedded_folder("gemma3_270m")
    lm = MistralModel.load(folder, weights="int8", device="cpu")
    (completion,) = lm.generate(
        ["The capital of France is Paris. The capital of Italy is Rome. The capital of Spain is"], max_new_tokens=3
    )
    assert completion.text.startswith(" Madrid")
    ids = lm.tokenizer(wikipedia_documents()[1][0], add_special_tokens=False)["input_ids"][:600]
    assert {512, None} == set(lm.transformer.config.sliding_windows)
    narrow = token_losses(load_decoder(folder, dtype=torch.bfloat16), ids, start_id=2, window=len(ids))
    rolled = losses_through_buffer(lm.transformer, ids, 2, 200)
    assert rolled.mean().item() == pytest.approx(narrow.mean().item(), abs=0.05)
    assert rolled[512:].mean().item() == pytest.approx(narrow[512:].mean().item(), abs=0.1)
