"""The zoo of laws: one entry per law, with its formula, parameters and source.

Inputs are centred at a reference point (geometric means of the fit rows), so that amplitudes are
nats at the reference and exponents hardly correlate with them. Jacobians follow from the formulas,
see `ptpp.laws.dual`. How each law behaves at its limits: docs/laws.md.
"""

import difflib
from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptpp.errors import InputError
from ptpp.laws.dual import Operand, exp, g_of_log, log
from ptpp.laws.law import Law, Parameter, Point


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


def _mixed(p: SimpleNamespace, x: Point, data: Operand) -> Operand:
    return p.E + _size_term(p, x) + data + _mix_term(p, x)


def _tied(p: SimpleNamespace, x: Point) -> Operand:
    return p.E + _size_term(p, x) + p.B * exp(-p.alpha * x.log("adapt_tokens"))


def _floor_tokens(p: SimpleNamespace, x: Point) -> Operand:
    tokens = x.log("ptpp") + x.log("n_params")  # P N over its reference
    return _dcpt(p, x) + p.G * g_of_log(tokens, p.kappa)


def _transfer_state(p: SimpleNamespace, x: Point) -> Operand:
    tokens = (x["share"] * x["adapt_tokens"] + p.tau * x["n_params"]) / x.reference["adapt_tokens"]
    bracket = p.E + _size_term(p, x) + p.B * exp(-p.beta * log(tokens)) + _mix_term(p, x)
    return bracket * _state(p, x)


def _dcpt(p: SimpleNamespace, x: Point) -> Operand:
    return _mixed(p, x, _data_term(p, x))


def _gated(p: SimpleNamespace, x: Point) -> Operand:
    return _mixed(p, x, _data_term(p, x, p.delta * x.log("ptpp")))


def _exponent_gate(p: SimpleNamespace, x: Point) -> Operand:
    gate = p.delta * x.log("ptpp") + p.omega * (x.log("ptpp") * x.log("adapt_tokens"))
    return _mixed(p, x, _data_term(p, x, gate))


def _state(p: SimpleNamespace, x: Point) -> Operand:
    return exp(p.lam * (x["base_loss"] - x.reference["base_loss"]))


def _data_share(p: SimpleNamespace, x: Point) -> Operand:
    return exp(p.eta * x.log("share") - p.beta * x.log("adapt_tokens"))


def _transfer_offset(p: SimpleNamespace, x: Point) -> Operand:
    worth = p.tau * exp(p.pi * x.log("ptpp")) * x["n_params"]
    tokens = (x["share"] * x["adapt_tokens"] + worth) / x.reference["adapt_tokens"]
    return p.E + _size_term(p, x) + p.B * exp(-p.beta * log(tokens))


def _saturating_gate(p: SimpleNamespace, x: Point) -> Operand:
    gate = p.g_inf + (1 - p.g_inf) * exp(-p.kappa * x.log("ptpp"))
    return _mixed(p, x, _data_term(p, x) * gate)


def _change(x: Point) -> NDArray:
    """The checkpoint's own loss before adaptation minus its reference value, nats."""
    return x["zero_shot_loss"] - x.reference["zero_shot_loss"]


def _forgetting(p: SimpleNamespace, x: Point) -> Operand:
    """Cost of re-warming - gain of continued pre-training + damage that replay limits."""
    r, u = x["replay"], _change(x)
    scale = exp(-p.b * x.log("atpp") - p.d * x.log("n_params") - p.q * u)
    gain = p.V * np.log1p(r * x["atpp"] / x["ptpp"])
    return p.W - p.w * u - gain + p.S * g_of_log(np.log(r), p.gamma) * scale


def _forgetting_without_replay(p: SimpleNamespace, x: Point) -> Operand:
    """Cost of re-warming + damage that grows with the tokens."""
    return p.W + p.F * exp(p.m * x.log("atpp") - p.d * x.log("n_params") - p.q * _change(x))


def _nats(name: str, meaning: str, low: float = 1e-6, high: float = 100.0, **more) -> Parameter:
    scale = "log" if low > 0 else "linear"
    return Parameter(name, low, high, scale, "nats", meaning, "linear", **more)


