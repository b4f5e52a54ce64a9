import errno
import json
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
import tiny_backbones
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_backbones import char_tokenizer

from october.errors import OctoberError
from october.probing import Activations, activations, cached_activations, extract, text_spans
from october.probing.prompt_tokens import tokenize_prompts


def one_at_a_time(model, tokenizer, text, position):
    """Every layer's state at one token, by transformers' own hidden states, without padding."""
    with torch.no_grad():
        states = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states
    return np.stack([layer[0, position].numpy() for layer in states])


def all_layers(found):
    return np.stack([found.layer(index) for index in range(found.num_layers)])


@pytest.mark.parametrize("padding_side", ["left", "right"])
@pytest.mark.parametrize("name", ["gemma3", "llama", "gpt_neox", "bert"])
def test_equals_hidden_states_one_at_a_time(make, tmp_path, names, name, padding_side):
    model, tokenizer = make.backbone(name), make.char_tokenizer(name, padding_side)
    texts, spans = text_spans("in ", names, " is")
    found = extract(model, tokenizer, texts, folder=tmp_path, entity_spans=spans, max_batch_tokens=70, progress=False)
    assert found.complete
    assert found.num_layers == 4
    for row, (text, span) in enumerate(zip(texts, spans, strict=True)):
        expected = one_at_a_time(model, tokenizer, text, span[1])  # one token a character, BOS in front
        np.testing.assert_allclose(all_layers(found)[:, row], expected, atol=2e-6)


def test_without_spans_the_whole_text_is_the_entity(make, tmp_path, names):
    model, tokenizer = make.backbone("bert"), make.char_tokenizer("bert")
    found = extract(model, tokenizer, names, folder=tmp_path, progress=False)
    for row, text in enumerate(names):  # the last token of text, not the special one behind it
        expected = one_at_a_time(model, tokenizer, text, -2)
        np.testing.assert_allclose(all_layers(found)[:, row], expected, atol=2e-6)


def test_mean_position_is_the_mean_over_all_tokens(make, tmp_path, names):
    model, tokenizer = make.backbone("bert"), make.char_tokenizer("bert")
    found = extract(model, tokenizer, names, folder=tmp_path, position="mean", max_batch_tokens=50, progress=False)
    for row, text in enumerate(names):
        expected = one_at_a_time(model, tokenizer, text, slice(None)).mean(axis=1)
        np.testing.assert_allclose(all_layers(found)[:, row], expected, atol=2e-6)


def test_random_tokens_stand_between_bos_and_text(llama, tokenizer, tmp_path, names):
    tokens = tokenize_prompts(tokenizer, names, random_tokens=10, seed=3)
    for row, name in enumerate(names):
        ids = tokens.ids[tokens.starts[row] : tokens.starts[row + 1]]
        assert ids[0] == tokenizer.bos_token_id
        assert not set(ids[1:11]) & set(tokenizer.all_special_ids)
        assert ids[11:].tolist() == tokenizer(name)["input_ids"][1:]
        assert tokens.positions[row] == len(ids) - 1
    found = extract(llama, tokenizer, names, folder=tmp_path, random_tokens=10, seed=3, progress=False)
    with torch.no_grad():
        ids = torch.from_numpy(tokens.ids[: tokens.starts[1]].astype(np.int64))[None]
        expected = llama(ids).last_hidden_state[0, -1].numpy()
    np.testing.assert_allclose(found.layer(-1)[0], expected, atol=2e-6)
    other = tokenize_prompts(tokenizer, names, random_tokens=10, seed=4)
    assert (other.ids != tokens.ids).any()


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(31, 200))
def test_batches_cover_every_prompt_once_and_restart_anywhere(lengths, max_batch_tokens):
    tokens = tokenize_prompts(char_tokenizer(), ["x" * length for length in lengths])
    batches = list(tokens.batches(max_batch_tokens))
    assert [row for batch in batches for row in range(batch.rows.start, batch.rows.stop)] == list(range(len(lengths)))
    order = tokens.sorted_rows()
    for place, batch in enumerate(batches):
        assert batch.input_ids.numel() <= max_batch_tokens
        assert batch.attention_mask.sum(dim=1).tolist() == [lengths[row] + 1 for row in order[batch.rows]]
        assert [rest.rows for rest in tokens.batches(max_batch_tokens, batch.rows.start)] == [
            rest.rows for rest in batches[place:]
        ]


