import errno
import hashlib
import json
import math
import threading
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from october.errors import OctoberError
from october.files import data_home
from october.language_models import ModelHandle, embedded, gguf_conversion

WIDTH, INNER, HEAD, LAYERS = 64, 96, 32, 3
SPELLED = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "\n", "  ", "   "]
LETTERS = list("▁abcdeginorst")
PIECES = ["in", "▁t", "an", "ing", "▁b", "or", "▁in", "▁bor", "▁born", "ea", "▁▁", "st", "ing▁"]


def _tokens() -> tuple[list[str], list[int]]:
    """Gemma's layout: control tokens, runs of line breaks and spaces that are never cut, bytes, pieces."""
    bytes_ = [f"<0x{value:02X}>" for value in range(256)]
    pieces = [piece for piece in [*LETTERS, *PIECES] if piece != "▁▁"]
    kinds = [3, 3, 3, 2, 3, 4, 4, 4, *[6] * 256, *[1] * len(pieces)]
    return [*SPELLED, *bytes_, *pieces], kinds


@pytest.fixture(scope="module")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Gemma-3 of three layers in the kinds of tensor that the packaged file has."""
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    tokens, kinds = _tokens()
    writer = gguf.GGUFWriter(str(path), "gemma3")
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(4)
    writer.add_head_count_kv(1)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1_000_000.0)
    writer.add_sliding_window(16)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(kinds)
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(1)
    writer.add_unk_token_id(3)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(True)
    generator = np.random.default_rng(0)
    quantised = gguf.GGMLQuantizationType

    def add(name: str, *shape: int, kind: gguf.GGMLQuantizationType = quantised.F32) -> None:
        values = generator.normal(0, 0.2, shape).astype(np.float32)
        writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)

    add("token_embd.weight", len(tokens), WIDTH, kind=quantised.Q8_0)
    add("output_norm.weight", WIDTH)
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        for norm in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
            add(f"{block}.{norm}.weight", WIDTH)
        for norm in ("attn_q_norm", "attn_k_norm"):
            add(f"{block}.{norm}.weight", HEAD)
        add(f"{block}.attn_q.weight", 4 * HEAD, WIDTH, kind=quantised.Q5_0)
        add(f"{block}.attn_k.weight", HEAD, WIDTH, kind=quantised.Q5_0)
        add(f"{block}.attn_v.weight", HEAD, WIDTH, kind=quantised.Q8_0)
        add(f"{block}.attn_output.weight", WIDTH, 4 * HEAD, kind=quantised.Q4_0)
        add(f"{block}.ffn_gate.weight", INNER, WIDTH, kind=quantised.Q5_0)
        add(f"{block}.ffn_up.weight", INNER, WIDTH, kind=quantised.Q5_0)
        add(f"{block}.ffn_down.weight", WIDTH, INNER, kind=quantised.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def converted(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny file's conversion."""
    folder = tmp_path_factory.mktemp("converted") / "tiny"
    gguf_conversion.convert_gguf(tiny_gguf, folder)
    return folder


def test_the_written_tensors_are_the_dequantised_ones_rounded_to_bfloat16(tiny_gguf: Path, converted: Path) -> None:
    written = load_file(converted / "model.safetensors")
    quantised = {tensor.name: tensor for tensor in gguf.GGUFReader(tiny_gguf).tensors}
    assert len(written) == len(quantised)
    for name, source in [
        ("model.embed_tokens.weight", "token_embd.weight"),
        ("model.layers.2.self_attn.q_proj.weight", "blk.2.attn_q.weight"),
        ("model.layers.1.self_attn.o_proj.weight", "blk.1.attn_output.weight"),
        ("model.layers.0.mlp.down_proj.weight", "blk.0.ffn_down.weight"),
        ("model.layers.0.self_attn.k_norm.weight", "blk.0.attn_k_norm.weight"),
        ("model.layers.2.pre_feedforward_layernorm.weight", "blk.2.ffn_norm.weight"),
    ]:
        values = gguf.dequantize(quantised[source].data, quantised[source].tensor_type)
        stored_factor = source.endswith("norm.weight")  # GGUF stores the factor 1 + w, transformers w
        assert torch.equal(written[name], torch.tensor(values - stored_factor).to(torch.bfloat16)), name


