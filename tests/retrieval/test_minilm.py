"""The embedded encoder end to end, on texts of our own."""

from october.data.documents import Document
from october.language_models import EncoderHandle
from october.retrieval import EmbeddingCache, open_retriever

TEXTS = {
    "Mona Lisa": "A portrait painted by Leonardo da Vinci in the early 16th century.",
    "Seine": "A river that flows through Paris to the sea.",
    "Photosynthesis": "How plants turn light into sugar.",
    "Bach": "A composer and organist of the late baroque.",
}


class Facts:
    name = "facts"

    def fingerprint(self):
        return "facts"

    def documents(self):
        return (Document(title, title, text, "made up") for title, text in TEXTS.items())


def test_it_finds_the_passage_that_answers(tmp_path):
    handle = EncoderHandle("minilm", embedded="minilm", max_sequence_length=256, device="cpu")
    retriever = open_retriever(Facts(), handle, cache_root=tmp_path)
    queries = ["Who painted the Mona Lisa?", "Which river crosses Paris?", "How do leaves make food?"]
    best = [found[0].passage.title for found in retriever.search(queries, 2)]
    assert best == ["Mona Lisa", "Seine", "Photosynthesis"]
    assert len(EmbeddingCache.of(handle, tmp_path / "embeddings")) == 4
