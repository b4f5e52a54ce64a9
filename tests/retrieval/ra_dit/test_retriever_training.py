import copy
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from counting_encoder import Corpus
from oracle_model import OracleModel
from retriever_run import (
    EXAMPLES,
    KINDS,
    SETTINGS,
    VALIDATION,
    encoder_in,
    likes,
    retriever_in,
    run,
)
from tiny_lm import tiny_lm

from october.errors import OctoberError
from october.language_models.training_runs import newest_whole_checkpoint
from october.retrieval import Retriever, encode, open_sparse_retriever
from october.retrieval.ra_dit import ChunkScorer, RetrieverSettings, train_retriever
from october.retrieval.ra_dit.retriever_labels import labelled_chunks, read_labels, write_labels
from october.retrieval.ra_dit.retriever_loss import FixedPassages, LsrLoss, TunedPassages, liking
from october.retrieval.ra_dit.retriever_training import _model

SCRIPT = Path(__file__).parents[2] / "helpers/retriever_run.py"
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """An encoder and an index, shared by the tests."""
    return tmp_path_factory.mktemp("retriever")


@pytest.fixture(scope="module")
def trained(home):
    """Each kind, trained without interruption."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = {kind: run(kind, home / kind) for kind in KINDS}
    torch.set_num_threads(threads)
    return found


@pytest.fixture
def labels(home, tmp_path):
    encoder, retriever = encoder_in(home), retriever_in(home)
    queries = encode(encoder, [one.example.query for one in EXAMPLES], query=True)
    scorer = ChunkScorer(OracleModel(likes=likes), "letters", tmp_path)
    return labelled_chunks(EXAMPLES, queries, retriever.store, retriever.index, scorer, 4)


def without_dropout(model):
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def features(model, texts):
    return [model.preprocess(texts, task="query")]


def test_defaults_are_the_papers():
    settings = RetrieverSettings()
    assert (settings.k, settings.score, settings.lsr_temperature) == (10, "probability", 0.01)
    assert (settings.direction, settings.tuned) == ("retriever_to_lm", "query")
    assert (settings.learning_rate, settings.warmup_steps, settings.evaluate_every) == (1e-5, 1237, 500)
    assert (settings.num_epochs, settings.batch_size, settings.refresh_every) == (1, 32, None)


@pytest.mark.parametrize("kind", KINDS)
def test_the_retriever_comes_nearer_to_what_the_model_likes(trained, kind):
    found, settings = trained[kind], KINDS[kind]
    assert len(found.losses) == len(found.entropies) == 3 * math.ceil(len(EXAMPLES) / 4)
    assert [step for step, _ in found.validation] == [0, 3, 6, 9]
    assert min(value.kl for _, value in found.validation[1:]) < found.validation[0][1].kl
    assert np.mean(found.losses[-3:]) < np.mean(found.losses[:3])
    assert all(0 < entropy <= math.log(settings.k) for entropy in found.entropies)


def test_gradients_reach_the_encoder_of_queries_and_nothing_else(home, tmp_path):
    encoder, retriever = encoder_in(home), retriever_in(home)
    lm = tiny_lm("llama")
    queries = encode(encoder, [one.example.query for one in EXAMPLES], query=True)
    labels = labelled_chunks(EXAMPLES, queries, retriever.store, retriever.index, ChunkScorer(lm, "tiny", tmp_path), 4)
    model = _model(encoder, SETTINGS)
    loss = LsrLoss(model, FixedPassages(retriever.store, encoder, None), labels, SETTINGS)
    texts = [one.example.query for one in EXAMPLES[:5]]
    loss.train()
    loss(features(model, texts), torch.arange(5)).backward()
    assert {name for name, _ in loss.named_parameters()} == {f"model.{name}" for name, _ in model.named_parameters()}
    used = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert used == {name for name, _ in model.named_parameters() if "pooler" not in name}
    assert all(parameter.grad.abs().sum() > 0 for name, parameter in model.named_parameters() if name in used)
    assert all(parameter.grad is None for parameter in encoder.load().parameters())
    assert all(parameter.grad is None for parameter in lm.model.parameters())


def test_both_encoders_get_gradients_where_both_are_tuned(home, labels):
    encoder, retriever = encoder_in(home), retriever_in(home)
    model = _model(encoder, KINDS["both"])
    loss = LsrLoss(model, TunedPassages(retriever.store), labels, KINDS["both"])
    loss([model.preprocess([EXAMPLES[0].example.query], task="query")], torch.tensor([0])).backward()
    for side in ("query", "document"):
        parameters = dict(model[0].sub_modules[side].named_parameters())
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for n, p in parameters.items() if "pooler" not in n)
    assert all(parameter.grad is None for parameter in encoder.load().parameters())


@pytest.mark.parametrize("direction", ["retriever_to_lm", "lm_to_retriever"])
def test_loss_and_measurements_equal_brute_force(home, labels, direction):
    encoder, retriever = encoder_in(home), retriever_in(home)
    settings = replace(SETTINGS, direction=direction, retriever_temperature=0.7, lsr_temperature=0.5)
    model = without_dropout(_model(encoder, settings))
    texts = [one.example.query for one in EXAMPLES]
    loss = LsrLoss(model, FixedPassages(retriever.store, encoder, None), labels, settings)
    found = loss(features(model, texts), torch.arange(len(texts))).item()
    queries = model.encode_query(texts, show_progress_bar=False).astype(np.float64)
    divergences, ranks, entropies = [], [], []
    for row, query in enumerate(queries):
        passages = retriever.store.take(labels.positions[row].tolist())
        vectors = encode(encoder, [passage.titled_text for passage in passages]).astype(np.float64)
        own = np.exp(vectors @ query / 0.7)
        own /= own.sum()
        liked = [likes(f"Background: {p.titled_text}\n\nx", EXAMPLES[row].example.answer) for p in passages]
        wanted = np.exp(np.array(liked) / labels.num_tokens[row] / 0.5)
        wanted /= wanted.sum()
        p, q = (own, wanted) if direction == "retriever_to_lm" else (wanted, own)
        divergences.append(float((p * np.log(p / q)).sum()))
        entropies.append(float(-(wanted * np.log(wanted)).sum()))
        ranks.append(1 + int((own > own[wanted.argmax()]).sum()))
    assert found == pytest.approx(np.mean(divergences), rel=1e-4)
    assert loss.entropies == [pytest.approx(np.mean(entropies), rel=1e-6)]
    passages = FixedPassages(retriever.store, encoder, None)
    measured = liking(model, texts, passages, labels, settings)
    assert measured.kl == pytest.approx(np.mean(divergences), rel=1e-4)
    assert measured.mrr == pytest.approx(np.mean(1 / np.array(ranks)))
    assert measured.entropy == pytest.approx(np.mean(entropies), rel=1e-6)


def test_the_tuned_encoder_searches_the_old_index(trained, home):
    found = trained["plain"]
    assert found.encoder.path == encoder_in(home).path
    retriever = Retriever(retriever_in(home).store, retriever_in(home).index, found.encoder)
    queries = [one.example.query for one in VALIDATION]
    hits = retriever.search(queries, 4)
    vectors = found.encoder.load_query().encode_query(queries, show_progress_bar=False)
    passages = encode(encoder_in(home), [hit.passage.titled_text for hit in hits[2]])
    assert [hit.score for hit in hits[2]] == pytest.approx((passages @ vectors[2]).tolist(), rel=1e-4)
    labels = read_labels(home / "plain/chunks-validation.npz")
    model = found.encoder.load_query()
    kept = liking(model, queries, FixedPassages(retriever.store, found.encoder, None), labels, SETTINGS)
    assert kept.kl == pytest.approx(min(value.kl for _, value in found.validation[1:]), rel=1e-5)
    before = encode(encoder_in(home), queries, query=True)
    assert np.abs(before - vectors).max() > 1e-3


def test_where_both_are_tuned_the_old_index_is_refused(trained, home):
    found, old = trained["both"].encoder, retriever_in(home)
    with pytest.raises(OctoberError, match="was built with encoder fingerprint"):
        Retriever(old.store, old.index, found)
    assert len(retriever_in(home, found).search(["Which has aaa?"], 3)[0]) == 3
    texts = ["Which has aaa?"]
    assert np.abs(encode(found, texts) - encode(encoder_in(home), texts)).max() > 1e-3
    assert np.abs(encode(found, texts) - encode(found, texts, query=True)).max() > 1e-3


def test_chunks_are_searched_for_again(trained, home):
    files = sorted(path.name for path in (home / "refreshed").glob("chunks-0*.npz"))
    assert files == [f"chunks-{step:08d}.npz" for step in (0, 2, 4, 6, 8)]
    first, last = (read_labels(home / "refreshed" / name).positions for name in (files[0], files[-1]))
    assert (first != last).any()
    assert trained["refreshed"].losses[:2] == trained["plain"].losses[:2]
    assert trained["refreshed"].losses[2:] != trained["plain"].losses[2:]


@pytest.mark.parametrize("kind", ["refreshed"])
def test_a_killed_run_goes_on_to_the_same_losses(trained, kind, tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, str(SCRIPT), kind, str(folder), str(len(trained[kind].losses))]
    killed = subprocess.run(command, capture_output=True, timeout=300)
    assert killed.returncode == -9, killed.stderr.decode()[-2000:]
    assert newest_whole_checkpoint(folder) is not None
    assert not (folder / "model").exists()
    resumed = run(kind, folder)
    assert resumed.losses == trained[kind].losses
    assert resumed.entropies == pytest.approx(trained[kind].entropies)
    assert resumed.validation == trained[kind].validation
    weights, expected = (one.encoder.load_query().state_dict() for one in (resumed, trained[kind]))
    assert all(torch.equal(weights[name], weight) for name, weight in expected.items())


def test_two_processes_judge_once_and_search_again_with_what_they_have_learned(tmp_path):
    """Over gloo, four examples of a step in each, three steps in all."""
    retriever_in(tmp_path)
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(SCRIPT)]
    done = subprocess.run([*command, "refreshed", str(folder), "0"], capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert sorted(path.name for path in folder.glob("chunks-0*.npz")) == [f"chunks-{s:08d}.npz" for s in (0, 2)]
    first, last = (read_labels(folder / f"chunks-{step:08d}.npz").positions for step in (0, 2))
    assert (first != last).any()
    assert [int((tmp_path / f"run-judged-{rank}").read_text()) > 0 for rank in (0, 1)] == [True, False]
    assert (folder / "model").exists()


def test_a_loaded_encoder_is_left_as_it_is(home, tmp_path):
    encoder = encoder_in(home)
    before = copy.deepcopy(encoder.load().state_dict())
    scorer = ChunkScorer(OracleModel(likes=likes), "letters", tmp_path / "scores")
    train_retriever(encoder, retriever_in(home), EXAMPLES[:4], [], scorer, tmp_path / "run", SETTINGS)
    assert all(torch.equal(weight, before[name]) for name, weight in encoder.load().state_dict().items())


def test_hidden_passages_and_small_indexes(home, tmp_path):
    encoder, retriever = encoder_in(home), retriever_in(home)
    scorer = ChunkScorer(OracleModel(likes=likes), "letters", tmp_path)
    total = len(retriever.store)
    top = [hit.passage.id for hit in retriever.search([EXAMPLES[0].example.query], 3)[0]]
    examples = [EXAMPLES[0]._replace(hidden=(top[0], top[2])), EXAMPLES[0]]
    queries = encode(encoder, [one.example.query for one in examples], query=True)
    found = labelled_chunks(examples, queries, retriever.store, retriever.index, scorer, total + 5)
    assert [(row >= 0).sum() for row in found.positions] == [total - 2, total]
    ids = [retriever.store[int(place)].id for place in found.positions[0] if place >= 0]
    assert not {top[0], top[2]} & set(ids)
    assert ids[0] == top[1]
    assert (found.log_likelihoods[found.positions < 0] == -np.inf).all()
    p = found.log_p_lsr([0, 1], "mean_log_probability", 1.0).exp()
    assert p.sum(dim=1).tolist() == pytest.approx([1.0, 1.0])
    assert (p[torch.from_numpy(found.positions < 0)] == 0).all()
    write_labels(found, tmp_path / "labels.npz")
    again = read_labels(tmp_path / "labels.npz")
    assert all(np.array_equal(one, other) for one, other in zip(found, again, strict=True))
    (tmp_path / "labels.npz").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(OctoberError, match="cannot be read; delete it"):
        read_labels(tmp_path / "labels.npz")
    wide = replace(SETTINGS, k=total + 3, num_epochs=1, warmup_steps=0)
    result = train_retriever(encoder, retriever, EXAMPLES[:4], [], scorer, tmp_path / "wide", wide)
    assert all(math.isfinite(loss) for loss in result.losses)


class TestTooLong:
    """One example has an answer that the language model's context does not hold, whatever stands in front of it."""

    SHORT = replace(SETTINGS, num_epochs=1, warmup_steps=0)
    LONG = EXAMPLES[1]._replace(example=replace(EXAMPLES[1].example, answer="aaa " * 3000))

    @pytest.fixture
    def train(self, home, tmp_path):
        scorer = ChunkScorer(tiny_lm("llama"), "tiny", tmp_path / "scores")

        def train(folder, examples, validation=(), **more):
            settings = replace(self.SHORT, **more)
            return train_retriever(
                encoder_in(home), retriever_in(home), examples, validation, scorer, tmp_path / folder, settings
            )

        return train

    def test_it_is_refused_before_anything_is_judged(self, train, monkeypatch):
        monkeypatch.setattr(ChunkScorer, "scores", None)
        with pytest.raises(OctoberError, match=r"^example 1 \('.*'\): behind a passage it is longer .*too_long=skip"):
            train("run", [EXAMPLES[0], self.LONG])

    def test_or_it_is_left_out_and_counted(self, train):
        others = [EXAMPLES[0], *EXAMPLES[2:6]]
        alone = train("alone", others, VALIDATION[:2])
        found = train("both", [EXAMPLES[0], self.LONG, *EXAMPLES[2:6]], [self.LONG, *VALIDATION[:2]], too_long="skip")
        assert (alone.num_skipped, found.num_skipped) == (0, 2)
        assert found.losses == pytest.approx(alone.losses)
        assert found.entropies == pytest.approx(alone.entropies)
        assert [step for step, _ in found.validation] == [step for step, _ in alone.validation]
        for (_, one), (_, other) in zip(found.validation, alone.validation, strict=True):
            assert one == pytest.approx(other)

    def test_a_run_that_was_refused_goes_on_when_it_may_leave_out(self, train):
        with pytest.raises(OctoberError, match="behind a passage it is longer"):
            train("run", [EXAMPLES[0], self.LONG])
        assert train("run", [EXAMPLES[0], self.LONG], too_long="skip").num_skipped == 1

    def test_of_all_nothing_is_learned(self, train):
        with pytest.raises(OctoberError, match="all 2 examples are longer than the language model's context"):
            train("run", [self.LONG] * 2, too_long="skip")

    def test_a_single_chunk_may_be_too_long(self, home, tmp_path, labels):
        encoder, retriever = encoder_in(home), retriever_in(home)
        queries = encode(encoder, [one.example.query for one in EXAMPLES], query=True)
        model = OracleModel(likes=likes)
        second = [retriever.store[int(row[1])].titled_text for row in labels.positions]
        model.fits = lambda prompts, _: [not any(text in prompt for text in second[:2]) for prompt in prompts]
        scorer = ChunkScorer(model, "letters", tmp_path)
        found = labelled_chunks(EXAMPLES, queries, retriever.store, retriever.index, scorer, 4, "skip")
        left_out = found.positions < 0
        assert left_out[[0, 1], [1, 1]].all()
        assert (found.positions[~left_out] == labels.positions[~left_out]).all()
        assert (found.log_likelihoods[~left_out] == labels.log_likelihoods[~left_out]).all()
        assert (found.log_likelihoods[left_out] == -np.inf).all()
        assert found.usable == list(range(len(EXAMPLES)))


