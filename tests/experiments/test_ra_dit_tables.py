"""What RA-DIT's tables compute, on a town of invented people and with models that run in no time."""

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import tiny_ra_dit
import torch
from scipy.special import log_softmax
from tiny_questions import Town
from tiny_ra_dit import LANGUAGE_MODEL, RETRIEVAL, RETRIEVER, Known, claims_of, ran, settings

from october import configuration
from october.errors import OctoberError
from october.evaluation import exact_match
from october.experiments.ra_dit import commonsense as commonsense_module
from october.experiments.ra_dit._bench import Bench, Retrieval
from october.experiments.ra_dit._reading import Reader
from october.experiments.ra_dit._systems import System, Systems
from october.experiments.ra_dit._tasks import TaskExamples
from october.experiments.ra_dit._tuning import tuned_language_model
from october.experiments.ra_dit.ablation import ablation
from october.experiments.ra_dit.distraction import distraction
from october.experiments.ra_dit.ensemble import ensemble
from october.experiments.ra_dit.few_shot_tuned import few_shot_tuned
from october.experiments.ra_dit.main import PUBLISHED, main
from october.experiments.ra_dit.retriever import retriever
from october.language_models.answer_training import trained_model
from october.reporting.published import published_of
from october.retrieval.ra_dit import Ensemble

pytestmark = pytest.mark.usefixtures("own_home", "one_thread")


@pytest.fixture(scope="module")
def model(student):
    return student


@pytest.fixture
def mixture():
    return tiny_ra_dit.mixture()


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
        as_claimed = {metric.replace("1-shot", "5-shot") for metric in result.evidence}
        assert as_claimed == claims_of("main") | claims_of("five_shot")
        short = Retrieval(num_passages=2, words=12)  # five examples have to fit the tiny model's context
        _, five = ran(tmp_path, "five_shot", main, settings(model, encoder, mixture, shots=[5], retrieval=short))
        assert {row.published for row in five.rows} - {None} == {name for name in PUBLISHED if "5-shot" in name}
        assert set(five.evidence) == claims_of("five_shot")
        _, paper = ran(tmp_path, "main_paper", main, settings(model, encoder, mixture, shots=[0]))
        assert {row.published for row in paper.rows} == {None}

    def test_few_shot_tuned(self, tmp_path, model, encoder, mixture):
        arguments = settings(model, encoder, mixture, task_tuning=LANGUAGE_MODEL, num_examples=2)
        run, result = ran(tmp_path, "few_shot_tuned", few_shot_tuned, arguments)
        assert [row.published for row in result.rows] == [None, None, None, "RA-DIT"]
        assert set(result.evidence) == claims_of("few_shot_tuned")
        bench = Bench(Known(), Town(), encoder, 4, RETRIEVAL)
        systems = Systems(model, mixture, bench, LANGUAGE_MODEL, RETRIEVER, 3)
        assert run.finished["in-context retrieval"] == systems.answers(System())
        assert run.finished["RA-DIT before"] == systems.answers(System(True, True))
        with pytest.raises(OctoberError, match="num_examples=99: known has 9 training questions"):
            ran(tmp_path / "more", "few_shot_tuned", few_shot_tuned, {**arguments, "num_examples": 99})

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
            log_r, log_lsr = np.log(p_r), log_softmax(means / 0.01)
            p_lsr = np.exp(log_lsr)
            found = run.finished["untuned retriever"]
            mixed = math.log(sum(p * math.exp(score.total) for p, score in zip(p_r, scores, strict=True)))
            assert found["log-likelihood of the answer"][place] == pytest.approx(mixed, abs=1e-4)
            # a score's float32 error counts a hundred times
            expected = {"to": (p_r * (log_r - log_lsr)).sum(), "from": (p_lsr * (log_lsr - log_r)).sum()}
            for way, kl in expected.items():
                assert found[f"KL {way} the preference"][place] == pytest.approx(kl, rel=1e-3, abs=1e-3), way
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


