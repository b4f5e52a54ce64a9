import re
from collections import Counter

import pytest
from hydra.utils import instantiate
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from october.catalogue import choices, config_folder
from october.data import CorpusHandle, Document, Question, QuestionHandle
from october.data.worldqa import WorldQA
from october.errors import OctoberError
from october.retrieval.ra_dit import (
    LANGUAGE_MODEL_SETS,
    RETRIEVER_SETS,
    UNANSWERABLE,
    MixtureHandle,
    QuestionMixture,
    mixed_instructions,
    quotas,
    rendered,
    with_background,
)

SIZES = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 400), min_size=1)


def examples(name, count):
    return [rendered("open_qa", f"{name}{number}?", "x", task=name) for number in range(count)]


@given(SIZES, st.integers(1, 300))
def test_every_set_gives_what_it_has_up_to_the_cap(sizes, cap):
    assert quotas(sizes, {}, cap) == {name: min(size, cap) for name, size in sizes.items()}


@given(SIZES.filter(lambda sizes: len(sizes) > 1), st.integers(1, 300), st.floats(0.05, 0.5))
def test_a_share_is_of_the_whole(sizes, cap, share):
    name = next(iter(sizes))
    sizes[name] = 10_000
    counts = quotas(sizes, {name: share}, cap)
    total = sum(counts.values())
    assert abs(counts[name] - share * total) <= 1
    others = {other: min(size, cap) for other, size in sizes.items() if other != name}
    assert {other: count for other, count in counts.items() if other != name} == pytest.approx(others, abs=1)


@given(st.integers(1, 500))
def test_a_number_of_examples_is_met_exactly_in_the_same_proportions(num_examples):
    sizes = {"a": 5000, "b": 900, "c": 700, "text": 600}
    counts = quotas(sizes, {"text": 0.1}, cap=1000, num_examples=num_examples)
    assert sum(counts.values()) == num_examples
    rest = 0.9 * num_examples / 2600
    exact = {"a": 1000 * rest, "b": 900 * rest, "c": 700 * rest, "text": 0.1 * num_examples}
    assert all(abs(counts[name] - part) < 1 for name, part in exact.items())


def test_if_all_have_shares_the_scarcest_decides():
    assert quotas({"a": 100, "b": 30}, {"a": 0.5, "b": 0.5}) == {"a": 30, "b": 30}


def test_shares_of_all_sets_are_parts_of_their_sum():
    assert quotas({"dialogue": 1000}, {"dialogue": 0.05}, num_examples=100) == {"dialogue": 100}
    assert quotas({"dialogue": 1000}, {"dialogue": 0.05}) == {"dialogue": 1000}
    assert quotas({"a": 100, "b": 30}, {"a": 0.2, "b": 0.1}, num_examples=30) == {"a": 20, "b": 10}
    seven = dict.fromkeys("abcdefg", 100)
    assert quotas(seven, dict.fromkeys(seven, 0.1)) == seven


def test_a_mixture_is_shuffled_by_its_seed_and_holds_nothing_twice():
    sets = {"a": examples("a", 50), "b": examples("b", 20), "c": examples("c", 30)}
    drawn = mixed_instructions(sets, {"c": 0.2}, cap=40, seed=3)
    assert Counter(example.task for example in drawn) == {"a": 40, "b": 20, "c": 15}
    assert len({example.query for example in drawn}) == 75
    assert drawn == mixed_instructions(sets, {"c": 0.2}, cap=40, seed=3)
    assert drawn != mixed_instructions(sets, {"c": 0.2}, cap=40, seed=4)
    assert {example.task for example in drawn[:15]} == {"a", "b", "c"}
    fewer = mixed_instructions(sets, {"c": 0.2}, cap=40, num_examples=40, seed=3)
    assert set(fewer) < set(drawn)


