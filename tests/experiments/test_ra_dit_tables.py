"""What RA-DIT's tables compute, on a town of invented people and with models that run in no time."""

import itertools
import json
import math
import random
from dataclasses import replace

import numpy as np
import pytest
import tiny_questions
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_questions import People, Town

from october import configuration
from october.data import ChoiceQuestion
from october.data.documents import Question
from october.errors import OctoberError
from october.evaluation import exact_match
from october.experiments.ra_dit import _tasks
from october.experiments.ra_dit._bench import Asked, Bench, Retrieval
from october.experiments.ra_dit._distractors import as_asked, told
from october.experiments.ra_dit._reading import Reader, answers
from october.experiments.ra_dit._retriever_tuning import RetrieverTuning, instructions_of, tuned_retriever
from october.experiments.ra_dit._systems import System, Systems
from october.experiments.ra_dit._tuning import LanguageModelTuning, tuned_language_model
from october.experiments.ra_dit.ablation import ablation
from october.experiments.ra_dit.distraction import distraction
from october.experiments.ra_dit.ensemble import ensemble
from october.experiments.ra_dit.main import PUBLISHED, main
from october.experiments.ra_dit.retriever import retriever
from october.files import data_home
from october.reporting.published import published_of
from october.retrieval import Passage
from october.retrieval.ra_dit import (
    Ensemble,
    Example,
    LanguageModelSettings,
    QuestionMixture,
    RetrieverSettings,
    few_shot_head,
)
from october.run import Run
from october.tracking import LocalTracker

pytestmark = pytest.mark.usefixtures("own_home", "one_thread")

RETRIEVAL = Retrieval(num_passages=3, temperature=0.5)
LANGUAGE_MODEL = LanguageModelTuning(
    num_passages=2,
    num_validation=1,
    settings=LanguageModelSettings(
        learning_rate=1e-3, warmup_steps=0, max_steps=2, batch_size=1, max_tokens=400, checkpoint_every=1, lora_rank=2
    ),
)
RETRIEVER = RetrieverTuning(
    num_examples=4,
    num_validation=2,
    share_of_texts=0.5,
    min_words=4,
    settings=RetrieverSettings(
        k=2, score="mean_log_probability", learning_rate=1e-3, batch_size=2, warmup_steps=0, evaluate_every=1
    ),
)


class Known(People):
    """Those about whom there is a document."""

    name = "known"

    def load(self, split):
        return super().load(split)[:-1]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny_questions.encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_questions.student(tmp_path_factory.mktemp("model"))


@pytest.fixture
def mixture():
    return QuestionMixture(Known(), Town(), sets=("open_qa", "reading_comprehension"), shares={}, num_examples=8)


@pytest.fixture
def bench(encoder):
    return Bench(Known(), Town(), encoder, 4, RETRIEVAL)


def settings(model, encoder, mixture, **more):
    return {
        "model": model,
        "encoder": encoder,
        "data": Known(),
        "corpus": Town(),
        "mixture": mixture,
        "retrieval": RETRIEVAL,
        "language_model_tuning": LANGUAGE_MODEL,
        "retriever_tuning": RETRIEVER,
        "num_test": 4,
        "max_answer_tokens": 3,
        **more,
    }


def ran(folder, table, function, arguments):
    with Run(folder / table, f"ra_dit/{table}", {}, LocalTracker()) as run:
        return run, function(**arguments, run=run)


