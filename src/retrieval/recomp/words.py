"""Words of a text: stop words, BM25 over a handful of sentences, and names by their capital letters.

    BM25(q, s) = sum over words t of q of idf(t) f (k1 + 1) / (f + k1 (1 - b + b |s| / mean length))
    idf(t)     = log(1 + (n - n_t + 1/2) / (n_t + 1/2))

with f how often t stands in s, n the number of sentences and n_t that of sentences with t.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence

_STOP_WORDS = """
a about above after again against all am an and any are as at be because been before being below between both but by
can could did do does doing down during each few for from further had has have having he her here hers herself him
himself his how i if in into is it its itself just me more most my myself no nor not now of off on once only or
other our ours ourselves out over own same she should so some such than that the their theirs them themselves then
there these they this those through to too under until up very was we were what when where which while who whom why
will with would you your yours yourself yourselves s t
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
_LINK = r"(?:of|the|de|la|le|du|da|di|del|der|den|von|van|al|el|and|y|&)"
_NAME = r"(?:[^\W\d_]\.|[^\W\d_][\w'’-]*)"
_NUMBER = r"\d[\d,.]*\d|\d"
_TOKEN = re.compile(rf"(?P<number>{_NUMBER})|(?P<word>{_NAME})|(?P<mark>[^\w\s]|\n)")
_LINKS = re.compile(_LINK)
_SENTENCE_END = frozenset(".!?:;\"“”'()")


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case."""
    return re.findall(r"\w+", text.lower())


def bm25_scores(query: Sequence[str], sentences: Sequence[str], *, k1: float = 1.5, b: float = 0.75) -> list[float]:
    """Return how well each sentence fits the query's words, among these sentences."""
    counts = [Counter(words_of(sentence)) for sentence in sentences]
    lengths = [count.total() for count in counts]
    mean = sum(lengths) / len(lengths) if sum(lengths) else 1.0
    idf = {}
    for word in query:
        holding = sum(word in count for count in counts)
        idf[word] = math.log(1 + (len(counts) - holding + 0.5) / (holding + 0.5))
    return [
        sum(idf[w] * count[w] * (k1 + 1) / (count[w] + k1 * (1 - b + b * length / mean)) for w in query)
        for count, length in zip(counts, lengths, strict=True)
    ]


def capitalised_spans(text: str) -> list[str]:
    """Return runs of capitalised words and numbers in their order; small words between two capitals are part of them.

    A word that opens a sentence counts only where it is no stop word.
    """
    spans: list[list[str]] = [[]]
    waiting: list[str] = []  # small words that join two capitals, if one follows
    for token in _TOKEN.finditer(text):
        kind, found = token.lastgroup, token[0]
        if kind == "number" or (kind == "word" and found[0].isupper() and not _opens(text, token.start(), found)):
            spans[-1] += [*waiting, found]
            waiting = []
        elif kind == "word" and spans[-1] and _LINKS.fullmatch(found):
            waiting.append(found)
        else:
            waiting = []
            spans.append([])
    return [" ".join(span) for span in spans if span]


def _opens(text: str, start: int, word: str) -> bool:
    """Whether a word is capitalised for no other reason than that a sentence begins with it."""
    before = text[:start].rstrip()
    return word.lower() in STOP_WORDS and (
        not before or before[-1] in _SENTENCE_END or "\n" in text[len(before) : start]
    )
