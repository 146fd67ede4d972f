"""Exact derivatives by forward mode: arrays that carry their slopes along.

Arithmetic and the functions here apply the chain rule, so that a law is written once, as its
formula, and its Jacobian follows to rounding. Only slopes that are not zero are kept. The functions
also take plain numbers and arrays and then return plain arrays. Values may have any shape; batches
of parameter vectors broadcast against rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Dual:
    """`value` and, by parameter number, `slopes`: each broadcasts to the shape of the value."""

    value: NDArray
    slopes: Mapping[int, ArrayLike]

    __array_ufunc__ = None  # array + Dual is left to Dual

    def __neg__(self) -> "Dual":
        return Dual(-self.value, {j: -s for j, s in self.slopes.items()})

    def __add__(self, other: "Operand") -> "Dual":
        if not isinstance(other, Dual):
            return Dual(self.value + other, self.slopes)
        return Dual(self.value + other.value, _sum(self.slopes, other.slopes))

    def __sub__(self, other: "Operand") -> "Dual":
        return self + -other

    def __rsub__(self, other: "Operand") -> "Dual":
        return -self + other

    def __mul__(self, other: "Operand") -> "Dual":
        if not isinstance(other, Dual):
            return Dual(self.value * other, {j: s * other for j, s in self.slopes.items()})
        left = {j: s * other.value for j, s in self.slopes.items()}
        right = {j: s * self.value for j, s in other.slopes.items()}
        return Dual(self.value * other.value, _sum(left, right))

    def __truediv__(self, other: "Operand") -> "Dual":
        if not isinstance(other, Dual):
            return self * (1 / np.asarray(other))
        return self * _chain(1 / other.value, (other, -1 / other.value**2))

    def __rtruediv__(self, other: "Operand") -> "Dual":
        return _chain(1 / self.value, (self, -1 / self.value**2)) * other

    def __pow__(self, other: "Operand") -> "Dual":
        return power(self, other)

    def __rpow__(self, other: "Operand") -> "Dual":
        return power(other, self)

    __radd__ = __add__
    __rmul__ = __mul__


Operand = Dual | ArrayLike


def value_of(x: Operand) -> NDArray:
    """The value, without slopes; what answers to numpy's functions itself stays what it is."""
    if isinstance(x, Dual):
        return x.value
    return x if hasattr(x, "__array_function__") else np.asarray(x)


def exp(x: Operand) -> Operand:
    value = np.exp(value_of(x))
    return _chain(value, (x, value))


def log(x: Operand) -> Operand:
    return _chain(np.log(value_of(x)), (x, 1 / value_of(x)))


def log1p(x: Operand) -> Operand:
    return _chain(np.log1p(value_of(x)), (x, 1 / (1 + value_of(x))))


def sqrt(x: Operand) -> Operand:
    value = np.sqrt(value_of(x))
    return _chain(value, (x, 0.5 / value))


def minimum(a: Operand, b: Operand) -> Operand:
    """The smaller of two, elementwise, with its slopes; those of `a` where they are equal."""
    x, y = value_of(a), value_of(b)
    return _either(np.minimum(x, y), np.less_equal(x, y), a, b)


def maximum(a: Operand, b: Operand) -> Operand:
    """The larger of two, elementwise, with its slopes; those of `a` where they are equal."""
    x, y = value_of(a), value_of(b)
    return _either(np.maximum(x, y), np.greater_equal(x, y), a, b)


def where(condition: NDArray, a: Operand, b: Operand) -> Operand:
    """`a` where the condition holds, else `b`, with the slopes of the chosen one."""
    return _either(np.where(condition, value_of(a), value_of(b)), condition, a, b)


def power(base: Operand, exponent: Operand) -> Operand:
    """base ** exponent; a base below 0 has real powers only where the exponent is constant."""
    b, e = value_of(base), value_of(exponent)
    # Integers of Python or numpy refuse negative powers.
    value = np.power(b, e, dtype=np.result_type(b, e, float))
    slopes = []
    if isinstance(base, Dual):
        slopes.append((base, e * np.power(b, e - 1.0)))
    if isinstance(exponent, Dual):
        slopes.append((exponent, value * np.log(b)))
    return _chain(value, *slopes)


def g_of_log(log_x: Operand, k: Operand) -> Operand:
    """g(x, k) = (x^-k - 1)/k from ln x; its limit for k -> 0 is -ln x. Accurate for any k."""
    u, v = value_of(log_x), value_of(k)
    w = -v * u
    slopes = []
    if isinstance(log_x, Dual):
        slopes.append((log_x, -np.exp(w)))
    if isinstance(k, Dual):
        slopes.append((k, u**2 * _phi_slope(w)))
    return _chain(-u * _phi(w), *slopes)


def _either(value: NDArray, condition: NDArray, a: Operand, b: Operand) -> Operand:
    """A value that is one of two, with the slopes of that one."""
    if not isinstance(a, Dual) and not isinstance(b, Dual):
        return value
    slopes: dict[int, ArrayLike] = {}
    if isinstance(a, Dual):
        slopes = {j: np.where(condition, s, 0.0) for j, s in a.slopes.items()}
    if isinstance(b, Dual):
        slopes = _sum(slopes, {j: np.where(condition, 0.0, s) for j, s in b.slopes.items()})
    return Dual(value, slopes)


def _chain(value: NDArray, *terms: tuple[Operand, NDArray]) -> Operand:
    """The value of a function with its derivatives with respect to arguments that are Dual."""
    slopes: dict[int, ArrayLike] = {}
    dual = False
    for argument, derivative in terms:
        if isinstance(argument, Dual):
            dual = True
            slopes = _sum(slopes, {j: s * derivative for j, s in argument.slopes.items()})
    return Dual(value, slopes) if dual else value


def _sum(left: Mapping, right: Mapping) -> dict:
    both = dict(left)
    for j, slope in right.items():
        both[j] = both[j] + slope if j in both else slope
    return both


def _phi(u: NDArray) -> NDArray:
    """(e^u - 1)/u."""
    small = np.abs(u) < 1e-5
    if isinstance(u, np.ndarray) and not small.any():
        return np.expm1(u) / u  # nearly always, and a plan spends much of its time here
    safe = np.where(small, 1.0, u)
    return np.where(small, 1 + u / 2 + u**2 / 6, np.expm1(safe) / safe)


def _phi_slope(u: NDArray) -> NDArray:
    """Derivative of (e^u - 1)/u; by its Taylor series near 0, where the difference cancels."""
    small = np.abs(u) < 1e-2
    near = np.where(small, u, 0.0)
    series = 1 / 2 + near * (1 / 3 + near * (1 / 8 + near * (1 / 30 + near / 144)))
    safe = np.where(small, 1.0, u)
    return np.where(small, series, (np.exp(safe) - np.expm1(safe) / safe) / safe)
