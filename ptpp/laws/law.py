"""What a law is: a formula, parameters with bounds, and the inputs it reads.

A law is a pure function of a parameter vector and of inputs. The vector is the solver's: parameters
of scale "log" enter as their logarithm. Vectors may come in batches (..., p); inputs are rows (n,).
Values are nats per token.

Inputs: `n_params` N [parameters], `ptpp` P [tokens per parameter], `atpp` A [tokens per parameter],
`adapt_tokens` D [tokens], `replay` r, `share` s = 1 - r, and the checkpoint's own loss before
adaptation [nats per token]: `base_loss`, the mean over base domains, and `zero_shot_loss`, that in
the domain of the row. A declared law may also read columns of the table's own, which hold any
finite numbers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptpp.laws.dual import Dual, Operand, value_of

INPUTS = ("n_params", "ptpp", "atpp", "adapt_tokens", "replay", "share", "base_loss")
Inputs = Mapping[str, NDArray]
Reference = Mapping[str, float]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a law.

    `scale`: "log" if the solver works on its logarithm. `amplitude`: "linear" if the law is linear
    in it, "exp" if it is linear in its exponential, else "". `fixed`: the value it keeps unless
    `free_below` = (input, limit) holds: the smallest measured value of that input is at or below
    the limit. `needs` = (input, levels): how many distinct values of that input identify it (of
    "ptpp": stages). `band`: the values that it may take where the rows say nothing about it.
    `prior`: the value it keeps where the rows are of too few stages, none of them the one that is
    forecast. `goes_with`: the input of its term; where that does not vary, a shape is held at
    `without` (None: its fixed value or the middle of its bounds), and an amplitude at its low bound
    if its term does not vary either.
    """

    name: str
    low: float
    high: float
    scale: str
    unit: str
    meaning: str
    amplitude: str = ""
    fixed: float | None = None
    free_below: tuple[str, float] | None = None
    needs: tuple[str, int] | None = None
    band: tuple[float, float] | None = None
    prior: float | None = None
    goes_with: str = ""
    without: float | None = None

    @property
    def plausible(self) -> tuple[float, float]:
        """What it may be where the rows do not tell: its own band, or its bounds."""
        low, high = self.band or (self.low, self.high)
        return max(low, self.low), min(high, self.high)

    def to_solver(self, value: float) -> float:
        return float(np.log(value)) if self.scale == "log" else float(value)

    def from_solver(self, value: float) -> float:
        return float(np.exp(value)) if self.scale == "log" else float(value)


@dataclass(frozen=True)
class Point:
    """The rows a formula is evaluated on: inputs (n,) by name, and the reference point."""

    inputs: Inputs
    reference: Reference

    def __getitem__(self, name: str) -> NDArray:
        return self.inputs[name]

    def log(self, name: str) -> NDArray:
        """ln(input / its reference value)."""
        return np.log(self.inputs[name] / self.reference[name])


# The rows that a law speaks of, by their replay ratio.
ROWS: Mapping[str, Callable[[NDArray], NDArray]] = {
    "all": lambda replay: replay >= 0,
    "with_replay": lambda replay: replay > 0,
    "without_replay": lambda replay: replay == 0,
}
Formula = Callable[[SimpleNamespace, Point], Operand]


@dataclass(frozen=True)
class Law:
    """One law.

    `formula(p, x)` is the value from the parameters `p.E`, `p.alpha`, ... (natural units) and the
    point `x`. `centred`: the inputs that have a reference value. `may_be_zero`: those of them that
    may be 0 in a row (the reference is the mean over the others). `offset`: the column to which the
    law's value is added to give a loss. `rows`: the replay ratios it speaks of, a key of `ROWS`.
    `zero_shot`: it also speaks of the checkpoint before adaptation. `declaration`: what a declared
    law was read from.
    """

    name: str
    title: str
    equation: str
    source: str
    inputs: tuple[str, ...]
    centred: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    formula: Formula
    offset: str | None = None
    may_be_zero: tuple[str, ...] = ()
    rows: str = "all"
    zero_shot: bool = False
    declaration: Mapping | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(p.name for p in self.parameters)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a table that the law needs beside `loss`."""
        names = ["replay" if name == "share" else name for name in self.inputs]
        return tuple(dict.fromkeys(names + ([self.offset] if self.offset else [])))

    def to_solver(self, values: Mapping[str, float]) -> NDArray:
        """Parameter values by name -> the solver's vector (p,)."""
        return np.array([p.to_solver(values[p.name]) for p in self.parameters])

    def from_solver(self, theta: ArrayLike) -> dict[str, float]:
        """The solver's vector (p,) -> parameter values by name."""
        return {p.name: p.from_solver(t) for p, t in zip(self.parameters, theta, strict=True)}

    def bounds(self) -> tuple[NDArray, NDArray]:
        """Lower and upper bounds (p,) of the solver's vector."""
        ends = [(p.to_solver(p.low), p.to_solver(p.high)) for p in self.parameters]
        return tuple(np.array(ends).T.copy())

    def predict(self, theta: NDArray, inputs: Inputs, reference: Reference) -> NDArray:
        """Values (..., n), nats per token, at the solver's vectors theta (..., p)."""
        return self.with_slopes(theta, inputs, reference, ())[0]

    def jacobian(self, theta: NDArray, inputs: Inputs, reference: Reference) -> NDArray:
        """Derivatives (..., n, p) of the values with respect to the solver's vectors (..., p)."""
        every = range(len(self.parameters))
        return np.swapaxes(self.with_slopes(theta, inputs, reference, every)[1], -1, -2)

    def with_slopes(
        self, theta: NDArray, inputs: Inputs, reference: Reference, wanted: ArrayLike
    ) -> tuple[NDArray, NDArray]:
        """Values (..., n) and their slopes (..., k, n) in the k wanted parameters, by number."""
        theta, wanted = np.asarray(theta), [int(j) for j in wanted]
        parts = {}
        for j, parameter in enumerate(self.parameters):
            column = theta[..., j, None]
            natural = np.exp(column) if parameter.scale == "log" else column
            slope = natural if parameter.scale == "log" else np.ones(1)
            parts[parameter.name] = Dual(natural, {j: slope}) if j in wanted else natural
        result = self.formula(SimpleNamespace(**parts), Point(inputs, reference))
        rows = len(next(iter(inputs.values())))
        shape = (*theta.shape[:-1], rows)
        value = np.broadcast_to(value_of(result), shape)
        slopes = np.zeros((*shape[:-1], len(wanted), rows), dtype=value.dtype)
        known = result.slopes if isinstance(result, Dual) else {}
        for k, j in enumerate(wanted):
            if j in known:
                slopes[..., k, :] = known[j]
        return value, slopes
