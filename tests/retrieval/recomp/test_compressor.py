from dataclasses import replace

import pytest
from oracle_model import OracleModel

from october.errors import OctoberError
from october.retrieval import Passage
from october.retrieval.recomp import (
    AbstractiveCompressor,
    CausalWriter,
    NoDocuments,
    TopDocuments,
    compression_rate,
    document_text,
    joined_documents,
    sentence_candidates,
    text_tokens,
)
from october.retrieval.sentences import MAX_CHARACTERS


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


@pytest.mark.parametrize("bad", [None, b"bytes", "half \ud800"])
def test_what_is_not_text_is_named_before_anything_reads_it(llama, passages, bad):
    writer = CausalWriter(OracleModel(lambda prompt: "A summary."), llama.tokenizer)
    for compressor in (TopDocuments(5), AbstractiveCompressor(writer)):
        with pytest.raises(OctoberError, match=r"^query 1 is (\w+, not text|not UTF-8)"):
            compressor.compress_many(["Where?", bad], [passages, passages])
        for name in ("title", "text"):
            document = replace(passages[1], **{name: bad})
            with pytest.raises(OctoberError, match=rf"^query 0 \('Where\?'\): document 'b#0': its {name} is"):
                compressor.compress("Where?", [passages[0], document])
    with pytest.raises(OctoberError, match=r"^document 'a#0': its text is"):
        compression_rate(llama.tokenizer, ["Rome."], [[replace(passages[0], text=bad)]])
    with pytest.raises(OctoberError, match=r"^text 0 is"):
        compression_rate(llama.tokenizer, [bad], [passages])
    with pytest.raises(OctoberError, match=r"^text is"):
        text_tokens(llama.tokenizer, bad)


def test_the_compression_rate_counts_the_tokens_of_both_sides(llama, passages):
    tokenizer = llama.tokenizer
    summaries = ["Rome is old.", ""]
    documents = [passages[:2], passages[2:]]

    def tokens(text):
        return len(tokenizer(text)["input_ids"]) - 1  # without the start token

    whole = sum(tokens(f"{passage.title}\n{passage.text}") for passage in passages)
    assert compression_rate(tokenizer, summaries, documents) == pytest.approx(tokens("Rome is old.") / whole)
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
    words = [f"word{number}" for number in range(2000)]
    document = Passage("x#0", "", " ".join(words), "test")
    texts = [candidate.text for candidate in sentence_candidates([document], with_titles=False)]
    assert " ".join(texts).split() == words
    assert max(map(len, texts)) <= MAX_CHARACTERS
