import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from serving import Engine, running

from october.errors import OctoberError
from october.language_models import ServedHandle, ServedLM, served_lm

PROMPTS = ["The capital of", "x", "Question: where is the river", "naïve café", "The capital of"]


@pytest.fixture
def engine(llama) -> Iterator[Engine]:
    with running(llama) as server:
        yield server


@pytest.fixture
def served(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> ServedLM:
    monkeypatch.setattr(served_lm, "_FIRST_WAIT", 0.01)
    return ServedLM(engine.base_url, "tiny", timeout=30, max_retries=3, max_concurrent=4)


def test_completions_equal_the_local_model(served: ServedLM, llama) -> None:
    expected = llama.generate(PROMPTS, max_new_tokens=9)
    for ours, theirs in zip(served.generate(PROMPTS, max_new_tokens=9), expected, strict=True):
        assert (ours.text, ours.finish_reason) == (theirs.text, theirs.finish_reason)
        assert ours.num_prompt_tokens == theirs.num_prompt_tokens
        assert ours.log_probabilities == pytest.approx(theirs.log_probabilities, abs=1e-4)


@pytest.mark.parametrize("names_stop", [True, False])
def test_stop_strings_are_sent_and_named(served: ServedLM, engine: Engine, llama, names_stop: bool) -> None:
    engine.names_stop = names_stop
    (free,) = llama.generate(["The"], max_new_tokens=9)
    stop = free.text[2:4]
    (stopped,) = served.generate(["The"], max_new_tokens=9, stop=["@never@", stop])
    assert stopped.text == free.text[: free.text.find(stop)]
    assert (stopped.finish_reason, stopped.stop) == ("stop", stop if names_stop else None)


def test_equal_prompts_are_sent_with_seeds_of_their_own(served: ServedLM, engine: Engine) -> None:
    served.generate(["x", "y", "x"], max_new_tokens=1, temperature=1.0, seed=7)
    assert sorted(engine.seeds) == [7, 7, 8]


@pytest.mark.parametrize("counts_start_token", [True, False])
def test_scores_equal_the_local_model(served: ServedLM, engine: Engine, llama, counts_start_token: bool) -> None:
    engine.counts_start_token = counts_start_token
    continuations = [" France is Paris", " river", "?", " naïve", "f x"]
    expected = llama.score(PROMPTS, continuations)
    for ours, theirs in zip(served.score(PROMPTS, continuations), expected, strict=True):
        assert ours.log_probabilities == pytest.approx(theirs.log_probabilities, abs=1e-4)
        assert len(ours.tokens) == len(theirs.tokens)
        assert ours.likeliest == theirs.likeliest
        assert isinstance(ours.likeliest, tuple)


def test_an_engine_without_echo_is_named(served: ServedLM, engine: Engine) -> None:
    engine.ignores_echo = True
    with pytest.raises(OctoberError, match=r"127\.0\.0\.1.* does not return log-probabilities of the prompt"):
        served.score(["x"], [" y"])


def test_requests_are_in_flight_together_and_bounded(served: ServedLM, engine: Engine) -> None:
    engine.hang = 0.05
    served.generate([f"{i}" for i in range(12)], max_new_tokens=1)
    assert 2 <= engine.most_at_once <= 4


@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_failures_are_tried_again(served: ServedLM, engine: Engine, status: int) -> None:
    engine.failures, engine.failure_status = 3, status
    assert len(served.generate(["x"], max_new_tokens=2)) == 1
    assert engine.num_requests == 4


def test_lasting_failures_end_in_one_line(served: ServedLM, engine: Engine) -> None:
    engine.failures = 100
    with pytest.raises(OctoberError, match=r"/v1/completions: answered 503 \(overloaded sorry\) after 4 attempts$"):
        served.generate(["x"], max_new_tokens=2)
    assert engine.num_requests == 4


def test_waits_double_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(served_lm.time, "sleep", waits.append)
    with socket.socket() as taken:  # bound but not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        lm = ServedLM(f"http://127.0.0.1:{taken.getsockname()[1]}/v1", "tiny", max_retries=9)
        with pytest.raises(OctoberError, match=r"/completions: cannot be reached \(.*\) after 10 attempts$"):
            lm.generate(["x"], max_new_tokens=1)
    limits = [min(30.0, 0.5 * 2**attempt) for attempt in range(9)]
    assert all(limit / 2 <= wait <= limit for wait, limit in zip(waits, limits, strict=True))


def test_an_engine_that_hangs_is_given_up(engine: Engine) -> None:
    engine.hang = 30.0
    started = time.monotonic()
    with pytest.raises(OctoberError, match=r"no answer within 0\.2 s$"):
        ServedLM(engine.base_url, "tiny", timeout=0.2, max_retries=0).generate(["x"], max_new_tokens=1)
    assert time.monotonic() - started < 10


def test_wrong_address_model_and_key_are_named(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OctoberError, match="serves no model 'other' \\(it serves: tiny\\)"):
        ServedHandle("served", engine.base_url, "other").check()
    with pytest.raises(OctoberError, match="not found; check base_url and that the engine serves model 'other'"):
        ServedLM(engine.base_url, "other").generate(["x"], max_new_tokens=1)
    with pytest.raises(OctoberError, match="/models: not found"):
        ServedHandle("served", engine.base_url.removesuffix("/v1"), "tiny").check()
    with pytest.raises(OctoberError, match="base_url=localhost:80"):
        ServedHandle("served", "localhost:80", "tiny").check()
    engine.key = "secret"
    with pytest.raises(OctoberError, match="refused the key"):
        ServedLM(engine.base_url, "tiny").generate(["x"], max_new_tokens=1)
    monkeypatch.setenv("MY_KEY", "secret")
    handle = ServedHandle("served", engine.base_url, "tiny", api_key_variable="MY_KEY")
    assert len(handle.language_model().generate(["x"], max_new_tokens=1)) == 1
    assert "secret" not in str(handle.describe())


def test_numbers_out_of_range_are_named() -> None:
    for changes in ({"timeout": 0.0}, {"max_retries": -1}, {"max_concurrent": 0}):
        with pytest.raises(OctoberError, match=next(iter(changes))):
            ServedLM("http://localhost/v1", "tiny", **changes)


@pytest.fixture
def transformers_serve(model_folder: Path) -> Iterator[str]:
    """The real `transformers serve`, on a free port; ended by its process id."""
    pytest.importorskip("uvicorn")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).parent / "transformers"), "serve", str(model_folder), "--device", "cpu"]
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and server.poll() is None:
            try:
                httpx.get(f"{url}/health", timeout=5)
                break
            except httpx.HTTPError:
                time.sleep(0.2)
        yield f"{url}/v1"
    finally:
        os.kill(server.pid, signal.SIGTERM)
        server.wait(timeout=30)


def test_transformers_serve_generates(transformers_serve: str, model_folder: Path, llama) -> None:
    """Generation only: it passes over `echo`, and says so to whoever wants scores."""
    lm = ServedLM(transformers_serve, str(model_folder), timeout=60)
    (completion,) = lm.generate(["The capital of"], max_new_tokens=6)
    assert completion.text == llama.generate(["The capital of"], max_new_tokens=6)[0].text
    with pytest.raises(OctoberError, match="does not return log-probabilities of the prompt"):
        lm.score(["The"], [" capital"])