def test_bfloat16_is_kept_bit_for_bit(make, tokenizer, tmp_path, names):
    model = make.backbone("llama").to(torch.bfloat16)
    found = extract(model, tokenizer, names, folder=tmp_path, progress=False)
    assert found.storage == "bfloat16"
    assert np.load(found.path).dtype.itemsize == 2
    whole = extract(model, tokenizer, names, folder=tmp_path / "32", storage="float32", progress=False)
    np.testing.assert_array_equal(all_layers(found), all_layers(whole))


def test_numbers_that_storage_cannot_hold_are_named(make, tokenizer, tmp_path, names):
    model = make.backbone("llama")
    with torch.no_grad():
        model.embed_tokens.weight.mul_(1e6)
    with pytest.raises(OctoberError, match=r"layer 0 of LlamaModel .* first for 'Llanfair"):
        extract(model, tokenizer, names, folder=tmp_path, storage="float16", progress=False)


def test_nan_names_layer_and_model(make, tokenizer, tmp_path, names):
    model = make.backbone("llama")
    with torch.no_grad():
        model.layers[1].mlp.down_proj.weight[0, 0] = float("nan")
    with pytest.raises(OctoberError, match="layer 2 of LlamaModel"):
        extract(model, tokenizer, names, folder=tmp_path, progress=False)


KILLED = """
    import os, signal, sys
    from tiny_backbones import backbone, char_tokenizer
    from october.probing import activations, extract
    activations._SECONDS_BETWEEN_MARKS = 0.0
    write, calls = activations._Writer.write, []
    def deadly(self, states, rows):
        calls.append(rows)
        if len(calls) == 4:
            os.pwrite(self.file, b"half a batch", self.header + rows.start * self.row_bytes)
            os.kill(os.getpid(), signal.SIGKILL)
        write(self, states, rows)
    activations._Writer.write = deadly
    names = {names!r}
    extract(backbone("llama"), char_tokenizer(), names, folder={folder!r}, max_batch_tokens=30, progress=False)
"""


