"""Which anchors, and how many: choices compared on the same held-out rows.

"spread" and "random" know the design alone; "v_optimal" also knows a fit of the early stages and
where its forecast is wanted, and picks the cells whose measurement shrinks the variance of that
forecast most (V-optimality is textbook design of experiments; the greedy search and the prior from
the bounds are ours). None sees a loss of the held-out stage before it is chosen.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
import pandas as pd

from ptpp.errors import InputError
from ptpp.laws.declared import find_law
from ptpp.laws.experiment import Experiment
from ptpp.laws.fitted import FittedLaw
from ptpp.laws.fitting import FitSettings, fit
from ptpp.laws.law import Law
from ptpp.laws.misfit import krige_where_possible
from ptpp.laws.rows import cells_of, law_rows
from ptpp.laws.scoring import score
from ptpp.table.anchors import Cell, cells_in, choose_anchors, is_anchor, measured_cells
from ptpp.table.kinds import is_stage
from ptpp.table.protocols import early_to_late, with_anchors

CHOICES = ("spread", "random", "v_optimal")
SWEEP_COLUMNS = (
    *("law", "domain", "choice", "count", "repeat", "n_fit", "n_held_out"),
    *("mae_rel", "law_mae_rel", "calibration_slope", "converged", "note"),
)
_STARTS = 8
_LEAST_NOISE = 1e-4  # of log residuals: rows without noise would leave no room for the prior


@dataclass(frozen=True)
class SweepRequest:
    """`grid`: sizes, replay and atpp that anchors may come from. `targets`: the points (columns of
    the laws' inputs) whose forecast "v_optimal" is to sharpen. `counts`: how many anchors.
    `repeats`: random choices per count. `settings`: of the fits; 8 starts at most are used.
    """

    grid: Mapping[str, Sequence]
    targets: pd.DataFrame
    counts: Sequence[int]
    choices: Sequence[str] = CHOICES
    repeats: int = 3
    seed: int = 0
    settings: FitSettings = field(default_factory=FitSettings)

    def __post_init__(self) -> None:
        # There are hundreds of fits.
        few = replace(self.settings, starts=min(self.settings.starts, _STARTS))
        object.__setattr__(self, "settings", few)


def anchor_sweep(
    experiment: Experiment, laws: Sequence[Law | str], domain: str, request: SweepRequest
) -> pd.DataFrame:
    """Scores of every law with 0, 1, 3, ... anchors by every choice, `SWEEP_COLUMNS`.

    `mae_rel` and `calibration_slope` are of the kriged forecast, `law_mae_rel` of the law alone.

    All fits are scored on the cells of the held-out stage that no compared choice took. Counts
    beyond the cells there are are left out, and so is "v_optimal" for a law that needs more than
    the targets hold; `note` says why a fit failed. Raises InputError where nothing is left to
    score.
    """
    observations, held_out = experiment.observations, experiment.held_out
    of_domain = observations[observations["domain"] == domain]
    total = len(_cells(request.grid, measured_cells(of_domain, held_out)))
    counts = sorted({count for count in request.counts if count <= total})
    tables = [(law, law_rows(observations, law, domain)) for law in map(find_law, laws)]
    most = max(counts, default=0)
    choices = [_choose_cells(*each, held_out, request, most) for each in tables]
    taken = {cell for of_law in choices for _, _, cells in of_law for cell in cells}
    results = []
    for (law, table), of_law in zip(tables, choices, strict=True):
        scored = cells_of(table[is_stage(table, held_out) & ~is_anchor(table, taken, held_out)])
        if scored.empty:
            raise InputError(
                f"anchor sweep: the compared anchors take every cell at the held-out stage "
                f"{held_out:g}; keep a size out of held_out.anchors.sizes"
            )
        early = early_to_late(table, held_out).fit
        without = _score_fit(law, early, scored, request.settings, held_out)
        for (choice, repeat, cells), count in product(of_law, counts):
            scores = without
            if count:
                part = with_anchors(table, held_out, cells[:count]).fit
                scores = _score_fit(law, part, scored, request.settings, held_out)
            labels = {"law": law.name, "domain": domain, "choice": choice}
            results.append({**labels, "count": count, "repeat": repeat, **scores})
    return pd.DataFrame(results, columns=list(SWEEP_COLUMNS))


def plan_targets(
    grid: Mapping[str, Sequence],
    n_params: float,
    ptpp: float,
    max_atpp: float,
    base_loss: float | None = None,
) -> pd.DataFrame:
    """What a plan compares: its model at every measured replay ratio and allowed ATPP. `base_loss`
    [nats per token] is for laws that read it.
    """
    atpps = [atpp for atpp in grid["atpp"] if atpp <= max_atpp] or [max_atpp]
    points = list(product(grid["replay"], atpps))
    frame = pd.DataFrame(points, columns=["replay", "atpp"])
    frame = frame.assign(n_params=float(n_params), ptpp=float(ptpp))
    if base_loss is not None:
        frame["base_loss"] = float(base_loss)
    return frame.assign(adapt_tokens=frame["atpp"] * frame["n_params"])


def random_cells(
    grid: Mapping[str, Sequence], count: int, seed: int, measured: Collection[Cell] | None = None
) -> list[Cell]:
    """`count` cells (of those measured) drawn without replacement; fewer are a prefix of more."""
    cells = _cells(grid, measured)
    order = np.random.default_rng(seed).permutation(len(cells))
    return [cells[i] for i in order[:count]]


def v_optimal_cells(
    fitted: FittedLaw, candidates: pd.DataFrame, targets: pd.DataFrame, count: int
) -> list[Cell]:
    """The cells whose measurement shrinks the variance of the forecasts at `targets` most.

    `fitted`: a fit with its rows; `candidates`: one row per cell, whose losses are not read.
    Linearised at the fit, with independent errors of log loss; what the rows cannot identify is
    held by a prior as wide as the bounds. Greedy, so a smaller count gives a prefix. Raises
    InputError where `targets` lack an input of the law.
    """
    problem = fitted.problem
    open_ = problem.free | problem.by_prior
    gained = fitted.log_slopes(candidates)[:, open_]
    wanted = fitted.log_slopes(targets)[:, open_]
    slopes = problem.jacobian(problem.theta)[:, open_]
    residuals = problem.log_residuals(problem.theta)
    noise = max(float(np.sqrt(np.mean(residuals**2))), _LEAST_NOISE)
    low, high = problem.law.bounds()
    prior = 12 / (high - low)[open_] ** 2  # of a uniform distribution between the bounds
    covariance = np.linalg.inv(slopes.T @ slopes / noise**2 + np.diag(prior))
    chosen: list[int] = []
    for _ in range(min(count, len(candidates))):
        # A measurement along v lowers the variance along w by (w' C v)^2 / (noise^2 + v' C v).
        spread = gained @ covariance
        error = noise**2 + np.sum(spread * gained, axis=1)
        shrinkage = np.sum((wanted @ spread.T) ** 2, axis=0) / error
        shrinkage[chosen] = -np.inf
        best = int(shrinkage.argmax())
        chosen.append(best)
        covariance = covariance - np.outer(spread[best], spread[best]) / error[best]
    return cells_in(candidates.iloc[chosen])


def _cells(grid: Mapping[str, Sequence], measured: Collection[Cell] | None = None) -> list[Cell]:
    cells = [Cell(*each) for each in product(grid["sizes"], grid["replay"], grid["atpp"])]
    return cells if measured is None else [cell for cell in cells if cell in set(measured)]


def _choose_cells(
    law: Law, table: pd.DataFrame, held_out: float, request: SweepRequest, most: int
) -> list[tuple[str, int, list[Cell]]]:
    """(choice, repeat, cells in the order in which they are taken)."""
    choices, grid, seed = [], request.grid, request.seed
    measured = measured_cells(table, held_out)
    for choice in request.choices:
        if choice == "spread":
            choices.append((choice, 0, choose_anchors(grid, most, seed, measured)))
        elif choice == "random":
            for i in range(request.repeats):
                choices.append((choice, i, random_cells(grid, most, seed + i, measured)))
        elif all(column in request.targets for column in law.columns):
            candidates = table[is_anchor(table, _cells(grid, measured), held_out)]
            early = early_to_late(table, held_out).fit
            fitted = fit(law, early, request.settings, asked=held_out)
            choices.append((choice, 0, v_optimal_cells(fitted, candidates, request.targets, most)))
    return choices


def _score_fit(
    law: Law, part: pd.DataFrame, scored: pd.DataFrame, settings: FitSettings, asked: float
) -> dict:
    """Scores of one fit, or why there are none."""
    counts = {"n_fit": len(part), "n_held_out": len(scored)}
    try:
        fitted = fit(law, part, settings, asked=asked)
    except InputError as error:
        return {**counts, "converged": False, "note": str(error)}
    alone, note = fitted.score(scored), "; ".join(fitted.record.warnings)
    fitted, _ = krige_where_possible(fitted, asked)
    scores = score(scored["loss"], fitted.predict(scored)["loss"])
    labels = {"law_mae_rel": alone["mae_rel"], "converged": fitted.record.converged, "note": note}
    return {**scores, **counts, **labels}
