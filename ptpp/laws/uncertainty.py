"""How sure a fit is: bootstrap by run, prediction intervals and their measured coverage.

The rows of one run (one size, stage and replay ratio; its measurements along ATPP) share the noise
of one training, so runs are resampled, not rows. Each draw refits the law from the full fit.
Parameters that the design of the rows cannot identify are drawn at random from their band: a refit
that left them where they are would call them certain. The bootstrap is Efron's; the choice of
strata, the bands and the use of residuals are ours.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptpp.errors import InputError
from ptpp.laws.fitted import FittedLaw
from ptpp.laws.law import Law, Parameter
from ptpp.laws.problem import Problem
from ptpp.laws.record import Draws
from ptpp.laws.solver import minimise
from ptpp.table.kinds import with_stages

RUN = ("size", "n_params", "stage", "replay")  # what the rows of one run have in common
BAND_POINTS = 12
_LEVELS_KEPT = 4  # of each input, in every resample, where the rows have as many
_MOST_REDRAWS = 1000


def bootstrap(fitted: FittedLaw, draws: int = 200, seed: int = 0) -> FittedLaw:
    """`fitted` with refits, each from the full fit, to `draws` resamples of the runs of its rows.

    Raises InputError where the rows are not the fit's, or have too few runs to resample.
    """
    problem, n_rows = fitted.problem, fitted.record.n_rows
    counts = resample_counts(fitted.rows, draws, seed)
    name, band, band_thetas = band_refits(problem)
    # One parameter per input with too few values: with it held, the rows can tell the others.
    held: dict[str, Parameter] = {}
    for parameter, _ in problem.unidentified:
        before = held.get(parameter.needs[0])
        if before is None or before.band is None:
            held[parameter.needs[0]] = parameter
    drawn = list(held.values())
    generator = np.random.default_rng([seed, 1])
    starts = np.tile(problem.theta, (draws, 1))
    free = problem.free.copy()
    for parameter in drawn:
        low, high = (parameter.to_solver(end) for end in plausible(parameter))
        values = generator.uniform(low, high, size=draws)
        j = problem.law.names.index(parameter.name)
        if parameter.name == name:  # the refit with a near value is the better start
            starts = band_thetas[np.abs(values[:, None] - band).argmin(axis=1)].copy()
        starts[:, j], free[j] = values, False
    thetas, objectives = refits(problem, starts, free, counts.astype(float))
    spare = max(n_rows - int(problem.free.sum()), 1)
    # By run: a law fitted to seeds apart shares its resamples with one fitted to their means.
    of_run = np.unique(run_numbers(fitted.rows), return_index=True)[1]
    digest = hashlib.sha256(np.ascontiguousarray(counts[:, of_run], "<i4").tobytes()).hexdigest()
    result = Draws(
        names=problem.law.names,
        params=_natural(problem.law, thetas),
        objectives=objectives,
        residuals=problem.log_residuals(problem.theta) * np.sqrt(n_rows / spare),
        drawn=tuple(parameter.name for parameter in drawn),
        band_name=name,
        band=band,
        band_params=_natural(problem.law, band_thetas),
        resamples=digest,
        seed=seed,
    )
    return replace(fitted, draws=result)


def resample_counts(
    frame: pd.DataFrame, draws: int, seed: int = 0, keep_levels: bool = True
) -> NDArray:
    """How often each row counts (draws, n): runs drawn with replacement within each stage.

    `keep_levels`: a draw that lost too much to be fitted is drawn again; it must keep half of the
    runs, and of each of size, stage, replay and ATPP four levels, or all there are. Equal rows give
    equal draws to every law. Raises InputError where draws keep failing.
    """
    if draws < 1:
        raise InputError(f"bootstrap: {draws} draws; accepted is 1 or more")
    frame = with_stages(frame) if "ptpp" in frame else frame
    runs = run_numbers(frame)
    of_run = np.unique(runs, return_index=True)[1]  # a row of each run
    stages = frame["stage"].to_numpy()[of_run] if "stage" in frame else np.zeros(len(of_run))
    strata = [np.flatnonzero(stages == stage) for stage in np.unique(stages)]
    levels = [
        np.unique(frame[column].to_numpy(float).round(12), return_inverse=True)[1]
        for column in ("n_params", "stage", "replay", "atpp")
        if column in frame
    ]
    needed = [min(_LEVELS_KEPT, level.max() + 1) for level in levels]
    generator = np.random.default_rng(seed)
    counts = np.empty((draws, len(frame)), dtype=np.int64)
    for i in range(draws):
        for _ in range(_MOST_REDRAWS):
            drawn = np.zeros(len(of_run), dtype=np.int64)
            for stratum in strata:
                even = np.full(len(stratum), 1 / len(stratum))
                drawn[stratum] = generator.multinomial(len(stratum), even)
            counts[i] = drawn[runs]
            kept = [np.unique(level[counts[i] > 0]).size for level in levels]
            enough = all(have >= need for have, need in zip(kept, needed, strict=True))
            if not keep_levels or (2 * np.count_nonzero(drawn) >= len(drawn) and enough):
                break
        else:
            raise InputError(
                f"bootstrap: {len(of_run)} runs are too few to resample; more sizes, stages or "
                "replay ratios are needed"
            )
    return counts


def run_numbers(frame: pd.DataFrame) -> NDArray:
    """The number (n,) of the run each row belongs to: equal `RUN` columns are one run."""
    frame = with_stages(frame) if "ptpp" in frame else frame
    columns = [column for column in RUN if column in frame]
    if not columns:
        return np.arange(len(frame))
    return frame.groupby(columns, sort=True).ngroup().to_numpy()


def plausible(parameter: Parameter) -> tuple[float, float]:
    """The band from which a parameter that is not identified is drawn: its own, or its bounds."""
    low, high = parameter.band or (parameter.low, parameter.high)
    return max(low, parameter.low), min(high, parameter.high)


def band_refits(problem: Problem) -> tuple[str, NDArray, NDArray]:
    """Refits (k, p) with the banded parameter that is not identified held across its band (k,).

    ("", no values, no refits) where there is none. Refits go outward from the value nearest to the
    fit's own, each from its neighbour.
    """
    parameter = next((p for p, _ in problem.unidentified if p.band is not None), None)
    if parameter is None:
        return "", np.empty(0), np.empty((0, len(problem.theta)))
    j = problem.law.names.index(parameter.name)
    band = np.linspace(*plausible(parameter), BAND_POINTS)
    free = problem.free.copy()
    free[j] = False
    thetas = np.empty((len(band), len(problem.theta)))
    centre = int(np.abs(band - parameter.from_solver(problem.theta[j])).argmin())
    theta = problem.theta
    for k in (*range(centre, len(band)), *range(centre - 1, -1, -1)):
        start = thetas[centre].copy() if k == centre - 1 else theta.copy()
        start[j] = parameter.to_solver(band[k])
        thetas[k] = theta = refits(problem, start[None], free)[0][0]
    return parameter.name, band, thetas


def coverage(observed: Sequence[float] | NDArray, low: NDArray, high: NDArray) -> float:
    """Share of observed losses within their intervals."""
    observed = np.asarray(observed, dtype=float)
    return float(np.mean((observed >= low) & (observed <= high)))


def _natural(law: Law, thetas: NDArray) -> NDArray:
    """Solver's vectors (m, p) as parameter values (m, p)."""
    return np.array([list(law.from_solver(t).values()) for t in thetas]).reshape(thetas.shape)


def refits(
    problem: Problem, starts: NDArray, free: NDArray, weights: NDArray | None = None
) -> tuple[NDArray, NDArray]:
    """Local refits: solver's vectors (m, p) from `starts` (m, p), and their objectives (m,).

    `free` (p,) or (m, p): which parameters may move. `weights` (m, n): how often each row counts.
    """
    low, high = problem.law.bounds()
    starts = np.clip(starts, low, high)
    wanted = np.flatnonzero(np.any(np.atleast_2d(free), axis=0))

    def residuals(theta: NDArray) -> tuple[NDArray, NDArray]:
        values, slopes = problem.with_slopes(theta, wanted)
        everything = np.zeros((*theta.shape, slopes.shape[-1]))  # a slope of 0 holds a parameter
        everything[:, wanted] = slopes
        return values, everything

    low, high = np.where(free, low, starts), np.where(free, high, starts)
    solution = minimise(residuals, starts, low, high, problem.delta, weights, tolerance=1e-8)
    return solution.x, solution.objective
