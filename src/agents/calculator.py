"""`calculate[expression]`: arithmetic read as a syntax tree and computed node by node; nothing is ever evaluated."""

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from .tools import RefusedArgument, ToolCall

Number = int | float

_LONGEST = 300  # characters of an expression
_MOST_BITS = 2_048  # of a whole number
_BINARY: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_UNARY: Mapping[type[ast.unaryop], Callable[[Any], Any]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "abs": abs,
    "max": max,
    "min": min,
    "round": round,
    "sqrt": math.sqrt,
}


class Calculator:
    """A tool that knows + - * / // % ** (also ^), brackets, and abs, max, min, round and sqrt."""

    name = "calculate"
    usage = "calculate[expression]"

    def run(self, call: ToolCall) -> str:
        """Return the value of an expression."""
        return calculate(call.argument)


def calculate(expression: str) -> str:
    """Return the value of an expression; a whole one without a decimal point, others with up to 12 digits.

    Commas between groups of three digits are left out, and '^' is a power.

    Raises:
        RefusedArgument: It is not arithmetic, has no value, or would take more than a moment.
    """
    if len(expression) > _LONGEST:
        raise RefusedArgument(f"The expression is too long: {len(expression)} characters, {_LONGEST} at most.")
    try:
        value = _value(ast.parse(_plain(expression), mode="eval").body)
    except RefusedArgument:
        raise
    except ZeroDivisionError:
        raise RefusedArgument("Division by zero.") from None
    except (SyntaxError, ValueError, TypeError, OverflowError, RecursionError, MemoryError):
        raise RefusedArgument(f"{expression.strip()[:60]!r} is not arithmetic that has a value.") from None
    return _written(value)


def _plain(expression: str) -> str:
    return re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", expression).replace("^", "**").replace("×", "*").strip()


def _value(node: ast.expr) -> Number:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return _bounded(node.value)
    if isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
        return _bounded(_UNARY[type(node.op)](_value(node.operand)))
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Pow):
            _check_power(left, right)
        return _bounded(_BINARY[type(node.op)](left, right))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS:
        if node.keywords:
            raise RefusedArgument(f"{node.func.id} takes numbers only.")
        return _bounded(_FUNCTIONS[node.func.id](*map(_value, node.args)))
    raise RefusedArgument(f"Only numbers, + - * / // % **, brackets and {', '.join(_FUNCTIONS)} are known.")


def _check_power(base: Number, exponent: Number) -> None:
    """Refuse a power before it is computed that would be too large a whole number."""
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * abs(exponent) > _MOST_BITS:
        raise RefusedArgument("The numbers are too large.")


def _bounded(value: Any) -> Number:
    if type(value) not in (int, float) or (isinstance(value, float) and not math.isfinite(value)):
        raise RefusedArgument("There is no such number.")
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise RefusedArgument("The numbers are too large.")
    return value  # type: ignore[no-any-return]


def _written(value: Number) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value) if isinstance(value, int) else f"{value:.12g}"
