"""The next measurement worth buying: how much each cell would tell about a plan, at what cost.

A plan's uncertainty is the variance of what it promises: its target loss and its forgetting of each
limited base domain, nats squared, summed. A measurement y with noise variance v lowers the variance
of a promise q, jointly normal with it, by cov(q, y)^2 / (var(y) + v) (the textbook conditional
variance; as a criterion for choosing what to measure: Cohn, Ghahramani and Jordan 1996, arXiv
cs/9603104). Variances and covariances are those of the kriged forecast, parameters and misfit
together; of a law that is not kriged, those of its bootstrap draws [ours].
"""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptpp.laws.base_loss import BaseLosses
from ptpp.laws.fitted import ENDS, FittedLaw
from ptpp.laws.law import ROWS
from ptpp.laws.problem import Columns
from ptpp.planning.forecast import drawn_values
from ptpp.planning.front import find_dominated
from ptpp.planning.request import FLOPS_PER_PARAMETER_AND_TOKEN
from ptpp.table.kinds import stages_of

_PLACES = ("n_params", "ptpp", "replay", "atpp", "adapt_tokens")
LARGER = (2, 4)  # times the largest measured size, beside the measured sizes


def candidate_cells(
    rows: pd.DataFrame,
    plan: Mapping,
    stages: Sequence[float],
    before: Mapping[str, BaseLosses] | None = None,
) -> pd.DataFrame:
    """Cells that could be measured next, one row each, with what they cost.

    The sizes, replay ratios and ATPP of the `rows` of the target fit at every one of `stages`, and
    a step beyond: models `LARGER` than the largest, twice the largest ATPP and the replay ratio of
    `plan`, a row of `plan_table`. Cells among the rows are left out: a repeat averages noise alone.
    `flops_adapt`: 6 N^2 ATPP; `flops_pretrain`: 6 N^2 PTPP where no row has the checkpoint, else 0.
    `before`, by `losses_before`: adds columns of losses before adaptation, for laws that read them.
    """
    rows = rows.assign(ptpp=stages_of(rows))
    largest, most = float(rows["n_params"].max()), float(rows["atpp"].max())
    axes = (
        [*sorted(rows["n_params"].unique()), *(factor * largest for factor in LARGER)],
        sorted({float(stage) for stage in stages}),
        sorted({*rows["replay"].unique(), np.floor(1e3 * plan["replay"]) / 1e3}),
        [*sorted(rows["atpp"].unique()), 2 * most],
    )
    table = pd.DataFrame(list(product(*axes)), columns=["n_params", "ptpp", "replay", "atpp"])
    table = table[~_among(table, rows, ["n_params", "ptpp", "replay", "atpp"])]
    table = table.reset_index(drop=True)
    table["adapt_tokens"] = table["atpp"] * table["n_params"]
    keys = ["n_params", "ptpp"]
    checkpoints = table[keys].drop_duplicates()
    for name, losses in (before or {}).items():
        values = [losses.find(n, p)[0] for n, p in checkpoints.itertuples(index=False)]
        table = table.merge(checkpoints.assign(**{name: values}), on=keys, how="left")
    square = FLOPS_PER_PARAMETER_AND_TOKEN * table["n_params"] ** 2
    there = _among(table, rows, ["n_params", "ptpp"])
    table["flops_adapt"] = square * table["atpp"]
    table["flops_pretrain"] = np.where(there, 0.0, square * table["ptpp"])
    table["flops"] = table["flops_adapt"] + table["flops_pretrain"]
    return table


