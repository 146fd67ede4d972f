"""Plans checked against measurements: what a law's choice among measured cells turned out to be.

A law that has not seen the held-out stage chooses among the cells measured there; the chosen cell
is looked up, and so is the best one. Limits are swept over what the measurements reach, so that no
single lucky cell decides, and are taken from the measured losses, which no fit or choice sees
otherwise. Anchors of any fit are no candidates, so that all laws choose among the same cells.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptpp.errors import InputError
from ptpp.laws.experiment import Experiment
from ptpp.laws.fitted import FittedLaw
from ptpp.laws.law import ROWS
from ptpp.laws.levels import LAST_STAGE
from ptpp.laws.rows import cells_of, law_rows
from ptpp.planning.forecast import drawn_values, group_by_target, point_draws, robust_draws
from ptpp.planning.search import TOLERANCE, quantile
from ptpp.table.anchors import is_anchor
from ptpp.table.kinds import (
    cell_means,
    forgetting_rows,
    is_before,
    is_stage,
    is_sweep,
    list_stages,
    target_rows,
    with_stages,
)

FORGETTING_QUANTILES = (0.25, 0.5, 0.75, 1.0)
TARGET_QUANTILES = (0.1, 0.25, 0.5, 0.75)
CELL = ["size", "n_params", "replay", "atpp"]


@dataclass(frozen=True)
class Case:
    """One question about one size: `limits` (k,) of target loss and each forgetting, nats.

    The target loss's limit is infinite for the goal least_loss; `max_atpp` is for every goal.
    """

    goal: str
    size: str
    limits: NDArray
    max_atpp: float


def regret_cases(
    fits: Sequence[FittedLaw], experiment: Experiment, confidence: float = 0.9
) -> pd.DataFrame:
    """Every law's choice for every case, one row each; columns as below, then `Case`'s.

    goal, law, protocol, kind ("point", or "robust" where there are draws), size, n_params; the
    chosen and the best cell (replay, atpp, best_replay, best_atpp); `declared`: the law says that
    the limits can be met; `met`: the chosen cell truly meets them; `is_best`: it also costs no more
    (least_compute) or loses no more (least_loss) than the best cell; `excess`: nats it truly
    exceeds the worst limit by, or 0; `compute_ratio`: its compute over that of the best cell;
    `loss_regret`: its true target loss minus the best cell's (nats, least_loss).

    `fits`: target fits, and forgetting fits of the same protocols for the limited base domains.
    Raises InputError where the held-out stage has no cells to choose from.
    """
    observations, held_out = with_stages(experiment.observations), experiment.held_out
    pairs = group_by_target(fits)
    if not pairs:
        raise InputError("plan regret: no target fit to check")
    domains = sorted({domain for _, others in pairs for domain in others})
    target = pairs[0][0].record.domain
    truth = true_cells(observations, target, domains, held_out)
    truth = truth[~is_anchor(truth, experiment.anchors, held_out)].reset_index(drop=True)
    if truth.empty:
        raise InputError(f"plan regret: no cells at PTPP {held_out:g} beside the anchors")
    names = ["target_loss", *(f"forgetting_{domain}" for domain in domains)]
    actual = truth[names].to_numpy().T
    cases = [case for size in truth["size"].unique() for case in _cases(truth, names, size)]
    forecasts = [one for pair in pairs for one in _forecasts(*pair, observations, truth)]
    sweep = observations[is_sweep(observations) & is_before(observations, held_out)]
    if before := list_stages(sweep):
        early = true_cells(observations, target, domains, before[-1])
        early = truth[CELL].merge(early, on=CELL, how="left")  # NaN where it has no such cell
        forecasts.append(((LAST_STAGE, "", "point"), early[names].to_numpy().T[:, None]))
    limits, rows = [f"{name}_limit" for name in names], []
    for ((law, protocol, kind), values), case in product(forecasts, cases):
        labels = {"goal": case.goal, "law": law, "protocol": protocol, "kind": kind}
        judged = _judge(case, truth, actual, values, confidence if kind == "robust" else 1.0)
        rows.append({**labels, **judged, **dict(zip(limits, case.limits, strict=True))})
    return pd.DataFrame(rows)


def regret_table(cases: pd.DataFrame) -> pd.DataFrame:
    """Cases summed up, one row per goal, law, protocol and kind.

    cases: how many; declared, met, best_cell: shares of cases; excess_mean, excess_max: nats over
    the worst limit; compute_ratio (geometric mean), compute_ratio_max and loss_regret (mean, nats):
    over the cases that met their limits, since a cell that breaks a limit is no bargain.
    """
    rows = []
    keys = ["goal", "law", "protocol", "kind"]
    for labels, group in cases.groupby(keys, sort=False):
        good = group[group["met"]]
        ratios = good["compute_ratio"]
        row = dict(zip(keys, labels, strict=True)) | {"cases": len(group)}
        row |= group[["declared", "met", "is_best"]].mean().rename({"is_best": "best_cell"})
        row |= {"excess_mean": group["excess"].mean(), "excess_max": group["excess"].max()}
        row["compute_ratio"] = float(np.exp(np.log(ratios).mean())) if len(good) else np.nan
        row["compute_ratio_max"] = ratios.max()
        rows.append(row | {"loss_regret": good["loss_regret"].mean()})
    return pd.DataFrame(rows).sort_values("goal", kind="stable").reset_index(drop=True)


def true_cells(
    observations: pd.DataFrame, target: str, domains: Sequence[str], stage: float
) -> pd.DataFrame:
    """The sweep cells of a stage that have every domain's loss, seeds averaged.

    Columns size, n_params, ptpp, stage, replay, atpp, target_loss, and forgetting_<domain> and
    zero_shot_<domain>, the checkpoint's loss before adaptation, nats.
    """
    observations = with_stages(observations)
    rows = target_rows(observations, target)
    table = rows[is_stage(rows, stage)].rename(columns={"loss": "target_loss"})
    table = table[[*CELL, "ptpp", "stage", "target_loss"]]
    for domain in domains:
        rows = forgetting_rows(observations, domain)
        rows = cell_means(rows[is_stage(rows, stage) & is_sweep(rows)])
        ours = {"forgetting": f"forgetting_{domain}", "zero_shot_loss": f"zero_shot_{domain}"}
        rows = rows.rename(columns=ours)
        table = table.merge(rows[[*CELL, *ours.values()]], on=CELL)
    return table.sort_values(CELL).reset_index(drop=True)


def _forecasts(
    target: FittedLaw, others: Mapping, observations: pd.DataFrame, truth: pd.DataFrame
) -> Iterator[tuple[tuple[str, str, str], NDArray]]:
    """(law, protocol, kind) and the forecasts (limits, draws, cells) of the cells of `truth`.

    Cells of which a forgetting law does not speak are infinitely bad.
    """
    keys = [*CELL, "ptpp"]
    rows = cells_of(law_rows(observations, target.law, target.record.domain))
    every, tables = [target], [truth[keys].merge(rows, on=keys)]
    for domain in sorted(others):
        every.append(others[domain])
        tables.append(truth[keys].assign(zero_shot_loss=truth[f"zero_shot_{domain}"]))
    label = (target.record.law, target.record.protocol)
    for kind in ("point", "robust"):
        draws = point_draws(every) if kind == "point" else robust_draws(every)
        if draws is None:
            continue
        values = np.full((len(every), len(draws[0]), len(truth)), np.inf)
        for part, one, drawn, table in zip(values, every, draws, tables, strict=True):
            spoken = ROWS[one.law.rows](table["replay"].to_numpy())
            part[:, spoken] = drawn_values(one, drawn, table[spoken])
        yield (*label, kind), np.nan_to_num(values, nan=np.inf)


def _cases(truth: pd.DataFrame, names: Sequence[str], size: str) -> Iterator[Case]:
    """The questions asked about one size."""
    cells = truth[truth["size"] == size]
    largest = float(cells["atpp"].max())
    quantiles = FORGETTING_QUANTILES if len(names) > 1 else (1.0,)
    for share in quantiles:
        forgetting = cells[names[1:]].quantile(share).to_numpy()
        permitted = cells[(cells[names[1:]] <= forgetting + TOLERANCE).all(axis=1)]
        if permitted.empty:
            continue
        for limit in np.unique(permitted["target_loss"].quantile(list(TARGET_QUANTILES))):
            yield Case("least_compute", size, np.array([limit, *forgetting]), largest)
        for most in np.unique(permitted["atpp"]):
            yield Case("least_loss", size, np.array([np.inf, *forgetting]), float(most))


def _judge(
    case: Case, truth: pd.DataFrame, actual: NDArray, values: NDArray, confidence: float
) -> dict:
    """The law's choice and the best one: `actual` (limits, cells), `values` (limits, m, cells)."""
    places = np.flatnonzero((truth["size"] == case.size) & (truth["atpp"] <= case.max_atpp))
    atpp = truth["atpp"].to_numpy()[places]
    chosen, declared = _choose(case, atpp, values[:, :, places], confidence)
    true = actual[:, None, places]
    best, _ = _choose(case, atpp, true, 1.0)
    excess = float(np.max(true[:, 0, chosen] - case.limits, initial=-np.inf))
    cell, other = truth.iloc[places[chosen]], truth.iloc[places[best]]
    by_compute = case.goal == "least_compute"
    regret = np.nan if by_compute else cell["target_loss"] - other["target_loss"]
    met = excess <= TOLERANCE
    return {
        **cell[["size", "n_params", "replay", "atpp"]],
        "best_replay": other["replay"],
        "best_atpp": other["atpp"],
        "declared": declared,
        "met": met,
        "is_best": met and bool(cell["atpp"] == other["atpp"] if by_compute else regret == 0),
        "excess": max(excess, 0.0),
        "compute_ratio": cell["atpp"] / other["atpp"],
        "loss_regret": regret,
        "max_atpp": case.max_atpp,
    }


def _choose(case: Case, atpp: NDArray, values: NDArray, confidence: float) -> tuple[int, bool]:
    """The place of the best cell by forecasts (limits, m, cells), and whether any is permitted.

    Of least compute, the one with the most room to its limits is taken. Where no cell is permitted,
    the one that breaks its limits least.
    """
    worst = quantile((values - case.limits[:, None, None]).max(axis=0), confidence)[0]
    allowed = worst <= TOLERANCE
    if not allowed.any():
        return int(worst.argmin()), False
    if case.goal == "least_compute":
        order = np.lexsort([worst, np.where(allowed, atpp, np.inf)])
        return int(order[0]), True
    loss = quantile(values[0], confidence)[0]
    return int(np.where(allowed, loss, np.inf).argmin()), True
