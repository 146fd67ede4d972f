"""The compute plan: the least compute that reaches a target loss within forgetting limits.

Minimise 6 N (A N) over replay r and ATPP A, subject to predicted target loss <= its limit,
predicted forgetting of each base domain <= its limit, A <= max_atpp and compute <= max_flops.
6 FLOPs per parameter and token is the usual count of a dense transformer's forward and backward
pass, without attention. The search is a dense grid, refined locally. It relies on one property that
is checked first: predicted target loss falls with ATPP.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptpp.errors import InputError
from ptpp.laws.declared import law_of
from ptpp.laws.fitting import extrapolated_inputs, predict
from ptpp.laws.record import Fit

FLOPS_PER_PARAMETER_AND_TOKEN = 6
_TOLERANCE = 1e-7  # nats: a limit exceeded by less is met
_BINDING = 1e-5  # nats: a limit closer than this is called binding
_ATPP_RANGE = 1e3  # the least ATPP searched is max_atpp over this


@dataclass(frozen=True)
class PlanRequest:
    """What is wanted.

    `n_params`, `ptpp`: the checkpoint. `forgetting_limits`: nats per base domain. `target_loss`:
    nats; where None, `target_within` nats above the least predicted target loss that is reachable
    under all the other limits. `max_atpp` tokens per parameter; `max_flops` FLOPs. `min_atpp`: the
    least ATPP considered, below which no law was measured; None goes down to a thousandth of the
    greatest. `base_loss`: the checkpoint's own base loss before adaptation, nats, measured or
    forecast; only laws that read it need it.
    """

    n_params: float
    ptpp: float
    forgetting_limits: Mapping[str, float]
    max_atpp: float
    target_loss: float | None = None
    target_within: float | None = None
    max_flops: float | None = None
    min_replay: float = 0.0
    max_replay: float = 0.95
    min_atpp: float | None = None
    base_loss: float | None = None

    @classmethod
    def of(cls, section: Mapping) -> "PlanRequest":
        """The request that a configuration's `plan` section states."""
        section = dict(section)
        return cls(forgetting_limits=section.pop("forgetting"), **section)

    def __post_init__(self) -> None:
        positive = (
            "n_params",
            "ptpp",
            "min_atpp",
            "max_atpp",
            "max_flops",
            "target_loss",
            "base_loss",
        )
        for name in positive:
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value > 0):
                raise InputError(f"plan: {name} is {value}; accepted is a number above 0")
        if self.min_atpp is not None and not self.min_atpp < self.atpp_limit:
            raise InputError(
                f"plan: min_atpp is {self.min_atpp:g}, but max_atpp and max_flops allow "
                f"{self.atpp_limit:g} at most"
            )
        if self.target_loss is None and self.target_within is None:
            raise InputError("plan: neither target_loss nor target_within is given")
        if self.target_within is not None and not self.target_within >= 0:
            raise InputError(f"plan: target_within is {self.target_within}; accepted is 0 or more")
        if not 0 <= self.min_replay <= self.max_replay < 1:
            raise InputError(
                f"plan: replay from {self.min_replay} to {self.max_replay}; accepted are limits "
                "with 0 <= min_replay <= max_replay < 1"
            )

    def flops(self, atpp: float) -> float:
        """Compute of adapting the model on `atpp` tokens per parameter, FLOPs."""
        return FLOPS_PER_PARAMETER_AND_TOKEN * self.n_params * (atpp * self.n_params)

    @property
    def atpp_limit(self) -> float:
        """The largest ATPP that max_atpp and max_flops allow."""
        if self.max_flops is None:
            return self.max_atpp
        return min(self.max_atpp, self.max_flops / self.flops(1.0))

    @property
    def least_atpp(self) -> float:
        """The least ATPP that is considered."""
        return self.min_atpp or self.atpp_limit / _ATPP_RANGE


