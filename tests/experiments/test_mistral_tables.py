"""What the tables and pictures on Mistral's structure compute, against counts by hand."""

import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from october import configuration
from october.attention.mistral import RollingBufferCache
from october.errors import OctoberError
from october.experiments.mistral import (
    _beside_transformers,
    _common,
    _decoding,
    _figures,
    parity,
    prefill_chunking,
    rolling_cache,
    sliding_window,
)
from october.language_models import ModelHandle
from october.reporting.published import published_of

pytestmark = pytest.mark.usefixtures("one_thread")

WINDOW = 5


def shape(window=WINDOW, num_layers=2):
    return _common.small_mistral(32, num_layers, 4, 2, window, 512)


@given(length=st.integers(1, 60), window=st.integers(1, 70))
def test_pairs_are_those_counted_one_by_one(length, window):
    by_hand = sum(0 <= i - j < window for i in range(length) for j in range(length))
    assert sliding_window.num_pairs(length, window) == by_hand
    assert sliding_window.num_pairs(length, None) == length * (length + 1) // 2


@settings(deadline=None, max_examples=12)
@given(window=st.integers(1, 6), num_layers=st.integers(1, 4), seed=st.integers(0, 5))
def test_the_measured_reach_is_that_of_sets_of_positions(window, num_layers, seed):
    length = 40
    seen = [{position} for position in range(length)]
    for _ in range(num_layers):
        seen = [set().union(*(seen[j] for j in range(max(0, i - window + 1), i + 1))) for i in range(length)]
    last = max(position for position in range(length) if 0 in seen[position])
    assert sliding_window.reach(window, num_layers, seed) == last + 1
    assert sliding_window.receptive_field(window, num_layers) == last + 1
    changed = _figures.changed_states(window, num_layers, length)
    assert changed[-1].tolist() == [0 in positions for positions in seen]
    assert changed[0].tolist() == [True] + [False] * (length - 1)


@given(window=st.integers(1, 6), earlier=st.integers(0, 15), chunk=st.integers(1, 12))
def test_the_drawn_mask_is_the_band_of_the_window(window, earlier, chunk):
    weights = _figures.seen_by_chunk(window, earlier, chunk)
    for row, column in itertools.product(range(chunk), range(earlier + chunk)):
        query = earlier + row
        expected = 1 / min(window, query + 1) if 0 <= query - column < window else 0.0
        assert float(weights[row, column]) == pytest.approx(expected, abs=1e-6)


@given(window=st.integers(1, 5), lengths=st.lists(st.integers(1, 12), min_size=1, max_size=3))
def test_the_drawn_buffer_holds_what_a_dictionary_would(window, lengths):
    slots = [[_figures.EMPTY] * window for _ in lengths]
    for step, held in enumerate(_figures.slots_by_step(window, lengths)):
        for row, length in enumerate(lengths):
            if step < length:
                slots[row][step % window] = step
        assert held.tolist() == slots


def test_pictures_for_the_notebook_are_drawn():
    for figure in (
        _figures.buffer_rolling(3, [2, 5], [1, 4]),
        _figures.chunk_mask(3, 5, 2),
        _figures.spread(3, 3),
        _figures.cache_curve(longest=1024),
    ):
        assert figure.axes


def test_bytes_of_caches_are_those_of_the_formula():
    token = 2 * 32 * 8 * 128 * 2  # keys and values, layers, heads, width, bytes of bfloat16
    for length in (100, 4096, 32_768):
        rolling, full = rolling_cache.cache_bytes(_common.MISTRAL_7B, length, torch.bfloat16)
        assert (rolling, full) == (min(length, 4096) * token, length * token)


def test_caches_side_by_side_agree_and_hold_what_they_say():
    positions, num_steps = [3, 10, 40], 4
    text = _common.random_text(0, positions[-1] + num_steps)
    found = _decoding.decode_side_by_side(shape(), text, positions, num_steps, seed=0)
    token = 2 * 2 * 2 * 8 * 4  # keys and values, layers, heads, width, bytes of float32
    for measured in found:
        assert set(measured) == set(_decoding.CACHES)
        assert measured[_decoding.ROLLING]["bytes"] == WINDOW * token
        assert measured[_decoding.FULL]["bytes"] == len(text) * token
        for name in (_decoding.ROLLING, _decoding.DYNAMIC, _decoding.STATIC, _decoding.OURS_INSIDE):
            assert measured[name]["apart"] < 2e-6
    assert found[-1][_decoding.NO_WINDOW]["apart"] > 1e-3, "without a window the model is another one"
    assert found[-1][_decoding.DYNAMIC]["bytes"] == WINDOW * token


