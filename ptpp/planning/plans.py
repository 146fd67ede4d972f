"""Plans: the best replay ratio and ATPP by point fits, and robustly by bootstrap draws.

Two goals. "least_compute": minimise 6 N (A N) over replay r and ATPP A, subject to target loss <=
its limit, forgetting of each base domain <= its limit, A <= max_atpp and compute <= max_flops.
"least_loss": the least target loss under the other limits. A robust plan meets all limits at once
in a share of the draws, `PlanRequest.confidence`; its least loss is the one kept in that share.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptpp.errors import InputError
from ptpp.laws.base_loss import SOURCES
from ptpp.laws.fitted import ENDS, FittedLaw
from ptpp.laws.levels import information_at
from ptpp.planning.forecast import Forecast
from ptpp.planning.request import PlanRequest
from ptpp.planning.search import (
    BINDING,
    BROKEN,
    COARSE,
    EDGE,
    OF_DRAWS,
    TOLERANCE,
    Mesh,
    Optimum,
    least_compute,
    least_value,
    quantile,
)

GOALS = ("least_compute", "least_loss")
UNKNOWN_BASE_LOSS = (
    "no interval: the checkpoint's base loss is forecast from tiny models, which cannot foresee "
    "it; measure it first"
)
_PER_AXIS = 60  # points of a surface
_RELAXED_ATPP = 1e3  # how far beyond its limit ATPP is searched for what would make a plan feasible


@dataclass(frozen=True)
class Plan:
    """One plan, and how it came about.

    Losses and forgetting are predictions by the point fits, nats per token. When not `feasible`,
    (replay, atpp) is the point where the worst excess over a limit is least, and `shortfall` is
    that excess in nats, else 0. `extrapolated`: inputs outside the fitted rows' range.
    `target_loss_limit` is NaN where none was asked for, or where no point meets the limits it is
    measured from.

    `binding`, of a point plan: the limits met with equality (feasible), or those that cannot be met
    together (infeasible). Of a robust plan: those that some draw misses here and the bounds of the
    search that it lies on. `base_loss` [nats] and its source: for a target law that reads it;
    `zero_shot_losses` and their sources by limited base domain: for forgetting laws that read them.
    `replay_reason`: why some replay ratios were not considered, if they were not.

    `information`: what the forecast knew of that stage, a level of `ptpp.laws.levels`.
    `times_largest`: N over the largest fitted one. `note`: why there are no draws, where there
    could be.

    From draws (None or empty without them): `met`, the share of draws that meet all limits in nats
    at this point, paired by `pair_draws`; `met_at_least`, a share that holds however target and
    forgetting errors depend on each other (Bonferroni's inequality); `missed` by limit, the share
    of draws that break it; `intervals`, from the 5 % to the 95 % quantile: of the predictions at
    this point and, of a point plan, of the best plan of each draw that has one; `feasible_draws`,
    the share that has one.
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
    information: str | None = None
    met: float | None = None
    met_at_least: float | None = None
    feasible_draws: float | None = None
    base_loss: float | None = None
    base_loss_source: str | None = None
    times_largest: float = 1.0
    note: str = ""
    zero_shot_losses: Mapping[str, float] = field(default_factory=dict)
    zero_shot_sources: Mapping[str, str] = field(default_factory=dict)
    replay_reason: str | None = None
    missed: Mapping[str, float] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)


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


