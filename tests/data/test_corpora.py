"""Corpora from folders that have exactly the hub's columns, and WikiText's articles."""

from pathlib import Path

import pytest
from datasets import Dataset
from pyarrow import parquet

from october.data import WikipediaPassages, WikiText
from october.data.corpora import split_articles
from october.errors import OctoberError
from october.retrieval import PassageStore


def overwrite(file: Path, column: str) -> None:
    """Make a column of a Parquet file unreadable."""
    group = parquet.read_metadata(file).row_group(0)
    chunk = next(each for each in map(group.column, range(group.num_columns)) if each.path_in_schema == column)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content = bytearray(file.read_bytes())
    content[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    file.write_bytes(content)


def test_wikipedia_passages_stream_without_their_embeddings(tmp_path: Path) -> None:
    rows = [{"id": str(n), "text": f"text {n}", "title": f"Title {n}", "embeddings": [0.0, 1.0]} for n in range(5)]
    file = tmp_path / "train.parquet"
    Dataset.from_list(rows).to_parquet(file)
    overwrite(file, "embeddings.list.element")  # whoever reads them fails
    corpus = WikipediaPassages(path=str(tmp_path))
    corpus.check()
    documents = list(corpus.documents())
    assert [(d.id, d.title, d.text) for d in documents] == [(str(n), f"Title {n}", f"text {n}") for n in range(5)]
    assert next(corpus.documents()).source == str(tmp_path)


def test_a_passage_without_text_is_named(tmp_path: Path) -> None:
    Dataset.from_list([{"id": "1", "text": " ", "title": "T"}]).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(OctoberError, match=r"^wikipedia_dpr: row 0: no text$"):
        list(WikipediaPassages(path=str(tmp_path)).documents())


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    Dataset.from_list([{"id": "1", "body": "x"}]).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(OctoberError, match=r"has no column text \(has id, body\)"):
        list(WikipediaPassages(path=str(tmp_path)).documents())


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("train.jsonl", ['{"id": "1", "text": "tea", "title": "T"}', '{"id": "2", "text": "café", "title": "T"}']),
        ("train.csv", ["id,text,title", "1,tea,T", "2,café,T"]),
    ],
)
def test_passages_that_are_not_utf_8_are_one_line(tmp_path: Path, name: str, lines: list[str]) -> None:
    (tmp_path / name).write_bytes("\n".join(lines).encode("latin-1"))
    corpus = WikipediaPassages(path=str(tmp_path))
    with pytest.raises(OctoberError, match=r"^wikipedia_dpr: split train of .* cannot be read.*: not UTF-8 \("):
        PassageStore.build(corpus.documents(), tmp_path / "store", source="s", words=None)


LINES = [
    "",
    " = Valkyria Chronicles III = \n",
    "",
    " A game . \n",
    "",
    " = = Gameplay = = \n",
    "",
    " Turns . \n",
    " = x = \n",
    "",
    " = Tower Building = \n",
    "",
    " A tower . \n",
]


def test_articles_begin_at_titles_and_not_at_sections_or_equations() -> None:
    assert list(split_articles(LINES)) == [
        ("Valkyria Chronicles III", "A game . \n\n = = Gameplay = = \n\n Turns . \n = x ="),
        ("Tower Building", "A tower ."),
    ]


def test_wikitext_by_split(tmp_path: Path) -> None:
    Dataset.from_dict({"text": LINES}).to_parquet(tmp_path / "validation.parquet")
    corpus = WikiText(split="validation", path=str(tmp_path))
    assert [document.id for document in corpus.documents()] == ["validation:0", "validation:1"]
    assert corpus.fingerprint().endswith("-validation")
    assert corpus.describe()["split"] == "validation"
    with pytest.raises(OctoberError, match=r"^corpus\.split=dev: allowed are train, validation, test"):
        WikiText(split="dev")
