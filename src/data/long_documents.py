"""Long documents of real text: leads of Wikipedia's vital articles, neighbours of one topic joined."""

import json
from collections import defaultdict
from functools import cache
from itertools import pairwise

from ..files import content_hash
from .offline import verified
from .people import PACKAGE, SUMMARIES

_ARTICLES_IN_DOCUMENT = 16  # some eight thousand bytes
_ONE_HELD_OUT_OF = 10


@cache
def wikipedia_documents() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (training, held-out) documents: articles by topic, in their order there, every tenth document held out.

    Raises:
        OctoberError: The package's file is missing or not what was pinned.
    """
    documents: list[str] = []
    for articles in _articles_by_topic().values():
        cuts = [*range(0, len(articles), _ARTICLES_IN_DOCUMENT), len(articles)]
        documents += ["\n\n".join(articles[first:last]) + "\n\n" for first, last in pairwise(cuts)]
    held_out = documents[_ONE_HELD_OUT_OF - 1 :: _ONE_HELD_OUT_OF]
    training = [document for index, document in enumerate(documents) if (index + 1) % _ONE_HELD_OUT_OF]
    return tuple(training), tuple(held_out)


def wikipedia_documents_fingerprint() -> str:
    """Return a hash of all documents and of how they are divided."""
    return content_hash([list(part) for part in wikipedia_documents()])


def _articles_by_topic() -> dict[str, list[str]]:
    articles = json.loads(verified(PACKAGE, SUMMARIES).read_bytes())
    topics: dict[str, list[str]] = defaultdict(list)
    for article in articles.values():
        topics[article["topic"]].append(f"{article['title']}\n{article['extract']}")
    return dict(sorted(topics.items()))
