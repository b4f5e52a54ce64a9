import ast
import operator
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from october.agents import Calculator, RefusedArgument, ToolBox, ToolCall, calculate

OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
TREE = st.recursive(
    st.integers(0, 999), lambda inner: st.tuples(inner, st.sampled_from(sorted(OPERATORS)), inner), max_leaves=12
)


def text_and_value(tree):
    if isinstance(tree, int):
        return str(tree), tree
    (left, a), (right, b) = text_and_value(tree[0]), text_and_value(tree[2])
    return f"({left} {tree[1]} {right})", OPERATORS[tree[1]](a, b)


@given(TREE)
def test_whole_numbers_are_exact(tree):
    text, value = text_and_value(tree)
    if len(text) <= 300:
        assert calculate(text) == str(value)


@given(st.integers(-(10**6), 10**6), st.integers(1, 10**6))
def test_quotients_have_twelve_digits(a, b):
    assert float(calculate(f"{a} / {b}")) == pytest.approx(float(Fraction(a, b)), rel=1e-11)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1,234,567 + 1", "1234568"),
        ("max(1, 2, 3)", "3"),
        ("max(1, 200)", "200"),
        ("2^10", "1024"),
        ("2 ** -1", "0.5"),
        ("-(3 - 5) * +2", "4"),
        ("7 // 2 + 7 % 4", "6"),
        ("10 / 5", "2"),
        ("sqrt(2)", "1.41421356237"),
        ("round(2.5678, 2)", "2.57"),
        ("abs(-3)", "3"),
        ("1e300 * 10", "1e+301"),
        ("3 × 4", "12"),
    ],
)
def test_expressions(expression, value):
    assert calculate(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        *("", " ", "1 +", "one", "__import__('os')", "().__class__", "[1][0]", "'a' * 9", "True + 1", "1 if 1 else 2"),
        *(
            "lambda: 1",
            "x := 3",
            "9 ** 9 ** 9",
            "2 ** 99999",
            "10.0 ** 999",
            "1 / 0",
            "1 % 0",
            "(-8) ** 0.5",
            "sqrt(-1)",
        ),
        *(
            "max()",
            "abs(1, 2)",
            "round(1, ndigits=0)",
            "open('x')",
            "1; 2",
            "1\n2",
            "(" * 299,
            "1" * 301,
        ),
        *(
            "9" * 290 + "*" + "9" * 9 + "**9",
            "1e999",
            "3j",
            "f'{1}'",
            "sqrt.__self__",
            "{1: 2}",
            "\x00",
            "*1",
            "max(*(1, 2))",
        ),
        "(2**2000) * (2**2000)",
    ],
)
def test_what_is_no_arithmetic_is_refused(expression):
    with pytest.raises(RefusedArgument):
        calculate(expression)


@given(st.text(alphabet="0123456789.+-*/%^()[]{}, 'abmaxsqrtround_=:\n", max_size=40))
def test_any_text_gives_a_number_or_is_refused(text):
    answer = ToolBox([Calculator()]).run("calculate", ToolCall(text))
    assert answer.text
    if answer.failure is None:
        assert isinstance(ast.literal_eval(answer.text), int | float)
    else:
        assert (answer.failure, answer.attempts) == ("refused", 1)


def test_the_agent_is_told_why():
    box = ToolBox([Calculator()])
    assert box.run("calculate", ToolCall("6 * 7")).text == "42"
    refused = box.run("calculate", ToolCall("1 / 0"))
    assert refused == ("Division by zero.", "refused", 1)
