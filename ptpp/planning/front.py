"""The Pareto front: no other point has less target loss, less forgetting and less compute."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptpp.laws.fitted import ENDS, FittedLaw
from ptpp.planning.forecast import Forecast, robust_draws
from ptpp.planning.request import PlanRequest
from ptpp.planning.search import quantile

OBJECTIVES = ("flops", "target_loss", "worst_forgetting")
_ATPPS, _REPLAYS = 5, 20  # points of the grid


def pareto_front(
    request: PlanRequest, target: FittedLaw, forgetting: Mapping[str, FittedLaw]
) -> pd.DataFrame:
    """The points of a grid that no other point of it beats in all of `OBJECTIVES`.

    One row per point, by compute and then by replay ratio: law, protocol, replay, atpp, flops,
    target_loss, worst_forgetting and forgetting_<domain> by the point fits, nats. The worst of the
    base domains with a limit counts; without any, loss and compute alone. Limits on ATPP and
    compute bound the grid, which is even in log ATPP. With draws, `<name>_low` and `<name>_high`
    are the ends of 90 % intervals; `extrapolated` names inputs outside the fitted rows' range.
    """
    grid = np.meshgrid(
        np.linspace(np.log(request.least_atpp), np.log(request.atpp_limit), _ATPPS),
        np.unique(np.linspace(request.least_replay, request.max_replay, _REPLAYS)),
        indexing="ij",
    )
    log_atpp, replay = (axis.reshape(1, -1) for axis in grid)
    point = Forecast.of(request, target, forgetting)
    table = pd.DataFrame({"replay": replay[0], "atpp": np.exp(log_atpp[0])})
    table["flops"] = request.flops(1.0) * table["atpp"]
    for name, each in _values(point, replay, log_atpp).items():
        table[name] = each[0]
    if robust_draws(list(point.laws.values())) is not None:
        drawn = _values(Forecast.of_draws(request, target, forgetting), replay, log_atpp)
        for name, each in drawn.items():
            for end, share in zip(("low", "high"), ENDS, strict=True):
                table[f"{name}_{end}"] = quantile(each, share)[0]
    points = zip(replay[0], log_atpp[0], strict=True)
    table["extrapolated"] = [" ".join(point.extrapolated(r, a)) for r, a in points]
    table.insert(0, "law", target.record.law)
    table.insert(1, "protocol", target.record.protocol)
    objectives = [table[name].to_numpy() for name in OBJECTIVES if name in table]
    return table[~find_dominated(np.stack(objectives, axis=1))].reset_index(drop=True)


def find_dominated(points: NDArray) -> NDArray:
    """Which of the points (n, k) another one beats: nowhere worse and somewhere better (n,)."""
    no_worse = (points[None] <= points[:, None]).all(axis=2)
    better = (points[None] < points[:, None]).any(axis=2)
    return (no_worse & better).any(axis=1)


def _values(forecast: Forecast, replay: NDArray, log_atpp: NDArray) -> dict[str, NDArray]:
    """Losses and forgetting (m, n) by name."""
    values = forecast.values(replay, log_atpp)
    loss, *others = values.values()
    worst = {"worst_forgetting": np.max(others, axis=0)} if others else {}
    return {"target_loss": loss, **worst, **values}
