"""A model behind any OpenAI-compatible engine (vLLM, SGLang, llama.cpp ...), through its `/completions`."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import httpx
from tqdm.auto import tqdm

from ..errors import OctoberError
from .base import Completion, LanguageModel, Score, check_generation, check_scoring
from .served_answers import completion_of, score_of

_FIRST_WAIT = 0.5  # seconds before the first retry; doubled each time
_LONGEST_WAIT = 30.0
_SECONDS_UNTIL_PROGRESS = 5.0
_RETRIED_STATUS = {408, 409, 425, 429, 500, 502, 503, 504}

Item = TypeVar("Item")
Result = TypeVar("Result")


class ServedLM(LanguageModel):
    """Sends prompts to an engine, many at once, and tries again what may succeed later.

    Scoring asks for the prompt's own log-probabilities (`echo` with `logprobs`), which not every engine gives.

    Args:
        base_url: Of the engine, up to and including `/v1`.
        model: The name under which it serves the model.
        api_key: Sent as a bearer token.
        timeout: Seconds that one request may take.
        max_retries: Attempts after the first, for lost connections, status 429 and 5xx; the waits double from half a
            second to half a minute, with jitter.
        max_concurrent: Requests in flight at once.

    Raises:
        OctoberError: The address is not an http(s) one, or a number is out of range.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        timeout: float = 600.0,
        max_retries: int = 5,
        max_concurrent: int = 16,
    ) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise OctoberError(
                f"base_url={base_url}: must begin with http:// or https:// (such as http://host:8000/v1)"
            )
        for name, value, least in (("timeout", timeout, 0.001), ("max_concurrent", max_concurrent, 1)):
            if value < least:
                raise OctoberError(f"{name}={value}: must be at least {least}")
        if max_retries < 0:
            raise OctoberError(f"max_retries={max_retries}: must be at least 0")
        self.base_url = base_url.rstrip("/")
        self.model = model
        self._timeout = timeout
        self._max_retries = max_retries
        self._max_concurrent = max_concurrent
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        limits = httpx.Limits(max_connections=max_concurrent)
        self._client = httpx.Client(headers=headers, timeout=timeout, limits=limits)

    def check(self) -> None:
        """Ask the engine which models it serves.

        Raises:
            OctoberError: Nothing answers at the address, or the model is not among those served.
        """
        answer = self._request("GET", "models", None)
        names = [str(entry.get("id")) for entry in answer.get("data") or [] if isinstance(entry, dict)]
        if names and self.model not in names:
            raise OctoberError(f"{self.base_url} serves no model {self.model!r} (it serves: {', '.join(names)})")

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> list[Completion]:
        """Continue each prompt; see `LanguageModel.generate`. Each equal prompt of a call gets a seed of its own."""
        check_generation(prompts, max_new_tokens, stop, temperature, top_p)
        settings: dict[str, Any] = {
            "max_tokens": max_new_tokens,
            "temperature": temperature,
            "top_p": top_p,
            "logprobs": 1,
        }
        if stop:
            settings["stop"] = list(stop)
        bodies = [{"prompt": prompt, "seed": seed + repeat, **settings} for prompt, repeat in _repeats(prompts)]

        def one(body: dict[str, Any]) -> Completion:
            return completion_of(self._complete(body), stop, self.base_url)

        return self._concurrently(one, bodies, "generating")

    def score(self, prompts: Sequence[str], continuations: Sequence[str]) -> list[Score]:
        """Return the continuations' log-probabilities; see `LanguageModel.score`.

        Raises:
            OctoberError: The engine does not give a prompt's log-probabilities.
        """
        check_scoring(prompts, continuations)

        def one(pair: tuple[str, str]) -> Score:
            prompt, continuation = pair
            # one token is generated and left out: several engines refuse to generate none
            body = {"prompt": prompt + continuation, "max_tokens": 1, "temperature": 0.0, "echo": True, "logprobs": 1}
            return score_of(self._complete(body), prompt, continuation, self.base_url)

        return self._concurrently(one, list(zip(prompts, continuations, strict=True)), "scoring")

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._request("POST", "completions", {"model": self.model, **body})

    def _concurrently(self, one: Callable[[Item], Result], items: list[Item], what: str) -> list[Result]:
        """Run requests in a pool of threads; the first that fails for good stops the rest."""
        pool = ThreadPoolExecutor(self._max_concurrent)
        try:
            answers = pool.map(one, items)
            bar = tqdm(answers, total=len(items), desc=what, unit="text", delay=_SECONDS_UNTIL_PROGRESS, leave=False)
            return list(bar)
        finally:
            pool.shutdown(cancel_futures=True)

    def _request(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        """Send one request, again after a wait where that may help.

        Raises:
            OctoberError: It failed for good; the line names the address and what came back.
        """
        url = f"{self.base_url}/{path}"
        for attempt in range(self._max_retries + 1):
            if attempt > 0:
                time.sleep(min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0))
            try:
                response = self._client.request(method, url, json=body)
            except httpx.TimeoutException:
                problem = f"no answer within {self._timeout:g} s"
                continue
            except httpx.HTTPError as error:
                problem = f"cannot be reached ({error})"
                continue
            if response.status_code not in _RETRIED_STATUS:
                return self._content(response)
            problem = f"answered {response.status_code} ({_reason(response)})"
        tries = f" after {self._max_retries + 1} attempts" if self._max_retries else ""
        raise OctoberError(f"{url}: {problem}{tries}")

    def _content(self, response: httpx.Response) -> dict[str, Any]:
        url = response.request.url
        if response.status_code in (401, 403):
            raise OctoberError(f"{url}: the engine refused the key ({response.status_code}); set api_key")
        if response.status_code == 404:
            raise OctoberError(f"{url}: not found; check base_url and that the engine serves model {self.model!r}")
        if response.is_error:
            raise OctoberError(f"{url}: answered {response.status_code} ({_reason(response)})")
        try:
            content = response.json()
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise OctoberError(f"{url}: the answer is not JSON; is base_url that of an OpenAI-compatible engine?")
        return content


def _repeats(prompts: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Yield each prompt with the number of equal ones before it."""
    seen: Counter[str] = Counter()
    for prompt in prompts:
        yield prompt, seen[prompt]
        seen[prompt] += 1


def _reason(response: httpx.Response) -> str:
    """Return one short line of an error's text."""
    try:
        content = response.json()
        error = content.get("error", content)
        text = str(error.get("message", error) if isinstance(error, dict) else error)
    except (ValueError, AttributeError):
        text = response.text
    return " ".join(text.split())[:200] or response.reason_phrase