def _number(name: str, low: float, high: float, meaning: str, needs=None, **more) -> Parameter:
    return Parameter(name, low, high, "linear", "1", meaning, needs=needs, **more)


def _positive(name: str, low: float, high: float, unit: str, meaning: str, **more) -> Parameter:
    return Parameter(name, low, high, "log", unit, meaning, **more)


_E = _nats("E", "loss that neither N nor D lowers", low=0.0)
_N = {"goes_with": "n_params"}
_D = {"goes_with": "adapt_tokens"}
_SHARE = {"goes_with": "share"}
_REPLAY, _ATPP = {"goes_with": "replay"}, {"goes_with": "atpp"}
_A = _nats("A", "part of the loss at the reference that a larger model lowers", **_N)
_ALPHA = _number("alpha", 0.02, 1.2, "exponent of model size", ("n_params", 3), **_N)
_B = _nats("B", "part of the loss at the reference that more tokens lower", **_D)
_BETA = _number("beta", 0.02, 1.2, "exponent of tokens", ("adapt_tokens", 3), **_D)
_CHINCHILLA = (_E, _A, _ALPHA, _B, _BETA)
_ETA = _number(
    *("eta", -1.0, 2.0, "exponent of the target share in the D term", ("share", 2)),
    **{**_SHARE, "without": 0.0},
)
_S = _nats("S", "slope of the loss in minus log target share, at the reference", **_SHARE)
_GAMMA = _number("gamma", 0.02, 2.0, "curvature in the target share", ("share", 3), **_SHARE)
_EPS = _positive(
    *("eps", 0.005, 0.5, "1", "keeps the share term finite at share 0"),
    **{"fixed": 0.05, "free_below": ("share", 0.1), "needs": ("share", 4), **_SHARE},
)
_DCPT = (_E, _A, _ALPHA, _B, _ETA, _BETA, _S, _GAMMA, _EPS)
_DELTA = _number("delta", -0.6, 0.6, "exponent of PTPP in the D term", ("ptpp", 2))
_OMEGA = _number(
    "omega", -0.3, 0.3, "loss of the exponent of D per log PTPP", ("ptpp", 2), without=0.0, **_D
)
_SLOPE = "slope of the floor in minus log PTPP, at the reference"
_FLOOR = (
    _nats("G", _SLOPE, -5.0, 5.0, needs=("ptpp", 2)),
    _number(
        *("kappa", 0.05, 1.5, "curvature of the floor in PTPP", ("ptpp", 3)),
        **{"band": (0.05, 1.5), "prior": 0.4},
    ),
)
_SATURATION = (
    _number("g_inf", 0.0, 1.0, "share of the D term that no pre-training removes", ("ptpp", 3)),
    _number("kappa", 0.05, 1.5, "how fast the gate saturates in PTPP", ("ptpp", 3)),
)
_WORTH = "target tokens that pre-training is worth, at P0"
_TRANSFER = (
    _positive("tau", 1e-4, 1e4, "tokens per parameter", _WORTH, needs=("adapt_tokens", 4)),
    _number("pi", -1.0, 2.0, "exponent of PTPP in that worth", ("ptpp", 2)),
)
_LAM = _number(
    *("lam", -5.0, 5.0, "target loss per nat of the checkpoint's base loss", ("base_loss", 2)),
    amplitude="linear",
)
_STATE = (
    _number(
        "lam", -2.0, 3.0, "log of the loss per nat of the checkpoint's base loss", ("base_loss", 2)
    ),
)
_REWARMING = _nats("W", "cost of re-warming the rate", -2.0, 2.0)
_DAMAGE = (
    _number("d", -1.5, 1.5, "exponent of model size in the damage", ("n_params", 2), **_N),
    _number(
        *("q", -3.0, 3.0, "fall of the log damage per nat of the loss before adaptation"),
        ("zero_shot_loss", 2),
    ),
)
_FORGETTING = (
    _REWARMING,
    _number(
        *("w", -3.0, 3.0, "what a checkpoint gains per nat of its loss before adaptation"),
        *(("zero_shot_loss", 2),),
        amplitude="linear",
    ),
    _nats("V", "gain per log of the base tokens read, over those before", 0.0, 5.0),
    _nats("S", "slope of the damage in minus log replay, at the reference", high=20.0),
    _number("gamma", -1.0, 2.0, "curvature of the damage in replay", ("replay", 3), **_REPLAY),
    _number("b", -1.0, 1.0, "exponent of minus tokens in the damage", ("atpp", 2), **_ATPP),
    *_DAMAGE,
)
_WITHOUT_REPLAY = (
    _REWARMING,
    _nats("F", "damage at the reference", high=20.0),
    *_DAMAGE,
    _number("m", -1.0, 2.0, "exponent of tokens in the damage", ("atpp", 3), **_ATPP),
)

