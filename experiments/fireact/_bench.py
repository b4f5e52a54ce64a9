"""What the tables share: questions of some compositions, and a search that agents use for them.

A composition is what a question of worldqa puts together: 'bridge_currency' asks for the currency of the country that a
city lies in. Whoever is taught some compositions is asked others.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field

from october.agents import (
    CachedTool,
    NoAnswer,
    PassageSearch,
    PassageTexts,
    RandomAnswer,
    SearchTool,
    Tool,
    ToolBox,
    ToolLimits,
)
from october.agents.fireact import f1_for, reward_for, with_options
from october.agents.react import Reward
from october.data.corpora import SomeDocuments
from october.data.documents import CorpusHandle, Question, QuestionHandle
from october.errors import OctoberError
from october.language_models import EncoderHandle
from october.retrieval import Retriever, open_retriever, open_sparse_retriever

Split = Literal["dev", "test"]  # of the questions that are asked; students learn from the training split
Folds = Annotated[list[list[str]], Field(min_length=1)]  # of compositions


@dataclass(frozen=True)
class Search:
    """How agents search.

    Attributes:
        encoder: Of passages and queries; None searches by words (BM25).
        snippets: That one search gives; the paper gives one.
        sentences: Whether a snippet is one sentence, and not a whole passage.
        depth: Passages whose sentences compete for the first snippet.
        characters: Of what the agent reads of one search.
        words: In a passage; None where the corpus comes in passages.
        num_documents: Of the corpus only so many are searched, those with the answers among them, and with those to the
            first questions that are taught (for tests); None takes all.
    """

    encoder: EncoderHandle | None = None
    snippets: int = 1
    sentences: bool = False
    depth: int = 1
    characters: int = 600
    words: int | None = 100
    num_documents: int | None = None


@dataclass(frozen=True)
class Noise:
    """A search that fails.

    Attributes:
        kind: What comes in place of an answer: nothing, or a passage about something else.
        probability: Of a search's failing.
        seed: Of the chances.
    """

    kind: str = "none"
    probability: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("none", "random"):
            raise OctoberError(f"noise.kind={self.kind}: allowed are none, random")


def composition(question: Question) -> str:
    """Return what a question puts together; its kind where its id tells no more."""
    name, found, _ = question.id.partition(":")
    return name if found else question.kind


def in_turns(questions: Sequence[Question]) -> list[Question]:
    """Return questions such that their compositions take turns, each in its own order."""
    earlier: dict[str, int] = {}
    turns = []
    for question in questions:
        turns.append(earlier.get(composition(question), 0))
        earlier[composition(question)] = turns[-1] + 1
    return [question for _, question in sorted(zip(turns, questions, strict=True), key=lambda pair: pair[0])]


class Bench:
    """Questions, and the tools for them; everything is loaded when it is first asked for.

    Args:
        data: The questions.
        corpus: What is searched.
        search: How.
        compositions: Of the test questions; None takes all kinds.
        num_test: Test questions, the first of these compositions; None takes all.
        split: Where these come from; dev where settings are chosen by them.
    """

    def __init__(
        self,
        data: QuestionHandle,
        corpus: CorpusHandle,
        search: Search,
        compositions: Sequence[str] | None,
        num_test: int | None,
        split: Split = "test",
    ) -> None:
        self.data = data
        self.split = split
        self.search = search
        self.compositions = compositions
        self.num_test = num_test
        self._corpus = corpus

    @cached_property
    def questions(self) -> list[Question]:
        """The questions that are asked.

        Raises:
            OctoberError: There are none.
        """
        chosen = self.of(self.split, self.compositions)[: self.num_test]
        if not chosen:
            raise OctoberError(f"{self.data.name}: no {self.split} questions of {self.compositions}")
        return chosen

    def check(self) -> None:
        """Raise `OctoberError` if there is nothing to ask; reads the questions, and builds no index."""
        len(self.questions)  # reads them, or raises; an assert would not under -O

    @cached_property
    def evaluated(self) -> list[Question]:
        """Of what nothing may be taught: the test questions, and others that the same student is asked."""
        return self.questions

    def of(self, split: str, compositions: Iterable[str] | None) -> list[Question]:
        """Return a split's questions of some compositions, in the set's order.

        Raises:
            OctoberError: A composition that the set does not have; of rare ones a split may hold none.
        """
        questions = [with_options(question) for question in self.data.load(split)]
        if compositions is None:
            return questions
        wanted = list(compositions)
        missing = {*wanted} - {composition(question) for question in questions}
        known = {composition(question) for question in self.data.load("train")} if missing else missing
        if missing - known:
            name, there = min(missing - known), ", ".join(sorted(known))
            raise OctoberError(f"compositions={name}: {self.data.name} has {there}")
        return [question for question in questions if composition(question) in wanted]

    @property
    def reward(self) -> Reward:
        """What makes an answer right, as is usual for these questions."""
        return reward_for(self.data.name)

    @property
    def f1(self) -> Reward | None:
        """How near an answer comes; None where it is either right or wrong."""
        return f1_for(self.data.name)

    @cached_property
    def corpus(self) -> CorpusHandle:
        """What is searched: the corpus, or the part of it that was chosen."""
        if self.search.num_documents is None:
            return self._corpus
        others = [question for split in ("train", "dev") for question in self._first(split)]
        wanted = {document for question in (*self.questions, *others) for document in question.gold_documents}
        return SomeDocuments(self._corpus, self.search.num_documents, wanted)

    def _first(self, split: str) -> list[Question]:
        """Return the first questions of each composition, from which there is something to teach and to show."""
        questions = self.data.load(split)
        return in_turns(questions)[: 2 * len({composition(question) for question in questions})]

    @cached_property
    def retriever(self) -> Retriever:
        """What searches the corpus."""
        if self.search.encoder is None:
            return open_sparse_retriever(self.corpus, words=self.search.words)
        return open_retriever(self.corpus, self.search.encoder, words=self.search.words)

    @cached_property
    def _engine(self) -> PassageSearch:
        return PassageSearch(self.retriever, sentences=self.search.sentences, depth=self.search.depth)

    def tools(self, noise: Noise | None = None, *, snippets: int | None = None) -> ToolBox:
        """Return the agent's tools: a search, with noise around it or without.

        Args:
            noise: What fails.
            snippets: That a search gives; by default as many as an agent's.
        """
        k = snippets or self.search.snippets
        tool: Tool = CachedTool(SearchTool(self._engine, k=k))
        if noise is not None and noise.kind == "none":
            tool = NoAnswer(tool, noise.probability, noise.seed)
        elif noise is not None:
            texts = PassageTexts(self.retriever.store, sentences=self.search.sentences)
            tool = RandomAnswer(tool, noise.probability, texts, noise.seed, k=k)
        return ToolBox([tool], ToolLimits(characters=self.search.characters))

    def identity(self, noise: Noise | None = None) -> list[Any]:
        """Return what decides the tools' answers."""
        encoder = self.search.encoder and self.search.encoder.fingerprint()
        told = None if noise is None else asdict(noise)
        if told is not None and noise is not None and noise.kind == "random":
            told["form"] = "as a search's"  # older ones gave one passage, whatever a search gives
        return [self.corpus.fingerprint(), {**asdict(self.search), "encoder": encoder}, told]

    def fingerprints(self) -> dict[str, str]:
        """Return what identifies questions and corpus."""
        return {self.data.name: self.data.fingerprint(), f"corpus {self.corpus.name}": self.corpus.fingerprint()}
