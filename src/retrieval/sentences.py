"""Sentences, word for word as they stand in their text, by `nupunkt` (Punkt: Kiss and Strunk 2006).

Its model is of law reports and takes 'west', 'Poland' and 'John' for abbreviations, which loses many borders in texts
about places. So its algorithm runs here on abbreviations of general English.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from ..errors import OctoberError

Span = tuple[int, int]

# Without the stop at their end; 'U.S.', 'e.g.' and their like come from nupunkt's model, single letters are initials.
_ABBREVIATIONS = """
mr mrs ms mx messrs mme mlle dr prof rev hon fr st ste ss sr jr esq bros gen col maj capt cmdr lt sgt cpl pvt adm gov
sen rep pres supt insp wm chas thos jos jas geo jan feb mar apr jun jul aug sep sept oct nov dec vol vols no nos pp pg
ch chap op fig figs eq eqs sec ed eds cf ca al et ibid viz vs resp approx est incl esp trans transl repr suppl ser mss
fol para cit lit lat gr ger heb arab pron abbr pl sing masc fem neut dim var subsp ssp sp spp cv nov syn dept univ inst
assoc assn corp inc ltd co mfg intl natl govt gmbh ave blvd rd sq mt mts ft pt km cm mm kg lb lbs oz hr hrs min mi kr
"""
# After an abbreviation or an initial these, with a capital, begin a sentence.
_STARTERS = """
the this that these those there then they their he his she her it its we our you your in on at by for from with of to as
an and but or if when while where who what which how why after before during since until although though because however
many most some several all both each other another one two three such also today according among between under over
through despite within without not no
"""
_COMPACT = re.compile(r"[a-z]{1,2}(\.[a-z]{1,2})+")
_SHORT = re.compile(r"(?<!\w)[a-z]\.$")  # 'c. 1900', 'b. 1950', 'p. 12'
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
    for block in _PARAGRAPH.finditer(text):
        borders = [block.start() + stop for _, (_, stop) in _punkt().tokenize_with_spans(block[0])]
        start = block.start()
        for border in borders:
            if border < block.end() and _goes_on(text, start, border):
                continue
            span = _stripped(text, start, border)
            start = border
            if span:
                yield span


def _goes_on(text: str, start: int, border: int) -> bool:
    """Return whether what follows a full stop still belongs to the sentence: lower case, or the number of 'c. 1900'."""
    last = len(text[start:border].rstrip()) + start
    following = text[border:].lstrip()[:1]
    if text[last - 1 : last] != "." or not following:
        return False
    return following.islower() or (following.isdigit() and bool(_SHORT.search(text, start, last)))


@cache
def _punkt() -> Any:
    import nupunkt
    from nupunkt.core.constants import ORTHO_LC

    known = nupunkt.load("default").abbreviations
    starters = _STARTERS.split()
    parameters = nupunkt.PunktParameters(
        abbrev_types={name for name in known if _COMPACT.fullmatch(name)} | set(_ABBREVIATIONS.split()),
        sent_starters={*starters, "a", "i"},
        ortho_context=dict.fromkeys(starters, ORTHO_LC),  # seen in lower case, so a capital is a sentence's
    )
    return nupunkt.PunktSentenceTokenizer(parameters, include_common_abbrevs=False)


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
