"""The zoo of laws: one entry per law, with its formula, parameters, limits and source.

Inputs are centred at a reference point (geometric means of the fit rows), so that amplitudes are
nats at the reference and exponents hardly correlate with them. Jacobians follow from the formulas,
see `ptpp.laws.dual`. `limits` are for the others held at finite values above 0: A -> 0 (with
D = A N), D -> inf, P -> inf, r -> 0, r -> 1.
"""

from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptpp.errors import InputError
from ptpp.laws.dual import Operand, exp, g_of_log, log, log1p
from ptpp.laws.law import Inputs, Law, Parameter, Point, Reference

__all__ = ["LAWS", "Inputs", "Law", "Parameter", "Reference", "g", "get_law"]


def g(x: ArrayLike, k: float) -> NDArray:
    """(x^-k - 1)/k, whose limit for k -> 0 is -ln x; falls with x, is 0 at x = 1."""
    return g_of_log(np.log(x), k)


# Terms that several laws share. `p` holds the parameters, `x` the inputs.


def _size_term(p: SimpleNamespace, x: Point) -> Operand:
    return p.A * exp(-p.alpha * x.log("n_params"))


def _data_term(p: SimpleNamespace, x: Point, gate: Operand = 0.0) -> Operand:
    """The D term with its share factor; `gate` is the logarithm of a further factor."""
    return p.B * exp(p.eta * x.log("share") - p.beta * x.log("adapt_tokens") + gate)


def _mix_term(p: SimpleNamespace, x: Point) -> Operand:
    return p.S * g_of_log(log((x["share"] + p.eps) / (x.reference["share"] + p.eps)), p.gamma)


def _floor_term(p: SimpleNamespace, x: Point) -> Operand:
    return p.G * g_of_log(x.log("ptpp"), p.kappa)


def _chinchilla(p: SimpleNamespace, x: Point) -> Operand:
    return p.E + _size_term(p, x) + p.B * exp(-p.beta * x.log("adapt_tokens"))


def _dcpt(p: SimpleNamespace, x: Point) -> Operand:
    return p.E + _size_term(p, x) + _data_term(p, x) + _mix_term(p, x)


def _floor(p: SimpleNamespace, x: Point) -> Operand:
    return _dcpt(p, x) + _floor_term(p, x)


def _gated(p: SimpleNamespace, x: Point) -> Operand:
    gate = p.delta * x.log("ptpp")
    return p.E + _size_term(p, x) + _data_term(p, x, gate) + _mix_term(p, x)


def _gated_floor(p: SimpleNamespace, x: Point) -> Operand:
    return _gated(p, x) + _floor_term(p, x)


def _exponent_gate(p: SimpleNamespace, x: Point) -> Operand:
    gate = p.delta * x.log("ptpp") + p.omega * (x.log("ptpp") * x.log("adapt_tokens"))
    return p.E + _size_term(p, x) + _data_term(p, x, gate) + _mix_term(p, x)


def _transfer_offset(p: SimpleNamespace, x: Point) -> Operand:
    worth = p.tau * exp(p.pi * x.log("ptpp")) * x["n_params"]
    tokens = (x["share"] * x["adapt_tokens"] + worth) / x.reference["adapt_tokens"]
    return p.E + _size_term(p, x) + p.B * exp(-p.beta * log(tokens))


def _saturating_gate(p: SimpleNamespace, x: Point) -> Operand:
    gate = p.g_inf + (1 - p.g_inf) * exp(-p.kappa * x.log("ptpp"))
    return p.E + _size_term(p, x) + _data_term(p, x) * gate + _mix_term(p, x)


def _checkpoint_informed(p: SimpleNamespace, x: Point) -> Operand:
    return _dcpt(p, x) + p.lam * (x["base_loss"] - x.reference["base_loss"])


def _forgetting(p: SimpleNamespace, x: Point) -> Operand:
    """Damage by target text + cost of re-warming - gain of continued pre-training."""
    n, t = x.log("n_params"), x.log("ptpp")
    r, atpp, ptpp = x["replay"], x["atpp"], x["ptpp"]
    growth = -g_of_log(np.log1p(atpp / x.reference["atpp"]), p.mu)
    protection = exp(-p.nu * log1p(p.K * r))
    damage = p.F * exp(p.q * t - p.d * n) * (1 - r) * protection * growth
    later = np.log((ptpp + r * atpp) / x.reference["ptpp"])
    return damage + p.W - p.V * (g_of_log(t, p.chi) - g_of_log(later, p.chi))