def test_bad_arguments_are_named(home, tmp_path):
    encoder, retriever = encoder_in(home), retriever_in(home)
    scorer = ChunkScorer(OracleModel(likes=likes), "letters", tmp_path / "scores")
    with pytest.raises(OctoberError, match="examples are empty"):
        train_retriever(encoder, retriever, [], [], scorer, tmp_path)
    other = replace(encoder, max_sequence_length=20)
    with pytest.raises(OctoberError, match="was built with encoder fingerprint"):
        train_retriever(other, retriever, EXAMPLES, [], scorer, tmp_path / "a")
    sparse = open_sparse_retriever(Corpus(5), cache_root=tmp_path, progress=False)
    with pytest.raises(OctoberError, match="is a sparse index: there is no encoder of queries to tune"):
        train_retriever(encoder, sparse, EXAMPLES, [], scorer, tmp_path / "a")
    everything = tuple(passage.id for passage in retriever.store)
    alone = [EXAMPLES[0], EXAMPLES[1]._replace(hidden=everything)]
    with pytest.raises(OctoberError, match=r"example 1 .*: no passage is left for it"):
        train_retriever(encoder, retriever, alone, [], scorer, tmp_path / "b", SETTINGS)
    run_folder = home / "claimed"
    train_retriever(
        encoder, retriever, EXAMPLES[:4], [], scorer, run_folder, replace(SETTINGS, num_epochs=1, warmup_steps=0)
    )
    with pytest.raises(OctoberError, match="holds a run with other settings or examples"):
        train_retriever(encoder, retriever, EXAMPLES[:4], [], scorer, run_folder, SETTINGS)
    for name in ("k", "lsr_temperature", "retriever_temperature", "learning_rate", "refresh_every", "evaluate_every"):
        with pytest.raises(OctoberError, match=f"{name}=0: must be above 0"):
            RetrieverSettings(**{name: 0})
    for name in ("score", "direction", "tuned", "best_by", "too_long"):
        with pytest.raises(OctoberError, match=f"{name}='x': must be one of"):
            RetrieverSettings(**{name: "x"})
