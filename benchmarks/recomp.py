"""RECOMP's pieces against what one would write without them: scoring, compressing, searching, indexing.

    python benchmarks/recomp.py                    # all of it: under 10 minutes on two cores
    python benchmarks/recomp.py --divide-by 16     # 16 times fewer texts, only to try the file

Questions and passages are those of the offline set, models the embedded ones (Gemma-3-270M in float32, MiniLM).
Whether a compressed text answers as many questions as the documents is no matter of time: the record of
`experiment=recomp/open_qa` decides it.
"""

import argparse
import tempfile
from pathlib import Path

from recomp_cases.compressing import compressing_cases
from recomp_cases.indexing import indexing_cases
from recomp_cases.scoring import scoring_cases
from recomp_cases.searching import searching_cases

from october.reporting.benchmarks import run_benchmark


def main() -> None:
    """Measure everything; what runs in processes of its own comes first, before this one grows."""
    parser = argparse.ArgumentParser(description="RECOMP's benchmark.")
    parser.add_argument(
        "--divide-by",
        type=int,
        default=1,
        choices=[1, 2, 4, 8, 16],
        help="that many times fewer texts, to try the file; nothing is recorded",
    )
    divisor = parser.parse_args().divide_by
    results = Path("results/benchmarks") if divisor == 1 else Path(tempfile.mkdtemp())
    with tempfile.TemporaryDirectory() as scratch:
        indexed = indexing_cases(Path(scratch), divisor)
        timed = [*scoring_cases(divisor), *compressing_cases(divisor), *searching_cases(Path(scratch), divisor)]
        run_benchmark("recomp", [*timed, *indexed], results)


if __name__ == "__main__":
    main()
