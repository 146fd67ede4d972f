"""Laws that users declare in YAML instead of programming them.

    name: chinchilla_log
    expression: exp(e) + exp(a)*n_params**-alpha + exp(b)*tokens**-beta
    parameters:
      e: {low: -2, high: 3}
      a: {low: 0, high: 25}
      ...

The expression is read as a syntax tree, in which only numbers, parameters, inputs, + - * / ** (or
^), unary minus, parentheses, exp, log, sqrt, min(a, b), max(a, b) and where(condition, a, b) may
stand, and one of < <= > >= in the condition; nothing is ever executed. It is evaluated on numbers
that carry their derivatives (`ptpp.laws.dual`), so its Jacobian is exact. Any other name is a
column of the table's own.
"""

import ast
import difflib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import yaml

from ptpp.errors import InputError
from ptpp.laws import dual
from ptpp.laws.dual import Operand
from ptpp.laws.forms import get_law
from ptpp.laws.law import Law, Parameter, Point
from ptpp.laws.record import Fit
from ptpp.table.expressions import names_in, parse, quote, unknown_name

# Names an expression may use: the input behind each, and whether it is divided by its reference.
_PLAIN = ("n_params", "adapt_tokens", "atpp", "ptpp", "replay", "share", "base_loss")
_RELATIVE = {"n": "n_params", "d": "adapt_tokens", "p": "ptpp", "s": "share"}
INPUT_NAMES = {name: (name, False) for name in _PLAIN}
INPUT_NAMES |= {"tokens": ("adapt_tokens", False)}
INPUT_NAMES |= {name: (column, True) for name, column in _RELATIVE.items()}
FUNCTIONS: Mapping[str, Callable[..., Operand]] = {
    **{"exp": dual.exp, "log": dual.log, "sqrt": dual.sqrt},
    **{"min": dual.minimum, "max": dual.maximum, "where": dual.where},
}
_ARGUMENTS = {"exp": 1, "log": 1, "sqrt": 1, "min": 2, "max": 2, "where": 3}

_OPERATORS: Mapping[type, Callable[[Operand, Operand], Operand]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.Pow: dual.power,
}
_COMPARISONS: Mapping[type, Callable] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
}
_NEAR = 0.75  # a name that resembles a known one so much is a slip
_KEYS = ("name", "expression", "parameters", "inputs", "title", "source")
_NEEDED = ("name", "expression", "parameters")
_PARAMETER_KEYS = ("low", "high", "scale", "unit", "meaning")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,40}")


def find_law(law: Law | str | os.PathLike) -> Law:
    """A law as it is, by its name in the zoo, or by the path of its declaration (.yaml, .yml)."""
    if isinstance(law, Law):
        return law
    if Path(law).suffix in (".yaml", ".yml"):
        return load_law(law)
    return get_law(str(law))


def named_law(name: str, declaration: str | os.PathLike | None) -> Law:
    """The law called `name`: from the zoo, or from its declaration, which must carry that name."""
    if declaration is None:
        return get_law(name)
    law = load_law(declaration)
    if law.name != name:
        raise InputError(
            f"{declaration}: name is {law.name!r}; accepted is the file's own name, {name!r}"
        )
    return law


def law_of(record: Fit) -> Law:
    """The law that a record was fitted with; raises InputError where the record does not say."""
    if record.declaration is None:
        return get_law(record.law)
    return declared_law(record.declaration, f"law {record.law}")


def load_law(path: str | os.PathLike) -> Law:
    """Read a declared law; raises InputError, one line naming the file and what is wrong."""
    try:
        value = yaml.safe_load(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or 'cannot be read'}") from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise InputError(f"{path}: not valid YAML{where}") from None
    return declared_law(value, str(path))


