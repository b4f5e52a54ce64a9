"""What worldqa promises, counted on all of it: size, shares, splits, answers, wordings; facts that one can look up."""

from collections import Counter, defaultdict
from itertools import combinations

import pytest

from october.data import Document, Question
from october.data.worldqa import evidence_of, statistics
from october.data.worldqa.building import WORDS_PER_PASSAGE, Built, build
from october.data.worldqa.facts import wordings
from october.data.worldqa.names import folded, split_of
from october.files import content_hash
from october.retrieval.sentences import split_sentences

SPLITS = ("train", "dev", "test")


def pieces_of(text: str) -> list[str]:
    words = text.split()
    return [" ".join(words[at : at + WORDS_PER_PASSAGE]) for at in range(0, len(words), WORDS_PER_PASSAGE)]


def asking(questions: list[Question], text: str) -> Question:
    (found,) = [question for question in questions if question.id == text]
    return found


def test_there_are_enough_of_every_sort(questions: list[Question]) -> None:
    total, kinds = len(questions), Counter(question.kind for question in questions)
    assert total >= 20_000
    assert max(kinds.values()) <= total / 4
    assert {"birth_year", "country", "bridge", "comparison", "yes_no", "nationality", "creator"} <= set(kinds)
    evidence = Counter(evidence_of(question) for question in questions)
    assert evidence["prose"] >= 0.3 * total
    splits = Counter(question.split for question in questions)
    assert splits["test"] > 0.15 * total
    assert splits["dev"] > 0.07 * total


def test_every_kind_is_in_every_split(questions: list[Question]) -> None:
    splits = defaultdict(set)
    for question in questions:
        splits[question.kind].add(question.split)
    rare = {kind for kind, seen in splits.items() if seen != set(SPLITS)}
    assert rare <= {"birthplace", "agent", "founded", "nobel_prize", "constellation", "native", "language_group"}


def test_no_document_answers_in_two_splits(questions: list[Question]) -> None:
    seen = defaultdict(set)
    for question in questions:
        seen[question.split].update(question.gold_documents)
    for one, other in combinations(SPLITS, 2):
        assert not seen[one] & seen[other]


def test_no_entity_is_in_two_splits(questions: list[Question], documents: dict[str, Document]) -> None:
    """Nor is one that has an article and a paragraph of its own."""
    seen = defaultdict(set)
    for question in questions:
        for gold in question.gold_documents:
            if not gold.startswith("city:"):  # those known by another name have that name's split
                seen[question.split].add(folded(documents[gold].title))
    for one, other in combinations(SPLITS, 2):
        assert not seen[one] & seen[other]


def test_gold_sentences_stand_word_for_word_in_one_passage(
    questions: list[Question], documents: dict[str, Document]
) -> None:
    for question in questions:
        texts = [documents[gold].text for gold in question.gold_documents]
        for sentence in question.gold_sentences:
            assert any(sentence in piece for text in texts for piece in pieces_of(text))


def test_a_splitter_of_sentences_finds_nearly_all_gold_sentences(
    questions: list[Question], documents: dict[str, Document]
) -> None:
    """Those it does not find are cut otherwise by what stands before them in a passage."""
    wanted = {(gold, sentence) for question in questions[:4000] for gold, sentence in paired(question, documents)}
    split = {gold: set(split_sentences(documents[gold].text)) for gold in {gold for gold, _ in wanted}}
    found = sum(sentence in split[gold] for gold, sentence in wanted)
    assert found > 0.99 * len(wanted)


def paired(question: Question, documents: dict[str, Document]) -> list[tuple[str, str]]:
    golds = question.gold_documents
    return [(gold, text) for text in question.gold_sentences for gold in golds if text in documents[gold].text]


def test_answers_stand_in_the_gold_sentences(questions: list[Question]) -> None:
    for question in questions:
        assert question.answers
        assert all(question.answers)
        if question.kind not in ("comparison", "yes_no"):
            last = question.gold_sentences[-1].lower()
            assert any(answer.lower() in last for answer in question.answers), question


def test_questions_differ_and_have_no_open_slots(questions: list[Question]) -> None:
    assert len({question.text.casefold() for question in questions}) == len(questions)
    assert len({question.id for question in questions}) == len(questions)
    assert not [question.text for question in questions if "{" in question.text or "  " in question.text]


