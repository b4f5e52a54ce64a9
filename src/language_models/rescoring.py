"""Decoding from several prompts, and the score of each continuation behind all of them, without reading any twice.

read       all prompts of a batch of groups, once; what the layers computed is kept
decode     each prompt's own continuation y_i
score      log p(y_j | prompt i) for every different y_j of the group: its tokens follow what was kept of prompt i
           (where j is i's own, decoding has told it already)
"""

import math
from collections.abc import Sequence
from itertools import chain, groupby
from typing import Any, NamedTuple

import torch
from jaxtyping import Float

from .decoding import Decoding
from .generation import Request
from .output_head import log_probabilities_of
from .prefix_cache import PrefixCache
from .prompt_states import PromptStates
from .scoring import Scoring


class GroupScores(NamedTuple):
    """As `base.Rescored`, in tokens.

    Attributes:
        candidates: Requests of the group that wrote something different, the first of each.
        written: Of each request, the candidate whose tokens it wrote.
        log_probabilities: Of each request's prompt, each candidate's.
    """

    candidates: list[Request]
    written: list[int]
    log_probabilities: list[list[float]]


def decode_and_rescore(
    groups: Sequence[Sequence[Request]], prefix: PrefixCache, decoding: Decoding, scoring: Scoring, bar: Any
) -> list[GroupScores]:
    """Finish the requests of all groups as one batch, and score what they wrote.

    Args:
        groups: Requests whose prompts begin with the prefix.
        prefix: Has been read.
        decoding: Of the model, greedy.
        scoring: Of the same model.
        bar: Counts finished requests.
    """
    requests = list(chain.from_iterable(groups))
    read = decoding.read(requests, prefix)
    states = PromptStates(read.cache, [len(request.prompt_ids) for request in requests])
    decoding.go_on(requests, read, bar)
    found = [_own_scores(group) for group in groups]
    asked = _not_yet_scored(groups, found)
    _add_first_tokens(asked, read.logits)
    longer = [each for each in asked if len(each.token_ids) > each.start]
    values = scoring.behind(
        states, [each.row for each in longer], [each.token_ids for each in longer], [each.start for each in longer]
    )
    for each, tokens in zip(longer, values, strict=True):
        each.values[each.candidate] += sum(value for value, _ in tokens)
    return found


class _Asked(NamedTuple):
    """A candidate behind a prompt that did not write it: the row of the prompt, and where the score belongs.

    Its tokens from `start` on have to be read for; the one before is told by the logits behind the prompt.
    """

    row: int
    token_ids: list[int]
    start: int
    values: list[float]
    candidate: int


def _own_scores(group: Sequence[Request]) -> GroupScores:
    """Return what decoding has told; what it has not is open."""
    places = {tokens: place for place, tokens in enumerate(dict.fromkeys(tuple(one.token_ids) for one in group))}
    written = [places[tuple(request.token_ids)] for request in group]
    candidates = [group[written.index(place)] for place in places.values()]
    values = [[math.nan] * len(candidates) for _ in group]
    for row, place, request in zip(values, written, group, strict=True):
        row[place] = sum(request.log_probabilities)
    return GroupScores(candidates, written, values)


def _not_yet_scored(groups: Sequence[Sequence[Request]], found: Sequence[GroupScores]) -> list[_Asked]:
    asked, row = [], 0
    for group, scores in zip(groups, found, strict=True):
        for request, written, values in zip(group, scores.written, scores.log_probabilities, strict=True):
            asked += [
                _Asked(row, request.prompt_ids + other.token_ids, len(request.prompt_ids) + 1, values, candidate)
                for candidate, other in enumerate(scores.candidates)
                if candidate != written
            ]
            row += 1
    return asked


def _add_first_tokens(asked: Sequence[_Asked], logits: Float[torch.Tensor, "prompts vocabulary"]) -> None:
    for row, of_prompt in groupby(asked, key=lambda each: each.row):
        some = list(of_prompt)
        first = torch.tensor([each.token_ids[each.start - 1] for each in some], device=logits.device)
        log_probabilities = log_probabilities_of(logits[row, None], first[None])[0]
        for each, value in zip(some, log_probabilities.tolist(), strict=True):
            each.values[each.candidate] = value
