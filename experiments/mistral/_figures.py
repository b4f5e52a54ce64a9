"""The pictures of this paper that need no run, for the notebook; what they show is asked of the library itself."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from october.attention import DecoderConfig
from october.attention.mistral import RollingBufferCache
from october.experiments.mistral._common import MEBIBYTE, MISTRAL_7B, random_decoder, random_text, small_mistral
from october.experiments.mistral.rolling_cache import cache_bytes
from october.experiments.mistral.sliding_window import receptive_field
from october.reporting import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EMPTY = -1
GONE, HIDDEN, SEEN = 0, 1, 2  # beyond the window; there, but not for this query; attended to
WIDE = 8.0  # factor on a random decoder's weights: a change is then not lost in rounding


def slots_by_step(window: int, lengths: Sequence[int]) -> list[Tensor]:
    """Feed texts token by token, each until it ends, and return after every step the position in each slot.

    The positions are read out of a `RollingBufferCache` whose keys are the positions themselves.
    """
    config, steps = one_layer(window, width=2), []
    cache = RollingBufferCache(config, len(lengths), window)
    for step in range(max(lengths)):
        new_lengths = [int(step < length) for length in lengths]
        positions = cache.begin((len(lengths), 1), new_lengths=new_lengths)
        key = (positions + 1.0)[:, None, :, None].expand(-1, 1, -1, 2)  # 0 is an empty slot
        cache.attend(0, key, key, key, positions=positions, sliding_window=window, scale=1.0)
        steps.append(cache.keys[0][:, 0, :, 0].long() - 1)
    return steps


def seen_by_chunk(window: int, earlier: int, chunk: int) -> Tensor:
    """Return [chunk, earlier + chunk]: how much weight each query of a chunk gives to each position.

    Queries of zeros weigh all that they see alike, and values that are unit vectors bring the weights out.
    """
    length = earlier + chunk
    cache = RollingBufferCache(one_layer(window, width=length + length % 2), 1, length)
    units = torch.eye(length + length % 2)[:length][None, None]
    for part in (slice(0, earlier), slice(earlier, length)):
        if part.stop > part.start:
            value = units[:, :, part]
            positions = cache.begin((1, value.shape[2]))
            nothing = torch.zeros_like(value)
            output = cache.attend(0, nothing, nothing, value, positions=positions, sliding_window=window, scale=1.0)
    return output[0, 0, :, :length]


@torch.inference_mode()
def changed_states(window: int, num_layers: int, length: int) -> Tensor:
    """Change a text's first token and return [layers + 1, length]: which states differ, from the embedding on."""
    decoder = random_decoder(small_mistral(32, num_layers, 4, 2, window, length)).double()
    for parameter in decoder.parameters():
        if parameter.ndim > 1:
            parameter.mul_(WIDE)
    states: list[Tensor] = []
    for module in (decoder.embedding, *decoder.layers):
        module.register_forward_hook(lambda _module, _arguments, output: states.append(output))
    text = torch.tensor([random_text(0, length)])
    other = text.clone()
    other[0, 0] = (text[0, 0] + 1) % decoder.config.vocab_size
    decoder(text)
    decoder(other)
    before, after = torch.stack(states).chunk(2)
    return (before != after).any(dim=-1)[:, 0]


def one_layer(window: int, width: int) -> DecoderConfig:
    """Return a shape of one head in one layer, for a cache without a decoder."""
    return DecoderConfig(
        1, width, 1, num_layers=1, num_heads=1, num_kv_heads=1, head_dim=width, sliding_windows=(window,)
    )


