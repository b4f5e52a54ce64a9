"""The peers of RA-DIT's benchmark compute what ours does, and its checks see where they would not."""

import numpy as np
import pytest
from tiny_lm import tiny_lm

from october.language_models import Completion
from october.retrieval.ra_dit import Ensemble, Reading, rendered

pytestmark = pytest.mark.usefixtures("own_home", "one_thread", "benchmarks")

READINGS = [
    Reading(
        rendered("open_qa", f"Which river flows through {name}?", f"river {name}"),
        tuple(f"{name} is old. The river {part} flows there." + part * " It rains." for part in range(3)),
        (0.5, 0.25, 0.125),
    )
    for name in ("Rome", "Oslo")
]


@pytest.fixture(scope="module")
def lm():
    return tiny_lm("gemma3", max_batch_tokens=4096)


def test_chunks_are_scored_alike(lm):
    from ra_dit_cases import scoring

    full, needed = scoring.cases_of(lm, READINGS, "tiny")
    prompts = [prompt for reading in READINGS for prompt in Ensemble(lm).prompts(reading)]
    answers = [f" {reading.example.answer}" for reading in READINGS for _ in reading.passages]
    expected = [score.total for score in lm.score(prompts, answers)]
    for case in (full, needed):
        ours, theirs = case.ours(), case.peer()
        np.testing.assert_allclose(ours, expected, atol=1e-5)
        np.testing.assert_allclose(theirs, expected, atol=1e-5)
        case.check(ours, theirs)
        with pytest.raises(AssertionError, match=r"differ by [12]\.\de-04"):
            case.check(ours, [*theirs[:-1], theirs[-1] + 2e-4])
    assert (full.bar, needed.bar) == (">=3", None)


def test_our_scores_are_computed_every_time(lm, monkeypatch):
    from ra_dit_cases import scoring

    asked = []
    score = lm.score
    monkeypatch.setattr(lm, "score", lambda prompts, answers: asked.append(len(prompts)) or score(prompts, answers))
    case, _ = scoring.cases_of(lm, READINGS, "tiny")
    case.ours()
    case.ours()
    assert asked == [6, 6]


def test_one_prompt_stands_against_as_many_as_there_are_passages(lm):
    from ra_dit_cases import ensembling

    case = ensembling.whole_case(lm, READINGS, "tiny")
    ours, theirs = case.ours(), case.peer()
    assert [(len(one.written), len(other.written)) for one, other in zip(ours, theirs, strict=True)] == [(3, 1)] * 2
    case.check(ours, theirs)
    with pytest.raises(AssertionError, match="1 prompts against 1"):
        case.check(theirs, theirs)
    assert case.bar == "<=1.25"


def test_decoding_is_what_more_tokens_take_longer(lm, monkeypatch):
    from ra_dit_cases import ensembling

    asked, ends = [], []

    def generate(prompts, max_new_tokens):
        asked.append((len(prompts), max_new_tokens))
        written = [min(max_new_tokens, *ends, 99) for _ in prompts]
        return [Completion("", (5,) * count, None, "length", 3) for count in written]

    monkeypatch.setattr(ensembling, "REPEATS", 1)
    monkeypatch.setattr(lm, "generate", generate)
    case = ensembling.decoding_case(lm, READINGS[0], "tiny")
    assert asked == [(3, 1), (3, 17), (1, 1), (1, 17)] * 2
    assert (case.bar, case.better) == ("<=2", "lower")
    ends.append(12)
    with pytest.raises(AssertionError, match=r"\[12, 12, 12\] tokens behind 3 prompts, and not 17 each"):
        ensembling.decoding_case(lm, READINGS[0], "tiny")
