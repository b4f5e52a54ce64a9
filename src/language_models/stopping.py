"""Text from generated tokens, and stop strings found in it as tokens come."""

from collections.abc import Sequence
from typing import Any

_TOKENS_PER_CHARACTER = 4  # a character can be split into as many byte tokens


class StopStrings:
    """Looks for stop strings at the end of what has been generated, wherever token borders fall."""

    def __init__(self, tokenizer: Any, stop: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        longest = max((len(string) for string in stop), default=0)
        self._tail = _TOKENS_PER_CHARACTER * (longest + 1)

    def found(self, token_ids: Sequence[int]) -> bool:
        """Whether the last token completed a stop string; looks at the last few tokens only."""
        if not self._stop:
            return False
        text = self._tokenizer.decode(token_ids[-self._tail :], skip_special_tokens=True)
        return any(string in text for string in self._stop)

    def cut(self, text: str) -> tuple[str, str | None]:
        """Return the text before the first stop string, and that string; at one place the longest one counts."""
        places = [(text.find(string), -len(string), string) for string in self._stop if string in text]
        if not places:
            return text, None
        place, _, string = min(places)
        return text[:place], string


def decode_after(tokenizer: Any, last_prompt_token: int, token_ids: Sequence[int]) -> str:
    """Return the text of generated tokens as it reads after the prompt.

    Some tokenizers drop a leading space from whatever they decode; the prompt's last token stands in front to keep it.
    """
    anchor = tokenizer.decode([last_prompt_token], skip_special_tokens=True)
    text: str = tokenizer.decode([last_prompt_token, *token_ids], skip_special_tokens=True)
    if anchor and text.startswith(anchor):
        return text[len(anchor) :]
    return str(tokenizer.decode(list(token_ids), skip_special_tokens=True))