@dataclass(frozen=True)
class LawPlanner:
    """Plans by one law: a target fit and one forgetting fit per base domain, for one request.

    Forecasts, and where the draws' losses are least, are found once, when first needed. `mesh`: of
    searches by the point fits. All methods raise InputError when a domain with a limit has no fit,
    and for a law by which target loss rises with tokens; those that need draws, where a fit has
    none.
    """

    request: PlanRequest
    target: FittedLaw
    forgetting: Mapping[str, FittedLaw]
    mesh: Mesh = field(default_factory=Mesh)

    @cached_property
    def by_point(self) -> Forecast:
        """By the point fits."""
        forecast = Forecast.of(self.request, self.target, self.forgetting)
        _check_falling(forecast)
        return forecast

    @cached_property
    def by_draws(self) -> Forecast:
        return Forecast.of_draws(self.request, self.target, self.forgetting)

    @cached_property
    def lowest(self) -> Optimum:
        """Where each draw's target loss is least under the other limits."""
        return least_value(self.by_draws, "target_loss", np.zeros(1), OF_DRAWS)

    def plan(self, goal: str = "least_compute") -> Plan:
        """The best plan by the point fits."""
        limit = self._target_limit(goal, self.by_point)
        best = _best(self.by_point, limit, self.mesh, goal)
        return _plan(self.by_point, limit, best, goal, None)

    def plan_robustly(self, goal: str = "least_compute") -> Plan:
        """The best plan that meets all limits together in a share `confidence` of the draws.

        With `target_within`, each draw's limit lies that far above its own least reachable loss.
        """
        limits, confidence = self._target_limit(goal, self.by_draws), self.request.confidence
        best = _best(self.by_draws, limits, COARSE, goal, confidence)
        limit = self._target_limit(goal, self.by_point)
        plan = self._judge(_plan(self.by_point, limit, best, goal, confidence), limits)
        missed = tuple(name for name, share in plan.missed.items() if share > 0)
        return replace(plan, binding=(*missed, *plan.binding))

    def judge(self, plan: Plan) -> Plan:
        """A point plan with what the draws say of it: intervals, how often it meets the limits.

        The ends of replay, ATPP and compute are those of every draw's own best plan.
        """
        limits = self._target_limit(plan.goal, self.by_draws)
        if plan.goal == "least_loss":
            own = self.lowest
        else:
            own = least_compute(self.by_draws, limits, OF_DRAWS)
        atpp = np.exp(own.log_atpp[own.allowed])
        flops = self.request.flops(1.0) * atpp
        ends = {"replay": own.replay[own.allowed], "atpp": atpp, "flops": flops}
        plan = self._judge(plan, limits)
        intervals = plan.intervals | {name: _ends(values) for name, values in ends.items()}
        return replace(plan, intervals=intervals, feasible_draws=float(own.allowed.mean()))

    def plan_both(self, goal: str = "least_compute") -> "LawPlans":
        """The point plan with what the draws say of it, and the robust plan."""
        point = self.plan(goal)
        if not self.request.is_sure(self.target):
            point = replace(point, note=UNKNOWN_BASE_LOSS)
            robust = replace(point, feasible=False, binding=("base_loss",), shortfall=np.nan)
            return LawPlans(self, point, robust)
        return LawPlans(self, self.judge(point), self.plan_robustly(goal))

    def relax(self, goal: str = "least_compute", robust: bool = False) -> list[Relaxation]:
        """For each limit alone, the least relaxation that makes an infeasible plan feasible.

        By the point fits, or, `robust`, by the draws. ATPP and compute are searched up to a
        thousand times their limits. A `target_within` is relaxed as that distance, and the other
        limits with the target limits as they were: a new request would compute them anew.
        """
        request, forecast = self.request, self.by_draws if robust else self.by_point
        mesh, confidence = (COARSE, request.confidence) if robust else (self.mesh, None)
        limit = self._target_limit(goal, forecast)
        within = request.target_within if request.target_loss is None else request.target_loss
        asked = {"target_loss": within}
        asked |= {f"forgetting_{d}": most for d, most in request.forgetting_limits.items()}
        if goal == "least_loss":
            del asked["target_loss"]
        result = []
        for name, value in asked.items():
            best = least_value(forecast, name, limit, mesh, confidence)
            more = float(best.cost[0]) if best.allowed[0] else np.nan
            result.append(Relaxation(name, value, value + more))
        most = _RELAXED_ATPP * request.atpp_limit
        free = replace(request, max_atpp=most, max_flops=None, min_atpp=request.least_atpp)
        best = least_compute(replace(forecast, request=free), limit, mesh, confidence)
        atpp = float(np.exp(best.log_atpp[0])) if best.allowed[0] else np.nan
        name = request.atpp_limit_name
        needed = request.flops(atpp) if name == "max_flops" else atpp
        return [*result, Relaxation(name, getattr(request, name), needed)]

    def _target_limit(self, goal: str, forecast: Forecast) -> NDArray:
        """The target loss's limit for each draw (m,), or (1,); NaN where there is none."""
        if goal not in GOALS:
            raise InputError(f"plan: goal {goal!r} is not known; accepted are {', '.join(GOALS)}")
        if goal == "least_loss":
            return np.array([np.nan])
        if self.request.target_loss is not None:
            return np.array([self.request.target_loss])
        if forecast is self.by_point:
            best = least_value(forecast, "target_loss", np.zeros(1), self.mesh)
        else:
            best = self.lowest
        return np.where(best.allowed, best.cost + self.request.target_within, np.nan)

    def _judge(self, plan: Plan, limits: NDArray) -> Plan:
        """A plan with what the draws say of its point."""
        at = np.array([[plan.replay]]), np.array([[np.log(plan.atpp)]])
        broken = self.by_draws.excess(limits, *at)[:, :, 0] > TOLERANCE
        if plan.goal == "least_compute":
            broken[0] |= np.isnan(limits)  # a draw without a target limit cannot meet the others
        missed = dict(zip(self.by_draws.laws, broken.mean(axis=1).tolist(), strict=True))
        values = self.by_draws.values(*at)
        return replace(
            plan,
            met=float(1 - broken.any(axis=0).mean()),
            met_at_least=max(0.0, 1 - sum(missed.values())),
            missed=missed,
            intervals={name: _ends(each[:, 0]) for name, each in values.items()},
        )


