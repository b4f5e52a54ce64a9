"""The pieces of RA-DIT's tables: tasks, readings, passages and demonstrations, both steps of tuning."""

import math
import random
from dataclasses import asdict, replace

import numpy as np
import pytest
import tiny_ra_dit
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_questions import SPLITS, Town
from tiny_ra_dit import LANGUAGE_MODEL, RETRIEVAL, RETRIEVER, Known

from october.data import ChoiceQuestion
from october.data.documents import Question
from october.errors import OctoberError
from october.experiments.ra_dit import _reading, _retriever_tuning, _tasks, _tuning
from october.experiments.ra_dit._bench import Asked, Bench, Retrieval, is_gold
from october.experiments.ra_dit._distractors import as_asked, distracting, told
from october.experiments.ra_dit._notebook import newest
from october.experiments.ra_dit._reading import Reader, answers
from october.experiments.ra_dit._retriever_tuning import examples_of, instructions_of, recalled, tuned_retriever
from october.experiments.ra_dit._tuning import tuned_language_model
from october.experiments.ra_dit.retriever import whole
from october.files import data_home
from october.retrieval import Passage, Retriever
from october.retrieval.ra_dit import Ensemble, Example, MixtureHandle, few_shot_head, rendered

pytestmark = pytest.mark.usefixtures("own_home", "one_thread")


@pytest.fixture(scope="module")
def model(student):
    return student


@pytest.fixture
def mixture():
    return tiny_ra_dit.mixture()


@pytest.fixture
def bench(encoder):
    return Bench(Known(), Town(), encoder, 4, RETRIEVAL)


class Sets(MixtureHandle):
    """Sets that are given."""

    name = "sets"

    def __init__(self, **sets):
        super().__init__({})
        self.given = sets

    def check(self):
        pass

    def sets(self):
        return self.given

    def sources(self):
        return {"sets": list(self.given)}


class TestTasks:
    def test_every_task_has_its_template(self):
        made = {
            name: _tasks.example_of(Question("1", text, answers, name, "test"), name)
            for name, text, answers in [
                ("worldqa", "Who?", ("Ada", "Ada B")),
                ("fever", "Oslo is old.", ("REFUTES",)),
                ("trex", "Oslo [SEP] country", ("Norway",)),
                ("wow", "I like tea.\nGreen?\nBlack.", ("Me too.",)),
            ]
        }
        assert made["worldqa"].instruction == "Question: Who?\nAnswer:"
        assert made["worldqa"].aliases == ("Ada B",)
        assert (made["fever"].answer, made["fever"].options) == ("No", ("Yes", "No"))
        assert "Is this statement true?" in made["fever"].instruction
        assert made["trex"].query == "Oslo [SEP] country"
        assert made["wow"].instruction.endswith("Question: Black.\nAnswer:")
        assert "I like tea." in made["wow"].instruction
        assert "Green?" in made["wow"].query

    def test_a_multiple_choice_is_answered_by_its_letter(self):
        made = _tasks.example_of(
            ChoiceQuestion("1", "Prime?", ("7",), "numbers", "test", options=("4", "7", "9", "6")), "mmlu"
        )
        assert (made.answer, made.options) == ("B", ("A", "B", "C", "D"))
        assert "\nB. 7\n" in made.instruction

    def test_a_verdict_that_is_none_is_named(self):
        question = Question("1", "Oslo is old.", ("NOT ENOUGH INFO",), "fever", "test")
        with pytest.raises(OctoberError, match="fever: answer 'NOT ENOUGH INFO': allowed are SUPPORTS, REFUTES"):
            _tasks.example_of(question, "fever")

    def test_every_answer_is_scored(self, bench):
        scores = _tasks.scores_of([example.answer for example in bench.examples], bench.examples, "exact_match")
        assert scores.tolist() == [1.0] * 4
        with pytest.raises(ValueError, match="argument 2 is longer"):
            _tasks.scores_of(["x"], bench.examples, "exact_match")

    @pytest.mark.parametrize(
        ("text", "turns", "last"),
        [("a", [], "a"), ("a\nb\nc", [("a", "b")], "c"), ("b\nc", [("", "b")], "c")],
    )
    def test_turns_of_a_dialogue(self, text, turns, last):
        assert _tasks.dialogue_of(text) == (turns, last)

    @pytest.mark.parametrize(("metric", "value"), [("exact_match", 1), ("accuracy", 0), ("f1", 1), ("rouge_l", 2 / 3)])
    def test_an_answer_is_scored_by_the_tasks_metric(self, metric, value):
        assert _tasks.score("the Oslo!", ("oslo", "x"), metric) == pytest.approx(value)

    @given(kinds=st.lists(st.sampled_from("abc"), max_size=12), count=st.integers(1, 6))
    def test_drawn_questions_are_of_as_many_kinds_as_there_are(self, kinds, count):
        questions = [Question(str(n), "?", ("x",), kind, "dev") for n, kind in enumerate(kinds)]
        drawn = _tasks.of_many_kinds(questions, count)
        assert len({question.id for question in drawn}) == len(drawn) == min(count, len(kinds))
        assert len({question.kind for question in drawn}) == min(count, len(set(kinds)))