_K = _nats("K", "loss at the reference")
_MIX_SLOPE = _number(
    *("S", 1e-6, 10.0, "slope of the loss in minus log target share, as a share of K"), **_SHARE
)

_SHARES = ("n_params", "share", "adapt_tokens")
_ALL = ("n_params", "ptpp", "share", "adapt_tokens")
_SIZE = "A (N/N0)^-alpha"
_MIX = "S g((s+eps)/(s0+eps), gamma)"
_PTPP_FLOOR = " + G g(P/P0, kappa)"
_OURS = (
    "name and idea: PTPP-aware adaptation scaling laws, whose equations are not public to us; "
    "equation: ours"
)


def _equation(gate: str = "", floor: str = "") -> str:
    data = f"B (s/s0)^eta (D/D0)^-beta{gate}"
    return f"L = E + {_SIZE} + {data} + {_MIX}{floor},  g(x,k) = (x^-k - 1)/k"


def _law(name, title, equation, source, inputs, parameters, formula, **more) -> Law:
    """A law whose inputs are all centred unless `centred` says otherwise."""
    centred = more.pop("centred", inputs)
    return Law(name, title, equation, source, inputs, centred, parameters, formula, **more)


_ZOO = (
    _law(
        *("chinchilla", "Chinchilla", f"L = E + {_SIZE} + B (D/D0)^-beta"),
        "Hoffmann et al. 2022, arXiv 2203.15556, centred at a reference point",
        *(("n_params", "adapt_tokens"), _CHINCHILLA, _chinchilla),
    ),
    _law(
        *("tied", "Chinchilla, one exponent", f"L = E + {_SIZE} + B (D/D0)^-alpha"),
        "after Hoffmann et al. 2022, arXiv 2203.15556, one exponent for N and D",
        *(("n_params", "adapt_tokens"), (_E, _A, _ALPHA, _B), _tied),
    ),
    _law(
        *("dcpt", "D-CPT baseline", _equation()),
        "D-CPT law, arXiv 2406.01375, with the share term centred (ours)",
        *(_SHARES, _DCPT, _dcpt),
    ),
    _law(
        *("floor", "PTPP floor", _equation(floor=_PTPP_FLOOR), _OURS),
        *(_ALL, _DCPT + _FLOOR, lambda p, x: _dcpt(p, x) + _floor_term(p, x)),
    ),
    _law(
        *("floor_tokens", "Floor in pre-training tokens"),
        _equation(floor=" + G g(P N/(P0 N0), kappa)"),
        "ours: `floor` in total pre-training tokens",
        *(_ALL, _DCPT + _FLOOR, _floor_tokens),
    ),
    _law(
        *("gated", "PTPP gate", _equation(" (P/P0)^delta"), _OURS),
        *(_ALL, (*_DCPT, _DELTA), _gated),
    ),
    _law(
        *("gated_floor", "PTPP gate and floor", _equation(" (P/P0)^delta", _PTPP_FLOOR), _OURS),
        *(_ALL, (*_DCPT, _DELTA, *_FLOOR), lambda p, x: _gated(p, x) + _floor_term(p, x)),
    ),
    _law(
        *("exponent_gate", "PTPP in the exponent"),
        f"L = E + {_SIZE} + B (s/s0)^eta (P/P0)^delta (D/D0)^-(beta - omega ln(P/P0)) + {_MIX}",
        "D term: Liew & Kato 2025, arXiv 2510.06548 (its D1 replaced by P, centred); "
        "size and share terms as in dcpt: ours",
        *(_ALL, (*_DCPT, _DELTA, _OMEGA), _exponent_gate),
    ),
    _law(
        *("transfer_offset", "Pre-training as target tokens"),
        f"L = E + {_SIZE} + B ((s D + tau N (P/P0)^pi)/D0)^-beta",
        "ours, after the effective data of Hernandez et al. 2021, arXiv 2102.01293",
        *(_ALL, (*_CHINCHILLA, *_TRANSFER), _transfer_offset),
        centred=("n_params", "ptpp", "adapt_tokens"),
        may_be_zero=("adapt_tokens",),
        zero_shot=True,
    ),
    _law(
        *("saturating_gate", "Saturating PTPP gate"),
        *(_equation(" (g_inf + (1-g_inf) (P/P0)^-kappa)"), "ours"),
        *(_ALL, (*_DCPT, *_SATURATION), _saturating_gate),
    ),
    _law(
        *("checkpoint_informed", "Checkpoint-informed"),
        f"L = E + lam (L_base - L_base0) + {_SIZE} + B (s/s0)^eta (D/D0)^-beta + {_MIX}",
        *("ours", (*_SHARES, "base_loss"), (*_DCPT, _LAM)),
        lambda p, x: _dcpt(p, x) + p.lam * (x["base_loss"] - x.reference["base_loss"]),
    ),
    _law(
        *("state", "State of the checkpoint"),
        f"L = [E + {_SIZE} + B (s/s0)^eta (D/D0)^-beta + {_MIX}] exp(lam (L_base - L_base0))",
        *("ours", (*_SHARES, "base_loss"), (*_DCPT, *_STATE)),
        lambda p, x: _dcpt(p, x) * _state(p, x),
    ),
    _law(
        *("transfer_state", "State, and pre-training as target tokens"),
        f"L = [E + {_SIZE} + B ((s D + tau N)/D0)^-beta + {_MIX}] exp(lam (L_base - L_base0))",
        "ours: `transfer_offset` on `state`; finite without adaptation",
        *((*_SHARES, "base_loss"), (*_CHINCHILLA, _TRANSFER[0], _S, _GAMMA, _EPS, *_STATE)),
        _transfer_state,
        may_be_zero=("adapt_tokens",),
    ),
    _law(
        *("state_without_offset", "State of the checkpoint, beyond the measured sizes"),
        f"L = K [(s/s0)^eta (D/D0)^-beta + {_MIX}] exp(lam (L_base - L_base0))",
        "ours: `state` without the offset E and the size term, whose large-model limits small "
        "models cannot teach",
        *((*_SHARES, "base_loss"), (_K, _ETA, _BETA, _MIX_SLOPE, _GAMMA, _EPS, *_STATE)),
        lambda p, x: p.K * (_data_share(p, x) + _mix_term(p, x)) * _state(p, x),
        centred=("share", "adapt_tokens", "base_loss"),
    ),
    _law(
        *("forgetting", "Forgetting of a base domain, with replay"),
        "L = L0 + W - w (L0-L0r) - V ln(1+r A/P)"
        " + S g(r, gamma) (A/A0)^-b (N/N0)^-d exp(-q (L0-L0r)),  g(x,k) = (x^-k - 1)/k",
        *("ours", ("n_params", "ptpp", "replay", "atpp", "zero_shot_loss"), _FORGETTING),
        _forgetting,
        centred=("n_params", "atpp", "zero_shot_loss"),
        offset="zero_shot_loss",
        rows="with_replay",
    ),
    _law(
        *("forgetting_without_replay", "Forgetting of a base domain, without replay"),
        "L = L0 + W + F (N/N0)^-d exp(-q (L0-L0r)) (A/A0)^m",
        *("ours", ("n_params", "atpp", "zero_shot_loss"), _WITHOUT_REPLAY),
        _forgetting_without_replay,
        offset="zero_shot_loss",
        rows="without_replay",
    ),
)

LAWS: Mapping[str, Law] = {law.name: law for law in _ZOO}


def get_law(name: str) -> Law:
    """A law of the zoo by name; raises InputError that lists the names."""
    if name not in LAWS:
        near = difflib.get_close_matches(name.replace("-", "_").lower(), LAWS, n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(f"law: {name!r} is not known; accepted are {', '.join(LAWS)}{meant}")
    return LAWS[name]
