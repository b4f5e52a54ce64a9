"""One vector per sequence from every layer of a transformer, gathered by hooks while the forward pass runs.

`output_hidden_states=True` keeps [layers + 1, batch, tokens, width] alive; the hooks keep [layers + 1, batch, width].
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import nn

from ..errors import OctoberError

Pool = Callable[[torch.Tensor], torch.Tensor]  # [batch, tokens, width] -> [batch, width]


def transformer_blocks(model: nn.Module) -> nn.ModuleList:
    """Return the model's list of layers, whatever its architecture calls it.

    Raises:
        OctoberError: the model has no list of `num_hidden_layers` modules.
    """
    count = text_config(model).num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise OctoberError(f"{type(model).__name__} has no list of {count} layers to read activations from")


def text_config(model: nn.Module) -> Any:
    """Return the configuration of the language part of a Hugging Face model."""
    config: Any = model.config
    return config.get_text_config()


@contextmanager
def gathered_layers(model: nn.Module, pool: Pool) -> Iterator[list[torch.Tensor]]:
    """Fill the list with `pool` of every layer's residual stream during the next forward pass.

    Layer 0 is what enters the first block (the embedding); the others are what leaves the blocks but the last,
    whose place is taken by the model's output (`pool` it and append it): after the final norm, as in
    transformers' `hidden_states`.
    """
    gathered: list[torch.Tensor] = []
    blocks = transformer_blocks(model)

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        gathered.append(pool(args[0] if args else kwargs["hidden_states"]))

    def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        gathered.append(pool(output[0] if isinstance(output, tuple) else output))

    handles = [blocks[0].register_forward_pre_hook(before, with_kwargs=True)]
    handles += [block.register_forward_hook(after) for block in list(blocks)[:-1]]
    try:
        yield gathered
    finally:
        for handle in handles:
            handle.remove()


def token_pool(positions: Int[torch.Tensor, " batch"]) -> Pool:
    """Take one position of each sequence."""
    rows = torch.arange(len(positions), device=positions.device)
    return lambda hidden: hidden[rows, positions]


def mean_pool(attention_mask: Int[torch.Tensor, "batch tokens"]) -> Pool:
    """Take the mean over each sequence's tokens, special ones included, as sentence encoders do."""
    weights = (attention_mask / attention_mask.sum(dim=1, keepdim=True)).unsqueeze(1)

    def pool(hidden: Float[torch.Tensor, "batch tokens width"]) -> Float[torch.Tensor, "batch width"]:
        return (weights.to(torch.float32) @ hidden.to(torch.float32)).squeeze(1)

    return pool


def num_states(model: nn.Module) -> int:
    """Residual streams a forward pass yields: one before each block and one after the last."""
    return len(transformer_blocks(model)) + 1