@dataclass(frozen=True)
class Plan:
    """One plan, and how it came about.

    Losses and forgetting are predictions, nats per token. When not `feasible`, (replay, atpp) is
    the point where the worst excess over a limit is least, and `shortfall` is that excess in nats;
    otherwise `shortfall` is 0. `binding`: the limits met with equality (feasible), or those that
    cannot be met together (infeasible). `extrapolated`: inputs outside the fitted rows' range.
    `target_loss_limit` is NaN when target_within was asked for and no point meets the other limits.
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


def make_plan(
    request: PlanRequest,
    target: Fit,
    forgetting: Mapping[str, Fit],
    resolution: int = 200,
) -> Plan:
    """The least-compute plan by a target fit and one forgetting fit per base domain.

    `resolution`: points of the search grid along each axis. Raises InputError when a domain with a
    limit has no fit.
    """
    missing = [d for d in request.forgetting_limits if d not in forgetting]
    if missing:
        raise InputError(
            f"plan: no forgetting fit for the base domain {missing[0]!r}; there are "
            + (", ".join(map(repr, forgetting)) or "none")
            + f"; set plan.forgetting.{missing[0]} to null to plan without that limit"
        )
    space = _Space(request, target, forgetting, resolution)
    _check_falling(space)
    limit = request.target_loss
    if limit is None:
        best = _searched(space, np.nan, lambda replays: _best_reachable(space, replays))
        limit = np.nan if best is None else best[1] + request.target_within
    if not np.isnan(limit):
        point = _searched(space, limit, lambda replays: _cheapest(space, limit, replays))
        if point is not None:
            return _plan(space, limit, point, feasible=True)
    return _plan(space, limit, _least_excess(space, limit), feasible=False)


def make_plans(request: PlanRequest, fits: Sequence[Fit]) -> list[Plan]:
    """A plan by every target fit, with the forgetting fits of the same protocol.

    A forgetting fit is one whose law predicts forgetting; `fits` may hold both kinds in any order.
    """
    return [
        make_plan(request, record, forgetting_fits(fits, record.protocol))
        for record in fits
        if not law_of(record).offset
    ]


def forgetting_fits(fits: Sequence[Fit], protocol: str) -> dict[str, Fit]:
    """The forgetting fits of one protocol by base domain."""
    return {f.domain: f for f in fits if law_of(f).offset and f.protocol == protocol}


def surface(
    request: PlanRequest,
    target: Fit,
    forgetting: Mapping[str, Fit],
    resolution: int = 60,
) -> pd.DataFrame:
    """Predictions over the plan's space: replay, atpp, target_loss and forgetting_<domain> (nats).

    ATPP runs over the range that is searched, evenly in its logarithm.
    """
    replay, atpp = np.meshgrid(
        np.linspace(request.min_replay, request.max_replay, resolution),
        np.geomspace(request.least_atpp, request.atpp_limit, resolution),
    )
    grid = pd.DataFrame({"replay": replay.ravel(), "atpp": atpp.ravel()})
    grid["n_params"], grid["ptpp"] = request.n_params, request.ptpp
    grid["adapt_tokens"] = grid["atpp"] * request.n_params
    if request.base_loss is not None:
        grid["base_loss"] = request.base_loss
    columns = {"target_loss": predict(target, grid)}
    columns |= {f"forgetting_{domain}": predict(fit, grid) for domain, fit in forgetting.items()}
    return grid[["replay", "atpp"]].assign(**columns)


def plan_table(plans: Sequence[Plan]) -> pd.DataFrame:
    """One row per plan; forgetting and its limits stand in a column per base domain."""
    rows = []
    for plan in plans:
        row = {k: v for k, v in vars(plan).items() if k not in ("forgetting", "forgetting_limits")}
        tail = {k: row.pop(k) for k in ("feasible", "binding", "shortfall", "extrapolated")}
        for domain in plan.forgetting:
            row[f"forgetting_{domain}"] = plan.forgetting[domain]
            row[f"forgetting_{domain}_limit"] = plan.forgetting_limits[domain]
        tail["binding"] = " ".join(plan.binding)
        tail["extrapolated"] = " ".join(plan.extrapolated)
        rows.append({**row, **tail})
    return pd.DataFrame(rows)


class _Space:
    """The search space: replay and log ATPP, and how far each point exceeds the limits."""

    def __init__(
        self, request: PlanRequest, target: Fit, forgetting: Mapping[str, Fit], resolution: int
    ):
        self.request = request
        self.target = target
        self.forgetting = {d: forgetting[d] for d in request.forgetting_limits}
        self.top = float(np.log(request.atpp_limit))
        self.bottom = float(np.log(request.least_atpp))
        self.steps = np.linspace(0, 1, resolution)
        self.replays = request.min_replay + self.steps * (request.max_replay - request.min_replay)

    def target_loss(self, replay: NDArray, log_atpp: NDArray) -> NDArray:
        """Predicted target loss, nats, at points of any one shape."""
        return predict(self.target, self.rows(replay, log_atpp)).reshape(np.shape(log_atpp))

    def forgetting_excess(self, replay: NDArray, log_atpp: NDArray) -> NDArray:
        """Predicted forgetting - limit, nats, (domains, ...) at points of any one shape."""
        rows, limits = self.rows(replay, log_atpp), self.request.forgetting_limits
        parts = [predict(record, rows) - limits[d] for d, record in self.forgetting.items()]
        return np.array(parts).reshape(len(parts), *np.shape(log_atpp))

    def rows(self, replay: NDArray, log_atpp: NDArray) -> dict[str, NDArray]:
        """The points as columns that laws can predict from."""
        atpp = np.exp(np.ravel(log_atpp))
        base_loss = self.request.base_loss
        measured = {} if base_loss is None else {"base_loss": np.full(atpp.shape, base_loss)}
        return measured | {
            "n_params": np.full(atpp.shape, float(self.request.n_params)),
            "ptpp": np.full(atpp.shape, float(self.request.ptpp)),
            "replay": np.ravel(replay),
            "atpp": atpp,
            "adapt_tokens": atpp * self.request.n_params,
        }

    def first(self, replay: NDArray, start: NDArray, end: NDArray) -> NDArray:
        """The first log ATPP (n,) from `start` to `end` within all forgetting limits, or NaN.

        The first such point of a grid and the point before it enclose the edge, which is bisected:
        exact unless a feasible stretch hides between two points of the grid.
        """
        grid = start[:, None] + (end - start)[:, None] * self.steps
        feasible = self._harmless(np.broadcast_to(replay[:, None], grid.shape), grid)
        index = feasible.argmax(axis=1)
        rows = np.arange(len(replay))
        inside, outside = grid[rows, index], grid[rows, np.maximum(index - 1, 0)]
        inside, _ = _bisected(lambda middle: self._harmless(replay, middle), inside, outside)
        return np.where(feasible.any(axis=1), inside, np.nan)

    def _harmless(self, replay: NDArray, log_atpp: NDArray) -> NDArray:
        return (self.forgetting_excess(replay, log_atpp) <= _TOLERANCE).all(axis=0)


def _check_falling(space: _Space) -> None:
    """Raise where the target law's loss rises with ATPP, which no search here expects.

    The laws of the zoo fall by their form, except `exponent_gate`; a declared law may do anything.
    """
    replay, log_atpp = np.meshgrid(space.replays[::10], np.linspace(space.bottom, space.top, 25))
    loss = space.target_loss(replay, log_atpp)
    if (np.diff(loss, axis=0) > _TOLERANCE).any():
        raise InputError(
            f"plan: by the law {space.target.law} the target loss rises with adaptation tokens at "
            f"{space.request.n_params:g} parameters and PTPP {space.request.ptpp:g}; accepted is a "
            "law whose loss falls there"
        )


def _bisected(
    accepted: Callable[[NDArray], NDArray], inside: NDArray, outside: NDArray
) -> tuple[NDArray, NDArray]:
    """Close in on the edge between accepted and refused values, elementwise."""
    for _ in range(45):
        middle = (inside + outside) / 2
        good = accepted(middle)
        inside, outside = np.where(good, middle, inside), np.where(good, outside, middle)
    return inside, outside


def _searched(
    space: _Space, limit: float, search: Callable[[NDArray], tuple[float, float] | None]
) -> tuple[float, float] | None:
    """What `search` finds on the grid of replay ratios, or else around the least excess.

    The limits may be met only on a range of replay ratios that is narrower than the grid's mesh.
    """
    found = search(space.replays)
    if found is None:
        replay, log_atpp = _least_excess(space, limit)
        if _worst(space, limit, replay, log_atpp) <= _TOLERANCE:
            found = search(np.unique(np.append(space.replays, replay)))
    return found


def _best_reachable(space: _Space, replays: NDArray) -> tuple[float, float] | None:
    """(replay, target loss) of least loss within all other limits; None if they cannot be met.

    Target loss falls with ATPP, so at each replay ratio the greatest harmless ATPP is the best.
    """

    def best_loss(replay: NDArray) -> NDArray:
        edge = space.first(
            replay, np.full(replay.shape, space.top), np.full(replay.shape, space.bottom)
        )
        loss = space.target_loss(replay, np.where(np.isnan(edge), space.top, edge))
        return np.where(np.isnan(edge), np.nan, loss)

    return _minimum(best_loss, replays)


def _cheapest(space: _Space, limit: float, replays: NDArray) -> tuple[float, float] | None:
    """(replay, log ATPP) of least ATPP, hence least compute; None if no replay ratio is feasible.

    Since target loss falls with ATPP, a replay ratio's feasible ATPP begin no earlier than where
    the target limit is met, which is found first and exactly.
    """

    def least_atpp(replay: NDArray) -> NDArray:
        def reached(log_atpp: NDArray) -> NDArray:
            return space.target_loss(replay, log_atpp) <= limit + _TOLERANCE

        bottom = np.full(replay.shape, space.bottom)
        top = np.full(replay.shape, space.top)
        start, _ = _bisected(reached, top, bottom)
        start = np.where(reached(bottom), bottom, start)
        return np.where(reached(top), space.first(replay, start, top), np.nan)

    return _minimum(least_atpp, replays)


def _worst(space: _Space, limit: float, replay: float, log_atpp: float) -> float:
    """The worst excess over a limit at one point, nats."""
    return float(_excess(space, limit, np.array([replay]), np.array([log_atpp])).max())


def _excess(space: _Space, limit: float, replay: NDArray, log_atpp: NDArray) -> NDArray:
    """Excess over every limit, (limits, ...), the target's first unless its limit is NaN."""
    parts = list(space.forgetting_excess(replay, log_atpp))
    if not np.isnan(limit):
        parts.insert(0, space.target_loss(replay, log_atpp) - limit)
    return np.array(parts)