def test_mistakes_in_a_mixture_are_named():
    with pytest.raises(OctoberError, match=r"shares.d: no such set \(there are a, b\)"):
        quotas({"a": 1, "b": 1}, {"d": 0.5})
    with pytest.raises(OctoberError, match="set b has no examples"):
        quotas({"a": 1, "b": 0}, {})
    with pytest.raises(OctoberError, match="num_examples=20: a would give 10, and has 5 to give"):
        quotas({"a": 5, "b": 50}, {"a": 0.5}, num_examples=20)
    with pytest.raises(OctoberError, match="num_examples=30: a would give 15, and has 10 to give"):
        quotas({"a": 50, "b": 50}, {}, cap=10, num_examples=30)
    for number in (None, 100):
        with pytest.raises(OctoberError, match=r"'text': 1\.0}: leave nothing for open_qa, which have no share"):
            quotas({"open_qa": 100, "text": 1000}, {"text": 1.0}, num_examples=number)
    for bad, message in [
        ({"shares": {"text": 0.0}}, "shares.text=0.0: must be above 0 and at most 1"),
        ({"shares": {"text": 0.6, "dialogue": 0.5}}, "sum to more than 1"),
        ({"cap": 0}, "cap=0: must be at least 1"),
        ({"num_examples": 0}, "num_examples=0: must be at least 1"),
        ({"sets": ["quiz"]}, r"sets=\['quiz'\]: allowed are open_qa"),
        ({"sets": []}, r"sets=\[\]: allowed are open_qa"),
        ({"split": "test"}, "split=test: allowed are train, dev; test questions are never learned from"),
        ({"distracting_share": 1.5}, "distracting_share=1.5: must be from 0 to 1"),
    ]:
        with pytest.raises(OctoberError, match=message):
            QuestionMixture(Questions(), Corpus(), **bad)


TOWNS = ["Ada", "Bree", "Cork", "Delft", "Esens", "Furth"]
LONG = " ".join(f"This is sentence number {number} of a longer passage." for number in range(9))


class Corpus(CorpusHandle):
    name = "towns"

    def check(self):
        pass

    def documents(self):
        for number, town in enumerate(TOWNS):
            text = f"{town} ({number}). {town} lies on the river R{number} and has {10 + number} mills. {LONG}"
            yield Document(town, town, text, "test")

    def fingerprint(self):
        return "towns"


class Questions(QuestionHandle):
    name = "towns"

    def check(self):
        pass

    def load(self, split):
        assert split == "train"
        asked = []
        for number, town in enumerate(TOWNS):
            sentence = f"{town} lies on the river R{number} and has {10 + number} mills."
            gold = {"split": split, "gold_documents": (town,), "gold_sentences": (sentence,)}
            river, mills = f"Where lies {town}?", f"How many mills has {town}?"
            asked.append(Question(f"r{number}", river, (f"R{number}", "there"), "river", **gold))
            asked.append(Question(f"m{number}", mills, (f"{10 + number}",), "mills", **gold))
        return asked

    def fingerprint(self):
        return "questions"


def made(**more):
    return QuestionMixture(Questions(), Corpus(), words=None, **more)


def test_tasks_made_of_questions():
    sets = made(distracting_share=0.0).sets()
    assert {name: len(some) for name, some in sets.items()} == {
        "open_qa": 12,
        "reading_comprehension": 12,
        "dialogue": 6,
        "summarisation": 6,
        "multiple_choice": 12,
        "text": 6,
    }
    first = sets["open_qa"][0]
    assert (first.task, first.query, first.answer, first.aliases) == ("towns", "Where lies Ada?", "R0", ("there",))
    read = sets["reading_comprehension"][0]
    assert with_background(read, None).startswith("Background: Ada Ada (0). Ada lies on the river R0")
    assert read.answer == "R0"
    for dialogue, town in zip(sets["dialogue"], TOWNS, strict=True):
        assert dialogue.query.count(town) == 2
        assert dialogue.instruction.count(town) == 2
    assert sets["summarisation"][2].answer == "Cork lies on the river R2 and has 12 mills."
    for choice, question in zip(sets["multiple_choice"], Questions().load("train"), strict=True):
        listed = dict(re.findall(r"^([A-D])\. (.*)$", choice.instruction, flags=re.MULTILINE))
        assert len(set(listed.values())) == 4
        assert listed[choice.answer] == question.answers[0]
    assert sets["text"][1].instruction == ""
    assert sets["text"][1].answer.startswith("Bree (1). Bree lies")


