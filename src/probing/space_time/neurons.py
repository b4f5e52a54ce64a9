"""Space and time neurons: which neurons read from or write to a probe's direction, and what is lost without them.

A neuron of a feed-forward layer reads the residual stream through its input weights (two vectors in gated layers)
and writes to it along its output weights. The official code compares these vectors with the probe as they are,
norms' scales left out, by cosine.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import nn
from tqdm.auto import tqdm

from ...errors import OctoberError
from ..prompt_tokens import Batch, PromptTokens, Span, tokenize_prompts
from ..residual_stream import transformer_blocks

Side = Literal["gate", "in", "out"]

# Where each family keeps a block's matrices: gate (None without one), input, output.
_PATHS: tuple[tuple[str | None, str, str], ...] = (
    ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),  # Llama, Mistral, Gemma, Qwen
    (None, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),  # GPT-NeoX, Pythia
    (None, "intermediate.dense", "output.dense"),  # BERT, MiniLM
)


@dataclass(frozen=True)
class Neuron:
    """A feed-forward neuron: its layer, counted from 0, and its place in it."""

    layer: int
    index: int


@dataclass(frozen=True)
class Aligned:
    """A neuron, and the cosine between a probe direction and its weights on one side."""

    neuron: Neuron
    side: Side
    target: int
    cosine: float


def neuron_cosines(
    model: nn.Module, directions: Float[np.ndarray, "width targets"]
) -> dict[Side, Float[np.ndarray, "layers neurons targets"]]:
    """Return the cosines between probe directions and every neuron's weights, by side.

    Args:
        model: transformer with feed-forward layers of the Llama, GPT-NeoX or BERT kind.
        directions: a probe's `coefficients`.

    Raises:
        OctoberError: an unknown kind of feed-forward layer, or directions of another width.
    """
    units = torch.from_numpy(directions / np.linalg.norm(directions, axis=0)).float()
    cosines: dict[Side, list[np.ndarray]] = {}
    for block in transformer_blocks(model):
        for side, weights in _weights(block).items():
            if weights.shape[1] != len(units):
                raise OctoberError(f"directions have {len(units)} entries but the model is {weights.shape[1]} wide")
            rows = nn.functional.normalize(weights.detach().float().cpu(), dim=1)
            cosines.setdefault(side, []).append((rows @ units).numpy())
    return {side: np.stack(layers) for side, layers in cosines.items()}


def most_aligned(
    cosines: dict[Side, Float[np.ndarray, "layers neurons targets"]], target: int, count: int
) -> list[Aligned]:
    """Return the `count` largest |cosines| of one target over all sides and layers, largest first."""
    found = []
    for side, values in cosines.items():
        chosen = values[:, :, target]
        for place in np.abs(chosen).ravel().argsort()[::-1][:count]:
            layer, index = divmod(int(place), chosen.shape[1])
            found.append(Aligned(Neuron(layer, index), side, target, float(chosen[layer, index])))
    return sorted(found, key=lambda aligned: -abs(aligned.cosine))[:count]


def random_neurons(model: nn.Module, like: Sequence[Neuron], seed: int) -> list[Neuron]:
    """Return as many other neurons, layer for layer: the control of an ablation.

    Raises:
        OctoberError: a layer has too few other neurons.
    """
    rng = np.random.default_rng(seed)
    blocks, drawn = transformer_blocks(model), []
    for layer in sorted({neuron.layer for neuron in like}):
        taken = {neuron.index for neuron in like if neuron.layer == layer}
        others = np.setdiff1d(np.arange(_output(blocks[layer]).in_features), list(taken))
        if len(others) < len(taken):
            raise OctoberError(f"layer {layer} has no {len(taken)} other neurons to compare with")
        drawn += [Neuron(layer, int(index)) for index in rng.choice(others, len(taken), replace=False)]
    return drawn


@torch.inference_mode()
def neuron_activations(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    neurons: Sequence[Neuron],
    *,
    entity_spans: Sequence[Span] | None = None,
    max_batch_tokens: int = 4096,
) -> Float[np.ndarray, "n neurons"]:
    """Return what chosen neurons put out (after the nonlinearity and the gate) at each entity's last token."""
    tokens = tokenize_prompts(tokenizer, texts, entity_spans)
    order, result = tokens.sorted_rows(), np.empty((len(texts), len(neurons)), dtype=np.float32)
    blocks = transformer_blocks(model)
    for batch in _shown(tokens, max_batch_tokens, "neuron activations"):
        rows = torch.arange(len(batch.positions))
        seen: dict[int, torch.Tensor] = {}

        def keep(layer: int, hidden: torch.Tensor, seen: Any = seen, rows: Any = rows, batch: Any = batch) -> None:
            seen[layer] = hidden[rows, batch.positions].float().cpu()

        with _before_output(blocks, {neuron.layer for neuron in neurons}, keep):
            model(input_ids=batch.input_ids.to(model.device), attention_mask=batch.attention_mask.to(model.device))
        for column, neuron in enumerate(neurons):
            result[order[batch.rows], column] = seen[neuron.layer][:, neuron.index].numpy()
    return result


