import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from recomp_run import EXAMPLES, VALIDATION, extractive_settings, run
from tiny_sentence_encoder import save_backbone, sentence_encoder

from october.errors import OctoberError
from october.language_models.training_runs import newest_whole_checkpoint
from october.retrieval.embeddings import LoadedEncoder
from october.retrieval.recomp import (
    ContrastiveExample,
    DistinctQueries,
    DualEncoder,
    ExtractiveCompressor,
    ExtractiveSettings,
    ListwiseLoss,
    listwise_columns,
    reranked_score,
    train_extractive,
)

SCRIPT = Path(__file__).parents[2] / "helpers/recomp_run.py"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Each loss, trained without interruption."""
    return {loss: run(loss, tmp_path_factory.mktemp(loss) / "run") for loss in ("listwise", "in_batch")}


def test_defaults_are_the_papers():
    settings = ExtractiveSettings()
    assert (settings.learning_rate, settings.batch_size, settings.num_epochs) == (2e-5, 64, 3)
    assert (settings.warmup_steps, settings.max_tokens, settings.scale) == (1000, 100, 1.0)


@pytest.mark.parametrize("loss", ["listwise", "in_batch"])
def test_the_encoder_learns_to_choose_what_helps(trained, loss, tmp_path):
    found = trained[loss]
    fresh = sentence_encoder(save_backbone(tmp_path / "bert"))
    assert found.validation[0] == (0, reranked_score(fresh, VALIDATION))
    assert reranked_score(found.encoder, VALIDATION) == max(score for _, score in found.validation[1:])
    assert reranked_score(found.encoder, VALIDATION) > found.validation[0][1]
    assert sum(found.losses[-2:]) < sum(found.losses[:2])


def test_the_number_of_steps_is_that_of_the_batches(trained):
    assert len(trained["listwise"].losses) == 2 * 2  # 7 queries, 4 a batch, 2 epochs
    assert len(trained["in_batch"].losses) == 2 * 4  # 13 triplets, 4 a batch


def test_without_dropout_the_first_loss_is_that_of_the_first_batch(tmp_path):
    from datasets import Dataset

    encoder = sentence_encoder(save_backbone(tmp_path / "bert"))
    for module in encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    columns = listwise_columns(EXAMPLES)
    batch = next(iter(DistinctQueries(Dataset.from_dict(columns), 4)))
    texts = [[column[row] for row in batch] for name, column in columns.items() if name != "label"]
    labels = torch.tensor([columns["label"][row] for row in batch])
    expected = ListwiseLoss(encoder)([encoder.preprocess(column) for column in texts], labels).item()
    found = train_extractive(encoder, EXAMPLES, [], tmp_path / "run", extractive_settings("listwise"))
    assert found.losses[0] == pytest.approx(expected, rel=1e-4)
    assert found.validation == []


def test_an_encoder_that_training_makes_worse_is_kept_as_it_was(tmp_path):
    settings = extractive_settings("listwise")
    encoder = sentence_encoder(save_backbone(tmp_path / "bert"))
    before = {name: weight.clone() for name, weight in encoder.state_dict().items()}
    texts = [list(row.candidates) for row in VALIDATION]
    similar = DualEncoder(LoadedEncoder(encoder)).similarities([row.query for row in VALIDATION], texts)
    first = [int(values.argmax()) for values in similar]
    likes = [replace(row, scores=(1.0 - best, float(best))) for row, best in zip(VALIDATION, first, strict=True)]
    others = [  # it learns to choose what it does not
        ContrastiveExample(row.query, row.candidates[1 - best], (row.candidates[best],))
        for row, best in zip(VALIDATION, first, strict=True)
    ]
    found = train_extractive(encoder, others, likes, tmp_path / "run", settings)
    assert found.validation[0] == (0, 1.0)
    assert max(score for _, score in found.validation[1:]) < 1
    gone_on = train_extractive(sentence_encoder(tmp_path / "bert"), others, likes, tmp_path / "run", settings)
    assert gone_on.validation == found.validation
    saved = ExtractiveCompressor.load(str(gone_on.folder)).encoder.encoder.load()
    for kept in (found.encoder, gone_on.encoder, saved):
        assert all(torch.equal(before[name], weight) for name, weight in kept.state_dict().items())


def test_a_training_that_ends_within_its_warm_up_is_refused(tmp_path):
    encoder = sentence_encoder(save_backbone(tmp_path / "bert"))
    too_long = replace(extractive_settings("listwise"), warmup_steps=4)
    with pytest.raises(OctoberError, match="warmup_steps=4: must be below the 4 steps of this training"):
        train_extractive(encoder, EXAMPLES, [], tmp_path / "run", too_long)


def test_a_trained_folder_is_loaded_as_a_compressor(trained, passages):
    found = trained["listwise"]
    compressor = ExtractiveCompressor.load(str(found.folder), num_sentences=2)
    texts = [passage.text for passage in passages]
    (scores,) = compressor.encoder.similarities(["Where is Rome?"], [texts])
    vectors = found.encoder.encode(["Where is Rome?", *texts], show_progress_bar=False)
    assert scores.tolist() == pytest.approx((vectors[1:] @ vectors[0]).tolist(), rel=1e-4)


@pytest.mark.parametrize("loss", ["in_batch"])
def test_a_killed_run_goes_on_to_the_same_losses(trained, loss, tmp_path):
    folder = tmp_path / "run"
    steps = len(trained[loss].losses)
    command = [sys.executable, str(SCRIPT), loss, str(folder), str(steps)]
    killed = subprocess.run(command, capture_output=True, timeout=300)
    assert killed.returncode == -9, killed.stderr.decode()[-2000:]
    assert not (folder / "model").exists()
    assert newest_whole_checkpoint(folder) is not None
    resumed = run(loss, folder)
    assert resumed.losses == trained[loss].losses
    assert resumed.validation == trained[loss].validation
    weights, expected = resumed.encoder.state_dict(), trained[loss].encoder.state_dict()
    assert all(torch.equal(weights[name], weight) for name, weight in expected.items())


def test_bad_arguments_are_named(tmp_path):
    for name in ("learning_rate", "num_epochs", "batch_size", "max_tokens", "scale", "evaluate_every"):
        with pytest.raises(OctoberError, match=f"{name}=0: must be above 0"):
            ExtractiveSettings(**{name: 0})
    with pytest.raises(OctoberError, match="loss='triplet': must be 'listwise' or 'in_batch'"):
        ExtractiveSettings(loss="triplet")
    with pytest.raises(OctoberError, match="examples are empty"):
        train_extractive(None, [], [], tmp_path)
    with pytest.raises(OctoberError, match="loss='in_batch': the empty text is a positive"):
        train_extractive(None, [EXAMPLES[0]._replace(positive="")], [], tmp_path, extractive_settings("in_batch"))
    (tmp_path / "run.json").write_text(json.dumps({"run": "another"}))
    with pytest.raises(OctoberError, match="holds a run with other settings or examples"):
        train_extractive(None, EXAMPLES, [], tmp_path, replace(extractive_settings("listwise"), seed=1))
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(OctoberError, match="cannot be read; choose another folder"):
        train_extractive(None, EXAMPLES, [], tmp_path)
    with pytest.raises(OctoberError, match="validation is empty"):
        reranked_score(None, [])
