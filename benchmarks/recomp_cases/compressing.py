"""Compressing five documents a query: all queries at once, against one encoder call for each query or sentence.

All of them split the documents alike and call the same encoder in inference mode; the peers keep nothing between
queries. One call for a query is one forward pass of the query and its sentences, as in the released code; beside it
stands the same call with its texts sorted by length and in the batches that suit the encoder best.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import sentence_transformers
from shared_cases.questions import asked
from shared_cases.threads import threads
from shared_cases.timing import seconds_of

from october.language_models import EncoderHandle
from october.reporting.benchmarks import Case
from october.retrieval import Passage
from october.retrieval.embeddings import AnyEncoder
from october.retrieval.recomp import DualEncoder, ExtractiveCompressor, sentence_candidates

NUM_QUERIES, NUM_DOCUMENTS = 64, 5
BATCH_SIZES = (32, 16, 8, 4)  # the library's own, and smaller ones, which pad less
Documents = Sequence[Sequence[Passage]]


def compressing_cases(divisor: int) -> list[Case]:
    """Return the cases on MiniLM."""
    handle = EncoderHandle(name="minilm", embedded="minilm", max_sequence_length=256)
    questions, documents = asked(NUM_QUERIES // divisor, NUM_DOCUMENTS)
    return cases_of(handle, handle.load(), [question.text for question in questions], documents, "MiniLM")


def cases_of(encoder: AnyEncoder, model: Any, queries: Sequence[str], documents: Documents, what: str) -> list[Case]:
    """Return the cases of one encoder, which is the same network to ours and to the peers."""
    compressor = ExtractiveCompressor(DualEncoder(encoder))
    name = f"compress {len(documents[0])} documents for each of {len(queries)} queries, {what}"
    package = f"sentence-transformers {sentence_transformers.__version__}; {threads()}"

    def case(kind: str, bar: str | None, peer: Callable[[], list[str]], settings: str) -> Case:
        return Case(
            name=f"{name}: against one encoder call for each {kind}",
            ours=lambda: compressor.compress_many(queries, documents),
            peer=peer,
            bar=bar,
            check=check,
            peer_settings=f"{settings}; {package}",
        )

    size = fastest_batch(model, queries[:8], documents[:8])
    whole, sorted_ = (partial(query_by_query, model, queries, documents, batch) for batch in (None, size))
    return [
        case("query", ">=2", whole, "query and sentences in one forward pass"),
        case("query, sorted by length", None, sorted_, f"batches of {size}, the fastest of {BATCH_SIZES}"),
        case("sentence", ">=4", partial(text_by_text, model, queries, documents), "no padding"),
    ]


def query_by_query(model: Any, queries: Sequence[str], documents: Documents, batch_size: int | None) -> list[str]:
    """Return each query's best sentence; a query and its sentences are encoded together, at once without a size."""
    best = []
    for query, retrieved in zip(queries, documents, strict=True):
        texts = [candidate.text for candidate in sentence_candidates(retrieved)]
        vectors = model.encode([query, *texts], batch_size=batch_size or len(texts) + 1, show_progress_bar=False)
        best.append(texts[int((vectors[1:] @ vectors[0]).argmax())])
    return best


def text_by_text(model: Any, queries: Sequence[str], documents: Documents) -> list[str]:
    """Return each query's best sentence; every text is encoded by a call of its own."""
    best = []
    for query, retrieved in zip(queries, documents, strict=True):
        texts = [candidate.text for candidate in sentence_candidates(retrieved)]
        asked_for = model.encode(query, show_progress_bar=False)
        vectors = np.stack([model.encode(text, show_progress_bar=False) for text in texts])
        best.append(texts[int((vectors @ asked_for).argmax())])
    return best


def fastest_batch(model: Any, queries: Sequence[str], documents: Documents) -> int:
    """Return the size of batches with which query by query is fastest, each tried once on a few queries."""
    query_by_query(model, queries, documents, BATCH_SIZES[0])
    seconds = {}
    for size in BATCH_SIZES:
        seconds[size] = seconds_of(partial(query_by_query, model, queries, documents, size))
    return min(seconds, key=seconds.__getitem__)


def check(ours: list[str], theirs: list[str]) -> None:
    """Check that the same sentences were chosen."""
    assert ours == theirs, "other sentences are chosen"
