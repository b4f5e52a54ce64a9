"""The house decoder behind the `LanguageModel` interface: ragged batches without padding in the cache, and sessions.

A session keeps its row of the cache between turns: only what is new in its text passes through the network. What
several sessions begin with passes once.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int

from ..errors import OctoberError
from ..language_models import Completion, LanguageModel, ModelHandle, Score, Session
from ..language_models.base import check_context, check_generation, check_scoring, same_length
from ..language_models.batching import CACHED_PER_FED, length_sorted_batches, progress_bar
from ..language_models.generation import GenerationRules, Request, end_token_ids
from ..language_models.output_head import token_scores_in_pieces
from ..language_models.packed_linear import pack_linears_
from ..language_models.prefix_cache import shared_prefix
from ..language_models.sampling import row_generators
from ..language_models.tokens import PromptTokenizer
from .cache import DenseCache, RowCache, RowCacheMaker
from .checkpoints import decoder_from
from .chunked_prefill import padded, prefill
from .session_prefixes import SessionPrefixes
from .session_rows import SessionRows
from .transformer import Transformer


class DecoderLM(LanguageModel):
    """A house decoder and its tokenizer.

    Args:
        transformer: The decoder.
        tokenizer: Its tokenizer, a fast one of transformers.
        end_ids: Tokens that end a text; the tokenizer's end token if not given.
        max_batch_tokens: Tokens, padding included, that pass through the network at once; eight times as many may
            lie in the caches of a call (of a rolling one at most W of each row), and as many in those of the
            sessions. A single longer prompt passes alone.
        make_cache: The kind of cache.
        prefill_chunk: Tokens of a text that pass through the network at once; None lets it pass whole.

    Raises:
        OctoberError: `max_batch_tokens` or `prefill_chunk` below 1, or a tokenizer that is not a fast one.
    """

    def __init__(
        self,
        transformer: Transformer,
        tokenizer: Any,
        *,
        end_ids: Sequence[int] | None = None,
        max_batch_tokens: int = 4096,
        make_cache: RowCacheMaker = DenseCache,
        prefill_chunk: int | None = None,
    ) -> None:
        check_token_bounds(max_batch_tokens, prefill_chunk)
        self.transformer = transformer.eval()
        self.tokenizer = tokenizer
        self.max_batch_tokens = max_batch_tokens
        self.prefill_chunk = prefill_chunk
        self._end_ids = [tokenizer.eos_token_id] if end_ids is None else list(end_ids)
        self._prompts = PromptTokenizer(tokenizer)
        self._make_cache = make_cache
        self._row_places = self._new_cache(1, 1).row_places
        self._sessions = SessionRows(self._new_cache, CACHED_PER_FED * max_batch_tokens)
        self._prefixes = SessionPrefixes(lambda text: self._prompts.encode([text])[0], self._encoded)

    @torch.inference_mode()
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
        """Continue each prompt; see `LanguageModel.generate`."""
        check_generation(prompts, max_new_tokens, stop, temperature, top_p)
        requests = self._requests(prompts, max_new_tokens, seed)
        rules = GenerationRules(self.tokenizer, self._end_ids, stop, max_new_tokens, temperature, top_p)
        encoded = [request.prompt_ids for request in requests]
        prefix_ids = shared_prefix(encoded, [len(ids) - 1 for ids in encoded])
        prefix = self._encoded(prefix_ids) if prefix_ids else None
        fed = [len(ids) - len(prefix_ids) for ids in encoded]
        longest = max(map(len, encoded), default=0) + max_new_tokens
        places = self._row_places(longest)
        with progress_bar(len(prompts), "generating") as bar:
            for batch in length_sorted_batches(fed, self.max_batch_tokens, lambda _: places):
                cache = self._cache_after(prefix, len(batch), longest)
                new = [encoded[index][len(prefix_ids) :] for index in batch]
                self._write([requests[index] for index in batch], new, cache, cache.swap_rows, rules, bar)
        return [rules.completion(request) for request in requests]

    @torch.inference_mode()
    def score(self, prompts: Sequence[str], continuations: Sequence[str]) -> list[Score]:
        """Return the continuations' log-probabilities; see `LanguageModel.score`."""
        check_scoring(prompts, continuations)
        pairs = [self._prompts.encode_pair(*pair) for pair in zip(prompts, continuations, strict=True)]
        encoded, starts = [ids for ids, _ in pairs], [start for _, start in pairs]
        check_context([len(ids) for ids in encoded], self._context, "prompt and continuation")
        prefix_ids = shared_prefix(encoded, [start - 1 for start in starts])
        prefix = self._encoded(prefix_ids) if prefix_ids else None
        fed = [len(ids) - 1 - len(prefix_ids) for ids in encoded]  # the last token predicts nothing that is asked for
        values: dict[int, list[tuple[float, bool]]] = {}
        with progress_bar(len(encoded), "scoring") as bar:
            for batch in length_sorted_batches(
                fed, self.max_batch_tokens, lambda own: self._row_places(len(prefix_ids) + own)
            ):
                asked = self._score_batch([encoded[i] for i in batch], [starts[i] for i in batch], prefix)
                values.update(zip(batch, asked, strict=True))
                bar.update(len(batch))
        return [self._score(encoded[index][starts[index] :], values[index]) for index in range(len(encoded))]

    def start(self, prefix: str) -> Session:
        """Open a session that begins with a text; from the second such session on, that text is encoded once for all.

        The last four such texts are kept.
        """
        return self._prefixes.start(prefix)

    @torch.inference_mode()
    def step(
        self,
        sessions: Sequence[Session],
        appended_texts: Sequence[str],
        *,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> list[Completion]:
        """Append a text to each session and continue it; see `LanguageModel.step`.

        Raises:
            OctoberError: As `LanguageModel.step`; or a session stands there twice.
        """
        same_length("sessions", sessions, "appended_texts", appended_texts)
        prompts = [session.text + text for session, text in zip(sessions, appended_texts, strict=True)]
        check_generation(prompts, max_new_tokens, stop, temperature, top_p)
        _check_distinct(sessions)
        requests = self._requests(prompts, max_new_tokens, seed)
        rules = GenerationRules(self.tokenizer, self._end_ids, stop, max_new_tokens, temperature, top_p)
        longest = max((len(request.prompt_ids) for request in requests), default=0) + max_new_tokens
        places = self._row_places(longest)
        pairs = list(zip(sessions, requests, strict=True))
        fed = [len(request.prompt_ids) - self._num_shared(session, request.prompt_ids) for session, request in pairs]
        with progress_bar(len(prompts), "generating") as bar:
            for batch in length_sorted_batches(fed, self.max_batch_tokens, lambda _: places):
                self._step_batch([pairs[index] for index in batch], longest, rules, bar)
        completions = [rules.completion(request) for request in requests]
        for session, prompt, completion in zip(sessions, prompts, completions, strict=True):
            session.text = prompt + completion.text
        return completions

    def _step_batch(self, pairs: list[tuple[Session, Request]], longest: int, rules: GenerationRules, bar: Any) -> None:
        rows, requests = self._sessions, [request for _, request in pairs]
        rows.arrange([session for session, _ in pairs], longest)
        new = []
        for row, (session, request) in enumerate(pairs):
            kept = rows.take(row, request.prompt_ids)
            kept = kept or self._prefixes.copy(session, request.prompt_ids, rows.cache, row)
            new.append(request.prompt_ids[kept:])
        self._write(requests, new, rows.cache, rows.swap_rows, rules, bar)
        for session, request in pairs:
            rows.record(session, request.prompt_ids + request.token_ids[:-1])  # the last one was never fed

    def _num_shared(self, session: Session, token_ids: list[int]) -> int:
        """Return how many of a text's first tokens need not pass through the network."""
        return self._sessions.num_shared(session, token_ids) or self._prefixes.num_shared(session, token_ids)

    def _write(
        self,
        requests: list[Request],
        new: Sequence[Sequence[int]],
        cache: RowCache,
        swap_rows: Callable[[int, int], None],
        rules: GenerationRules,
        bar: Any,
    ) -> None:
        """Generate until every request is finished; those that are make room by going to the last rows.

        Args:
            requests: Those of the cache's first rows, in their order.
            new: Tokens of each prompt that are not in its row yet.
            cache: The rows.
            swap_rows: Lets two rows change places, for whoever else has to know.
            rules: How texts go on and end.
            bar: Counts those that are finished.
        """
        active = list(requests)
        while active:
            tokens = rules.append(active, self._next_logits(new, cache)).tolist()
            for row in reversed(range(len(active))):
                if active[row].finish_reason is not None:
                    last = len(active) - 1
                    swap_rows(row, last)
                    active[row], tokens[row] = active[last], tokens[last]
                    del active[last], tokens[last]
                    bar.update(1)
            new = [[token] for token in tokens]

    def _next_logits(self, new: Sequence[Sequence[int]], cache: RowCache) -> Float[torch.Tensor, "rows vocab_size"]:
        """Feed rows of tokens, padded on the right, and return the logits after each row's last one."""
        return self.transformer.logits(self._prefilled(new, cache))

    def _score_batch(
        self, encoded: list[list[int]], starts: list[int], prefix: RowCache | None
    ) -> list[list[tuple[float, bool]]]:
        """Return each row's log-probabilities of its tokens from `starts[row]` on, and which are the likeliest."""
        skipped = prefix.lengths[0] if prefix is not None else 0
        token_ids = padded([ids[skipped:-1] for ids in encoded], self.transformer.embedding.weight.device)
        places = [(row, place) for row, ids in enumerate(encoded) for place in range(starts[row], len(ids))]
        rows, columns = torch.tensor(places, device=token_ids.device).T
        targets = torch.tensor([encoded[row][place] for row, place in places], device=token_ids.device)
        asked = self._states(token_ids, rows, columns - 1 - skipped, prefix)
        vocab_size = self.transformer.config.vocab_size
        found = token_scores_in_pieces(self.transformer.logits, vocab_size, asked, targets)
        return found.rows([len(ids) - start for ids, start in zip(encoded, starts, strict=True)])

    def _states(
        self,
        token_ids: Int[torch.Tensor, "rows longest"],
        rows: Int[torch.Tensor, " asked"],
        columns: Int[torch.Tensor, " asked"],
        prefix: RowCache | None,
    ) -> Float[torch.Tensor, "asked hidden_size"]:
        """Feed rows of tokens that follow a prefix, `prefill_chunk` columns at once; return some places' states."""
        num_rows, longest = token_ids.shape
        step = min(self.prefill_chunk or longest, longest)
        skipped = prefix.lengths[0] if prefix is not None else 0
        alone = prefix is None and step == longest  # nothing comes before or after: no cache is needed
        cache = None if alone else self._cache_after(prefix, num_rows, skipped + longest)
        states: torch.Tensor | None = None
        for first in range(0, longest, step):
            hidden = self.transformer(token_ids[:, first : first + step], cache=cache)
            if states is None:
                states = hidden.new_empty(len(rows), hidden.shape[2])
            here = (first <= columns) & (columns < first + step)
            states[here] = hidden[rows[here], columns[here] - first]
            del hidden  # else it would be there beside the next piece's
        assert states is not None
        return states

    def _score(self, token_ids: list[int], found: list[tuple[float, bool]]) -> Score:
        tokens = tuple(self.tokenizer.convert_ids_to_tokens(token_ids))
        return Score(tokens, tuple(token_ids), *zip(*found, strict=True))

    def _requests(self, prompts: Sequence[str], max_new_tokens: int, seed: int) -> list[Request]:
        encoded = self._prompts.encode(prompts)
        lengths = [len(ids) + max_new_tokens for ids in encoded]
        check_context(lengths, self._context, "prompt", f" with {max_new_tokens} new")
        return [Request(ids, row) for ids, row in zip(encoded, row_generators(prompts, seed), strict=True)]

    def _encoded(self, token_ids: list[int]) -> RowCache:
        """Return a cache whose only row holds a prefix."""
        cache = self._new_cache(1, len(token_ids))
        self._prefilled([token_ids], cache)
        return cache

    def _cache_after(self, prefix: RowCache | None, num_rows: int, capacity: int) -> RowCache:
        """Return a cache whose rows all begin with the prefix."""
        cache = self._new_cache(num_rows, capacity)
        if prefix is not None:
            for row in range(num_rows):
                cache.copy_row(row, prefix, 0)
        return cache

    def _prefilled(self, new: Sequence[Sequence[int]], cache: RowCache) -> Float[torch.Tensor, "rows hidden_size"]:
        longest = max(map(len, new))
        return prefill(self.transformer, new, cache, chunk_size=min(self.prefill_chunk or longest, longest))

    def _new_cache(self, num_rows: int, capacity: int) -> RowCache:
        weight = self.transformer.embedding.weight
        return self._make_cache(self.transformer.config, num_rows, capacity, dtype=weight.dtype, device=weight.device)

    @property
    def _context(self) -> int:
        return self.transformer.config.max_positions


def decoder_language_model(handle: ModelHandle) -> DecoderLM:
    """Return a handle's model run by the house decoder.

    Weights are shared with `handle.load()`, but for those of linear maps that are packed.

    Raises:
        OctoberError: As `ModelHandle.load` and `decoder_from`; or the handle is an encoder's.
    """
    if handle.kind != "causal_lm":
        raise OctoberError(f"model {handle.name}: an encoder generates no text; choose a causal_lm")
    model, tokenizer = handle.load()
    decoder = pack_linears_(decoder_from(model))
    return DecoderLM(decoder, tokenizer, end_ids=end_token_ids(model), max_batch_tokens=handle.max_batch_tokens)


def check_token_bounds(max_batch_tokens: int, prefill_chunk: int | None) -> None:
    """Raise `OctoberError` where a bound on the tokens that pass through a decoder is below 1."""
    if max_batch_tokens < 1:
        raise OctoberError(f"max_batch_tokens={max_batch_tokens}: must be at least 1")
    if prefill_chunk is not None and prefill_chunk < 1:
        raise OctoberError(f"prefill_chunk={prefill_chunk}: must be at least 1, or null for the whole text")


def _check_distinct(sessions: Sequence[Session]) -> None:
    """Raise `OctoberError` where a session stands twice in one step: it can only go on from one text."""
    seen: dict[int, int] = {}
    for index, session in enumerate(sessions):
        if id(session) in seen:
            raise OctoberError(
                f"sessions {seen[id(session)]} and {index} are the same: a session goes on from one text"
            )
        seen[id(session)] = index
