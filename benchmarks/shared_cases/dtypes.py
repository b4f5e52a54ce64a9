"""In which types a benchmark's cases are measured."""

from functools import cache

from october.reporting.environment import cpu_multiplies_bfloat16


@cache
def dtypes() -> tuple[str, ...]:
    """Return float32, and bfloat16 where the processor has instructions for it: emulated, its cases take hours."""
    if cpu_multiplies_bfloat16():
        return ("float32", "bfloat16")
    print("skipped: cases in bfloat16, which this processor only emulates")
    return ("float32",)
