import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from references import greedy_one_at_a_time, prompt_ids

from october.errors import OctoberError
from october.language_models import TransformersLM

WORDS = ["The", " capital", " of", " France", " is", " Paris", ".", "\n", " naïve", " 日本", " river", "  two", "x"]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=25).map("".join)
SHARED = "Question: where is the tower? Answer: in the old town, near the river.\n" * 4


@settings(deadline=None, max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompts=st.lists(TEXTS, min_size=1, max_size=5))
def test_greedy_batches_equal_transformers_one_at_a_time(lm: TransformersLM, prompts: list[str]) -> None:
    completions = lm.generate(prompts, max_new_tokens=12)
    for prompt, completion in zip(prompts, completions, strict=True):
        assert list(completion.token_ids) == greedy_one_at_a_time(lm, prompt, 12)
        assert completion.num_prompt_tokens == len(prompt_ids(lm, prompt))


def test_prompts_behind_a_shared_prefix_equal_transformers_one_at_a_time(lm, fed_tokens) -> None:
    """Rests of very different lengths, so that rows take the end of the prefix into their own part again."""
    endings = ["The", "", "river " * 9, "x", "Question: where is Paris?", " naïve"]
    prompts = [SHARED + ending for ending in endings]
    shapes = fed_tokens(lm)
    completions = lm.generate(prompts, max_new_tokens=10)
    prompt_passes = [shape for shape in shapes if shape[1] > 1]
    whole = sum(completion.num_prompt_tokens for completion in completions)
    assert prompt_passes[0][0] == 1
    assert sum(rows * tokens for rows, tokens in prompt_passes) < 0.6 * whole
    for prompt, completion in zip(prompts, completions, strict=True):
        assert list(completion.token_ids) == greedy_one_at_a_time(lm, prompt, 10)


def test_log_probabilities_are_those_of_scoring(lm) -> None:
    prompts = ["The capital of", "x"]
    for prompt, completion in zip(prompts, lm.generate(prompts, max_new_tokens=8), strict=True):
        ids = prompt_ids(lm, prompt)
        logits = lm.model(torch.tensor([[*ids, *completion.token_ids]])).logits[0, len(ids) - 1 : -1]
        expected = torch.log_softmax(logits.double(), dim=-1).gather(1, torch.tensor(completion.token_ids)[:, None])
        assert completion.log_probabilities == pytest.approx(expected[:, 0].tolist(), abs=1e-4)


def test_no_batch_exceeds_the_bound(llama, fed_tokens) -> None:
    shapes = fed_tokens(llama)
    llama.generate([f"{'river ' * (i % 7)}{i}" for i in range(40)], max_new_tokens=4)
    assert max(rows * tokens for rows, tokens in shapes) <= llama.max_batch_tokens
    assert max(rows for rows, _ in shapes) > 4


@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_stop_string_anywhere_in_the_text_cuts_it_there(lm: TransformersLM, data: st.DataObject) -> None:
    """Stop strings are random pieces of the unstopped text, so most begin and end inside tokens."""
    (free,) = lm.generate(["The capital of France"], max_new_tokens=20)
    start = data.draw(st.integers(0, len(free.text) - 1))
    end = data.draw(st.integers(start + 1, min(len(free.text), start + 6)))
    stop = free.text[start:end]
    if "\N{REPLACEMENT CHARACTER}" in stop:  # half a character's bytes: no text that a user could ask for
        return
    (stopped,) = lm.generate(["The capital of France"], max_new_tokens=20, stop=["@never@", stop])
    place = free.text.find(stop)
    assert (stopped.text, stopped.stop, stopped.finish_reason) == (free.text[:place], stop, "stop")
    assert stopped.token_ids == free.token_ids[: len(stopped.token_ids)]
    before_last = lm.tokenizer.decode(stopped.token_ids[:-1])
    assert stop not in before_last.removesuffix("\N{REPLACEMENT CHARACTER}"), "generation went on after the stop"


def test_finished_rows_leave_the_batch(llama, fed_tokens) -> None:
    prompts = ["The capital of", "x naïve", "river"]
    free = llama.generate(prompts, max_new_tokens=16)
    stop = free[1].text[:2]
    expected = [
        completion.text[: completion.text.find(stop)] if stop in completion.text else completion.text
        for completion in free
    ]
    shapes = fed_tokens(llama)
    stopped = llama.generate(prompts, max_new_tokens=16, stop=[stop])
    assert [completion.text for completion in stopped] == expected
    rows = [rows for rows, _ in shapes]
    assert rows[0] == 3
    assert rows == sorted(rows, reverse=True)
    assert rows[-1] < 3


def test_the_end_token_ends_a_text(llama, monkeypatch: pytest.MonkeyPatch) -> None:
    (free,) = llama.generate(["The capital"], max_new_tokens=10)
    end = free.token_ids[3]
    first = free.token_ids.index(end)
    monkeypatch.setattr(llama.model.generation_config, "eos_token_id", [end, 1])
    (ended,) = llama.generate(["The capital"], max_new_tokens=10)
    assert ended.finish_reason == "end"
    assert ended.token_ids == free.token_ids[: first + 1]
    assert free.text.startswith(ended.text)
    assert free.finish_reason == "length"


def test_samples_do_not_depend_on_the_other_prompts(lm) -> None:
    settings = {"max_new_tokens": 8, "temperature": 1.0, "top_p": 0.9, "seed": 3}
    together = lm.generate(["The capital", "x", "river " * 20, "x"], **settings)
    apart = [lm.generate([prompt], **settings)[0] for prompt in ("The capital", "x", "river " * 20)]
    assert [c.token_ids for c in together[:3]] == [c.token_ids for c in apart]
    assert together[3].token_ids != together[1].token_ids, "equal prompts get samples of their own"
    again = lm.generate(["x", "x"], **settings)
    assert [c.token_ids for c in again] == [together[1].token_ids, together[3].token_ids]
    other_seed = lm.generate(["The capital"], **{**settings, "seed": 4})
    assert other_seed[0].token_ids != together[0].token_ids


def test_a_leading_space_is_kept(lm) -> None:
    """Prompt and text put together read as the tokens do."""
    prompt = "The capital of"
    (completion,) = lm.generate([prompt], max_new_tokens=6)
    ids = [*prompt_ids(lm, prompt), *completion.token_ids]
    assert prompt + completion.text == lm.tokenizer.decode(ids, skip_special_tokens=True)


def test_bad_arguments_are_named(llama) -> None:
    for changes, words in [
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
        ({"temperature": -1.0}, "temperature=-1.0"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"top_p": 0.0}, "top_p=0.0"),
        ({"top_p": 1.5}, "top_p=1.5"),
        ({"stop": "\n"}, "stop="),
        ({"stop": [""]}, "stop="),
        ({"max_new_tokens": 600}, "prompt 0 with 600 new"),
    ]:
        with pytest.raises(OctoberError, match=words):
            llama.generate(["x"], **{"max_new_tokens": 2, **changes})
    with pytest.raises(OctoberError, match="prompts='x y': a list of texts is needed"):
        llama.generate("x y", max_new_tokens=1)
    with pytest.raises(OctoberError, match="max_batch_tokens=0"):
        TransformersLM(llama.model, llama.tokenizer, max_batch_tokens=0)
    assert llama.generate([], max_new_tokens=3) == []


def test_a_model_with_another_kind_of_state_is_refused(llama, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama.model.config, "layer_types", ["linear_attention"], raising=False)
    with pytest.raises(OctoberError, match="linear_attention are not supported"):
        TransformersLM(llama.model, llama.tokenizer)
