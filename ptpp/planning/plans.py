"""Plans: the best replay ratio and ATPP by point fits, and robustly by bootstrap draws.

Two goals. "least_compute": minimise 6 N (A N) over replay r and ATPP A, subject to target loss <=
its limit, forgetting of each base domain <= its limit, A <= max_atpp and compute <= max_flops.
"least_loss": the least target loss under the other limits. A robust plan meets all limits at once
in a share of the draws, `PlanRequest.confidence`; its least loss is the one kept in that share.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptpp.errors import InputError
from ptpp.laws.fitted import LEVEL, FittedLaw
from ptpp.planning.forecast import Forecast
from ptpp.planning.request import PlanRequest
from ptpp.planning.search import (
    BINDING,
    BROKEN,
    COARSE,
    EDGE,
    TOLERANCE,
    Mesh,
    Optimum,
    least_compute,
    least_value,
    quantile,
)

GOALS = ("least_compute", "least_loss")
_RELAXED_ATPP = 1e3  # how far beyond its limit ATPP is searched for what would make a plan feasible


@dataclass(frozen=True)
class Plan:
    """One plan, and how it came about.

    Losses and forgetting are predictions by the point fits, nats per token. When not `feasible`,
    (replay, atpp) is the point where the worst excess over a limit is least, and `shortfall` is
    that excess in nats; otherwise `shortfall` is 0. `extrapolated`: inputs outside the fitted rows'
    range. `target_loss_limit` is NaN where none was asked for, or where target_within was and no
    point meets the other limits.

    `binding`, of a point plan: the limits met with equality (feasible), or those that cannot be met
    together (infeasible). Of a robust plan: those that some draw misses here, since only they can
    keep the plan from being better, and the bounds of the search that it lies on.

    `base_loss`: the checkpoint's base loss [nats] and its source, for a target law that reads it.

    From draws (None or empty without them): `met`, the share of draws that meet all limits in nats
    at this point; `met_at_least`, a share that holds however target and forgetting errors depend on
    each other (Bonferroni's inequality), where `met` takes them as `forecast.paired` says; `missed`
    by limit, the share of draws that break it; `intervals`, from the 5 % to the 95 % quantile of
    the draws: of the predictions at this point and, of a point plan, of the best plan of each draw
    that has one; `feasible_draws`, the share that has one.
    """

    law: str
    protocol: str
    n_params: float
    ptpp: float
    replay: float
    atpp: float
    adapt_tokens: float
    flops: float
    target_loss: float
    target_loss_limit: float
    forgetting: Mapping[str, float]
    forgetting_limits: Mapping[str, float]
    feasible: bool
    binding: tuple[str, ...]
    shortfall: float
    extrapolated: tuple[str, ...]
    goal: str = "least_compute"
    base_loss: float | None = None
    base_loss_source: str = ""
    met: float | None = None
    met_at_least: float | None = None
    feasible_draws: float | None = None
    missed: Mapping[str, float] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class LawPlans:
    """The plans by one law for one goal: by its point fit and robustly by its draws."""

    request: PlanRequest
    target: FittedLaw
    forgetting: Mapping[str, FittedLaw]
    point: Plan
    robust: Plan
    lowest: Optimum | None

    def relaxations(self) -> dict[str, list["Relaxation"]]:
        """What would make the infeasible ones of the two feasible: by "point" or "robust"."""
        arguments = self.request, self.target, self.forgetting
        result = {}
        for kind, plan in (("point", self.point), ("robust", self.robust)):
            if not plan.feasible:
                robust = kind == "robust"
                lowest = self.lowest if robust else None
                result[kind] = relaxations(*arguments, robust=robust, goal=plan.goal, lowest=lowest)
        return result


@dataclass(frozen=True)
class Relaxation:
    """What would make an infeasible plan feasible, if all other limits stay.

    `limit`: its name. `asked`: what was asked for; `needed`: the tightest value that is feasible,
    NaN where this limit alone cannot make the plan so. Nats, tokens per parameter (max_atpp) or
    FLOPs (max_flops).
    """

    limit: str
    asked: float
    needed: float


def plan_law(
    request: PlanRequest,
    target: FittedLaw,
    forgetting: Mapping[str, FittedLaw],
    goal: str = "least_compute",
    lowest: Optimum | None = None,
) -> LawPlans:
    """The point plan of one law with what its draws say of it, and the robust plan.

    `lowest`: `least_losses` of the same request and fits, if known. Raises InputError as
    `make_robust_plan` does.
    """
    arguments = request, target, forgetting
    point = make_plan(*arguments, goal=goal)
    if lowest is None and (goal == "least_loss" or request.target_loss is None):
        lowest = least_losses(*arguments)
    return LawPlans(
        *arguments,
        point=with_intervals(point, *arguments, lowest=lowest),
        robust=make_robust_plan(*arguments, goal=goal, lowest=lowest),
        lowest=lowest,
    )


def make_plan(
    request: PlanRequest,
    target: FittedLaw,
    forgetting: Mapping[str, FittedLaw],
    resolution: int = 200,
    goal: str = "least_compute",
) -> Plan:
    """The best plan by a target fit and one forgetting fit per base domain.

    `resolution`: points of the first search grid along each axis. Raises InputError when a domain
    with a limit has no fit, and for a law by which target loss rises with tokens.
    """
    forecast, mesh = Forecast.of(request, target, forgetting), Mesh(points=resolution)
    _check_falling(forecast)
    limit = _target_limit(forecast, mesh, goal)
    best = _best(forecast, limit, mesh, goal)
    return _plan(forecast, limit, best, goal, None)


def make_robust_plan(
    request: PlanRequest,
    target: FittedLaw,
    forgetting: Mapping[str, FittedLaw],
    mesh: Mesh = COARSE,
    goal: str = "least_compute",
    lowest: Optimum | None = None,
) -> Plan:
    """The best plan that meets all limits together in a share `request.confidence` of the draws.

    With `target_within`, each draw's target limit lies that far above its own least reachable loss:
    what is asked is to be near the best, wherever that is. `lowest`: `least_losses` of the same
    request, fits and mesh, if known. Raises InputError as `make_plan` does, and where a fit has no
    draws.
    """
    forecast = Forecast.of_draws(request, target, forgetting)
    point = Forecast.of(request, target, forgetting)
    _check_falling(point)
    limits = _target_limit(forecast, mesh, goal, lowest)
    best = _best(forecast, limits, mesh, goal, request.confidence)
    limit = limits if request.target_loss is not None else _target_limit(point, Mesh(), goal)
    plan = _judge(_plan(point, limit, best, goal, request.confidence), forecast, limits)
    missed = tuple(name for name, share in plan.missed.items() if share > 0)
    return replace(plan, binding=(*missed, *plan.binding))


def with_intervals(
    plan: Plan,
    request: PlanRequest,
    target: FittedLaw,
    forgetting: Mapping[str, FittedLaw],
    mesh: Mesh = COARSE,
    lowest: Optimum | None = None,
) -> Plan:
    """A point plan with what the draws say of it: intervals, and how often it meets the limits.

    Every draw's own best plan is searched too; the ends of their replay, ATPP, compute and loss are
    the interval of the plan itself. `lowest`: as for `make_robust_plan`. Raises InputError where a
    fit has no draws.
    """
    forecast = Forecast.of_draws(request, target, forgetting)
    limits = _target_limit(forecast, mesh, plan.goal, lowest)
    if plan.goal == "least_loss" and lowest is not None:
        own = lowest
    else:
        own = _best(forecast, limits, mesh, plan.goal)
    allowed = own.allowed
    judged = _judge(plan, forecast, limits)
    atpp = np.exp(own.log_atpp[allowed])
    ends = {
        "replay": own.replay[allowed],
        "atpp": atpp,
        "flops": request.flops(1.0) * atpp,
    }
    intervals = judged.intervals | {name: _ends(values) for name, values in ends.items()}
    return replace(judged, intervals=intervals, feasible_draws=float(allowed.mean()))


def relaxations(
    request: PlanRequest,
    target: FittedLaw,
    forgetting: Mapping[str, FittedLaw],
    robust: bool = False,
    mesh: Mesh | None = None,
    goal: str = "least_compute",
    lowest: Optimum | None = None,
) -> list[Relaxation]:
    """For each limit alone, the least relaxation that makes an infeasible plan feasible.

    By the point fits, or, `robust`, by the draws. ATPP and compute are searched up to a thousand
    times their limits. Where the target loss was asked for as `target_within`, its relaxation is
    that distance, and the other limits are relaxed with the target limits as they were: a new
    request would compute them anew.
    `lowest`: as for `make_robust_plan`, where the plan is robust.
    """
    if robust:
        forecast = Forecast.of_draws(request, target, forgetting)
        mesh, confidence = mesh or COARSE, request.confidence
    else:
        forecast = Forecast.of(request, target, forgetting)
        mesh, confidence = mesh or Mesh(), None
    limit = _target_limit(forecast, mesh, goal, lowest)
    result = []
    for name in forecast.names:
        if name == "target_loss" and goal == "least_loss":
            continue
        best = least_value(forecast, name, limit, mesh, confidence)
        more = float(best.cost[0]) if best.allowed[0] else np.nan
        if name == "target_loss":
            within = request.target_loss is None
            asked = request.target_within if within else request.target_loss
        else:
            asked = request.forgetting_limits[name.removeprefix("forgetting_")]
        result.append(Relaxation(name, asked, asked + more))
    name = request.atpp_limit_name
    free = _with_atpp_limit(request, _RELAXED_ATPP * request.atpp_limit)
    best = _best(replace(forecast, request=free), limit, mesh, goal, confidence, least_atpp=True)
    atpp = float(np.exp(best.log_atpp[0])) if best.allowed[0] else np.nan
    if name == "max_flops":
        result.append(Relaxation(name, request.max_flops, request.flops(atpp)))
    else:
        result.append(Relaxation(name, request.max_atpp, atpp))
    return result


def least_losses(
    request: PlanRequest,
    target: FittedLaw,
    forgetting: Mapping[str, FittedLaw],
    mesh: Mesh = COARSE,
) -> Optimum:
    """Where each draw's target loss is least under the limits on forgetting, ATPP and compute.

    Every question to the draws about one law starts from it: searched once, it can be handed to
    all. Raises InputError where a fit has no draws or a limited domain no fit.
    """
    forecast = Forecast.of_draws(request, target, forgetting)
    return least_value(forecast, "target_loss", np.zeros(1), mesh)


def surface(
    request: PlanRequest,
    target: FittedLaw,
    forgetting: Mapping[str, FittedLaw],
    resolution: int = 60,
) -> pd.DataFrame:
    """Predictions over the plan's space: replay, atpp, target_loss and forgetting_<domain> (nats).

    ATPP runs over the range that is searched, evenly in its logarithm. Every forgetting fit has a
    column, limited or not.
    """
    replays = np.linspace(request.min_replay, request.max_replay, resolution)
    atpps = np.geomspace(request.least_atpp, request.atpp_limit, resolution)
    replay, atpp = (grid.ravel() for grid in np.meshgrid(replays, atpps))
    every = replace(request, forgetting_limits=dict.fromkeys(forgetting, 0.0))
    forecast = Forecast.of(every, target, forgetting)
    points = replay[None], np.log(atpp)[None]
    columns = {"replay": replay, "atpp": atpp, "target_loss": forecast.target_loss(*points)[0]}
    for domain in forgetting:
        columns[f"forgetting_{domain}"] = forecast.forgetting_of(domain, *points)[0]
    return pd.DataFrame(columns)


def plan_table(plans: Sequence[Plan]) -> pd.DataFrame:
    """One row per plan; forgetting, its limits and intervals stand in columns per base domain.

    `missed_<limit>` are shares of draws; `<name>_low` and `<name>_high` the ends of intervals.
    """
    rows = []
    for plan in plans:
        names = ("forgetting", "forgetting_limits", "missed", "intervals")
        row = {k: v for k, v in vars(plan).items() if k not in names}
        tail = {k: row.pop(k) for k in ("feasible", "binding", "shortfall", "extrapolated")}
        last = {k: row.pop(k) for k in ("goal", "met", "met_at_least", "feasible_draws")}
        base = {k: row.pop(k) for k in ("base_loss", "base_loss_source")}
        for domain in plan.forgetting:
            row[f"forgetting_{domain}"] = plan.forgetting[domain]
            row[f"forgetting_{domain}_limit"] = plan.forgetting_limits[domain]
        tail["binding"] = " ".join(plan.binding)
        tail["extrapolated"] = " ".join(plan.extrapolated)
        last = {k: v for k, v in last.items() if v is not None}
        if base["base_loss"] is not None:
            last |= base
        last |= {f"missed_{name}": share for name, share in plan.missed.items()}
        for name, (low, high) in plan.intervals.items():
            last |= {f"{name}_low": low, f"{name}_high": high}
        rows.append({**row, **tail, **last})
    return pd.DataFrame(rows)


def _check_falling(forecast: Forecast) -> None:
    """Raise where the target law's loss rises with ATPP: a plan by it would make no sense.

    The laws of the zoo fall by their form, except `exponent_gate`; a declared law may do anything.
    """
    request, law = forecast.request, forecast.target.record.law
    replays = np.linspace(request.min_replay, request.max_replay, 20)
    steps = np.linspace(np.log(request.least_atpp), np.log(request.atpp_limit), 25)
    loss = forecast.target_loss(replays[None, :, None], steps[None, None, :])
    if (np.diff(loss, axis=-1) > TOLERANCE).any():
        raise InputError(
            f"plan: by the law {law} the target loss rises with adaptation tokens "
            f"at {request.n_params:g} parameters and PTPP {request.ptpp:g}; accepted is a law "
            "whose loss falls there"
        )


def _target_limit(
    forecast: Forecast, mesh: Mesh, goal: str, lowest: Optimum | None = None
) -> NDArray:
    """The target loss's limit for each draw (m,), or (1,); NaN where there is none."""
    request = forecast.request
    if goal not in GOALS:
        raise InputError(f"plan: goal {goal!r} is not known; accepted are {', '.join(GOALS)}")
    if goal == "least_loss":
        return np.array([np.nan])
    if request.target_loss is not None:
        return np.array([request.target_loss])
    best = lowest or least_value(forecast, "target_loss", np.zeros(1), mesh)
    return np.where(best.allowed, best.cost + request.target_within, np.nan)


def _best(
    forecast: Forecast,
    limit: NDArray,
    mesh: Mesh,
    goal: str,
    confidence: float | None = None,
    least_atpp: bool = False,
) -> Optimum:
    """The best point for a goal; `least_atpp`: the least ATPP that is feasible, for any goal."""
    if goal == "least_compute" or least_atpp:
        return least_compute(forecast, limit, mesh, confidence)
    return least_value(forecast, "target_loss", np.zeros(1), mesh, confidence)


def _with_atpp_limit(request: PlanRequest, atpp: float) -> PlanRequest:
    return replace(request, max_atpp=atpp, max_flops=None, min_atpp=request.least_atpp)


def _plan(
    point: Forecast, limit: NDArray, best: Optimum, goal: str, confidence: float | None
) -> Plan:
    """The plan at the best point, as the point fits see it."""
    request = point.request
    replay, log_atpp = float(best.replay[0]), float(best.log_atpp[0])
    atpp = float(np.exp(log_atpp))
    at = np.array([[replay]]), np.array([[log_atpp]])
    feasible = bool(best.allowed[0])
    shortfall = 0.0 if feasible else float(best.cost[0]) - BROKEN
    reads = "base_loss" in point.target.law.inputs
    binding = []
    if confidence is None:
        excess = point.excess(limit, *at)[:, 0, 0]
        edge = excess.max(initial=-np.inf) if not feasible else 0.0
        pairs = zip(point.names, excess, strict=True)
        binding = [n for n, over in pairs if over >= edge - BINDING]
    if log_atpp >= np.log(request.atpp_limit) - EDGE:
        binding.append(request.atpp_limit_name)
    if replay >= request.max_replay - EDGE:
        binding.append("max_replay")
    if feasible and goal == "least_compute" and log_atpp <= np.log(request.least_atpp) + EDGE:
        binding.append("min_atpp")  # everything is met already where the search begins
    return Plan(
        law=point.target.record.law,
        protocol=point.target.record.protocol,
        n_params=request.n_params,
        ptpp=request.ptpp,
        replay=replay,
        atpp=atpp,
        adapt_tokens=atpp * request.n_params,
        flops=request.flops(atpp),
        target_loss=float(point.target_loss(*at)[0, 0]),
        target_loss_limit=float(limit[0]),
        forgetting={d: float(point.forgetting_of(d, *at)[0, 0]) for d in point.forgetting},
        forgetting_limits=dict(request.forgetting_limits),
        feasible=feasible,
        binding=tuple(binding),
        shortfall=shortfall,
        extrapolated=point.extrapolated(replay, log_atpp),
        goal=goal,
        base_loss=request.base_loss if reads else None,
        base_loss_source=request.base_loss_source if reads else "",
    )


def _judge(plan: Plan, forecast: Forecast, limits: NDArray) -> Plan:
    """A plan with what the draws say of its point."""
    at = np.array([[plan.replay]]), np.array([[np.log(plan.atpp)]])
    excess = forecast.excess(limits, *at)[:, :, 0]
    broken = excess > TOLERANCE
    if plan.goal == "least_compute":
        broken[0] |= np.isnan(limits)  # a draw without a target limit cannot meet the others
    missed = dict(zip(forecast.names, broken.mean(axis=1).tolist(), strict=True))
    intervals = {"target_loss": _ends(forecast.target_loss(*at)[:, 0])}
    for domain in forecast.forgetting:
        intervals[f"forgetting_{domain}"] = _ends(forecast.forgetting_of(domain, *at)[:, 0])
    return replace(
        plan,
        met=float(1 - broken.any(axis=0).mean()),
        met_at_least=max(0.0, 1 - sum(missed.values())),
        missed=missed,
        intervals=intervals,
    )


def _ends(values: NDArray) -> tuple[float, float]:
    """The interval that holds a share `LEVEL` of the draws; NaN where there are none."""
    if not len(values):
        return np.nan, np.nan
    ends = [quantile(values, share)[0] for share in ((1 - LEVEL) / 2, (1 + LEVEL) / 2)]
    return float(ends[0]), float(ends[1])
