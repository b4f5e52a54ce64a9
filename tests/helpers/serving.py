"""A small OpenAI-compatible engine over a `TransformersLM`, with faults that a test can switch on."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from october.language_models import TransformersLM


class Engine(ThreadingHTTPServer):
    """Serves `/v1/models` and `/v1/completions` with `echo` and `logprobs`, as vLLM does.

    Attributes:
        failures: Answers that are still to be given with `failure_status`.
        hang: Seconds before each answer.
        ignores_echo: Whether `echo` is passed over, as by `transformers serve`.
        names_stop: Whether answers say which stop string matched.
        counts_start_token: Whether `text_offset` counts the start token's name, as vLLM does.
        num_requests: Answers given so far; `most_at_once`: the most that were in flight together.
    """

    daemon_threads = True

    def __init__(self, lm: TransformersLM) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lm = lm
        self.failures, self.failure_status = 0, 503
        self.hang = 0.0
        self.ignores_echo = self.counts_start_token = False
        self.names_stop = True
        self.key: str | None = None
        self.num_requests = self.in_flight = self.most_at_once = 0
        self.seeds: list[int] = []
        self.lock = threading.Lock()
        self.closing = threading.Event()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up waiting is no error here."""

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        with self.lock:  # the model is one
            if body.get("echo") and not self.ignores_echo:
                return self._echo(body)
            self.seeds.append(body.get("seed", 0))
            (completion,) = self.lm.generate(
                [body["prompt"]],
                max_new_tokens=body["max_tokens"],
                stop=body.get("stop") or (),
                temperature=body["temperature"],
                top_p=body.get("top_p", 1.0),
                seed=body.get("seed", 0),
            )
        choice = {
            "text": completion.text,
            "finish_reason": "length" if completion.finish_reason == "length" else "stop",
            "logprobs": None
            if body.get("logprobs") is None
            else {"token_logprobs": list(completion.log_probabilities or ())},
        }
        if self.names_stop:
            choice["stop_reason"] = completion.stop
        return {"choices": [choice], "usage": {"prompt_tokens": completion.num_prompt_tokens}}

    def _echo(self, body: dict[str, Any]) -> dict[str, Any]:
        """Log-probabilities of the whole prompt: the score of everything after the start token."""
        (score,) = self.lm.score([""], [body["prompt"]])
        (completion,) = self.lm.generate([body["prompt"]], max_new_tokens=1)
        encoding = self.lm.tokenizer(body["prompt"], return_offsets_mapping=True, add_special_tokens=False)
        starts = [start for start, _ in encoding["offset_mapping"]]
        tokens = [body["prompt"][start:end] for start, end in encoding["offset_mapping"]]
        name = self.lm.tokenizer.bos_token
        shift = len(name) if self.counts_start_token else 0
        top = [  # only what tells whether the token itself is the likeliest
            {token: value, **({} if best else {"another": value + 0.5})}
            for token, value, best in zip(tokens, score.log_probabilities, score.likeliest or (), strict=True)
        ]
        logprobs = {
            "top_logprobs": [None, *top, {}],
            "tokens": [name, *tokens, completion.text],
            "token_logprobs": [None, *score.log_probabilities, *(completion.log_probabilities or ())],
            "text_offset": [0, *(start + shift for start in [*starts, len(body["prompt"])])],
        }
        return {"choices": [{"text": body["prompt"] + completion.text, "logprobs": logprobs}]}


class _Handler(BaseHTTPRequestHandler):
    server: Engine

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output clean."""

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self._answer(200, {"data": [{"id": "tiny"}]})
        else:
            self._answer(404, {"error": {"message": "no such page"}})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        engine = self.server
        with engine.lock:
            engine.num_requests += 1
            engine.in_flight += 1
            engine.most_at_once = max(engine.most_at_once, engine.in_flight)
            fails = engine.failures > 0
            engine.failures -= fails
        engine.closing.wait(engine.hang)
        with engine.lock:  # before the answer goes out: its client may ask again at once
            engine.in_flight -= 1
        self._respond(body, fails)

    def _respond(self, body: dict[str, Any], fails: bool) -> None:
        if fails:
            self._answer(self.server.failure_status, {"error": {"message": "overloaded\nsorry"}})
        elif self.server.key and self.headers.get("Authorization") != f"Bearer {self.server.key}":
            self._answer(401, {"error": {"message": "bad key"}})
        elif self.path != "/v1/completions" or body["model"] != "tiny":
            self._answer(404, {"error": {"message": "no such model"}})
        else:
            self._answer(200, self.server.complete(body))

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def running(lm: TransformersLM) -> Iterator[Engine]:
    """Let an engine serve a model until the context ends."""
    server = Engine(lm)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()