def claims_of(table):
    return {claim.metric for claim in published_of("ra_dit").claims if claim.table == table}


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

    def test_a_part_of_the_corpus_holds_what_tells(self, encoder):
        bench = Bench(Known(), Town(), encoder, 4, replace(RETRIEVAL, num_documents=6))
        titles = [document.title for document in bench.corpus.documents()]
        assert len(titles) == 6
        assert set(titles) >= {document for question in bench.questions for document in question.gold_documents}

    @pytest.mark.parametrize(("name", "value"), [("num_passages", 0), ("temperature", 0.0)])
    def test_mistakes_of_a_user(self, name, value):
        with pytest.raises(OctoberError, match=rf"retrieval\.{name}={value}: must be"):
            Retrieval(**{name: value})

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
        assert (made.about["texts"], made.about["instructions"]) == (2, 2) or made.about["texts"] in (1, 3, 4)
        again = tuned_retriever(Reader(model, 3), mixture, bench, RETRIEVER)
        assert again == made
        assert len(list((data_home() / "trained").glob("*"))) == 1

    def test_both_encoders_may_move(self, bench, model, mixture):
        both = replace(RETRIEVER, settings=replace(RETRIEVER.settings, tuned="both"))
        made = tuned_retriever(Reader(model, 3), mixture, bench, both)
        assert made.encoder.fingerprint() != bench.encoder.fingerprint()
        assert bench.retriever(made.encoder).index.folder != bench.retriever().index.folder

    def test_instructions_are_searched_for_and_have_no_background(self, mixture):
        found = instructions_of(mixture)
        assert {example.family for example in found} == {"open_qa"}
        assert {example.query for example in found} == {question.text for question in Known().load("train")}

    def test_without_passages_other_examples_are_learned(self, bench, model, mixture):
        folders = [
            tuned_language_model(model, mixture, bench, replace(LANGUAGE_MODEL, num_passages=count))
            for count in (0, 1, 2)
        ]
        assert folders[0].about["instances"] == 7
        assert len({kept.folder for kept in folders}) == 3
        assert all(np.isfinite(kept.about["losses"]).all() for kept in folders)

    def test_mistakes_of_a_user(self, bench, model, mixture):
        with pytest.raises(OctoberError, match=r"language_model_tuning\.num_passages=-1"):
            replace(LANGUAGE_MODEL, num_passages=-1)
        with pytest.raises(OctoberError, match="num_validation=8: the mixture has 8 examples"):
            tuned_language_model(model, mixture, bench, replace(LANGUAGE_MODEL, num_validation=8))
        with pytest.raises(OctoberError, match=r"share_of_texts=1\.5: must be from 0 to 1"):
            replace(RETRIEVER, share_of_texts=1.5)
        with pytest.raises(OctoberError, match="num_examples=0, num_validation=2"):
            replace(RETRIEVER, num_examples=0)


