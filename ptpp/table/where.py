"""Expressions over the columns of a table: which rows to use, and what a new column holds.

They are read as syntax trees and never executed. A condition such as `ptpp < 100` may hold column
names, numbers, texts in quotes, comparisons (also chained, `in` and `not in` lists), and, or, not,
parentheses and + - * / of numbers; a quantity such as `tokens / n_params` the arithmetic alone.
"""

import ast
import operator
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptpp.errors import InputError
from ptpp.table.expressions import names_in, parse, quote, unknown_name
from ptpp.table.reading import Places
from ptpp.table.units import expand

_OPERATORS = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_CONDITION_PARTS = (
    "accepted are columns, numbers, 'texts', < <= > >= == != in, and, or, not, + - * / and "
    "parentheses"
)
_QUOTED = r"'[^']*'|\"[^\"]*\""
_WORDS = re.compile(r"[^\W\d]\w*( \w+)+")  # names with spaces alone are odd
_QUANTITY_PARTS = "accepted are columns, numbers, + - * / and parentheses"


def choose_rows(frame: pd.DataFrame, where: str, places: Places) -> NDArray[np.bool_]:
    """The rows (n,) for which `where` holds.

    A column is compared as numbers where a number stands on the other side. An empty field
    satisfies no comparison. Raises InputError, one line, for anything else that cannot be compared.
    """
    walker = _Walker(frame, places, "where", _CONDITION_PARTS)
    return np.asarray(walker.truth(walker.parse(where)), dtype=bool)


def compute_column(
    frame: pd.DataFrame, expression: str, places: Places, option: str = "rename"
) -> NDArray[np.float64]:
    """The values (n,) of an arithmetic expression over columns; NaN where a field is empty.

    Raises InputError, one line, for a name that is no column, a field that is no number and
    anything but arithmetic. `option`: what errors call the expression.
    """
    walker = _Walker(frame, places, option, _QUANTITY_PARTS)
    return np.broadcast_to(walker.numbers(walker.parse(expression)), len(frame)).astype(float)


def read_numbers(column: pd.Series, places: Places, option: str) -> NDArray[np.float64]:
    """A column (n,) as numbers, NaN where a field is empty.

    Raises InputError for the first field that is no number; `option` is what needs one.
    """
    wrong = ~is_empty(column) & ~_is_number(column)
    if wrong.any():
        position = int(np.argmax(wrong))
        message = f"{str(column.iloc[position])!r} is not a number, and {option} needs one"
        raise places.error(position, str(column.name), message)
    return np.array([_to_number(field) for field in column], dtype=float)


def all_numbers(column: pd.Series) -> bool:
    """Whether every field of a column holds a finite number."""
    if pd.api.types.is_bool_dtype(column) or not len(column):
        return False
    numbers = [None if isinstance(field, bool) else _to_number(field) for field in column]
    return all(number is not None and np.isfinite(number) for number in numbers)


def columns_in(expression: str, columns: Sequence[str], option: str) -> list[str]:
    """The names of columns that an expression over `columns` holds."""
    return names_in(parse_over(expression, columns, option))


def parse_over(text: str, columns: Sequence[str], source: str) -> ast.expr:
    """The tree of an expression over `columns`, whose names may have spaces, or any characters
    between backticks; raises InputError, one line that begins with `source`.
    """
    odd = [name for name in columns if not name.isidentifier()]
    bare = sorted(filter(_WORDS.fullmatch, odd), key=len, reverse=True)
    patterns = [_QUOTED, "`([^`]*)`", *(rf"(?<!\w){re.escape(name)}(?!\w)" for name in bare)]
    names: dict[str, str] = {}

    def replace(match: re.Match) -> str:
        if match[0][0] in "'\"":
            return match[0]
        return names.setdefault(match[1] or match[0], f"_column_{len(names)}_")

    line = re.sub("|".join(patterns), replace, " ".join(text.split()))
    try:
        tree = parse(line, source, text)
    except InputError as error:
        meant = [name for name in odd if name not in bare and name in line]
        hint = f"; the column {meant[0]!r} stands between backticks" if meant else ""
        raise InputError(f"{error}{hint}") from None
    theirs = {place: name for name, place in names.items()}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = theirs.get(node.id, node.id)
    return tree


