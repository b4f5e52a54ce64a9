"""Table 1, as printed and as it counts."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from october.attention.ring_attention.activation_memory import (
    METHODS,
    layer_activations,
    ring_attention_elements,
    table_1_bytes,
)
from october.errors import OctoberError
from october.reporting.published import published_of

SIZES = st.fixed_dictionaries(
    {name: st.integers(1, 50) for name in ("batch", "sequence", "block", "hidden_size", "num_heads")}
)
(TABLE_1,) = (table for table in published_of("ring_attention").tables if table.number == "Table 1")


def evaluated(formula: str, sizes: dict[str, int]) -> int:
    """Evaluate a cell of Table 1, such as '2bsh + 4bch'."""
    names = {
        "b": sizes["batch"],
        "s": sizes["sequence"],
        "c": sizes["block"],
        "h": sizes["hidden_size"],
        "n": sizes["num_heads"],
    }
    total = 0
    for term in formula.split(" + "):
        number, letters, square = re.fullmatch(r"(\d)([bschn]+)(²?)", term).groups()
        factors = [names[letter] for letter in letters]
        product = int(number)
        for factor in [*factors, *([factors[-1]] if square else [])]:
            product *= factor
        total += product
    return total


@given(sizes=SIZES)
def test_the_printed_bytes_are_table_1(sizes: dict[str, int]) -> None:
    for method, row in zip(METHODS, TABLE_1.rows, strict=True):
        printed = table_1_bytes(method, **sizes)
        assert printed["attention"] == evaluated(row.cells["self-attention"], sizes)
        assert printed["feed_forward"] == evaluated(row.cells["feed-forward"], sizes)
        if method in ("blockwise_feedforward", "ring") or method == "vanilla":
            assert printed["total"] == evaluated(row.cells["total"], sizes)
        if method == "memory_efficient_attention" and sizes["block"] <= sizes["sequence"]:
            assert printed["total"] == evaluated(row.cells["total"], sizes)


@given(sizes=SIZES)
def test_bytes_in_bfloat16_are_twice_the_count_but_for_the_two_slips(sizes: dict[str, int]) -> None:
    for method in METHODS:
        counted, printed = layer_activations(method, **sizes), table_1_bytes(method, **sizes)
        assert counted.total == max(counted.attention, counted.feed_forward)
        assert printed["attention"] == (1 if method == "ring" else 2) * counted.attention
        assert printed["feed_forward"] == 2 * counted.feed_forward
    vanilla = layer_activations("vanilla", **sizes)
    assert vanilla.attention == sizes["batch"] * sizes["num_heads"] * sizes["sequence"] ** 2


def test_the_ring_does_not_depend_on_the_sequence() -> None:
    sizes = {"batch": 2, "block": 64, "hidden_size": 96, "num_heads": 6}
    short, long = (layer_activations("ring", sequence=sequence, **sizes) for sequence in (64, 1 << 30))
    assert short == long


@pytest.mark.parametrize("num_kv_heads", [1, 2, 6])
@pytest.mark.parametrize("backward", [False, True])
def test_the_blocks_of_a_ring_are_its_tensors(num_kv_heads: int, backward: bool) -> None:
    batch, block, num_heads, head_dim = 2, 10, 6, 8
    query = torch.empty(batch, num_heads, block, head_dim)
    key = torch.empty(batch, num_kv_heads, block, head_dim)
    forward_tensors = {"query": query, "output": query, "key": key, "value": key, "next key": key, "next value": key}
    of_gradients = {f"gradient of {name}": tensor for name, tensor in forward_tensors.items()}
    tensors = [*forward_tensors.values(), *(of_gradients.values() if backward else ())]
    found = ring_attention_elements(
        batch=batch,
        block=block,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        backward=backward,
    )
    assert found == sum(tensor.numel() for tensor in tensors)


def test_ungrouped_heads_give_section_3s_six_blocks() -> None:
    found = ring_attention_elements(batch=3, block=5, num_heads=4, num_kv_heads=4, head_dim=7)
    layer = layer_activations("ring", batch=3, sequence=99, block=5, hidden_size=28, num_heads=4)
    assert found == layer.attention == 6 * 3 * 5 * 28


def test_mistakes_get_one_line() -> None:
    sizes = {"batch": 1, "sequence": 8, "block": 4, "hidden_size": 8, "num_heads": 2}
    with pytest.raises(OctoberError, match=r"method='flash': one of vanilla, .*, ring"):
        layer_activations("flash", **sizes)  # type: ignore[arg-type]
    with pytest.raises(OctoberError, match="block=0: must be at least 1"):
        layer_activations("ring", **{**sizes, "block": 0})
    with pytest.raises(OctoberError, match="num_heads=4: not a multiple of num_kv_heads=3"):
        ring_attention_elements(batch=1, block=1, num_heads=4, num_kv_heads=3, head_dim=1)