class TestReading:
    def test_fewer_passages_and_equal_weights_are_as_if_they_had_been_read(self, bench, model):
        reader = Reader(model, 3)
        whole = reader.read(bench.asked())
        for count in (1, 2, 3):
            for strategy, temperature in (("mixture", 0.5), ("uniform", None)):
                other = Ensemble(reader.model, strategy, 0.5).answers(
                    bench.asked().best(count).readings(), max_new_tokens=3
                )
                assert answers(whole, temperature, count) == [each.text for each in other]

    @given(data=st.data())
    def test_the_mixture_is_that_of_a_loop(self, data):
        num_prompts, num_candidates = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))
        generator = random.Random(data.draw(st.integers(0, 999)))
        by_prompt = [[-5 * generator.random() for _ in range(num_candidates)] for _ in range(num_prompts)]
        scores = [generator.random() for _ in range(num_prompts)]
        written = [str(generator.randrange(num_candidates)) for _ in range(num_prompts)]
        count, temperature = data.draw(st.integers(1, 5)), data.draw(st.sampled_from([None, 0.1, 1.0]))
        read = {
            "candidates": [[str(place) for place in range(num_candidates)]],
            "written": [written],
            "by_prompt": [by_prompt],
            "scores": [scores],
            "chosen_from_options": [False],
        }
        used = min(count, num_prompts)
        weights = [math.exp(score / temperature) if temperature else 1.0 for score in scores[:used]]
        best = max(
            set(written[:used]),
            key=lambda text: sum(
                weight * math.exp(row[int(text)]) for weight, row in zip(weights, by_prompt, strict=False)
            ),
        )
        assert answers(read, temperature, count) == [best]

    def test_what_was_read_is_kept_and_the_tuned_model_reads_for_itself(self, bench, model, mixture, monkeypatch):
        reader, asked = Reader(model, 3), bench.asked()
        first = reader.read(asked)
        kept = tuned_language_model(model, mixture, bench, LANGUAGE_MODEL)
        tuned = Reader(model, 3, kept.folder).read(asked)
        assert tuned["by_prompt"] != first["by_prompt"]
        monkeypatch.setattr(Ensemble, "answers", None)
        assert Reader(model, 3).read(asked) == first
        assert Reader(model, 3, kept.folder).read(asked) == tuned
        assert len(list((data_home() / "readings").glob("*.json"))) == 2

    @pytest.mark.parametrize("pieces", [1, 2, 3, 99])
    def test_pieces_make_the_same_reading(self, bench, model, monkeypatch, own_home, pieces):
        whole = Reader(model, 3).read(bench.asked())
        (path,) = (own_home / "readings").glob("*.json")
        path.unlink()
        monkeypatch.setattr(_reading, "_PIECE", pieces)
        again = Reader(model, 3).read(bench.asked())
        values = [[np.array(each) for each in read.pop("by_prompt")] for read in (whole, again)]
        assert again == whole
        for one, other in zip(*values, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)
        assert [each.name for each in (own_home / "readings").iterdir()] == [path.name]

    def test_a_reading_that_was_stopped_goes_on_behind_its_last_piece(self, bench, model, monkeypatch, own_home):
        monkeypatch.setattr(_reading, "_PIECE", 1)
        whole = Reader(model, 3).read(bench.asked())
        (path,) = (own_home / "readings").glob("*.json")
        path.unlink()
        read, asked = Ensemble.answers, []

        def stopped(ensemble, readings, **options):
            asked.append([reading.example.query for reading in readings])
            if len(asked) == 3:
                raise KeyboardInterrupt
            return read(ensemble, readings, **options)

        monkeypatch.setattr(Ensemble, "answers", stopped)
        with pytest.raises(KeyboardInterrupt):
            Reader(model, 3).read(bench.asked())
        assert not path.exists()
        kept = sorted(each.name for each in path.with_suffix("").glob("*.json"))
        assert kept == ["00000000-00000001.json", "00000001-00000002.json"]
        assert Reader(model, 3).read(bench.asked()) == whole
        assert asked == [[example.query] for example in [*bench.examples[:3], *bench.examples[2:]]]
        assert [each.name for each in (own_home / "readings").iterdir()] == [path.name]

    def test_options_are_weighed_and_not_decoded(self, model):
        example = Example("town", "mmlu", "Question: where?\nA. Oslo\nB. Rome\nA:", "B", "where?", options=("A", "B"))
        passages = [Passage(f"{name}#0", name, f"{name} is old.", "x") for name in ("Oslo", "Rome")]
        asked = Asked([example], [tuple(passages)], [(0.5, 0.2)])
        reader = Reader(model, 3)
        read = reader.read(asked)
        assert read["candidates"] == [["A", "B"]]
        prompts = Ensemble(reader.model).prompts(asked.readings()[0])
        totals = [[reader.model.score([p], [f" {o}"])[0].total for o in "AB"] for p in prompts]
        np.testing.assert_allclose(read["by_prompt"][0], totals, atol=1e-5)
        weighed = np.exp(np.array([0.5, 0.2]) / 0.1) @ np.exp(np.array(totals))
        assert answers(read, 0.1) == ["AB"[int(weighed.argmax())]]


