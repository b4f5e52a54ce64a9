"""How numbers, cells and tables look as text, the same on the page, in Markdown and in the terminal."""

import math
import re
import unicodedata
from collections.abc import Sequence

from .records import Cell

NOTHING = "–"
_NUMERIC = re.compile(r"\*?(>=|<=)?-?[\d.,]+(e[+-]\d+)?( ± [\d.,]+|–[\d.,]+| \[[^\]]+\])?( \S{1,8})?\*?")


def number(value: float | int) -> str:
    """Return a number with three significant digits, or all digits before the point: 0.701, 12.3, 34,006."""
    if isinstance(value, int):
        return f"{value:,}"
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    if not -4 <= magnitude < 12:
        return f"{value:.2e}"
    return f"{value:,.{max(0, 2 - magnitude)}f}"


def cell_text(cell: Cell | None, unit: bool = True) -> str:
    """Return a cell as `0.70 ± .02`, or `0.70 [0.61, 0.72]` where the interval is lopsided or open on a side.

    Args:
        cell: The cell; None where a row has none in a column.
        unit: Whether to append the cell's unit.
    """
    if cell is None or cell.value is None:
        return NOTHING
    if isinstance(cell.value, bool):
        return "yes" if cell.value else "no"
    if isinstance(cell.value, str):
        return cell.value
    text = _with_interval(cell.value, *cell.bounds)
    return f"{text} {cell.unit}" if unit and cell.unit else text


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns also line up as plain text; columns of numbers stand to the right."""
    table = [[escape(text) for text in row] for row in (header, *rows)]
    widths = [max(3, *(_width(row[column]) for row in table)) for column in range(len(header))]
    right = [_is_numeric([row[column] for row in table[1:]]) for column in range(len(header))]
    rule = ["-" * (width - 1) + ":" if to_right else "-" * width for width, to_right in zip(widths, right, strict=True)]
    return "\n".join(_line(row, widths, right) for row in (table[0], rule, *table[1:]))


def escape(text: str) -> str:
    """Return text that stands in one Markdown table cell as it is: one line, no column break, no HTML tag."""
    plain = " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", plain)


def duration(seconds: float) -> str:
    """Return seconds as `40 s`, `12 min` or `2.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def gibibytes(count: float) -> str:
    """Return bytes as `2.7 GiB`."""
    return f"{count / 2**30:.1f} GiB"


def _with_interval(value: float | int, low: float, high: float) -> str:
    if low == -math.inf and high == math.inf:
        return number(value)
    half = (high - low) / 2
    if not math.isfinite(half):
        return f"{number(value)} [{_end(low)}, {_end(high)}]"
    if half == 0:
        return number(value)
    places = _places(half)
    lopsided = abs(value - (low + high) / 2) > half / 5
    if lopsided:
        return f"{value:,.{places}f} [{low:,.{places}f}, {high:,.{places}f}]"
    return f"{value:,.{places}f} ± {f'{half:,.{places}f}'.removeprefix('0') if half < 0.995 else f'{half:,.{places}f}'}"


def _places(half: float) -> int:
    """Decimals that show the half-width with one significant digit, two where the first is a 1."""
    half = float(f"{half:.1e}")  # 0.0199999 is shown as .02, not as .020
    magnitude = math.floor(math.log10(half))
    digits = 2 if half < 2 * 10.0**magnitude else 1
    return min(8, max(0, digits - 1 - magnitude))


def _end(bound: float) -> str:
    return number(bound) if math.isfinite(bound) else ("-∞" if bound < 0 else "∞")


def _is_numeric(texts: Sequence[str]) -> bool:
    filled = [text for text in texts if text not in ("", NOTHING)]
    return bool(filled) and all(_NUMERIC.fullmatch(text) for text in filled)


def _width(text: str) -> int:
    return sum(
        2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text if not unicodedata.combining(char)
    )


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    cells = []
    for text, width, to_right in zip(row, widths, right, strict=True):
        padding = " " * (width - _width(text))
        cells.append(padding + text if to_right else text + padding)
    return f"| {' | '.join(cells)} |"
