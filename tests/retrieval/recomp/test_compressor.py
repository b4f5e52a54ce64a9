import pytest

from october.errors import OctoberError
from october.retrieval import Passage
from october.retrieval.recomp import compression_rate, document_text, joined_documents, num_tokens, sentence_candidates
from october.retrieval.recomp.baselines import NoDocuments


def test_what_cannot_be_compressed_is_named_in_one_line(passages):
    compressor = NoDocuments()
    assert compressor.compress_many([], []) == []
    with pytest.raises(OctoberError, match="query 1 is empty"):
        compressor.compress_many(["Where is Rome?", " \n"], [passages, passages])
    with pytest.raises(OctoberError, match=r"query 0 \('Where is Rome\?'\) has no documents"):
        compressor.compress("Where is Rome?", [])
    with pytest.raises(OctoberError, match="document 'x#0' is empty"):
        compressor.compress("Where is Rome?", [passages[0], Passage("x#0", "X", " ", "test")])
    with pytest.raises(OctoberError, match="1 queries and 2 lists of documents"):
        compressor.compress_many(["Where is Rome?"], [passages, passages])
    with pytest.raises(OctoberError, match="a list of texts is needed"):
        compressor.compress_many("Where?", [passages])


def test_the_compression_rate_counts_the_tokens_of_both_sides(llama, passages):
    tokenizer = llama.tokenizer
    summaries = ["Rome is old.", ""]
    documents = [passages[:2], passages[2:]]

    def tokens(text):
        return len(tokenizer(text)["input_ids"]) - 1  # without the start token

    whole = sum(tokens(f"{passage.title}\n{passage.text}") for passage in passages)
    assert compression_rate(tokenizer, summaries, documents) == pytest.approx(tokens("Rome is old.") / whole)
    assert num_tokens(tokenizer, ["", "Rome is old."]) == [0, tokens("Rome is old.")]
    with pytest.raises(OctoberError, match="documents are empty"):
        compression_rate(tokenizer, [""], [[]])


def test_documents_are_joined_with_the_best_one_last(passages):
    assert document_text(Passage("x#0", "", "No title.", "test")) == "No title."
    joined = joined_documents(passages)
    assert joined.startswith("Rome\nRome is the capital of Italy. The city")
    assert joined.endswith("Two million people live there.")
    down = joined_documents(passages[:2], ascending=False, separator=" ")
    assert down == f"Rome\n{passages[0].text} Tiber\n{passages[1].text}"


def test_candidates_are_sentences_with_titles_each_once(passages):
    found = sentence_candidates(passages)
    assert [candidate.text for candidate in found] == [
        "Rome is the capital of Italy.",
        "Rome: It lies on the Tiber.",
        "Rome: Two million people live there.",
        "Tiber: The Tiber is 405 km long.",
        "Tiber: It flows through Rome.",
        "Tiber: It ends in the Tyrrhenian Sea.",
        "Rome: The city was founded in 753 BC, as legend has it.",
    ]
    assert [(candidate.document, candidate.place) for candidate in found][-1] == (2, 1)
    plain = [candidate.text for candidate in sentence_candidates(passages, with_titles=False)]
    assert plain[1] == "It lies on the Tiber."


def test_one_enormous_sentence_is_cut_and_nothing_is_lost():
    text = "word " * 2000
    texts = [candidate.text for candidate in sentence_candidates([Passage("x#0", "", text, "test")], with_titles=False)]
    assert sum(text.count("word") for text in texts) <= 2000
    assert max(map(len, texts)) < 10_000
