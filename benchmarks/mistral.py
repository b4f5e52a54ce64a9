"""Mistral against its own limit, against transformers on the same weights, and against its formulae.

    python benchmarks/mistral.py                    # all of it: 20 to 35 minutes on two cores
    python benchmarks/mistral.py --divide-by 16     # windows and prompts 16 times shorter, only to try the file

The model is a random Mistral of 60 million parameters: hidden 512, 8 layers, 8 heads on 2 key and value heads,
feed-forward 1792, vocabulary 32,000. Ours and the peer's run in turn, in this process, with the same threads.
"""

import argparse
import tempfile
from pathlib import Path

from mistral_cases.counted import counted_cases
from mistral_cases.cuda import cuda_cases
from mistral_cases.gemma import gemma_cases
from mistral_cases.generation import generation_cases
from mistral_cases.limits import limit_cases
from mistral_cases.prefilling import chunk_cases, prefill_cases, window_cases

from october.reporting.benchmarks import run_benchmark


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description="Mistral's benchmark.")
    parser.add_argument(
        "--divide-by",
        type=int,
        default=1,
        choices=[1, 2, 4, 8, 16],
        help="windows and prompts that much shorter, to try the file; nothing is recorded",
    )
    divisor = parser.parse_args().divide_by
    folder = Path("results/benchmarks") if divisor == 1 else Path(tempfile.mkdtemp())
    timed = [*limit_cases(divisor), *generation_cases(divisor), *prefill_cases(divisor), *window_cases(divisor)]
    measured = [*counted_cases(divisor), *chunk_cases(divisor), *gemma_cases(divisor)]
    run_benchmark("mistral", [*timed, *measured, *cuda_cases(divisor)], folder)


if __name__ == "__main__":
    main()
