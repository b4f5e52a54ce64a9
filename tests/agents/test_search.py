import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from october.agents import PassageSearch, PassageTexts, RefusedArgument, SearchTool, ToolBox, ToolCall
from october.agents.search import best_sentences
from october.data import Document
from october.errors import OctoberError
from october.retrieval import Passage, open_sparse_retriever

pytestmark = pytest.mark.usefixtures("own_home")

DOCUMENTS = [
    Document("ada", "Ada Lovelace", "Ada Lovelace was a mathematician. She was born in London in 1815.", "test"),
    Document(
        "london", "London", "It lies on the Thames. The capital of England is home to nine million people.", "test"
    ),
    Document("thames", "Thames", "A river in England. It is 346 km long.", "test"),
]


class Corpus:
    name = "three"

    def fingerprint(self):
        return "three"

    def documents(self):
        return iter(DOCUMENTS)


@pytest.fixture
def retriever(tmp_path):
    return open_sparse_retriever(Corpus(), cache_root=tmp_path, progress=False)


class Engine:
    """A hosted search, as a user would plug it in."""

    def __init__(self, *texts):
        self.texts, self.asked = texts, []

    def snippets(self, query, k):
        self.asked.append((query, k))
        return self.texts


def test_one_snippet_as_in_the_paper(retriever):
    tool = SearchTool(PassageSearch(retriever))
    assert tool.run(ToolCall("Thames length")) == "Thames: A river in England. It is 346 km long."
    assert tool.run(ToolCall("Ada mathematician")).startswith("Ada Lovelace was a mathematician.")
    assert tool.run(ToolCall("zebra")) is None


def test_snippets_of_one_sentence(retriever):
    tool = SearchTool(PassageSearch(retriever, sentences=True))
    assert tool.run(ToolCall("Where was Ada Lovelace born?")) == "Ada Lovelace: She was born in London in 1815."
    assert tool.run(ToolCall("How many people live in London")).startswith("London: The capital of England")
    wide = SearchTool(PassageSearch(retriever, sentences=True, depth=3))
    assert wide.run(ToolCall("England river long")).startswith("Thames: ")


def test_the_best_of_several_snippets_stand_in_one_line(retriever):
    text = SearchTool(PassageSearch(retriever), k=2).run(ToolCall("river England"))
    assert text.startswith("(1) Thames: A river")
    assert "(2) London: It lies" in text


WORDS = ["alpha", "beta", "gamma", "delta", "common"]


@given(
    st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=5), min_size=1, max_size=5),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=3),
)
def test_sentences_are_chosen_by_their_rare_words(sentences, query):
    """Three passages of the same sentences in other orders, each with the best by a loop over words."""
    texts = [" ".join(words).capitalize() + "." for words in sentences]
    passages = [Passage(f"p#{turn}", "", " ".join(texts[turn:] + texts[:turn]), "test") for turn in range(3)]
    values = []
    for words in sentences:
        rarity = [(len(sentences), sum(word in other for other in sentences)) for word in set(query) & set(words)]
        values.append(sum(math.log(1 + total / count) for total, count in sorted(rarity)))
    for turn, best in enumerate(best_sentences(" ".join(query), passages)):
        ordered = texts[turn:] + texts[:turn]
        chosen = values[turn:] + values[:turn]
        assert chosen[ordered.index(best)] == pytest.approx(max(values))


def test_an_engine_that_a_user_plugs_in():
    engine = Engine("in the box", "first", "second")
    box = ToolBox([SearchTool(engine), SearchTool(engine, k=3, name="wide")])
    assert box.run("search", ToolCall("  a\nb ")).text == "in the box"
    assert box.run("wide", ToolCall("a")).text == "(1) in the box (2) first (3) second"
    assert engine.asked == [("a b", 1), ("a", 3)]
    assert SearchTool(Engine(" ", "b"), k=2).run(ToolCall("a")) == "b"
    assert SearchTool(Engine()).run(ToolCall("a")) is None


def test_an_empty_query_is_refused(retriever):
    with pytest.raises(RefusedArgument, match="The query is empty"):
        SearchTool(PassageSearch(retriever)).run(ToolCall(" \n"))


def test_settings_are_checked(retriever):
    with pytest.raises(OctoberError, match=r"search\.k=0"):
        SearchTool(Engine(), k=0)
    with pytest.raises(OctoberError, match=r"search\.depth=0"):
        PassageSearch(retriever, depth=0)


def test_passages_are_texts_to_draw_from(retriever):
    texts = PassageTexts(retriever.store)
    assert len(texts) == 3
    assert texts[2] == "Thames: A river in England. It is 346 km long."
