"""Instruction sets that are made of one question set and its corpus: nothing has to be fetched.

| set | example | in the paper |
|---|---|---|
| open_qa | a question | open-domain questions |
| reading_comprehension | a question behind its passages, or behind another one's: "I don't know" | SQuAD v2 |
| dialogue | two questions about one document | OASST-1 |
| summarisation | a passage and its gold sentence | CNN/DailyMail |
| multiple_choice | a question with four answers | CommonsenseQA, MathQA |
| text | a passage, all of it learned | unsupervised text |
"""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from ...data.documents import CorpusHandle, Document, Question, QuestionHandle
from ...errors import OctoberError
from ..passages import WORDS_PER_PASSAGE, Passage, split_document
from ..sentences import split_sentences
from .instructions import PAPER_CAP, MixtureHandle
from .prompts import Example
from .templates import UNANSWERABLE, random_markers, rendered

SETS = ("open_qa", "reading_comprehension", "dialogue", "summarisation", "multiple_choice", "text")
SHARES = {"text": 0.1, "dialogue": 0.05}  # the paper's, of unsupervised text and of dialogues
SPLITS = ("train", "dev")
_WITHOUT_ONE_SUBJECT = ("comparison", "yes_no", "bridge")
_NUM_OPTIONS = 4
_SUMMARISED_WORDS = 60  # a shorter passage is its own summary
_SUMMARY_WORDS = 6  # a shorter sentence is a heading: 'Aaron Copland (1900-1990).'
_TRIES = 20


class QuestionMixture(MixtureHandle):
    """A mixture of tasks that are made of the questions of one split and of the passages that answer them.

    Args:
        questions: With gold documents and gold sentences.
        corpus: That holds the gold documents.
        sets: Of `SETS`, which are made.
        shares: As of `MixtureHandle`.
        cap: As of `MixtureHandle`.
        num_examples: As of `MixtureHandle`.
        distracting_share: Of the reading comprehension, the part whose passages do not hold the answer; a third in
            SQuAD v2.
        split: 'train', or 'dev' to choose a checkpoint by; never 'test'.
        words: In a passage; None keeps each document whole.
        seed: As of `MixtureHandle`.

    Raises:
        OctoberError: An argument that is not allowed.
    """

    def __init__(
        self,
        questions: QuestionHandle,
        corpus: CorpusHandle,
        sets: Sequence[str] = SETS,
        shares: Mapping[str, float] = SHARES,
        cap: int = PAPER_CAP,
        num_examples: int | None = None,
        distracting_share: float = 1 / 3,
        split: str = "train",
        words: int | None = WORDS_PER_PASSAGE,
        seed: int = 0,
    ) -> None:
        super().__init__({name: share for name, share in shares.items() if name in sets}, cap, num_examples, seed)
        unknown = [name for name in [*sets, *shares] if name not in SETS]
        if unknown or not sets:
            raise OctoberError(f"sets={list(sets)}: allowed are {', '.join(SETS)}, at least one of them")
        if split not in SPLITS:
            raise OctoberError(f"split={split}: allowed are {', '.join(SPLITS)}; test questions are never learned from")
        if not 0 <= distracting_share <= 1:
            raise OctoberError(f"distracting_share={distracting_share}: must be from 0 to 1")
        self.name = questions.name
        self.questions, self.corpus, self.chosen = questions, corpus, tuple(sets)
        self.distracting_share, self.split, self.words = distracting_share, split, words

    def check(self) -> None:
        """Raise `OctoberError` if a piece of the questions or of the corpus is missing."""
        self.questions.check()
        self.corpus.check()

    def sets(self) -> dict[str, list[Example]]:
        """Return the examples of each chosen set.

        Raises:
            OctoberError: Questions or corpus cannot be read, or a question has no gold document in the corpus.
        """
        questions = self.questions.load(self.split)
        passages = gold_passages(questions, self.corpus, self.words)
        task = self.questions.name
        makers = {
            "open_qa": lambda: open_questions(questions, task, self.seed),
            "reading_comprehension": lambda: reading_comprehension(
                questions, passages, task, self.seed, self.distracting_share
            ),
            "dialogue": lambda: dialogues(questions, task, self.seed),
            "summarisation": lambda: summaries(questions, passages, task, self.seed),
            "multiple_choice": lambda: multiple_choices(questions, task, self.seed),
            "text": lambda: texts(passages, task),
        }
        return {name: makers[name]() for name in self.chosen}

    def sources(self) -> dict[str, Any]:
        """Return the fingerprints of questions and corpus, and what is made of them."""
        return {
            "questions": self.questions.fingerprint(),
            "corpus": self.corpus.fingerprint(),
            "sets": list(self.chosen),
            "distracting_share": self.distracting_share,
            "split": self.split,
            "words": self.words,
        }


def gold_passages(
    questions: Sequence[Question], corpus: CorpusHandle, words: int | None = WORDS_PER_PASSAGE
) -> dict[str, list[Passage]]:
    """Return for each question, by its id, the passages of its gold documents that hold a gold sentence.

    A gold document of which no sentence is known gives its first passage.

    Raises:
        OctoberError: A question has no gold document, or the corpus does not hold it.
    """
    wanted = {document for question in questions for document in question.gold_documents}
    found = {document.id: split_document(document, words) for document in _of(corpus, wanted)}
    return {question.id: _gold(question, found) for question in questions}


def _of(corpus: CorpusHandle, wanted: set[str]) -> list[Document]:
    return [document for document in corpus.documents() if document.id in wanted]