def _least_excess(space: _Space, limit: float) -> tuple[float, float]:
    """(replay, log ATPP) where the worst excess over the limits is least."""

    def best_atpp(replay: NDArray) -> tuple[NDArray, NDArray]:
        rows = np.arange(len(replay))
        low, high = np.full(replay.shape, space.bottom), np.full(replay.shape, space.top)
        steps = space.steps
        for _ in range(10):
            grid = low[:, None] + (high - low)[:, None] * steps
            each = np.broadcast_to(replay[:, None], grid.shape)
            worst = _excess(space, limit, each, grid).max(axis=0)
            best = worst.argmin(axis=1)
            low, high = (
                grid[rows, np.maximum(best - 1, 0)],
                grid[rows, (best + 1).clip(max=len(steps) - 1)],
            )
            steps = np.linspace(0, 1, 21)
        return grid[rows, best], worst[rows, best]

    replay, _ = _minimum(lambda replay: best_atpp(replay)[1], space.replays)
    return replay, float(best_atpp(np.array([replay]))[0][0])


def _minimum(
    function: Callable[[NDArray], NDArray], grid: NDArray, rounds: int = 8
) -> tuple[float, float] | None:
    """(x, value) of the least value, by zooming in on the best grid point; NaN is no value."""
    values = function(grid)
    if np.isnan(values).all():
        return None
    low, high = grid[0], grid[-1]
    mesh = np.diff(grid).max(initial=0.0)
    best = int(np.nanargmin(values))
    x, value = grid[best], values[best]
    for _ in range(rounds):
        near = np.clip(x + mesh * np.linspace(-1, 1, 21), low, high)
        values = function(near)
        best = int(np.argmin(np.where(np.isnan(values), np.inf, values)))
        if values[best] < value:
            x, value = near[best], values[best]
        mesh = mesh / 10
    return float(x), float(value)


