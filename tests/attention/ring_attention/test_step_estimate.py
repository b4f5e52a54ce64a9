"""A training step's time and traffic, against a walk through every hop of every layer."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from october.attention.ring_attention.interconnect import DEVICES, Device
from october.attention.ring_attention.model_shapes import MODEL_SHAPES, ModelShape
from october.attention.ring_attention.step_estimate import devices_needed, estimate_step
from october.attention.ring_attention.training_flops import forward_flops
from october.attention.ring_attention.training_memory import training_memory
from october.errors import OctoberError

TINY = ModelShape("tiny", num_layers=3, hidden_size=8, num_heads=2, intermediate_size=20, vocab_size=50)


def walked(device: Device, num_devices: int, block: int, rate: float) -> tuple[float, float, int]:
    """Return seconds, of these waiting, and bytes of a step of TINY in bfloat16, hop by hop."""
    seconds = waiting = 0.0
    sent = 0
    hidden, kv = TINY.hidden_size, 2 * block * TINY.hidden_size
    for _ in range(TINY.num_layers):
        seconds += 4 * 24 * block * hidden**2 / rate
        for _ in range(2):  # forward, and forward again before backward
            for hop in range(num_devices):
                work = 2 * block**2 * hidden / rate
                message = 2 * kv if hop < num_devices - 1 else 0
                wait = max(0.0, message / device.bytes_per_second - work)
                seconds, waiting, sent = seconds + work + wait, waiting + wait, sent + message
        for hop in range(num_devices):
            work = 5 * block**2 * hidden / rate
            message = (2 + 4) * kv if hop < num_devices - 1 else 0
            wait = max(0.0, message / device.bytes_per_second - work)
            seconds, waiting, sent = seconds + work + wait, waiting + wait, sent + message
    return seconds, waiting, sent


@given(
    num_devices=st.integers(1, 8),
    block=st.integers(1, 3000),
    utilization=st.floats(0.05, 1.0),
    device=st.sampled_from(sorted(DEVICES)),
)
def test_it_is_the_sum_over_all_hops(num_devices: int, block: int, utilization: float, device: str) -> None:
    card = DEVICES[device]
    found = estimate_step(TINY, card, num_devices, num_devices * block, utilization=utilization)
    seconds, waiting, sent = walked(card, num_devices, block, utilization * card.flops_per_second)
    assert found.block == block
    assert found.step_seconds == pytest.approx(seconds, rel=1e-9)
    assert found.exposed_seconds == pytest.approx(waiting, rel=1e-6, abs=1e-12 * seconds)
    assert found.bytes_sent == sent
    assert found.memory == training_memory("ring", TINY, num_devices * block, num_devices, bytes_per_element=2)


def test_without_waiting_it_is_appendix_ds_flops_over_the_rate() -> None:
    shape, device, devices, context = MODEL_SHAPES["7B"], DEVICES["H100 NVLink"], 512, 1 << 27
    found = estimate_step(shape, device, devices, context, utilization=0.5)
    sizes = {"hidden_size": shape.hidden_size, "num_layers": shape.num_layers}
    quadratic = forward_flops(batch=1, sequence=context, **sizes) - context * forward_flops(
        batch=1, sequence=1, **sizes
    )  # what is left but for a term linear in the context
    attention = 4.5 * quadratic / 2  # forward twice, backward two and a half times; a causal mask
    dense = 4 * 24 * context * shape.hidden_size**2 * shape.num_layers
    assert found.exposed_seconds == 0
    assert found.step_seconds == pytest.approx(
        (dense + attention) / (devices * 0.5 * device.flops_per_second), rel=1e-6
    )


@settings(max_examples=30)
@given(context=st.integers(1 << 12, 1 << 30), model=st.sampled_from(["3B", "7B", "30B"]))
def test_the_fewest_devices_fit_and_one_less_does_not(context: int, model: str) -> None:
    shape, device = MODEL_SHAPES[model], DEVICES["A100 NVLink"]
    count = devices_needed(shape, device, context)
    sizes = {"method": "ring", "shape": shape, "context": context, "bytes_per_element": 2}
    assert training_memory(num_devices=count, **sizes).total <= device.memory_bytes
    assert count == 1 or training_memory(num_devices=count - 1, **sizes).total > device.memory_bytes


def test_mistakes_get_one_line() -> None:
    with pytest.raises(OctoberError, match=r"utilization=1.5: must be above 0 and at most 1"):
        estimate_step(TINY, DEVICES["TPU v4"], 2, 8, utilization=1.5)
    small = Device("a watch", 1e9, 1e6, 1 << 20, "invented")
    with pytest.raises(OctoberError, match="7B does not fit on any number of a watch"):
        devices_needed(MODEL_SHAPES["7B"], small, 4096)