def declared_law(value: object, source: str) -> Law:
    """The law that a declaration states: `name`, `expression`, `parameters`, and optionally
    `inputs` (the names of inputs that the expression uses, columns of the table's own among them),
    `title` and `source`.

    `parameters` maps each name to {low, high} and optionally `scale` ("linear" or "log"), `unit`
    and `meaning`. `source` begins every error. Raises InputError, one line.
    """
    value = _mapping(value, source, _KEYS, _NEEDED)
    for key in ("name", "expression", "title", "source"):
        if key in value and not (isinstance(value[key], str) and value[key].strip()):
            raise InputError(f"{source}: {key}: {value[key]!r}; accepted is a text")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,40}", value["name"]):
        raise InputError(
            f"{source}: name: {value['name']!r}; accepted are letters, digits, - and _, 41 at most"
        )
    tree = parse(value["expression"].replace("^", "**"), f"{source}: expression")
    if not isinstance(value["parameters"], Mapping) or not value["parameters"]:
        raise InputError(
            f"{source}: parameters: none are given; accepted is {{name: {{low, high}}}}"
        )
    names = list(map(str, value["parameters"]))
    stated = _read_inputs(value.get("inputs"), names, source)
    _check(tree, [*sorted(names), *INPUT_NAMES, *stated], f"{source}: expression")
    amplitudes = _amplitudes(tree, names)
    parameters = tuple(
        _parameter(name, bounds, amplitudes, source) for name, bounds in value["parameters"].items()
    )
    used = [name for name in dict.fromkeys(names_in(tree)) if name not in names]
    _check_inputs(stated, used, source)
    for name in names:
        if name not in names_in(tree):
            raise InputError(f"{source}: parameter {name!r} does not occur in the expression")
    return Law(
        name=value["name"],
        title=value.get("title", value["name"]),
        equation="L = " + " ".join(value["expression"].split()),
        source=value.get("source", "declared by the user"),
        inputs=tuple(dict.fromkeys(_input(name)[0] for name in used)),
        centred=tuple(dict.fromkeys(_input(name)[0] for name in used if _input(name)[1])),
        parameters=parameters,
        formula=lambda p, x: _evaluate(tree, p, x),
        declaration=_plain(value),
    )


def _input(name: str) -> tuple[str, bool]:
    """The input behind a name, and whether it is divided by its reference."""
    return INPUT_NAMES.get(name, (name, False))


def _mapping(value: object, source: str, accepted: tuple, needed: tuple) -> Mapping:
    if not isinstance(value, Mapping):
        raise InputError(f"{source}: not a mapping; accepted are the keys {', '.join(accepted)}")
    for key in value:
        if key not in accepted:
            raise InputError(f"{source}: key {unknown_name(str(key), accepted)}")
    for key in needed:
        if key not in value:
            raise InputError(f"{source}: no key {key!r}")
    return value


def _parameter(name: object, bounds: object, amplitudes: Mapping, source: str) -> Parameter:
    where = f"{source}: parameter {name!r}"
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(f"{where}: accepted are names of letters, digits and _")
    if name in INPUT_NAMES or name in FUNCTIONS:
        raise InputError(f"{where}: the name is taken by an input or a function; choose another")
    bounds = _mapping(bounds, where, _PARAMETER_KEYS, ())
    for key in ("low", "high"):
        number = bounds.get(key)
        if not isinstance(number, int | float) or isinstance(number, bool):
            value = "no" if number is None else repr(number)
            raise InputError(f"{where}: {value} bound {key!r}; accepted is a finite number")
        if not abs(number) < 1e300:
            raise InputError(f"{where}: {key} is {number:.3g}; accepted is a finite number")
    low, high = float(bounds["low"]), float(bounds["high"])
    if not low < high:
        raise InputError(f"{where}: low {low:g} is not below high {high:g}")
    scale = bounds.get("scale", "linear")
    if scale not in ("linear", "log"):
        raise InputError(f"{where}: scale is {scale!r}; accepted are linear and log")
    if scale == "log" and low <= 0:
        raise InputError(f"{where}: low is {low:g}; on a log scale accepted are bounds above 0")
    unit, meaning = str(bounds.get("unit", "")), str(bounds.get("meaning", ""))
    amplitude = amplitudes.get(name, "")
    if amplitude == "exp" and scale == "log":
        amplitude = ""  # the exponential of an exponential is no amplitude
    return Parameter(name, low, high, scale, unit, meaning, amplitude)


def _check(node: ast.expr, known: Sequence[str], source: str) -> None:
    """Raise InputError unless only what is allowed stands in the tree."""
    match node:
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            _check(left, known, source)
            _check(right, known, source)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            _check(operand, known, source)
        case ast.Call(func=ast.Name(id="where"), args=[condition, first, second], keywords=[]):
            match condition:
                case ast.Compare(left=left, ops=[op], comparators=[right]) if (
                    type(op) in _COMPARISONS
                ):
                    for part in (left, right, first, second):
                        _check(part, known, source)
                case _:
                    raise InputError(
                        f"{source}: {quote(condition)[:80]} is no condition; accepted is one of "
                        "< <= > >= between two expressions, such as where(ptpp < 100, a, b)"
                    )
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if (
            name in FUNCTIONS and len(arguments) == _ARGUMENTS[name] and name != "where"
        ):
            for argument in arguments:
                _check(argument, known, source)
        case ast.Call(func=ast.Name(id=name)) if name not in FUNCTIONS:
            raise InputError(f"{source}: function {unknown_name(name, FUNCTIONS)}")
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            if not abs(number) < 1e300:
                raise InputError(f"{source}: a number is not finite")
        case ast.Name(id=name):
            near = difflib.get_close_matches(name, known, n=1, cutoff=_NEAR)
            if name not in known and near:
                raise InputError(
                    f"{source}: {name!r} is not known; did you mean {near[0]!r}? a column of the "
                    "table's own with that name has to stand under inputs"
                )
            if name not in known and not _NAME.fullmatch(name):
                raise InputError(f"{source}: {unknown_name(name, known)}")
        case _:
            raise InputError(
                f"{source}: {quote(node)[:80]} is not allowed; accepted are numbers, "
                "parameters, inputs, + - * / **, parentheses, exp(x), log(x), sqrt(x), min(x, y), "
                "max(x, y) and where(x < y, u, v)"
            )