def is_empty(column: pd.Series) -> NDArray[np.bool_]:
    """The fields (n,) that hold nothing."""
    return (column.astype(object).where(column.notna(), "") == "").to_numpy(bool)


def _is_number(column: pd.Series) -> NDArray[np.bool_]:
    return np.array([_to_number(field) is not None for field in column], dtype=bool)


def _to_number(field: object) -> float | None:
    try:
        return float(expand(field) if isinstance(field, str) else field)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


class _Walker:
    """Evaluates syntax trees on the rows of one table."""

    def __init__(self, frame: pd.DataFrame, places: Places, option: str, accepted: str):
        self.frame, self.places, self.option, self.accepted = frame, places, option, accepted
        self.prefix = f"{places.source}: {option}"

    def parse(self, text: str) -> ast.expr:
        columns = list(map(str, self.frame.columns))
        tree = parse_over(text, columns, self.prefix)
        for name in names_in(tree):
            if name not in columns:
                raise InputError(f"{self.prefix}: column {unknown_name(name, columns)}")
        return tree

    def error(self, node: ast.AST) -> InputError:
        return InputError(f"{self.prefix}: {quote(node)[:80]} cannot stand there; {self.accepted}")

    def truth(self, node: ast.expr) -> NDArray:
        match node:
            case ast.BoolOp(op=op, values=values):
                combine = np.all if isinstance(op, ast.And) else np.any
                return combine([self.truth(value) for value in values], axis=0)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return ~self.truth(operand)
            case ast.Compare(left=left, ops=ops, comparators=others):
                pairs = zip([left, *others], ops, others, strict=False)
                return np.all([self.compare(*pair) for pair in pairs], axis=0)
        raise self.error(node)

    def compare(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> NDArray:
        if isinstance(op, ast.In | ast.NotIn) and isinstance(right, ast.List | ast.Tuple | ast.Set):
            hits = [self.compare(left, ast.Eq(), item) for item in right.elts]
            inside = np.any(hits, axis=0) if hits else np.zeros(len(self.frame), dtype=bool)
            return inside if isinstance(op, ast.In) else ~inside & self.present(left)
        if type(op) not in _OPERATORS:
            raise self.error(right)
        text = self.is_text(left) or self.is_text(right)
        if text and not isinstance(op, ast.Eq | ast.NotEq):
            raise self.error(left if self.is_text(left) else right)
        values = [self.texts(side) if text else self.numbers(side) for side in (left, right)]
        with np.errstate(invalid="ignore"):
            result = _OPERATORS[type(op)](*values)
        return result & self.present(left) & self.present(right)

    def is_text(self, node: ast.expr) -> bool:
        """A quoted text, or a column none of whose fields is a number."""
        match node:
            case ast.Constant(value=value):
                return isinstance(value, str)
            case ast.Name(id=name):
                filled = self.frame[name][~is_empty(self.frame[name])]
                return len(filled) > 0 and not _is_number(filled).any()
        return False

    def present(self, node: ast.expr) -> NDArray:
        """Rows in which no column of this side is empty."""
        rows = np.ones(len(self.frame), dtype=bool)
        for name in names_in(node):
            rows &= ~is_empty(self.frame[name])
        return rows

    def texts(self, node: ast.expr) -> NDArray:
        match node:
            case ast.Name(id=name):
                return np.array([str(v) for v in self.frame[name]], dtype=object)
            case ast.Constant(value=str() as text):
                return np.array(text, dtype=object)
        raise InputError(
            f"{self.prefix}: a text is compared with {quote(node)[:80]}; put texts in quotes, and "
            "compare columns of numbers with numbers"
        )

    def numbers(self, node: ast.expr) -> NDArray:
        match node:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                if abs(number) < 1e300:
                    return np.array(float(number))
            case ast.Name(id=name):
                return read_numbers(self.frame[name], self.places, self.option)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as op, operand=operand):
                value = self.numbers(operand)
                return -value if isinstance(op, ast.USub) else value
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                with np.errstate(all="ignore"):
                    return _OPERATORS[type(op)](self.numbers(left), self.numbers(right))
        raise self.error(node)
