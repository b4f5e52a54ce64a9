import json
import math
import subprocess
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from ra_dit_run import SETTINGS, instances, train, validation
from references import losses_of_steps, losses_one_by_one
from tiny_backbones import char_tokenizer, language_model

from october.errors import OctoberError
from october.language_models import ModelHandle
from october.language_models.answer_training import NOT_LEARNED, TrainingExample, mean_answer_loss, trained_model
from october.language_models.packing import packed, packed_batch
from october.language_models.training_runs import newest_whole_checkpoint
from october.retrieval.ra_dit import (
    FEW_SHOT_SETTINGS,
    Instance,
    LanguageModelSettings,
    rendered,
    train_language_model,
    training_example,
    training_rows,
)

pytestmark = pytest.mark.usefixtures("one_thread")
WHOLE = replace(SETTINGS, lora_rank=None, warmup_steps=0, max_steps=3, checkpoint_every=3)


def mean_loss_by_loops(model, some):
    """Over all learned tokens of all instances, unpacked."""
    return losses_one_by_one(model, (training_example(char_tokenizer(), instance) for instance in some)).mean()


def test_an_instance_has_a_start_and_an_end_and_only_the_answer_is_learned():
    tokenizer = char_tokenizer()
    example = rendered("open_qa", "who?", "Bo")
    token_ids, labels = training_example(tokenizer, Instance(example, "p q"))
    assert token_ids[0] == tokenizer.bos_token_id
    assert token_ids[-1] == labels[-1] == tokenizer.eos_token_id
    assert token_ids.count(tokenizer.bos_token_id) == token_ids.count(tokenizer.eos_token_id) == 1
    text = "Background: p q\n\nQuestion: who?\nAnswer: Bo"
    assert token_ids[1:-1] == tokenizer(text, add_special_tokens=False)["input_ids"]
    learned = [label for label in labels if label != NOT_LEARNED]
    assert learned == [*tokenizer(" Bo", add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    assert labels[-len(learned) :] == learned


def test_all_of_an_unsupervised_text_is_learned():
    token_ids, labels = training_example(char_tokenizer(), Instance(rendered("text", answer="Once.")))
    assert labels == [NOT_LEARNED, *token_ids[1:]]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return train(tmp_path_factory.mktemp("run"))


def test_a_killed_run_goes_on_to_the_same_losses(uninterrupted, tmp_path):
    """Killed by a signal within its fifth step: each step has two batches of one row."""
    folder = tmp_path / "run"
    script = Path(__file__).parent.parent.parent / "helpers/ra_dit_run.py"
    killed = subprocess.run([sys.executable, str(script), str(folder), "10"], capture_output=True, timeout=300)
    assert killed.returncode == -9, killed.stderr.decode()[-2000:]
    assert newest_whole_checkpoint(folder) == folder / "checkpoint-4"
    assert not (folder / "model").exists()
    resumed = train(folder)
    assert len(resumed.losses) == 6
    assert resumed.losses == uninterrupted.losses
    assert resumed.validated == uninterrupted.validated
    weights, expected = resumed.model.state_dict(), uninterrupted.model.state_dict()
    assert all(torch.equal(weights[name], weight) for name, weight in expected.items())


def test_two_processes_take_the_steps_of_one(uninterrupted, tmp_path):
    """Over gloo: the same rows in the same steps, a learned token counting as much in whichever process it is."""
    script = Path(__file__).parent.parent.parent / "helpers/ra_dit_run.py"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    found = json.loads((tmp_path / "numbers.json").read_text())
    assert found["losses"] == pytest.approx(uninterrupted.losses, rel=1e-4)
    assert [each[1] for each in found["validated"]] == pytest.approx(
        [each.loss for each in uninterrupted.validated], rel=1e-4
    )
    assert (tmp_path / "model/adapter_model.safetensors").exists()


def test_accelerate_takes_the_paper_s_sharding(monkeypatch):
    """As `accelerate launch --config_file` reads it: of Llama's layers, over the paper's 64 devices."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_multi_gpu_env

    path = files("october.experiments.ra_dit") / "accelerate_llama_65b.yaml"
    arguments = launch_command_parser().parse_args(
        ["--config_file", str(path), "--main_process_ip", "host", "script.py"]
    )
    arguments, defaults, _ = _validate_launch_command(arguments)
    assert arguments.use_fsdp
    assert (defaults.num_machines, arguments.num_processes, arguments.mixed_precision) == (8, 64, "bf16")
    monkeypatch.setattr("os.environ", {})
    environment = prepare_multi_gpu_env(arguments)
    assert environment["ACCELERATE_USE_FSDP"] == "true"
    assert environment["FSDP_TRANSFORMER_CLS_TO_WRAP"] == "LlamaDecoderLayer"
    assert environment["FSDP_STATE_DICT_TYPE"] == "FULL_STATE_DICT"  # no other is saved as a model


def test_the_losses_are_those_of_a_plain_loop(tmp_path):
    """All rows in each step: AdamW along a cosine by hand, on unpacked instances."""
    rows, _ = training_rows(char_tokenizer(), instances(), WHOLE)
    assert 1 < len(rows) < len(instances())
    settings = replace(WHOLE, batch_size=len(rows))
    start = language_model("gemma3")
    before = {name: weight.clone() for name, weight in start.state_dict().items()}
    trained = train_language_model(start, char_tokenizer(), instances(), tmp_path, settings)
    assert all(torch.equal(weight, before[name]) for name, weight in start.state_dict().items())
    model = language_model("gemma3")
    rates = [1e-3 + (1e-2 - 1e-3) * (1 + math.cos(math.pi * step / 3)) / 2 for step in range(3)]
    expected = losses_of_steps(model, lambda learner: mean_loss_by_loops(learner, instances()), rates)
    assert trained.losses == pytest.approx(expected, rel=1e-4)
    after = mean_loss_by_loops(trained.model, instances()).item()
    assert after == pytest.approx(mean_loss_by_loops(model, instances()).item(), rel=1e-3)
    assert after < 0.9 * expected[0]


def test_a_model_that_is_trained_itself_is_the_one_that_is_returned(uninterrupted, tmp_path):
    model = language_model("gemma3")
    trained = train_language_model(
        model, char_tokenizer(), instances(), tmp_path / "whole", replace(WHOLE, max_steps=1), in_place=True
    )
    assert trained.model is model
    again = language_model("gemma3")
    assert train(tmp_path / "lora", model=again, in_place=True).losses == uninterrupted.losses
    assert any("lora" in name for name, _ in again.named_parameters()) is False  # merged
    assert all(
        torch.equal(weight, uninterrupted.model.state_dict()[name]) for name, weight in again.state_dict().items()
    )


def test_rows_at_once_change_nothing(tmp_path):
    rows, _ = training_rows(char_tokenizer(), instances(), WHOLE)
    settings = replace(WHOLE, batch_size=len(rows))
    arguments = (language_model("llama"), char_tokenizer(), instances())
    singly = train_language_model(*arguments, tmp_path / "singly", settings)
    together = train_language_model(*arguments, tmp_path / "together", replace(settings, rows_at_once=len(rows)))
    assert together.losses == pytest.approx(singly.losses, rel=1e-4)


def test_validation_is_exact_and_the_best_checkpoint_is_the_result(uninterrupted):
    assert [each.step for each in uninterrupted.validated] == [2, 4, 6]
    best = min(uninterrupted.validated, key=lambda each: each.loss)
    assert uninterrupted.best_step == best.step
    with torch.no_grad():
        assert mean_loss_by_loops(uninterrupted.model, validation()).item() == pytest.approx(best.loss, rel=1e-5)


def test_a_score_decides_before_the_loss(tmp_path):
    scores = iter([0.5, 0.9, 0.1])
    seen = []

    def score(model):
        seen.append(not model.training)
        return next(scores)

    trained = train(tmp_path, score=score)
    assert seen == [True] * 3
    assert [(each.step, each.score) for each in trained.validated] == [(2, 0.5), (4, 0.9), (6, 0.1)]
    assert trained.best_step == 4
    with torch.no_grad():
        found = mean_loss_by_loops(trained.model, validation()).item()
    assert found == pytest.approx(trained.validated[1].loss, rel=1e-5)


def test_what_was_saved_is_what_was_trained(uninterrupted):
    loaded = trained_model(language_model("gemma3"), uninterrupted.folder)
    weights = loaded.state_dict()
    for name, weight in uninterrupted.model.state_dict().items():
        assert torch.allclose(weights[name], weight, atol=1e-6), name


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        (replace(SETTINGS, warmup_steps=2), [0, 5e-3, 1e-2, None, None, None]),
        (replace(SETTINGS, schedule="linear", warmup_steps=0), [1e-2, 8.5e-3, 7e-3, 5.5e-3, 4e-3, 2.5e-3]),
    ],
)
def test_the_rate_rises_and_falls_as_said(tmp_path, settings, rates):
    settings = replace(settings, checkpoint_every=6)
    train_language_model(language_model("llama"), char_tokenizer(), instances(), tmp_path, settings)
    state = json.loads((tmp_path / "checkpoint-6/trainer_state.json").read_text())
    found = [entry["learning_rate"] for entry in state["log_history"] if "learning_rate" in entry]
    cosine = [1e-3 + 9e-3 * (1 + math.cos(math.pi * step / 4)) / 2 for step in (1, 2, 3)]
    expected = [rate if rate is not None else cosine.pop(0) for rate in rates]
    assert found == pytest.approx(expected)


def test_the_paper_s_settings_are_the_defaults():
    paper = LanguageModelSettings()
    assert (paper.learning_rate, paper.final_learning_rate, paper.schedule) == (1e-5, 1e-7, "cosine")
    assert (paper.warmup_steps, paper.max_steps, paper.batch_size, paper.checkpoint_every) == (200, 500, 64, 100)
    few = FEW_SHOT_SETTINGS
    assert (few.learning_rate, few.final_learning_rate, few.schedule) == (1e-5, 1e-6, "linear")
    assert (few.warmup_steps, few.max_steps, few.batch_size, few.checkpoint_every) == (0, 100, 8, 50)


@pytest.mark.gemma
def test_gemma_scores_packed_answers_as_it_scores_each_alone():
    """The packed loss is that of the house's scoring, which reads each prompt by itself; the end token left out."""
    lm = ModelHandle("gemma", embedded="gemma3_270m", dtype="float32", device="cpu").language_model()
    asked = [("Where lies Cork?", "Ireland", "Cork lies in Ireland."), ("Who wrote Hamlet?", "Shakespeare", None)]
    some = [Instance(rendered("open_qa", question, answer), passage) for question, answer, passage in asked]
    some.append(Instance(rendered("text", answer="The river runs through the town.")))
    examples = [TrainingExample(*(part[:-1] for part in training_example(lm.tokenizer, each))) for each in some]
    (row,) = packed(examples, 100)
    loss = mean_answer_loss(lm.model, [packed_batch([row], padding_id=0)])
    scores = lm.score([each.prompt for each in some], [each.learned for each in some])
    values = [value for score in scores for value in score.log_probabilities]
    assert loss == pytest.approx(-sum(values) / len(values), rel=1e-4)


def test_long_examples_are_refused_or_left_out_and_counted_but_never_cut(tmp_path):
    tokenizer, short = char_tokenizer(), replace(SETTINGS, max_tokens=70)
    named = (
        r"open_qa: the example 'Question: where\?.*' has 73 tokens, 31 of them the answer's, more than max_tokens=70"
    )
    with pytest.raises(OctoberError, match=named):
        training_rows(tokenizer, instances(), short)
    rows, skipped = training_rows(tokenizer, instances(), replace(short, too_long="skip"))
    assert skipped == 2
    kept = sorted(example.token_ids for row in rows for example in row)
    whole = sorted(training_example(tokenizer, each).token_ids for each in instances() if "where" not in each.prompt)
    assert kept == whole
    trained = train_language_model(
        language_model("llama"), tokenizer, instances(), tmp_path, replace(short, too_long="skip", max_steps=2)
    )
    assert trained.num_skipped == 2
    with pytest.raises(OctoberError, match=r"max_tokens=20: all 8 instances are longer"):
        training_rows(tokenizer, instances(), replace(short, max_tokens=20, too_long="skip"))


def test_bad_settings_are_named(tmp_path, monkeypatch):
    for name in ("learning_rate", "max_steps", "batch_size", "rows_at_once", "max_tokens", "lora_rank"):
        with pytest.raises(OctoberError, match=f"{name}=0: must be above 0"):
            LanguageModelSettings(**{name: 0})
    with pytest.raises(OctoberError, match="warmup_steps=500: must be from 0 to below max_steps=500"):
        LanguageModelSettings(warmup_steps=500)
    with pytest.raises(OctoberError, match="final_learning_rate=1e-05: must be from 0 to below learning_rate=1e-05"):
        LanguageModelSettings(final_learning_rate=1e-5)
    with pytest.raises(OctoberError, match="schedule=constant: allowed are cosine, linear"):
        LanguageModelSettings(schedule="constant")
    arguments = (language_model("llama"), char_tokenizer())
    with pytest.raises(OctoberError, match="batch_size=2: must be a multiple of rows_at_once=3 on each of 1 devices"):
        train_language_model(*arguments, instances(), tmp_path, replace(SETTINGS, rows_at_once=3))
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(OctoberError, match="rows_at_once=1 on each of 4 devices"):
        train_language_model(*arguments, instances(), tmp_path, SETTINGS)
    monkeypatch.delenv("WORLD_SIZE")
    with pytest.raises(OctoberError, match="instances are empty"):
        train_language_model(*arguments, [], tmp_path, SETTINGS)
    (tmp_path / "run.json").write_text(json.dumps({"run": "another"}))
    with pytest.raises(OctoberError, match="holds a run with other settings or examples"):
        train_language_model(*arguments, instances(), tmp_path, SETTINGS)
