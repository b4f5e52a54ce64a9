"""Log-probabilities of tokens in their sequences; what sequences begin with is read once for all that share it."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import torch

from .batching import length_sorted_batches
from .output_head import OutputHead
from .prefix_cache import EMPTY_PREFIX, PrefixCache, encode_prefix, shared_prefix
from .prompt_states import PromptStates, read_prompts
from .shared_prefixes import PrefixGroup, prefix_groups
from .text_trees import divided, text_tree

_AT_ONCE_ON_CPU = 1024  # tokens: so many keep a processor busy, and more leave its caches
TokenPairs = list[tuple[float, bool]]  # of each token: its log-probability, and whether none is likelier


class Scoring:
    """Scores sequences from some place on.

    Args:
        head: Of the model, whose backbone it knows.
        max_batch_tokens: Tokens, padding included, that pass through the network at once; eight times as many may lie
            in caches.
        done: Called with the number of sequences that have just been scored.
    """

    def __init__(
        self, head: OutputHead, max_batch_tokens: int, done: Callable[[int], Any] = lambda count: None
    ) -> None:
        self._head = head
        on_cpu = head.backbone.device.type == "cpu"
        self._at_once = min(max_batch_tokens, _AT_ONCE_ON_CPU) if on_cpu else max_batch_tokens
        self._cached_share = self._at_once / max_batch_tokens  # caches keep the bound that was asked for
        self._done = done

    def run(self, sequences: Sequence[list[int]], starts: Sequence[int]) -> list[TokenPairs]:
        """Return of each sequence what its tokens from `starts` on have got."""
        limits = [start - 1 for start in starts]  # the token before the first that is asked for is read in any case
        shared = shared_prefix(sequences, limits)
        prefix = encode_prefix(self._head.backbone, shared) if shared else EMPTY_PREFIX
        groups = prefix_groups(sequences, limits, prefix.length)
        alone = [group.members[0] for group in groups if len(group.members) == 1]
        several = [group for group in groups if len(group.members) > 1]
        found = self._behind_prefix(prefix, sequences, starts, alone)
        own = [group.length - prefix.length for group in several]
        for batch in self._batches(own, prefix.length):
            found |= self._in_groups(prefix, sequences, starts, [several[index] for index in batch])
        return [found[index] for index in range(len(sequences))]

    def behind(
        self, states: PromptStates, rows: Sequence[int], sequences: Sequence[list[int]], starts: Sequence[int]
    ) -> list[TokenPairs]:
        """Return the same for sequences whose first tokens have been read: those of row `rows[i]` of the states.

        What follows one prompt passes as a tree, where the model reads trees.
        """
        rests = [ids[states.lengths[row] : -1] for row, ids in zip(rows, sequences, strict=True)]
        several = len(set(rows)) < len(rows)
        groups = divided(rows, rests) if several and self._head.reads_trees else [[index] for index in range(len(rows))]
        trees = [text_tree(rests[index] for index in group) for group in groups]
        found: dict[int, TokenPairs] = {}
        for batch in self._batches([len(tree.token_ids) for tree in trees], max(states.lengths)):
            inputs = states.followed_by([(rows[groups[one][0]], trees[one]) for one in batch], self._head.backbone)
            asked = [
                _Asked(index, row, path[starts[index] - 1 - states.lengths[rows[index]] :])
                for row, one in enumerate(batch)
                for index, path in zip(groups[one], trees[one].paths, strict=True)
            ]
            found |= self._scored(inputs, asked, sequences)
        return [found[index] for index in range(len(rests))]

    def _batches(self, fed: Sequence[int], cached: int) -> Iterator[list[int]]:
        """Return batches of rows that feed so many tokens behind `cached` ones each."""
        return length_sorted_batches(
            fed, self._at_once, lambda own: int(self._cached_share * (cached + own)) if cached else 0, tight=True
        )

    def _behind_prefix(
        self, prefix: PrefixCache, sequences: Sequence[list[int]], starts: Sequence[int], chosen: list[int]
    ) -> dict[int, TokenPairs]:
        found: dict[int, TokenPairs] = {}
        rests = [sequences[index][prefix.length : -1] for index in chosen]
        cache = {"past_key_values": prefix.read_only(), "use_cache": True} if prefix.length else {"use_cache": False}
        for batch in self._batches([len(rest) for rest in rests], 0):
            longest = max(len(rests[place]) for place in batch)
            padded = [rests[place] + [0] * (longest - len(rests[place])) for place in batch]
            inputs = {"input_ids": torch.tensor(padded, device=self._head.backbone.device), **cache}
            asked = [
                _Asked(chosen[place], row, range(starts[chosen[place]] - 1 - prefix.length, len(rests[place])))
                for row, place in enumerate(batch)
            ]
            found |= self._scored(inputs, asked, sequences)
        return found

    def _in_groups(
        self, prefix: PrefixCache, sequences: Sequence[list[int]], starts: Sequence[int], groups: list[PrefixGroup]
    ) -> dict[int, TokenPairs]:
        shared = [sequences[group.members[0]][: group.length] for group in groups]
        states = read_prompts(self._head.backbone, shared, prefix)
        members = list(chain.from_iterable(group.members for group in groups))
        rows = [row for row, group in enumerate(groups) for _ in group.members]
        found = self.behind(states, rows, [sequences[index] for index in members], [starts[index] for index in members])
        return dict(zip(members, found, strict=True))

    def _scored(
        self, inputs: dict[str, Any], asked: Sequence["_Asked"], sequences: Sequence[list[int]]
    ) -> dict[int, TokenPairs]:
        """Run a batch, and return what it tells of the sequences that are asked for."""
        hidden = self._head.backbone(**inputs).last_hidden_state
        numbers: dict[tuple[int, int], int] = {}  # of hidden states that something follows
        places = [numbers.setdefault((each.row, place), len(numbers)) for each in asked for place in each.places]
        targets = [token for each in asked for token in sequences[each.sequence][-len(each.places) :]]
        rows, columns = torch.tensor(list(numbers), device=hidden.device).T
        following = (torch.tensor(some, device=hidden.device) for some in (targets, places))
        found = self._head.token_scores(hidden[rows, columns], *following)
        self._done(len(asked))
        counts = [len(each.places) for each in asked]
        return dict(zip((each.sequence for each in asked), found.rows(counts), strict=True))


class _Asked(NamedTuple):
    """A sequence in a batch: its index, its row, and the places of that which its last tokens follow, one at least."""

    sequence: int
    row: int
    places: Sequence[int]