def _read_inputs(stated: object, parameters: Sequence[str], source: str) -> list[str]:
    """The names under `inputs`, none where there is no such key."""
    if stated is None:
        return []
    if not isinstance(stated, list) or not all(isinstance(name, str) for name in stated):
        raise InputError(f"{source}: inputs: {stated!r}; accepted is a list of names")
    for name in stated:
        if not _NAME.fullmatch(name) or name in FUNCTIONS:
            raise InputError(
                f"{source}: inputs: {name!r}; accepted are columns, named by letters, digits and _"
            )
        if name in parameters:
            raise InputError(f"{source}: inputs: {name!r} is a parameter; choose another name")
    return stated


def _check_inputs(stated: Sequence[str], used: list[str], source: str) -> None:
    if not used:
        raise InputError(
            f"{source}: expression: no input occurs in it; inputs are "
            + ", ".join(INPUT_NAMES)
            + " and columns of the table's own"
        )
    if stated and set(stated) != set(used):
        raise InputError(
            f"{source}: inputs: {', '.join(stated)} are stated, but the expression uses "
            + ", ".join(used)
        )


def _evaluate(node: ast.expr, p: SimpleNamespace, x: Point) -> Operand:
    """The value of a checked tree at parameters and inputs."""
    match node:
        case ast.BinOp():
            left, right = _evaluate(node.left, p, x), _evaluate(node.right, p, x)
            return _OPERATORS[type(node.op)](left, right)
        case ast.UnaryOp():
            operand = _evaluate(node.operand, p, x)
            return -operand if isinstance(node.op, ast.USub) else operand
        case ast.Call():
            return FUNCTIONS[node.func.id](*(_evaluate(part, p, x) for part in node.args))
        case ast.Compare():
            left, right = _evaluate(node.left, p, x), _evaluate(node.comparators[0], p, x)
            return _COMPARISONS[type(node.ops[0])](dual.value_of(left), dual.value_of(right))
        case ast.Constant():
            return np.array([float(node.value)])
    if hasattr(p, node.id):
        return getattr(p, node.id)
    name, relative = _input(node.id)
    return x[name] / x.reference[name] if relative else x[name]


def _amplitudes(tree: ast.expr, parameters: Sequence[str]) -> dict[str, str]:
    """Parameters in which the law is linear ("linear"), or linear in their exponential ("exp"):
    those that occur only as a factor of products, always alike, no two in one product.
    """
    kinds: dict[str, list[str]] = {}
    for term in _operands(tree, (ast.Add, ast.Sub)):
        factors = list(_operands(term, (ast.Mult, ast.Div)))
        pairs = [(each, "linear") for each in factors]
        pairs += [
            (each.args[0], "exp")
            for each in factors
            if isinstance(each, ast.Call) and each.func.id == "exp"
        ]
        names = [(n.id, k) for n, k in pairs if isinstance(n, ast.Name) and n.id in parameters]
        for name, kind in names[:1]:
            kinds.setdefault(name, []).append(kind)
    counts = {name: names_in(tree).count(name) for name in kinds}
    return {n: k[0] for n, k in kinds.items() if len(k) == counts[n] and len(set(k)) == 1}


def _operands(node: ast.expr, operators: tuple[type, ...]) -> Iterator[ast.expr]:
    """The terms of a sum, or the factors of a product without those it is divided by."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, operators):
        yield from _operands(node.left, operators)
        if not isinstance(node.op, ast.Div):
            yield from _operands(node.right, operators)
    elif isinstance(node, ast.UnaryOp) and ast.Mult in operators:
        yield from _operands(node.operand, operators)
    else:
        yield node


def _plain(value: Mapping) -> dict:
    """The declaration as what JSON can hold, so that it can stand in a fit's file."""
    parameters = {
        str(name): {k: v if isinstance(v, int | float) else str(v) for k, v in bounds.items()}
        for name, bounds in value["parameters"].items()
    }
    return {**{key: value[key] for key in _KEYS if key in value}, "parameters": parameters}