def _nats(name: str, meaning: str, needs=None) -> Parameter:
    return Parameter(name, 1e-6, 100.0, "log", "nats", meaning, amplitude="linear", needs=needs)


def _exponent(name: str, low: float, high: float, meaning: str, needs=None) -> Parameter:
    return Parameter(name, low, high, "linear", "1", meaning, needs=needs)


_E = Parameter(
    "E", 0.0, 100.0, "linear", "nats", "loss that neither N nor D lowers", amplitude="linear"
)
_A = _nats("A", "part of the loss at the reference that a larger model lowers")
_ALPHA = _exponent("alpha", 0.02, 1.2, "exponent of model size", ("n_params", 3))
_B = _nats("B", "part of the loss at the reference that more tokens lower")
_BETA = _exponent("beta", 0.02, 1.2, "exponent of tokens", ("adapt_tokens", 3))
_CHINCHILLA = (_E, _A, _ALPHA, _B, _BETA)
_EPS = Parameter(
    name="eps",
    low=0.005,
    high=0.5,
    scale="log",
    unit="1",
    meaning="keeps the share term finite at share 0",
    fixed=0.05,
    free_below=("share", 0.1),
    needs=("share", 4),
)
_DCPT = (
    _E,
    _A,
    _ALPHA,
    _B,
    _exponent("eta", -1.0, 2.0, "exponent of the target share in the D term", ("share", 2)),
    _BETA,
    _nats("S", "slope of the loss in minus log target share, at the reference"),
    _exponent("gamma", 0.02, 2.0, "curvature in the target share", ("share", 3)),
    _EPS,
)
_DELTA = _exponent("delta", -0.6, 0.6, "exponent of PTPP in the D term", ("ptpp", 2))
_FLOOR = (
    Parameter(
        name="G",
        low=-5.0,
        high=5.0,
        scale="linear",
        unit="nats",
        meaning="slope of the floor in minus log PTPP, at the reference",
        amplitude="linear",
        needs=("ptpp", 2),
    ),
    Parameter(
        name="kappa",
        low=0.05,
        high=1.5,
        scale="linear",
        unit="1",
        meaning="curvature of the floor in PTPP",
        needs=("ptpp", 3),
        band=(0.15, 0.7),
    ),
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
_FALLS = {"n_params": "falls", "adapt_tokens": "falls"}
_INFINITE = "infinite: the law does not describe the checkpoint before adaptation"
_R0 = "finite, at s = 1"
_R1 = "S g(eps/(s0+eps), gamma) stays finite; the D term vanishes (eta > 0) or diverges (eta < 0)"
_NO_P = "unchanged: P is no input"
_REST = "E + A (N/N0)^-alpha + S g((s+eps)/(s0+eps), gamma)"
_FLOOR_LIMIT = "L - G/kappa, L as of P0: the floor falls (G > 0) or rises (G < 0) to a finite value"
_FLOOR_MONOTONE = {"ptpp": "falls if G > 0, rises if G < 0"}
_GATE_LIMIT = "the D term vanishes (delta < 0) or diverges (delta > 0)"
_GATE_MONOTONE = {"ptpp": "falls if delta < 0, rises if delta > 0"}


def _limits(*values: str) -> dict[str, str]:
    return dict(zip(("A -> 0", "D -> inf", "P -> inf", "r -> 0", "r -> 1"), values, strict=True))


_ZOO = (
    Law(
        name="chinchilla",
        title="Chinchilla",
        equation="L = E + A (N/N0)^-alpha + B (D/D0)^-beta",
        source="Hoffmann et al. 2022, arXiv 2203.15556, centred at a reference point",
        inputs=("n_params", "adapt_tokens"),
        centred=("n_params", "adapt_tokens"),
        parameters=_CHINCHILLA,
        formula=_chinchilla,
        limits=_limits(
            _INFINITE, "E + A (N/N0)^-alpha", _NO_P, "unchanged: r is no input", "unchanged"
        ),
        monotone=_FALLS,
    ),
    Law(
        name="dcpt",
        title="D-CPT baseline",
        equation=_EQUATION.format(gate="", floor=""),
        source="D-CPT law, arXiv 2406.01375, with the share term centred (ours)",
        inputs=_SHARES,
        centred=_SHARES,
        parameters=_DCPT,
        formula=_dcpt,
        limits=_limits(_INFINITE, _REST, _NO_P, _R0, _R1),
        monotone={**_FALLS, "share": "falls if eta <= 0"},
    ),
    Law(
        name="floor",
        title="PTPP floor",
        equation=_EQUATION.format(gate="", floor=" + G g(P/P0, kappa)"),
        source=_OURS,
        inputs=_ALL,
        centred=_ALL,
        parameters=_DCPT + _FLOOR,
        formula=_floor,
        limits=_limits(_INFINITE, _REST + " + G g(P/P0, kappa)", _FLOOR_LIMIT, _R0, _R1),
        monotone={**_FALLS, **_FLOOR_MONOTONE, "share": "falls if eta <= 0"},
    ),
    Law(
        name="gated",
        title="PTPP gate",
        equation=_EQUATION.format(gate=" (P/P0)^delta", floor=""),
        source=_OURS,
        inputs=_ALL,
        centred=_ALL,
        parameters=(*_DCPT, _DELTA),
        formula=_gated,
        limits=_limits(_INFINITE, _REST, _GATE_LIMIT, _R0, _R1),
        monotone={**_FALLS, **_GATE_MONOTONE, "share": "falls if eta <= 0"},
    ),
    Law(
        name="gated_floor",
        title="PTPP gate and floor",
        equation=_EQUATION.format(gate=" (P/P0)^delta", floor=" + G g(P/P0, kappa)"),
        source=_OURS,
        inputs=_ALL,
        centred=_ALL,
        parameters=(*_DCPT, _DELTA, *_FLOOR),
        formula=_gated_floor,
        limits=_limits(
            _INFINITE,
            _REST + " + G g(P/P0, kappa)",
            f"{_GATE_LIMIT}; the floor tends to -G/kappa",
            _R0,
            _R1,
        ),
        monotone={
            **_FALLS,
            "ptpp": "falls if delta <= 0 <= G, rises if delta >= 0 >= G",
            "share": "falls if eta <= 0",
        },
    ),
    Law(
        name="exponent_gate",
        title="PTPP in the exponent",
        equation=(
            "L = E + A (N/N0)^-alpha + B (s/s0)^eta (P/P0)^delta"
            " (D/D0)^-(beta - omega ln(P/P0)) + S g((s+eps)/(s0+eps), gamma)"
        ),
        source=(
            "D term: Liew & Kato 2025, arXiv 2510.06548 (its D1 replaced by P, centred); "
            "size and share terms as in dcpt: ours"
        ),
        inputs=_ALL,
        centred=_ALL,
        parameters=(
            *_DCPT,
            _DELTA,
            _exponent("omega", -0.3, 0.3, "loss of the exponent of D per log PTPP", ("ptpp", 2)),
        ),
        formula=_exponent_gate,
        limits=_limits(
            _INFINITE + ", where beta > omega ln(P/P0)",
            _REST + ", where beta > omega ln(P/P0); infinite where it is less",
            "at D > D0 the D term vanishes (omega < 0) or diverges (omega > 0)",
            _R0,
            _R1,
        ),
        monotone={
            "n_params": "falls",
            "adapt_tokens": "falls where beta > omega ln(P/P0), rises where it is less",
            "ptpp": "falls where delta + omega ln(D/D0) < 0",
            "share": "falls if eta <= 0",
        },
    ),
    Law(
        name="transfer_offset",
        title="Pre-training as target tokens",
        equation="L = E + A (N/N0)^-alpha + B ((s D + tau N (P/P0)^pi)/D0)^-beta",
        source="ours, after the effective data of Hernandez et al. 2021, arXiv 2102.01293",
        inputs=_ALL,
        centred=("n_params", "ptpp", "adapt_tokens"),
        may_be_zero=("adapt_tokens",),
        zero_shot=True,
        parameters=(
            *_CHINCHILLA,
            Parameter(
                name="tau",
                low=1e-4,
                high=1e4,
                scale="log",
                unit="tokens per parameter",
                meaning="target tokens that pre-training is worth, at P0",
                needs=("adapt_tokens", 4),
            ),
            _exponent("pi", -1.0, 2.0, "exponent of PTPP in that worth", ("ptpp", 2)),
        ),
        formula=_transfer_offset,
        limits=_limits(
            "finite, the loss before adaptation, whatever r: "
            "E + A (N/N0)^-alpha + B (tau N (P/P0)^pi/D0)^-beta",
            "E + A (N/N0)^-alpha (s > 0)",
            "E + A (N/N0)^-alpha (pi > 0), or the law without the offset (pi < 0)",
            _R0,
            "the loss before adaptation",
        ),
        monotone={
            **_FALLS,
            "share": "falls",
            "ptpp": "falls if pi > 0, rises if pi < 0",
        },
    ),
    Law(
        name="saturating_gate",
        title="Saturating PTPP gate",
        equation=_EQUATION.format(gate=" (g_inf + (1-g_inf) (P/P0)^-kappa)", floor=""),
        source="ours",
        inputs=_ALL,
        centred=_ALL,
        parameters=(
            *_DCPT,
            Parameter(
                name="g_inf",
                low=0.0,
                high=1.0,
                scale="linear",
                unit="1",
                meaning="share of the D term that no pre-training removes",
                needs=("ptpp", 3),
            ),
            _exponent("kappa", 0.05, 1.5, "how fast the gate saturates in PTPP", ("ptpp", 3)),
        ),
        formula=_saturating_gate,
        limits=_limits(_INFINITE, _REST, "finite: the gate tends to g_inf", _R0, _R1),
        monotone={**_FALLS, "ptpp": "falls", "share": "falls if eta <= 0"},
    ),
    Law(
        name="checkpoint_informed",
        title="Checkpoint-informed",
        equation=(
            "L = E + lam (L_base - L_base0) + A (N/N0)^-alpha + B (s/s0)^eta (D/D0)^-beta"
            " + S g((s+eps)/(s0+eps), gamma)"
        ),
        source="ours",
        inputs=("n_params", "share", "adapt_tokens", "base_loss"),
        centred=("n_params", "share", "adapt_tokens", "base_loss"),
        parameters=(
            *_DCPT,
            Parameter(
                name="lam",
                low=-5.0,
                high=5.0,
                scale="linear",
                unit="1",
                meaning="target loss per nat of the checkpoint's base loss before adaptation",
                amplitude="linear",
                needs=("base_loss", 2),
            ),
        ),
        formula=_checkpoint_informed,
        limits=_limits(
            _INFINITE,
            _REST + " + lam (L_base - L_base0)",
            "that of base_loss, which is finite: P acts through it alone",
            _R0,
            _R1,
        ),
        monotone={
            **_FALLS,
            "base_loss": "rises if lam > 0, falls if lam < 0",
            "share": "falls if eta <= 0",
        },
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
                name="K",
                low=0.1,
                high=1e4,
                scale="log",
                unit="1",
                meaning="how little replay already protects",
                needs=("replay", 3),
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
                "W", -2.0, 2.0, "linear", "nats", "cost of re-warming the rate", amplitude="linear"
            ),
            _nats("V", "slope of the base loss in minus log PTPP, at the reference"),
            _exponent("chi", 0.02, 1.2, "curvature of the base loss in PTPP", ("ptpp", 2)),
        ),
        formula=_forgetting,
        offset="zero_shot_loss",
        limits=_limits(
            "W",
            "A -> inf at fixed N: damage F/mu (...) if mu > 0, infinite if mu <= 0 (r < 1)",
            "the gain vanishes; the damage vanishes (q < 0) or diverges (q > 0)",
            "no gain: damage + W",
            "no damage: W - gain",
        ),
        monotone={"replay": "falls", "atpp": "rises at r = 0, falls at r = 1"},
    ),
)

LAWS: Mapping[str, Law] = {law.name: law for law in _ZOO}


def get_law(name: str) -> Law:
    """A law of the zoo by name; raises InputError that lists the names."""
    if name not in LAWS:
        raise InputError(f"law: {name!r} is not known; accepted are {', '.join(LAWS)}")
    return LAWS[name]
