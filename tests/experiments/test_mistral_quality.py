"""What the tables on quality under windows and by number of KV heads compute."""

import math

import numpy as np
import pytest
import tiny_gemma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_mistral import decoder_of, texts_of

from october.attention import learning_rate_share
from october.attention.perplexity import token_losses
from october.data import wikipedia_documents
from october.errors import OctoberError
from october.experiments.mistral import _quality_cells, _relay, _small_decoder, grouped_query, window_quality
from october.experiments.mistral._pretrained_windows import (
    Reader,
    in_sliding_layers,
    losses_through_buffer,
    with_windows,
)
from october.language_models import ModelHandle
from october.reporting.published import published_of

pytestmark = pytest.mark.usefixtures("one_thread")

VOCABULARY = 29


def losses_one_by_one(decoder, text, start_id):
    """Each token's loss from a pass of its own over all that stands before it, in float64."""
    losses = []
    for place, token in enumerate(text):
        states = decoder(torch.tensor([[start_id, *text[:place]]]))[0, -1]
        logits = decoder.logits(states).double()
        losses.append(float(torch.log(torch.exp(logits - logits.max()).sum()) + logits.max() - logits[token]))
    return losses


@settings(deadline=None, max_examples=15)
@given(
    windows=st.lists(st.sampled_from([None, 2, 3, 5]), min_size=1, max_size=3),
    length=st.integers(1, 17),
    chunk=st.integers(1, 20),
)
@torch.inference_mode()
def test_losses_through_the_buffer_are_those_token_by_token(windows, length, chunk):
    decoder, (text,) = decoder_of(tuple(windows)), texts_of([length])
    found = losses_through_buffer(decoder, text, start_id=1, chunk_size=chunk)
    assert found.tolist() == pytest.approx(losses_one_by_one(decoder, text, 1), abs=2e-6)


@torch.inference_mode()
def test_other_windows_on_the_same_weights_leave_the_decoder_as_it_was():
    decoder, (text,) = decoder_of((3, None, 3)), texts_of([14])
    before = token_losses(decoder, text, start_id=0, window=14)
    other = with_windows(decoder, in_sliding_layers((3, None, 3), 5))
    assert other.config.sliding_windows == (5, None, 5)
    found = token_losses(other, text, start_id=0, window=14).tolist()
    assert found == pytest.approx(losses_one_by_one(decoder_of((5, None, 5)), text, 0), abs=2e-6)
    assert torch.equal(token_losses(decoder, text, start_id=0, window=14), before)
    assert found != pytest.approx(before.tolist(), abs=1e-3)


def test_weights_of_few_bits_cost_the_same_through_the_buffer_as_in_one_pass(tmp_path):
    model = ModelHandle(name="tiny", path=str(tiny_gemma.save(tmp_path)), device="cpu")
    reader = Reader(model, context=24, num_documents=2)
    assert min(window for window in reader.own_windows() if window) < 24
    at_once, rolled = reader.quantized_losses("int8"), reader.quantized_losses("int8", 7)
    assert rolled == pytest.approx(at_once, abs=0.02)
    assert rolled != pytest.approx(reader.losses(), abs=1e-6)


def test_a_model_without_windows_has_none_to_replace():
    with pytest.raises(OctoberError, match=r"windows=\[8\]: no layer"):
        in_sliding_layers((None, None), 8)


def test_perplexity_is_that_of_all_tokens_of_documents_of_equal_length():
    losses = torch.rand(3, 7, dtype=torch.float64)
    cell = _quality_cells.perplexity_cell(losses.mean(dim=1).tolist())
    assert cell.value == pytest.approx(math.exp(float(losses.mean())))
    assert cell.bounds[0] < cell.value < cell.bounds[1]
    assert _quality_cells.perplexity_cell([2.0]).interval is None
    assert _quality_cells.perplexity_cell([2.0, 9.0]).bounds[1] == math.inf


def test_shares_and_gains_are_means_of_cases():
    ours, theirs = [1, 1, 0, 1, 0], [0, 1, 0, 0, 0]
    assert _quality_cells.share_cell(ours, less=0.25).value == pytest.approx(0.35)
    assert _quality_cells.gain_cell(ours, theirs).value == pytest.approx(0.4)
    assert _quality_cells.share_cell([]).value is None
    high, low = [3.0, 5.0, 4.0], [1.0, 2.0, 3.0]
    assert _quality_cells.difference_cell(high, low).value == pytest.approx(2.0)