def buffer_rolling(window: int, lengths: Sequence[int], shown: Sequence[int]) -> "Figure":
    """Draw Figure 2: the buffer of every text after some steps, with the position in each slot.

    Args:
        window: Slots.
        lengths: Tokens of the texts.
        shown: Steps that are drawn, from 1 on.
    """
    steps = slots_by_step(window, lengths)
    figure, panels = new_figure(1, len(shown), width=2.3 * len(shown), height=0.5 + 0.5 * len(lengths))
    for panel, step in zip(panels, shown, strict=True):
        held = steps[step - 1].numpy()
        newest = held.max(axis=1, keepdims=True)
        age = np.where(held == EMPTY, np.nan, newest - held)
        panel.imshow(age, cmap="Blues_r", vmin=0, vmax=1.6 * window, aspect="auto")
        for (row, slot), position in np.ndenumerate(held):
            if position != EMPTY:
                weight = "bold" if position == newest[row, 0] else "normal"
                color = "white" if newest[row, 0] - position < window / 2 else "black"
                panel.text(slot, row, str(position), ha="center", va="center", weight=weight, color=color)
        panel.set(title=f"after {step} token{'s' * (step > 1)}", xticks=range(window), yticks=[], xlabel="slot")
        panel.grid(visible=False)
    panels[0].set(yticks=range(len(lengths)), yticklabels=[f"{length} tokens" for length in lengths])
    return figure


def chunk_mask(window: int, chunk: int, num_chunks: int) -> "Figure":
    """Draw Figure 3: what each query of the last of some chunks sees of the chunk, of the buffer, and beyond it."""
    from matplotlib.colors import ListedColormap

    earlier = (num_chunks - 1) * chunk
    zones = (seen_by_chunk(window, earlier, chunk) > 0).int().numpy() + HIDDEN
    zones[:, : max(0, earlier - window)] = GONE
    figure, (panel,) = new_figure(width=0.34 * (earlier + chunk) + 1.4, height=0.34 * chunk + 1.3)
    panel.imshow(zones, cmap=ListedColormap(["#e3e3e3", "#ffffff", "#0072B2"]), vmin=GONE, vmax=SEEN)
    for edge in {earlier - 0.5, earlier - window - 0.5}:
        panel.axvline(edge, color="#D55E00", linewidth=2)
    for row, column in np.argwhere(zones != GONE):
        color = "white" if zones[row, column] == SEEN else "0.6"
        panel.text(column, row, str(int(zones[row, column] == SEEN)), ha="center", va="center", color=color)
    panel.set(xlabel="key: gone | in the buffer | in the chunk", ylabel="query", xticks=range(earlier + chunk))
    panel.set_yticks(range(chunk), [str(earlier + row) for row in range(chunk)])
    panel.grid(visible=False)
    return figure


def spread(window: int, num_layers: int) -> "Figure":
    """Draw Figure 1, right: how far a change of the first token has come after each layer."""
    length = receptive_field(window, num_layers) + window
    changed = changed_states(window, num_layers, length)
    figure, (panel,) = new_figure(width=7.2, height=0.42 * num_layers + 1.2)
    panel.imshow(changed.numpy(), cmap="Blues", aspect="auto", vmax=1.5, origin="lower")
    for layer in range(num_layers + 1):
        panel.plot(receptive_field(window, layer) - 1, layer, "o", color="#D55E00")
    panel.set(xlabel="position (dots: the last that k (W - 1) + 1 lets it reach)", ylabel="after layer")
    panel.set_xticks(range(0, length, max(1, window - 1)))
    panel.grid(visible=False)
    return figure


def cache_curve(config: DecoderConfig = MISTRAL_7B, longest: int = 1 << 17) -> "Figure":
    """Draw the bytes of both caches in bfloat16 by the length of the text."""
    figure, (panel,) = new_figure()
    lengths = [1 << power for power in range(8, longest.bit_length())]
    pairs = [cache_bytes(config, length, torch.bfloat16) for length in lengths]
    for label, index in (("rolling buffer", 0), ("full cache", 1)):
        panel.plot(lengths, [pair[index] / (1024 * MEBIBYTE) for pair in pairs], "o-", label=label)
    panel.set(xscale="log", yscale="log", xlabel="tokens", ylabel="GiB of keys and values")
    panel.set_xticks(lengths[::2], [f"{length:,}" for length in lengths[::2]])
    panel.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    panel.legend()
    return figure
