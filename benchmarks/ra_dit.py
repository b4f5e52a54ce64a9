"""RA-DIT's pieces against what one would write without them: scoring chunks, mixing passages.

    python benchmarks/ra_dit.py                    # all of it: up to half an hour on two cores, most of it the peers'
    python benchmarks/ra_dit.py --divide-by 16     # 16 times fewer examples, only to try the file

Questions and passages are those of the offline set, the model is the embedded one (Gemma-3-270M; in float32 where equal
results are asked for). Whether tuning answers more questions is no matter of time: the record of
`experiment=ra_dit/main` decides it.
"""

import argparse
import tempfile
from pathlib import Path

from ra_dit_cases.ensembling import ensembling_cases
from ra_dit_cases.scoring import scoring_cases

from october.reporting.benchmarks import run_benchmark


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description="RA-DIT's benchmark.")
    parser.add_argument(
        "--divide-by",
        type=int,
        default=1,
        choices=[1, 2, 4, 8, 16],
        help="that many times fewer examples, to try the file; nothing is recorded",
    )
    divisor = parser.parse_args().divide_by
    results = Path("results/benchmarks") if divisor == 1 else Path(tempfile.mkdtemp())
    run_benchmark("ra_dit", [*ensembling_cases(divisor), *scoring_cases(divisor)], results)


if __name__ == "__main__":
    main()
