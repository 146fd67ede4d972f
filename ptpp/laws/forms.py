"""The zoo of laws: formulas, parameters with bounds, and analytic Jacobians.

A law is a pure function of a parameter vector and of inputs that are centred at a reference point
(geometric means of the fit rows), so that amplitudes are nats at the reference and exponents hardly
correlate with them. The vector is the solver's: parameters of scale "log" enter as their logarithm.

Inputs (arrays of one shape): `n_params` N [parameters], `ptpp` P [tokens per parameter],
`atpp` A [tokens per parameter], `adapt_tokens` D [tokens], `replay` r, `share` s = 1 - r.
Values are nats per token.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptpp.errors import InputError

Inputs = Mapping[str, NDArray]
Reference = Mapping[str, float]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a law.

    `scale`: "log" if the solver works on its logarithm. `amplitude`: the law is linear in it, so a
    start for it can be solved for. `fixed`: the value it keeps unless `free_below` = (input, limit)
    holds, that is unless the smallest measured value of that input is at or below the limit.
    `needs` = (input, levels): how many distinct values of that input are needed to identify it.
    """

    name: str
    low: float
    high: float
    scale: str
    unit: str
    meaning: str
    amplitude: bool = False
    fixed: float | None = None
    free_below: tuple[str, float] | None = None
    needs: tuple[str, int] | None = None

    def to_solver(self, value: float) -> float:
        return float(np.log(value)) if self.scale == "log" else float(value)

    def from_solver(self, value: float) -> float:
        return float(np.exp(value)) if self.scale == "log" else float(value)


@dataclass(frozen=True)
class Law:
    """One law.

    `centred`: the inputs that have a reference value. `offset`: the column to which the law's value
    is added to give a loss (None: the value is the loss itself).
    `function(theta, inputs, reference)` returns the values (n,) and the Jacobian (n, p) with
    respect to the solver's vector theta (p,).
    """

    name: str
    title: str
    equation: str
    source: str
    inputs: tuple[str, ...]
    centred: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    function: Callable[[NDArray, Inputs, Reference], tuple[NDArray, NDArray]]
    offset: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(p.name for p in self.parameters)

    def to_solver(self, values: Mapping[str, float]) -> NDArray:
        """Parameter values by name -> the solver's vector (p,)."""
        return np.array([p.to_solver(values[p.name]) for p in self.parameters])

    def from_solver(self, theta: ArrayLike) -> dict[str, float]:
        """The solver's vector (p,) -> parameter values by name."""
        return {p.name: p.from_solver(t) for p, t in zip(self.parameters, theta, strict=True)}

    def predict(self, theta: NDArray, inputs: Inputs, reference: Reference) -> NDArray:
        """Values (n,), nats per token, at the solver's vector theta (p,)."""
        return self.function(theta, inputs, reference)[0]

    def jacobian(self, theta: NDArray, inputs: Inputs, reference: Reference) -> NDArray:
        """Derivatives (n, p) of the values with respect to the solver's vector theta (p,)."""
        return self.function(theta, inputs, reference)[1]


def g(x: ArrayLike, k: float) -> NDArray:
    """(x^-k - 1)/k, whose limit for k -> 0 is -ln x; falls with x, is 0 at x = 1."""
    return _g_of_log(np.log(x), k)[0]


def _g_of_log(log_x: NDArray, k: float) -> tuple[NDArray, NDArray]:
    """g and its derivative with respect to k, from ln x; accurate for any k, 0 included."""
    u = -k * log_x
    return -log_x * _phi(u), log_x**2 * _phi_slope(u)


def _phi(u: NDArray) -> NDArray:
    """(e^u - 1)/u."""
    small = np.abs(u) < 1e-5
    safe = np.where(small, 1.0, u)
    return np.where(small, 1 + u / 2 + u**2 / 6, np.expm1(safe) / safe)


def _phi_slope(u: NDArray) -> NDArray:
    """Derivative of (e^u - 1)/u; by its Taylor series near 0, where the difference cancels."""
    small = np.abs(u) < 0.3
    near, series, term = np.where(small, u, 0.0), 0.0, 1.0
    for n in range(12):
        series = series + term / (n + 2)
        term = term * near / (n + 1)
    safe = np.where(small, 1.0, u)
    return np.where(small, series, (safe * np.exp(safe) - np.expm1(safe)) / safe**2)


def _log_ratios(inputs: Inputs, reference: Reference, names: tuple[str, ...]) -> list[NDArray]:
    return [np.log(inputs[name] / reference[name]) for name in names]


def _chinchilla(theta: NDArray, inputs: Inputs, reference: Reference) -> tuple[NDArray, NDArray]:
    """E + A (N/N0)^-alpha + B (D/D0)^-beta; falls with N and with D, towards E."""
    e, log_a, alpha, log_b, beta = theta
    n, d = _log_ratios(inputs, reference, ("n_params", "adapt_tokens"))
    size = np.exp(log_a - alpha * n)
    data = np.exp(log_b - beta * d)
    columns = [np.ones_like(size), size, -n * size, data, -d * data]
    return e + size + data, np.stack(columns, axis=-1)


