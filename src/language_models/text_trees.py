"""Several texts behind one prompt as one row, a tree: what some of them begin with passes through the network once.

    texts            row           sees the prompt and
    the river is     0  the        0
    the town         1  river      0 1
                     2  is         0 1 2
                     3  town       0     3

A token stands behind the prompt as deep as it is in its text, and sees the prompt, the tokens above it and itself; in
layers with a window, those that the window reaches from its position.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int

_WITH_MASKS = ("sdpa", "eager")  # attention that takes a mask of any shape
_LARGEST = 256  # tokens: attention inside a tree grows with their square


class TextTree(NamedTuple):
    """Texts that follow one prompt.

    Attributes:
        token_ids: Of the row; a token stands behind all those above it.
        parents: The place of the token above each, -1 of a first one.
        depths: How many stand above each.
        paths: Of each text, the places of its tokens.
    """

    token_ids: list[int]
    parents: list[int]
    depths: list[int]
    paths: list[list[int]]


def text_tree(texts: Iterable[Sequence[int]]) -> TextTree:
    """Return texts, given as token ids, as a tree."""
    tree = TextTree([], [], [], [])
    places: dict[tuple[int, int], int] = {}
    for text in texts:
        path: list[int] = []
        for depth, token in enumerate(text):
            parent = path[-1] if path else -1
            place = places.setdefault((parent, token), len(tree.token_ids))
            if place == len(tree.token_ids):
                tree.token_ids.append(token)
                tree.parents.append(parent)
                tree.depths.append(depth)
            path.append(place)
        tree.paths.append(path)
    return tree


def divided(rows: Sequence[int], texts: Sequence[Sequence[int]]) -> list[list[int]]:
    """Divide texts into those that make a tree, by their indices: they follow one prompt, and are not too many.

    Args:
        rows: Of the prompt that each text follows.
        texts: Token ids; texts that begin alike come into one tree where possible.
    """
    groups: list[list[int]] = []
    tokens = 0
    for index in sorted(range(len(texts)), key=lambda i: (rows[i], texts[i])):
        tokens += len(texts[index])
        if not groups or rows[groups[-1][0]] != rows[index] or tokens > _LARGEST:
            groups.append([])
            tokens = len(texts[index])
        groups[-1].append(index)
    return groups


def seen_by_tokens(tree: TextTree, size: int) -> Bool[torch.Tensor, "size size"]:
    """Return what each token of a row sees of it, the row filled up with tokens that see themselves."""
    seen = torch.eye(size, dtype=torch.bool)
    for place, parent in enumerate(tree.parents):
        if parent >= 0:
            seen[place] |= seen[parent]
    return seen


def masks(
    config: Any,
    seen: Bool[torch.Tensor, "rows fed all"],
    positions: Int[torch.Tensor, "rows fed"],
    cached_positions: Int[torch.Tensor, "rows cached"],
    dtype: torch.dtype,
    device: torch.device,
) -> Float[torch.Tensor, "rows 1 fed all"] | Mapping[str, Float[torch.Tensor, "rows 1 fed all"]]:
    """Return what a model of transformers takes as its mask: one for all layers, or one for each kind of them.

    Args:
        config: Of the text model.
        seen: Whether tokens see what lies in the cache and each other, were there no window.
        positions: Of the tokens.
        cached_positions: Of what lies in the cache.
        dtype: Of the model.
        device: Of the model.
    """
    distances = positions[:, :, None] - torch.cat([cached_positions, positions], dim=1)[:, None]
    found = {}
    for kind, window in windows(config).items():
        hidden = ~seen if window is None else ~(seen & (distances < window))
        mask = torch.zeros(hidden.shape, dtype=dtype).masked_fill(hidden, torch.finfo(dtype).min)
        found[kind] = mask[:, None].to(device)
    return found if len(found) > 1 else next(iter(found.values()))


def windows(config: Any) -> dict[str, int | None]:
    """Return how many tokens the layers of each kind see; all, where it is None."""
    window = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or ())
    return {kind: window if kind == "sliding_attention" else None for kind in kinds} or {"": window}


def takes_masks(backbone: Any) -> bool:
    """Return whether a model's attention takes a mask of any shape, as far as its configuration tells."""
    return backbone.config.get_text_config()._attn_implementation in _WITH_MASKS