@contextmanager
def ablated(model: nn.Module, neurons: Sequence[Neuron]) -> Iterator[None]:
    """Hold the outputs of these neurons at zero inside the block.

    `extract` cannot see this: give its folder, or the key of its cache, another name inside.
    """
    blocks = transformer_blocks(model)
    columns: dict[int, list[int]] = {}
    for neuron in neurons:
        columns.setdefault(neuron.layer, []).append(neuron.index)

    def silence(layer: int, hidden: torch.Tensor) -> torch.Tensor:
        hidden = hidden.clone()
        hidden[..., columns[layer]] = 0.0
        return hidden

    with _before_output(blocks, set(columns), silence):
        yield


@torch.inference_mode()
def next_token_losses(
    model: Any, tokenizer: Any, texts: Sequence[str], *, max_batch_tokens: int = 1024
) -> Float[np.ndarray, " n"]:
    """Return each text's mean next-token loss in nats under a causal language model, BOS in front.

    The vocabulary's logits are computed for 128 positions at a time, so memory stays small with 262k tokens.

    Raises:
        OctoberError: a model without a language-model head, or a text of fewer than two tokens.
    """
    head = model.get_output_embeddings()
    if head is None:
        raise OctoberError(f"{type(model).__name__} has no language-model head; next-token losses need one")
    tokens = tokenize_prompts(tokenizer, texts)
    if tokens.lengths.min() < 2:
        raise OctoberError(f"text {int(tokens.lengths.argmin())} has no next token to predict")
    order, losses = tokens.sorted_rows(), np.empty(len(texts))
    for batch in _shown(tokens, max_batch_tokens, "next-token losses"):
        ids, mask = batch.input_ids.to(model.device), batch.attention_mask.to(model.device)
        hidden = model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state[:, :-1]
        predicted = mask[:, 1:].bool()
        each = torch.zeros(predicted.shape, device=model.device)
        each[predicted] = _losses(hidden[predicted], ids[:, 1:][predicted], head, model.config)
        losses[order[batch.rows]] = (each.sum(dim=1) / predicted.sum(dim=1)).cpu().numpy()
    return losses


def _shown(tokens: PromptTokens, max_batch_tokens: int, what: str) -> Iterator[Batch]:
    """Yield the batches behind a progress bar that counts texts."""
    with tqdm(total=len(tokens.lengths), desc=what, unit="text", leave=False, delay=2) as bar:
        for batch in tokens.batches(max_batch_tokens):
            yield batch
            bar.update(len(batch.positions))


def _losses(
    hidden: Float[torch.Tensor, "positions width"], labels: Int[torch.Tensor, " positions"], head: Any, config: Any
) -> Float[torch.Tensor, " positions"]:
    cap = getattr(config.get_text_config(), "final_logit_softcapping", None)
    parts = []
    for first in range(0, len(hidden), 128):
        part = slice(first, first + 128)
        logits = head(hidden[part]).float()
        logits = cap * torch.tanh(logits / cap) if cap else logits
        parts.append(nn.functional.cross_entropy(logits, labels[part], reduction="none"))
    return torch.cat(parts)


@contextmanager
def _before_output(blocks: nn.ModuleList, layers: set[int], change: Any) -> Iterator[None]:
    """Call `change(layer, neuron outputs)` before the output matrix of each layer; a tensor it returns goes on."""

    def hook(layer: int) -> Any:
        return lambda module, args: change(layer, args[0])

    handles = [_output(blocks[layer]).register_forward_pre_hook(hook(layer)) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _weights(block: nn.Module) -> dict[Side, torch.Tensor]:
    """Return a block's neuron weights [neurons, width] by side."""
    gate, into, out = _paths(block)
    weights: dict[Side, torch.Tensor] = {"in": _matrix(block, into), "out": _matrix(block, out).T}
    return weights if gate is None else {"gate": _matrix(block, gate), **weights}


def _output(block: nn.Module) -> nn.Linear:
    module = block.get_submodule(_paths(block)[2])
    assert isinstance(module, nn.Linear)
    return module


def _matrix(block: nn.Module, path: str) -> torch.Tensor:
    weight = block.get_submodule(path).weight
    assert isinstance(weight, torch.Tensor)
    return weight


def _paths(block: nn.Module) -> tuple[str | None, str, str]:
    names = {name for name, _ in block.named_modules()}
    for paths in _PATHS:
        if names.issuperset(path for path in paths if path is not None):
            return paths
    raise OctoberError(f"{type(block).__name__} has a feed-forward layer of a kind that is not known here")
