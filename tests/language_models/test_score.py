import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from references import next_logits, prompt_ids, score_token_by_token

from october.errors import OctoberError
from october.language_models import TransformersLM

WORDS = ["The", " capital", " of", " France", " is", " Paris", ".", "\n", " naïve", " 日本", " river", "  two", "x"]
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map("".join)
SHARED = "Question: where is the tower? Answer: in the old town, near the river.\n" * 4


def assert_scores(lm: TransformersLM, prompts: list[str], continuations: list[str]) -> None:
    scores = lm.score(prompts, continuations)
    for prompt, continuation, score in zip(prompts, continuations, scores, strict=True):
        expected = score_token_by_token(lm, prompt, continuation)
        assert score.log_probabilities == pytest.approx(expected, abs=1e-4)
        assert score.total == pytest.approx(sum(expected), abs=1e-3)
        ids = prompt_ids(lm, prompt + continuation)
        assert list(score.token_ids) == ids[len(ids) - len(expected) :]
        assert list(score.tokens) == lm.tokenizer.convert_ids_to_tokens(score.token_ids)


@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4))
def test_scores_equal_a_loop_over_tokens(lm: TransformersLM, pairs: list[tuple[str, str]]) -> None:
    assert_scores(lm, [prompt for prompt, _ in pairs], [continuation for _, continuation in pairs])


def test_scores_behind_a_shared_prefix_equal_a_loop_over_tokens(lm, fed_tokens) -> None:
    prompts = [SHARED + text for text in ("The", "Question: where is Paris", "", "x  two", "The capital of", "river")]
    continuations = [" is Paris.", " naïve", "Answer", " river.\n", " France is", "."]
    shapes = fed_tokens(lm)
    lm.score(prompts, continuations)
    whole = sum(len(prompt_ids(lm, p + c)) for p, c in zip(prompts, continuations, strict=True))
    assert shapes[0][0] == 1, "the prefix is encoded alone"
    assert sum(rows * tokens for rows, tokens in shapes) < 0.5 * whole
    assert_scores(lm, prompts, continuations)


def test_equal_prompts_with_different_continuations(lm) -> None:
    assert_scores(lm, [SHARED] * 5, [" Paris", " river", " Paris", "x", " the old town"])


def test_the_likeliest_tokens_are_told(lm) -> None:
    prompts = [SHARED, "The capital of France is", "The river", "Question:"]
    written = lm.generate(prompts, max_new_tokens=5)
    texts = [completion.text + " river x" for completion in written]
    found = 0
    for prompt, text, score in zip(prompts, texts, lm.score(prompts, texts), strict=True):
        ids = prompt_ids(lm, prompt + text)
        start = len(ids) - len(score.token_ids)
        expected = [next_logits(lm, ids[:place]).argmax().item() == ids[place] for place in range(start, len(ids))]
        assert list(score.likeliest) == expected
        found += sum(expected)
    assert found >= 4


def test_a_prefix_stays_as_it_was_encoded(llama) -> None:
    from october.language_models.prefix_cache import encode_prefix

    prefix = encode_prefix(llama.model.base_model, [5, 6, 7])
    before = [keys.clone() for keys, _ in prefix._layers]
    for rows in (1, 3):
        ids = torch.full((rows, 4), 9)
        llama.model.base_model(input_ids=ids, past_key_values=prefix.read_only(), use_cache=True)
        llama.model.base_model(input_ids=ids, past_key_values=prefix.left_padded([3] * rows), use_cache=True)
    assert all(torch.equal(a, b) for a, (b, _) in zip(before, prefix._layers, strict=True))


def test_an_empty_prompt_is_the_start_token(lm) -> None:
    (score,) = lm.score([""], ["The capital"])
    start = lm.tokenizer.bos_token_id if lm.tokenizer.bos_token_id is not None else lm.tokenizer.eos_token_id
    ids = lm.tokenizer("The capital", add_special_tokens=False)["input_ids"]
    logits = torch.log_softmax(lm.model(torch.tensor([[start, *ids]])).logits[0].double(), dim=-1)
    assert score.total == pytest.approx(sum(logits[i, t].item() for i, t in enumerate(ids)), abs=1e-4)
    assert list(score.token_ids) == ids


def test_the_start_token_stands_once(llama) -> None:
    with_name, without = llama.score(["<bos>The capital", "The capital"], [" of", " of"])
    assert with_name.total == pytest.approx(without.total, abs=1e-5)


def test_all_one_token_continuations_have_total_probability_one(llama) -> None:
    """Every token after one prompt: the head's chunks cover the vocabulary exactly."""
    ids = prompt_ids(llama, "The capital of")
    hidden = llama.model.base_model(torch.tensor([ids])).last_hidden_state[:, -1]
    vocabulary = torch.arange(llama.model.config.vocab_size)
    values = llama._head.token_scores(hidden.expand(len(vocabulary), -1), vocabulary).log_probabilities
    assert values.exp().sum().item() == pytest.approx(1.0, abs=1e-5)


def test_the_head_is_applied_in_bounded_pieces(llama, monkeypatch: pytest.MonkeyPatch) -> None:
    from october.language_models import output_head

    whole = llama.score(["The"] * 3, [" capital of France"] * 3)
    sizes = []
    hook = llama.model.get_output_embeddings().register_forward_hook(lambda m, args, out: sizes.append(out.numel()))
    monkeypatch.setattr(output_head, "gains_from_blocks", lambda linear: False)  # its blocks have a bound of their own
    monkeypatch.setattr(output_head, "_LOGITS_AT_ONCE", 2 * llama.model.config.vocab_size)
    in_pieces = llama.score(["The"] * 3, [" capital of France"] * 3)
    hook.remove()
    assert max(sizes) == 2 * llama.model.config.vocab_size
    assert [s.total for s in in_pieces] == pytest.approx([s.total for s in whole], abs=1e-5)