class TestBench:
    def test_passages_are_the_most_similar_and_demonstrations_are_of_development(self, bench):
        asked = bench.asked()
        vectors = bench.encoder.load().encode([passage.titled_text for passage in bench.retriever().store])
        queries = bench.encoder.load().encode([example.query for example in bench.examples])
        for row, found in zip(queries @ vectors.T, asked.scores, strict=True):
            np.testing.assert_allclose(sorted(row, reverse=True)[:3], found, atol=1e-4)
        shown = bench.demonstrations(2, with_passages=True)
        assert {each.example.query for each in shown} == {question.text for question in Known().load("dev")}
        assert all(passage is not None and f"Background: {passage}\n\n" in few_shot_head(shown) for _, passage in shown)
        assert [each.passage for each in bench.demonstrations(1, with_passages=False)] == [None]
        assert bench.demonstrations(0, with_passages=True) == []

    def test_demonstrations_are_read_with_the_retriever_that_is_asked(self, bench, encoder):
        other = replace(encoder, name="other", max_sequence_length=4)
        shown = [bench.demonstrations(3, with_passages=True, encoder=one) for one in (None, encoder, other)]
        best = bench.search([each.example for each in shown[2]], other).best(1).readings()
        assert [each.passage for each in shown[2]] == [reading.passages[0] for reading in best]
        assert shown[0] == shown[1] != shown[2]

    def test_an_approximate_index_is_searched_as_it_is_told(self, bench, encoder):
        lists = replace(RETRIEVAL, index="IVF8,Flat", num_passages=12)
        narrow, wide = (
            Bench(Known(), Town(), encoder, 4, replace(lists, search_settings=settings))
            for settings in ("", "nprobe=8")
        )
        exact = Bench(Known(), Town(), encoder, 4, replace(RETRIEVAL, num_passages=12)).asked()
        assert [[p.id for p in row] for row in wide.asked().passages] == [[p.id for p in row] for row in exact.passages]
        assert min(map(len, narrow.asked().passages)) < 12
        assert whole(wide, wide.asked()) == wide.asked()
        with pytest.raises(
            OctoberError, match=r"search_settings='': IVF8,Flat finds \d+ of 12 passages for .*nprobe=256"
        ):
            whole(narrow, narrow.asked())
        assert narrow.search_identity() != wide.search_identity()

    def test_what_is_found_depends_on_the_encoder_of_queries(self, bench, model, mixture):
        tuned = tuned_retriever(Reader(model, 3), mixture, bench, RETRIEVER).encoder
        other = Bench(Known(), Town(), tuned, 4, RETRIEVAL)
        assert other.encoder.fingerprint() == bench.encoder.fingerprint()
        assert other.search_identity() != bench.search_identity()

    def test_a_part_of_the_corpus_holds_what_tells(self, encoder):
        bench = Bench(Known(), Town(), encoder, 4, replace(RETRIEVAL, num_documents=6))
        titles = [document.title for document in bench.corpus.documents()]
        assert len(titles) == 6
        assert set(titles) >= {document for question in bench.questions for document in question.gold_documents}

    @pytest.mark.parametrize(("name", "value"), [("num_passages", 0), ("temperature", 0.0)])
    def test_mistakes_of_a_user(self, name, value):
        with pytest.raises(OctoberError, match=rf"retrieval\.{name}={value}: must be"):
            Retrieval(**{name: value})

    def test_gold_documents_are_known_by_id_or_by_title(self, bench):
        question = replace(bench.questions[0], answers=("nowhere",), gold_documents=("Oslo", "7"))
        passages = [Passage(f"{id_}#0", title, "x", "s") for id_, title in (("1", "Oslo"), ("7", "x"), ("2", "Rome"))]
        assert [is_gold(passage, question) for passage in passages] == [True, True, False]
        bench.questions = [question, replace(question, gold_documents=())]
        rows = [(passages[2], passages[0]), (passages[0], passages[2])]
        asked = Asked(bench.examples, rows, [(0.0, 0.0)] * 2)
        assert recalled(bench, asked) == [True]
        assert recalled(bench, asked, 1) == [False]
        assert distracting(question, passages) == [passages[2]]

    def test_distractors_tell_nothing(self, bench):
        found = told(bench, 2)
        assert found
        by_text = {question.text: question for question in bench.questions}
        for one in found:
            question = by_text[one.example.query]
            assert question.gold_sentences[0] in one.gold.text
            assert len(one.distractors) == 2
            for passage in one.distractors:
                assert not any(answer in passage.text for answer in question.answers)
        asked = as_asked(found, gold=True, distractors=True)
        assert [row[0] for row in asked.passages] == [one.gold for one in found]
        assert {len(row) for row in as_asked(found, gold=False, distractors=True).passages} == {2}


