"""Expressions that users write, read as Python syntax trees and never executed.

What may stand in an expression is decided by who walks the tree (`ptpp.laws.declared` for laws,
`ptpp.table.where` for tables); this module only turns text into a tree, or into one clear error.
"""

import ast
import difflib
import re
import warnings
from collections.abc import Iterable

from ptpp.errors import InputError
from ptpp.table.units import expand

MOST_CHARACTERS = 2000
MOST_NODES = 400

_QUANTITY = re.compile(r"(?<![\w.])\d[\d_]*\.?\d*[kKmMbBgGtT]\b(?=(?:[^'\"]|'[^']*'|\"[^\"]*\")*$)")


def parse(text: str, source: str, shown: str | None = None) -> ast.expr:
    """The syntax tree of one expression; raises InputError, one line that begins with `source`.

    Numbers outside quotes may be written as 7B or 1.5T. `shown`: what errors quote instead.
    """
    if not text.strip():
        raise InputError(f"{source}: the expression is empty")
    if len(text) > MOST_CHARACTERS:
        raise InputError(
            f"{source}: {len(text)} characters; accepted are at most {MOST_CHARACTERS}"
        )
    line = _QUANTITY.sub(lambda match: expand(match[0]), " ".join(text.split()))
    try:
        with warnings.catch_warnings(action="ignore"):  # of Python's parser, on odd literals
            tree = ast.parse(line, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        place = getattr(error, "offset", None)
        where = f" near character {place}" if place else ""
        raise InputError(f"{source}: {shown or text!r} is not a valid expression{where}") from None
    if sum(1 for _ in ast.walk(tree)) > MOST_NODES:
        raise InputError(f"{source}: the expression is too long; accepted are {MOST_NODES} parts")
    return tree


def names_in(tree: ast.AST) -> list[str]:
    """All names in the tree, in order of appearance, function names left out."""
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    names = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and id(n) not in called]
    return [n.id for n in sorted(names, key=lambda n: n.col_offset)]


def unknown_name(name: str, known: Iterable[str]) -> str:
    """'name' is not known, with the nearest known name, or else all of them."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}?" if near else "known are " + ", ".join(known)
    return f"{name!r} is not known; {hint}"


def quote(node: ast.AST) -> str:
    """The text of a part of an expression in quotes, for errors."""
    return repr(ast.unparse(node))
