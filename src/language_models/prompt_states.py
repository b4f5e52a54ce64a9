"""A batch of prompts, read once, and any number of texts behind each of them.

Prompts are aligned at their ends, so that nothing stands between a prompt and what follows it, and the windows of
sliding layers, which count places, lie as they should:

    read        [ pad | prompt 0 ]        followed     [ pad | prompt 0 | text     ]
                [      prompt 1  ]                     [ pad | prompt 0 | te | pad ]
                                                       [      prompt 1  | text     ]
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int
from transformers import Cache

from .prefix_cache import EMPTY_PREFIX, PrefixCache, ReadOnlyLayer
from .text_trees import TextTree, masks, seen_by_tokens, takes_masks, text_tree

_ALIKE = 0.05  # of the spread of states: 16 bits round by less, a token too many that is seen changes them by more


def aligned_inputs(prompts: Sequence[list[int]], prefix: PrefixCache, device: torch.device) -> dict[str, Any]:
    """Return what a model is called with to read prompts, their ends aligned, behind a cached prefix of all.

    The longest own part decides how much is fed; a shorter prompt takes the prefix's end into it.
    """
    lengths = [len(ids) for ids in prompts]
    fed = max(lengths) - prefix.length
    cached = max(lengths) - fed
    places = torch.arange(cached + fed)
    padding = torch.tensor([cached + fed - length for length in lengths])[:, None]
    rows = [[0] * (fed - len(ids)) + ids[-fed:] for ids in prompts]
    return {
        "input_ids": torch.tensor(rows).to(device),
        "attention_mask": (places[None] >= padding).long().to(device),
        "position_ids": (places[None, cached:] - padding).clamp(min=0).to(device),
        "past_key_values": prefix.left_padded([max(0, length - fed) for length in lengths]),
    }


class PromptStates:
    """What every layer computed from a batch of prompts; never written to.

    Args:
        cache: After the prompts were read; what it later takes in is not seen here.
        lengths: Of the prompts, in tokens.
    """

    def __init__(self, cache: Cache, lengths: Sequence[int]) -> None:
        self.lengths = list(lengths)
        self._layers = [(layer.keys, layer.values) for layer in cache.layers]

    def followed_by(self, trees: Sequence[tuple[int, TextTree]], backbone: Any) -> dict[str, Any]:
        """Return what a model is called with to read texts, each a prompt's row and a tree of what follows it.

        Rows are padded at their ends. Trees of one text each need no mask of their own.
        """
        device = backbone.device
        rows = [row for row, _ in trees]
        lengths = torch.tensor([self.lengths[row] for row in rows])[:, None]
        cached, fed = int(lengths.max()), max(len(tree.token_ids) for _, tree in trees)
        unused = max(self.lengths) - cached
        chosen = torch.tensor(rows, device=device)
        layers = [ReadOnlyLayer(keys[chosen, :, unused:], values[chosen, :, unused:]) for keys, values in self._layers]
        padded = [tree.token_ids + [0] * (fed - len(tree.token_ids)) for _, tree in trees]
        depths = torch.arange(fed).repeat(len(trees), 1)
        for row, (_, tree) in enumerate(trees):
            depths[row, : len(tree.depths)] = torch.tensor(tree.depths)
        positions, mask = lengths + depths, torch.arange(cached + fed)[None] >= cached - lengths
        return {
            "input_ids": torch.tensor(padded).to(device),
            "attention_mask": self._mask(mask, positions, trees, backbone),
            "position_ids": positions.to(device),
            "past_key_values": Cache(layers=layers),
            "use_cache": True,
        }

    @staticmethod
    def _mask(
        there: Bool[torch.Tensor, "rows all"],
        positions: Int[torch.Tensor, "rows fed"],
        trees: Sequence[tuple[int, TextTree]],
        backbone: Any,
    ) -> Any:
        if all(len(tree.paths) == 1 for _, tree in trees):
            return there.long().to(backbone.device)
        fed, cached = positions.shape[1], there.shape[1] - positions.shape[1]
        inside = torch.stack([seen_by_tokens(tree, fed) for _, tree in trees])
        seen = torch.cat([there[:, None, :cached].expand(-1, fed, -1), inside], dim=2)
        cached_positions = there[:, :cached].cumsum(dim=1) - 1
        config = backbone.config.get_text_config()
        return masks(config, seen, positions, cached_positions, backbone.dtype, backbone.device)


@torch.inference_mode()
def reads_trees(backbone: Any) -> bool:
    """Return whether a model reads several texts in one row as it reads each alone.

    Attention that takes no mask of any shape does not, nor a network that makes its own of it: tried on a few tokens.
    """
    if not takes_masks(backbone):
        return False
    highest = backbone.get_input_embeddings().weight.shape[0] - 1
    tried = ([[1, 2, 3], [4]], [[5, 6], [5, 7, 1], [8]])
    prompts, texts = ([[min(token, highest) for token in ids] for ids in some] for some in tried)
    states, tree = read_prompts(backbone, prompts, EMPTY_PREFIX), text_tree(texts)
    together = backbone(**states.followed_by([(0, tree), (1, tree)], backbone)).last_hidden_state
    alone = [
        backbone(input_ids=torch.tensor([prompt + text], device=backbone.device), use_cache=False).last_hidden_state
        for prompt in prompts
        for text in texts
    ]
    expected = torch.cat([whole[0, -len(text) :] for whole, text in zip(alone, texts * len(prompts), strict=True)])
    found = torch.cat([together[row, path] for row in range(len(prompts)) for path in tree.paths])
    return bool((found - expected).abs().mean() < _ALIKE * expected.std())


def read_prompts(backbone: Any, prompts: Sequence[list[int]], prefix: PrefixCache) -> PromptStates:
    """Run a model without its head over prompts and keep what it computed."""
    inputs = aligned_inputs(prompts, prefix, backbone.device)
    backbone(**inputs, use_cache=True)
    return PromptStates(inputs["past_key_values"], [len(ids) for ids in prompts])
