"""Any Hugging Face causal language model in this process behind the `LanguageModel` interface."""

from collections.abc import Sequence
from typing import Any

import torch

from ..errors import OctoberError
from .base import (
    Completion,
    LanguageModel,
    Rescored,
    Score,
    check_context,
    check_generation,
    check_groups,
    check_scoring,
)
from .batching import length_sorted_batches, progress_bar
from .decoding import Decoding
from .generation import GenerationRules, Request, end_token_ids
from .output_head import OutputHead
from .prefix_cache import EMPTY_PREFIX, PrefixCache, encode_prefix, shared_prefix
from .rescoring import decode_and_rescore
from .sampling import row_generators
from .scoring import Scoring
from .tokens import PromptTokenizer

_LAYER_TYPES = {"full_attention", "sliding_attention", "attention"}


class TransformersLM(LanguageModel):
    """A causal model and its tokenizer.

    Prompts are batched by length; what all of a call's prompts begin with (few-shot examples) is encoded once. Logits
    are computed only where they are read.

    Args:
        model: Any `AutoModelForCausalLM` whose layers are full or sliding attention.
        tokenizer: Its tokenizer.
        max_batch_tokens: Tokens, padding included, that pass through the network at once; eight times as many may
            lie in the caches. A single longer prompt passes whole.

    Raises:
        OctoberError: The model has layers that keep another kind of state, or a head that cannot be applied apart.
    """

    def __init__(self, model: Any, tokenizer: Any, *, max_batch_tokens: int = 4096) -> None:
        if max_batch_tokens < 1:
            raise OctoberError(f"max_batch_tokens={max_batch_tokens}: must be at least 1")
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.max_batch_tokens = max_batch_tokens
        config = model.config.get_text_config()
        others = sorted(set(getattr(config, "layer_types", None) or ()) - _LAYER_TYPES)
        if others:
            raise OctoberError(f"{type(model).__name__}: layers of type {others[0]} are not supported")
        self._context = getattr(config, "max_position_embeddings", None)
        self._prompts = PromptTokenizer(tokenizer)
        self._head = OutputHead(model)

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
        rules = self._rules(stop, max_new_tokens, temperature, top_p)
        requests, prefix = self._requests(prompts, max_new_tokens, seed)
        decoding = Decoding(self._head, rules, self.max_batch_tokens)
        fed = [len(request.prompt_ids) - prefix.length for request in requests]
        batches = length_sorted_batches(fed, self.max_batch_tokens, lambda own: prefix.length + own + max_new_tokens)
        with progress_bar(len(prompts), "generating") as bar:
            for batch in batches:
                decoding.run([requests[index] for index in batch], prefix, bar)
        return [rules.completion(request) for request in requests]

    @torch.inference_mode()
    def generate_and_rescore(
        self, groups: Sequence[Sequence[str]], *, max_new_tokens: int, stop: Sequence[str] = ()
    ) -> list[Rescored]:
        """Continue all prompts and score each continuation in its group; see `LanguageModel.generate_and_rescore`.

        All prompts of a group are read once, in one batch.
        """
        check_groups(groups)
        prompts = [prompt for group in groups for prompt in group]
        check_generation(prompts, max_new_tokens, stop, 0.0, 1.0)
        rules = self._rules(stop, max_new_tokens, 0.0, 1.0)
        requests, prefix = self._requests(prompts, max_new_tokens, 0)
        rest = iter(requests)
        grouped = [[next(rest) for _ in group] for group in groups]
        fed = [len(row) * max(len(request.prompt_ids) - prefix.length for request in row) for row in grouped]
        largest = max(map(len, groups), default=0) * (prefix.length + max_new_tokens)
        found: dict[int, Rescored] = {}
        with progress_bar(len(prompts), "generating") as bar:
            scoring, decoding = (
                Scoring(self._head, self.max_batch_tokens),
                Decoding(self._head, rules, self.max_batch_tokens),
            )
            for batch in length_sorted_batches(fed, self.max_batch_tokens, lambda own: own + largest):
                scored = decode_and_rescore([grouped[index] for index in batch], prefix, decoding, scoring, bar)
                for index, (candidates, written, values) in zip(batch, scored, strict=True):
                    completions = tuple(rules.completion(request) for request in candidates)
                    found[index] = Rescored(completions, tuple(written), tuple(map(tuple, values)))
        return [found[index] for index in range(len(groups))]

    @torch.inference_mode()
    def score(self, prompts: Sequence[str], continuations: Sequence[str]) -> list[Score]:
        """Return the continuations' log-probabilities; see `LanguageModel.score`."""
        check_scoring(prompts, continuations)
        pairs = [self._prompts.encode_pair(*pair) for pair in zip(prompts, continuations, strict=True)]
        encoded, starts = [ids for ids, _ in pairs], [start for _, start in pairs]
        check_context([len(ids) for ids in encoded], self._context, "prompt and continuation")
        with progress_bar(len(encoded), "scoring") as bar:
            found = Scoring(self._head, self.max_batch_tokens, bar.update).run(encoded, starts)
        scores = []
        for ids, start, pairs_of_row in zip(encoded, starts, found, strict=True):
            tokens = tuple(self.tokenizer.convert_ids_to_tokens(ids[start:]))
            scores.append(Score(tokens, tuple(ids[start:]), *zip(*pairs_of_row, strict=True)))
        return scores

    def fits(self, prompts: Sequence[str], continuations: Sequence[str]) -> list[bool]:
        """Return whether the context holds each prompt with its continuation; see `LanguageModel.fits`."""
        check_scoring(prompts, continuations)
        if self._context is None:
            return [True] * len(prompts)
        pairs = zip(prompts, continuations, strict=True)
        return [len(self._prompts.encode_pair(*pair)[0]) <= self._context for pair in pairs]

    def _rules(self, stop: Sequence[str], max_new_tokens: int, temperature: float, top_p: float) -> GenerationRules:
        ends = end_token_ids(self.model)
        return GenerationRules(self.tokenizer, ends, stop, max_new_tokens, temperature, top_p)

    def _requests(self, prompts: Sequence[str], max_new_tokens: int, seed: int) -> tuple[list[Request], PrefixCache]:
        """Return the prompts as requests, and what all of them begin with, read."""
        encoded = self._prompts.encode(prompts)
        check_context(
            [len(ids) + max_new_tokens for ids in encoded], self._context, "prompt", f" with {max_new_tokens} new"
        )
        token_ids = shared_prefix(encoded, [len(ids) - 1 for ids in encoded])
        prefix = encode_prefix(self._head.backbone, token_ids) if token_ids else EMPTY_PREFIX
        generators = row_generators(prompts, seed)
        return [Request(ids, generator) for ids, generator in zip(encoded, generators, strict=True)], prefix
