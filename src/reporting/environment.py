"""The circumstances of a run: code, machine, versions, memory. Light: asks torch only where it is imported already."""

import os
import platform
import resource
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .records import Hardware

PACKAGES = (
    "october",
    "torch",
    "transformers",
    "numpy",
    "scipy",
    "scikit-learn",
    "sentence-transformers",
    "peft",
    "accelerate",
    "datasets",
    "faiss-cpu",
)


def commit(source: str | Path | None = None) -> tuple[str | None, bool]:
    """Return the commit of the code that is running, and whether that code is exactly what was committed.

    Records (`results/`) and pages (`*.md`) change no number, so changes to them leave the tree clean: a second
    table can be recorded before the first one is committed.

    Args:
        source: A folder of the checkout; None takes the package's own.

    Returns:
        (commit, clean), or (None, False) where the package is not in a git checkout of its own.
    """
    folder = Path(source or Path(__file__).parent).resolve()
    # A package installed below somebody's checkout is not that checkout's code: its files are not tracked there.
    top = _git(folder, "rev-parse", "--show-toplevel")
    if top is None or not _git(folder, "ls-files", "."):
        return None, False
    head = _git(folder, "rev-parse", "--verify", "HEAD")
    changes = _git(Path(top), "status", "--porcelain", "--", ".", ":(exclude)results", ":(exclude)*.md")
    return head, head is not None and changes == ""


def hardware() -> "Hardware":
    """Return the machine; the GPU only where this process has computed on it."""
    from .records import Hardware

    name, count = _gpus()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Hardware(cpu=_cpu(), cores=_cores(), threads=threads(), memory_bytes=memory, gpu=name, gpus=count)


def cpu_flags() -> list[str]:
    """Return the instruction sets of the processor, as Linux names them; none where no system tells."""
    return _first_core().get("flags", "").split()


@cache
def cpu_multiplies_bfloat16() -> bool:
    """Whether the processor has bf16 instructions (AVX-512 BF16, AMX); emulated bf16 is slower than float32."""
    flags = cpu_flags()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def threads() -> int:
    """Return how many threads a matrix product uses: torch's setting, else OMP_NUM_THREADS, else all cores."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return int(wanted) if wanted.isdigit() and int(wanted) > 0 else _cores()


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that numbers depend on, where installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def peak_memory_bytes() -> int:
    """Return the largest resident set that this process, or any one finished child of it, has had."""
    scale = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return max(peaks) * scale


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _cpu() -> str:
    """Name the processor, and say so where its vectors are short: one family's name stands for both kinds."""
    name = _first_core().get("model name") or platform.processor() or platform.machine()
    flags = cpu_flags()
    return f"{name}, AVX2" if "avx2" in flags and "avx512f" not in flags else name


def _first_core() -> dict[str, str]:
    try:
        cores = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        return {}
    fields = (line.partition(":") for line in cores.partition("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in fields}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpus() -> tuple[str | None, int]:
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None, 0
    return str(torch.cuda.get_device_name()), int(torch.cuda.device_count())
