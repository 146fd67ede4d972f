"""The best replay ratio and ATPP: a grid, then closer and closer grids around its best point.

A cost puts the points which break a limit behind all others, in the order of how far they break it:
a search finds the best point where some are allowed, the least bad one where none is, and an
allowed region between two points of the grid on its way. A cost takes points (g, ...) and gives
values (k, ...): k searches at once, one for each draw, or one of all draws together.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptpp.planning.forecast import Forecast
from ptpp.planning.request import PlanRequest

# The planner's definitions; the interactive page reads them from here.
TOLERANCE = 1e-7  # nats: a limit exceeded by less is met
BINDING = 1e-4  # nats: a limit closer than this binds
EDGE = 1e-6  # of replay or log ATPP: a plan that close to a bound of the search lies on it
BROKEN = 1e3  # added to the cost of a point that breaks a limit

Cost = Callable[[NDArray, NDArray], NDArray]


@dataclass(frozen=True)
class Mesh:
    """Points of the first grid along each axis; closer grids have `zoom` points, `rounds` times."""

    points: int = 200
    zoom: int = 21
    rounds: int = 8


# A search over all draws together: ATPP to about 1e-5 of its value; and one for each draw.
COARSE = Mesh(points=48, zoom=13, rounds=5)
OF_DRAWS = Mesh(points=32, zoom=9, rounds=5)


@dataclass(frozen=True)
class Optimum:
    """Results (k,) of k searches: the points and their cost."""

    replay: NDArray
    log_atpp: NDArray
    cost: NDArray

    @property
    def allowed(self) -> NDArray:
        """Whether any point meets the limits (k,)."""
        return self.cost < BROKEN / 2


def least_compute(
    forecast: Forecast, limit: NDArray, mesh: Mesh, confidence: float | None = None
) -> Optimum:
    """The least ATPP, hence compute, that meets all limits; `limit` (m,) is the target loss's.

    `confidence`: meet them in this share of draws; None: a search for each draw. Where nothing
    meets them, the cost is `BROKEN` plus the worst excess over a limit.
    """

    def cost(replay: NDArray, log_atpp: NDArray) -> NDArray:
        worst = forecast.excess(limit, replay, log_atpp).max(axis=0)
        worst = worst if confidence is None else quantile(worst, confidence)
        return np.where(worst <= TOLERANCE, log_atpp, BROKEN + worst)

    return search(cost, forecast.request, mesh)


def least_value(
    forecast: Forecast, name: str, limit: NDArray, mesh: Mesh, confidence: float | None = None
) -> Optimum:
    """The least excess of one limit, nats, where all others in nats are met; the target loss itself
    where `name` is "target_loss" and `limit` is 0. `confidence`: the least value that, with the
    other limits, is kept in this share of draws; None: a search for each draw.
    """
    place = list(forecast.laws).index(name)

    def cost(replay: NDArray, log_atpp: NDArray) -> NDArray:
        excess = forecast.excess(limit, replay, log_atpp)
        others = np.delete(excess, place, axis=0).max(axis=0, initial=-np.inf)
        value = np.where(others <= TOLERANCE, excess[place], BROKEN + others)
        return value if confidence is None else quantile(value, confidence)

    return search(cost, forecast.request, mesh)


def quantile(values: NDArray, confidence: float) -> NDArray:
    """The least number (1, ...) that a share `confidence` of the values (m, ...) do not exceed."""
    place = max(int(np.ceil(confidence * len(values) - 1e-9)), 1) - 1
    return np.partition(values, place, axis=0)[place : place + 1]


def search(cost: Cost, request: PlanRequest, mesh: Mesh) -> Optimum:
    """The point of least cost within the request's range of replay ratios and ATPP."""
    bottom, top = np.log(request.least_atpp), np.log(request.atpp_limit)
    low, high = np.array([request.least_replay]), np.array([request.max_replay])
    replay, log_atpp, value = low, np.array([bottom]), np.array([np.inf])
    for points in (mesh.points, *[mesh.zoom] * mesh.rounds):
        grid = low[:, None] + (high - low)[:, None] * np.linspace(0, 1, points)
        atpps, values = _best_atpp(cost, grid, bottom, top, mesh)
        best = values.argmin(axis=1)
        rows = np.arange(len(values))
        grid = np.broadcast_to(grid, values.shape)
        better = values[rows, best] < value
        replay = np.where(better, grid[rows, best], replay)
        log_atpp = np.where(better, atpps[rows, best], log_atpp)
        value = np.where(better, values[rows, best], value)
        low = np.maximum(grid[rows, np.maximum(best - 1, 0)], request.least_replay)
        high = np.minimum(grid[rows, np.minimum(best + 1, points - 1)], request.max_replay)
    return Optimum(replay, log_atpp, value)


def _best_atpp(
    cost: Cost, replay: NDArray, bottom: float, top: float, mesh: Mesh
) -> tuple[NDArray, NDArray]:
    """At each replay ratio (g, r) the log ATPP (k, r) of least cost, and that cost."""
    low, high = np.full(replay.shape, bottom), np.full(replay.shape, top)
    for points in (mesh.points, *[mesh.zoom] * mesh.rounds):
        grid = low[..., None] + (high - low)[..., None] * np.linspace(0, 1, points)
        values = cost(replay[..., None], grid)
        grid = np.broadcast_to(grid, values.shape)
        best = values.argmin(axis=-1)[..., None]
        place, value = (np.take_along_axis(a, best, -1)[..., 0] for a in (grid, values))
        low, high = (
            np.take_along_axis(grid, (best + step).clip(0, points - 1), -1)[..., 0]
            for step in (-1, 1)
        )
    return place, value
