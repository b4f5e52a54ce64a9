import random

import pytest
import torch
from tiny_tokenizers import sentencepiece_like
from transformers import LlamaConfig, LlamaForCausalLM

from october.language_models import TransformersLM, text_trees
from october.language_models.prompt_states import reads_trees
from october.language_models.text_trees import divided, masks, seen_by_tokens, text_tree


def drawn_texts(seed, count=8, words=3, longest=6):
    generator = random.Random(seed)
    return [[generator.randrange(words) for _ in range(generator.randint(1, longest))] for _ in range(count)]


@pytest.mark.parametrize("seed", range(5))
def test_a_tree_spells_every_text_and_holds_each_beginning_once(seed):
    texts = drawn_texts(seed)
    tree = text_tree(texts)
    for text, path in zip(texts, tree.paths, strict=True):
        assert [tree.token_ids[place] for place in path] == text
        assert [tree.depths[place] for place in path] == list(range(len(text)))
    beginnings = {tuple(text[: end + 1]) for text in texts for end in range(len(text))}
    assert len(tree.token_ids) == len(beginnings) < sum(map(len, texts))


@pytest.mark.parametrize("seed", range(5))
def test_a_token_sees_those_above_it_and_itself(seed):
    tree = text_tree(drawn_texts(seed))
    size = len(tree.token_ids) + 2
    expected = torch.eye(size, dtype=torch.bool)
    for path in tree.paths:
        for depth, place in enumerate(path):
            expected[place, path[: depth + 1]] = True
    assert torch.equal(seen_by_tokens(tree, size), expected)


def test_texts_are_divided_by_prompt_and_size(monkeypatch):
    monkeypatch.setattr(text_trees, "_LARGEST", 8)
    texts = [*drawn_texts(0, count=20), [1] * 9]
    rows = [index % 3 for index in range(len(texts))]
    groups = divided(rows, texts)
    assert sorted(index for group in groups for index in group) == list(range(len(texts)))
    for group in groups:
        assert len({rows[index] for index in group}) == 1
        assert len(group) == 1 or sum(len(texts[index]) for index in group) <= 8
    assert len(groups) < len(texts)


def test_windows_reach_from_a_tokens_position():
    """Two cached tokens, one of them padding in the second row, and a tree of two texts with one beginning."""
    tree = text_tree([[5, 6], [5, 7]])
    inside = seen_by_tokens(tree, 3)
    there = torch.tensor([[True, True], [False, True]])
    seen = torch.cat([there[:, None].expand(-1, 3, -1), inside.expand(2, -1, -1)], dim=2)
    positions = torch.tensor([[2, 3, 3], [1, 2, 2]])
    config = LlamaConfig(layer_types=["full_attention", "sliding_attention"], sliding_window=2, num_hidden_layers=2)
    found = masks(config, seen, positions, there.cumsum(dim=1) - 1, torch.float32, seen.device)
    assert set(found) == {"full_attention", "sliding_attention"}
    assert torch.equal(found["full_attention"][:, 0] == 0, seen)
    windowed = [[False, True, True, False, False], [False, False, True, True, False], [False, False, True, False, True]]
    assert torch.equal(found["sliding_attention"][:, 0] == 0, torch.tensor([windowed] * 2))
    alone = masks(LlamaConfig(), seen, positions, there.cumsum(dim=1) - 1, torch.float32, seen.device)
    assert torch.equal(alone[:, 0] == 0, seen)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_models_read_trees(lm, attention):
    before = lm.model.config._attn_implementation
    lm.model.set_attn_implementation(attention)
    try:
        assert reads_trees(lm.model.base_model)
        prompts, options = ["The capital of France is near"] * 4, [" the river", " the tower", " the", " Paris"]
        scores = [score.total for score in lm.score(prompts, options)]
        alone = [lm.score([prompt], [option])[0].total for prompt, option in zip(prompts, options, strict=True)]
        assert scores == pytest.approx(alone, abs=1e-4)
    finally:
        lm.model.set_attn_implementation(before)


def test_options_behind_a_prompt_pass_in_one_row(llama, fed_tokens):
    prompt = "Question: where is the tower? Answer: in the old town, near the river.\n"
    options = [" the old town", " the old river", " Paris", " the old"]
    shapes = fed_tokens(llama)
    llama.score([prompt] * 4, options)
    assert [rows for rows, tokens in shapes] == [1, 1]
    alone = sum(len(llama.tokenizer.encode(option, add_special_tokens=False)) - 1 for option in options)
    assert 0 < shapes[1][1] < alone


def test_a_network_that_makes_its_own_mask_reads_no_trees(monkeypatch):
    torch.manual_seed(0)
    tokenizer = sentencepiece_like()
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48, "num_hidden_layers": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), **sizes, initializer_range=0.4, eos_token_id=2, bos_token_id=1)
    model = LlamaForCausalLM(config)
    whole = TransformersLM(model, tokenizer)
    prompts, options = ["The capital of France is near"] * 3, [" the river", " the tower", " Paris"]
    expected = [score.total for score in whole.score(prompts, options)]
    forward = model.model.forward

    def causal(*args, attention_mask=None, **kwargs):
        if attention_mask is not None and attention_mask.ndim == 4:
            attention_mask = None
        return forward(*args, attention_mask=attention_mask, **kwargs)

    monkeypatch.setattr(model.model, "forward", causal)
    assert not reads_trees(model.model)
    lm = TransformersLM(model, tokenizer)
    assert [score.total for score in lm.score(prompts, options)] == pytest.approx(expected, abs=1e-4)
    model.set_attn_implementation("eager")
    monkeypatch.setattr(text_trees, "_WITH_MASKS", ("sdpa",))
    assert not reads_trees(model.model)
