"""Questions of the offline set and the passages that BM25 finds for them."""

import torch

from october.data.documents import Question
from october.data.worldqa import WorldQA, WorldQACorpus
from october.retrieval import Passage, open_sparse_retriever


def asked(count: int, depth: int) -> tuple[list[Question], list[list[Passage]]]:
    """Return the first questions of the test split, of all kinds, with so many passages for each, best first."""
    questions = WorldQA().load("test")[:count]
    found = open_sparse_retriever(WorldQACorpus()).search([question.text for question in questions], depth)
    return questions, [[hit.passage for hit in hits] for hits in found]


def threads() -> str:
    """Say with how many threads torch runs."""
    return f"torch {torch.__version__}, {torch.get_num_threads()} threads"
