"""A law's formula as JavaScript, derived from the formula itself.

The formulas of `ptpp.laws` are evaluated on symbols in place of arrays: every operation is noted
down and then written as JavaScript. So there is one formula for Python and for a page, for the
zoo's laws and for declared ones, and the operations and their order are the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from ptpp.errors import InputError
from ptpp.laws.dual import Dual
from ptpp.laws.law import Law, Point

# numpy's functions that formulas may use, and what they are in JavaScript.
_OPERATIONS = {
    np.add: "{} + {}",
    np.subtract: "{} - {}",
    np.multiply: "{} * {}",
    np.true_divide: "{} / {}",
    np.power: "Math.pow({}, {})",
    np.negative: "-{}",
    np.absolute: "Math.abs({})",
    np.minimum: "Math.min({}, {})",
    np.maximum: "Math.max({}, {})",
    np.less: "{} < {}",
    np.less_equal: "{} <= {}",
    np.greater: "{} > {}",
    np.greater_equal: "{} >= {}",
    np.where: "{} ? {} : {}",
    np.exp: "Math.exp({})",
    np.expm1: "Math.expm1({})",
    np.log: "Math.log({})",
    np.log1p: "Math.log1p({})",
    np.sqrt: "Math.sqrt({})",
}
# What is known once a model is chosen, and what changes over a plan's space.
_OF_MODEL = ("n_params", "ptpp", "base_loss", "zero_shot_loss")
_OF_POINT = {
    "replay": "replay",
    "share": "(1 - replay)",
    "atpp": "atpp",
    "adapt_tokens": "(atpp * model.n_params)",
}


@dataclass(frozen=True, eq=False)
class Symbol(NDArrayOperatorsMixin):
    """A number that a page will know: `text` with `parts` put into it.

    `varies`: it depends on replay or ATPP and so has to be evaluated at every point.
    """

    text: str
    parts: tuple["Symbol", ...] = ()
    varies: bool = False

    def __array_ufunc__(self, function, method, *operands, **_) -> "Symbol":
        if method != "__call__":
            return NotImplemented
        return _operation(function, operands)

    def __array_function__(self, function, types, operands, keywords) -> object:
        if function is np.result_type:
            return float
        return _operation(function, operands)


def javascript(law: Law, slopes: bool = False) -> str:
    """A JavaScript function of `law`, as text.

    It takes parameters (an array in the order of `law.names`, natural units), the reference point
    and the model (objects of numbers by name), and returns a function of replay and ATPP whose
    value is the law's, nats per token; with `slopes` an array: the value, then its derivatives in
    the solver's parameters. Raises InputError for a formula that cannot be written so.
    """
    parameters: dict[str, Symbol | Dual] = {}
    for j, parameter in enumerate(law.parameters):
        symbol = Symbol(f"p[{j}]")
        slope = symbol if parameter.scale == "log" else Symbol("1")
        parameters[parameter.name] = Dual(symbol, {j: slope}) if slopes else symbol
    inputs = {name: Symbol(f"model.{name}") for name in _OF_MODEL}
    inputs |= {name: Symbol(text, varies=True) for name, text in _OF_POINT.items()}
    if own := [name for name in law.inputs if name not in inputs]:
        raise InputError(
            f"law {law.name}: it reads {', '.join(own)}, which the page cannot ask for; accepted "
            f"are laws of {', '.join(inputs)}"
        )
    reference = {name: Symbol(f"reference.{name}") for name in law.centred}
    try:
        value = law.formula(SimpleNamespace(**parameters), Point(inputs, reference))
    except TypeError as error:
        raise InputError(f"law {law.name}: cannot be written as JavaScript ({error})") from None
    if not slopes:
        return _written([_symbol(value)])
    known = value if isinstance(value, Dual) else Dual(value, {})
    each = [known.slopes.get(j, 0.0) for j in range(len(law.parameters))]
    return _written([_symbol(one) for one in (known.value, *each)])


def _operation(function: Callable, operands: tuple) -> Symbol:
    if function not in _OPERATIONS:
        raise TypeError(f"it uses numpy.{function.__name__}")
    parts = tuple(_symbol(operand) for operand in operands)
    return Symbol(_OPERATIONS[function], parts, any(part.varies for part in parts))


def _symbol(operand: object) -> Symbol:
    if isinstance(operand, Symbol):
        return operand
    number = np.asarray(operand, dtype=float)
    if number.size != 1:
        raise TypeError(f"it holds an array of {number.size} numbers")
    return Symbol(f"({number.item()!r})")


def _written(values: list[Symbol]) -> str:
    """Every operation as a constant of its own, each written once and before it is used."""
    lines: dict[bool, list[str]] = {False: [], True: []}
    names: dict[str, str] = {}

    def name_of(symbol: Symbol) -> str:
        text = symbol.text.format(*[name_of(part) for part in symbol.parts])
        if not symbol.parts:
            return text
        if text not in names:
            names[text] = f"t{len(names)}"
            lines[symbol.varies].append(f"const {names[text]} = {text};")
        return names[text]

    results = [name_of(value) for value in values]
    result = results[0] if len(results) == 1 else f"[{', '.join(results)}]"
    model = [f"  {line}" for line in lines[False]]
    point = [f"    {line}" for line in lines[True]]
    begin, inner, end = "(p, reference, model) => {", "  return (replay, atpp) => {", ["  };", "}"]
    return "\n".join([begin, *model, inner, *point, f"    return {result};", *end])