def test_a_killed_run_goes_on_to_the_same_bits(llama, tokenizer, tmp_path, names):
    names = names * 3
    folder = tmp_path / "killed"
    script = textwrap.dedent(KILLED.format(names=names, folder=str(folder)))
    helpers = Path(tiny_backbones.__file__).parent  # where python -c looks for modules first
    killed = subprocess.run([sys.executable, "-c", script], cwd=helpers, capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    left = Activations.open(folder)
    assert not left.complete
    assert left.rows_done > 0
    with pytest.raises(OctoberError, match="unfinished"):
        left.layer(0)
    options = {"max_batch_tokens": 30, "progress": False}
    resumed = extract(llama, tokenizer, names, folder=folder, **options)
    whole = extract(llama, tokenizer, names, folder=tmp_path / "whole", **options)
    np.testing.assert_array_equal(all_layers(resumed), all_layers(whole))


def test_a_full_disk_is_one_line_and_what_was_written_is_kept(llama, tokenizer, tmp_path, names, monkeypatch):
    options = {"max_batch_tokens": 30, "progress": False}
    whole = extract(llama, tokenizer, names, folder=tmp_path / "whole", **options)
    pwrite, calls = os.pwrite, []

    def full(*arguments):
        calls.append(arguments)
        if len(calls) > 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(OctoberError, match="the disk is full") as caught:
            extract(llama, tokenizer, names, folder=tmp_path / "full", **options)
    assert "\n" not in str(caught.value)
    assert 0 < Activations.open(tmp_path / "full").rows_done < len(names)
    resumed = extract(llama, tokenizer, names, folder=tmp_path / "full", **options)
    np.testing.assert_array_equal(all_layers(resumed), all_layers(whole))


def test_a_disk_too_small_is_known_before_the_first_batch(llama, tokenizer, tmp_path, names, monkeypatch):
    def too_small(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", too_small)
    monkeypatch.setattr(activations, "_forward", None)
    with pytest.raises(OctoberError, match="the disk is full"):
        extract(llama, tokenizer, names, folder=tmp_path, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_finished_folder_is_returned_without_a_forward_pass(llama, tokenizer, tmp_path, names, monkeypatch):
    first = extract(llama, tokenizer, names, folder=tmp_path, progress=False)
    monkeypatch.setattr(activations, "_forward", None)
    again = extract(llama, tokenizer, names, folder=tmp_path, max_batch_tokens=999, progress=False)
    np.testing.assert_array_equal(all_layers(first), all_layers(again))


def test_a_folder_of_other_texts_or_weights_is_refused(make, llama, tokenizer, tmp_path, names):
    extract(llama, tokenizer, names, folder=tmp_path, progress=False)
    other = make.backbone("llama")
    with torch.no_grad():
        other.layers[0].mlp.up_proj.weight.mul_(1.01)
    with pytest.raises(OctoberError, match="another model or other texts"):
        extract(other, tokenizer, names, folder=tmp_path, progress=False)
    with pytest.raises(OctoberError, match="another model or other texts"):
        extract(llama, tokenizer, names[::-1], folder=tmp_path, progress=False)


def test_two_writers_of_one_folder_take_turns(llama, tokenizer, tmp_path, names):
    results, options = [], {"folder": tmp_path / "both", "progress": False}
    threads = [
        threading.Thread(target=lambda: results.append(extract(llama, tokenizer, names, **options))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    alone = extract(llama, tokenizer, names, folder=tmp_path / "alone", progress=False)
    assert len(results) == 2
    for found in results:
        np.testing.assert_array_equal(all_layers(found), all_layers(alone))


def test_the_cache_loads_the_model_once_per_key(llama, tokenizer, tmp_path, names):
    loads = []

    def load():
        loads.append(1)
        return llama, tokenizer

    first = cached_activations(tmp_path, {"model": "a"}, load, names, progress=False)
    again = cached_activations(tmp_path, {"model": "a"}, load, names, progress=False, max_batch_tokens=64)
    assert (len(loads), first) == (1, again)
    for change in ({"random_tokens": 2}, {"random_tokens": 2, "seed": 1}, {"position": "mean"}):
        cached_activations(tmp_path, {"model": "a"}, load, names, progress=False, **change)
    cached_activations(tmp_path, {"model": "b"}, load, names, progress=False)
    assert len(loads) == 5


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        ([], {}, "texts is empty"),
        (["Rome", ""], {}, "prompt 1 .* has no token of its entity"),
        (["Rome"], {"entity_spans": [(4, 9)]}, "prompt 0 .* characters 4 to 9"),
        (["Rome"], {"entity_spans": []}, "entity_spans has 0 rows"),
        (["x" * 64], {}, "has 65 tokens; LlamaModel takes 64"),
        (["Rome"], {"max_batch_tokens": 4}, "max_batch_tokens=4 is less than the longest prompt, 5 tokens"),
        (["Rome"], {"storage": "int8"}, "storage='int8' is not one of float32"),
        (["Rome"], {"position": "first"}, "position='first' is not one of"),
    ],
)
def test_bad_input_is_named(llama, tokenizer, tmp_path, texts, options, message):
    with pytest.raises(OctoberError, match=message):
        extract(llama, tokenizer, texts, folder=tmp_path / "x", progress=False, **options)


def test_a_slow_tokenizer_is_refused(llama, tmp_path):
    with pytest.raises(OctoberError, match="slow tokenizer"):
        extract(llama, object(), ["Rome"], folder=tmp_path)


def test_damaged_files_are_named(llama, tokenizer, tmp_path, names):
    found = extract(llama, tokenizer, names, folder=tmp_path, progress=False)
    with pytest.raises(OctoberError, match="layer 4 does not exist: layers go from 0 to 3"):
        found.layer(4)
    found.path.write_bytes(found.path.read_bytes()[:200])
    with pytest.raises(OctoberError, match="is damaged"):
        found.layer(0)
    (tmp_path / "about.json").write_text(json.dumps({"num_layers": 4}))
    with pytest.raises(OctoberError, match="is damaged"):
        Activations.open(tmp_path)
    with pytest.raises(OctoberError, match="holds no activations"):
        Activations.open(tmp_path / "nowhere")


def test_the_model_stays_in_its_training_mode(make, tokenizer, tmp_path, names):
    model = make.backbone("gpt_neox").train()
    extract(model, tokenizer, names, folder=tmp_path, progress=False)
    assert model.training
    assert not any(block._forward_hooks for block in model.layers)
