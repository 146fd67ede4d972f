"""Fits and refits to tables of many rows, for which the solver alone would take minutes.

Above `LARGE` rows the starts are solved on some of the rows and the best of them polished on all.
Refits to resamples move from the fit by steps on the law linearised there, whose residuals enter
Huber's loss as they are: the spread of a fit to so many rows is far smaller than the curvature of a
law. The steps are Newton's, with the density of residuals near 0 estimated from the nearest rows
[ours; the one-step bootstrap: source].
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import fields, replace

import numpy as np
from numpy.typing import NDArray

from ptpp.laws.problem import Problem
from ptpp.laws.solver import Solution, damped_step, huber, minimise

log = logging.getLogger("ptpp")

LARGE = 5000  # rows; up to here everything is solved on all of them
_STAGE_ROWS = 200  # of each PTPP, at least, among those that the starts are solved on
_POLISHED = 3  # optima
_SAME = 1e-6  # relative difference of objectives that are one optimum
_NEAREST = 50  # rows per parameter that tell the density of residuals near 0
_STEPS = 5
_HALVINGS = 4
_REPORTED = 5.0  # times a loop tells how far it is


def is_large(problem: Problem) -> bool:
    return len(problem.loss) > LARGE


def thin(problem: Problem, seed: int = 0) -> Problem:
    """The problem on about `LARGE` of its rows, drawn at random: of each PTPP its share, and 200 or
    all there are.
    """
    n = len(problem.loss)
    stages = problem.inputs.get("ptpp", np.zeros(n))
    generator = np.random.default_rng([seed, 3])
    chosen = np.zeros(n, dtype=bool)
    chosen[generator.choice(n, LARGE, replace=False)] = True
    values, number = np.unique(stages, return_inverse=True)
    if len(values) <= LARGE // _STAGE_ROWS:
        for k in range(len(values)):
            rows = np.flatnonzero(number == k)
            short = min(len(rows), _STAGE_ROWS) - int(chosen[rows].sum())
            if short > 0:
                chosen[generator.choice(rows[~chosen[rows]], short, replace=False)] = True

    def cut(value: object) -> object:
        if isinstance(value, np.ndarray) and value.shape == (n,):
            return value[chosen]
        return value

    parts = {f.name: cut(getattr(problem, f.name)) for f in fields(problem)}
    parts["inputs"] = {name: values[chosen] for name, values in problem.inputs.items()}
    return replace(problem, **parts)


def polish(first: Solution, solve: Callable[[NDArray], Solution]) -> Solution:
    """The solution on all rows, from that on some: `solve` polishes the best few optima of `first`.

    Starts that reached one optimum share its polished values; the objective of the others is the
    best one times what it was on some of the rows.
    """
    least = first.objective.min()
    order = np.argsort(first.objective, kind="stable")
    leaders: list[int] = []
    for k in order[np.isfinite(first.objective[order])]:
        last = first.objective[leaders[-1]] if leaders else -np.inf
        if first.objective[k] > last + _SAME * abs(last) or not leaders:
            leaders.append(int(k))
    leaders = leaders[:_POLISHED]
    best = solve(first.x[leaders])
    ends = [*first.objective[leaders[1:]], np.inf]
    x, converged, iterations = first.x.copy(), first.converged.copy(), first.iterations.copy()
    ratio = first.objective / least if least > 0 else np.where(first.objective > least, np.inf, 1)
    objective = np.maximum(best.objective.min() * ratio, best.objective.max())
    for k, (leader, end) in enumerate(zip(leaders, ends, strict=True)):
        start = first.objective[leader]
        same = (first.objective >= start) & (first.objective <= start + _SAME * abs(start))
        same &= first.objective < end
        x[same], objective[same] = best.x[k], best.objective[k]
        converged[same], iterations[same] = best.converged[k], best.iterations[k]
    return Solution(x, objective, converged, iterations)


def refit_draws(
    problem: Problem, starts: NDArray, free: NDArray, weights: Iterator[NDArray], what: str = ""
) -> tuple[NDArray, NDArray]:
    """Refits: solver's vectors (m, p) and objectives (m,), one for each of `weights` (n,).

    `starts` (m, p), `free` (p,): as for `uncertainty.refits`. Starts that hold a parameter
    elsewhere than the fit does are first solved on some of the rows.
    """
    low, high = problem.law.bounds()
    starts = np.clip(starts, low, high)
    held = ~free & problem.free
    if held.any() and free.any():
        starts = _solve_thinned(problem, starts, free)
    wanted = np.flatnonzero(free)
    thetas, objectives = starts.copy(), np.empty(len(starts))
    here = None
    for k, weight in enumerate(progress(weights, len(starts), what)):
        if here is None or not np.array_equal(starts[k], starts[k - 1]):
            with np.errstate(all="ignore"):
                here = problem.with_slopes(starts[k], wanted)
        x, objectives[k] = _descend(
            *(here[0], here[1], weight, starts[k][wanted]),
            *(low[wanted], high[wanted], problem.delta),
        )
        thetas[k, wanted] = x
    return thetas, objectives


def progress(items: Iterator, count: int, what: str) -> Iterator:
    """The items, telling now and then how far `what` is; silent where it has no name."""
    step = max(int(np.ceil(count / _REPORTED)), 1)
    for k, item in enumerate(items):
        yield item
        if what and ((k + 1) % step == 0 or k + 1 == count):
            log.info("%s: %d of %d", what, k + 1, count)


def _solve_thinned(problem: Problem, starts: NDArray, free: NDArray) -> NDArray:
    few, wanted = thin(problem), np.flatnonzero(free)
    low, high = problem.law.bounds()

    def residuals(x: NDArray) -> tuple[NDArray, NDArray]:
        return few.with_slopes(x, range(x.shape[1]))

    low, high = np.where(free, low, starts), np.where(free, high, starts)
    found = minimise(residuals, starts, low, high, problem.delta, iterations=50, tolerance=1e-6)
    starts = starts.copy()
    good = np.isfinite(found.objective)
    starts[np.ix_(good, wanted)] = found.x[np.ix_(good, wanted)]
    return starts


def _descend(
    r: NDArray,
    slopes: NDArray,
    weight: NDArray,
    start: NDArray,
    low: NDArray,
    high: NDArray,
    delta: float,
) -> tuple[NDArray, float]:
    """The free parameters (f,) that make sum w Huber(r + slopes' (x - start)) small, and that sum;
    r, weight (n,), slopes (f, n).
    """
    size = np.abs(r)
    nearest = min(_NEAREST * max(len(start), 1), len(r) - 1)
    width = max(delta, float(np.partition(size, nearest)[nearest]))
    inside = slopes[:, size <= width]
    hessian = delta / width * (inside * weight[size <= width]) @ inside.T
    x, here, damping = start, r, np.full(1, 1e-6)
    value = float(weight @ huber(r, delta))
    for _ in range(_STEPS):
        gradient = slopes @ (weight * np.clip(here, -delta, delta))
        step = damped_step(
            *(x[None], gradient[None], hessian[None], hessian[None], damping), low, high
        )[0][0]
        for _ in range(_HALVINGS):
            trial = np.clip(x + step, low, high)
            there = r + (trial - start) @ slopes
            new = float(weight @ huber(there, delta))
            if new < value:
                break
            step = step / 2
        else:
            break
        gained = value - new
        x, here, value = trial, there, new
        if gained <= 1e-8 * value:
            break
    return x, value
