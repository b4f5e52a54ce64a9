"""How a model reads what it did not memorise: passages, embeddings, dense and sparse indexes, sentences.

Shared by the papers on retrieval; it knows none of them.
"""

from typing import TYPE_CHECKING

from ..lazy import lazy_exports

if TYPE_CHECKING:
    from .embeddings import EmbeddingCache, LoadedEncoder, PassageEncoder, QueryEncoder, TextEncoder, encode
    from .hits import Hits
    from .index import DenseIndex
    from .index_building import build_index
    from .passages import Passage, PassageStore, split_document
    from .retriever import Retrieved, Retriever, open_retriever, open_sparse_retriever
    from .sentences import sentence_spans, split_all, split_sentences
    from .sparse_index import SparseIndex

__all__ = [
    "DenseIndex",
    "EmbeddingCache",
    "Hits",
    "LoadedEncoder",
    "Passage",
    "PassageEncoder",
    "PassageStore",
    "QueryEncoder",
    "Retrieved",
    "Retriever",
    "SparseIndex",
    "TextEncoder",
    "build_index",
    "encode",
    "open_retriever",
    "open_sparse_retriever",
    "sentence_spans",
    "split_all",
    "split_document",
    "split_sentences",
]

_HOMES = {
    "DenseIndex": "index",
    "EmbeddingCache": "embeddings",
    "Hits": "hits",
    "LoadedEncoder": "embeddings",
    "Passage": "passages",
    "PassageEncoder": "embeddings",
    "PassageStore": "passages",
    "QueryEncoder": "embeddings",
    "Retrieved": "retriever",
    "Retriever": "retriever",
    "SparseIndex": "sparse_index",
    "TextEncoder": "embeddings",
    "build_index": "index_building",
    "encode": "embeddings",
    "open_retriever": "retriever",
    "open_sparse_retriever": "retriever",
    "sentence_spans": "sentences",
    "split_all": "sentences",
    "split_document": "passages",
    "split_sentences": "sentences",
}

__getattr__ = lazy_exports(__name__, _HOMES)
