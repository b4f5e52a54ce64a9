"""What a training step over one very long sequence takes on a ring of given devices: memory, time and traffic.

A layer is computed forward, once more forward (full gradient checkpointing) and backward. With c = s / N tokens on a
device, u the share of the peak rate that is reached, and the hop costs of section 3,

    dense      4 * 24 c h² / (u F)                        projections and feed-forward; backward is twice forward
    forward    (N - 1) max(work, transfer) + work         of a hop, twice; the last block needs no transfer behind it
    backward   (N - 1) max(work, transfer) + work         dK and dV make as many hops as K and V, the last one home

seconds for each of L layers. Work at the causal mask's half, shared evenly (striped or zigzag). The output head, the
gathering of sharded weights and all latencies are left out: at these lengths they are small.
"""

from dataclasses import dataclass

from ...errors import OctoberError
from .activation_memory import check_positive
from .interconnect import Device, Direction, HopCost, hop_cost
from .model_shapes import ModelShape
from .training_memory import FLOAT32_ADAM_BYTES, TrainingMemory, largest_that, training_memory

_DIRECTIONS: tuple[Direction, Direction] = ("forward", "backward")


@dataclass(frozen=True)
class StepEstimate:
    """A training step on one sequence; seconds and bytes are per device.

    Attributes:
        num_devices: Devices in the ring, N.
        block: Tokens on each, c.
        memory: What each holds.
        hop_work_seconds: Computing one forward hop of one layer.
        hop_transfer_seconds: Sending its keys and values.
        step_seconds: The whole step.
        exposed_seconds: The part of it in which a device only waits for its neighbour.
        bytes_sent: Keys, values and their gradients in the whole step.
    """

    num_devices: int
    block: int
    memory: TrainingMemory
    hop_work_seconds: float
    hop_transfer_seconds: float
    step_seconds: float
    exposed_seconds: float
    bytes_sent: int


def estimate_step(
    shape: ModelShape,
    device: Device,
    num_devices: int,
    context: int,
    *,
    utilization: float,
    bytes_per_element: int = 2,
    bytes_per_parameter: int = FLOAT32_ADAM_BYTES,
) -> StepEstimate:
    """Estimate a causal training step over one sequence of `context` tokens, batch 1.

    Args:
        shape: The model.
        device: The accelerator and its link.
        num_devices: Devices in the ring, N.
        context: Tokens, s; rounded up to a multiple of N.
        utilization: Share of the peak rate that matrix products reach, u, in (0, 1]: an assumption.
        bytes_per_element: Of activations, keys and values.
        bytes_per_parameter: Of a parameter with its gradient and moments.

    Raises:
        OctoberError: A size that is not positive, or a utilisation outside (0, 1].
    """
    check_positive(context=context, num_devices=num_devices)
    if not 0 < utilization <= 1:
        raise OctoberError(f"utilization={utilization}: must be above 0 and at most 1")
    block = -(-context // num_devices)
    rate = utilization * device.flops_per_second
    forward, backward = (_hop(shape, block, bytes_per_element, direction) for direction in _DIRECTIONS)
    dense = 4 * 24 * block * shape.hidden_size**2 / rate
    work = dense + num_devices * (2 * forward.flops + backward.flops) / rate
    waits = [max(0.0, hop.bytes_sent / device.bytes_per_second - hop.flops / rate) for hop in (forward, backward)]
    exposed = (num_devices - 1) * (2 * waits[0] + waits[1])
    return StepEstimate(
        num_devices=num_devices,
        block=block,
        memory=training_memory(
            "ring",
            shape,
            context,
            num_devices,
            bytes_per_element=bytes_per_element,
            bytes_per_parameter=bytes_per_parameter,
        ),
        hop_work_seconds=forward.flops / rate,
        hop_transfer_seconds=forward.bytes_sent / device.bytes_per_second,
        step_seconds=shape.num_layers * (work + exposed),
        exposed_seconds=shape.num_layers * exposed,
        bytes_sent=shape.num_layers * _layer_bytes(forward, backward, num_devices),
    )


def devices_needed(
    shape: ModelShape,
    device: Device,
    context: int,
    *,
    bytes_per_element: int = 2,
    bytes_per_parameter: int = FLOAT32_ADAM_BYTES,
) -> int:
    """Return the fewest devices on whose memory a ring trains at `context` tokens.

    The arguments are those of `estimate_step`.

    Raises:
        OctoberError: Not even with one token on each device does it fit.
    """

    def too_few(count: int) -> bool:
        need = training_memory(
            "ring",
            shape,
            context,
            count,
            bytes_per_element=bytes_per_element,
            bytes_per_parameter=bytes_per_parameter,
        )
        return need.total > device.memory_bytes

    if too_few(max(context, shape.parameters)):
        raise OctoberError(f"{shape.name} does not fit on any number of {device.name}: one layer alone is too large")
    return 1 + largest_that(too_few)


def _hop(shape: ModelShape, block: int, bytes_per_element: int, direction: Direction) -> HopCost:
    return hop_cost(
        block,
        num_heads=shape.num_heads,
        head_dim=shape.hidden_size // shape.num_heads,
        bytes_per_element=bytes_per_element,
        direction=direction,
        causal=True,
    )


def _layer_bytes(forward: HopCost, backward: HopCost, num_devices: int) -> int:
    """Two forward passes of N - 1 hops and a backward one: dK and dV set out one hop later and make one more, home."""
    return (num_devices - 1) * (2 * forward.bytes_sent + backward.bytes_sent)
