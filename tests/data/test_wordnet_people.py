"""A hand-made file in WordNet's database format: who is taken, what is refused."""

from pathlib import Path

import pytest

from october.data import WordNetPeople
from october.errors import OctoberError

LINES = {
    "licence": "  1 This software and database is being provided to you, the LICENSEE, by",
    "einstein": "10954498 18 n 02 Einstein 0 Albert_Einstein 0 004 @i 10428004 n 0000 + 02934451 a 0201 "
    "+ 02934451 a 0102 #m 08152657 n 0000 | physicist who formulated the theory of relativity (1879-1955)  ",
    "aristotle": "10820851 18 n 01 Aristotle 0 002 @i 10423589 n 0000 #m 10563403 n 0000 | one of the greatest of the "
    'ancient Athenian philosophers; pupil of Plato (384-322 BC); "a quotation of (12) words"  ',
    "leonardo": "11142099 18 n 04 Leonardo 0 Leonardo_da_Vinci 0 da_Vinci 0 Leo 0 002 @i 10375052 n 0000 @i "
    "10423589 n 0000 | Italian painter and sculptor and engineer (1452?-1519)  ",
    "living": "10900000 18 n 01 Allen 0 001 @i 09947232 n 0000 | United States filmmaker (born in 1935)  ",
    "kind": "10428004 18 n 01 physicist 0 001 @ 10560637 n 0000 | a scientist (1700-1790) trained in physics  ",
    "war": "01250000 04 n 01 War 0 001 @i 00973077 n 0000 | a long one (1618-1648)  ",
}


def folder(tmp_path: Path, *names: str, extra: str = "") -> str:
    text = "\n".join(LINES[name] for name in names) + "\n" + extra
    (tmp_path / "data.noun").write_text(text, encoding="utf-8")
    return str(tmp_path)


def test_people_are_instances_with_a_life(tmp_path: Path) -> None:
    handle = WordNetPeople(folder(tmp_path, *LINES))
    handle.check()
    people = handle.load()
    assert people.names == ["Albert Einstein", "Aristotle", "Leonardo da Vinci"]
    assert people.values.tolist() == [[1879, 1955], [-384, -322], [1452, 1519]]
    assert people.frame["vague"].tolist() == [False, False, True]
    assert people.frame["split_key"].tolist() == ["20th century", "4th century BC", "16th century"]
    assert set(people.frame["source"]) == {"wordnet"}
    assert WordNetPeople(folder(tmp_path, "einstein"), ["death_year"]).load().values.tolist() == [[1955]]


def test_no_folder_no_people_no_wordnet(tmp_path: Path) -> None:
    with pytest.raises(OctoberError, match=r"data\.wordnet_path=.*: holds no data\.noun"):
        WordNetPeople(str(tmp_path)).check()
    with pytest.raises(OctoberError, match="no person with a life span in it"):
        WordNetPeople(folder(tmp_path, "licence", "living", "kind", "war")).load()


@pytest.mark.parametrize(
    "line", ["name,year", "10954498 18 n 02 Einstein 0 | cut (1879-1955)", "1 18 n zz A 0 000 | x"]
)
def test_another_format_is_named_with_its_line(tmp_path: Path, line: str) -> None:
    with pytest.raises(OctoberError, match=r"data\.noun: line 3 is not in WordNet's database format"):
        WordNetPeople(folder(tmp_path, "licence", "einstein", extra=line + "\n")).load()


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "data.noun").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(OctoberError, match="not UTF-8 text"):
        WordNetPeople(str(tmp_path)).load()
