"""What the computed tables of this paper share: exact cells, and how they compare with printed numbers."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from october.attention.ring_attention.activation_memory import Method
from october.reporting.published import PublishedTable, published_of

METHOD_LABELS: Mapping[Method, str] = MappingProxyType(
    {
        "vanilla": "vanilla",
        "memory_efficient_attention": "memory-efficient attention",
        "blockwise_feedforward": "+ blockwise feed-forward",
        "ring": "Ring Attention",
    }
)
"""What tables and figures call the four methods, as in `published.yaml`."""


def published_table(table_id: str) -> PublishedTable:
    """Return a table of the paper by its `id` in `published.yaml`."""
    return published_of("ring_attention").table(table_id)


def agreeing(computed: Mapping[str, Mapping[str, float]], table: PublishedTable, names: Iterable[str]) -> int:
    """Count the cells of a published table whose printed digits are those of the computed number.

    Args:
        computed: By row and column.
        table: What the paper prints.
        names: Its rows that are compared, each with all of its cells.
    """
    printed = {row.name: row.cells for row in table.rows}
    return sum(same_digits(computed[name][column], value) for name in names for column, value in printed[name].items())


def same_digits(computed: float, printed: float | int | str | None) -> bool:
    """Tell whether a number, rounded as a printed one is, is that one."""
    digits = str(printed)
    decimals = len(digits.partition(".")[2])
    return f"{computed:.{decimals}f}" == digits
