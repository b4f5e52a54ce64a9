import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
import torch.distributed as dist

from october.attention.processes import Processes, in_processes
from october.attention.workers import packed, unpacked
from october.errors import OctoberError

WITHOUT_TORCHRUN = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}


class Pair:
    """A class of this module, to travel both ways."""

    def __init__(self, rank, total):
        self.rank, self.total = rank, total


def sum_over_ranks(pair):
    total = torch.tensor([float(pair.total + dist.get_rank())])
    dist.all_reduce(total)
    return Pair(dist.get_rank(), total.item())


def fail_on(rank, message, kind=OctoberError):
    if dist.get_rank() == rank:
        raise kind(message)


def fail_while_others_wait(rank, message):
    fail_on(rank, message)
    dist.all_reduce(torch.zeros(1))


def kill_while_others_wait(rank):
    if dist.get_rank() == rank:
        os.kill(os.getpid(), signal.SIGKILL)
    dist.all_reduce(torch.zeros(1))


def sleep_on(rank):
    time.sleep(600 if dist.get_rank() == rank else 0)


def settings(tensors):
    return torch.get_num_threads(), os.environ["OMP_NUM_THREADS"], tensors


def return_a_lock():
    import threading

    return threading.Lock()


def tensors_of_every_kind():
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn(6, 5, generator=generator)
    return {
        "view": numbers[::2].T,
        "bfloat16": numbers.bfloat16(),
        "float64": numbers.double(),
        "complex64": numbers.to(torch.complex64) * 1j,
        "bool": numbers > 0,
        "int8": (10 * numbers).to(torch.int8),
        "scalar": torch.tensor(3),
        "empty": torch.empty(2, 0, 3, dtype=torch.float16),
        "expanded": numbers[:1].expand(4, 5),
        "leaf": numbers.clone().requires_grad_(),
    }


def assert_the_same(ours, given):
    assert ours.keys() == given.keys()
    for name, tensor in given.items():
        assert ours[name].dtype == tensor.dtype
        assert ours[name].requires_grad == tensor.requires_grad
        assert torch.equal(ours[name], tensor)


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_every_rank_runs_the_function_in_one_group(pool, world_size):
    results = pool(world_size).run(sum_over_ranks, Pair(0, 10))
    assert [result.rank for result in results] == list(range(world_size))
    assert {result.total for result in results} == {float(sum(range(10, 10 + world_size)))}
    assert all(type(result) is Pair for result in results)


def test_each_process_has_its_threads_and_tensors_come_and_go_by_value(pool):
    given = tensors_of_every_kind()
    for threads, variable, tensors in pool(2).run(settings, given):
        assert (threads, variable) == (1, "1")
        assert_the_same(tensors, given)


def test_a_view_travels_without_its_storage_and_a_result_without_its_graph():
    large = torch.randn(1_000_000, requires_grad=True)
    view = large[3:5]
    assert len(packed(view)) < 1_000
    assert_the_same({"view": unpacked(packed(view))}, {"view": view.detach()})
    layer = torch.nn.Linear(3, 2)
    assert_the_same(unpacked(packed(layer)).state_dict(keep_vars=True), layer.state_dict(keep_vars=True))


def test_an_october_error_keeps_its_line_and_the_pool_goes_on_with_the_same_processes(pool):
    before = pool(3).process_ids
    with pytest.raises(OctoberError, match=r"^tokens=3: at least 4$"):
        pool(3).run(fail_on, 1, "tokens=3: at least 4")
    assert [result.rank for result in pool(3).run(sum_over_ranks, Pair(0, 0))] == [0, 1, 2]
    assert pool(3).process_ids == before


def test_another_error_brings_the_trace_of_its_rank(pool):
    with pytest.raises(RuntimeError, match=r"^fail_on on rank 2: ValueError: lost\nTraceback(?s:.*)raise kind"):
        pool(3).run(fail_on, 2, "lost", ValueError)


def test_a_result_that_cannot_travel_is_an_error(pool):
    with pytest.raises(RuntimeError, match=r"rank 0: a result of type lock cannot be sent"):
        pool(2).run(return_a_lock)


def test_a_rank_that_waits_for_a_failed_one_does_not_keep_the_pool(pool):
    with pytest.raises(OctoberError, match=r"^tokens=3: at least 4$"):
        pool(2).run(fail_while_others_wait, 1, "tokens=3: at least 4")
    with pytest.raises(OctoberError, match=r"^rank 0 was not done within 0.3 s$"):
        pool(2).run(sleep_on, 0, time_limit=0.3)
    assert [result.rank for result in pool(2).run(sum_over_ranks, Pair(0, 0))] == [0, 1]