def test_a_large_vocabulary_is_summed_exactly() -> None:
    from october.language_models.output_head import chosen_log_probabilities

    logits = 3 * torch.randn(4, 262_144, generator=torch.Generator().manual_seed(0)) - 5
    targets = torch.tensor([3, 1_000, 200_000, 262_143])
    exact = logits.double().log_softmax(dim=-1).gather(1, targets[:, None])[:, 0]
    assert (chosen_log_probabilities(logits, targets) - exact).abs().max() < 5e-6  # log_softmax: 3e-5


def test_soft_capped_logits_are_scored_as_the_model_makes_them() -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    from october.language_models.output_head import OutputHead

    sizes = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "head_dim": 8}
    config = Gemma2Config(
        **sizes, num_attention_heads=2, num_key_value_heads=1, final_logit_softcapping=0.5, initializer_range=0.5
    )
    model = Gemma2ForCausalLM(config).eval()
    ids = torch.tensor([[1, 2, 3, 4]])
    with torch.inference_mode():
        expected = torch.log_softmax(model(ids).logits[0].double(), dim=-1)
        hidden = model.base_model(ids).last_hidden_state[0]
        values = OutputHead(model).token_scores(hidden, torch.tensor([7, 8, 9, 10])).log_probabilities
    assert values.tolist() == pytest.approx([expected[i, 7 + i].item() for i in range(4)], abs=1e-5)


def test_a_head_that_scales_its_logits_in_its_own_way_is_refused() -> None:
    from transformers import CohereConfig, CohereForCausalLM

    from october.language_models.output_head import OutputHead

    config = CohereConfig(
        vocab_size=50, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, logit_scale=7.0
    )
    with pytest.raises(OctoberError, match="CohereForCausalLM computes its logits"):
        OutputHead(CohereForCausalLM(config).eval())


def test_bad_arguments_are_named(llama) -> None:
    with pytest.raises(OctoberError, match="2 prompts and 1 continuations"):
        llama.score(["a", "b"], ["c"])
    with pytest.raises(OctoberError, match="continuation 1 is empty"):
        llama.score(["a", "b"], ["c", ""])
    with pytest.raises(OctoberError, match=r"prompt and continuation 0 has \d+ tokens, more than the model's context"):
        llama.score(["river " * 600], [" x"])
    assert llama.score([], []) == []


def test_what_fits_is_told_without_scoring(llama, monkeypatch) -> None:
    context = llama.model.config.max_position_embeddings
    prompt = "Question: where is the tower?"
    used = len(prompt_ids(llama, prompt))
    longest = next(n for n in range(context, 0, -1) if len(prompt_ids(llama, prompt + " river" * n)) <= context)
    continuations = [" river" * longest, " river" * (longest + 1), " river"]
    assert used < context
    assert llama.fits([prompt] * 3, continuations) == [True, False, True]
    llama.score([prompt], continuations[:1])
    with pytest.raises(OctoberError, match=f"more than the model's context of {context}"):
        llama.score([prompt], continuations[1:2])
    with pytest.raises(OctoberError, match="continuation 0 is empty"):
        llama.fits(["x"], [""])
    monkeypatch.setattr(llama, "_context", None)
    assert llama.fits([prompt], continuations[1:2]) == [True]


def test_totals_are_log_probabilities(lm) -> None:
    scores = lm.score(["The", "x"], [" capital", " of France"])
    assert all(score.total < 0 and math.isfinite(score.total) for score in scores)


def test_states_that_several_tokens_follow_pass_the_head_once(monkeypatch) -> None:
    """Against log_softmax in float64, in pieces of any size, in any order of targets."""
    from october.language_models import output_head

    generator = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(7, 16, generator=generator), torch.randn(50, 16, generator=generator)
    places, targets = torch.randint(7, (20,), generator=generator), torch.randint(50, (20,), generator=generator)
    logits = hidden.double() @ weight.double().T
    expected = logits.log_softmax(dim=-1)[places, targets]
    for at_once in (1, 3, 7, 100):
        passed = []
        head = lambda some, passed=passed: (passed.append(len(some)), some @ weight.T)[1]  # noqa: E731
        monkeypatch.setattr(output_head, "_LOGITS_AT_ONCE", 50 * at_once)
        found = output_head.token_scores_in_pieces(head, 50, hidden, targets, places)
        torch.testing.assert_close(found.log_probabilities.double(), expected, atol=1e-5, rtol=0)
        assert torch.equal(found.likeliest, logits.argmax(dim=-1)[places] == targets)
        assert sum(passed) == 7


@pytest.mark.parametrize("rows", [1, 2, 8, 40])
def test_products_that_copy_no_weights_are_the_same(llama, monkeypatch, rows) -> None:
    from october.language_models import output_head

    head = output_head.OutputHead(llama.model)
    hidden = torch.randn(rows, 32, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    with torch.inference_mode():
        found = head.logits(hidden)
        torch.testing.assert_close(found, llama.model.lm_head(hidden), atol=1e-5, rtol=1e-5)
    assert found.is_contiguous()


def test_a_head_with_adapters_keeps_them(llama, monkeypatch) -> None:
    from copy import deepcopy

    from peft import LoraConfig, get_peft_model

    from october.language_models import output_head

    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    adapted = get_peft_model(
        deepcopy(llama.model), LoraConfig(target_modules=["lm_head"], r=2, init_lora_weights=False)
    ).base_model.model
    hidden = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = output_head.OutputHead(adapted).logits(hidden)
        assert torch.equal(found, adapted.lm_head(hidden))
        assert not torch.allclose(found, llama.model.lm_head(hidden), atol=1e-2)