def _plan(space: _Space, limit: float, point: tuple[float, float], feasible: bool) -> Plan:
    request = space.request
    replay, atpp = point[0], float(np.exp(point[1]))
    at = np.array([replay]), np.array([point[1]])
    rows, excess = space.rows(*at), _excess(space, limit, *at)[:, 0]
    names = [f"forgetting_{d}" for d in space.forgetting]
    if not np.isnan(limit):
        names = ["target_loss", *names]
    shortfall = 0.0 if feasible else float(excess.max())
    tight = excess >= shortfall - _BINDING
    binding = [n for n, is_tight in zip(names, tight, strict=True) if is_tight]
    if point[1] >= space.top - 1e-6:
        by_flops = request.max_flops is not None and request.atpp_limit < request.max_atpp
        binding.append("max_flops" if by_flops else "max_atpp")
    if replay >= request.max_replay - 1e-6:
        binding.append("max_replay")
    if feasible and point[1] <= space.bottom + 1e-6:
        binding.append("min_atpp")  # everything is met already where the search begins
    records = [space.target, *space.forgetting.values()]
    outside = {name for record in records for name in extrapolated_inputs(record, rows)}
    return Plan(
        law=space.target.law,
        protocol=space.target.protocol,
        n_params=request.n_params,
        ptpp=request.ptpp,
        replay=replay,
        atpp=atpp,
        adapt_tokens=atpp * request.n_params,
        flops=request.flops(atpp),
        target_loss=float(predict(space.target, rows)[0]),
        target_loss_limit=float(limit),
        forgetting={d: float(predict(f, rows)[0]) for d, f in space.forgetting.items()},
        forgetting_limits={d: request.forgetting_limits[d] for d in space.forgetting},
        feasible=feasible,
        binding=tuple(binding),
        shortfall=shortfall,
        extrapolated=tuple(sorted("replay" if name == "share" else name for name in outside)),
    )
