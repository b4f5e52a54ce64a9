"""Up to 100 million tokens and beyond, by formula: Table 2, and each device's memory, time and traffic in a step."""

from collections.abc import Mapping
from typing import TypeVar

from pydantic import PositiveInt

from october.attention.ring_attention.interconnect import DEVICES, GIBIBYTE, Device, minimal_block, minimal_sequence
from october.attention.ring_attention.model_shapes import MODEL_SHAPES, ModelShape
from october.attention.ring_attention.step_estimate import StepEstimate, devices_needed, estimate_step
from october.attention.ring_attention.training_memory import max_context, power_of_two_at_most
from october.catalogue import did_you_mean
from october.errors import OctoberError
from october.evaluation import exact_cell
from october.experiments.ring_attention._common import agreeing, published_table
from october.experiments.ring_attention._figures import draw_scale
from october.experiments.ring_attention._table_3 import CLUSTERS
from october.files import content_hash
from october.reporting import Cell, Result, Row
from october.run import Run

T = TypeVar("T")
MILLION = 1 << 20  # contexts are given in binary millions of tokens
DECODING = "decoding, TPU v5e"
DECODING_UTILIZATION = 0.4  # appendix C's
OUTPUTS_TOKENS, OUTPUTS_HIDDEN_SIZE = 100_000_000, 1024  # the example of sections 1 and 2
OUTPUTS_LAYERS, OUTPUTS_BYTES = 24, 2  # which it leaves open


def scale(
    model_shape: str,
    devices: list[str],
    contexts: list[PositiveInt],
    spread_context: PositiveInt,
    spread_factors: list[PositiveInt],
    utilization: float,
    bytes_per_element: PositiveInt,
    run: Run,
) -> Result:
    """Compute Table 2 and estimate training steps over one long sequence.

    Args:
        model_shape: One of `MODEL_SHAPES`.
        devices: Names in `DEVICES`.
        contexts: Binary millions of tokens, each on the fewest devices that hold it.
        spread_context: Binary millions of tokens of the sequence that is spread over more devices than need be.
        spread_factors: How many times more.
        utilization: The share of their peak rate that devices reach: an assumption.
        bytes_per_element: Of activations, keys and values; a parameter's states take 16.
        run: The run.

    Raises:
        OctoberError: An unknown model or device, or a utilisation outside (0, 1].
    """
    shape = _known("model_shape", model_shape, MODEL_SHAPES)
    chosen = [_known("devices", name, DEVICES) for name in devices]

    def steps(device: Device, context: int, factors: list[int]) -> list[StepEstimate]:
        tokens = context * MILLION
        fewest = devices_needed(shape, device, tokens, bytes_per_element=bytes_per_element)
        return [
            estimate_step(
                shape, device, fewest * n, tokens, utilization=utilization, bytes_per_element=bytes_per_element
            )
            for n in factors
        ]

    fewest = {device.name: [steps(device, context, [1])[0] for context in contexts] for device in chosen}
    spread = {device.name: steps(device, spread_context, spread_factors) for device in chosen}
    rows = block_rows()
    for found in (fewest, spread):
        rows += [step_row(shape, name, step) for name, estimates in found.items() for step in estimates]
    rows.append(decoding_row())
    return Result(
        rows=list({row.name: row for row in rows}.values()),
        evidence=evidence(),
        figures={
            "A step's hours and traffic by context, memory and waiting by number of devices": draw_scale(
                run.figures, fewest, spread
            )
        },
        fingerprints={"devices and models": content_hash([repr([*DEVICES.values()]), repr([*MODEL_SHAPES.values()])])},
    )


def block_rows() -> list[Row]:
    """Return the rows of Table 2 and of newer cards: block and sequence as there, and the block of a causal mask."""
    rows = []
    for device in DEVICES.values():
        blocks = {**_table_2(device), "minimal block, causal": minimal_block(device, causal=True) / 1000}
        printed = device.source == "Table 2"
        name = device.name if printed else f"{device.name} ({device.source})"
        cells = {column: exact_cell(value, "thousand") for column, value in blocks.items()}
        row = Row(name=name, cells=cells, published=device.name if printed else None)
        rows.append(row.model_copy(update={"status": "reproduced" if printed else "scaled down"}))
    return rows


def decoding_row() -> Row:
    """Return appendix C's ratio of bandwidth to achieved FLOPs."""
    return Row(name=DECODING, cells={"B/F": exact_cell(decoding_ratio())}, published=DECODING, status="reproduced")


def decoding_ratio() -> float:
    """Return bytes per FLOP of a TPU v5e at 40 % utilisation; a decoding ring hides its traffic at 2 (appendix C)."""
    device = DEVICES["TPU v5e"]
    return device.bytes_per_second / (DECODING_UTILIZATION * device.flops_per_second)


def step_row(shape: ModelShape, device: str, step: StepEstimate) -> Row:
    """Return an estimated training step as a row."""
    cells = {
        "devices": Cell(value=step.num_devices),
        "tokens on each": Cell(value=step.block),
        "memory": Cell(value=step.memory.total / GIBIBYTE, unit="GiB"),
        "work of a hop": Cell(value=1000 * step.hop_work_seconds, unit="ms"),
        "transfer of a hop": Cell(value=1000 * step.hop_transfer_seconds, unit="ms"),
        "step": Cell(value=step.step_seconds / 3600, unit="h"),
        "waiting": Cell(value=100 * step.exposed_seconds / step.step_seconds, unit="%"),
        "sent in a step": Cell(value=step.bytes_sent / 1e12, unit="TB"),
    }
    context = step.num_devices * step.block // MILLION
    return Row(name=f"{shape.name}, {context:,}M tokens, {step.num_devices:,} x {device}", cells=cells)


def evidence() -> dict[str, Cell]:
    """Return what the claims of this table name; all of it is computed."""
    table = published_table("minimal_block")
    blocks = {row.name: _table_2(DEVICES[row.name]) for row in table.rows}
    shape, a100, tpu = MODEL_SHAPES["7B"], DEVICES["A100 NVLink"], CLUSTERS["TPUv4-1024"]
    ring, blockwise = (
        max_context(method, shape, tpu.num_devices, tpu.memory_bytes) for method in ("ring", "blockwise_feedforward")
    )
    return {
        "cells of Table 2 that agree": exact_cell(agreeing(blocks, table, blocks)),
        "tokens that fit, 7B on 1,024 A100": exact_cell(max_context("ring", shape, 1024, a100.memory_bytes)),
        "times longer than blockwise, powers of two": exact_cell(
            power_of_two_at_most(ring) / power_of_two_at_most(blockwise)
        ),
        "times longer than blockwise, by the token": exact_cell(ring / blockwise),
        "GB of layer outputs, 100M tokens": exact_cell(layer_output_bytes() / 1e9),
        "B/F of TPU v5e at 40 % utilisation": exact_cell(decoding_ratio()),
    }


def layer_output_bytes() -> int:
    """Return the bytes of all layer outputs of 100 million tokens, kept in one place (sections 1 and 2)."""
    return OUTPUTS_LAYERS * OUTPUTS_BYTES * OUTPUTS_TOKENS * OUTPUTS_HIDDEN_SIZE


def _table_2(device: Device) -> dict[str, float]:
    return {"minimal block": minimal_block(device) / 1000, "minimal sequence": minimal_sequence(device) / 1000}


def _known(field: str, name: str, known: Mapping[str, T]) -> T:
    if name not in known:
        raise OctoberError(f"{field}={name!r}: there is no such{did_you_mean(name, list(known))}")
    return known[name]