def test_the_conversion_loads_as_a_plain_bfloat16_gemma(converted: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(converted, dtype="auto")
    assert model.dtype == torch.bfloat16
    assert not hasattr(model.config, "quantization_config")
    config = model.config
    assert (config.sliding_window, config.head_dim, config.num_key_value_heads) == (16, HEAD, 1)
    assert config.rope_parameters["full_attention"]["rope_theta"] == 1_000_000
    assert config.rope_parameters["sliding_attention"]["rope_theta"] == 10_000
    weights = load_file(converted / "model.safetensors")
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in weights.items())
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_the_fast_way_to_the_tokenizer_equals_the_general_one(converted: Path) -> None:
    from transformers import AutoTokenizer

    ours = embedded.load_tokenizer_file(converted)
    theirs = AutoTokenizer.from_pretrained(converted)
    texts = ["born in ing", "a  b   c\n\nd", "日本 ü", "", " ", "\n \n", "<bos>born<eos>"]
    for text in texts:
        ids = ours(text)["input_ids"]
        assert ids == theirs(text)["input_ids"]
        assert ids[0] == ours.bos_token_id
        assert ours.decode(ids) == theirs.decode(ids)
    assert ours(texts, padding=True)["input_ids"] == theirs(texts, padding=True)["input_ids"]
    names = ("bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "padding_side")
    assert [getattr(ours, name) for name in names] == [2, 1, 0, 3, "left"]
    assert [getattr(theirs, name) for name in names] == [2, 1, 0, 3, "left"]


def test_warnings_are_kept_quiet_only_while_converting(
    tiny_gguf: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.add_handler(caplog.handler)
    try:
        gguf_conversion.convert_gguf(tiny_gguf, tmp_path / "tiny")
    finally:
        logging.remove_handler(caplog.handler)
    assert caplog.messages == []
    assert logging.get_verbosity() == before


@pytest.fixture
def packaged(tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The tiny file in four parts in place of the packaged model, and an empty data folder."""
    content = tiny_gguf.read_bytes()
    quarter = len(content) // 4
    parts = [tmp_path / f"part{i}" for i in range(4)]
    for i, part in enumerate(parts):
        part.write_bytes(content[i * quarter : (i + 1) * quarter if i < 3 else None])
    monkeypatch.setenv("OCTOBER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(embedded, "_gemma_parts", lambda: parts)
    monkeypatch.setattr(embedded, "GGUF_SHA256", hashlib.sha256(content).hexdigest())
    return parts


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that conversions were asked to write, in their order."""
    asked: list[Path] = []
    original = gguf_conversion.convert_gguf

    def convert(source: Path, folder: Path) -> None:
        asked.append(folder)
        original(source, folder)

    monkeypatch.setattr(gguf_conversion, "convert_gguf", convert)
    return asked


@pytest.mark.usefixtures("packaged")
def test_converted_once_with_terms_and_time_shown(conversions: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = embedded.embedded_folder("gemma3_270m")
    shown = capsys.readouterr().err
    assert "Gemma Terms of Use" in shown
    assert shown.index("about a minute") < shown.index("it/s") < shown.index("converted once in")
    assert embedded.embedded_folder("gemma3_270m") == folder
    assert capsys.readouterr().err == ""
    assert len(conversions) == 1
    assert [path.name for path in (data_home() / "models").iterdir() if path.is_dir()] == [folder.name]


@pytest.mark.usefixtures("packaged")
def test_converted_once_by_many_at_the_same_time(conversions: list[Path]) -> None:
    threads = [threading.Thread(target=embedded.embedded_folder, args=["gemma3_270m"]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(conversions) == 1


@pytest.mark.usefixtures("packaged")
@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "config.json"])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "deleted"])
def test_a_damaged_conversion_is_named_and_made_again(
    file: str, damage: str, conversions: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = embedded.embedded_folder("gemma3_270m") / file
    whole = path.read_bytes()
    if damage == "deleted":
        path.unlink()
    else:
        middle = len(whole) // 2
        path.write_bytes(whole[:-7] if damage == "truncated" else whole[:middle] + b"~" + whole[middle + 1 :])
    capsys.readouterr()
    embedded.embedded_folder("gemma3_270m")
    assert f"{path} is damaged; converting Gemma-3-270M again" in capsys.readouterr().err
    assert path.read_bytes() == whole
    assert len(conversions) == 2


def test_parts_that_are_not_the_pinned_ones_are_refused(packaged: list[Path]) -> None:
    content = packaged[2].read_bytes()
    packaged[2].write_bytes(content[:50] + b"~" + content[51:])
    with pytest.raises(OctoberError, match=r"packaged Gemma-3-270M is damaged.*run `october-offline`"):
        embedded.embedded_folder("gemma3_270m")
    assert not [path for path in (data_home() / "models").iterdir() if path.is_dir()]


@pytest.mark.usefixtures("packaged")
def test_a_conversion_that_is_killed_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def half(source: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(gguf_conversion, "convert_gguf", half)
        with pytest.raises(KeyboardInterrupt):
            embedded.embedded_folder("gemma3_270m")
    assert not [path for path in (data_home() / "models").iterdir() if path.is_dir()]
    assert (embedded.embedded_folder("gemma3_270m") / "model.safetensors").is_file()


@pytest.mark.usefixtures("packaged")
@pytest.mark.parametrize("full", ["safetensors", "tokenizers", "python"])
def test_a_full_disk_is_named(full: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers.modeling_utils
    from safetensors import SafetensorError
    from transformers import PreTrainedTokenizerFast

    said = "No space left on device (os error 28)"  # as the libraries in Rust report ENOSPC
    places = {
        "safetensors": (transformers.modeling_utils, "safe_save_file", SafetensorError(f"I/O error: {said}")),
        "tokenizers": (PreTrainedTokenizerFast, "_save_pretrained", Exception(said)),
        "python": (Path, "write_text", OSError(errno.ENOSPC, "No space left on device")),
    }
    place, name, failure = places[full]

    def fail(*_: object, **__: object) -> None:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(place, name, fail)
        with pytest.raises(OctoberError, match=r"the disk is full: could not write .*gemma3_270m"):
            embedded.embedded_folder("gemma3_270m")
    assert not [path for path in (data_home() / "models").iterdir() if path.is_dir()]


@pytest.mark.parametrize("name", ["gemma3_270m", "minilm"])
def test_a_missing_package_is_named_with_the_command(
    name: embedded.EmbeddedName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from october.data import offline

    monkeypatch.setenv("OCTOBER_HOME", str(tmp_path))
    monkeypatch.setattr(offline, "_installed_root", lambda *_: None)
    with pytest.raises(OctoberError, match=r"is not installed .* run `october-offline"):
        ModelHandle(name, embedded=name).check()


PARAGRAPH = (
    "The city of Paris is the capital and largest city of France. It is located on the Seine, in the north of the "
    "country. Since the 17th century, Paris has been one of the world's major centres of finance, diplomacy, commerce, "
    "culture, fashion, and science. The city is known for its museums and architectural landmarks: the Louvre received "
    "millions of visitors last year, and the Eiffel Tower, built for the World's Fair of 1889, is one of the most "
    "recognisable structures in the world."
)
TENSORS_SHA256 = (
    "abdfdce87cda53bdcedb4f6eedb312414ef12640d3e3021bc095dfeef02516d4"  # as transformers 5.23 reads the GGUF
)
TOKENIZER_SHA256 = "f7f4ff9e5810afab82701d54a43751ee89e62c0fee6149043a9940e9f71fb2fb"


@pytest.mark.gemma
def test_the_real_gemma() -> None:
    """Its tensors and tokenizer are the pinned ones, and it speaks English."""
    folder = embedded.embedded_folder("gemma3_270m")
    tensors = load_file(folder / "model.safetensors")
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].view(torch.uint8).numpy().tobytes())
    assert digest.hexdigest() == TENSORS_SHA256
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    assert hashlib.sha256(json.dumps(tokenizer, sort_keys=True).encode()).hexdigest() == TOKENIZER_SHA256

    lm = ModelHandle("gemma3_270m", embedded="gemma3_270m", dtype="float32").language_model()
    born, capital = lm.generate(
        ["Albert Einstein was born in the year", "The capital of France is the city of"], max_new_tokens=6, stop=["."]
    )
    assert born.text.strip()[:4] == "1879"
    assert "Paris" in capital.text
    (score,) = lm.score([""], [PARAGRAPH])
    perplexity = math.exp(-score.total / len(score.tokens))
    ids = torch.tensor([lm.tokenizer(PARAGRAPH)["input_ids"]])
    assert perplexity == pytest.approx(lm.model(ids, labels=ids).loss.exp().item(), rel=1e-4)
    assert perplexity == pytest.approx(5.64, abs=0.05)
