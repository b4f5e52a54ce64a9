"""Trained models are kept by content, whoever asks first: once for two runs, together for the processes of one."""

import os
import socket
import subprocess
import sys

import pytest

from october.language_models.training_runs import kept_models, trained_once

pytestmark = pytest.mark.usefixtures("own_home")

TOGETHER = """
from accelerate import PartialState
from october.language_models.training_runs import trained_once

def train(scratch):
    state = PartialState(cpu=True)
    if state.is_main_process:
        (scratch / "model").mkdir(parents=True)
        (scratch / "model" / "weights").write_text("trained")
    state.wait_for_everyone()
    return scratch / "model", {"processes": state.num_processes}

kept = trained_once("toy", ["together"], train)
print((kept.folder / "weights").read_text(), kept.about["processes"])
"""


def trained(scratch):
    (scratch / "model").mkdir(parents=True)
    (scratch / "model" / "weights").write_text("trained")
    return scratch / "model", {"losses": [1.5]}


def untouchable(scratch):
    raise AssertionError("it was trained again")


def test_a_model_is_trained_once_and_found_by_its_words(own_home):
    kept = trained_once("toy", ["settings", 1], trained)
    assert kept.about == {"what": "toy", "losses": [1.5]}
    assert (kept.folder / "weights").read_text() == "trained"
    assert not list(own_home.glob("training/*/run"))
    assert trained_once("toy", ["settings", 1], untouchable) == kept
    other = trained_once("toy", ["settings", 2], trained)
    assert [each.folder for each in kept_models("toy")] == [kept.folder, other.folder]
    assert kept_models("another") == []
    assert kept_models("toy", losses=[1.5]) == [kept, other]
    assert kept_models("toy", losses=[2.5]) == kept_models("toy", model="no such") == []


def test_a_training_that_fails_leaves_no_model(own_home):
    with pytest.raises(AssertionError, match="trained again"):
        trained_once("toy", [], untouchable)
    assert not list(own_home.glob("trained/*"))


def test_processes_of_one_run_train_together():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", TOGETHER],
            env={**address, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    for process in started:
        output, errors = process.communicate(timeout=200)
        assert output.strip() == "trained 2", errors
