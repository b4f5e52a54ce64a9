"""Sentences, word for word as they stand in their text, by the Punkt model that `nupunkt` carries."""

import re
from collections.abc import Iterator, Sequence

from ..errors import OctoberError

Span = tuple[int, int]

_PARAGRAPH = re.compile(r"\S(?:[^\n]|\n(?![^\S\n]*\n))*")  # up to the next blank line
MAX_CHARACTERS = 2000  # four or five hundred tokens, as much as encoders read


def split_sentences(text: str, max_characters: int = MAX_CHARACTERS) -> list[str]:
    """Return a text's sentences without the white space around them.

    Args:
        text: Any text; one of white space alone has no sentences.
        max_characters: A longer sentence is cut at word borders into pieces of at most so many characters; a word
            that is longer by itself is cut inside. Nothing is lost.

    Raises:
        OctoberError: The limit is below 1, or this is no text.
    """
    return [text[start:stop] for start, stop in sentence_spans(text, max_characters)]


def split_all(texts: Sequence[str], max_characters: int = MAX_CHARACTERS) -> list[list[str]]:
    """Return the sentences of each text; equal texts are split once.

    Raises:
        OctoberError: As `split_sentences`.
    """
    split = {text: split_sentences(text, max_characters) for text in dict.fromkeys(texts)}
    return [list(split[text]) for text in texts]


def sentence_spans(text: str, max_characters: int = MAX_CHARACTERS) -> list[Span]:
    """Return where each sentence begins and ends in the text; see `split_sentences`.

    Every character that is not white space lies in exactly one span, and a blank line ends a sentence.
    """
    if not isinstance(text, str):
        raise OctoberError(f"text is {type(text).__name__}: text is needed, decode it as UTF-8")
    if max_characters < 1:
        raise OctoberError(f"max_characters={max_characters}: must be at least 1")
    return [piece for span in _whole_sentences(text) for piece in _pieces(text, span, max_characters)]


def _whole_sentences(text: str) -> Iterator[Span]:
    import nupunkt

    for block in _PARAGRAPH.finditer(text):
        for start, stop in nupunkt.sent_spans(block[0]):
            span = _stripped(text, block.start() + start, block.start() + stop)
            if span:
                yield span


def _stripped(text: str, start: int, stop: int) -> Span | None:
    """Return the span without white space at its ends, or None if there is nothing else."""
    sentence = text[start:stop]
    start += len(sentence) - len(sentence.lstrip())
    return (start, start + len(sentence.strip())) if sentence.strip() else None


def _pieces(text: str, span: Span, max_characters: int) -> Iterator[Span]:
    """Cut a span that is too long behind the last word that fits."""
    start, stop = span
    while stop - start > max_characters:
        limit = start + max_characters
        spaces = [place for place in range(start, limit + 1) if text[place].isspace()]
        border = spaces[-1] if spaces else limit
        piece = _stripped(text, start, border)
        assert piece is not None
        yield piece
        start = border + len(text[border:stop]) - len(text[border:stop].lstrip())
    yield start, stop
