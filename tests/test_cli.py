"""The command line as a user meets it: real processes in an empty folder, with the paper of CONTRIBUTING.md."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., "subprocess.CompletedProcess[str]"]
COIN = "experiment=coin/fairness"
LOCAL = "tracker=local"


def only_run(folder: Path) -> Path:
    (run,) = (folder / "outputs/coin/fairness").iterdir()
    return run


def test_without_arguments_it_lists_the_experiments_and_leaves_nothing_behind(october: Command, tmp_path: Path) -> None:
    done = october()
    assert done.returncode == 0
    assert "coin/fairness" in done.stdout
    assert "needs nothing" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_listing_and_help_import_neither_torch_nor_hydra(october: Command) -> None:
    for arguments in ([], ["--help"]):
        done = october(*arguments, PYTHONPROFILEIMPORTTIME="1")
        assert done.returncode == 0
        assert "torch" not in done.stderr
        assert "hydra" not in done.stderr


def test_the_smallest_paper_runs_and_its_record_carries_the_verdict(october: Command, tmp_path: Path) -> None:
    done = october(COIN, LOCAL, "num_throws=400", "seeds=[3,4,5]")
    assert done.returncode == 0, done.stderr
    assert "**holds**" in done.stdout
    run = only_run(tmp_path)
    record = json.loads((run / "record.json").read_text())
    assert record["claims"][0]["verdict"] == "holds"
    assert record["config"]["num_throws"] == 400
    assert record["rows"][0]["cells"]["heads"]["n"] == 3
    assert 0.4 < record["rows"][0]["cells"]["heads"]["value"] < 0.6
    assert {path.name for path in run.iterdir()} >= {"config.yaml", "run.json", "steps.jsonl"}


def test_sizes_and_seed_reach_the_function(october: Command, tmp_path: Path) -> None:
    assert october(COIN, LOCAL, "size=tiny", "seed=7").returncode == 0
    record = json.loads((only_run(tmp_path) / "record.json").read_text())
    assert record["config"]["num_throws"] == 10
    assert record["seeds"] == [7]
    assert record["claims"][0]["verdict"] == "not tested at this scale"


def test_hydras_own_groups_can_be_chosen(october: Command, tmp_path: Path) -> None:
    assert october(COIN, LOCAL, "size=tiny", "hydra/job_logging=disabled").returncode == 0
    assert "job_logging: disabled" in (only_run(tmp_path) / ".hydra/hydra.yaml").read_text()


def test_a_sweep_makes_a_record_for_each_point(october: Command, tmp_path: Path) -> None:
    done = october("-m", COIN, LOCAL, "seed=0,1", "num_throws=10,20")
    assert done.returncode == 0, done.stderr
    records = [json.loads(path.read_text()) for path in tmp_path.rglob("record.json")]
    points = sorted((record["seeds"][0], record["config"]["num_throws"]) for record in records)
    assert points == [(0, 10), (0, 20), (1, 10), (1, 20)]


def test_cfg_job_prints_the_config_and_runs_nothing(october: Command, tmp_path: Path) -> None:
    done = october(COIN, "--cfg", "job")
    assert "num_throws" in done.stdout
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no experiment given"),
        (["experiment=ring_attention/flops", "seed=1"], "seed=1: this experiment does not loop over seeds"),
        (["experiment=fireact/finetuning", "seeds=[1]"], "training.seed=N"),
        (["experiment=coin/fairnes"], "did you mean coin/fairness"),
        ([COIN, "num_throw=3"], "num_throw: no such key (did you mean num_throws?)"),
        ([COIN, "+num_coins=3"], "num_coins: fairness takes no such argument"),
        ([COIN, "num_throws=many"], "num_throws=many: input should be a valid integer"),
        ([COIN, "num_throws=2.5"], "num_throws=2.5: input should be a valid integer"),
        ([COIN, "num_throws=0"], "num_throws=0: input should be greater than 0"),
        ([COIN, "num_throws=???"], "num_throws: a value is needed"),
        ([COIN, "seeds=[]"], "seeds=[]: give at least one seed"),
        ([COIN, "seeds=[a]"], "seeds.0=a: input should be a valid integer"),
        ([COIN, "size=huge"], "size=huge: input should be 'tiny', 'small' or 'full'"),
        ([COIN, "num_throws=1,2"], "add -m"),
        ([COIN, "num_throws=[1"], "at input '[1'"),
        ([COIN, "tracker=wandbb"], "did you mean wandb?"),
        ([COIN, "tracker.mode=fast"], "tracker.mode=fast: input should be 'auto'"),
        ([COIN, "hardware.threads=0"], "hardware.threads=0: input should be greater than 0"),
        ([COIN, "resume=nowhere"], "resume=nowhere: no run is there"),
    ],
)
def test_a_mistake_gets_one_line_and_no_folder(
    october: Command, tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = october(*(arguments or ["size=tiny"]))
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not list(tmp_path.rglob("record.json"))


def test_resume_goes_on_after_the_last_finished_step(october: Command, tmp_path: Path) -> None:
    assert october(COIN, LOCAL, "seeds=[0,1,2]").returncode == 0
    run = only_run(tmp_path)
    whole = json.loads((run / "record.json").read_text())
    (run / "record.json").unlink()
    (run / "steps.jsonl").write_text((run / "steps.jsonl").read_text().splitlines(keepends=True)[0])
    (run / "run.json").write_text((run / "run.json").read_text().replace('"finished"', '"unfinished"'))
    assert october(COIN, LOCAL, "seeds=[0,1,2]", "resume=true").returncode == 0
    assert only_run(tmp_path) == run
    assert json.loads((run / "record.json").read_text())["rows"] == whole["rows"]
    assert [json.loads(line)["key"] for line in (run / "steps.jsonl").read_text().splitlines()] == [
        "seed=0",
        "seed=1",
        "seed=2",
    ]


def test_w_and_b_runs_offline_without_a_word_when_nobody_is_logged_in(october: Command, tmp_path: Path) -> None:
    done = october(COIN, "size=tiny", WANDB_MODE=None, WANDB_API_KEY=None, NETRC=str(tmp_path / "no_netrc"))
    assert done.returncode == 0, done.stderr
    assert "wandb" not in done.stderr.lower()
    assert list(only_run(tmp_path).glob("wandb/offline-run-*/run-*.wandb"))


def test_under_torchrun_rank_0_alone_writes_one_shared_folder(october: Command, tmp_path: Path) -> None:
    done = october("--nproc-per-node=2", "-m", "october", COIN, LOCAL, "size=tiny", module="torch.distributed.run")
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path)
    assert len((run / "steps.jsonl").read_text().splitlines()) == 5
    assert done.stdout.count("Record:") == 1
