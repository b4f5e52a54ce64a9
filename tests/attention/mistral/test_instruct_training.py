import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from instruct_run import SETTINGS, conversations, model_and_tokenizer
from one_line import one_line

from october.attention.mistral import (
    InstructSettings,
    MistralModel,
    fine_tune,
    training_example,
    training_examples,
)
from october.language_models.answer_training import answer_batch, answer_loss
from october.language_models.training_runs import newest_whole_checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")


def examples_of(tokenizer):
    return [training_example(tokenizer, conversation) for conversation in conversations()]


def loss_by_loops(model, examples):
    """One conversation at a time without padding, one learned token at a time."""
    losses = []
    for token_ids, labels in examples:
        logits = model(torch.tensor([token_ids])).logits[0]
        losses += [
            -torch.log_softmax(logits[place - 1].double(), dim=0)[label]
            for place, label in enumerate(labels)
            if label != -100
        ]
    return torch.stack(losses).mean()


@pytest.mark.parametrize("count", [1, 2, 6])
def test_the_loss_and_its_gradients_are_those_of_the_answers(count):
    model, tokenizer = model_and_tokenizer()
    examples = examples_of(tokenizer)[-count:]
    batch = answer_batch(examples, padding_id=0)
    labels = batch.pop("labels")
    outputs = model(**batch)
    assert outputs.logits.shape[1] == labels.shape[1] - 1
    assert outputs.logits.shape[1] < batch["input_ids"].shape[1]
    loss = answer_loss(outputs, labels)
    loss.backward()
    found = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    expected = loss_by_loops(model, examples)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for name, weight in model.named_parameters():
        assert torch.allclose(found[name], weight.grad, rtol=1e-3, atol=1e-5), name


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return fine_tune(*model_and_tokenizer(), conversations(), tmp_path_factory.mktemp("run"), SETTINGS)


def test_a_run_learns_and_its_first_loss_is_that_of_the_model(uninterrupted):
    model, tokenizer = model_and_tokenizer()
    assert len(uninterrupted.losses) == 6
    every = loss_by_loops(model, examples_of(tokenizer)).item()
    after = loss_by_loops(uninterrupted.model.eval(), examples_of(tokenizer)).item()
    assert after < 0.95 * every
    one_step = [loss_by_loops(model, [examples_of(tokenizer)[i] for i in pair]).item() for pair in _pairs()]
    assert min(abs(uninterrupted.losses[0] - loss) for loss in one_step) < 1e-4


def _pairs():
    return [(first, second) for first in range(6) for second in range(first)]


def test_a_killed_run_goes_on_to_the_same_losses(uninterrupted, tmp_path):
    """Killed by a signal in its sixth step; a newer checkpoint that was half written is passed over."""
    folder = tmp_path / "run"
    script = Path(__file__).parent.parent.parent / "helpers/instruct_run.py"
    killed = subprocess.run([sys.executable, str(script), str(folder), "6"], capture_output=True, timeout=300)
    assert killed.returncode == -9, killed.stderr.decode()[-2000:]
    assert not (folder / "model").exists()
    newest = newest_whole_checkpoint(folder)
    assert newest == folder / "checkpoint-4"
    shutil.copytree(newest, folder / "checkpoint-5")
    (folder / "checkpoint-5/trainer_state.json").write_text('{"global_step": 5,')
    shutil.copytree(newest, folder / "checkpoint-6", ignore=shutil.ignore_patterns("trainer_state.json"))
    assert newest_whole_checkpoint(folder) == newest
    resumed = fine_tune(*model_and_tokenizer(), conversations(), folder, SETTINGS)
    assert resumed.losses == uninterrupted.losses
    weights, expected = resumed.model.state_dict(), uninterrupted.model.state_dict()
    assert all(torch.equal(weights[name], weight) for name, weight in expected.items())
    again = fine_tune(*model_and_tokenizer(), conversations(), folder, SETTINGS)
    assert again.losses == uninterrupted.losses


def test_accumulated_batches_count_as_one(tmp_path):
    """Six conversations with answers of different lengths, at once and in batches of two: the same steps."""
    settings = replace(SETTINGS, batch_size=6, lora_rank=None, num_epochs=3, learning_rate=1e-3)
    whole = fine_tune(*model_and_tokenizer(), conversations(), tmp_path / "whole", settings)
    pieces = replace(settings, batch_size=2, accumulated_batches=3)
    parts = fine_tune(*model_and_tokenizer(), conversations(), tmp_path / "parts", pieces)
    assert len(whole.losses) == 3
    assert parts.losses == pytest.approx(whole.losses, rel=1e-4)
    model, tokenizer = model_and_tokenizer()
    assert whole.losses[0] == pytest.approx(loss_by_loops(model, examples_of(tokenizer)).item(), rel=1e-5)


def test_what_was_trained_whole_is_loaded_as_any_model(tmp_path):
    _, tokenizer = model_and_tokenizer()
    settings = InstructSettings(num_epochs=1, batch_size=6, lora_rank=None)
    trained = fine_tune(*model_and_tokenizer(), conversations(), tmp_path, settings)
    lm = MistralModel.load(trained.folder, weights="float32", device="cpu")
    (score,) = lm.score(["[INST] x [/INST]"], [" nothing."])
    example = training_example(tokenizer, conversations()[3])
    learned = [label for label in example.labels if label != -100]
    assert list(score.token_ids) == learned[:-1]
    logits = trained.model.eval()(torch.tensor([example.token_ids])).logits[0].log_softmax(dim=-1)
    first = len(example.labels) - len(learned)
    expected = [logits[first + place - 1, token].item() for place, token in enumerate(learned[:-1])]
    assert score.log_probabilities == pytest.approx(expected, abs=1e-4)


def test_bad_arguments_are_named(tmp_path):
    model, tokenizer = model_and_tokenizer()
    for name in ("learning_rate", "num_epochs", "batch_size", "accumulated_batches", "lora_rank", "save_every"):
        with one_line(f"{name}=0: must be above 0"):
            InstructSettings(**{name: 0})
    with one_line("conversations are empty"):
        fine_tune(model, tokenizer, [], tmp_path)
    with one_line(r"conversation: has \d+ tokens, more than max_tokens=20"):
        training_examples(tokenizer, conversations(), max_tokens=20)
    (tmp_path / "run.json").write_text(json.dumps({"run": "another"}))
    with one_line("holds a run with other settings or examples"):
        fine_tune(model, tokenizer, conversations(), tmp_path)
    (tmp_path / "run.json").write_text("{")
    with one_line(r"run.json: cannot be read; choose another folder"):
        fine_tune(model, tokenizer, conversations(), tmp_path)