@dataclass(frozen=True)
class LawPlans:
    """The plans by one law for one goal: by its point fit and robustly by its draws."""

    planner: LawPlanner
    point: Plan
    robust: Plan

    @cached_property
    def relaxations(self) -> dict[str, list[Relaxation]]:
        """What would make the infeasible ones of the two feasible: by "point" or "robust"."""
        if not self.planner.request.is_sure(self.planner.target):
            return {}
        infeasible = {"point": not self.point.feasible, "robust": not self.robust.feasible}
        return {
            kind: self.planner.relax(self.point.goal, kind == "robust")
            for kind, wanted in infeasible.items()
            if wanted
        }


def surface(
    request: PlanRequest, target: FittedLaw, forgetting: Mapping[str, FittedLaw]
) -> pd.DataFrame:
    """Predictions over the searched range, even in log ATPP: replay, atpp, target_loss and
    forgetting_<domain> (nats) of every forgetting fit, limited or not.
    """
    every = replace(request, forgetting_limits=dict.fromkeys(forgetting, 0.0))
    replays = np.unique(np.linspace(every.least_replay, request.max_replay, _PER_AXIS))
    atpps = np.geomspace(request.least_atpp, request.atpp_limit, _PER_AXIS)
    replay, atpp = (grid.ravel() for grid in np.meshgrid(replays, atpps))
    values = Forecast.of(every, target, forgetting).values(replay[None], np.log(atpp)[None])
    return pd.DataFrame({"replay": replay, "atpp": atpp, **{n: v[0] for n, v in values.items()}})


def plan_table(plans: Sequence[Plan]) -> pd.DataFrame:
    """One row per plan; forgetting, its limits and intervals stand in columns per base domain.

    `missed_<limit>` are shares of draws; `<name>_low` and `<name>_high` the ends of intervals.
    """
    rows = []
    for plan in plans:
        row = {}
        for name, value in vars(plan).items():
            if name == "forgetting":
                for domain, change in value.items():
                    row[f"forgetting_{domain}"] = change
                    row[f"forgetting_{domain}_limit"] = plan.forgetting_limits[domain]
            elif name in ("zero_shot_losses", "zero_shot_sources"):
                end = "_source" if name == "zero_shot_sources" else ""
                row |= {f"zero_shot_{domain}{end}": each for domain, each in value.items()}
            elif name == "missed":
                row |= {f"missed_{limit}": share for limit, share in value.items()}
            elif name == "intervals":
                for key, (low, high) in value.items():
                    row |= {f"{key}_low": low, f"{key}_high": high}
            elif isinstance(value, tuple):
                row[name] = " ".join(value)
            elif name != "forgetting_limits" and value is not None:
                row[name] = value
        rows.append(row)
    return pd.DataFrame(rows)


