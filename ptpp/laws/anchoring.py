"""Which anchors, and how many: choices compared on the same held-out rows.

Three ways to choose the cells of the held-out stage that a fit may see. "spread" and "random" know
the design alone; "v_optimal" also knows a fit of the early stages and where its forecast is wanted,
and picks the cells whose measurement shrinks the variance of that forecast most (V-optimality is
textbook design of experiments; the greedy search and the prior from the bounds are ours). None of
them sees a loss of the held-out stage before it is chosen.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptpp.errors import InputError
from ptpp.laws.declared import find_law
from ptpp.laws.fitting import FitSettings, fit, law_inputs, predict_loss
from ptpp.laws.law import Law
from ptpp.laws.record import Fit
from ptpp.laws.rows import law_rows
from ptpp.laws.scoring import score
from ptpp.laws.uncertainty import Rows, bounds
from ptpp.table.anchors import Cell, choose_anchors, is_anchor, measured_cells
from ptpp.table.observations import is_stage
from ptpp.table.protocols import early_to_late, with_anchors

CHOICES = ("spread", "random", "v_optimal")
SWEEP_COLUMNS = (
    *("law", "domain", "choice", "count", "repeat", "n_fit", "n_held_out"),
    *("mae_rel", "calibration_slope", "converged", "note"),
)
_STARTS = 8
_LEAST_NOISE = 1e-4  # of log residuals: rows without noise would leave no room for the prior


@dataclass(frozen=True)
class SweepRequest:
    """What is swept. `repeats`: how many random choices are made per count."""

    counts: Sequence[int]
    choices: Sequence[str] = CHOICES
    repeats: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [choice for choice in self.choices if choice not in CHOICES]
        if unknown:
            raise InputError(
                f"anchor sweep: choice {unknown[0]!r} is not known; "
                f"accepted are {', '.join(CHOICES)}"
            )


def anchor_sweep(
    observations: pd.DataFrame,
    laws: Sequence[Law | str],
    domain: str,
    held_out: float,
    grid: Mapping[str, Sequence],
    targets: pd.DataFrame,
    request: SweepRequest,
    settings: FitSettings,
) -> pd.DataFrame:
    """Scores of every law with 0, 1, 3, ... anchors by every choice, `SWEEP_COLUMNS`.

    `grid`: sizes, replay and atpp that anchors may come from. `targets`: the points (columns of the
    laws' inputs) whose forecast "v_optimal" is to sharpen. All fits of the table are scored on the
    same cells: those of the held-out stage that no compared choice took. Counts beyond the cells
    there are are left out, and so is "v_optimal" for a law that needs more than `targets` hold;
    `note` says why a fit failed. A fit has 8 starts at most, since there are hundreds of them.
    Raises InputError where nothing is left to score.
    """
    settings = replace(settings, starts=min(settings.starts, _STARTS))
    of_domain = observations[observations["domain"] == domain]
    total = len(_cells(grid, measured_cells(of_domain, held_out)))
    counts = sorted({count for count in request.counts if count <= total})
    found = {law.name: law for law in map(find_law, laws)}
    tables = {name: law_rows(observations, law, domain) for name, law in found.items()}
    chosen = {
        name: _choices(
            law, tables[name], held_out, grid, targets, request, max(counts, default=0), settings
        )
        for name, law in found.items()
    }
    taken = {cell for of_law in chosen.values() for _, _, cells in of_law for cell in cells}
    results = []
    for name, law in found.items():
        table = tables[name]
        scored = table[is_stage(table, held_out) & ~is_anchor(table, taken, held_out)]
        if scored.empty:
            raise InputError(
                f"anchor sweep: the compared anchors take every cell at the held-out stage "
                f"{held_out:g}; keep a size out of held_out.anchors.sizes"
            )
        early = early_to_late(table, held_out).fit
        without = _scored(law, early, scored, settings)
        for (choice, repeat, cells), count in product(chosen[name], counts):
            if count:
                part = with_anchors(table, held_out, cells[:count]).fit
                found_scores = _scored(law, part, scored, settings)
            else:
                found_scores = without
            labels = {"law": name, "domain": domain, "choice": choice}
            results.append({**labels, "count": count, "repeat": repeat, **found_scores})
    return pd.DataFrame(results, columns=list(SWEEP_COLUMNS))


def plan_targets(
    grid: Mapping[str, Sequence], n_params: float, ptpp: float, max_atpp: float
) -> pd.DataFrame:
    """What a plan compares: its model at every measured replay ratio and allowed ATPP."""
    atpps = [atpp for atpp in grid["atpp"] if atpp <= max_atpp] or [max_atpp]
    points = list(product(grid["replay"], atpps))
    frame = pd.DataFrame(points, columns=["replay", "atpp"])
    frame = frame.assign(n_params=float(n_params), ptpp=float(ptpp))
    return frame.assign(adapt_tokens=frame["atpp"] * frame["n_params"])


def random_cells(
    grid: Mapping[str, Sequence], count: int, seed: int, measured: Collection[Cell] | None = None
) -> list[Cell]:
    """`count` cells (of those measured) drawn without replacement; fewer are a prefix of more."""
    cells = _cells(grid, measured)
    order = np.random.default_rng(seed).permutation(len(cells))
    return [cells[i] for i in order[:count]]


def v_optimal_cells(
    record: Fit,
    early: pd.DataFrame,
    candidates: pd.DataFrame,
    targets: pd.DataFrame,
    count: int,
    law: Law | None = None,
) -> list[Cell]:
    """The cells whose measurement shrinks the variance of the forecasts at `targets` most.

    `record`: a fit of the rows `early`; `candidates`: one row per cell that may be measured, whose
    losses are not read. Linearised at the fit, with independent errors of log loss; what the rows
    cannot identify is held by a prior as wide as the bounds. Greedy, so a smaller count gives a
    prefix. Raises InputError where `targets` lack an input of the law.
    """
    rows = Rows.of(record, early, law)
    gained = _log_slopes(record, rows.law, candidates)[:, rows.free]
    wanted = _log_slopes(record, rows.law, targets)[:, rows.free]
    fitted = rows.jacobian(rows.best)[:, rows.free]
    noise = max(float(np.sqrt(np.mean(rows.log_residuals(rows.best) ** 2))), _LEAST_NOISE)
    low, high = bounds(rows.law)
    prior = 12 / (high - low)[rows.free] ** 2  # of a uniform distribution between the bounds
    covariance = np.linalg.inv(fitted.T @ fitted / noise**2 + np.diag(prior))
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
    cells = candidates[["size", "replay", "atpp"]].itertuples(index=False)
    cells = [Cell(*values) for values in cells]
    return [cells[i] for i in chosen]


def _log_slopes(record: Fit, law: Law, frame: pd.DataFrame) -> NDArray:
    """Derivatives (r, p) of the log forecast with respect to the solver's vector."""
    inputs, theta = law_inputs(law, frame), law.to_solver(record.params)
    slopes = law.jacobian(theta, inputs, record.reference)
    return slopes / law.predict(theta, inputs, record.reference)[:, None]


def _cells(grid: Mapping[str, Sequence], measured: Collection[Cell] | None = None) -> list[Cell]:
    cells = [Cell(*each) for each in product(grid["sizes"], grid["replay"], grid["atpp"])]
    return cells if measured is None else [cell for cell in cells if cell in set(measured)]


def _choices(
    law: Law,
    table: pd.DataFrame,
    held_out: float,
    grid: Mapping[str, Sequence],
    targets: pd.DataFrame,
    request: SweepRequest,
    most: int,
    settings: FitSettings,
) -> list[tuple[str, int, list[Cell]]]:
    """(choice, repeat, cells in the order in which they are taken)."""
    found = []
    measured = measured_cells(table, held_out)
    for choice in request.choices:
        if choice == "spread":
            axes = (grid[axis] for axis in ("sizes", "replay", "atpp"))
            cells = choose_anchors(*axes, most, request.seed, measured)
            found.append((choice, 0, cells))
        elif choice == "random":
            seeds = range(request.repeats)
            found += [
                (choice, i, random_cells(grid, most, request.seed + i, measured)) for i in seeds
            ]
        elif all(column in targets for column in law.columns):
            early = early_to_late(table, held_out).fit
            candidates = table[is_anchor(table, _cells(grid, measured), held_out)].reset_index(
                drop=True
            )
            record = fit(law, early, settings)
            cells = v_optimal_cells(record, early, candidates, targets, most, law)
            found.append((choice, 0, cells))
    return found


def _scored(law: Law, part: pd.DataFrame, scored: pd.DataFrame, settings: FitSettings) -> dict:
    """Scores of one fit, or why there are none."""
    counts = {"n_fit": len(part), "n_held_out": len(scored)}
    try:
        record = fit(law, part, settings)
        values = score(scored["loss"].to_numpy(), predict_loss(record, scored, law))
    except InputError as error:
        return {**counts, "converged": False, "note": str(error)}
    wanted = ("mae_rel", "calibration_slope")
    note = "; ".join(record.warnings)
    return {**counts, **{k: values[k] for k in wanted}, "converged": record.converged, "note": note}
