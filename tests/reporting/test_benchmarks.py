import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from october.errors import OctoberError
from october.reporting import benchmarks
from october.reporting.benchmarks import Case, Measured, bar_text, benchmark_table, machine_name, meets, run_benchmark
from october.reporting.environment import hardware
from october.reporting.records import Hardware

FILE = f"b.{machine_name(hardware())}.json"


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still, but for the calls that `takes` makes; it also notes who was called."""

    class Clock:
        now = 0.0
        calls: list[str]

        def takes(self, who, *seconds):
            left = list(seconds)

            def call():
                self.calls.append(who)
                self.now += left.pop(0) if len(left) > 1 else left[0]
                return f"result of {who}"

            return call

    clock = Clock()
    clock.calls = []
    monkeypatch.setattr(benchmarks.time, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(benchmarks.gc, "collect", lambda: 0)  # half a second where all of torch is loaded
    return clock


def test_median_of_interleaved_repeats_after_a_warm_up(clock, tmp_path):
    case = Case("c", clock.takes("ours", 9, 1, 2, 3, 4, 100), clock.takes("peer", 9, 10, 30, 20, 50, 40), bar=">=5")
    (entry,) = run_benchmark("b", [case], tmp_path)
    assert clock.calls[:2] == ["ours", "peer"]
    assert clock.calls[2:] == ["ours", "peer", "peer", "ours"] * 2 + ["ours", "peer"]
    assert entry == {
        "case": "c",
        "ours": 3.0,
        "peer": 30.0,
        "unit": "s",
        "ratio": 10.0,
        "spread": [0.4, 15.0],
        "bar": ">=5",
        "met": True,
    }


@pytest.mark.parametrize(("seconds", "repeats"), [(0.1, 25), (1.0, 15), (2.0, 10), (10.0, 5), (10.1, 3)])
def test_short_runs_are_repeated_more_and_long_ones_less(clock, tmp_path, seconds, repeats):
    run_benchmark("b", [Case("c", clock.takes("ours", 1), clock.takes("peer", seconds))], tmp_path)
    assert clock.calls.count("peer") == 1 + repeats
    written = json.loads((tmp_path / FILE).read_text())
    assert written["environment"]["repeats"] == {"c": repeats}


def test_calls_that_take_minutes_need_no_warm_up(clock, tmp_path):
    case = Case("c", clock.takes("ours", 61, 62, 63), clock.takes("peer", 122, 186, 126))
    (entry,) = run_benchmark("b", [case], tmp_path)
    assert clock.calls == ["ours", "peer", "peer", "ours", "ours", "peer"]
    assert (entry["ours"], entry["peer"], entry["spread"]) == (62.0, 126.0, [2.0, 3.0])


def test_one_round_has_no_spread(clock, tmp_path):
    (entry,) = run_benchmark("b", [Case("c", clock.takes("ours", 61), clock.takes("peer", 122), repeats=1)], tmp_path)
    assert (entry["ratio"], entry["spread"]) == (2.0, None)


def test_the_file_is_as_designed(clock, tmp_path, capsys):
    cases = [
        Case(
            "fast",
            clock.takes("ours", 0.001),
            clock.takes("peer", 0.004),
            unit="ms",
            peer_settings="peer 1.0, 2 threads",
        ),
        Measured("bytes", 120, 100, "B", bar="<=1.2"),
        Measured("rate", 95.0, 100.0, "tokens/s", bar=">=.9", better="higher"),
        Measured("note", 1.0, 2.0, "s"),
    ]
    returned = run_benchmark("b", cases, tmp_path)
    written = json.loads((tmp_path / FILE).read_text())
    assert set(written) == {"environment", "cases"}
    assert written["cases"] == returned
    for case in written["cases"]:
        assert list(case) == ["case", "ours", "peer", "unit", "ratio", "spread", "bar", "met"]
    assert [case["met"] for case in returned] == [False, True, True, None]
    assert returned[0]["ours"] == pytest.approx(1.0)
    assert returned[1]["ratio"] == pytest.approx(100 / 120)
    assert returned[2]["ratio"] == pytest.approx(0.95)
    environment = written["environment"]
    assert environment["peer_settings"]["fast"] == "peer 1.0, 2 threads"
    assert {"commit", "clean", "hardware", "versions", "peak_memory_bytes"} <= set(environment)
    assert benchmark_table(returned) in capsys.readouterr().out


def test_rounds_that_were_measured_elsewhere_keep_their_spread_and_number(tmp_path):
    cases = [Measured("rounds", 2.0, 4.0, "s", spread=(1.5, 2.25), repeats=5), Measured("bytes", 120, 100, "B")]
    rounds, once = run_benchmark("b", cases, tmp_path)
    assert (rounds["spread"], once["spread"]) == ([1.5, 2.25], None)
    assert "1.50–2.25" in benchmark_table([rounds])
    assert json.loads((tmp_path / FILE).read_text())["environment"]["repeats"] == {"rounds": 5, "bytes": 1}


def test_table(clock, tmp_path):
    cases = [
        Case("fast", clock.takes("ours", 1), clock.takes("peer", 4)),
        Measured("bytes", 120, 100, "B"),
    ]
    assert benchmark_table(run_benchmark("b", cases, tmp_path)).splitlines() == [
        "| case  |  ours |  peer | ratio |    spread | bar       | met |",
        "| ----- | ----: | ----: | ----: | --------: | --------- | --- |",
        "| fast  |   1 s |   4 s |  4.00 | 4.00–4.00 | 4.00 >= 5 | NO  |",
        "| bytes | 120 B | 100 B |  0.83 |         – | –         | –   |",
    ]


@pytest.mark.parametrize(
    ("ratio", "bar", "text"),
    [
        (5.5, ">=5", "5.50 >= 5"),
        (4.996, ">=5", "4.996 >= 5"),
        (0.9, "<=1.15", "1.11 <= 1.15"),
        (0.8, "<=1.25", "1.25 <= 1.25"),
        (0.7978687, "<=1.25", "1.253 <= 1.25"),
        (0.5, None, "–"),
    ],
)
def test_a_bar_stands_beside_what_it_bounds(ratio, bar, text):
    assert bar_text({"ratio": ratio, "bar": bar, "met": None if bar is None else meets(bar, ratio)}) == text


@pytest.mark.parametrize(
    ("cpu", "gpu", "name"),
    [
        ("AMD EPYC", None, "amd_epyc"),
        ("AMD EPYC, AVX2", None, "amd_epyc_avx2"),
        ("Intel(R) Xeon(R) Processor", None, "intel_xeon"),
        ("Intel(R) Core(TM) i7-9750H CPU @ 2.60GHz", "NVIDIA H200", "intel_core_i7_9750h_2_60ghz_nvidia_h200"),
        ("", None, "unknown"),
    ],
)
def test_a_machines_name(cpu, gpu, name):
    assert machine_name(Hardware(**hardware().model_dump() | {"cpu": cpu, "gpu": gpu, "gpus": 0})) == name


def test_the_check_sees_both_results_before_timing(clock, tmp_path):
    def check(ours, peer):
        assert (ours, peer) == ("result of ours", "result of peer")
        assert clock.calls == ["ours", "peer"]
        raise AssertionError("they differ")

    with pytest.raises(AssertionError, match="they differ"):
        run_benchmark("b", [Case("c", clock.takes("ours", 1), clock.takes("peer", 1), check=check)], tmp_path)
    assert not list(tmp_path.iterdir())


@settings(deadline=None, max_examples=100)
@given(ratio=st.floats(0.01, 100), number=st.floats(0.01, 100))
def test_bars(ratio, number):
    assert meets(f">={number:.6f}", ratio) == (ratio >= float(f"{number:.6f}"))
    assert meets(f"<= {number:.6f}", ratio) == (1 / ratio <= float(f"{number:.6f}"))


@pytest.mark.parametrize("bar", ["", "5", "> 5", ">=five", "==5", ">=5; import os", ">=-1", "<=1e400", ">=."])
def test_other_bars_are_refused_before_anything_runs(clock, tmp_path, bar):
    with pytest.raises(OctoberError, match=r"is not of the form >=5 or <=1\.05"):
        run_benchmark("b", [Case("c", clock.takes("ours", 1), clock.takes("peer", 1), bar=bar)], tmp_path)
    assert clock.calls == []


@pytest.mark.parametrize(
    "cases",
    [
        [],
        [Measured("same", 1, 1, "s"), Measured("same", 1, 1, "s")],
        [Measured("zero", 0, 1, "s")],
        [Measured("nan", 1, float("nan"), "s")],
        [Measured("inf", float("inf"), 1, "s")],
        [Case("c", int, int, repeats=0)],
        [Measured("never", 1, 1, "s", repeats=0)],
    ],
)
def test_impossible_cases_are_refused(cases, tmp_path):
    with pytest.raises(OctoberError) as caught:
        run_benchmark("b", cases, tmp_path)
    assert "\n" not in str(caught.value)