def test_no_question_names_its_answer(questions: list[Question]) -> None:
    for question in questions:
        if question.kind not in ("comparison", "yes_no"):
            words = f" {question.text.lower().strip('?.')} "
            assert not any(f" {answer.lower()} " in words for answer in question.answers)


def test_yes_and_no_are_about_as_frequent(questions: list[Question]) -> None:
    for split in SPLITS:
        answers = Counter(q.answers for q in questions if q.kind == "yes_no" and q.split == split)
        assert set(answers) == {("yes",), ("no",)}
        assert 0.4 < answers["yes",] / answers.total() < 0.6


def test_the_first_named_wins_about_half_of_the_comparisons(questions: list[Question]) -> None:
    compared = [question for question in questions if question.kind == "comparison"]
    first = [q.text.find(q.answers[0]) for q in compared]
    loser = sum(at > len(q.text) / 2 for at, q in zip(first, compared, strict=True))
    assert 0.4 < loser / len(compared) < 0.6


def test_the_same_seed_makes_the_same_questions(questions: list[Question]) -> None:
    """The hash changes with the version or on purpose; on every other day it must not."""
    assert content_hash([vars(question) for question in questions]) == "a1f431c88d1d2284"


def test_another_seed_divides_otherwise() -> None:
    names = [f"entity {number}" for number in range(2000)]
    for seed in (0, 1):
        shares = Counter(split_of(name, seed) for name in names)
        assert shares["train"] == pytest.approx(1400, abs=60)
        assert shares["dev"] == pytest.approx(200, abs=40)
    assert [split_of(name, 0) for name in names] != [split_of(name, 1) for name in names]


def test_no_wording_is_shared_between_splits() -> None:
    for file in ("questions", "country", "city"):
        for kind, of_split in wordings(file).items():
            assert set(of_split) == set(SPLITS), kind
            lists = [set(of_split[split]) for split in SPLITS]
            assert all(lists)
            assert not any(one & other for one, other in combinations(lists, 2)), kind


def test_distractors_are_counted(questions: list[Question], built: Built) -> None:
    counted = statistics(questions, built.documents)
    assert sum(sum(count.values()) for count in counted["kinds"].values()) == len(questions)
    assert counted["same_kind"] > 0.95 * len(questions)
    assert counted["same_name"] > 500


def test_the_corpus_has_every_lead_country_and_city(built: Built, documents: dict[str, Document]) -> None:
    sorts = Counter(document.id.split(":")[0] for document in built.documents)
    assert sorts == {"lead": 10_033, "country": 252, "city": 5_000}
    assert len(documents) == len(built.documents)
    passages = sum(-(-len(document.text.split()) // WORDS_PER_PASSAGE) for document in built.documents)
    assert passages <= 20_000
    assert all(len(d.text.split()) <= WORDS_PER_PASSAGE for d in built.documents if not d.id.startswith("lead:"))


@pytest.mark.parametrize(
    ("id", "answer"),
    [
        ("birth_year:lead:Johann Sebastian Bach", "1685"),
        ("death_year:lead:Aristotle", "322 BC"),
        ("nationality:lead:Anton Chekhov", "Russian"),
        ("creator:lead:Anna Karenina", "Leo Tolstoy"),
        ("work_year:lead:Toy Story", "1995"),
        ("atomic_number:lead:Holmium", "67"),
        ("capital:country:NO", "Oslo"),
        ("currency:country:JP", "Yen"),
        ("continent:country:BR", "South America"),
        ("family:lead:Eruca sativa", "Brassicaceae"),
    ],
)
def test_facts_that_one_can_look_up(questions: list[Question], id: str, answer: str) -> None:
    assert asking(questions, id).answers[0] == answer


def test_what_is_disputed_is_not_asked(questions: list[Question]) -> None:
    ids = {question.id for question in questions}
    for code in ("IL", "PS", "ZA", "BO"):
        assert f"capital:country:{code}" not in ids
    assert not any(gold in ("country:CS", "country:AN") for q in questions for gold in q.gold_documents)
    assert not any("city:2643743" in q.gold_documents for q in questions)  # London: Ontario has one too


def test_it_is_built_once() -> None:
    assert build(0) is build(0)
