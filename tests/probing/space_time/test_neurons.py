import numpy as np
import pytest
import torch
from torch import nn

from october.errors import OctoberError
from october.probing import extract
from october.probing.residual_stream import transformer_blocks
from october.probing.space_time import (
    Neuron,
    ablated,
    most_aligned,
    neuron_activations,
    neuron_cosines,
    next_token_losses,
    random_neurons,
)

FAMILIES = ["gemma3", "llama", "gpt_neox", "bert"]


def feed_forward(model, name, layer):
    """Gate, input and output matrices as the family keeps them."""
    block = transformer_blocks(model)[layer]
    if name == "gpt_neox":
        return None, block.mlp.dense_h_to_4h, block.mlp.dense_4h_to_h
    if name == "bert":
        return None, block.intermediate.dense, block.output.dense
    return block.mlp.gate_proj, block.mlp.up_proj, block.mlp.down_proj


@pytest.mark.parametrize("name", FAMILIES)
def test_cosines_equal_a_loop(make, name):
    model = make.backbone(name)
    directions = np.random.default_rng(0).standard_normal((16, 2))
    cosines = neuron_cosines(model, directions)
    assert set(cosines) == ({"gate", "in", "out"} if name in ("gemma3", "llama") else {"in", "out"})
    for layer in range(3):
        gate, into, out = (m and m.weight.detach().numpy().astype(float) for m in feed_forward(model, name, layer))
        for neuron in (0, 5, 23):
            vectors = {"in": into[neuron], "out": out[:, neuron]} | ({} if gate is None else {"gate": gate[neuron]})
            for side, vector in vectors.items():
                expected = vector @ directions / np.linalg.norm(vector) / np.linalg.norm(directions, axis=0)
                np.testing.assert_allclose(cosines[side][layer, neuron], expected, atol=1e-6)


def test_the_planted_neuron_is_found(make):
    model, direction = make.backbone("llama"), np.random.default_rng(1).standard_normal((16, 1))
    with torch.no_grad():
        transformer_blocks(model)[2].mlp.down_proj.weight[:, 7] = torch.from_numpy(-3 * direction[:, 0])
    found = most_aligned(neuron_cosines(model, direction), target=0, count=5)
    assert (found[0].neuron, found[0].side) == (Neuron(2, 7), "out")
    assert found[0].cosine == pytest.approx(-1, abs=1e-5)
    assert len(found) == 5
    assert [abs(one.cosine) for one in found] == sorted((abs(one.cosine) for one in found), reverse=True)


@pytest.mark.parametrize("name", FAMILIES)
def test_activations_are_what_enters_the_output_matrix(make, names, name):
    model, tokenizer = make.backbone(name), make.char_tokenizer(name)
    neurons = [Neuron(2, 3), Neuron(0, 11), Neuron(2, 20)]
    found = neuron_activations(model, tokenizer, names, neurons, max_batch_tokens=60)
    for row, text in enumerate(names):
        seen = {}
        hooks = [
            feed_forward(model, name, layer)[2].register_forward_pre_hook(
                lambda module, args, layer=layer, seen=seen: seen.__setitem__(layer, args[0][0])
            )
            for layer in (0, 2)
        ]
        with torch.no_grad():
            model(**tokenizer(text, return_tensors="pt"))
        for hook in hooks:
            hook.remove()
        last = -2 if name == "bert" else -1
        expected = [float(seen[neuron.layer][last, neuron.index]) for neuron in neurons]
        np.testing.assert_allclose(found[row], expected, atol=2e-6)


@pytest.mark.parametrize("name", FAMILIES)
def test_ablation_equals_zeroed_output_weights(make, tmp_path, names, name):
    model, tokenizer = make.backbone(name), make.char_tokenizer(name)
    neurons = [Neuron(0, 2), Neuron(2, 5), Neuron(2, 9)]
    plain = extract(model, tokenizer, names, folder=tmp_path / "plain", progress=False).layer(-1)
    with ablated(model, neurons):
        hooked = extract(model, tokenizer, names, folder=tmp_path / "hooked", progress=False).layer(-1)
    after = extract(model, tokenizer, names, folder=tmp_path / "after", progress=False).layer(-1)
    with torch.no_grad():
        for neuron in neurons:
            feed_forward(model, name, neuron.layer)[2].weight[:, neuron.index] = 0.0
    zeroed = extract(model, tokenizer, names, folder=tmp_path / "zeroed", progress=False).layer(-1)
    np.testing.assert_allclose(hooked, zeroed, atol=2e-6)
    np.testing.assert_array_equal(plain, after)
    assert np.abs(plain - hooked).max() > 1e-4


@pytest.mark.parametrize("name", ["gemma3", "llama", "gpt_neox"])
def test_losses_equal_a_loop_over_tokens(make, names, name):
    model, tokenizer = make.language_model(name), make.char_tokenizer()
    found = next_token_losses(model, tokenizer, names, max_batch_tokens=60)
    for row, text in enumerate(names):
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            logits = model(ids).logits[0]
        each = [float(-torch.log_softmax(logits[at], 0)[ids[0, at + 1]]) for at in range(ids.shape[1] - 1)]
        assert found[row] == pytest.approx(np.mean(each), abs=1e-5)


def test_soft_capped_logits_give_the_models_own_loss(make, names):
    model, tokenizer = make.language_model("gemma3"), make.char_tokenizer()
    model.config.final_logit_softcapping = 1.5
    ids = tokenizer("Reykjavik", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = float(model(ids, labels=ids).loss)
    assert next_token_losses(model, tokenizer, ["Reykjavik"])[0] == pytest.approx(expected, abs=1e-5)


def test_ablation_changes_the_loss_as_zeroed_weights_do(make, names):
    model, tokenizer = make.language_model("llama"), make.char_tokenizer()
    with ablated(model, [Neuron(1, 4)]):
        hooked = next_token_losses(model, tokenizer, names)
    with torch.no_grad():
        transformer_blocks(model)[1].mlp.down_proj.weight[:, 4] = 0.0
    np.testing.assert_allclose(hooked, next_token_losses(model, tokenizer, names), atol=1e-6)


def test_random_neurons_are_others_of_the_same_layers(make):
    like = [Neuron(0, 1), Neuron(0, 2), Neuron(2, 3)]
    drawn = random_neurons(make.backbone("llama"), like, seed=0)
    assert [neuron.layer for neuron in drawn] == [0, 0, 2]
    assert not set(drawn) & set(like)
    assert drawn == random_neurons(make.backbone("llama"), like, seed=0)
    with pytest.raises(OctoberError, match="no 13 other neurons"):
        random_neurons(make.backbone("llama"), [Neuron(1, index) for index in range(13)], seed=0)


def test_bad_input_is_named(make):
    model, tokenizer = make.backbone("llama"), make.char_tokenizer()
    with pytest.raises(OctoberError, match="8 entries but the model is 16 wide"):
        neuron_cosines(model, np.ones((8, 1)))
    with pytest.raises(OctoberError, match="no language-model head"):
        next_token_losses(model, tokenizer, ["Rome"])
    for block in transformer_blocks(model):
        block.mlp = nn.Identity()
    with pytest.raises(OctoberError, match="a kind that is not known"):
        neuron_cosines(model, np.ones((16, 1)))
