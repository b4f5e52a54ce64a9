"""Generated text piece by piece, as its tokens come: what is handed out is never taken back."""

import re
from collections.abc import Sequence
from typing import Any

from .stopping import StopStrings, decode_after

_BYTE = re.compile("<0x[0-9A-F]{2}>")  # how vocabularies of characters name the bytes of those that they lack
_UNFINISHED = "\ufffd"  # what decoders write for bytes that are no character, or not yet one


class TextStream:
    """Turns tokens into pieces of text; joined, and with the end that `completion` knows, they are the whole text.

    Held back are characters whose bytes are not all there, and text that may turn out to begin a stop string.

    Args:
        tokenizer: The model's.
        last_prompt_token: The token before the first one.
        stop: Strings that end a text.
    """

    def __init__(self, tokenizer: Any, last_prompt_token: int, stop: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._anchor = last_prompt_token  # stands in front of what is decoded, see `decode_after`
        self._pending: list[int] = []  # tokens after the anchor
        self._given = 0  # characters of theirs that went to `_held`
        self._within_bytes = False
        self._stop = tuple(stop)
        self._stops = StopStrings(tokenizer, stop)
        self._held = ""

    def piece(self, token: int) -> str:
        """Return the text that is certain now that another token has come; often empty."""
        self._pending.append(token)
        self._held += self._finished_characters(token)
        certain, found = self._stops.cut(self._held)
        if found is None:
            certain = self._held[: len(self._held) - self._begun()]
        self._held = self._held[len(certain) :]
        return certain

    def _finished_characters(self, token: int) -> str:
        visible = self._tokenizer.decode([token], skip_special_tokens=True) != ""
        if _BYTE.fullmatch(self._tokenizer.convert_ids_to_tokens(token) or ""):
            self._within_bytes = True  # those that follow one another are decoded together
        elif visible:
            self._within_bytes = False
        text = decode_after(self._tokenizer, self._anchor, self._pending)
        if self._within_bytes or text.endswith(_UNFINISHED):
            return ""
        new, self._given = text[self._given :], len(text)
        if visible:
            self._anchor, self._pending, self._given = token, [], 0
        return new

    def _begun(self) -> int:
        """Return the length of the longest beginning of a stop string at the end of what is held."""
        return max(
            (n for string in self._stop for n in range(1, len(string)) if self._held.endswith(string[:n])), default=0
        )
