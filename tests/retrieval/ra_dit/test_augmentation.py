import pytest

from october.data import Document
from october.errors import OctoberError
from october.retrieval import PassageStore, Retriever, SparseIndex
from october.retrieval.ra_dit import Instance, rendered, retrieved_examples

DOCUMENTS = [
    Document("1", "Rome", "Rome is the capital of Italy.", "x"),
    Document("2", "Paris", "Paris is the capital of France.", "x"),
    Document("3", "Bern", "Bern is a town on the river Aare.", "x"),
]


@pytest.fixture(scope="module")
def retriever(tmp_path_factory):
    folder = tmp_path_factory.mktemp("index")
    store = PassageStore.build(DOCUMENTS, folder / "passages", source="test", progress=False)
    return Retriever(store, SparseIndex.build(store, folder / "index", progress=False))


def test_each_passage_makes_an_instance_of_its_own(retriever):
    examples = [rendered("open_qa", "capital of Italy?", "Rome"), rendered("open_qa", "capital of France?", "Paris")]
    augmented = retrieved_examples(examples, retriever, k=2)
    assert augmented.instances == [
        Instance(examples[0], "Rome Rome is the capital of Italy."),
        Instance(examples[0], "Paris Paris is the capital of France."),
        Instance(examples[1], "Paris Paris is the capital of France."),
        Instance(examples[1], "Rome Rome is the capital of Italy."),
    ]
    assert augmented[1:] == (2, 0, 0)
    first = augmented.instances[0]
    assert first.prompt == ("Background: Rome Rome is the capital of Italy.\n\nQuestion: capital of Italy?\nAnswer:")
    assert first.learned == " Rome"


def test_what_has_its_own_background_or_no_query_is_not_searched_for():
    class Silent:
        def search(self, queries, k):
            raise AssertionError("asked")

    read = rendered("reading_comprehension", "capital?", "Rome", background="It is Rome.")
    text = rendered("text", answer="Once upon a time.")
    augmented = retrieved_examples([read, text], Silent())
    assert augmented.instances == [Instance(read), Instance(text)]
    assert augmented.instances[0].prompt.startswith("Background: It is Rome.\n\n")
    assert augmented.instances[1].prompt == ""
    assert augmented.instances[1].learned == "Once upon a time."
    assert augmented[1:] == (0, 0, 0)


def test_examples_without_passages_are_kept_without_background_and_counted(retriever):
    examples = [rendered("open_qa", "xyzzy?", "no"), rendered("open_qa", "capital?", "Rome")]
    augmented = retrieved_examples(examples, retriever, k=3)
    assert augmented.instances[0] == Instance(examples[0])
    assert augmented.instances[0].prompt == "Question: xyzzy?\nAnswer:"
    assert len(augmented.instances) == 3
    assert augmented[1:] == (2, 1, 1)


def test_more_passages_than_there_are_give_all_there_are(retriever):
    augmented = retrieved_examples([rendered("open_qa", "capital town river?", "Bern")], retriever, k=10)
    assert len(augmented.instances) == 3
    assert augmented.num_fewer == 1


def test_no_passage_at_all_is_no_retrieval(retriever):
    with pytest.raises(OctoberError, match="k=0: must be at least 1"):
        retrieved_examples([rendered("open_qa", "capital?", "Rome")], retriever, k=0)
