"""Long documents of Wikipedia's vital articles."""

import json

from october.data import verified, wikipedia_documents, wikipedia_documents_fingerprint
from october.data.people import PACKAGE, SUMMARIES


def test_every_article_stands_in_one_document_whole_and_a_tenth_of_the_documents_is_held_out():
    training, held_out = wikipedia_documents()
    articles = json.loads(verified(PACKAGE, SUMMARIES).read_bytes()).values()
    text = "".join(training + held_out)
    assert len(text) == sum(len(a["title"]) + len(a["extract"]) + 3 for a in articles)
    assert all(f"{a['title']}\n{a['extract']}\n\n" in text for a in list(articles)[::500])
    assert len(held_out) == (len(training) + len(held_out)) // 10
    assert not set(training) & set(held_out)


def test_the_fingerprint_is_that_of_the_division_too(monkeypatch):
    from october.data import long_documents

    before = wikipedia_documents_fingerprint()
    training, held_out = wikipedia_documents()
    monkeypatch.setattr(long_documents, "wikipedia_documents", lambda: (training[:-1], (*held_out, training[-1])))
    assert wikipedia_documents_fingerprint() != before