def test_what_decides_the_claims_on_the_buffer():
    def measured(seconds, apart):
        return {name: {"seconds": seconds, "apart": apart, "bytes": 1} for name in _decoding.CACHES}

    by_position = {10: [measured(2.0, 1e-7), measured(3.0, 3e-7)], 40: [measured(2.2, 0.0), measured(3.3, 2e-7)]}
    decided = rolling_cache.evidence(shape(), by_position)
    assert decided["bytes of a full cache over a rolling one's at 8 W"].bounds == (8, 8)
    assert decided["largest difference from a full cache's logits"].value == 3e-7
    assert decided["decode step at the last position over one at 2 W"].value == pytest.approx(1.1)


@pytest.mark.parametrize(("length", "chunk"), [(900, 128), (1100, 160), (1200, 300)])
def test_the_formula_for_a_chunk_is_what_is_alive(length, chunk):
    config = _common.small_mistral(128, 2, 4, 2, 256, 1200)  # narrower windows are computed as bands
    peaks = prefill_chunking.peaks_of(config, length, chunk)
    assert peaks["peak"] == pytest.approx(prefill_chunking.formula_bytes(config, length, chunk), rel=0.1)
    assert peaks.get("half the prompt", peaks["peak"]) == pytest.approx(peaks["peak"], rel=0.01)
    assert peaks["one pass"] > peaks["peak"]


def test_chunks_choose_the_tokens_of_one_pass_and_of_a_decoder_without_cache():
    config = shape()
    found = prefill_chunking.passes_of(config, 23, [1, 4, 23], 6, tries=1, seed=0)
    assert [each["differing"] for each in found.values()] == [0, 0, 0]
    assert max(each["apart"] for each in found.values()) < 1e-5
    decoder, text = prefill_chunking.decoder_of(config, 0), _common.random_text(0, 23)
    with torch.inference_mode():
        cache = RollingBufferCache(config, 1, 29)
        logits = decoder.logits(prefill_chunking.prefill(decoder, [text], cache, chunk_size=4))
        tokens, _ = prefill_chunking.greedy(decoder, cache, logits, 6)
        for token in tokens:
            assert token == int(decoder.logits(decoder(torch.tensor([text]))[0, -1]).argmax())
            text.append(token)


def test_what_decides_the_claims_on_chunks():
    peaks = {
        64: {"peak": 11, "half the prompt": 10, "one pass": 20},
        512: {"peak": 30, "one pass": 25},
        2048: {"peak": 90},
    }
    seconds = {64: [2.0, 4.0], 512: [2.2, 4.8], 2048: [3.0, 5.0]}
    by_size = {
        size: [{"seconds": value, "apart": 0.0, "differing": int(size == 64)} for value in values]
        for size, values in seconds.items()
    }
    decided = prefill_chunking.evidence(peaks, by_size)
    assert {name: pytest.approx(cell.value) for name, cell in decided.items()} == {
        "greedy tokens that differ from those after one pass": 2,
        "growth of the peak when the prompt doubles": 1.1,
        "peak over that of chunk + W tokens in one pass": 1.2,
        "seconds at the default chunk over the best": 1.15,
    }


def test_a_difference_from_transformers_is_seen(monkeypatch):
    """The comparison with a decoder whose window is one key narrower must fail by far."""
    arguments = ("float32", 2, WINDOW, [3, 4 * WINDOW], 8, 0)
    agreeing = _beside_transformers.random_models(*arguments)
    assert max(agreeing["apart"].values()) < 1e-5
    assert (agreeing["tokens"], agreeing["differing"]) == (16, 0)

    original = _beside_transformers.decoder_from
    monkeypatch.setattr(_beside_transformers, "decoder_from", lambda model: _narrowed(original(model)))
    other = _beside_transformers.random_models(*arguments)
    assert min(other["apart"].values()) > 1e-2
    assert other["differing"] > 0


def _narrowed(decoder):
    decoder.config = replace(decoder.config, sliding_windows=(WINDOW - 1,))
    return decoder