def _gold(question: Question, documents: Mapping[str, Sequence[Passage]]) -> list[Passage]:
    if not question.gold_documents:
        raise OctoberError(f"question {question.id}: has no gold document")
    chosen = []
    for document in question.gold_documents:
        if document not in documents:
            raise OctoberError(f"question {question.id}: its gold document {document} is not in the corpus")
        parts = documents[document]
        holding = (part for part in parts if any(sentence in part.text for sentence in question.gold_sentences))
        chosen.append(next(holding, parts[0]))
    return chosen


def open_questions(questions: Sequence[Question], task: str, seed: int) -> list[Example]:
    """Return each question as one that is searched for."""
    return [_asked("open_qa", question, task, seed) for question in questions]


def reading_comprehension(
    questions: Sequence[Question],
    passages: Mapping[str, Sequence[Passage]],
    task: str,
    seed: int,
    distracting_share: float = 1 / 3,
) -> list[Example]:
    """Return each question behind its gold passages, or behind those of another one of its kind.

    Args:
        questions: What is asked.
        passages: Gold ones, by question id.
        task: Name of the set.
        seed: Of the choice of questions and of their distractors.
        distracting_share: Of the questions whose passages do not hold the answer, and whose answer is that.
    """
    by_kind: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        by_kind[question.kind].append(question)
    examples = []
    for question in questions:
        generator = _generator(seed, "reading", question)
        if generator.random() >= distracting_share:
            examples.append(_read(question, passages[question.id], question.answers, task, seed))
        elif distractor := _distractor(question, by_kind[question.kind], passages, generator):
            examples.append(_read(question, distractor, (UNANSWERABLE,), task, seed))
    return examples


def dialogues(questions: Sequence[Question], task: str, seed: int) -> list[Example]:
    """Return one dialogue for each document about which two things are asked; its last turn is learned."""
    about: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        if len(question.gold_documents) == 1 and question.kind not in _WITHOUT_ONE_SUBJECT:
            about[question.gold_documents[0]].append(question)
    examples = []
    for asked in about.values():
        if len(asked) > 1:
            first, second = _generator(seed, "dialogue", asked[0]).sample(asked, 2)
            turns = [(first.text, first.answers[0])]
            examples.append(_asked("dialogue", second, task, seed, turns=turns))
    return examples


def summaries(
    questions: Sequence[Question], passages: Mapping[str, Sequence[Passage]], task: str, seed: int
) -> list[Example]:
    """Return each long gold passage once, with a gold sentence of it as its summary, else with its first sentence."""
    examples: dict[str, Example] = {}
    for question in questions:
        for passage in passages[question.id]:
            if passage.id in examples or len(passage.text.split()) < _SUMMARISED_WORDS:
                continue
            if summary := _summary(question, passage):
                markers = random_markers(seed, "summarisation", passage.id)
                examples[passage.id] = rendered(
                    "summarisation", answer=summary, task=task, markers=markers, background=passage.titled_text
                )
    return list(examples.values())


def _summary(question: Question, passage: Passage) -> str | None:
    golden = [sentence for sentence in question.gold_sentences if sentence in passage.text]
    candidates = chain(golden, split_sentences(passage.text))
    return next((sentence for sentence in candidates if len(sentence.split()) >= _SUMMARY_WORDS), None)


def multiple_choices(questions: Sequence[Question], task: str, seed: int) -> list[Example]:
    """Return the questions of kinds with enough answers, each with its own and three other answers of its kind."""
    answers: dict[str, list[str]] = defaultdict(list)
    for question in questions:
        if question.kind not in _WITHOUT_ONE_SUBJECT:
            answers[question.kind].append(question.answers[0])
    pools = {kind: sorted(set(some)) for kind, some in answers.items()}
    examples = []
    for question in questions:
        generator = _generator(seed, "options", question)
        others = [other for other in pools.get(question.kind, []) if other not in question.answers]
        if len(others) >= _NUM_OPTIONS - 1:
            options = [question.answers[0], *generator.sample(others, _NUM_OPTIONS - 1)]
            generator.shuffle(options)
            examples.append(_asked("multiple_choice", question, task, seed, options=options))
    return examples


def texts(passages: Mapping[str, Sequence[Passage]], task: str) -> list[Example]:
    """Return each gold passage once, as text of which all is learned."""
    once = {passage.id: passage.text for some in passages.values() for passage in some}
    return [rendered("text", answer=text, task=task) for text in once.values()]


def _asked(family: str, question: Question, task: str, seed: int, **fields: Any) -> Example:
    markers = random_markers(seed, family, question.id)
    aliases = () if "options" in fields else question.answers[1:]
    return rendered(family, question.text, question.answers[0], task=task, markers=markers, aliases=aliases, **fields)


def _read(question: Question, passages: Sequence[Passage], answers: Sequence[str], task: str, seed: int) -> Example:
    return rendered(
        "reading_comprehension",
        question.text,
        answers[0],
        task=task,
        markers=random_markers(seed, "reading_comprehension", question.id),
        background="\n".join(passage.titled_text for passage in passages),
        aliases=answers[1:],
    )


def _distractor(
    question: Question,
    alike: Sequence[Question],
    passages: Mapping[str, Sequence[Passage]],
    generator: random.Random,
) -> Sequence[Passage] | None:
    """Return the passages of another question of the kind, about other documents and without the answer, if found."""
    for _ in range(_TRIES):
        other = generator.choice(alike)
        text = "\n".join(passage.titled_text for passage in passages[other.id]).casefold()
        told = question.kind != "yes_no" and any(answer.casefold() in text for answer in question.answers)
        if not told and not set(other.gold_documents) & set(question.gold_documents):
            return passages[other.id]
    return None


def _generator(seed: int, purpose: str, question: Question) -> random.Random:
    return random.Random(f"{seed}\x1f{purpose}\x1f{question.id}")