def test_a_killed_process_is_named_at_once_and_replaced():
    with Processes(2) as processes:
        killed = processes.process_ids[1]
        with pytest.raises(OctoberError, match=r"^rank 1: its process was killed by signal 9$"):
            processes.run(kill_while_others_wait, 1, time_limit=60)
        assert [result.rank for result in processes.run(sum_over_ranks, Pair(0, 0))] == [0, 1]
        running = processes.process_ids
        assert killed not in running
    assert not any(map(runs, running))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"world_size": 0}, "world_size=0: at least 1 process"),
        ({"world_size": 2, "threads_per_process": 0}, "threads_per_process=0: at least 1"),
        ({"world_size": 2, "backend": "mpi"}, "backend=mpi: gloo or nccl"),
        ({"world_size": 99, "backend": "nccl"}, "backend=nccl: 99 processes need as many CUDA devices; found "),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, line):
    with pytest.raises(OctoberError) as caught:
        Processes(**arguments)
    assert str(caught.value).startswith(line)


def test_a_function_that_no_other_process_could_find_is_refused(pool):
    with pytest.raises(OctoberError, match=r"<lambda>: only a function at the top level of a file runs in other"):
        pool(1).run(lambda: 1)


def test_processes_that_were_not_started_say_so():
    with pytest.raises(OctoberError, match=r"use `with Processes"):
        Processes(2).run(sum_over_ranks, Pair(0, 0))


def runs(process_id):
    try:
        return psutil.Process(process_id).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def script(path, *lines):
    path.write_text("\n".join(["from october.attention.processes import Processes, in_processes", *lines]))
    return path


def test_the_parent_s_death_ends_the_processes(tmp_path):
    lines = ["if __name__ == '__main__':", "    with Processes(2) as p:", "        print(*p.process_ids, flush=True)"]
    waiting = script(tmp_path / "waiting.py", *lines, "        import time; time.sleep(600)")
    command = [sys.executable, str(waiting)]
    environment = WITHOUT_TORCHRUN | {"TMPDIR": str(tmp_path)}  # a killed parent cannot remove its folder
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        process_ids = [int(word) for word in parent.stdout.readline().split()]
        parent.kill()
    assert len(process_ids) == 2
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and any(map(runs, process_ids)):
        time.sleep(0.05)
    assert not any(map(runs, process_ids))


def test_a_script_without_its_guard_is_told_so(tmp_path):
    unguarded = script(tmp_path / "unguarded.py", "with Processes(1): pass")
    done = subprocess.run(
        [sys.executable, str(unguarded)], capture_output=True, text=True, env=WITHOUT_TORCHRUN, timeout=60
    )
    assert done.returncode == 1
    assert "world_size=1: no group was formed: rank 0: its process ended with status 1; a script must" in done.stderr


def test_one_call_starts_runs_and_ends(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    threads = [result[0] for result in in_processes(settings, 1, {}, threads_per_process=2)]
    assert threads == [2]


UNDER_TORCHRUN = """
import sys
import torch.distributed as dist
from october.errors import OctoberError
import {module} as workers

def line(*call):
    try:
        return in_processes(*call)
    except OctoberError as error:
        return str(error)

totals = [result.total for result in in_processes(workers.sum_over_ranks, 2, workers.Pair(0, 1))]
failure = line(workers.fail_on, 2, 1, "tokens=3: at least 4")
again = [result.rank for result in in_processes(workers.sum_over_ranks, 2, workers.Pair(0, 1))]
wrong = line(workers.fail_on, 3, 9, "")
sys.stdout.write(f"{{totals}} {{failure}} {{again}} {{wrong}}\\n")
"""


def test_under_torchrun_the_given_processes_run_it_and_each_has_all_results(tmp_path):
    program = script(tmp_path / "program.py", UNDER_TORCHRUN.format(module=Path(__file__).stem))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(program)]
    environment = WITHOUT_TORCHRUN | {"PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    wrong = "world_size=3: torchrun has started 2 processes; start 3"
    assert done.stdout.splitlines() == [f"[3.0, 3.0] tokens=3: at least 4 [0, 1] {wrong}"] * 2