def test_calls_take_turns_and_their_median_counts(monkeypatch):
    clock = iter([0, 1, 1, 11, 20, 23, 23, 53, 60, 62, 62, 82])
    monkeypatch.setattr(_common.time, "perf_counter", lambda: next(clock))
    called = []
    calls = {name: lambda name=name: called.append(name) for name in ("a", "b")}
    assert _common.seconds_in_turn(calls, 3) == {"a": 2, "b": 20}
    assert called == ["a", "b"] * 3


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["experiment=mistral/sliding_window", "window=0"], "window=0: input should be greater than 0"),
        (["experiment=mistral/sliding_window", "lengths=[]"], "lengths=.*at least 1 item"),
        (["experiment=mistral/rolling_cache", "window=-1"], "window=-1: input should be greater than 0"),
        (["experiment=mistral/rolling_cache", "positions=[]"], "positions=.*at least 1 item"),
        (["experiment=mistral/prefill_chunking", "chunk_sizes=[0]"], r"chunk_sizes.0=0: input should be greater"),
        (["experiment=mistral/prefill_chunking", "chunk_size=[4]"], "did you mean chunk_sizes"),
        (["experiment=mistral/parity", "group_sizes=[3]"], r"group_sizes.0=3: input should be 1, 2, 4 or 8"),
        (["experiment=mistral/parity", "document_length=0"], "document_length=0: input should be greater"),
    ],
)
def test_bad_settings_get_one_line(overrides, message):
    with pytest.raises(OctoberError, match=message) as caught:
        configuration.check_command_line([*overrides, "size=tiny"], multirun=False)
    assert "\n" not in str(caught.value)


def test_settings_that_do_not_fit_together_are_named_before_work_starts():
    heads = {"hidden_size": 32, "num_heads": 4, "num_kv_heads": 2, "num_layers": 1, "seeds": [0], "run": None}
    chunks = {**heads, "prompt_length": 10, "window": 4, "num_new_tokens": 2, "tries": 1}
    positions = {**heads, "window": 4, "num_steps": 3}
    for call, message in [
        (lambda: prefill_chunking.prefill_chunking(**chunks, chunk_sizes=[4, 11]), "from 1 to prompt_length=10"),
        (
            lambda: prefill_chunking.prefill_chunking(**{**chunks, "num_heads": 5}, chunk_sizes=[4]),
            "hidden_size=32: must be a multiple of num_heads=5",
        ),
        (lambda: rolling_cache.rolling_cache(**positions, positions=[4, 7]), r"positions=\[4, 7\]: each must be more"),
        (
            lambda: rolling_cache.rolling_cache(**{**positions, "num_kv_heads": 3}, positions=[4, 9]),
            "num_heads=4: must be a multiple of num_kv_heads=3",
        ),
        (lambda: parity_with(ModelHandle("x", kind="encoder"), [0]), "model x: an encoder generates no text"),
        (lambda: parity_with(ModelHandle("x"), [0, 10**6]), r"seeds=\[0, 1000000\]: each chooses one of"),
    ]:
        with pytest.raises(OctoberError, match=message):
            call()


def parity_with(model, seeds):
    return parity.parity(model, 4, [3], [1], ["float32"], 2, 9, [4], ["float32"], seeds, None)


def test_the_structures_claims_ask_for_what_the_tables_measure():
    """A metric that no table measures would never be tested, and nobody would notice."""
    found = {
        "sliding_window": {
            **sliding_window.evidence_of_times({4 * WINDOW: [{"full": 2.0, "windowed": 1.0}]}, WINDOW),
            **sliding_window.evidence_of_reach({(2, 3): [4, 5]}, 9),
        },
        "prefill_chunking": {},
    }
    assert found["sliding_window"]["largest deviation of the measured reach"].value == 1
    claims = published_of("mistral").claims_of("sliding_window")
    assert {claim.metric for claim in claims} <= set(found["sliding_window"])
    measured = {
        "parity": ["largest difference, random Mistral, float32", "greedy tokens that differ, float32"],
        "rolling_cache": [
            "bytes of a full cache over a rolling one's at 8 W",
            "largest difference from a full cache's logits",
            "decode step at the last position over one at 2 W",
        ],
        "prefill_chunking": [
            "greedy tokens that differ from those after one pass",
            "growth of the peak when the prompt doubles",
            "peak over that of chunk + W tokens in one pass",
            "seconds at the default chunk over the best",
        ],
    }
    for table, metrics in measured.items():
        assert {claim.metric for claim in published_of("mistral").claims_of(table)} <= set(metrics)
    models = [{"apart": {"1": 1e-6, "whole": 2e-6}, "differing": 1}]
    decided = parity.evidence({("float32", 2): models, ("bfloat16", 2): [{"apart": {"1": 1.0}, "differing": 9}]}, {})
    assert {name: cell.value for name, cell in decided.items()} == dict(zip(measured["parity"], [2e-6, 1], strict=True))