def next_measurements(
    plan: Mapping, target: FittedLaw, forgetting: Mapping[str, FittedLaw], candidates: pd.DataFrame
) -> pd.DataFrame:
    """The candidates worth their cost, the most telling first: no other tells as much for less.

    `plan`: a row of `plan_table`; `candidates`: by `candidate_cells`. One run measures every
    domain. Adds law, protocol, `cut_<promise>` (nats squared), `cut_share` (of the variance of all
    promises), `cut_share_per_flop`. Raises InputError where a fit has neither misfit nor draws.
    """
    promises = {"target_loss": target} | {f"forgetting_{d}": one for d, one in forgetting.items()}
    table, total = candidates.copy(), 0.0
    point, cuts = pd.DataFrame([plan]), []
    for name, one in promises.items():
        spoken = ROWS[one.law.rows](candidates["replay"].to_numpy())
        frames = (_rows_for(name, one, frame) for frame in (point, candidates[spoken]))
        cut = np.zeros(len(candidates))  # a cell of which the law does not speak tells it nothing
        cut[spoken], variance = (_cut_by_draws if one.misfit is None else _kriged_cut)(one, *frames)
        table[f"cut_{name}"] = cut
        total += variance
        cuts.append(cut)
    table["cut_share"] = np.sum(cuts, axis=0) / total if total > 0 else 0.0
    table["cut_share_per_flop"] = table["cut_share"] / table["flops"]
    table.insert(0, "law", plan["law"])
    table.insert(1, "protocol", plan["protocol"])
    worth = ~find_dominated(np.stack([table["flops"], -table["cut_share"]], axis=1))
    ranked = table[worth].sort_values("cut_share", ascending=False, kind="stable")
    return ranked.reset_index(drop=True)


def variance_cut(promised: NDArray, measured: NDArray, noise: float) -> tuple[NDArray, float]:
    """By how much measuring each of `measured` (m, c) lowers the variance of `promised` (m,).

    Returns the cuts (c,) and the variance they are cut from. `noise`: variance of a measurement.
    Draws outside their 90 % interval are pulled in to its ends: a few wild ones would decide.
    """
    q, y = _clip_to_interval(promised[:, None])[:, 0], _clip_to_interval(measured)
    q, y = q - q.mean(), y - y.mean(axis=0)
    together = q @ y / len(q)
    spread = np.mean(y**2, axis=0) + noise
    cut = np.divide(together**2, spread, out=np.zeros_like(spread), where=spread > 0)
    return cut, float(np.mean(q**2))


def _clip_to_interval(values: NDArray) -> NDArray:
    return np.clip(values, *np.quantile(values, ENDS, axis=0))


def _kriged_cut(one: FittedLaw, point: Columns, cells: Columns) -> tuple[NDArray, float]:
    """`variance_cut` of the kriged forecast of `point` (one row) by measuring `cells` once each."""
    loss, spread = one.forecast(point, noise=False)
    measured = one.forecast(cells)[1]  # of one run's log loss
    cut = (loss * one.joint(point, cells)[0] / measured) ** 2
    variance = float(loss[0] * spread[0]) ** 2
    return np.minimum(cut, variance), variance  # rounding


def _cut_by_draws(one: FittedLaw, point: Columns, cells: Columns) -> tuple[NDArray, float]:
    draws = one.need_draws()
    drawn = (drawn_values(one, draws.params, rows) for rows in (point, cells))
    promised, measured = (np.nan_to_num(v, nan=1e6, posinf=1e6, neginf=-1e6) for v in drawn)
    # Of one measured loss about the law: noise and misfit together, nats squared.
    noise = np.mean((draws.residuals * one.rows["loss"].to_numpy()) ** 2)
    return variance_cut(promised[:, 0], measured, float(noise))


def _rows_for(promise: str, one: FittedLaw, table: pd.DataFrame) -> dict[str, NDArray]:
    """The columns of `table` that the law and its misfit read, for the domain promised."""
    before = promise.replace("forgetting_", "zero_shot_")
    names = {name: name for name in (*one.law.columns, *_PLACES)} | {"zero_shot_loss": before}
    return {name: table[key].to_numpy(float) for name, key in names.items() if key in table}


def _among(table: pd.DataFrame, other: pd.DataFrame, columns: list[str]) -> NDArray:
    """Which rows of `table` agree with some row of `other` in `columns`, to nine digits."""
    keys, there = (
        frame[columns].map("{:.9g}".format).agg(" ".join, axis=1) for frame in (table, other)
    )
    return keys.isin(there).to_numpy()
