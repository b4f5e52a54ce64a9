import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from october.reporting import environment


@pytest.fixture
def checkout(tmp_path):
    """A git checkout with one committed source file, a committed record and a page."""
    for name in ("src/a.py", "results/coin/t.cpu.full.json", "README.md"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def git(folder, *arguments):
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    command = ["git", "-c", "core.hooksPath=/dev/null", *arguments]
    done = subprocess.run(command, cwd=folder, env={**os.environ, **who}, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_clean_checkout(checkout):
    assert environment.commit(checkout / "src") == (git(checkout, "rev-parse", "HEAD"), True)


@pytest.mark.parametrize("name", ["src/a.py", "src/new.py", "conf/new.yaml"])
def test_changed_and_new_code_is_not_clean(checkout, name):
    (checkout / name).parent.mkdir(exist_ok=True)
    (checkout / name).write_text("2")
    assert environment.commit(checkout / "src")[1] is False


@pytest.mark.parametrize("name", ["results/coin/t.cpu.full.json", "results/coin/new.json", "README.md", "docs/new.md"])
def test_records_and_pages_leave_the_code_clean(checkout, name):
    (checkout / name).parent.mkdir(exist_ok=True)
    (checkout / name).write_text("2")
    assert environment.commit(checkout / "src")[1] is True


def test_no_checkout(tmp_path):
    assert environment.commit(tmp_path) == (None, False)


def test_a_package_installed_below_a_checkout_is_not_its_code(checkout):
    installed = checkout / ".venv" / "october"
    installed.mkdir(parents=True)
    (installed / "a.py").write_text("1")
    assert environment.commit(installed) == (None, False)


def test_a_checkout_without_a_commit(tmp_path):
    (tmp_path / "a.py").write_text("1")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    assert environment.commit(tmp_path) == (None, False)


def test_no_git(checkout, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert environment.commit(checkout / "src") == (None, False)


def test_hardware_is_this_machine():
    found = environment.hardware()
    assert found.cores == len(os.sched_getaffinity(0))
    assert found.threads == torch.get_num_threads()
    total = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    assert found.memory_bytes == int(total.split()[1]) * 1024
    assert found.cpu
    assert (found.gpu is None) == (found.gpus == 0)


@pytest.mark.parametrize(
    ("flags", "name"),
    [("avx2 avx512f", "AMD EPYC"), ("sse2 avx2", "AMD EPYC, AVX2"), ("sse2", "AMD EPYC")],
)
def test_a_processor_of_short_vectors_says_so(monkeypatch, flags, name):
    core = f"processor : 0\nmodel name : AMD EPYC\nflags : {flags}\npower management:\n\n"
    monkeypatch.setattr(Path, "read_text", lambda self, **options: core + core)
    assert environment.hardware().cpu == name


@pytest.mark.parametrize(("wanted", "threads"), [("3", 3), ("", None), ("0", None), ("many", None)])
def test_threads_without_torch(monkeypatch, wanted, threads):
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setenv("OMP_NUM_THREADS", wanted)
    assert environment.threads() == (threads or len(os.sched_getaffinity(0)))


def test_versions_name_what_is_installed():
    found = environment.versions()
    assert found["torch"] == torch.__version__
    assert found["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}")


def test_peak_memory_counts_children():
    """Started by a small process: the peak of what starts one counts in its own, and tests may be large."""
    launch = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)"
    code = (
        "import subprocess, sys; from october.reporting.environment import peak_memory_bytes as peak; before = peak();"
        "subprocess.run([sys.executable, '-c', f'x = b\"1\" * {before + 2**26}']); print(before, peak())"
    )
    done = subprocess.run([sys.executable, "-c", launch, code], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert 2**26 < after - before < 2**27


class FakeTorch:
    """What is asked of torch on a machine with two GPUs."""

    class cuda:
        used = True
        is_available = staticmethod(lambda: True)
        is_initialized = classmethod(lambda cls: cls.used)
        get_device_name = staticmethod(lambda: "G1")
        device_count = staticmethod(lambda: 2)

    get_num_threads = staticmethod(lambda: 7)


@pytest.mark.parametrize(("used", "device"), [(True, ("G1", 2, "gpu")), (False, (None, 0, "cpu"))])
def test_a_gpu_is_named_only_where_it_was_used(monkeypatch, used, device):
    monkeypatch.setitem(sys.modules, "torch", FakeTorch)
    monkeypatch.setattr(FakeTorch.cuda, "used", used)
    found = environment.hardware()
    assert (found.gpu, found.gpus, found.device) == device
    assert found.threads == 7
