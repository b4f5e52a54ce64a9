"""A language model of single words that remembers what it has read (a cache model, Kuhn and De Mori 1990).

    p(w | h) = share * c(w, h) / |h| + (1 - share) * (C(w) + 1) / (|C| + V + 1)
    Score(y, [s; x]) = sum over the words w of y of log p(w | s, x, and the words of y before w)

c counts in what was read, C in a background text of V different words. It knows no grammar and no fact: as a judge of
sentences it is as unlike a network as can be, which is what a test of transfer from one model to another needs.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from ...errors import OctoberError
from ...files import content_hash
from .candidate_scores import ScoringRequest
from .words import words_of


class WordLikelihood:
    """The log-probability (nats) of the canonical answer's words after evidence and question.

    Args:
        texts: The background.
        share: Of what was just read, in the mixture; strictly between 0 and 1.

    Raises:
        OctoberError: The share is out of range, or the background has no words.
    """

    def __init__(self, texts: Iterable[str], *, share: float = 0.5) -> None:
        if not 0 < share < 1:
            raise OctoberError(f"share={share}: must lie between 0 and 1")
        self.share = share
        self.counts = Counter(word for text in texts for word in words_of(text))
        if not self.counts:
            raise OctoberError("texts have no words: a background is needed")
        self._total = self.counts.total() + len(self.counts) + 1

    def scores(self, requests: Sequence[ScoringRequest]) -> list[list[float]]:
        """Return the answers' log-probabilities."""
        return [
            [self.log_probability(f"{text} {request.query}", request.targets[0]) for text in request.candidates]
            for request in requests
        ]

    def log_probability(self, history: str, text: str) -> float:
        """Return log p(text | history); 0 for a text without words."""
        read = Counter(words_of(history))
        length, total = read.total(), 0.0
        for word in words_of(text):
            background = (self.counts[word] + 1) / self._total
            recent = read[word] / length if length else background
            total += math.log(self.share * recent + (1 - self.share) * background)
            read[word] += 1
            length += 1
        return total

    def fingerprint(self) -> str:
        """Return what decides the scores, hashed."""
        return content_hash({"kind": "word_likelihood", "share": self.share, "counts": self.counts})