class TestCountsAreCheckedFirst:
    """Before anything is searched or read: here neither can be."""

    @pytest.fixture(autouse=True)
    def _nothing_is_done(self, monkeypatch):
        monkeypatch.setattr(Bench, "retriever", lambda *_: pytest.fail("an index is built"))
        monkeypatch.setattr(Reader, "model", property(lambda _: pytest.fail("a model is loaded")))

    @pytest.fixture
    def arguments(self, model, encoder, mixture):
        return settings(model, encoder, mixture)

    @pytest.mark.parametrize(
        ("table", "own"),
        [
            (main, {"shots": [0]}),
            (ablation, {"num_passages": [1], "variants": False}),
            (ensemble, {"num_concatenated": [2]}),
            (few_shot_tuned, {"task_tuning": LANGUAGE_MODEL, "num_examples": 2}),
        ],
    )
    def test_of_both_steps(self, tmp_path, arguments, table, own):
        few = replace(LANGUAGE_MODEL, num_validation=8)
        many = replace(RETRIEVER, num_examples=99)
        with pytest.raises(OctoberError, match="num_validation=8: the mixture has 8 examples"):
            ran(tmp_path / "one", table.__name__, table, {**arguments, **own, "language_model_tuning": few})
        with pytest.raises(OctoberError, match=r"0\.5 of 101 examples wants 50 instruction examples; there are 9"):
            ran(tmp_path / "other", table.__name__, table, {**arguments, **own, "retriever_tuning": many})

    def test_of_tables_with_one_step(self, tmp_path, arguments):
        one = {name: arguments[name] for name in arguments if name != "retriever_tuning"} | {"num_distractors": 2}
        few = replace(LANGUAGE_MODEL, num_validation=8)
        with pytest.raises(OctoberError, match="num_validation=8: the mixture has 8 examples"):
            ran(tmp_path, "distraction", distraction, {**one, "language_model_tuning": few})
        other = {
            name: arguments[name] for name in arguments if name not in ("language_model_tuning", "max_answer_tokens")
        }
        with pytest.raises(OctoberError, match="there are 9"):
            ran(tmp_path, "retriever", retriever, {**other, "retriever_tuning": replace(RETRIEVER, num_examples=99)})

    def test_of_every_variant_of_the_retriever(self, tmp_path, arguments):
        more = {"num_passages": [1], "variants": True, "retriever_tuning": replace(RETRIEVER, num_examples=12)}
        with pytest.raises(OctoberError, match=r"1\.0 of 14 examples wants 14 instruction examples; there are 9"):
            ran(tmp_path, "ablation", ablation, {**arguments, **more})

    def test_of_the_task(self, tmp_path, arguments):
        for count, tuning, message in (
            (99, LANGUAGE_MODEL, "num_examples=99: known has 9 training questions"),
            (2, replace(LANGUAGE_MODEL, num_validation=2), "num_validation=2: the mixture has 2 examples"),
        ):
            more = {"task_tuning": tuning, "num_examples": count}
            with pytest.raises(OctoberError, match=message):
                ran(tmp_path / message[:6], "few_shot_tuned", few_shot_tuned, {**arguments, **more})


def test_further_tuning_begins_where_tuning_ended(model, encoder, mixture):
    bench = Bench(Known(), Town(), encoder, 4, RETRIEVAL)
    once = tuned_language_model(model, mixture, bench, LANGUAGE_MODEL)
    handle = Reader(model, 3, once.folder).tuned_handle()
    tokens = torch.arange(5)[None]
    expected = trained_model(model.load()[0], once.folder)(tokens).logits
    assert torch.equal(handle.load()[0](tokens).logits, expected)
    assert not torch.allclose(model.load()[0](tokens).logits, expected, atol=1e-6)
    assert handle.fingerprint() != model.fingerprint()
    examples = TaskExamples(Known(), 2)
    again = tuned_language_model(handle, examples, bench, LANGUAGE_MODEL)
    assert again.folder != tuned_language_model(model, examples, bench, LANGUAGE_MODEL).folder
    twice = Reader(handle, 3, again.folder)
    assert not torch.allclose(twice.tuned_handle().load()[0](tokens).logits, expected, atol=1e-6)


@pytest.mark.parametrize("size", ["tiny", "small", "full"])
def test_the_tables_share_their_models(size):
    names = ("main", "five_shot", "ablation", "distraction", "retriever", "ensemble", "few_shot_tuned")
    configs = [
        configuration.resolved(configuration.composed([f"experiment=ra_dit/{name}", f"size={size}"])) for name in names
    ]
    shared = ("model", "encoder", "data", "corpus", "mixture", "retrieval", "language_model_tuning", "retriever_tuning")
    for one, other in itertools.pairwise(configs):
        for name in shared:
            assert name not in one or name not in other or one[name] == other[name]
    assert len({configs[place]["num_test"] for place in (0, 1, 2, 5, 6)}) == 1


def test_at_full_there_are_three_hundred_questions_and_at_small_what_the_bars_say():
    full, small = (
        configuration.resolved(configuration.composed(["experiment=ra_dit/main", f"size={size}"]))
        for size in ("full", "small")
    )
    assert full["num_test"] >= 300
    assert (full["retrieval"]["num_passages"], small["retrieval"]["num_passages"]) == (10, 3)
    assert small["retriever_tuning"]["num_examples"] == 256


class TestCommonsense:
    def test_each_task_counts_once_and_the_tuned_model_is_asked(self, tmp_path, model, encoder, mixture, monkeypatch):
        values = {"boolq": [1.0, 0.0, 1.0, 1.0], "piqa": [0.0, 1.0]}
        asked = []

        def measured(language_model, benchmark, **more):
            asked.append((language_model, benchmark.task, benchmark.metric, benchmark.num_fewshot, more))
            return values[benchmark.task]

        monkeypatch.setattr(commonsense_module, "benchmark_values", measured)
        arguments = settings(
            model, encoder, mixture, tasks=["boolq", "piqa"], data_folders={"piqa": "here"}, num_questions=4
        )
        for name in ("retriever_tuning", "num_test", "max_answer_tokens"):
            del arguments[name]
        _, result = ran(
            tmp_path, "commonsense_paper", commonsense_module.commonsense, {**arguments, "num_questions": 4}
        )
        assert [row.published for row in result.rows] == ["before tuning", "after tuning"]
        assert [row.cells["average"].value for row in result.rows] == [(75 + 50) / 2] * 2
        assert [each[1:4] for each in asked] == [("boolq", "acc", 0), ("piqa", "acc_norm", 0)] * 2
        assert [each[4]["data_folder"] for each in asked] == [None, "here"] * 2
        before, after = asked[0][0].model, asked[2][0].model
        assert any(
            not torch.equal(one, other) for one, other in zip(before.parameters(), after.parameters(), strict=True)
        )