def _adaptation(
    theta: NDArray, inputs: Inputs, reference: Reference, gate: bool, floor: bool
) -> tuple[NDArray, NDArray]:
    """The family of DCPT, gate and floor; see `EQUATION` in its parts.

    Falls with N and with D. For N, D -> infinity it tends to E + S g(share) + floor(P). With the
    gate, delta < 0 says that pre-training lowers the D term. With the floor, G > 0 says that it
    lowers the loss at any D, by G/kappa in the end.
    """
    e, log_a, alpha, log_b, eta, beta, log_s, gamma, log_eps, *rest = theta
    n, d, s = _log_ratios(inputs, reference, ("n_params", "adapt_tokens", "share"))
    exponent = log_b + eta * s - beta * d
    if gate or floor:
        (p,) = _log_ratios(inputs, reference, ("ptpp",))
    if gate:
        exponent = exponent + rest[0] * p
    size, data = np.exp(log_a - alpha * n), np.exp(exponent)
    eps, amplitude = np.exp(log_eps), np.exp(log_s)
    share, share0 = inputs["share"], reference["share"]
    x = np.log((share + eps) / (share0 + eps))
    g_x, dg_dgamma = _g_of_log(x, gamma)
    dx_deps = 1 / (share + eps) - 1 / (share0 + eps)
    value = e + size + data + amplitude * g_x
    columns = [
        np.ones_like(size),
        size,
        -n * size,
        data,
        s * data,
        -d * data,
        amplitude * g_x,
        amplitude * dg_dgamma,
        -amplitude * np.exp(-gamma * x) * dx_deps * eps,
    ]
    if gate:
        columns.append(p * data)
    if floor:
        depth, kappa = rest[-2:]
        g_p, dg_dkappa = _g_of_log(p, kappa)
        value = value + depth * g_p
        columns += [g_p, depth * dg_dkappa]
    return value, np.stack(columns, axis=-1)


def _forgetting(theta: NDArray, inputs: Inputs, reference: Reference) -> tuple[NDArray, NDArray]:
    """Forgetting of a base domain: damage + re-warming - continued pre-training.

    The damage is zero at r = 1 and at A = 0, grows with A, falls with r (K, nu > 0) and with N
    (d > 0). The gain is what a power law of loss in P gives for r A more base tokens per parameter;
    it is zero at r = 0 and at A = 0. At A = 0 the value is W.
    """
    log_f, d, q, log_k, nu, mu, w, log_v, chi = theta
    n, p = _log_ratios(inputs, reference, ("n_params", "ptpp"))
    r, atpp, ptpp = inputs["replay"], inputs["atpp"], inputs["ptpp"]
    k_r = np.exp(log_k) * r
    growth, dgrowth = _g_of_log(np.log1p(atpp / reference["atpp"]), mu)
    scale = np.exp(log_f - d * n + q * p - nu * np.log1p(k_r)) * (1 - r)
    damage = -scale * growth
    now, dnow = _g_of_log(p, chi)
    later, dlater = _g_of_log(np.log((ptpp + r * atpp) / reference["ptpp"]), chi)
    v = np.exp(log_v)
    gain = v * (now - later)
    columns = [
        damage,
        -n * damage,
        p * damage,
        -nu * k_r / (1 + k_r) * damage,
        -np.log1p(k_r) * damage,
        -scale * dgrowth,
        np.ones_like(damage),
        -gain,
        -v * (dnow - dlater),
    ]
    return damage + w - gain, np.stack(columns, axis=-1)


def _nats(name: str, meaning: str, low: float = 1e-6, needs=None) -> Parameter:
    return Parameter(name, low, 100.0, "log", "nats", meaning, amplitude=True, needs=needs)


def _exponent(name: str, low: float, high: float, meaning: str, needs=None) -> Parameter:
    return Parameter(name, low, high, "linear", "1", meaning, needs=needs)


_E = Parameter(
    "E", 0.0, 100.0, "linear", "nats", "loss that neither N nor D lowers", amplitude=True
)
_A = _nats("A", "part of the loss at the reference that a larger model lowers")
_ALPHA = _exponent("alpha", 0.02, 1.2, "exponent of model size", ("n_params", 3))
_B = _nats("B", "part of the loss at the reference that more tokens lower")
_BETA = _exponent("beta", 0.02, 1.2, "exponent of tokens", ("adapt_tokens", 3))

