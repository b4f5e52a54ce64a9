"""The page's blocks of Python run as they stand, on a tiny model in place of Mistral 7B."""

import re
from pathlib import Path

import pytest
import tiny_tokenizers
import torch
from tiny_mistral import mistral

pytestmark = pytest.mark.usefixtures("one_thread")

PAGE = Path(__file__).parents[3] / "experiments" / "mistral" / "README.md"
PLACES = ('"mistralai/Mistral-7B-v0.1"', '"mistral-7b"')


def blocks(folder):
    found = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    for place in PLACES:
        assert any(place in block for block in found)
        found = [block.replace(place, repr(str(folder))) for block in found]
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("models") / "mistral"
    tokenizer = tiny_tokenizers.sentencepiece_like()
    vocab_size = len(tokenizer)
    mistral(6, vocab_size=vocab_size, bos_token_id=2, eos_token_id=1).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def run_block(block):
    """On one rank of a ring: returns what is left, as numbers."""
    names = {}
    exec(block, names)
    gathered = names["gathered"]
    return names["state"], None if gathered is None else gathered.lengths


def test_the_blocks_for_one_process_run_in_order(folder, capsys):
    local = [block for block in blocks(folder) if "Ring()" not in block]
    assert len(local) >= 5
    names = {}
    for block in local:
        exec(block, names)
    streamed = capsys.readouterr().out.splitlines()
    assert [len(completion.text) > 0 for completion in names["completions"]] == [True, True]
    config, buffer = names["decoder"].config, 2 * 2 * 6 * 2 * 8 * 4  # keys and values, rows, slots, heads, width, bytes
    assert streamed[-1].endswith(f"[38, 4] {config.num_layers * buffer}")
    assert names["sessions"][0].text.endswith("Answer:" + names["more"][0].text)
    assert names["answer"].finish_reason in ("end", "length")
    assert names["cache"].get_seq_length() > names["inputs"]["input_ids"].shape[1]


@pytest.mark.parametrize("world_size", [1, 2])
def test_the_block_for_a_ring_runs_on_every_rank(folder, pool, world_size):
    (block,) = (block for block in blocks(folder) if "Ring()" in block)
    found = pool(world_size).run(run_block, block)
    assert [lengths for _, lengths in found] == [[198], *[None] * (world_size - 1)]
    for state, _ in found[1:]:
        torch.testing.assert_close(state, found[0][0])
