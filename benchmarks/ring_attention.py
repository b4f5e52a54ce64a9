"""Ring attention against torch's attention in one process, against another package, and against its own formulae.

    python benchmarks/ring_attention.py                    # all of it: 25 to 40 minutes on two cores
    python benchmarks/ring_attention.py --divide-by 16     # every length 16 times shorter, only to try the file

Ours runs in two processes of one thread each; torch's `scaled_dot_product_attention` in a process of its own with two
threads; PyPI's `ring-attention-pytorch` in our two processes, with its fastest bucket. Forward and backward are one
call, on random numbers that lie ready in the processes.
"""

import argparse
import tempfile
from pathlib import Path

from ring_attention_cases.cuda import cuda_cases
from ring_attention_cases.formulae import (
    balance_cases,
    error_cases,
    memory_cases,
    pieces_cases,
    traffic_cases,
    window_cases,
)
from ring_attention_cases.peers import package_cases, torch_cases

from october.attention.processes import Processes
from october.reporting.benchmarks import run_benchmark


def main() -> None:
    """Measure everything; pools of other sizes have ended before anything is timed."""
    parser = argparse.ArgumentParser(description="Ring attention's benchmark.")
    parser.add_argument(
        "--divide-by", type=int, default=1, help="every length that much shorter, to try the file; nothing is recorded"
    )
    divisor = parser.parse_args().divide_by
    folder = Path("results/benchmarks") if divisor == 1 else Path(tempfile.mkdtemp())
    counted = error_cases() + memory_cases(divisor)
    with Processes(4) as pool:
        counted += traffic_cases(pool, divisor)
    with Processes(2) as ring, Processes(1, threads_per_process=2) as single:
        counted += window_cases(ring, divisor) + pieces_cases(ring, divisor)
        counted += traffic_cases(ring, divisor) + balance_cases(ring, divisor)
        timed = [*torch_cases(ring, single, divisor), *package_cases(ring, divisor), *cuda_cases(divisor)]
        run_benchmark("ring_attention", [*timed, *counted], folder)


if __name__ == "__main__":
    main()