class TestTuning:
    def test_the_query_encoder_alone_moves_and_the_index_stays(self, bench, model, mixture):
        made = tuned_retriever(Reader(model, 3), mixture, bench, RETRIEVER)
        assert made.encoder.fingerprint() == bench.encoder.fingerprint()
        assert bench.retriever(made.encoder).index.folder == bench.retriever().index.folder
        before, after = (next(e.load_query().parameters()) for e in (bench.encoder, made.encoder))
        assert not torch.equal(before, after)
        assert (made.about["texts"], made.about["instructions"]) == (2, 2)  # of four and two more, by seed 0
        again = tuned_retriever(Reader(model, 3), mixture, bench, RETRIEVER)
        assert again == made
        assert len(list((data_home() / "trained").glob("*"))) == 1

    def test_no_text_of_a_test_question_s_document_is_learned(self, bench, mixture):
        assert bench.forbidden == set(SPLITS["test"][:-1])
        store = bench.retriever().store
        free = [passage for passage in store if passage.document_id not in bench.forbidden]
        texts = replace(RETRIEVER, num_examples=len(free), num_validation=0, share_of_texts=1.0)
        learned = {one.hidden[0] for one in examples_of(store, mixture, texts, bench.forbidden)}
        assert learned == {passage.id for passage in free}
        with pytest.raises(OctoberError, match="forbidden documents apart"):
            examples_of(store, mixture, replace(texts, num_validation=1), bench.forbidden)

    def test_other_test_documents_are_another_training(self, encoder, model, mixture):
        class Fewer(Known):
            def load(self, split):
                return super().load(split)[: 4 if split == "test" else None]

        folders = [
            tuned_retriever(Reader(model, 3), mixture, Bench(data, Town(), encoder, 4, RETRIEVAL), RETRIEVER)
            for data in (Known(), Fewer())
        ]
        assert folders[0].encoder.query_path != folders[1].encoder.query_path

    def test_what_becomes_of_long_examples_is_no_other_training(self, mixture):
        skipping = replace(RETRIEVER, settings=replace(RETRIEVER.settings, too_long="skip"))
        assert skipping.identity(mixture) == RETRIEVER.identity(mixture)
        decides = RETRIEVER.identity(mixture)[0]
        assert {*asdict(RETRIEVER)} == {*decides}
        assert {*asdict(RETRIEVER.settings)} - {*decides["settings"]} == {"too_long"}  # so that older ones stay

    def test_both_encoders_may_move(self, bench, model, mixture):
        both = replace(RETRIEVER, settings=replace(RETRIEVER.settings, tuned="both"))
        made = tuned_retriever(Reader(model, 3), mixture, bench, both)
        assert made.encoder.fingerprint() != bench.encoder.fingerprint()
        assert bench.retriever(made.encoder).index.folder != bench.retriever().index.folder

    def test_instructions_are_searched_for_and_have_no_background(self, mixture):
        found = instructions_of(mixture)
        assert {example.family for example in found} == {"open_qa"}
        assert {example.query for example in found} == {question.text for question in Known().load("train")}

    def test_the_retriever_learns_questions_and_dialogues_of_its_own_mixture(self, bench, mixture):
        own = Sets(
            question=[rendered("multiple_choice", "Which?", "b", options=("a", "b"))],
            talk=[rendered("dialogue", "And then?", "Tea.", turns=[("What?", "Milk.")])],
            steps=[rendered("chain_of_thought", "2 + 2?", "4", reasoning="Count.")],
            text=[rendered("text", answer="Long ago.")],
        )
        tuning = replace(RETRIEVER, share_of_texts=0.0, num_examples=2, num_validation=0, mixture=own)
        found = examples_of(bench.retriever().store, mixture, tuning, bench.forbidden)
        assert {one.example.query for one in found} == {"Which?", "What? Milk. And then?"}
        assert tuning.fingerprints(mixture) == {
            "mixture known": mixture.fingerprint(),
            "retriever's mixture sets": own.fingerprint(),
        }
        assert tuning.identity(mixture) != replace(tuning, mixture=None).identity(mixture)

    def test_without_passages_other_examples_are_learned(self, bench, model, mixture):
        folders = [
            tuned_language_model(model, mixture, bench, replace(LANGUAGE_MODEL, num_passages=count))
            for count in (0, 1, 2)
        ]
        assert folders[0].about["instances"] == 7
        assert [kept.about["num_passages"] for kept in folders] == [0, 1, 2]
        assert len({kept.folder for kept in folders}) == 3
        assert all(np.isfinite(kept.about["losses"]).all() for kept in folders)

    def test_the_notebook_takes_the_model_of_the_table_and_no_other(self, bench, model, mixture):
        known = {"base": model.fingerprint(), "corpus": Town().fingerprint()}
        wanted = tuned_language_model(model, mixture, bench, LANGUAGE_MODEL)
        tuned_language_model(model, mixture, bench, replace(LANGUAGE_MODEL, num_passages=0))
        tuned_language_model(model, _tasks.TaskExamples(Known(), 2), bench, LANGUAGE_MODEL)
        again = Reader(model, 3, wanted.folder).tuned_handle()
        assert again.name == model.name
        tuned_language_model(again, mixture, bench, LANGUAGE_MODEL)
        part = Bench(Known(), Town(), bench.encoder, 4, replace(RETRIEVAL, num_documents=6))
        tuned_language_model(model, mixture, part, LANGUAGE_MODEL)
        assert newest(_tuning.LANGUAGE_MODEL, mixture="known", num_passages=2, **known) == wanted

    def test_the_notebook_takes_the_retriever_of_the_table_and_no_other(self, bench, model, mixture):
        reader = Reader(model, 3)
        wanted = tuned_retriever(reader, mixture, bench, RETRIEVER)
        tuned_retriever(reader, mixture, bench, replace(RETRIEVER, share_of_texts=1.0))
        tuned_retriever(reader, mixture, bench, replace(RETRIEVER, settings=replace(RETRIEVER.settings, tuned="both")))
        known = {"base": bench.encoder.fingerprint(), "model": model.fingerprint(), "corpus": Town().fingerprint()}
        found = newest(_retriever_tuning.RETRIEVER, tuned="query", share_of_texts=0.5, **known)
        assert str(found.folder / "queries") == wanted.encoder.query_path

    def test_examples_without_enough_passages_are_counted(self, bench, model, mixture, monkeypatch):
        search = Retriever.search

        def poor(retriever, queries, k):
            found = search(retriever, queries, k)
            return [found[0][:0], found[1][:1], *found[2:]]

        monkeypatch.setattr(Retriever, "search", poor)
        tuning = replace(LANGUAGE_MODEL, num_validation=0)
        about = tuned_language_model(model, mixture, bench, tuning).about
        searched = sum(example.background is None for example in mixture.load())
        assert (about["without"], about["fewer"]) == (1, 1)
        assert about["instances"] == 8 - searched + 1 + 1 + 2 * (searched - 2)

    def test_mistakes_of_a_user(self, bench, model, mixture):
        with pytest.raises(OctoberError, match=r"language_model_tuning\.num_passages=-1"):
            replace(LANGUAGE_MODEL, num_passages=-1)
        with pytest.raises(OctoberError, match="num_validation=8: the mixture has 8 examples"):
            tuned_language_model(model, mixture, bench, replace(LANGUAGE_MODEL, num_validation=8))
        with pytest.raises(OctoberError, match=r"share_of_texts=1\.5: must be from 0 to 1"):
            replace(RETRIEVER, share_of_texts=1.5)
        with pytest.raises(OctoberError, match="num_examples=0, num_validation=2"):
            replace(RETRIEVER, num_examples=0)