@pytest.mark.parametrize(("window", "num_layers"), [(4, 2), (3, 3)])
def test_a_trained_decoder_knows_the_marker_up_to_its_reach_and_not_beyond(window, num_layers):
    span = _relay.Span(window, num_layers)
    right = np.array(_relay.train_and_ask(span, 64, 32, 150, 0.006, 200, seed=0))
    assert right.shape == (200, span.length)
    accuracy = right.mean(axis=0)
    assert accuracy[: span.reach + 1].min() > 0.9
    assert accuracy[span.reach + 1 :].max() < 0.25  # a guess is right once in 16
    assert _relay.measured_reach(right) == span.reach


def test_texts_begin_with_a_marker_that_is_the_answer_everywhere():
    texts, labels = next(_relay.marked_texts(3, 40, 50))
    assert texts.shape == labels.shape == (40, 50)
    assert set(labels[:, 0].tolist()) <= set(_relay.MARKERS)
    assert len(set(labels[:, 0].tolist())) > 5
    assert (labels == texts[:, :1]).all()
    training = "".join(wikipedia_documents()[0]).encode()
    assert not set(training) & set(_relay.MARKERS)
    assert all(bytes(text[1:].tolist()) in training for text in texts[:5])
    again, _ = next(_relay.marked_texts(3, 40, 50))
    assert torch.equal(texts, again)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_the_measured_reach_is_the_longest_distance_halfway_above_a_guess(accuracy):
    halfway = 0.5 + 0.5 / 16
    expected = -1
    for distance, share in enumerate(accuracy):
        if share >= halfway:
            expected = distance
    assert _relay.measured_reach(np.array([accuracy])) == expected


def test_spans_that_move_nothing_are_refused():
    assert [span.reach for span in _relay.spans_of([[16, 4], [2, 1]])] == [60, 1]
    with pytest.raises(OctoberError, match="W must be at least 2"):
        _relay.spans_of([[1, 3]])
    with pytest.raises(OctoberError, match="pairs of W and k"):
        _relay.spans_of([[16, 4], [16]])


def test_training_is_adamw_on_the_mean_loss_with_clipped_gradients():
    ours, theirs = (_small_decoder.small_decoder(16, 1, (2, 1), 4, 8, seed=0) for _ in range(2))
    generator = torch.Generator().manual_seed(0)
    drawn = [tuple(torch.randint(256, (2, 8), generator=generator) for _ in range(2)) for _ in range(3)]
    losses = _small_decoder.train(ours, iter(drawn), 3, 0.01)
    optimizer = torch.optim.AdamW(theirs.parameters(), betas=(0.9, 0.98), weight_decay=0.0)
    for step, (tokens, labels) in enumerate(drawn):
        optimizer.param_groups[0]["lr"] = 0.01 * learning_rate_share(step, 3)
        logs = theirs.logits(theirs(tokens)).log_softmax(dim=-1)
        loss = -sum(logs[row, place, labels[row, place]] for row in range(2) for place in range(8)) / 16
        assert losses[step] == pytest.approx(loss.item(), rel=1e-4)
        optimizer.zero_grad()
        loss.backward()
        size = math.sqrt(sum(float(p.grad.square().sum()) for p in theirs.parameters()))
        for parameter in theirs.parameters():
            parameter.grad *= min(1.0, 1.0 / size)
        optimizer.step()
    for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(own, other, atol=1e-4)


def test_held_out_windows_begin_documents_that_are_long_enough():
    windows = _small_decoder.held_out_windows(3, 3000)
    long_enough = [d for d in (text.encode() for text in wikipedia_documents()[1]) if len(d) >= 3000]
    assert [bytes(window.tolist()) for window in windows] == [document[:3000] for document in long_enough[:3]]
    with pytest.raises(OctoberError, match="num_documents=9999"):
        _small_decoder.held_out_windows(9999, 3000)


