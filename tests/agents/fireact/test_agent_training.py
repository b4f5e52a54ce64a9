import json
import math
import subprocess
import sys
from dataclasses import replace

import fireact_run
import pytest
import torch
from fireact_run import SETTINGS, train, trajectories, trajectory
from references import losses_of_steps, losses_one_by_one
from tiny_backbones import char_tokenizer, language_model

from october.agents.fireact import AgentTrainingSettings, supervised_examples, train_agent
from october.errors import OctoberError
from october.language_models.answer_training import trained_model
from october.language_models.packing import packed
from october.language_models.training_runs import newest_whole_checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")
WHOLE = replace(SETTINGS, lora_rank=None, lora_dropout=0.0, warmup_steps=0, num_epochs=3, batch_size=5, rows_at_once=5)


def run(folder, settings, some=None, family="gemma3"):
    return train_agent(language_model(family), char_tokenizer(), some or trajectories(), folder, settings)


def mean_loss(model, learned="own"):
    """Over all learned tokens of all trajectories."""
    examples = supervised_examples(char_tokenizer(), trajectories(), learned=learned).examples
    return losses_one_by_one(model, examples).mean()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return train(tmp_path_factory.mktemp("run"))


def test_a_killed_run_goes_on_to_the_same_losses(uninterrupted, tmp_path):
    """Killed by a signal within its fourth step of six; what dropout draws goes on too."""
    folder = tmp_path / "run"
    command = [sys.executable, fireact_run.__file__, str(folder), "7"]
    killed = subprocess.run(command, capture_output=True, timeout=300)
    assert killed.returncode == -9, killed.stderr.decode()[-2000:]
    assert newest_whole_checkpoint(folder) == folder / "checkpoint-2"
    assert not (folder / "model").exists()
    resumed = train(folder)
    assert len(resumed.losses) == 6 == SETTINGS.num_steps(5)
    assert resumed.losses == uninterrupted.losses
    weights, expected = (
        trained_model(language_model("gemma3"), each.folder).state_dict() for each in (resumed, uninterrupted)
    )
    assert all(torch.equal(weights[name], weight) for name, weight in expected.items())


@pytest.mark.parametrize(
    ("settings", "shares"),
    [
        (WHOLE, [1, 0.75, 0.25]),
        (replace(WHOLE, schedule="linear"), [1, 2 / 3, 1 / 3]),
        (replace(WHOLE, schedule="linear", warmup_steps=1), [0, 1, 0.5]),
        (replace(WHOLE, learned="all"), [1, 0.75, 0.25]),
    ],
    ids=["cosine", "linear", "warm-up", "all tokens"],
)
def test_the_losses_are_those_of_a_plain_loop(tmp_path, settings, shares):
    """AdamW by hand on one trajectory at a time, all of them in each step."""
    trained = run(tmp_path, settings)
    model = language_model("gemma3")
    rates = [settings.learning_rate * share for share in shares]
    expected = losses_of_steps(model, lambda learner: mean_loss(learner, settings.learned), rates)
    assert trained.losses == pytest.approx(expected, rel=1e-4)
    after = mean_loss(trained_model(language_model("gemma3"), trained.folder), settings.learned).item()
    assert after == pytest.approx(mean_loss(model, settings.learned).item(), rel=1e-3)
    assert after < 0.97 * expected[0]


def test_a_warm_up_that_is_longer_than_the_training_is_told_and_ends_before_the_last_step(tmp_path, capsys):
    settings = replace(WHOLE, schedule="linear", learning_rate=1e-3)
    fitting = run(tmp_path / "fitting", replace(settings, warmup_steps=2))
    assert "warmup_steps" not in capsys.readouterr().err
    longer = run(tmp_path / "longer", replace(settings, warmup_steps=3))
    assert "warmup_steps=3: this training has 3 steps; the learning rate rises in 2 of them" in capsys.readouterr().err
    assert longer.losses == fitting.losses
    run(tmp_path / "one", replace(settings, warmup_steps=9, num_epochs=1))
    assert "warmup_steps=9: this training has 1 steps; the learning rate rises in 0" in capsys.readouterr().err


def test_the_model_that_is_given_stays_as_it_is(tmp_path):
    model = language_model("gemma3").to(torch.bfloat16)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    trained = train_agent(model, char_tokenizer(), trajectories(), tmp_path, replace(WHOLE, num_epochs=1))
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    tuned = trained_model(model, trained.folder)
    assert tuned.dtype == torch.bfloat16
    assert any(not torch.equal(weight, before[name]) for name, weight in tuned.state_dict().items())
    assert (trained.folder / "tokenizer.json").exists()