_DCPT = (
    _E,
    _A,
    _ALPHA,
    _B,
    _exponent("eta", -1.0, 2.0, "exponent of the target share in the D term", ("share", 2)),
    _BETA,
    _nats("S", "slope of the loss in minus log target share, at the reference"),
    _exponent("gamma", 0.02, 2.0, "curvature in the target share", ("share", 3)),
    Parameter(
        "eps",
        0.005,
        0.5,
        "log",
        "1",
        "keeps the share term finite at share 0",
        fixed=0.05,
        free_below=("share", 0.1),
        needs=("share", 4),
    ),
)
_GATE = (_exponent("delta", -0.6, 0.6, "exponent of PTPP in the D term", ("ptpp", 2)),)
_FLOOR = (
    Parameter(
        "G",
        -5.0,
        5.0,
        "linear",
        "nats",
        "slope of the floor in minus log PTPP, at the reference",
        amplitude=True,
        needs=("ptpp", 2),
    ),
    _exponent("kappa", 0.05, 1.5, "curvature of the floor in PTPP", ("ptpp", 3)),
)
_SHARES = ("n_params", "share", "adapt_tokens")
_ALL = ("n_params", "ptpp", "share", "adapt_tokens")

_EQUATION = (
    "L = E + A (N/N0)^-alpha + B (s/s0)^eta (D/D0)^-beta{gate}"
    " + S g((s+eps)/(s0+eps), gamma){floor},  g(x,k) = (x^-k - 1)/k"
)
_OURS = (
    "name and idea: PTPP-aware adaptation scaling laws, whose equations are not public to us; "
    "equation: ours"
)

_ZOO = (
    Law(
        name="chinchilla",
        title="Chinchilla",
        equation="L = E + A (N/N0)^-alpha + B (D/D0)^-beta",
        source="Hoffmann et al. 2022, arXiv 2203.15556, centred at a reference point",
        inputs=("n_params", "adapt_tokens"),
        centred=("n_params", "adapt_tokens"),
        parameters=(_E, _A, _ALPHA, _B, _BETA),
        function=_chinchilla,
    ),
    Law(
        name="dcpt",
        title="D-CPT baseline",
        equation=_EQUATION.format(gate="", floor=""),
        source="D-CPT law, arXiv 2406.01375, with the share term centred (ours)",
        inputs=_SHARES,
        centred=_SHARES,
        parameters=_DCPT,
        function=partial(_adaptation, gate=False, floor=False),
    ),
    Law(
        name="floor",
        title="PTPP floor",
        equation=_EQUATION.format(gate="", floor=" + G g(P/P0, kappa)"),
        source=_OURS,
        inputs=_ALL,
        centred=_ALL,
        parameters=_DCPT + _FLOOR,
        function=partial(_adaptation, gate=False, floor=True),
    ),
    Law(
        name="gated",
        title="PTPP gate",
        equation=_EQUATION.format(gate=" (P/P0)^delta", floor=""),
        source=_OURS,
        inputs=_ALL,
        centred=_ALL,
        parameters=_DCPT + _GATE,
        function=partial(_adaptation, gate=True, floor=False),
    ),
    Law(
        name="gated_floor",
        title="PTPP gate and floor",
        equation=_EQUATION.format(gate=" (P/P0)^delta", floor=" + G g(P/P0, kappa)"),
        source=_OURS,
        inputs=_ALL,
        centred=_ALL,
        parameters=_DCPT + _GATE + _FLOOR,
        function=partial(_adaptation, gate=True, floor=True),
    ),
    Law(
        name="forgetting",
        title="Forgetting of a base domain",
        equation=(
            "dL = F (N/N0)^-d (P/P0)^q (1-r) (1+K r)^-nu (-g(1+A/A0, mu)) + W"
            " - V [g(P/P0, chi) - g((P+r A)/P0, chi)]"
        ),
        source="ours, after Bethune et al. 2025, arXiv 2502.06042",
        inputs=("n_params", "ptpp", "replay", "atpp"),
        centred=("n_params", "ptpp", "atpp"),
        parameters=(
            _nats("F", "scale of the damage at the reference, without replay"),
            _exponent("d", -1.0, 1.5, "exponent of model size in the damage", ("n_params", 2)),
            _exponent("q", -1.5, 1.5, "exponent of PTPP in the damage", ("ptpp", 2)),
            Parameter(
                "K", 0.1, 1e4, "log", "1", "how little replay already protects", needs=("replay", 3)
            ),
            _exponent("nu", 0.02, 5.0, "exponent of the protection by replay", ("replay", 3)),
            _exponent(
                "mu",
                -1.5,
                3.0,
                "growth in A: saturates above 0, log at 0, power below",
                ("atpp", 3),
            ),
            Parameter(
                "W", -2.0, 2.0, "linear", "nats", "cost of re-warming the rate", amplitude=True
            ),
            _nats("V", "slope of the base loss in minus log PTPP, at the reference"),
            _exponent("chi", 0.02, 1.2, "curvature of the base loss in PTPP", ("ptpp", 2)),
        ),
        function=_forgetting,
        offset="zero_shot_loss",
    ),
)

LAWS: Mapping[str, Law] = {law.name: law for law in _ZOO}


def get_law(name: str) -> Law:
    """A law of the zoo by name; raises InputError that lists the names."""
    if name not in LAWS:
        raise InputError(f"law: {name!r} is not known; accepted are {', '.join(LAWS)}")
    return LAWS[name]
