"""Ten passages, each in a prompt of its own, against one prompt: decoding alone, and the whole call.

Decoding is the token loop behind prompts that have been read: what a call for 17 new tokens takes longer than one for a
single token. The whole call reads ten prompts, decodes from all, and scores what was written behind every one (Eq. 2);
the peer reads the same passages in one prompt and decodes from that. Both in bfloat16 where the processor has it.
"""

import statistics
from collections.abc import Callable, Sequence

from shared_cases.threads import threads
from shared_cases.timing import seconds_of

from october.language_models import Completion, LanguageModel, ModelHandle
from october.reporting.benchmarks import Case, Measured
from october.retrieval.ra_dit import Ensemble, Mixed, Reading
from ra_dit_cases.readings import readings

NUM_PASSAGES, NUM_TOKENS, REPEATS = 10, 16, 5
NUM_QUESTIONS = 4  # one after the other


def ensembling_cases(divisor: int) -> list[Case | Measured]:
    """Return the cases on Gemma-3-270M."""
    lm = ModelHandle(name="gemma3_270m", embedded="gemma3_270m").language_model()
    asked = readings(max(1, NUM_QUESTIONS // divisor), NUM_PASSAGES)
    return [decoding_case(lm, asked[0], "Gemma-3-270M"), whole_case(lm, asked, "Gemma-3-270M")]


def decoding_case(lm: LanguageModel, asked: Reading, what: str) -> Measured:
    """Return the token loop over the prompts of one question, against that over the first of them."""
    prompts = Ensemble(lm).prompts(asked)
    ours, peer = interleaved(lambda: decode_seconds(lm, prompts), lambda: decode_seconds(lm, prompts[:1]))
    return Measured(
        name=f"decode {NUM_TOKENS} tokens behind {len(prompts)} prompts that were read, {what}: against one prompt",
        ours=ours,
        peer=peer,
        unit="s",
        bar="<=2",
        peer_settings=f"the first of the prompts; {threads()}; medians of {REPEATS}",
    )


def whole_case(lm: LanguageModel, asked: Sequence[Reading], what: str) -> Case:
    """Return the whole call for each of some questions, against one prompt with all passages."""

    def answered(strategy: str) -> Callable[[], list[Mixed]]:
        ensemble = Ensemble(lm, strategy)  # type: ignore[arg-type]
        return lambda: [ensemble.answers([one], max_new_tokens=NUM_TOKENS)[0] for one in asked]

    passages = len(asked[0].passages)
    return Case(
        name=f"answer {len(asked)} questions from {passages} passages, mixed, {what}: against one prompt with all",
        ours=answered("mixture"),
        peer=answered("concatenation"),
        bar="<=1.25",
        check=check,
        peer_settings=f"the same library, greedy, cached, up to {NUM_TOKENS} tokens or a new line; {threads()}",
    )


def decode_seconds(lm: LanguageModel, prompts: Sequence[str]) -> float:
    """Return what the tokens behind the first take."""
    first, all_tokens = (generation_seconds(lm, prompts, count) for count in (1, 1 + NUM_TOKENS))
    return all_tokens - first


def generation_seconds(lm: LanguageModel, prompts: Sequence[str], count: int) -> float:
    """Return what so many tokens behind each prompt take; a text that ended before would make them fewer."""
    completions: list[Completion] = []
    seconds = seconds_of(lambda: completions.extend(lm.generate(prompts, max_new_tokens=count)))
    lengths = [len(each.token_ids) for each in completions]
    assert lengths == [count] * len(prompts), f"{lengths} tokens behind {len(prompts)} prompts, and not {count} each"
    return seconds


def interleaved(ours: Callable[[], float], theirs: Callable[[], float]) -> tuple[float, float]:
    """Return the medians of what two calls return, called in turn, after one each that does not count."""
    pairs = [(ours(), theirs()) for _ in range(1 + REPEATS)][1:]
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)


def check(ours: Sequence[Mixed], theirs: Sequence[Mixed]) -> None:
    """Check that every passage had a prompt of its own here, and all one prompt there."""
    for one, other in zip(ours, theirs, strict=True):
        assert len(one.written) > 1 == len(other.written), f"{len(one.written)} prompts against {len(other.written)}"
