"""What RECOMP's tables on questions compute, with models whose answers are known."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import tiny_questions
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracle_model import OracleHandle, OracleModel
from recomp_run import seq2seq_student
from tiny_questions import SPLITS, People, Town, gold_of

from october import configuration
from october.data.corpora import SomeDocuments
from october.data.documents import Question
from october.errors import OctoberError
from october.evaluation import exact_match, token_f1
from october.experiments.recomp import _compressors, _question_cells, _question_training, _selection
from october.experiments.recomp._compressors import LabelSettings
from october.experiments.recomp._question_training import QuestionTraining
from october.experiments.recomp._questions import Asked, QuestionBench, Reader, Retrieval
from october.experiments.recomp.analysis import analysis, misled_cell
from october.experiments.recomp.open_qa import NOT_PUBLISHED, PATTERNS, better_of, open_qa
from october.experiments.recomp.transfer import OWN, transfer
from october.files import data_home
from october.reporting.published import published_of
from october.retrieval import Passage
from october.retrieval.recomp import (
    MULTI_HOP_PROMPTS,
    QUESTION_PROMPTS,
    AbstractiveSettings,
    AnswerLikelihood,
    DualEncoder,
    ExtractiveSettings,
    GoldSentenceTeacher,
    ScoredExample,
    ScoringRequest,
    TopDocuments,
    baseline,
    calibrated_margin,
)
from october.run import Run
from october.tracking import LocalTracker

pytestmark = pytest.mark.usefixtures("own_home", "one_thread")

COUNTS = {"train": 7, "dev": 3, "test": 6}
TRAINING = QuestionTraining(
    judgement="likelihood",
    labels=LabelSettings(max_candidates=6, epsilon=0.5),
    extractive=ExtractiveSettings(learning_rate=3e-3, num_epochs=2, batch_size=4, warmup_steps=1),
    num_sentences=1,
    num_summaries=5,
    policy="empty_if_not_better",
    abstractive=AbstractiveSettings(num_epochs=1, batch_size=2, warmup_steps=1, max_input_tokens=120, lora_rank=2),
    max_summary_tokens=4,
)


@pytest.fixture
def bench(encoder):
    return QuestionBench(People(), Town(), encoder, dict(COUNTS), 2, Retrieval(num_documents=3))


@pytest.fixture
def reader(bench, encoder):
    return Reader(tiny_questions.reader(), bench.prompt, 8, encoder)


class CountingScorer:
    """A judge that counts what it is asked."""

    def __init__(self, scorer):
        self.scorer, self.asked = scorer, 0

    def scores(self, requests):
        self.asked += len(requests)
        return self.scorer.scores(requests)

    def fingerprint(self):
        return self.scorer.fingerprint()


class TestBench:
    @given(
        limit=st.integers(1, 30), wanted=st.sets(st.sampled_from([n for names in SPLITS.values() for n in names[:-1]]))
    )
    def test_some_documents_are_the_wanted_and_the_first_others(self, limit, wanted):
        everything = [document.id for document in Town().documents()]
        others = [name for name in everything if name not in wanted][: max(0, limit - len(wanted))]
        found = [document.id for document in SomeDocuments(Town(), limit, wanted).documents()]
        assert found == [name for name in everything if name in wanted or name in others]

    def test_a_part_of_the_corpus_holds_the_gold_documents_of_all_chosen_questions(self, bench):
        bench.retrieval = replace(bench.retrieval, num_passages=16)
        titles = [document.title for document in bench.corpus.documents()]
        wanted = {name for split, names in SPLITS.items() for name in names[: COUNTS[split]]} - {SPLITS["dev"][-1]}
        assert set(titles) >= wanted
        assert len(titles) == 16
        assert bench.corpus.fingerprint() != Town().fingerprint()

    def test_examples_are_training_questions_that_are_not_labelled(self, bench):
        shown = {demonstration.question for demonstration in bench.prompt.demonstrations}
        assert len(shown) == 2
        assert shown <= {question.text for question in People().load("train")[COUNTS["train"] :]}
        bench.counts["train"] = None
        del bench.prompt
        assert len(bench.prompt.demonstrations) == 2

    def test_documents_are_the_most_similar(self, bench, encoder):
        asked = bench.asked("test")
        assert asked.questions == People().load("test")[:6]
        texts = [f"{document.title} {document.text}" for document in Town().documents()]
        similar = DualEncoder(encoder).similarities(asked.queries, [texts] * 6)
        for documents, values in zip(asked.documents, similar, strict=True):
            best = sorted(values.tolist(), reverse=True)[:3]
            found = [values[texts.index(document.titled_text)] for document in documents]
            assert found == pytest.approx(best, rel=1e-5)

    def test_words_find_the_person_that_is_asked_about(self, bench):
        questions = People().load("test")[:6]
        assert [row[0].title for row in bench.search_words(questions)] == [question.id for question in questions]

    def test_a_split_without_questions_is_named(self, bench):
        bench.counts["dev"] = 0
        with pytest.raises(OctoberError, match="people: no questions of split dev"):
            bench.asked("dev")

    def test_parts_keep_questions_and_documents_together(self, bench):
        asked = bench.asked("test")
        assert asked[1:3] == asked.take([1, 2]) == Asked(asked.questions[1:3], asked.documents[1:3])
        source, request = asked.sources()[2], asked.requests()[2]
        assert (source.query, source.targets, source.documents) == (request.query, request.targets, request.documents)
        assert request.gold_sentences == (gold_of(asked.questions[2].id),)


class TestReader:
    def test_it_answers_after_what_the_compressor_leaves(self, bench, reader, encoder):
        asked = bench.asked("test")
        reading = reader.read(asked, TopDocuments(2))
        assert reading["evidence"] == TopDocuments(2).compress_many(asked.queries, asked.documents)
        prompts = [bench.prompt.prompt(*pair) for pair in zip(asked.queries, reading["evidence"], strict=True)]
        assert reading["answers"] == [tiny_questions.answer(prompt).strip() for prompt in prompts]
        tokenizer = encoder.load().tokenizer
        assert reading["tokens"] == [len(tokenizer.tokenize(text)) for text in reading["evidence"]]

    def test_tokens_are_those_of_a_local_model(self, bench, encoder, student):
        tokenizer = student.load()[1]
        text = "Ada Berg was born in Rome."
        assert Reader(student, bench.prompt, 8, encoder).tokens([text, ""]) == [len(tokenizer.tokenize(text)), 0]

    @pytest.mark.parametrize(("by", "expected"), [("match", [1.0, 0.0]), ("likelihood", [-0.25, None])])
    def test_it_judges_by_answers_or_likelihoods(self, bench, reader, by, expected):
        question = bench.asked("test").questions[0]
        (scores,) = reader.scorer(by).scores(
            [ScoringRequest(question.text, question.answers, (gold_of(question.id), ""))]
        )
        assert scores[0] == expected[0]
        assert scores[1] == expected[1] if by == "match" else scores[1] < -1


class TestCompressors:
    def test_an_extractive_one_is_labelled_and_trained_once(self, bench, reader, encoder):
        before = {name: weight.clone() for name, weight in encoder.load().state_dict().items()}
        scorer = CountingScorer(reader.scorer("likelihood"))
        first = _question_training.extractive_compressor(bench, scorer, encoder, TRAINING)
        assert scorer.asked == 7 + 3
        second = _question_training.extractive_compressor(bench, scorer, encoder, TRAINING)
        assert scorer.asked == 7 + 3
        assert second.about == first.about
        assert second.encoder == first.encoder
        assert all(torch.equal(weight, before[name]) for name, weight in encoder.load().state_dict().items())
        moved = first.encoder.load().state_dict()
        scores = [score for _, score in first.about["scores"]]
        assert any(not torch.equal(moved[name], before[name]) for name in before) == (scores[0] < max(scores))
        assert not list((data_home() / "training").glob("*/run"))
        silent = _question_training.extractive_compressor(
            bench, scorer, encoder, _question_training.with_empty(TRAINING)
        )
        assert scorer.asked == 7 + 3  # the labels are the same, the empty text was always judged
        assert silent.compressor.allow_empty
        assert silent.encoder != first.encoder

    def test_the_margin_is_chosen_by_the_labels_that_training_made(self, bench, reader, encoder):
        scorer = CountingScorer(reader.scorer("likelihood"))
        made = _question_training.with_margin(bench, scorer, encoder, TRAINING)
        assert scorer.asked == 7 + 3
        silent = _question_training.extractive_compressor(
            bench, scorer, encoder, _question_training.with_empty(TRAINING)
        )
        assert made.encoder.encoder == silent.encoder
        judged = _compressors.labelled(bench.asked("dev").sources(), scorer, encoder, 6)
        assert scorer.asked == 7 + 3
        assert made.margin == calibrated_margin(made.encoder, judged)
        assert made.allow_empty

    def test_one_that_may_choose_none_learns_without_the_in_batch_loss(self, bench, reader, encoder):
        own = _question_training.with_empty(_question_training.with_loss_in_batch(TRAINING))
        assert own.extractive == replace(TRAINING.extractive, loss="listwise")
        sources = [replace(each, targets=("nowhere at all",)) for each in bench.asked("train").sources()]
        likes_none = OracleModel(tiny_questions.answer, lambda prompt, text: -len(prompt) / 7)
        scorer = AnswerLikelihood(likes_none, bench.prompt, model_fingerprint="likes none")
        made = _compressors.trained_extractive(sources, [], scorer, encoder, own.extractive, own.labels, known={})
        assert made.about["empty"] == 1

    def test_what_it_learned_from_is_counted(self, bench, reader, encoder):
        about = _question_training.extractive_compressor(bench, reader.scorer("likelihood"), encoder, TRAINING).about
        labels = TRAINING.labels
        judged = _compressors.labelled(bench.asked("train").sources(), reader.scorer("likelihood"), encoder, 6)
        kept = []
        for row in judged:
            pairs = [(s, t) for s, t in zip(row.scores, row.candidates, strict=True) if t]
            worse = [text for score, text in pairs if score < max(pairs)[0] - labels.epsilon]
            if worse:
                kept.append(min(len(worse), 5))
        assert about["training"] == len(kept)
        assert about["dropped"] == pytest.approx(1 - len(kept) / 7)
        assert about["negatives"] == pytest.approx(sum(kept) / len(kept))
        assert about["empty"] == 0
        assert (about["task"], about["judge"]) == ("questions", "AnswerLikelihood")
        assert (about["loss"], about["with_empty"]) == ("listwise", False)
        assert about["validation"] == 3
        steps = len(about["losses"])
        assert steps == 2 * math.ceil(len(kept) / 4)
        assert [step for step, _ in about["scores"]] == [0, steps / 2, steps]

    def test_a_training_that_fails_leaves_nothing_to_be_read(self, bench, reader, encoder, monkeypatch):
        def fails(*arguments):
            raise KeyboardInterrupt

        monkeypatch.setattr(_compressors, "train_extractive", fails)
        with pytest.raises(KeyboardInterrupt):
            _question_training.extractive_compressor(bench, reader.scorer("likelihood"), encoder, TRAINING)
        assert not list((data_home() / "trained").glob("*"))

    def test_an_encoder_of_two_networks_is_refused(self, bench, reader, encoder):
        two = replace(encoder, query_path=encoder.path)
        with pytest.raises(OctoberError, match="encoder tiny: has a network for queries"):
            _question_training.extractive_compressor(bench, reader.scorer("likelihood"), two, TRAINING)

    def test_the_empty_text_is_taken_out_with_its_score(self):
        scored = ScoredExample("q", ("a", "", "b"), (1.0, 2.0, 3.0), (0.1, 0.2, 0.3))
        assert _compressors.without_empty(scored) == ScoredExample("q", ("a", "b"), (1.0, 3.0), (0.1, 0.3))

    def test_an_abstractive_one_is_judged_and_trained_once(self, bench, reader, student):
        scorer = CountingScorer(reader.scorer("likelihood"))
        arguments = (bench, scorer, None, student, TRAINING)
        first = _question_training.abstractive_compressor(*arguments)
        assert scorer.asked == 5
        second = _question_training.abstractive_compressor(*arguments)
        assert scorer.asked == 5
        assert first.about == second.about
        assert first.about["training"] == 5
        assert (first.about["task"], first.about["with_titles"]) == ("questions", False)
        assert len(first.about["losses"]) == 3
        judged = GoldSentenceTeacher().summaries(bench.asked("train")[:5].requests())
        golds = sum(
            bool(written[0]) and "yes" not in q.answers
            for written, q in zip(judged, bench.questions("train")[:5], strict=True)
        )
        assert first.about["empty"] <= 1 - golds / 5
        weights, own = (each.compressor.writer.model.model.state_dict() for each in (first, second))
        assert all(torch.equal(weights[name], own[name]) for name in weights)
        untrained = student.load()[0].state_dict()
        assert any(not torch.equal(weights[name], untrained[name]) for name in weights)

    def test_questions_whose_documents_lack_the_answer_can_be_left_out(self, bench, reader, student):
        asked = bench.asked("train")
        pairs = list(zip(asked.questions, asked.documents, strict=True))[:5]
        wanted = [question for question, found in pairs if any(question.answers[0] in each.text for each in found)]
        scorer = CountingScorer(reader.scorer("likelihood"))
        short = replace(TRAINING.abstractive, warmup_steps=0)
        own = replace(TRAINING, answer_in_documents=True, abstractive=short)
        made = _question_training.abstractive_compressor(bench, scorer, None, student, own)
        assert scorer.asked == made.about["training"] == len(wanted)
        assert 0 < len(wanted) < 5

    def test_an_encoder_decoder_is_a_student_too(self, bench, reader, tmp_path):
        model, tokenizer = seq2seq_student()
        model.save_pretrained(tmp_path / "t5")
        tokenizer.save_pretrained(tmp_path / "t5")
        _question_training.check_student(str(tmp_path / "t5"))
        trained = _question_training.abstractive_compressor(
            bench, reader.scorer("likelihood"), None, str(tmp_path / "t5"), TRAINING
        )
        assert len(trained.about["losses"]) == 3
        moved = trained.compressor.writer.model.state_dict()
        assert any(not torch.equal(moved[name], weight) for name, weight in model.state_dict().items())
        with pytest.raises(OctoberError, match="no such folder"):
            _question_training.check_student("./nowhere/at/all")

    def test_without_gold_sentences_a_teacher_must_be_named(self):
        question = Question("1", "Who?", ("I",), "nq", "test")
        with pytest.raises(OctoberError, match="teacher=null: these questions have no gold sentences"):
            _question_training.teacher_of(None, [question], TRAINING)

    def test_a_model_can_be_the_teacher(self, bench):
        handle = OracleHandle(OracleModel(lambda prompt: " It says so.\n\nAnd more"))
        teacher, name = _question_training.teacher_of(handle, [], TRAINING)
        asked = bench.asked("test")
        summaries = _question_training.TeacherSummaries(teacher, asked)
        assert summaries.compress(asked.queries[1], asked.documents[1]) == "It says so. And more"
        assert name != _question_training.teacher_of(handle, [], replace(TRAINING, max_summary_tokens=9))[1]

    def test_a_teachers_prompts_are_the_questions_or_of_a_file(self, tmp_path):
        handle = OracleHandle(OracleModel(lambda prompt: "x"))
        (tmp_path / "prompts.yaml").write_text('- "{documents} {query}"')
        given = [None, "multi_hop", str(tmp_path / "prompts.yaml")]
        found = [_question_training.teacher_of(handle, [], replace(TRAINING, prompts=each)) for each in given]
        assert [teacher.prompts for teacher, _ in found] == [
            QUESTION_PROMPTS,
            MULTI_HOP_PROMPTS,
            ("{documents} {query}",),
        ]
        assert len({name for _, name in found}) == 3
        with pytest.raises(OctoberError, match=r"nowhere\.yaml: cannot be read"):
            replace(TRAINING, prompts="nowhere.yaml")


class TestCells:
    @given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=8))
    def test_a_ratio_is_of_sums(self, pairs):
        cell = _question_cells.ratio_cell(*zip(*pairs, strict=True), 100.0, "%")
        assert cell.value == pytest.approx(100 * sum(ours for ours, _ in pairs) / sum(theirs for _, theirs in pairs))
        ratios = [100 * ours / theirs for ours, theirs in pairs]
        assert min(ratios) - 1e-9 <= cell.bounds[0] <= cell.bounds[1] <= max(ratios) + 1e-9
        assert (cell.n, cell.unit) == (len(pairs), "%")
        assert _question_cells.ratio_cell([1], [0]).value is None

    def test_the_interval_of_a_ratio_is_that_of_questions_drawn_again(self):
        generator = np.random.default_rng(3)
        theirs = generator.integers(300, 900, 250)
        ours = generator.integers(0, 60, 250) + theirs // 30
        drawn = [generator.integers(0, 250, 250) for _ in range(4000)]
        ratios = [ours[rows].sum() / theirs[rows].sum() for rows in drawn]
        cell = _question_cells.ratio_cell(ours, theirs)
        assert cell.bounds == pytest.approx(tuple(np.quantile(ratios, [0.025, 0.975])), rel=0.01)

    def test_groups_are_drawn_from_apart(self):
        generator = np.random.default_rng(0)
        ours, theirs = generator.integers(0, 2, 400), generator.integers(0, 3, 300) > 0
        cell = _question_cells.groups_cell(ours, theirs)
        assert cell.value == pytest.approx(100 * (ours.mean() - theirs.mean()))
        error = 100 * math.sqrt(ours.var() / 400 + theirs.var() / 300)
        assert cell.bounds == pytest.approx((cell.value - 1.96 * error, cell.value + 1.96 * error), abs=0.6)
        assert _question_cells.groups_cell([], [1]).value is None

    def test_exact_match_by_kind_puts_all_single_facts_together(self):
        kinds = ["capital", "bridge", "birth_year", "yes_no", "bridge"]
        questions = [Question(str(n), "?", ("a",), kind, "test") for n, kind in enumerate(kinds)]
        cells = _question_cells.by_kind(np.array([1, 0, 0, 1, 1]), questions)
        shares = {name: (cell.value, cell.n) for name, cell in cells.items()}
        assert shares == {"EM, single-hop": (50, 2), "EM, bridge": (50, 2), "EM, yes or no": (100, 1)}
        assert _question_cells.by_kind(np.array([1, 0]), [questions[0], questions[2]]) == {}

    def test_the_better_of_two_is_taken_question_by_question(self):
        one, other = (
            {name: [name + which + str(n) for n in range(2)] for name in ("evidence", "answers")} for which in "ab"
        )
        assert better_of(one, other, np.array([False, True]))["answers"] == ["answersa0", "answersb1"]


def settings(bench_encoder, **more):
    return {
        "model": tiny_questions.reader(),
        "encoder": bench_encoder,
        "data": People(),
        "corpus": Town(),
        "teacher": None,
        "num_train": 7,
        "num_validation": 3,
        "num_test": 6,
        "num_demonstrations": 2,
        "retrieval": Retrieval(num_documents=3),
        "training": TRAINING,
        "max_answer_tokens": 8,
        **more,
    }


def claims_of(table):
    return {claim.metric for claim in published_of("recomp").claims if claim.table == table}


@pytest.fixture(scope="module")
def ran_open_qa(tmp_path_factory, encoder, student):
    folder = tmp_path_factory.mktemp("open_qa")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OCTOBER_HOME", str(folder / "home"))
        with Run(folder / "run", "recomp/open_qa", {}, LocalTracker()) as run:
            return run, open_qa(**settings(encoder, student=student, num_oracle=4, in_batch=True), run=run)


class TestOpenQA:
    def test_every_published_row_stands_beside_its_own(self, ran_open_qa):
        _, result = ran_open_qa
        published = {row.name for table in published_of("recomp").tables_of("open_qa") for row in table.rows}
        assert {row.published for row in result.rows} - {None} == published - {
            "sentence by DPR"
        }  # no such encoder here
        assert {row.name for row in result.rows if row.published is None} == set(NOT_PUBLISHED) - {PATTERNS}

    def test_cells_are_what_was_answered(self, ran_open_qa):
        run, result = ran_open_qa
        questions = People().load("test")[:6]
        for row in result.rows:
            reading = run.finished.get(row.name)
            if reading is None:
                continue
            asked = questions[: len(reading["answers"])]
            pairs = list(zip(reading["answers"], asked, strict=True))
            em = [exact_match(answer, question.answers) for answer, question in pairs]
            f1 = [token_f1(answer, question.answers, decided=question.kind == "yes_no") for answer, question in pairs]
            assert row.cells["EM"].value == pytest.approx(100 * np.mean(em))
            assert row.cells["F1"].value == pytest.approx(100 * np.mean(f1))
            assert row.cells["tokens"].value == pytest.approx(np.mean(reading["tokens"]))
            whole = run.finished["top-5 documents"]["tokens"][: len(asked)]
            assert row.cells["compression"].value == pytest.approx(100 * sum(reading["tokens"]) / sum(whole))
            assert row.cells["empty"].value == pytest.approx(100 * np.mean([not text for text in reading["evidence"]]))
            assert row.cells["EM"].n == (4 if row.name == "oracle sentence" else 6)

    def test_nothing_is_told_without_retrieval_and_oracles_are_the_best(self, ran_open_qa):
        run, result = ran_open_qa
        rows = {row.name: row.cells for row in result.rows}
        assert rows["no retrieval"]["tokens"].value == 0
        assert rows["no retrieval"]["empty"].value == 100
        assert rows["oracle summary"]["EM"].value >= max(
            rows[n]["EM"].value for n in ("teacher's summary", "no retrieval")
        )
        oracle = run.finished["oracle sentence"]
        for name in ("random sentence", "sentence by BM25", "extractive RECOMP"):
            others = run.finished[name]
            pairs = zip(oracle["answers"], others["answers"], People().load("test"), strict=False)
            assert all(exact_match(best, q.answers) >= exact_match(other, q.answers) for best, other, q in pairs)

    def test_the_teacher_writes_gold_sentences_that_were_retrieved(self, ran_open_qa):
        run, _ = ran_open_qa
        documents = run.finished["top-5 documents"]["evidence"]
        written = run.finished["teacher's summary"]["evidence"]
        for text, whole, question in zip(written, documents, People().load("test"), strict=False):
            assert text == (gold_of(question.id) if gold_of(question.id) in whole else "")

    def test_every_claim_is_decided_by_what_is_measured(self, ran_open_qa):
        run, result = ran_open_qa
        gain = "EM, extractive RECOMP minus no retrieval minus 0.9 of the top-{} gain"
        assert set(result.evidence) < claims_of("open_qa")
        assert claims_of("open_qa") - set(result.evidence) in ({gain.format(1)}, {gain.format(5)})
        em = {
            name: np.array(
                [
                    exact_match(*pair)
                    for pair in zip(
                        run.finished[name]["answers"], [q.answers for q in People().load("test")[:6]], strict=True
                    )
                ]
            )
            for name in ("extractive RECOMP", "no retrieval", "top-5 documents", "top-1 document")
        }
        judged = "top-5" if em["top-5 documents"].mean() - em["no retrieval"].mean() >= 0.05 else "top-1"
        base = em["no retrieval"]
        by_hand = em["extractive RECOMP"] - base - 0.9 * (em[f"{judged} document{'s' * (judged == 'top-5')}"] - base)
        assert result.evidence[gain.format(judged[-1])].value == pytest.approx(100 * by_hand.mean())
        kept = [run.finished[name]["tokens"] for name in ("extractive RECOMP", "top-5 documents")]
        share = result.evidence["tokens, extractive RECOMP over top-5 documents"].value
        assert share == pytest.approx(sum(kept[0]) / sum(kept[1]))

    def test_at_the_papers_own_scale_no_row_stands_beside_the_small_one(
        self, ran_open_qa, encoder, student, tmp_path, monkeypatch
    ):
        done, _ = ran_open_qa
        monkeypatch.setenv("OCTOBER_HOME", str(tmp_path))
        with Run(tmp_path / "run", "recomp/open_qa_paper", {}, LocalTracker()) as run:
            run.finished = dict(done.finished)
            result = open_qa(**settings(encoder, student=student, num_oracle=4, in_batch=True), run=run)
        assert {row.published for row in result.rows} == {None}


class TestTransfer:
    def test_the_cache_model_trains_what_another_reads(self, encoder, student, tmp_path):
        arguments = settings(encoder, labeller=None, student=student, num_oracle=6, own_judgement=True)
        with Run(tmp_path / "run", "recomp/transfer", {}, LocalTracker()) as run:
            result = transfer(**arguments, run=run)
        published = {row.name for table in published_of("recomp").tables_of("transfer") for row in table.rows}
        assert {row.name for row in result.rows} == published | {OWN}
        assert {row.published for row in result.rows} == published | {None}
        assert set(result.evidence) == claims_of("transfer")
        bench = QuestionBench(People(), Town(), encoder, dict(COUNTS), 2, Retrieval(num_documents=3))
        asked, chosen = bench.asked("test"), run.finished["oracle sentence"]["evidence"]
        for text, question, documents in zip(chosen, asked.questions, asked.documents, strict=True):
            told = any(question.answers[0] in document.text for document in documents)
            assert (question.answers[0] in text) == told
        assert len(list((data_home() / "trained").glob("*"))) == 3

    def test_another_model_can_label_and_the_student_can_be_left_out(self, encoder, tmp_path):
        labeller = OracleHandle(OracleModel(tiny_questions.answer, lambda prompt, text: -len(prompt) / 7))
        labeller.name = "likes it short"
        arguments = settings(encoder, labeller=labeller, student=None, num_oracle=3, own_judgement=False)
        with Run(tmp_path / "run", "recomp/transfer", {}, LocalTracker()) as run:
            result = transfer(**arguments, run=run)
        assert [row.name for row in result.rows][-1] == "oracle sentence"
        assert result.fingerprints["likes it short"] == "oracle"
        whole = QuestionBench(People(), Town(), encoder, dict(COUNTS), 2, Retrieval(num_documents=3)).asked("test")
        for text, documents in zip(run.finished["oracle sentence"]["evidence"], whole.documents, strict=False):
            sentences = [f"{s}." for d in documents for s in d.text.removesuffix(".").split(". ")]
            assert len(text) <= min(len(f"{d.title}: {s}") for d in documents for s in sentences)


@pytest.fixture(scope="module")
def ran_analysis(tmp_path_factory, encoder, student):
    folder = tmp_path_factory.mktemp("analysis")
    arguments = settings(encoder, student=student, num_pool=7, num_with_answer=2, num_without_answer=2, max_sentences=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OCTOBER_HOME", str(folder / "home"))
        with Run(folder / "run", "recomp/analysis", {}, LocalTracker()) as run:
            return run, analysis(**arguments, run=run)


class TestAnalysis:
    def test_rows_stand_beside_the_published_ones(self, ran_analysis):
        _, result = ran_analysis
        published = published_of("recomp")
        for row in result.rows:
            if row.published is not None:
                published.row("analysis", row.published)
        assert {row.published for row in result.rows} >= {"abstractive, NQ", "extractive, NQ", "abstractive RECOMP"}
        assert len({row.name for row in result.rows}) == len(result.rows)

    def test_every_claim_is_decided_by_both_groups_of_questions(self, ran_analysis):
        run, result = ran_analysis
        assert set(result.evidence) == claims_of("analysis")
        name = "extractive RECOMP that may choose none"
        shares = {}
        for group in ("with", "without"):
            texts = run.finished[f"{name}, {group} the answer"]["evidence"]
            assert len(texts) == 2
            shares[group] = 100 * np.mean([not text for text in texts])
        silent = result.evidence["empty summaries, documents without the answer over those with it"]
        assert (silent.value, silent.n) == (shares["without"] - shares["with"], 4)

    def test_more_sentences_hold_the_fewer_and_are_more_tokens(self, ran_analysis):
        run, result = ran_analysis
        one, two, three = (run.finished[name]["evidence"] for name in ("1 sentence", "2 sentences", "3 sentences"))
        assert all(text in longer for text, longer in zip(one * 2, two + three, strict=True))
        tokens = [row.cells["tokens"].value for row in result.rows if "sentence" in row.name and "tokens" in row.cells]
        assert len(tokens) == 3
        assert tokens == sorted(tokens)

    def test_what_is_read_has_the_answer_in_its_documents_or_not(self, ran_analysis):
        run, _ = ran_analysis
        picked = run.finished["with and without the answer"]
        questions = People().load("test")
        for group, holds in (("with", True), ("without", False)):
            evidences = run.finished[f"top-5 documents, {group} the answer"]["evidence"]
            assert len(evidences) == 2
            for place, evidence in zip(picked[group], evidences, strict=True):
                assert questions[place].kind != "yes_no"
                assert (questions[place].answers[0] in evidence) == holds


def test_only_summaries_that_are_not_empty_tell_whether_they_mislead():
    questions = [Question(str(n), "Where?", ("Oslo",), "birthplace", "test") for n in range(30)]
    documents = {"evidence": ["Graz is old."] * 30, "answers": ["Graz"] * 15 + ["Rome"] * 15}
    summaries = {"evidence": ["Graz."] * 12 + [""] * 18, "answers": ["Graz"] * 9 + ["Rome"] * 21}
    cell = misled_cell(summaries, documents, questions)
    assert (cell.value, cell.n) == (pytest.approx(-25), 12)
    summaries["evidence"][:3] = [""] * 3
    assert (misled_cell(summaries, documents, questions).value, 9) == (None, 9)


class TestSelection:
    DOCUMENTS = (
        Passage("a#0", "Ada Berg", "Ada Berg likes tea. Ada Berg was born in Oslo. She paints.", "x"),
        Passage("b#0", "Bo Kern", "Bo Kern was  born\nin Graz.", "x"),
    )
    QUESTIONS = (
        Question(
            "a", "Where was Ada Berg born?", ("Oslo",), "birthplace", "test", ("a",), ("Ada Berg was born in Oslo.",)
        ),
        Question(
            "b", "Was Bo Kern born in Graz?", ("yes",), "yes_no", "test", ("b",), ("Bo Kern was born in Graz.", "Gone.")
        ),
    )

    def test_the_row_counts_places_and_gold_sentences(self):
        asked = Asked(list(self.QUESTIONS), [self.DOCUMENTS] * 2)
        selected = [
            [[0, 1, "Ada Berg was born in Oslo."]],
            [[0, 2, "Ada Berg: She paints."], [1, 0, "Bo Kern was  born\nin Graz."]],
        ]
        cells = _selection.selection_row("row", selected, asked).cells
        assert cells["from the best document"].value == pytest.approx(100 * 2 / 3)
        assert cells["first of its document"].value == pytest.approx(100 / 3)
        assert cells["gold sentences retrieved"].value == pytest.approx(75)
        assert cells["gold sentences selected"].value == pytest.approx(100)

    def test_selected_sentences_are_the_compressors(self, encoder):
        asked = Asked(list(self.QUESTIONS), [self.DOCUMENTS] * 2)
        compressor = baseline("dense_sentence", num_sentences=2, encoder=DualEncoder(encoder))
        rows = _selection.selected_by(compressor, asked)
        assert json.loads(json.dumps(rows)) == rows
        joined = [" ".join(text for _, _, text in row) for row in rows]
        assert joined == compressor.compress_many(asked.queries, asked.documents)

    def test_questions_are_divided_by_whether_their_documents_hold_the_answer(self):
        far = (Passage("c#0", "Cleo Lund", "Cleo Lund sails.", "x"),)
        questions = [self.QUESTIONS[place] for place in (0, 1, 0, 0, 0)]
        asked = Asked(questions, [far, far, self.DOCUMENTS, self.DOCUMENTS, far])
        assert _selection.by_answer(asked, 1, 5) == {"with": [2], "without": [0, 4]}

    def test_only_wrong_answers_from_evidence_without_the_right_one_are_copied(self):
        questions = [Question(str(n), "Where?", ("Oslo",), "birthplace", "test") for n in range(5)]
        reading = {
            "evidence": ["Graz is old.", "Graz, Oslo", "Graz", "", "It is Oslo-like."],
            "answers": ["Graz", "Graz", "Rome", "Graz", "Oslo"],
        }
        assert _selection.copied(reading, questions) == [1, 0, 0, 0, 0]
        assert _selection.empty(reading) == [0, 0, 0, 1, 0]


@pytest.mark.parametrize("size", ["tiny", "small", "full"])
def test_the_tables_read_the_same_compressors(size):
    configs = [
        configuration.resolved(configuration.composed([f"experiment=recomp/{name}", f"size={size}"]))
        for name in ("open_qa", "transfer", "analysis")
    ]
    shared = ("model", "encoder", "data", "corpus", "student", "num_train", "num_validation", "retrieval", "training")
    for other in configs[1:]:
        assert {name: other[name] for name in shared} == {name: configs[0][name] for name in shared}
