"""Expressions over the columns of a table: which rows to use, and what a new column holds.

They are read as syntax trees and never executed. A condition such as `ptpp < 100` may hold column
names, numbers, texts in quotes, comparisons (also chained, `in` and `not in` lists), and, or, not,
parentheses and + - * / of numbers; a quantity such as `tokens / n_params` the arithmetic alone.
"""

import ast
import operator
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptpp.errors import InputError
from ptpp.table.expressions import names_in, parse, quote, unknown_name
from ptpp.table.units import expand

_COMPARISONS: Mapping[type, Callable] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_ARITHMETIC: Mapping[type, Callable] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_CONDITION_PARTS = (
    "accepted are columns, numbers, 'texts', < <= > >= == != in, and, or, not, + - * / and "
    "parentheses"
)
_QUANTITY_PARTS = "accepted are columns, numbers, + - * / and parentheses"


def choose_rows(
    frame: pd.DataFrame, where: str, source: str, lines: Sequence[int] | None = None
) -> NDArray[np.bool_]:
    """The rows (n,) for which `where` holds. `lines` are the numbers by which errors call rows.

    A column is compared as numbers where a number stands on the other side. An empty field
    satisfies no comparison. Raises InputError, one line, for anything else that cannot be compared.
    """
    tree = parse(where, f"{source}: where")
    walker = _Walker(frame, source, "where", _CONDITION_PARTS, lines)
    walker.check_names(tree)
    return np.asarray(walker.truth(tree), dtype=bool)


def compute_column(
    frame: pd.DataFrame,
    expression: str,
    source: str,
    lines: Sequence[int] | None = None,
    option: str = "rename",
) -> NDArray[np.float64]:
    """The values (n,) of an arithmetic expression over columns; NaN where a field is empty.

    Raises InputError, one line, for a name that is no column, a field that is no number and
    anything but arithmetic. `option`: what errors call the expression.
    """
    tree = parse(expression, f"{source}: {option}")
    walker = _Walker(frame, source, option, _QUANTITY_PARTS, lines)
    walker.check_names(tree)
    return np.broadcast_to(walker.numbers(tree), len(frame)).astype(float)


def read_numbers(
    frame: pd.DataFrame,
    column: str,
    source: str,
    lines: Sequence[int] | None = None,
    option: str = "where",
) -> NDArray[np.float64]:
    """A column (n,) as numbers, NaN where a field is empty.

    Raises InputError for the first field that is no number; `option` is what needs one.
    """
    values = np.full(len(frame), np.nan)
    for position, field in enumerate(frame[column]):
        if _is_empty(field):
            continue
        if not _is_number(field):
            line = position + 1 if lines is None else lines[position]
            raise InputError(
                f"{source}: row {line}, column {column}: {str(field)!r} is not a number, and "
                f"{option} needs one"
            )
        values[position] = float(expand(field) if isinstance(field, str) else field)
    return values


class _Walker:
    """Evaluates a syntax tree on the rows of one table."""

    def __init__(
        self,
        frame: pd.DataFrame,
        source: str,
        option: str,
        accepted: str,
        lines: Sequence[int] | None,
    ):
        self.frame, self.source, self.option, self.accepted = frame, source, option, accepted
        self.prefix = f"{source}: {option}: "
        self.lines = lines

    def check_names(self, tree: ast.AST) -> None:
        columns = [str(c) for c in self.frame.columns]
        for name in names_in(tree):
            if name not in columns:
                raise InputError(f"{self.prefix}column {unknown_name(name, columns)}")

    def error(self, node: ast.AST) -> InputError:
        return InputError(f"{self.prefix}{quote(node)[:80]} cannot stand there; {self.accepted}")

    def truth(self, node: ast.expr) -> NDArray:
        match node:
            case ast.BoolOp(op=ast.And(), values=values):
                return np.all([self.truth(value) for value in values], axis=0)
            case ast.BoolOp(op=ast.Or(), values=values):
                return np.any([self.truth(value) for value in values], axis=0)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return ~self.truth(operand)
            case ast.Compare(left=left, ops=ops, comparators=others):
                sides = [left, *others]
                parts = [self.compare(*pair) for pair in zip(sides, ops, sides[1:], strict=False)]
                return np.all(parts, axis=0)
        raise self.error(node)

    def compare(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> NDArray:
        if isinstance(op, ast.In | ast.NotIn) and isinstance(right, ast.List | ast.Tuple | ast.Set):
            hits = [self.compare(left, ast.Eq(), item) for item in right.elts]
            inside = np.any(hits, axis=0) if hits else np.zeros(len(self.frame), dtype=bool)
            return inside if isinstance(op, ast.In) else ~inside & self.present(left)
        if type(op) not in _COMPARISONS:
            raise self.error(right)
        text = self.is_text(left) or self.is_text(right)
        if text and not isinstance(op, ast.Eq | ast.NotEq):
            raise self.error(left if self.is_text(left) else right)
        values = [self.texts(side) if text else self.numbers(side) for side in (left, right)]
        with np.errstate(invalid="ignore"):
            result = _COMPARISONS[type(op)](*values)
        result = np.broadcast_to(result, len(self.frame))
        return result & self.present(left) & self.present(right)

    def is_text(self, node: ast.expr) -> bool:
        """A quoted text, or a column none of whose fields is a number."""
        if isinstance(node, ast.Constant):
            return isinstance(node.value, str)
        if not isinstance(node, ast.Name):
            return False
        fields = [v for v in self.frame[node.id] if not _is_empty(v)]
        return bool(fields) and not any(_is_number(v) for v in fields)

    def present(self, node: ast.expr) -> NDArray:
        """Rows in which no column of this side is empty."""
        empty = [[_is_empty(v) for v in self.frame[name]] for name in names_in(node)]
        return ~np.any(empty, axis=0) if empty else np.ones(len(self.frame), dtype=bool)

    def texts(self, node: ast.expr) -> NDArray:
        match node:
            case ast.Name(id=name):
                return np.array([str(v) for v in self.frame[name]], dtype=object)
            case ast.Constant(value=str() as text):
                return np.array(text, dtype=object)
        raise InputError(
            f"{self.prefix}a text is compared with {quote(node)[:80]}; put texts in quotes, and "
            "compare columns of numbers with numbers"
        )

    def numbers(self, node: ast.expr) -> NDArray:
        match node:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                if abs(number) < 1e300:
                    return np.array(float(number))
            case ast.Name(id=name):
                return read_numbers(self.frame, name, self.source, self.lines, self.option)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as op, operand=operand):
                value = self.numbers(operand)
                return -value if isinstance(op, ast.USub) else value
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                with np.errstate(all="ignore"):
                    return _ARITHMETIC[type(op)](self.numbers(left), self.numbers(right))
        raise self.error(node)


def _is_empty(field: object) -> bool:
    return field is None or (isinstance(field, str) and field == "") or field is pd.NA or (
        isinstance(field, float) and np.isnan(field)
    )  # fmt: skip


def _is_number(field: object) -> bool:
    try:
        float(expand(field) if isinstance(field, str) else field)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True