@pytest.mark.parametrize("more", [{"row_tokens": 400}, {"rows_at_once": 1}], ids=["packed", "one at once"])
def test_rows_change_nothing(tmp_path, more):
    """Whether examples share rows, and how many rows are seen at once, leaves every step what it was."""
    if "row_tokens" in more:
        rows = packed(supervised_examples(char_tokenizer(), trajectories()).examples, 400)
        assert 1 < len(rows) < len(trajectories())
        more = {**more, "batch_size": len(rows), "rows_at_once": len(rows)}
    plain, other = run(tmp_path / "plain", WHOLE), run(tmp_path / "other", replace(WHOLE, **more))
    assert len(plain.losses) == 3
    assert other.losses == pytest.approx(plain.losses, rel=1e-4)
    assert other.examples == plain.examples


def test_long_trajectories_are_learned_in_parts(tmp_path):
    some = [*trajectories(), trajectory("Cork", "Ireland", 5), trajectory("Kiel" * 60, "Germany")]
    trained = run(tmp_path, replace(WHOLE, batch_size=1, rows_at_once=1, num_epochs=1), some)
    assert trained.examples.num_split == 1
    assert trained.examples.too_long == ["Kiel" * 60]
    assert len(trained.losses) == len(trained.examples.examples) > len(some) - 1


def adapter(folder):
    return json.loads((folder / "model/adapter_config.json").read_text())


def test_adapters_are_the_authors(tmp_path):
    """The released script's settings are the defaults; here with fewer steps."""
    paper = AgentTrainingSettings()
    assert (paper.learning_rate, paper.schedule, paper.warmup_steps, paper.num_epochs) == (3e-4, "linear", 100, 30)
    assert (paper.batch_size, paper.rows_at_once, paper.max_tokens, paper.row_tokens) == (128, 16, 512, None)
    assert paper.num_steps(500) == 30 * math.ceil(500 / 128)
    run(tmp_path, replace(paper, num_epochs=1, learning_rate=0.1, warmup_steps=0), family="llama")
    config = adapter(tmp_path)
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (8, 16, 0.05)
    assert set(config["target_modules"]) == {"q_proj", "v_proj"}
    before = language_model("llama").state_dict()
    after = trained_model(language_model("llama"), tmp_path / "model").state_dict()
    moved = {name.split(".")[-2] for name, weight in after.items() if not torch.equal(weight, before[name])}
    assert moved == {"q_proj", "v_proj"}


def test_dropout_and_seed_decide_what_is_learned(tmp_path):
    one = replace(SETTINGS, num_epochs=1, batch_size=1, warmup_steps=0)
    changes = {"plain": {}, "again": {}, "no dropout": {"lora_dropout": 0.0}, "other seed": {"seed": 5}}
    losses = {name: run(tmp_path / name, replace(one, **more)).losses for name, more in changes.items()}
    assert losses["again"] == losses["plain"]
    assert losses["no dropout"][1:] != losses["plain"][1:]
    assert losses["other seed"] != losses["plain"]
    assert adapter(tmp_path / "no dropout")["lora_dropout"] == 0.0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        *(
            ({name: 0}, f"{name}=0: must be above 0")
            for name in (
                *("learning_rate", "num_epochs", "batch_size", "rows_at_once"),
                *("max_tokens", "row_tokens", "lora_rank", "checkpoint_every"),
            )
        ),
        ({"seed": -1}, "seed=-1: must not be below 0"),
        ({"warmup_steps": -1}, "warmup_steps=-1: must not be below 0"),
        ({"lora_dropout": -0.1}, "lora_dropout=-0.1: must not be below 0"),
        ({"lora_dropout": 1.0}, "lora_dropout=1.0: must be below 1"),
        ({"row_tokens": 511}, "row_tokens=511: must be at least max_tokens=512"),
        ({"schedule": "constant"}, "schedule=constant: allowed are linear, cosine"),
        ({"learned": "none"}, "learned=none: allowed are own, all"),
    ],
)
def test_a_wrong_setting_is_one_line(wrong, message):
    with pytest.raises(OctoberError, match=f"^{message}$"):
        AgentTrainingSettings(**wrong)


def test_what_does_not_fit_is_told_before_training(tmp_path):
    with pytest.raises(OctoberError, match="batch_size=2: must be a multiple of rows_at_once=3 on each of 1 devices"):
        run(tmp_path, replace(SETTINGS, rows_at_once=3))
    with pytest.raises(OctoberError, match=r"lora_targets=\['c_attn'\]: Gemma3ForCausalLM has no such layers"):
        run(tmp_path / "targets", replace(SETTINGS, lora_targets=("c_attn",)))
    with pytest.raises(OctoberError, match="trajectories are empty"):
        train_agent(language_model("llama"), char_tokenizer(), [], tmp_path, SETTINGS)
    assert not list(tmp_path.rglob("checkpoint-*"))
    folder = tmp_path / "claimed"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"run": "another"}))
    with pytest.raises(OctoberError, match="holds a run with other settings or examples"):
        run(folder, SETTINGS)
