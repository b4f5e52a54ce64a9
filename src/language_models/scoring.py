"""Log-probabilities of tokens in their sequences; what sequences begin with is read once for all that share it."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import torch

from .batching import length_sorted_batches
from .output_head import OutputHead
from .prefix_cache import EMPTY_PREFIX, PrefixCache, encode_prefix, shared_prefix
from .prompt_states import PromptStates, read_prompts
from .shared_prefixes import PrefixGroup, prefix_groups

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
        """Return the same for sequences whose first tokens have been read: those of row `rows[i]` of the states."""
        rests = [(row, ids[states.lengths[row] : -1]) for row, ids in zip(rows, sequences, strict=True)]
        fed = [len(ids) for _, ids in rests]
        found: dict[int, TokenPairs] = {}
        for batch in self._batches(fed, max(states.lengths)):
            inputs = states.followed_by([rests[index] for index in batch], self._head.backbone.device)
            skipped = [states.lengths[rows[index]] for index in batch]
            found |= self._scored(inputs, batch, sequences, starts, skipped)
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
            indices = [chosen[place] for place in batch]
            found |= self._scored(inputs, indices, sequences, starts, [prefix.length] * len(batch))
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
        self,
        inputs: dict[str, Any],
        indices: list[int],
        sequences: Sequence[list[int]],
        starts: Sequence[int],
        skipped: list[int],
    ) -> dict[int, TokenPairs]:
        """Run a batch; row i is sequence `indices[i]` without its first `skipped[i]` tokens and without its last."""
        hidden = self._head.backbone(**inputs).last_hidden_state
        counts = [len(sequences[index]) - starts[index] for index in indices]
        rows = [row for row, count in enumerate(counts) for _ in range(count)]
        places = [
            place - 1 - skip
            for index, skip in zip(indices, skipped, strict=True)
            for place in range(starts[index], len(sequences[index]))
        ]
        targets = [token for index in indices for token in sequences[index][starts[index] :]]
        asked = (torch.tensor(some, device=hidden.device) for some in (rows, places))
        found = self._head.token_scores(hidden[tuple(asked)], torch.tensor(targets, device=hidden.device))
        self._done(len(indices))
        return dict(zip(indices, found.rows(counts), strict=True))
