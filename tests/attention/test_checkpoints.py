import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_decoders import FAMILIES, WINDOW, hugging_face_model
from transformers import Gemma3ForCausalLM, GPTNeoXConfig

from october.attention import DenseCache, decoder_from, load_decoder
from october.attention.hugging_face_config import config_from_hugging_face
from october.errors import OctoberError

pytestmark = pytest.mark.usefixtures("one_thread")


def token_ids(batch=2, sequence=4 * WINDOW + 3, vocab_size=61):
    return torch.randint(vocab_size, (batch, sequence), generator=torch.Generator().manual_seed(0))


def relative_error(found, expected):
    return ((found - expected).abs().max() / expected.abs().max()).item()


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return hugging_face_model(request.param)


@pytest.fixture(scope="module")
def llama():
    return hugging_face_model("llama")


@pytest.fixture(scope="module")
def folder(llama, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "llama"
    llama.save_pretrained(folder)
    return folder


@torch.inference_mode()
def test_logits_equal_those_of_transformers(model, tmp_path):
    """From a folder and from the live model, on prompts longer than the window and the context of pre-training."""
    model.save_pretrained(tmp_path)
    expected = model(token_ids(), use_cache=False).logits
    for decoder in (load_decoder(tmp_path), decoder_from(model)):
        assert relative_error(decoder.logits(decoder(token_ids())), expected) < 1e-5
        assert not decoder.training


@torch.inference_mode()
def test_token_by_token_equals_the_whole_prompt(model):
    decoder, ids = decoder_from(model), token_ids()
    cache = DenseCache(decoder.config, 2, 4)
    hidden = [decoder(ids[:, :7], cache=cache), *(decoder(ids[:, [place]], cache=cache) for place in range(7, 23))]
    expected = model(ids, use_cache=False).logits
    assert relative_error(decoder.logits(torch.cat(hidden, dim=1)), expected) < 1e-5


@torch.inference_mode()
def test_bfloat16_is_as_near_to_float32_as_that_of_transformers(model, tmp_path):
    model.save_pretrained(tmp_path)
    expected = model(token_ids(), use_cache=False).logits
    theirs = type(model).from_pretrained(tmp_path, dtype=torch.bfloat16)(token_ids()).logits.float()
    decoder = load_decoder(tmp_path, dtype=torch.bfloat16)
    ours = decoder.logits(decoder(token_ids())).float()
    assert (ours - expected).norm() < 1.5 * (theirs - expected).norm()


def test_a_live_model_shares_its_weights(llama):
    decoder = decoder_from(llama)
    theirs = {weight.data_ptr() for weight in llama.parameters()}
    assert {weight.data_ptr() for weight in decoder.parameters()} == theirs
    tied = decoder_from(hugging_face_model("llama_tied"))
    assert tied.head.weight is tied.embedding.weight


def test_shards_are_read_one_tensor_at_a_time(llama, folder, tmp_path, monkeypatch):
    llama.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    order = []
    put = torch.Tensor.to

    def noting(tensor, *arguments, **settings):
        order.append(tensor.numel())
        return put(tensor, *arguments, **settings)

    monkeypatch.setattr(torch.Tensor, "to", noting)
    decoder = load_decoder(tmp_path)
    assert len(order) == len(list(decoder.parameters())), "each is copied once"
    whole = load_decoder(folder).state_dict()
    assert all(torch.equal(weight, whole[name]) for name, weight in decoder.state_dict().items())


def test_weights_in_memory_do_not_depend_on_the_file(llama, tmp_path):
    """What safetensors hands out is a view of the file, which may be replaced or shortened later."""
    llama.save_pretrained(tmp_path)
    decoder = load_decoder(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(bytes(file.stat().st_size))
    assert torch.equal(decoder.norm.weight, llama.model.norm.weight)


def test_a_stored_copy_of_a_tied_head_and_old_buffers_are_passed_over(tmp_path):
    model = hugging_face_model("llama_tied")
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(6)
    save_file(weights, tmp_path / "model.safetensors")
    assert torch.equal(load_decoder(tmp_path).head.weight, model.lm_head.weight)


@pytest.mark.parametrize("family", ["llama3_rope", "llama_linear_rope", "gemma3"])
def test_configs_of_older_versions_mean_the_same(family, tmp_path):
    """Before version 5 of transformers the rotary base and its scaling stood in fields of their own."""
    hugging_face_model(family).save_pretrained(tmp_path)
    expected = load_decoder(tmp_path).config
    config = json.loads((tmp_path / "config.json").read_text())
    scaling = config.pop("rope_parameters")
    if family == "gemma3":
        old = {"rope_theta": 1_000_000.0, "rope_local_base_freq": 10_000.0}
    else:
        old = {"rope_theta": scaling.pop("rope_theta"), "rope_scaling": scaling}
    (tmp_path / "config.json").write_text(json.dumps({**config, **old}))
    assert load_decoder(tmp_path).config == expected


def test_a_copy_of_a_tied_head_that_differs_contradicts_the_config(tmp_path):
    model = hugging_face_model("llama_tied")
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"] + 0.5
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(OctoberError, match=r"says tie_word_embeddings, but lm_head.weight is not model.embed_tokens"):
        load_decoder(tmp_path)


def test_each_layer_is_finished_as_soon_as_it_is_whole(llama, tmp_path):
    """In whatever order the tensors come; what happens to a layer does not disturb those that follow."""
    llama.save_pretrained(tmp_path, max_shard_size="20KB")
    finished = []

    def finish(layer):
        assert not any(weight.is_meta for weight in layer.parameters())
        finished.append(layer.feed_forward.down)
        return torch.nn.Identity()

    decoder = load_decoder(tmp_path, finish_layer=finish)
    expected = decoder_from(llama)
    assert [down.weight.tolist() for down in finished] == [
        layer.feed_forward.down.weight.tolist() for layer in expected.layers
    ]
    assert all(isinstance(layer, torch.nn.Identity) for layer in decoder.layers)


@pytest.mark.parametrize("value", ["absent", None, 3])
def test_a_window_that_the_config_does_not_name_is_none(value, tmp_path):
    """Where it is absent, transformers would take 4,096."""
    hugging_face_model("mistral_gqa2").save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    del config["sliding_window"]
    path.write_text(json.dumps(config if value == "absent" else {**config, "sliding_window": value}))
    expected = None if value == "absent" else value
    assert load_decoder(tmp_path).config.sliding_windows == (expected,) * 3


def test_tensors_that_stand_twice_or_are_no_floating_point_numbers_are_named(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    weights = load_file(copy / "model.safetensors")
    save_file({"model.norm.weight": weights["model.norm.weight"]}, copy / "more.safetensors")
    index = {"weight_map": dict.fromkeys(weights, "model.safetensors") | {"model.norm.weight": "more.safetensors"}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(OctoberError, match=r"tensor model.norm.weight is stored twice"):
        load_decoder(copy)
    (copy / "model.safetensors.index.json").unlink()
    weights["model.norm.weight"] = weights["model.norm.weight"].to(torch.int8)
    save_file(weights, copy / "model.safetensors")
    with pytest.raises(OctoberError, match=r"tensor model.norm.weight is torch.int8: weights must be floating-point"):
        load_decoder(copy)


def changed_config(folder, tmp_path, **changes):
    shutil.copytree(folder, tmp_path / "changed")
    path = tmp_path / "changed/config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))
    return tmp_path / "changed"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "qwen2"}, "model_type=qwen2: the decoder knows llama, mistral, gemma3_text"),
        ({"model_type": None}, "config.json: cannot be read"),
        ({"attention_bias": True}, "attention_bias=True: the decoder has no such thing"),
        ({"mlp_bias": True}, "mlp_bias=True"),
        ({"attention_dropout": 0.1}, "attention_dropout=0.1"),
        ({"hidden_act": "relu"}, "activation relu: the decoder knows silu"),
        (
            {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}},
            "rope_type=yarn: the decoder knows default, linear and llama3",
        ),
        (
            {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}},
            "partial_rotary_factor=0.5",
        ),
        ({"quantization_config": {"quant_method": "fp8"}}, "quantization_config={'quant_method': 'fp8'}: the decoder"),
        ({"hidden_size": "wide"}, r"config.json: Validation error for field 'hidden_size': TypeError"),
        ({"num_attention_heads": 0}, r"config.json: cannot be read"),
        ({"num_hidden_layers": 3}, r"the weights lack 9 tensors, model.layers.2.self_attn.q_proj.weight first"),
        ({"num_hidden_layers": 1}, r"tensor model.layers.1.\S+ is not one of a 1-layer decoder"),
        ({"intermediate_size": 40}, r"has shape \(\d+, \d+\), the config says \(\d+, \d+\)"),
    ],
)
def test_what_the_decoder_cannot_do_is_refused_by_name(folder, tmp_path, changes, words):
    with pytest.raises(OctoberError, match=words):
        load_decoder(changed_config(folder, tmp_path, **changes))