def _check_falling(forecast: Forecast) -> None:
    """Raise where the target law's loss rises with ATPP: a plan by it would make no sense.

    The laws of the zoo fall by their form, except `exponent_gate`; a declared law may do anything.
    """
    request, law = forecast.request, forecast.target.record.law
    replays = np.linspace(request.least_replay, request.max_replay, 20)
    steps = np.linspace(np.log(request.least_atpp), np.log(request.atpp_limit), 25)
    loss = forecast.target_by_law(replays[None, :, None], steps[None, None, :])
    if (np.diff(loss, axis=-1) > TOLERANCE).any():
        raise InputError(
            f"plan: by the law {law} the target loss rises with adaptation tokens "
            f"at {request.n_params:g} parameters and PTPP {request.ptpp:g}; accepted is a law "
            "whose loss falls there"
        )


def _best(
    forecast: Forecast, limit: NDArray, mesh: Mesh, goal: str, confidence: float | None = None
) -> Optimum:
    if goal == "least_compute":
        return least_compute(forecast, limit, mesh, confidence)
    return least_value(forecast, "target_loss", np.zeros(1), mesh, confidence)


def _plan(
    point: Forecast, limit: NDArray, best: Optimum, goal: str, confidence: float | None
) -> Plan:
    """The plan at the best point, as the point fits see it."""
    request, record = point.request, point.target.record
    replay, log_atpp = float(best.replay[0]), float(best.log_atpp[0])
    atpp = float(np.exp(log_atpp))
    at = np.array([[replay]]), np.array([[log_atpp]])
    loss, *forgetting = (float(value[0, 0]) for value in point.values(*at).values())
    feasible = bool(best.allowed[0])
    binding = []
    if confidence is None:
        excess = point.excess(limit, *at)[:, 0, 0]
        edge = excess.max(initial=-np.inf) if not feasible else 0.0
        pairs = zip(point.laws, excess, strict=True)
        binding = [name for name, over in pairs if over >= edge - BINDING]
    searched = request.least_replay < request.max_replay
    if searched and replay <= request.least_replay + EDGE and request.least_replay > 0:
        binding.append("least_replay")
    if log_atpp >= np.log(request.atpp_limit) - EDGE:
        binding.append(request.atpp_limit_name)
    if searched and replay >= request.max_replay - EDGE:
        binding.append("max_replay")
    if feasible and goal == "least_compute" and log_atpp <= np.log(request.least_atpp) + EDGE:
        binding.append("min_atpp")  # everything is met already where the search begins
    reads = "base_loss" in point.target.law.inputs
    limited = [d for d in request.forgetting_limits if d in request.zero_shot_losses]
    return Plan(
        law=record.law,
        protocol=record.protocol,
        n_params=request.n_params,
        ptpp=request.ptpp,
        replay=replay,
        atpp=atpp,
        adapt_tokens=atpp * request.n_params,
        flops=request.flops(atpp),
        target_loss=loss,
        target_loss_limit=float(limit[0]),
        forgetting=dict(zip(request.forgetting_limits, forgetting, strict=True)),
        forgetting_limits=dict(request.forgetting_limits),
        feasible=feasible,
        binding=tuple(binding),
        shortfall=0.0 if feasible else float(best.cost[0]) - BROKEN,
        extrapolated=point.extrapolated(replay, log_atpp),
        goal=goal,
        information=information_at(point.target, request.ptpp, request.base_loss_source),
        base_loss=request.base_loss if reads else None,
        base_loss_source=request.base_loss_source if reads else None,
        times_largest=request.n_params / point.target.largest_size,
        zero_shot_losses={domain: request.zero_shot_losses[domain] for domain in limited},
        zero_shot_sources={
            domain: request.zero_shot_sources.get(domain, SOURCES[0]) for domain in limited
        },
        replay_reason=request.reason_of_replay or None,
    )


def _ends(values: NDArray) -> tuple[float, float]:
    """The interval that holds a share `LEVEL` of the draws; NaN where there are none."""
    if not len(values):
        return np.nan, np.nan
    low, high = (float(quantile(values, share)[0]) for share in ENDS)
    return low, high
