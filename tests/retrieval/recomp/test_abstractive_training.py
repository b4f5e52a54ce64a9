import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from recomp_run import REQUESTS, STUDENT, SUMMARIES, causal_student, run, seq2seq_student

from october.errors import OctoberError
from october.language_models import TransformersLM
from october.language_models.answer_training import trained_model
from october.language_models.training_runs import newest_whole_checkpoint
from october.retrieval.recomp import (
    AbstractiveCompressor,
    AbstractiveSettings,
    CausalWriter,
    Seq2SeqWriter,
    summary_input,
    train_causal,
    train_seq2seq,
)

SCRIPT = Path(__file__).parents[2] / "helpers/recomp_run.py"
STUDENTS = {"causal": causal_student, "seq2seq": seq2seq_student}
TRAINERS = {"causal": train_causal, "seq2seq": train_seq2seq}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Each kind, trained without interruption."""
    return {kind: run(kind, tmp_path_factory.mktemp(kind) / "run") for kind in STUDENTS}


@torch.inference_mode()
def loss_by_loops(kind, model, tokenizer, places):
    """The mean over all tokens of summaries and end tokens, one example and one token at a time."""
    losses = []
    for place in places:
        request, summary = REQUESTS[place], SUMMARIES[place]
        prompt = summary_input(request.query, request.documents[0].text)
        if kind == "causal":
            given = tokenizer(prompt)["input_ids"]
            target = tokenizer(f" {summary}", add_special_tokens=False)["input_ids"] if summary else []
            target = [*target, 1]
            for count, token in enumerate(target):
                logits = model(torch.tensor([given + target[:count]])).logits[0, -1].double()
                losses.append(-logits.log_softmax(dim=0)[token].item())
        else:
            given = torch.tensor([tokenizer(prompt + " ")["input_ids"]])
            target = tokenizer(summary)["input_ids"]
            for count, token in enumerate(target):
                written = torch.tensor([[0, *target[:count]]])
                logits = model(input_ids=given, decoder_input_ids=written).logits[0, -1].double()
                losses.append(-logits.log_softmax(dim=0)[token].item())
    return sum(losses) / len(losses)


def without_dropout(model):
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.0
    return model


@pytest.mark.parametrize("rows_at_once", [1, 5])
@pytest.mark.parametrize("kind", STUDENTS)
def test_the_loss_is_that_of_summaries_and_their_ends(kind, rows_at_once, tmp_path):
    """The mean over all tokens of a step, whether its examples are seen at once or one by one."""
    model, tokenizer = STUDENTS[kind]()
    without_dropout(model)
    settings = replace(STUDENT, batch_size=5, rows_at_once=rows_at_once, num_epochs=1, warmup_steps=0)
    found = TRAINERS[kind](model, tokenizer, REQUESTS, SUMMARIES, tmp_path, settings)
    expected = loss_by_loops(kind, model, tokenizer, range(5))
    assert found.losses == pytest.approx([expected], rel=1e-4)


@pytest.mark.parametrize("kind", STUDENTS)
def test_what_is_learned_does_not_depend_on_how_many_are_seen_at_once(kind, tmp_path):
    found = []
    for rows_at_once in (1, 2):
        model, tokenizer = STUDENTS[kind]()
        settings = replace(STUDENT, rows_at_once=rows_at_once, learning_rate=1e-3)
        folder = tmp_path / str(rows_at_once)
        found.append(TRAINERS[kind](without_dropout(model), tokenizer, REQUESTS, SUMMARIES, folder, settings))
    assert found[0].losses == pytest.approx(found[1].losses, rel=1e-4)


@pytest.mark.parametrize("kind", STUDENTS)
def test_the_student_learns_and_the_model_that_was_given_stays(trained, kind):
    model, tokenizer = STUDENTS[kind]()
    before = loss_by_loops(kind, model, tokenizer, range(5))
    assert loss_by_loops(kind, trained[kind].model, tokenizer, range(5)) < 0.9 * before
    assert len(trained[kind].losses) == 6


@pytest.mark.parametrize("kind", STUDENTS)
def test_a_student_that_saw_empty_summaries_only_writes_none(kind, tmp_path):
    model, tokenizer = causal_student() if kind == "causal" else seq2seq_student(3.0)
    settings = replace(STUDENT, num_epochs=8, lora_rank=None)
    found = TRAINERS[kind](model, tokenizer, REQUESTS, [""] * 5, tmp_path, settings)
    assert any(summaries_of(kind, model, tokenizer))
    assert summaries_of(kind, found.model, tokenizer) == [""] * 5


def summaries_of(kind, model, tokenizer):
    causal = kind == "causal"
    writer = CausalWriter(TransformersLM(model, tokenizer), tokenizer) if causal else Seq2SeqWriter(model, tokenizer)
    compressor = AbstractiveCompressor(writer, max_new_tokens=5)
    return compressor.compress_many([one.query for one in REQUESTS], [one.documents for one in REQUESTS])


@pytest.mark.parametrize("kind", STUDENTS)
def test_a_killed_run_goes_on_to_the_same_losses(trained, kind, tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, str(SCRIPT), kind, str(folder), "6"]
    killed = subprocess.run(command, capture_output=True, timeout=300)
    assert killed.returncode == -9, killed.stderr.decode()[-2000:]
    assert newest_whole_checkpoint(folder) == folder / "checkpoint-4"
    resumed = run(kind, folder)
    assert resumed.losses == trained[kind].losses
    weights, expected = resumed.model.state_dict(), trained[kind].model.state_dict()
    assert all(torch.equal(weights[name], weight) for name, weight in expected.items())


def test_a_trained_student_is_loaded_from_its_folder(trained):
    model = trained_model(causal_student()[0], trained["causal"].folder)
    expected = trained["causal"].model.state_dict()
    assert all(torch.equal(weight, expected[name]) for name, weight in model.state_dict().items())
    writer = Seq2SeqWriter.load(str(trained["seq2seq"].folder), device="cpu")
    ours = Seq2SeqWriter(trained["seq2seq"].model, seq2seq_student()[1])
    assert writer.write(["What?"], 5) == ours.write(["What?"], 5)


def test_bad_arguments_are_named(tmp_path):
    model, tokenizer = causal_student()
    names = ("learning_rate", "num_epochs", "batch_size", "rows_at_once", "lora_rank", "max_target_tokens")
    for name in (*names, "save_every"):
        with pytest.raises(OctoberError, match=f"{name}=0: must be above 0"):
            AbstractiveSettings(**{name: 0})
    with pytest.raises(OctoberError, match="requests are empty"):
        train_causal(model, tokenizer, [], [], tmp_path)
    with pytest.raises(OctoberError, match="5 requests and 1 summaries"):
        train_causal(model, tokenizer, REQUESTS, ["a"], tmp_path)
    with pytest.raises(OctoberError, match=r"has \d+ tokens, more than max_target_tokens=3"):
        train_causal(model, tokenizer, REQUESTS, SUMMARIES, tmp_path, replace(STUDENT, max_target_tokens=3))
    with pytest.raises(OctoberError, match="puts no end token behind a summary"):
        train_seq2seq(model, tokenizer, REQUESTS, SUMMARIES, tmp_path)
    assert math.isclose(AbstractiveSettings().learning_rate, 1e-5)


@pytest.mark.parametrize("kind", STUDENTS)
def test_a_training_that_ends_within_its_warm_up_is_refused(kind, tmp_path):
    too_long = replace(STUDENT, warmup_steps=6)  # 5 examples, 2 a batch, 2 epochs
    with pytest.raises(OctoberError, match="warmup_steps=6: must be below the 6 steps of this training"):
        TRAINERS[kind](*STUDENTS[kind](), REQUESTS, SUMMARIES, tmp_path / "run", too_long)
