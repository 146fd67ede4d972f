"""Foreign tables: columns renamed, rows chosen by an expression such as `ptpp < 100`.

The expression is read as a syntax tree and never executed. It may hold column names, numbers,
texts in quotes, comparisons (also chained, `in` and `not in` lists), and, or, not, parentheses and
+ - * / of numbers.
"""

import ast
import operator
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptpp.errors import InputError
from ptpp.table.expressions import described, names_in, parse, unknown_name

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
_ACCEPTED = (
    "accepted are columns, numbers, 'texts', < <= > >= == != in, and, or, not, + - * / and "
    "parentheses"
)


def renamed(frame: pd.DataFrame, names: Mapping[str, str], source: str) -> pd.DataFrame:
    """`frame` with columns renamed by `names` (old -> new).

    Raises InputError where an old name is absent or a new one would stand there twice.
    """
    given = [str(c) for c in frame.columns]
    for old in names:
        if old not in given:
            raise InputError(f"{source}: rename: column {unknown_name(old, given)}")
    new = [names.get(c, c) for c in given]
    for name in names.values():
        if new.count(name) > 1:
            raise InputError(
                f"{source}: rename: there would be {new.count(name)} columns {name!r}; rename the "
                "others away too"
            )
    return frame.set_axis(new, axis=1)


def selected(
    frame: pd.DataFrame, where: str, source: str, lines: Sequence[int] | None = None
) -> NDArray[np.bool_]:
    """The rows (n,) for which `where` holds. `lines` are the numbers by which errors call rows.

    A column is compared as numbers where a number stands on the other side. An empty field
    satisfies no comparison. Raises InputError, one line, for anything else that cannot be compared.
    """
    tree = parse(where, f"{source}: where")
    columns = [str(c) for c in frame.columns]
    for name in names_in(tree):
        if name not in columns:
            raise InputError(f"{source}: where: column {unknown_name(name, columns)}")
    lines = list(lines) if lines is not None else list(range(1, len(frame) + 1))
    return np.asarray(_Condition(frame, source, lines).truth(tree), dtype=bool)


class _Condition:
    """Evaluates a checked tree on the rows of one table."""

    def __init__(self, frame: pd.DataFrame, source: str, lines: list[int]):
        self.frame, self.source, self.lines = frame, source, lines

    def error(self, node: ast.AST) -> InputError:
        return InputError(
            f"{self.source}: where: {described(node)[:80]} cannot stand there; {_ACCEPTED}"
        )

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
                parts = [self.compared(*pair) for pair in zip(sides, ops, sides[1:], strict=False)]
                return np.all(parts, axis=0)
        raise self.error(node)

    def compared(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> NDArray:
        if isinstance(op, ast.In | ast.NotIn) and isinstance(right, ast.List | ast.Tuple | ast.Set):
            hits = [self.compared(left, ast.Eq(), item) for item in right.elts]
            found = np.any(hits, axis=0) if hits else np.zeros(len(self.frame), dtype=bool)
            return found if isinstance(op, ast.In) else ~found & self.present(left)
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
            f"{self.source}: where: a text is compared with {described(node)[:80]}; put texts in "
            "quotes, and compare columns of numbers with numbers"
        )

    def numbers(self, node: ast.expr) -> NDArray:
        match node:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                if abs(number) < 1e300:
                    return np.array(float(number))
            case ast.Name(id=name):
                return self.column(name)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as op, operand=operand):
                value = self.numbers(operand)
                return -value if isinstance(op, ast.USub) else value
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                with np.errstate(all="ignore"):
                    return _ARITHMETIC[type(op)](self.numbers(left), self.numbers(right))
        raise self.error(node)

    def column(self, name: str) -> NDArray:
        values = np.full(len(self.frame), np.nan)
        for position, field in enumerate(self.frame[name]):
            if _is_empty(field):
                continue
            if not _is_number(field):
                raise InputError(
                    f"{self.source}: row {self.lines[position]}, column {name}: {str(field)!r} is "
                    "not a number, and where compares it with one"
                )
            values[position] = float(field)
        return values


def _is_empty(field: object) -> bool:
    return field is None or (isinstance(field, str) and field == "") or field is pd.NA or (
        isinstance(field, float) and np.isnan(field)
    )  # fmt: skip


def _is_number(field: object) -> bool:
    try:
        float(field)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True