def test_distractors_lack_the_answer_and_are_of_other_documents():
    (some,) = made(sets=["reading_comprehension"], distracting_share=1.0).sets().values()
    assert len(some) == 12
    for example, question in zip(some, Questions().load("train"), strict=True):
        assert example.answer == UNANSWERABLE
        assert example.aliases == ()
        assert question.gold_documents[0] not in example.background
        assert not any(answer in example.background for answer in question.answers)


def test_a_question_without_its_document_is_named():
    class Elsewhere(Corpus):
        def documents(self):
            return (document for document in super().documents() if document.id != "Cork")

    with pytest.raises(OctoberError, match="question r2: its gold document Cork is not in the corpus"):
        QuestionMixture(Questions(), Elsewhere()).sets()


def test_a_fingerprint_changes_with_what_is_learned():
    changed = [made(), made(seed=1), made(cap=3), made(sets=["open_qa"]), made(distracting_share=0.5), made(shares={})]
    prints = [handle.fingerprint() for handle in changed]
    assert len(set(prints)) == len(prints)
    assert made().fingerprint() == prints[0]
    assert made().describe()["name"] == "towns"


@pytest.fixture(scope="module")
def drawn():
    return instantiate(OmegaConf.load(config_folder() / "mixture/worldqa.yaml")).load()


def test_worldqa_gives_as_many_examples_as_its_card_says(drawn):
    text = (config_folder() / "mixture/worldqa.yaml").read_text()
    assert f"# Rows:    {len(drawn):,} examples" in text
    shares = {family: count / len(drawn) for family, count in Counter(example.family for example in drawn).items()}
    assert len(shares) == 6
    assert shares["text"] == pytest.approx(0.1, abs=1e-3)
    assert shares["dialogue"] == pytest.approx(0.05, abs=1e-3)
    read = [example for example in drawn if example.family == "reading_comprehension"]
    without = sum(example.answer == UNANSWERABLE for example in read) / len(read)
    assert without == pytest.approx(1 / 3, abs=0.02)


def test_nothing_of_the_test_split_is_in_the_mixture(drawn):
    held_out = {question.text for split in ("dev", "test") for question in WorldQA().load(split)}
    assert not held_out & {example.query for example in drawn}
    sentences = {sentence for question in WorldQA().load("test") for sentence in question.gold_sentences}
    unique = {sentence for sentence in sentences if len(sentence.split()) > 8}
    assert len(unique) > 500
    assert not unique & {sentence for example in drawn for sentence in _sentences(example)}


def _sentences(example):
    return re.split(r"(?<=\.) ", f"{example.background or ''} {example.answer}")


@pytest.mark.parametrize("name", choices("mixture"))
def test_a_config_builds_its_handle(name):
    path = config_folder() / f"mixture/{name}.yaml"
    assert re.findall(r"^# (What|Rows|Licence|Needs): +\S", path.read_text(), flags=re.MULTILINE) == [
        "What",
        "Rows",
        "Licence",
        "Needs",
    ]
    handle = instantiate(OmegaConf.load(path))
    assert isinstance(handle, MixtureHandle)
    assert handle.name == name
    handle.check()


def test_the_paper_s_config_names_the_paper_s_sets():
    config = OmegaConf.load(config_folder() / "mixture/ra_dit_paper.yaml")
    assert tuple(config.sets) == LANGUAGE_MODEL_SETS
    assert (config.cap, dict(config.shares)) == (7500, {"text": 0.1, "oasst1": 0.05})


def test_the_paper_s_retriever_learns_from_its_own_sets():
    mixture = instantiate(OmegaConf.load(config_folder() / "training/ra_dit_retriever_paper.yaml").mixture)
    assert tuple(mixture.rows) == RETRIEVER_SETS
    assert mixture.shares == {}
    assert mixture.cap > 286_000
    mixture.check()
