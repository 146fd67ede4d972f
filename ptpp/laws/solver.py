"""Bounded robust least squares for many problems at once.

Minimises f(x) = sum_i w_i Huber(r_i(x); delta) over low <= x <= high, for a batch of k starts or of
k weightings of the same rows, so that Python's own time is paid once per iteration.

The method is [ours] in its combination of known parts. Two quadratic models of f share the gradient
J' w psi(r): Newton's (after Gauss and Newton: J' w J over the rows with |r| <= delta), which is
exact near the minimum but may be singular, and that of iteratively reweighted least squares (every
row, with weight min(1, delta/|r|)), which lies above f for linear r and so never overshoots. The
step uses H(t) = H_newton + min(t, 1) (H_reweighted - H_newton) + ridge(t) diag(H_reweighted), where
t plays the part of Levenberg and Marquardt's damping. Parameters at a bound that the gradient
presses against are held; those a step would carry across are set onto the bound and the rest is
solved for again.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Residuals = Callable[[NDArray], tuple[NDArray, NDArray]]

_CHUNK = 40_000  # residuals evaluated together: small enough to stay in a processor's cache
_RIDGE = 1e-3  # at t = 1, of the diagonal
_LEAST_RIDGE = 1e-9
_LEAST_DAMPING = 1e-8
_ROUNDING = 1e-20  # of the objective per row: residuals of 1e-10 are rounding errors
_GIVE_UP = 1e12  # damping at which no step can be had any more


@dataclass(frozen=True)
class Solution:
    """`x` (k, p), `objective` (k,) (inf where the start itself was not finite), `converged` (k,) by
    the solver's own criterion, `iterations` (k,).
    """

    x: NDArray
    objective: NDArray
    converged: NDArray
    iterations: NDArray


def huber(residuals: NDArray, delta: float) -> NDArray:
    """r^2/2 for |r| <= delta, delta (|r| - delta/2) beyond, elementwise."""
    size = np.abs(residuals)
    inside = np.minimum(size, delta)
    return inside * (size - 0.5 * inside)


def minimise(
    residuals: Residuals,
    start: NDArray,
    low: NDArray,
    high: NDArray,
    delta: float,
    weights: NDArray | None = None,
    iterations: int = 200,
    tolerance: float = 1e-11,
    shifts: NDArray | None = None,
) -> Solution:
    """Minimise from each row of `start` (k, p), within the bounds `low`, `high`: (p,) or (k, p).

    `residuals(x)` for x (m, p) gives r (m, n) and its slopes (m, p, n). `weights` (k, n) are not
    negative; None is 1. `shifts` (k, n) are added to the residuals. Converged: the model foresees a
    relative decrease below `tolerance` from a step that is hardly damped, or the residuals are
    rounding errors.
    """
    extras = weights, shifts
    x = np.clip(np.asarray(start, dtype=float), low, high)
    low, high = (np.broadcast_to(end, x.shape) for end in (low, high))
    *state, zero, n = _evaluate(residuals, x, delta, extras, np.arange(len(x)))
    f, g, newton, reweighted = state
    t = np.ones(len(x))
    done = ~np.isfinite(f)
    converged = np.zeros(len(x), dtype=bool)
    used = np.zeros(len(x), dtype=int)
    for _ in range(iterations):
        active = np.flatnonzero(~done)
        if not len(active):
            break
        used[active] += 1
        with np.errstate(all="ignore"):
            step, foreseen = damped_step(
                *(x[active], g[active], newton[active], reweighted[active], t[active]),
                *(low[active], high[active]),
            )
        trial = np.clip(x[active] + step, low[active], high[active])
        new = _evaluate(residuals, trial, delta, extras, active, n)
        gained = f[active] - new[0]
        rounding = zero[active] + 1e-14 * f[active]
        ratio = np.where(foreseen > 0, gained / np.maximum(foreseen, 1e-300), -1.0)
        # Near the minimum a decrease drowns in rounding: a step that does no harm is then taken.
        harmless = (np.abs(gained) <= rounding) & (foreseen <= rounding)
        taken = ((ratio > 1e-4) & (gained > 0)) | harmless
        small = foreseen <= np.maximum(tolerance * f[active], rounding)
        settled = small & (t[active] <= 1) & taken
        rows = active[taken]
        x[rows] = trial[taken]
        for values, tried in zip(state, new, strict=False):
            values[rows] = tried[taken]
        converged[active[settled]] = True
        done[active] = settled | (t[active] > _GIVE_UP)
        factor = np.where(taken, np.where(ratio > 0.7, 0.3, np.where(ratio > 0.25, 1, 2)), 4)
        t[active] = np.maximum(t[active] * factor, _LEAST_DAMPING)
    return Solution(x, f, converged, used)


def _evaluate(
    residuals: Residuals, x: NDArray, delta: float, extras: tuple, which: NDArray, n: int = _CHUNK
) -> tuple:
    """Objective, gradient, both Hessians, the objective of rounding errors and n, in chunks.

    `extras`: weights and shifts of all problems, or None; `which` (m,): the problems of the rows;
    `n`: how many residuals a problem has, the first time not known.
    """
    weights, shifts = extras
    parts, begin, size = [], 0, max(1, _CHUNK // n)
    while begin < len(x):
        end = min(begin + size, len(x))
        weight = None if weights is None else weights[which[begin:end]]
        with np.errstate(all="ignore"):  # a trial may leave the law's domain; it is rejected
            values, slopes = residuals(x[begin:end])
            if shifts is not None:
                values = values + shifts[which[begin:end]]
            parts.append(_models(values, slopes, delta, weight))
        n = parts[-1][-1]
        begin, size = end, max(1, _CHUNK // n)
    f, g, newton, reweighted = (np.concatenate([p[k] for p in parts]) for k in range(4))
    total = n if weights is None else weights[which].sum(axis=1)
    return f, g, newton, reweighted, np.broadcast_to(_ROUNDING * total, f.shape), n


def _models(
    r: NDArray, slopes: NDArray, delta: float, weight: NDArray | None
) -> tuple[NDArray, NDArray, NDArray, NDArray, int]:
    """Objective (m,), gradient (m, p), Newton's and the reweighted Hessian (m, p, p), and n."""
    size = np.abs(r)
    share = np.minimum(1.0, delta / np.maximum(size, delta))
    cost = huber(r, delta)
    if weight is not None:
        share, cost = share * weight, cost * weight
    columns = np.swapaxes(slopes, 1, 2)
    weighted = slopes * share[:, None, :]
    gradient = (weighted @ r[:, :, None])[..., 0]
    reweighted = weighted @ columns
    weighted *= (size <= delta)[:, None, :]
    newton = weighted @ columns
    f = cost.sum(axis=1)
    finite = np.isfinite(f) & np.isfinite(reweighted).all(axis=(1, 2))
    return np.where(finite, f, np.inf), gradient, newton, reweighted, r.shape[1]


