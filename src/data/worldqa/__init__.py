"""worldqa: open-domain questions over real facts and real text that install offline.

    questions = WorldQA().load("test")
    documents = WorldQACorpus().documents()

The corpus holds the leads of Wikipedia's 10,033 vital articles as they are, and a short paragraph about each of
GeoNames' 252 countries and 5,000 largest cities. A question names its gold documents and, word for word, its gold
sentences. Splits are by entity: no document that answers a question of one split answers one of another.
"""

from typing import TYPE_CHECKING

from ...lazy import lazy_exports

if TYPE_CHECKING:
    from .baseline import pattern_baseline
    from .card import evidence_of, export, statistics, to_datasets
    from .handle import VERSION, WorldQA, WorldQACorpus

__all__ = [
    "VERSION",
    "WorldQA",
    "WorldQACorpus",
    "evidence_of",
    "export",
    "pattern_baseline",
    "statistics",
    "to_datasets",
]

_HOMES = {
    "VERSION": "handle",
    "WorldQA": "handle",
    "WorldQACorpus": "handle",
    "evidence_of": "card",
    "export": "card",
    "pattern_baseline": "baseline",
    "statistics": "card",
    "to_datasets": "card",
}

__getattr__ = lazy_exports(__name__, _HOMES)
