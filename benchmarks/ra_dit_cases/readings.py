"""Questions of the offline set in the paper's template, with the passages that BM25 finds for them."""

import torch

from october.data.worldqa import WorldQA, WorldQACorpus
from october.retrieval import open_sparse_retriever
from october.retrieval.ra_dit import Reading, rendered


def readings(count: int, depth: int) -> list[Reading]:
    """Return the first questions of the test split, of all kinds, with so many passages for each, best first."""
    questions = WorldQA().load("test")[:count]
    found = open_sparse_retriever(WorldQACorpus()).search([question.text for question in questions], depth)
    examples = [rendered("open_qa", question.text, question.answers[0], task="worldqa") for question in questions]
    return [
        Reading(example, tuple(hit.passage.titled_text for hit in hits), tuple(hit.score for hit in hits))
        for example, hits in zip(examples, found, strict=True)
    ]


def threads() -> str:
    """Say with how many threads torch runs."""
    return f"torch {torch.__version__}, {torch.get_num_threads()} threads"