class TestTables:
    def test_main(self, tmp_path, model, encoder, mixture):
        arguments = settings(model, encoder, mixture, shots=[0, 1])
        run, result = ran(tmp_path, "main", main, arguments)
        assert {row.published for row in result.rows} - {None} == {name for name in PUBLISHED if "0-shot" in name}
        bench = Bench(Known(), Town(), encoder, 4, RETRIEVAL)
        systems = Systems(model, mixture, bench, LANGUAGE_MODEL, RETRIEVER, 3)
        for name, system in (("RA-DIT, 1-shot", System(True, True, shots=1)), ("no retrieval, 0-shot", None)):
            given = run.finished[name]
            assert given == systems.answers(system or System(strategy="no_retrieval"))
            em = [exact_match(a, q.answers) for a, q in zip(given, bench.questions, strict=True)]
            row = next(row for row in result.rows if row.name == name)
            assert row.cells["EM"].value == pytest.approx(100 * np.mean(em))
        wanted = {metric for metric in claims_of("main") if "0-shot" in metric}
        assert wanted <= set(result.evidence)
        assert {metric.replace("1-shot", "5-shot") for metric in result.evidence} == claims_of("main")
        _, paper = ran(tmp_path, "main_paper", main, settings(model, encoder, mixture, shots=[0]))
        assert {row.published for row in paper.rows} == {None}

    def test_ablation(self, tmp_path, model, encoder, mixture):
        arguments = settings(model, encoder, mixture, num_passages=[1, 3], variants=True)
        run, result = ran(tmp_path, "ablation", ablation, arguments)
        published = {row.name for table in published_of("ra_dit").tables_of("ablation") for row in table.rows}
        assert {row.published for row in result.rows} - {None} == published
        assert set(result.evidence) == claims_of("ablation")
        assert run.finished["both tuned, 3 passages"] == run.finished["both tuned"]
        assert run.finished["untuned retriever"]["answers"] == run.finished["neither tuned"]
        assert run.finished["texts and instructions"]["answers"] == run.finished["R-ft only"]

    def test_distraction(self, tmp_path, model, encoder, mixture):
        arguments = settings(model, encoder, mixture, num_distractors=2)
        del arguments["retriever_tuning"]
        run, result = ran(tmp_path, "distraction", distraction, arguments)
        assert set(result.evidence) == claims_of("distraction")
        assert [row.published for row in result.rows] == [None, "tuned without passages", "tuned with passages"]
        assert len(run.finished["untuned"]["retrieved"]) == 4
        with pytest.raises(OctoberError, match="no question about one document has 99 distractors"):
            ran(tmp_path, "other", distraction, {**arguments, "num_distractors": 99})

    def test_retriever(self, tmp_path, model, encoder, mixture):
        arguments = settings(model, encoder, mixture)
        for name in ("language_model_tuning", "max_answer_tokens"):
            del arguments[name]
        run, result = ran(tmp_path, "retriever", retriever, arguments)
        assert set(result.evidence) == claims_of("retriever")
        bench = Bench(Known(), Town(), encoder, 4, RETRIEVAL)
        lm = Reader(model, 1).model
        for place, reading in enumerate(bench.asked().readings()):
            prompts = Ensemble(lm).prompts(reading)
            scores = [lm.score([prompt], [f" {reading.example.answer}"])[0] for prompt in prompts]
            p_r = np.exp(np.array(reading.scores) / 0.5)
            p_r /= p_r.sum()
            means = np.array([score.total / len(score.log_probabilities) for score in scores])
            p_lsr = np.exp((means - means.max()) / 0.01)
            p_lsr = np.maximum(p_lsr / p_lsr.sum(), 1e-300)
            found = run.finished["untuned retriever"]
            mixed = math.log(sum(p * math.exp(score.total) for p, score in zip(p_r, scores, strict=True)))
            assert found["log-likelihood of the answer"][place] == pytest.approx(mixed, abs=1e-4)
            kl = float((p_lsr * np.log(p_lsr / p_r)).sum())
            assert found["KL from the preference"][place] == pytest.approx(kl, abs=5e-2)
        rows = {row.name: row.cells for row in result.rows}
        assert rows["untuned retriever"]["recall@3"].value >= rows["untuned retriever"]["recall@1"].value
        assert "recall@5" not in rows["untuned retriever"]

    def test_ensemble(self, tmp_path, model, encoder, mixture):
        arguments = settings(model, encoder, mixture, num_concatenated=[2, 3])
        run, result = ran(tmp_path, "ensemble", ensemble, arguments)
        metric = "EM, 3 passages mixed over concatenated"
        assert set(result.evidence) == {metric}
        assert metric in claims_of("ensemble")
        names = [row.name for row in result.rows]
        assert names == [
            "1 passage",
            "2 passages, mixed",
            "3 passages, mixed",
            "2 passages, mixed equally",
            "3 passages, mixed equally",
            "2 passages, concatenated",
            "3 passages, concatenated",
        ]
        assert json.loads(json.dumps(run.finished["mixed"])) == run.finished["mixed"]
        assert {row.published for row in result.rows} - {None} == {
            "3 passages, mixed",
            "3 passages, concatenated",
        }


@pytest.mark.parametrize("size", ["tiny", "small", "full"])
def test_the_tables_share_their_models(size):
    names = ("main", "ablation", "distraction", "retriever", "ensemble")
    configs = [
        configuration.resolved(configuration.composed([f"experiment=ra_dit/{name}", f"size={size}"])) for name in names
    ]
    shared = ("model", "encoder", "data", "corpus", "mixture", "retrieval", "language_model_tuning", "retriever_tuning")
    for one, other in itertools.pairwise(configs):
        for name in shared:
            assert name not in one or name not in other or one[name] == other[name]
    assert configs[0]["num_test"] == configs[1]["num_test"] == configs[4]["num_test"]


def test_at_full_there_are_three_hundred_questions_and_at_small_what_the_bars_say():
    full, small = (
        configuration.resolved(configuration.composed(["experiment=ra_dit/main", f"size={size}"]))
        for size in ("full", "small")
    )
    assert full["num_test"] >= 300
    assert (full["retrieval"]["num_passages"], small["retrieval"]["num_passages"]) == (10, 3)
    assert small["retriever_tuning"]["num_examples"] == 256
