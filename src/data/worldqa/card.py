"""worldqa in the form of `datasets`: counts, a card, and a folder that `datasets.load_dataset` reads."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...files import atomic_path
from ..documents import Document, Question
from .facts import Evidence
from .handle import VERSION, WorldQA, WorldQACorpus, credits
from .names import SPLITS, folded

if TYPE_CHECKING:
    from datasets import DatasetDict

_HEADING = re.compile(r"^[^.]*(?:\.[^.()]*)*\([^()]*\d[^()]*\)\.$")
_CARD = """\
---
pretty_name: worldqa
language: [en]
task_categories: [question-answering]
license: [cc-by-sa-4.0, cc-by-4.0]
size_categories: [10K<n<100K]
configs:
- config_name: questions
  default: true
  data_files:
{files}
- config_name: documents
  data_files:
  - {{split: train, path: documents/train.parquet}}
---
# worldqa, version {version}, seed {seed}

Open-domain questions over real facts and real text: {num_questions:,} questions, {num_documents:,} documents.

Each question has its gold documents and, word for word, its gold sentences: one of each per step of reasoning. Answers
are checked to stand in the gold sentence; of a comparison or a question for yes or no the compared facts stand there.
Splits are by entity. The wordings of the test split, of questions and of the documents on places, are in no other.

| kind | {columns} | all | share |
|---|{rules}---:|---:|
{rows}

| answered from | questions | share |
|---|---:|---:|
{evidence}

{same_name:,} questions ({same_name_share:.0%}) are about an entity whose name heads another document of the corpus too;
{same_kind:,} ({same_kind_share:.0%}) have other documents that state the same kind of fact.

**Where it comes from.** {credits}

**Known limits.** Facts are those of the sources: GeoNames' populations and areas differ from other counts, so none is
asked for where an article's lead speaks of it. Countries with several capitals, with disputed ones or on two continents
have no question about these. Names that several places or articles share have no questions.
"""


def evidence_of(question: Question) -> Evidence:
    """Return what answers a question: a made paragraph ('template'), a heading's years ('description'), or 'prose'."""
    if any(not document.startswith("lead:") for document in question.gold_documents):
        return "template"
    return "description" if any(_HEADING.match(sentence) for sentence in question.gold_sentences) else "prose"


def statistics(questions: Sequence[Question], documents: Sequence[Document]) -> dict[str, Any]:
    """Return counts: by kind and split, by evidence, and of questions that have distractors.

    `same_name` counts the questions about an entity whose name heads another document too; `same_kind` those for
    which another document states a fact of the same kind.
    """
    names = Counter(folded(document.title) for document in documents)
    titles = {document.id: folded(document.title) for document in documents}
    holders: dict[str, set[str]] = {}
    for question in questions:
        holders.setdefault(question.id.split(":")[0], set()).update(question.gold_documents)
    return {
        "kinds": {kind: dict(count) for kind, count in _by_kind(questions).items()},
        "evidence": dict(Counter(map(evidence_of, questions))),
        "same_name": sum(any(names[titles[gold]] > 1 for gold in question.gold_documents) for question in questions),
        "same_kind": sum(
            bool(holders[question.id.split(":")[0]] - set(question.gold_documents)) for question in questions
        ),
    }


def to_datasets(seed: int = 0) -> "DatasetDict":
    """Return the questions as `datasets`, one per split."""
    from datasets import Dataset, DatasetDict

    handle = WorldQA(seed)
    return DatasetDict(
        {split: Dataset.from_list([_row(question) for question in handle.load(split)]) for split in SPLITS}
    )


def export(folder: str | Path, seed: int = 0) -> None:
    """Write questions, documents and card to a folder in the hub's format, whole or not at all.

    `datasets.load_dataset(folder)` reads the questions, `load_dataset(folder, "documents")` the documents.

    Raises:
        OctoberError: A package's file is missing or damaged, or the disk is full.
    """
    from datasets import Dataset

    documents = list(WorldQACorpus(seed).documents())
    with atomic_path(folder) as target:
        for part in ("questions", "documents"):
            (target / part).mkdir(parents=True)
        for split, rows in to_datasets(seed).items():
            rows.to_parquet(target / "questions" / f"{split}.parquet")
        Dataset.from_list([asdict(document) for document in documents]).to_parquet(
            target / "documents" / "train.parquet"
        )
        (target / "README.md").write_text(card(WorldQA(seed).all(), documents, seed), encoding="utf-8")


def card(questions: Sequence[Question], documents: Sequence[Document], seed: int) -> str:
    """Return the card: what it is, counts by kind and split, licences, attribution."""
    counted, total = statistics(questions, documents), len(questions)
    return _CARD.format(
        version=VERSION,
        seed=seed,
        num_questions=total,
        num_documents=len(documents),
        files="\n".join(f"  - {{split: {split}, path: questions/{split}.parquet}}" for split in SPLITS),
        columns=" | ".join(SPLITS),
        rules="---:|" * len(SPLITS),
        rows="\n".join(_kind_row(kind, count, total) for kind, count in counted["kinds"].items()),
        evidence="\n".join(f"| {name} | {n:,} | {n / total:.1%} |" for name, n in sorted(counted["evidence"].items())),
        same_name=counted["same_name"],
        same_name_share=counted["same_name"] / total,
        same_kind=counted["same_kind"],
        same_kind_share=counted["same_kind"] / total,
        credits=credits(),
    )


def _by_kind(questions: Sequence[Question]) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = {}
    for question in questions:
        counts.setdefault(question.kind, Counter())[question.split] += 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1].total(), item[0])))


def _kind_row(kind: str, count: Mapping[str, int], total: int) -> str:
    cells = [f"{count.get(split, 0):,}" for split in SPLITS]
    whole = sum(count.values())
    return " | ".join([f"| {kind}", *cells, f"{whole:,}", f"{whole / total:.1%} |"])


def _row(question: Question) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(question).items()}