@given(
    num_layers=st.integers(1, 3),
    ratio=st.sampled_from([1, 2, 4, 8]),
    window=st.integers(1, 40),
)
def test_counted_bytes_are_those_of_the_formula(num_layers, ratio, window):
    config = _small_decoder.small_decoder(32, num_layers, (8, 8 // ratio), window, 100, 0).config
    assert grouped_query.buffer_bytes(config, window) == grouped_query.formula_bytes(config, window)
    assert grouped_query.formula_bytes(config, window) == 2 * num_layers * window * (8 // ratio) * 4 * 4


def num_parameters(kv_heads, equal):
    decoder = _small_decoder.small_decoder(96, 2, (8, kv_heads), 4, 8, 0, equal_parameters=equal)
    return sum(parameter.numel() for parameter in decoder.parameters())


def test_what_fewer_heads_save_goes_into_the_feed_forward_network_or_is_left_out():
    assert num_parameters(8, equal=True) == num_parameters(8, equal=False)
    for kv_heads in (4, 2, 1):  # heads of 12, two maps, two layers, from 96 inputs
        assert num_parameters(kv_heads, equal=True) == num_parameters(8, equal=True)
        saved = num_parameters(8, equal=False) - num_parameters(kv_heads, equal=False)
        assert saved == (8 - kv_heads) * 12 * 2 * 2 * 96


@torch.inference_mode()
def test_bits_are_those_byte_by_byte():
    decoder = _small_decoder.small_decoder(16, 2, (2, 1), 4, 12, seed=1)
    windows = torch.randint(256, (3, 10), generator=torch.Generator().manual_seed(0))
    found = grouped_query.bits_by_window(decoder, windows)
    for bits, window in zip(found, windows.tolist(), strict=True):
        nats = losses_one_by_one(decoder, window[1:], window[0])
        assert bits == pytest.approx(np.mean(nats) / math.log(2), abs=1e-5)


def test_kv_heads_are_checked():
    grouped_query.check_heads(8, [8, 4, 1])
    for wrong in ([4, 2], [8, 8], [8, 1, 2], []):
        with pytest.raises(OctoberError, match="must descend, and begin with num_heads=8"):
            grouped_query.check_heads(8, wrong)
    with pytest.raises(OctoberError, match=r"num_kv_heads=\[3\]: must divide"):
        grouped_query.check_heads(8, [8, 3])


def test_evidence_compares_the_papers_ratio_with_ungrouped_heads():
    bits = {8: np.array([[2.0, 2.2], [2.1, 2.3]]), 2: np.array([[2.1, 2.3], [2.2, 2.6]])}
    found = grouped_query.evidence_of(bits, {8: 800, 2: 200}, {"8": [4.0, 6.0], "2": [2.0, 4.5]}, 8)
    assert found["cache bytes over ungrouped"].interval == (0.25, 0.25)
    assert found["decode step over ungrouped"].value == pytest.approx((0.5 + 0.75) / 2)
    assert found["bits per byte over ungrouped"].value == pytest.approx(0.15)
    assert grouped_query.evidence_of({8: bits[8]}, {8: 800}, {"8": [4.0]}, 8) == {}


def test_every_claim_on_windows_and_heads_is_decided_by_what_is_measured():
    span = _relay.Span(3, 2)
    right = {span: [np.array([[1, 1, 1, 1, 0, 0, 0, 1]] * 4), np.array([[1, 1, 1, 1, 1, 0, 0, 0]] * 4)]}
    losses = {name: [2.0, 3.0] for name in (window_quality.OWN, window_quality.NONE, "int8 weights", "int4 weights")}
    losses |= {"W = 9 in sliding layers": [2.5, 3.0], "W = 4 in sliding layers": [3.0, 5.0]}
    found = window_quality.span_evidence(right) | window_quality.pretrained_evidence(
        losses, {7: ([2.0], 1e-6), 9: ([2.0], 3e-6)}
    )
    assert {claim.metric for claim in published_of("mistral").claims_of("window_quality")} <= set(found)
    assert found["accuracy at k (W - 1) tokens"].value == 0.5
    assert found["measured reach over k (W - 1)"].value == pytest.approx((7 / 4 + 1) / 2)
    assert found["accuracy beyond k (W - 1), over a guess"].value == pytest.approx(1 / 6 - 1 / 16)
    assert found["largest difference through the rolling buffer"].interval == (3e-6, 3e-6)
    assert found["loss of the worst smaller windows over own"].value == pytest.approx(1.5)
    heads = grouped_query.evidence_of({8: np.ones((2, 3)), 2: np.ones((2, 3))}, {8: 8, 2: 2}, {"8": [1], "2": [1]}, 8)
    assert {claim.metric for claim in published_of("mistral").claims_of("grouped_query")} <= set(heads)


def test_decoding_is_timed_on_full_buffers():
    decoders = {kv: _small_decoder.small_decoder(16, 1, (2, kv), 6, 24, 0) for kv in (2, 1)}
    seconds = grouped_query.decode_seconds(decoders, batch=2, window=6, num_tries=3)
    assert set(seconds) == {"2", "1"}
    assert all(len(each) == 3 and min(each) > 0 for each in seconds.values())
    assert grouped_query.middle(seconds["2"], 1e3, "ms").value == pytest.approx(1e3 * np.mean(seconds["2"]))