def test_soft_caps_and_other_layers_are_refused_by_name():
    config = hugging_face_model("gemma3").config
    for name, value, words in [
        ("attn_logit_softcapping", 50.0, "attn_logit_softcapping=50.0"),
        ("final_logit_softcapping", 30.0, "final_logit_softcapping=30.0"),
        ("use_bidirectional_attention", True, "use_bidirectional_attention=True"),
        ("layer_types", ["linear_attention"] * 4, "layer type linear_attention"),
    ]:
        changed = type(config)(**config.to_dict())
        setattr(changed, name, value)
        with pytest.raises(OctoberError, match=words):
            config_from_hugging_face(changed)
    with pytest.raises(OctoberError, match="model_type=gpt_neox"):
        config_from_hugging_face(GPTNeoXConfig())
    with pytest.raises(OctoberError, match=r"LlamaModel has no lm_head.weight"):
        decoder_from(hugging_face_model("llama").model)


def test_damaged_folders_are_named(folder, tmp_path):
    with pytest.raises(OctoberError, match=r"nowhere: the folder holds no config.json"):
        load_decoder(tmp_path / "nowhere")
    for number, (damage, words) in enumerate(
        [
            (lambda path: (path / "model.safetensors").unlink(), "holds no model.safetensors; only safetensors"),
            (lambda path: _shorten(path / "model.safetensors"), r"model.safetensors: cannot be read"),
            (lambda path: (path / "config.json").write_text("{"), r"config.json: cannot be read"),
            (lambda path: (path / "model.safetensors.index.json").write_text("[]"), "not an index of safetensors"),
            (
                lambda path: (path / "model.safetensors.index.json").write_text(
                    '{"weight_map": {"a": "b.safetensors"}}'
                ),
                "holds no b.safetensors",
            ),
        ]
    ):
        copy = tmp_path / str(number)
        shutil.copytree(folder, copy)
        damage(copy)
        with pytest.raises(OctoberError, match=words):
            load_decoder(copy)


def _shorten(file):
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


@pytest.mark.gemma
@torch.inference_mode()
def test_the_real_gemma():
    """Prompts longer than its window of 512, in float32."""
    from october.language_models.embedded import embedded_folder

    folder = embedded_folder("gemma3_270m")
    decoder = load_decoder(folder)
    ids = torch.randint(1000, 200_000, (1, 560), generator=torch.Generator().manual_seed(0))
    ours = decoder(ids)
    theirs = Gemma3ForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    expected = theirs.model(ids, use_cache=False).last_hidden_state
    assert relative_error(ours, expected) < 1e-5
    places = [0, 300, 511, 512, 559]
    assert relative_error(decoder.logits(ours[0, places]), theirs.lm_head(expected[0, places])) < 1e-5
