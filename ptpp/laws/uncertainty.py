"""How sure a fit is: bootstrap by run, prediction intervals and their measured coverage.

The rows of one run (one size, stage and replay ratio; its measurements along ATPP) share the noise
of one training, so runs are resampled, not rows, unless they are too few. Each draw refits the law
from the full fit. Parameters that the design of the rows cannot identify are drawn at random from
their band: a refit that left them where they are would call them certain. The bootstrap is Efron's;
the choice of strata and units, the bands and the use of residuals are ours.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptpp.errors import InputError
from ptpp.laws.fitted import FittedLaw
from ptpp.laws.large import is_large, refit_draws
from ptpp.laws.law import Law, Parameter
from ptpp.laws.problem import Problem
from ptpp.laws.record import Draws
from ptpp.laws.solver import minimise
from ptpp.table.kinds import with_stages

RUN = ("size", "n_params", "stage", "replay")  # what the rows of one run have in common
BAND_POINTS = 12
_LEVELS_KEPT = 4  # of each input, in every resample, where the rows have as many
_MOST_REDRAWS = 1000
LEAST_RESAMPLES = 30  # that differ; with fewer, quantiles are those of a handful of fits
_PROBES = 400  # draws among which so many are looked for
_MOST_COUNTS = 500_000_000  # draws times rows
_MOST_WEIGHTS = 20_000_000  # draws times rows that are refitted together


@dataclass(frozen=True)
class Resamples:
    """What each of m draws counts how often.

    `unit`: "run", "row" or "residual". `numbers` (n,): the unit each row belongs to. `counts` (m,
    units): how often each unit counts; for residuals which unit's residuals (m, units) each takes.
    `strata`: whether units were drawn within each stage.
    """

    unit: str
    numbers: NDArray
    counts: NDArray
    strata: bool = True

    @property
    def digest(self) -> str:
        """Equal for draws that can be compared pair by pair. By unit, not by row: a law fitted to
        seeds apart shares its resamples with one fitted to their means.
        """
        digest = hashlib.sha256()
        if self.unit != "run" or not self.strata:
            digest.update(f"{self.unit} {self.strata}".encode())
        digest.update(np.ascontiguousarray(self.counts, "<i4"))
        return digest.hexdigest()

    def weights(self) -> Iterator[NDArray]:
        """How often each row counts (n,), draw by draw."""
        return (row.astype(float)[self.numbers] for row in self.counts)

    def shifts(self, own: NDArray, scaled: NDArray) -> NDArray:
        """What to add to the residuals (n,), draw by draw (m, n), so that those of the fit, `own`,
        become `scaled` ones of other units: a row takes that of the same rank in its source.
        """
        order = np.argsort(self.numbers, kind="stable")
        sizes = np.bincount(self.numbers)
        first = np.cumsum(sizes) - sizes
        rank = np.empty(len(own), dtype=int)
        rank[order] = np.arange(len(own)) - first[self.numbers[order]]
        source = self.counts[:, self.numbers]
        return scaled[order[first[source] + rank % sizes[source]]] - own


def bootstrap(fitted: FittedLaw, draws: int = 200, seed: int = 0) -> FittedLaw:
    """`fitted` with refits, each from the full fit, to `draws` resamples of the runs of its rows.

    Where fewer than 30 different resamples are possible by run, rows are resampled, else residuals;
    `Draws.unit` tells. Raises InputError where the rows are not the fit's, or are too few.
    """
    problem, n_rows = fitted.problem, fitted.record.n_rows
    resamples = choose_resamples(fitted.rows, draws, seed)
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
        low, high = (parameter.to_solver(end) for end in parameter.plausible)
        values = generator.uniform(low, high, size=draws)
        j = problem.law.names.index(parameter.name)
        if parameter.name == name:  # the refit with a near value is the better start
            starts = band_thetas[np.abs(values[:, None] - band).argmin(axis=1)].copy()
        starts[:, j], free[j] = values, False
    spare = n_rows - int(problem.free.sum())
    own = problem.log_residuals(problem.theta)
    scaled = own * np.sqrt(n_rows / max(spare, 1))
    if resamples.unit == "residual" and spare < 1:
        raise InputError(
            f"bootstrap: {n_rows} rows are too few to resample, and a fit of {n_rows} parameters "
            "leaves no residuals; more rows are needed"
        )
    thetas, objectives = _refit_draws(problem, starts, free, resamples, own, scaled)
    result = Draws(
        names=problem.law.names,
        params=_natural(problem.law, thetas),
        objectives=objectives,
        residuals=scaled,
        drawn=tuple(parameter.name for parameter in drawn),
        band_name=name,
        band=band,
        band_params=_natural(problem.law, band_thetas),
        resamples=resamples.digest,
        seed=seed,
        unit=resamples.unit,
    )
    return replace(fitted, draws=result)


def _refit_draws(
    problem: Problem,
    starts: NDArray,
    free: NDArray,
    resamples: Resamples,
    own: NDArray,
    scaled: NDArray,
) -> tuple[NDArray, NDArray]:
    """The refits (m, p) of all draws and their objectives (m,), some draws at a time."""
    if is_large(problem) and resamples.unit != "residual":
        what = f"{problem.law.name}: bootstrap"
        return refit_draws(problem, starts, free, resamples.weights(), what)
    parts = []
    at_once = max(_MOST_WEIGHTS // len(problem.loss), 1)
    for begin in range(0, len(starts), at_once):
        rows = slice(begin, begin + at_once)
        some = replace(resamples, counts=resamples.counts[rows])
        if some.unit == "residual":
            extra = {"shifts": some.shifts(own, scaled)}
        else:
            extra = {"weights": some.counts[:, some.numbers].astype(float)}
        parts.append(refits(problem, starts[rows], free, **extra))
    thetas, objectives = zip(*parts, strict=True)
    return np.concatenate(thetas), np.concatenate(objectives)


def choose_resamples(frame: pd.DataFrame, draws: int, seed: int = 0) -> Resamples:
    """Resamples of runs within each stage; where fewer than 30 different ones are possible, of runs
    over all stages, of rows within each stage, of rows over all stages, or of residuals.

    The rows of one cell (a run at one ATPP) are one: seeds stay together, so that laws fitted to
    seeds apart and to their means share resamples. Raises InputError where 30 are not possible.
    """
    _check_draws(frame, draws)
    for unit, numbers in (("run", run_numbers(frame)), ("row", _cell_numbers(frame))):
        for strata in (True, False):
            how = {"strata": strata}
            counts = _draw_units(frame, numbers, draws, seed, **how)
            if counts is None or (
                not _differ(counts)
                and not _differ(_draw_units(frame, numbers, _PROBES, [seed, 4], **how))
            ):
                continue
            return Resamples(unit, numbers, counts, strata)
    units = int(numbers.max()) + 1
    if units**units < LEAST_RESAMPLES:
        raise InputError(
            f"bootstrap: {units} rows allow fewer than {LEAST_RESAMPLES} different resamples, of "
            "runs, rows or residuals; more rows are needed"
        )
    counts = np.random.default_rng(seed).integers(units, size=(draws, units), dtype=np.int32)
    return Resamples("residual", numbers, counts)


def resample_counts(frame: pd.DataFrame, draws: int, seed: int) -> NDArray:
    """How often each row counts (draws, n): runs drawn with replacement within each stage.

    Equal rows give equal draws to every law.
    """
    _check_draws(frame, draws)
    numbers = run_numbers(frame)
    return _draw_units(frame, numbers, draws, seed, keep_levels=False)[:, numbers]


def _draw_units(
    frame: pd.DataFrame,
    numbers: NDArray,
    draws: int,
    seed: int | Sequence[int],
    keep_levels: bool = True,
    strata: bool = True,
) -> NDArray | None:
    """How often each unit counts (draws, units); None where draws keep failing.

    `numbers` (n,): the unit of each row. `keep_levels`: a draw that lost too much to be fitted is
    drawn again; it must keep half of the units, and of each of size, stage, replay and ATPP four
    levels, or all there are. `strata`: units are drawn within each stage.
    """
    frame = with_stages(frame) if "ptpp" in frame else frame
    of_unit = np.unique(numbers, return_index=True)[1]  # a row of each unit
    by_stage = strata and "stage" in frame
    stages = frame["stage"].to_numpy()[of_unit] if by_stage else np.zeros(len(of_unit))
    groups = [np.flatnonzero(stages == stage) for stage in np.unique(stages)]
    evens = [np.full(len(group), 1 / len(group)) for group in groups]
    levels = []  # which units hold which levels of each input, and how many must be kept
    for column in ("n_params", "stage", "replay", "atpp"):
        if column in frame and keep_levels:
            values = frame[column].to_numpy(float).round(12)
            level = np.unique(values, return_inverse=True)[1]
            pairs = np.unique(np.stack([numbers, level]), axis=1)
            levels.append((*pairs, level.max() + 1, min(_LEVELS_KEPT, level.max() + 1)))
    generator = np.random.default_rng(seed)
    counts = np.zeros((draws, len(of_unit)), dtype=np.int32)
    for i in range(draws):
        drawn = counts[i]
        for _ in range(_MOST_REDRAWS):
            for group, even in zip(groups, evens, strict=True):
                drawn[group] = generator.multinomial(len(group), even)
            if not keep_levels or (
                2 * np.count_nonzero(drawn) >= len(drawn)
                and all(_count_levels(drawn, *each) >= need for *each, need in levels)
            ):
                break
        else:
            return None
    return counts


def _count_levels(drawn: NDArray, unit: NDArray, level: NDArray, count: int) -> int:
    """How many levels the drawn units hold, from pairs (q,) of a unit and a level."""
    kept = np.zeros(count, dtype=bool)
    kept[level[drawn[unit] > 0]] = True
    return int(kept.sum())


def _differ(counts: NDArray | None) -> bool:
    """Whether there are 30 different draws among these."""
    seen: set[bytes] = set()
    for row in () if counts is None else counts:
        seen.add(row.tobytes())
        if len(seen) >= LEAST_RESAMPLES:
            return True
    return False


def _check_draws(frame: pd.DataFrame, draws: int) -> None:
    if draws < 1:
        raise InputError(f"bootstrap: {draws} draws; accepted is 1 or more")
    if draws * len(frame) > _MOST_COUNTS:
        raise InputError(
            f"bootstrap: {draws} draws of {len(frame)} rows; accepted are "
            f"{max(_MOST_COUNTS // len(frame), 1)} draws of so many rows at most"
        )


def _cell_numbers(frame: pd.DataFrame) -> NDArray:
    """The number (n,) of the cell each row belongs to; rows without ATPP and tokens stand alone."""
    tokens = [column for column in ("atpp", "adapt_tokens") if column in frame]
    if not tokens:
        return np.arange(len(frame))
    keys = pd.DataFrame({"run": run_numbers(frame), "tokens": frame[tokens[0]].to_numpy()})
    return keys.groupby(["run", "tokens"], sort=True).ngroup().to_numpy()


def run_numbers(frame: pd.DataFrame) -> NDArray:
    """The number (n,) of the run each row belongs to: equal `RUN` columns are one run."""
    frame = with_stages(frame) if "ptpp" in frame else frame
    columns = [column for column in RUN if column in frame]
    if not columns:
        return np.arange(len(frame))
    return frame.groupby(columns, sort=True).ngroup().to_numpy()


def band_refits(problem: Problem) -> tuple[str, NDArray, NDArray]:
    """Refits (k, p) with the banded parameter that is not identified held across its band (k,).

    ("", no values, no refits) where there is none. Refits go outward from the value nearest to the
    fit's own, each from its neighbour.
    """
    parameter = next((p for p, _ in problem.unidentified if p.band is not None), None)
    if parameter is None:
        return "", np.empty(0), np.empty((0, len(problem.theta)))
    j = problem.law.names.index(parameter.name)
    band = np.linspace(*parameter.plausible, BAND_POINTS)
    free = problem.free.copy()
    free[j] = False
    thetas = np.empty((len(band), len(problem.theta)))
    centre = int(np.abs(band - parameter.from_solver(problem.theta[j])).argmin())
    theta = problem.theta
    for k in (*range(centre, len(band)), *range(centre - 1, -1, -1)):
        start = thetas[centre].copy() if k == centre - 1 else theta.copy()
        start[j] = parameter.to_solver(band[k])
        thetas[k] = theta = _refit_all(problem, start[None], free)[0][0]
    return parameter.name, band, thetas


def _refit_all(problem: Problem, starts: NDArray, free: NDArray) -> tuple[NDArray, NDArray]:
    if is_large(problem):
        return refit_draws(problem, starts, free, iter([np.ones(len(problem.loss))]))
    return refits(problem, starts, free)


def coverage(observed: Sequence[float] | NDArray, low: NDArray, high: NDArray) -> float:
    """Share of observed losses within their intervals."""
    observed = np.asarray(observed, dtype=float)
    return float(np.mean((observed >= low) & (observed <= high)))


def _natural(law: Law, thetas: NDArray) -> NDArray:
    """Solver's vectors (m, p) as parameter values (m, p)."""
    return np.array([list(law.from_solver(t).values()) for t in thetas]).reshape(thetas.shape)


def refits(
    problem: Problem,
    starts: NDArray,
    free: NDArray,
    weights: NDArray | None = None,
    shifts: NDArray | None = None,
    iterations: int = 200,
) -> tuple[NDArray, NDArray]:
    """Local refits: solver's vectors (m, p) from `starts` (m, p), and their objectives (m,).

    `free` (p,) or (m, p): which parameters may move. `weights` (m, n): how often each row counts.
    `shifts` (m, n): what is added to the log residuals.
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
    settings = {"tolerance": 1e-8, "shifts": shifts, "iterations": iterations}
    solution = minimise(residuals, starts, low, high, problem.delta, weights, **settings)
    return solution.x, solution.objective
