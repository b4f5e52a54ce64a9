"""Prompts as token ids: the start token once, and the border between a prompt and its continuation."""

from collections.abc import Sequence
from typing import Any

from ..errors import OctoberError


class PromptTokenizer:
    """Encodes prompts and pairs as the model expects them."""

    def __init__(self, tokenizer: Any) -> None:
        if not tokenizer.is_fast:
            raise OctoberError(f"{type(tokenizer).__name__}: a fast tokenizer (tokenizer.json) is needed")
        self._tokenizer = tokenizer
        start = tokenizer.bos_token_id
        self._start = tokenizer.eos_token_id if start is None else start  # Pythia's texts begin with its end token

    def encode(self, prompts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each prompt; an empty prompt is the start token alone."""
        if not prompts:
            return []
        return [self._started(ids) for ids in self._tokenizer(list(prompts))["input_ids"]]

    def encode_pair(self, prompt: str, continuation: str) -> tuple[list[int], int]:
        """Return the token ids of a prompt and its continuation, encoded together, and where the latter begins.

        The continuation's tokens are those that reach beyond the prompt's last character.
        """
        encoding = self._tokenizer(prompt + continuation, return_offsets_mapping=True)
        ids = self._started(encoding["input_ids"])
        ends = [end for _, end in encoding["offset_mapping"]][::-1]
        reaching = next((count for count, end in enumerate(ends) if end <= len(prompt)), len(ends))
        return self._context_first(ids, len(ids) - reaching)

    def _started(self, ids: list[int]) -> list[int]:
        """Drop a second start token (the text began with it); give an empty prompt one."""
        if ids[:2] == [self._start] * 2:
            return ids[1:]
        return list(ids) or self._context_first([], 0)[0]

    def _context_first(self, ids: list[int], start: int) -> tuple[list[int], int]:
        """Put the start token in front where nothing else stands before the first token that is asked for."""
        if start > 0:
            return ids, start
        if self._start is None:
            raise OctoberError("an empty prompt needs a tokenizer with a start token; this one has none")
        return [self._start, *ids], 1