def damped_step(
    x: NDArray,
    g: NDArray,
    newton: NDArray,
    reweighted: NDArray,
    t: NDArray,
    low: NDArray,
    high: NDArray,
) -> tuple[NDArray, NDArray]:
    """The damped step (m, p) within the bounds, and the decrease its model foresees (m,)."""
    hessian = newton + np.minimum(t, 1)[:, None, None] * (reweighted - newton)
    diagonal = np.diagonal(reweighted, axis1=1, axis2=2)
    scale = np.where(diagonal > 0, 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0)), 0.0)
    scaled = hessian * scale[:, :, None] * scale[:, None, :]
    ridge = _RIDGE * t + _LEAST_RIDGE
    eye = np.eye(x.shape[1])
    damped = scaled + ridge[:, None, None] * eye
    held = ((x <= low) & (g >= 0)) | ((x >= high) & (g <= 0))
    step = np.zeros_like(x)
    for _ in range(3):
        # Held parameters keep their step; the others take the best one given that.
        safe = np.where(scale > 0, scale, 1.0)
        pull = (damped @ np.where(held, step / safe, 0.0)[..., None])[..., 0]
        system = np.where(held[:, :, None] | held[:, None, :], eye, damped)
        wanted = np.where(held, 0.0, -g * scale - pull)
        free = np.linalg.solve(system, wanted[..., None])[..., 0] * scale
        step = np.where(held, step, free)
        below, above = x + step < low, x + step > high
        if not (below | above).any():
            break
        step = np.where(below, low - x, np.where(above, high - x, step))
        held = held | below | above
    foreseen = -np.sum(step * (g + 0.5 * (hessian @ step[..., None])[..., 0]), axis=1)
    return step, foreseen
