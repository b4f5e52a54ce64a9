"""The memory that training takes on each device, and the longest context that fits: an analytical model of Table 3.

With N devices that share the model (FSDP), L layers, and t tokens on each device, a device holds

    states        p P / N            weights, gradients and optimiser moments: p bytes for each of P parameters
    gathered      2 w max(P_layer, V h)   the weights of the layer at work, whole, and their gradient
    kept inputs   w L t h            with full gradient checkpointing, the input of every layer
    working set   w * Table 1        of the layer at work (`layer_activations`)
    logits        2 w m V            of m tokens at a time, and their gradient

The baselines keep a whole sequence on each device, t = s; the ring spreads one over all, t = c = s / N. Nothing here is
fitted: no fragmentation, no workspace of libraries, no second copy anywhere.
"""

from collections.abc import Callable
from dataclasses import astuple, dataclass

from ...errors import OctoberError
from .activation_memory import METHODS, Method, check_positive, layer_activations
from .model_shapes import ModelShape

FLOAT32_ADAM_BYTES = 16  # a parameter's weight, gradient and two moments
LOGIT_CHUNK = 1024  # tokens whose logits exist at once
ATTENTION_CHUNK = 1024  # c of memory-efficient attention on one device: the tokens of a chunk


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes on each device, by what they hold; the module says what each is."""

    states: int
    gathered: int
    kept_inputs: int
    working_set: int
    logits: int

    @property
    def total(self) -> int:
        """All of it, in bytes."""
        return sum(astuple(self))


def training_memory(
    method: Method,
    shape: ModelShape,
    context: int,
    num_devices: int,
    *,
    bytes_per_element: int = 4,
    bytes_per_parameter: int = FLOAT32_ADAM_BYTES,
) -> TrainingMemory:
    """Return the bytes on each device when training on one sequence per device, or one over all for the ring.

    Args:
        method: How a layer is computed; one of `METHODS`.
        shape: The model.
        context: Tokens of a sequence, s.
        num_devices: Devices that share the model, and in the ring also the sequence, N.
        bytes_per_element: Of activations and gathered weights; 4 as in the paper, which trains in full precision.
        bytes_per_parameter: Of the states; 16 for Adam in float32.

    Raises:
        OctoberError: An unknown method, or a size that is not positive.
    """
    check_positive(context=context, num_devices=num_devices, bytes_per_element=bytes_per_element)
    if method not in METHODS:
        raise OctoberError(f"method={method!r}: one of {', '.join(METHODS)}")
    tokens = -(-context // num_devices) if method == "ring" else context
    largest = max(shape.layer_parameters, shape.vocab_size * shape.hidden_size)
    layer = layer_activations(
        method,
        batch=1,
        sequence=context,
        block=tokens if method == "ring" else min(tokens, ATTENTION_CHUNK),
        hidden_size=shape.hidden_size,
        num_heads=shape.num_heads,
    )
    return TrainingMemory(
        states=-(-bytes_per_parameter * shape.parameters // num_devices),
        gathered=2 * bytes_per_element * largest,
        kept_inputs=bytes_per_element * shape.num_layers * tokens * shape.hidden_size,
        working_set=bytes_per_element * layer.total,
        logits=2 * bytes_per_element * min(tokens, LOGIT_CHUNK) * shape.vocab_size,
    )


def max_context(
    method: Method,
    shape: ModelShape,
    num_devices: int,
    memory_bytes: int,
    *,
    bytes_per_element: int = 4,
    bytes_per_parameter: int = FLOAT32_ADAM_BYTES,
) -> int:
    """Return the longest context, in tokens, whose `training_memory` fits; 0 where none does.

    The arguments are those of `training_memory`, and `memory_bytes`, what a device has.
    """

    def fits(context: int) -> bool:
        need = training_memory(
            method,
            shape,
            context,
            num_devices,
            bytes_per_element=bytes_per_element,
            bytes_per_parameter=bytes_per_parameter,
        )
        return need.total <= memory_bytes

    return largest_that(fits)


def largest_that(fits: Callable[[int], bool]) -> int:
    """Return the largest positive number that fits, 0 for none; `fits` holds up to some number and fails beyond it."""
    if not fits(1):
        return 0
    low = 1
    while fits(2 * low):
        low *= 2
    high = 2 * low
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def power_of_two_at_most(number: int) -> int:
    """Return the largest power of two that is not above a number, 0 for none: Table 3 has no contexts between them."""
    return 1 << (number.bit_length() - 1) if number > 0 else 0
