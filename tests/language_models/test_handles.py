import gc
import json
import shutil
import subprocess
import sys
import time
import weakref
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from october.errors import OctoberError
from october.language_models import EncoderHandle, ModelHandle, loading

pytestmark = pytest.mark.usefixtures("own_home")


@pytest.fixture
def copy(model_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may damage."""
    return Path(shutil.copytree(model_folder, tmp_path / "copy"))


@pytest.fixture(scope="module")
def encoder_folder(llama, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT saved as on the hub."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("encoders") / "tiny_bert"
    config = BertConfig(
        vocab_size=len(llama.tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
    )
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    llama.tokenizer.save_pretrained(folder)
    return folder


def test_a_model_and_its_backbone_share_weights_and_load_once(model_folder: Path, llama) -> None:
    handle = ModelHandle("tiny", path=str(model_folder), dtype="float32")
    handle.check()
    model, tokenizer = handle.load()
    assert ModelHandle("tiny", path=str(model_folder), dtype="float32").load()[0] is model
    backbone, same_tokenizer = handle.load_backbone()
    assert backbone is model.base_model
    assert same_tokenizer is tokenizer
    assert (model.training, tokenizer.padding_side) == (False, "left")
    ids = torch.tensor([tokenizer("The capital")["input_ids"]])
    assert torch.equal(model(ids).logits, llama.model(ids).logits)


def test_only_the_last_models_loaded_are_kept(model_folder: Path) -> None:
    handles = [ModelHandle(f"tiny {n}", path=str(model_folder), dtype="float32") for n in range(3)]
    models = [weakref.ref(handle.load()[0]) for handle in handles]
    gc.collect()
    assert [model() is not None for model in models] == [False, True, True]
    assert handles[1].load()[0] is models[1]()


def test_the_language_model_of_a_handle_scores_as_the_model(model_folder: Path, llama) -> None:
    lm = ModelHandle("tiny", path=str(model_folder), dtype="float32", max_batch_tokens=50).language_model()
    assert lm.score(["The"], [" capital"])[0].total == pytest.approx(llama.score(["The"], [" capital"])[0].total)


def test_dtypes(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for flags, expected in [("avx2 avx512f", torch.float32), ("avx512_bf16", torch.bfloat16)]:
        loading.cpu_multiplies_bfloat16.cache_clear()
        monkeypatch.setattr(Path, "read_text", lambda self, flags=flags, **options: f"flags : {flags}")
        assert loading.chosen_dtype("auto", cpu) == expected
    monkeypatch.undo()
    loading.cpu_multiplies_bfloat16.cache_clear()
    assert loading.chosen_dtype("float32", cpu) == torch.float32
    assert ModelHandle("tiny", path=str(model_folder), dtype="bfloat16").load()[0].dtype == torch.bfloat16


def test_random_weights_keep_the_architecture_only(model_folder: Path, llama) -> None:
    handles = [ModelHandle("r", path=str(model_folder), dtype="float32", random_weights=True, seed=s) for s in (1, 2)]
    state = torch.get_rng_state()
    first, second = (handle.load()[0] for handle in handles)
    assert torch.equal(torch.get_rng_state(), state), "the global generator is left alone"
    weights = [model.model.layers[0].mlp.up_proj.weight for model in (first, second, llama.model)]
    assert weights[0].shape == weights[2].shape
    assert weights[0].std().item() == pytest.approx(llama.model.config.initializer_range, rel=0.1)
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    again = loading.load_model.__wrapped__(handles[0])[0]
    assert torch.equal(again.model.layers[0].mlp.up_proj.weight, weights[0])


def test_fingerprints_follow_what_decides_the_outputs(copy: Path) -> None:
    def fingerprint(**changes: object) -> str:
        return ModelHandle("m", path=str(copy), **{"dtype": "float32", **changes}).fingerprint()

    first = fingerprint()
    assert fingerprint(max_batch_tokens=7) == first
    different = {
        fingerprint(dtype="bfloat16"),
        fingerprint(random_weights=True),
        fingerprint(random_weights=True, seed=1),
    }
    tensors = load_file(copy / "model.safetensors")
    tensors["model.norm.weight"] += 1
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    assert len({first, *different, fingerprint()}) == 5


def test_files_are_hashed_once_until_they_change(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from october.language_models import fingerprints

    hashed: list[Path] = []
    original = fingerprints.sha256_of
    monkeypatch.setattr(fingerprints, "sha256_of", lambda path: hashed.append(path) or original(path))
    handle = ModelHandle("m", path=str(copy), dtype="float32")
    first = handle.fingerprint()
    count = len(hashed)
    assert handle.fingerprint() == first
    assert len(hashed) == count >= 3
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "note": 1}))
    assert handle.fingerprint() != first
    assert hashed[count:] == [copy / "config.json"]


def test_a_missing_or_wrong_folder_is_named(tmp_path: Path, copy: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for path, words in [
        (tmp_path / "nowhere", "no such folder"),
        ("./nowhere", "no such folder"),
        ("a/b/c", "no such folder"),
        (tmp_path / "file", "a folder is needed"),
        (tmp_path / "empty", "holds no config.json"),
        ("two words", "not a name on the hub"),
    ]:
        for handle in (ModelHandle("m", path=str(path)), EncoderHandle("e", path=str(path))):
            with pytest.raises(OctoberError, match=words) as error:
                handle.check()
            assert str(path) in str(error.value)
            assert "\n" not in str(error.value)
    with pytest.raises(OctoberError, match=r"give model\.path"):
        ModelHandle("m").check()
    with pytest.raises(OctoberError, match=r"give encoder\.path"):
        EncoderHandle("e").check()
    with pytest.raises(OctoberError, match="max_batch_tokens=0"):
        ModelHandle("m", path=str(copy), max_batch_tokens=0).check()


def _truncate(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-500])


def _break_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\xff" * 2000)


def _lose_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _wrong_shape(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"] = torch.zeros(5)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _pickled_only(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _broken_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "llama"')


def _unknown_architecture(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "no_such_model"}')


def _no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


@pytest.mark.parametrize(
    "damage",
    [
        _truncate,
        _break_header,
        _lose_a_tensor,
        _wrong_shape,
        _pickled_only,
        _broken_config,
        _unknown_architecture,
        _no_tokenizer,
    ],
)
def test_damaged_files_get_one_line_that_names_the_folder(copy: Path, damage) -> None:
    damage(copy)
    with pytest.raises(OctoberError) as error:
        ModelHandle("m", path=str(copy), dtype="float32").load()
    assert str(copy) in str(error.value)
    assert "\n" not in str(error.value)


def test_code_that_comes_with_a_model_is_not_run(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "evil.Model", "AutoConfig": "evil.Config"}
    (copy / "config.json").write_text(json.dumps({**config, "model_type": "evil"}))
    (copy / "evil.py").write_text("raise SystemExit('code of the model was run')")
    with pytest.raises(OctoberError, match="cannot be loaded"):
        ModelHandle("m", path=str(copy)).load()


def test_a_hub_name_that_cannot_be_had_fails_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    started = time.monotonic()
    with pytest.raises(OctoberError, match="not in the hub's cache and HF_HUB_OFFLINE is set"):
        ModelHandle("m", path="nobody/nothing").check()
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with pytest.raises(OctoberError, match="nobody/nothing: not a folder here, and the hub gave no files") as error:
        ModelHandle("m", path="nobody/nothing").load()
    assert "\n" not in str(error.value)
    assert time.monotonic() - started < 30


def test_a_device_that_is_not_there_is_named(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(OctoberError, match="device=cuda"):
        ModelHandle("m", path=str(model_folder), device="cuda").load()


def test_an_encoder_pads_on_the_right_and_generates_nothing(encoder_folder: Path) -> None:
    handle = ModelHandle("e", path=str(encoder_folder), kind="encoder", dtype="float32")
    model, tokenizer = handle.load()
    assert handle.load_backbone()[0] is model
    assert tokenizer.padding_side == "right"
    with pytest.raises(OctoberError, match="an encoder generates no text"):
        handle.language_model()


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_plain_encoder_is_pooled_as_asked(encoder_folder: Path, pooling: str) -> None:
    handle = EncoderHandle("e", path=str(encoder_folder), pooling=pooling, device="cpu", max_sequence_length=16)
    encoder = handle.load()
    assert handle.load() is encoder
    assert handle.load_query() is encoder
    assert encoder.max_seq_length == 16
    network, tokenizer = ModelHandle("e", path=str(encoder_folder), kind="encoder", dtype="float32").load()
    for text in ("The capital of France", "x"):
        hidden = network(torch.tensor([tokenizer(text)["input_ids"]])).last_hidden_state[0]
        expected = hidden.mean(dim=0) if pooling == "mean" else hidden[0]
        assert encoder.encode(text) == pytest.approx(expected.detach().numpy(), abs=1e-5)


def test_questions_can_have_an_encoder_of_their_own(encoder_folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(encoder_folder, tmp_path / "query")
    tensors = load_file(other / "model.safetensors")
    tensors["embeddings.word_embeddings.weight"] *= 2
    save_file(tensors, other / "model.safetensors", metadata={"format": "pt"})
    handle = EncoderHandle("e", path=str(encoder_folder), query_path=str(other), pooling="cls", normalize=True)
    passages, queries = handle.load().encode(["The"]), handle.load_query().encode(["The"])
    assert abs(passages - queries).max() > 1e-3
    for vectors in (passages, queries):
        assert (vectors**2).sum() == pytest.approx(1.0, abs=1e-5)
    assert (
        handle.fingerprint()
        == EncoderHandle("f", path=str(encoder_folder), pooling="cls", normalize=True).fingerprint()
    )


def test_describe_gives_json_without_unset_fields() -> None:
    described = ModelHandle("m", path="x", licence="MIT").describe()
    assert json.loads(json.dumps(described))["licence"] == "MIT"
    assert "revision" not in described


COMPOSE_ALL = """
import sys
from pathlib import Path
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf
from october import configuration
for group, folder in (("model", sys.argv[1]), ("encoder", sys.argv[2])):
    for path in sorted(Path(folder).glob("*.yaml")):
        root = OmegaConf.create({"hardware": {"device": "auto"}, "handle": OmegaConf.load(path)})
        values = root.handle
        for key in ("path", "model"):
            if OmegaConf.is_missing(values, key):
                values[key] = "given"
        plain = OmegaConf.to_container(values, resolve=True)
        target = get_object(plain.pop("_target_"))
        configuration._check_call(target, plain, prefix=f"{group}.")
        handle = instantiate(values)
        described = handle.describe()
        print(group, path.stem, handle.name, described.get("num_parameters"))
assert not {"torch", "transformers", "sentence_transformers"} & set(sys.modules), "heavy imports"
"""


def test_every_config_makes_a_handle_and_imports_nothing_heavy(root: Path) -> None:
    folders = [str(root / "conf" / "model"), str(root / "conf" / "encoder")]
    run = subprocess.run([sys.executable, "-c", COMPOSE_ALL, *folders], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    names = [line.split()[1:3] for line in run.stdout.splitlines()]
    assert all(file == name for file, name in names)
    assert {"gemma3_270m", "pythia_6_9b", "llama2_70b", "served", "local", "dragon_plus"} <= {name for _, name in names}


@pytest.mark.parametrize(
    ("name", "pooling", "queries"),
    [
        ("contriever", "mean", None),
        ("contriever_msmarco", "mean", None),
        ("dragon_plus", "cls", "facebook/dragon-plus-query-encoder"),
    ],
)
def test_released_encoders_pool_as_they_were_trained(root: Path, name: str, pooling: str, queries: str | None) -> None:
    config = OmegaConf.load(root / "conf" / "encoder" / f"{name}.yaml")
    assert (config.pooling, config.query_path, config.normalize) == (pooling, queries, False)


@pytest.mark.parametrize("folder", ["model", "encoder"])
def test_every_config_opens_with_licence_size_and_needs(root: Path, folder: str) -> None:
    for path in (root / "conf" / folder).glob("*.yaml"):
        opening = path.read_text().split("_target_")[0]
        assert all(line.startswith("# ") for line in opening.splitlines()), path
        assert all(word.lower() in opening.lower() for word in ("Licence", "size", "Needs:")), path


def test_parameter_counts_in_the_catalogue(root: Path) -> None:
    """Counted on networks without memory, from the architectures as published."""
    from omegaconf import OmegaConf
    from transformers import AutoModelForCausalLM, GPTNeoXConfig, LlamaConfig, MistralConfig

    def pythia(width: int, layers: int, vocabulary: int = 50304) -> GPTNeoXConfig:
        sizes = {"hidden_size": width, "num_hidden_layers": layers, "intermediate_size": 4 * width}
        return GPTNeoXConfig(**sizes, num_attention_heads=8, vocab_size=vocabulary)

    def llama(width: int, layers: int, heads: int, kv_heads: int, inner: int, **other: object) -> LlamaConfig:
        sizes = {"hidden_size": width, "num_hidden_layers": layers, "intermediate_size": inner}
        return LlamaConfig(**sizes, num_attention_heads=heads, num_key_value_heads=kv_heads, **other)

    small = {"vocab_size": 49152, "tie_word_embeddings": True}
    architectures = {
        "pythia_70m": pythia(512, 6),
        "pythia_160m": pythia(768, 12),
        "pythia_410m": pythia(1024, 24),
        "pythia_1b": pythia(2048, 16),
        "pythia_1_4b": pythia(2048, 24),
        "pythia_2_8b": pythia(2560, 32),
        "pythia_6_9b": pythia(4096, 32, 50432),
        "llama2_7b": llama(4096, 32, 32, 32, 11008),
        "llama2_13b": llama(5120, 40, 40, 40, 13824),
        "llama2_70b": llama(8192, 80, 64, 8, 28672),
        "mistral_7b": MistralConfig(),
        "smollm2_135m": llama(576, 30, 9, 3, 1536, **small),
        "smollm2_360m": llama(960, 32, 15, 5, 2560, **small),
    }
    for name, config in architectures.items():
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        stated = OmegaConf.load(root / "conf" / "model" / f"{name}.yaml").num_parameters
        assert model.num_parameters() == stated, name
