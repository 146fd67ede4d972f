"""The Pareto front: no other point has less target loss, less forgetting and less compute."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptpp.laws.fitted import LEVEL, FittedLaw
from ptpp.planning.forecast import Forecast
from ptpp.planning.request import PlanRequest
from ptpp.planning.search import quantile

OBJECTIVES = ("flops", "target_loss", "worst_forgetting")


def pareto_front(
    request: PlanRequest,
    target: FittedLaw,
    forgetting: Mapping[str, FittedLaw],
    atpps: int = 5,
    replays: int = 20,
) -> pd.DataFrame:
    """The points of a grid that no other point of it beats in all of `OBJECTIVES`.

    One row per point, by compute and then by replay ratio: law, protocol, replay, atpp, flops,
    target_loss, worst_forgetting and forgetting_<domain> by the point fits, nats. The worst of the
    base domains with a limit counts; without any, loss and compute alone. The limits themselves
    bound nothing here, but those on ATPP and compute bound the grid, which is even in log ATPP.
    Where the fits have draws, `<name>_low` and `<name>_high` are the ends of 90 % intervals;
    `extrapolated` names inputs outside the fitted rows' range.
    """
    grid = np.meshgrid(
        np.linspace(np.log(request.least_atpp), np.log(request.atpp_limit), atpps),
        np.linspace(request.min_replay, request.max_replay, replays),
        indexing="ij",
    )
    log_atpp, replay = (axis.reshape(1, -1) for axis in grid)
    point = Forecast.of(request, target, forgetting)
    values = {name: each[0] for name, each in _values(point, replay, log_atpp).items()}
    table = pd.DataFrame(
        {
            "law": target.record.law,
            "protocol": target.record.protocol,
            "replay": replay[0],
            "atpp": np.exp(log_atpp[0]),
            "flops": request.flops(1.0) * np.exp(log_atpp[0]),
            **values,
        }
    )
    every = (target, *(forgetting[domain] for domain in request.forgetting_limits))
    if all(one.draws is not None for one in every):
        drawn = _values(Forecast.of_draws(request, target, forgetting), replay, log_atpp)
        for name, each in drawn.items():
            table[f"{name}_low"] = quantile(each, (1 - LEVEL) / 2)[0]
            table[f"{name}_high"] = quantile(each, (1 + LEVEL) / 2)[0]
    table["extrapolated"] = [
        " ".join(point.extrapolated(r, a)) for r, a in zip(replay[0], log_atpp[0], strict=True)
    ]
    objectives = [table[name].to_numpy() for name in OBJECTIVES if name in table]
    return table[~find_dominated(np.stack(objectives, axis=1))].reset_index(drop=True)


def find_dominated(points: NDArray) -> NDArray:
    """Which of the points (n, k) another one beats: nowhere worse and somewhere better (n,)."""
    no_worse = (points[None] <= points[:, None]).all(axis=2)
    better = (points[None] < points[:, None]).any(axis=2)
    return (no_worse & better).any(axis=1)


def _values(forecast: Forecast, replay: NDArray, log_atpp: NDArray) -> dict[str, NDArray]:
    """Losses and forgetting (m, n) by name."""
    values = {"target_loss": forecast.target_loss(replay, log_atpp)}
    each = {
        f"forgetting_{domain}": forecast.forgetting_of(domain, replay, log_atpp)
        for domain in forecast.forgetting
    }
    if each:
        values["worst_forgetting"] = np.max(list(each.values()), axis=0)
    return values | each
