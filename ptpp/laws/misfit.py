"""Krige the misfit of a fitted law: from its rows to a fit that forecasts with intervals.

Beyond the largest fitted size the log loss of a law drifts as a Brownian motion in ln N. How fast
is measured by leaving out the largest sizes of the table: the law and its misfit are fitted to the
smaller ones and forecast the next [ours].
"""

from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ptpp.errors import InputError
from ptpp.laws.fitted import FittedLaw
from ptpp.laws.fitting import FitSettings, fit
from ptpp.laws.kriging import (
    MOST_CELLS,
    Cells,
    Misfit,
    find_scales,
    kernel_of,
    prior_variances,
)
from ptpp.laws.rows import cells_of
from ptpp.table.kinds import is_before
from ptpp.table.protocols import ALL_ROWS

DRIFTS = (0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.045, 0.07, 0.11)
_DRIFT, _DRIFT_SPREAD = 0.02, 0.7  # the prior of its logarithm: centre and standard deviation
_STARTS = 8  # of refits to the smaller sizes


def krige(
    fitted: FittedLaw, held_out: float | None = None, settings: FitSettings | None = None
) -> FittedLaw:
    """`fitted` with its misfit, from the fit's rows; seeds are averaged to cells.

    `held_out`: the stage to be forecast; the last stage before it is where `later` counts from
    (None: the last of all). `settings`: of the refits that measure the drift beyond the largest
    size; None leaves it out, and sizes beyond are forecast as if they were within.

    Raises InputError where the rows are not the fit's, or are more than `MOST_CELLS` cells.
    """
    plain = replace(fitted, misfit=_misfit(fitted, held_out))
    if settings is None:
        return plain
    drift = _find_drift(plain, held_out, settings)
    return replace(plain, misfit=replace(plain.misfit, drift=drift))


def krige_where_possible(
    fitted: FittedLaw, held_out: float | None = None, settings: FitSettings | None = None
) -> tuple[FittedLaw, str]:
    """`krige`, or the fit as it is and why its misfit cannot be kriged.

    A fit under the protocol all_rows has no stage held out.
    """
    if fitted.record.protocol == ALL_ROWS:
        held_out = None
    try:
        return krige(fitted, held_out, settings), ""
    except InputError as error:
        return fitted, str(error)


def _misfit(fitted: FittedLaw, held_out: float | None) -> Misfit:
    fitted.problem  # noqa: B018  # raises where the rows are not the fit's
    rows, law = cells_of(fitted.rows), fitted.law
    if len(rows) > MOST_CELLS:
        raise InputError(
            f"law {law.name}: {len(rows)} cells; a misfit is kriged from {MOST_CELLS} at most"
        )
    last_stage = 1.0
    if "ptpp" in rows:
        early = rows if held_out is None else rows[is_before(rows, held_out)]
        last_stage = float((rows if early.empty else early)["ptpp"].max())
    cells, kernel, prior = Cells.of(law, rows, last_stage), kernel_of(law), prior_variances(law)
    residuals = np.log(rows["loss"].to_numpy(float) / fitted.loss(rows))
    slopes = fitted.log_slopes(rows)
    blocks = cells.groups.get("checkpoint", cells.groups.get("size", np.arange(len(rows))))
    tau, noise = find_scales(kernel, cells, residuals, (slopes * prior) @ slopes.T, blocks)
    kernel = kernel.with_noise(noise)
    largest = float(cells.coordinates["size"].max()) if "size" in cells.coordinates else np.inf
    return Misfit(kernel, cells, residuals, slopes, prior, tau, last_stage, largest)


def _find_drift(fitted: FittedLaw, held_out: float | None, settings: FitSettings) -> float:
    """Standard deviation of the log loss per square root of ln N beyond the largest size.

    The one of `DRIFTS` under which each fitted size from the third on is most likely, forecast
    from the smaller ones, minus (ln(drift / 0.02) / 0.7)^2 / 2.
    """
    settings = replace(settings, starts=min(settings.starts, _STARTS))
    rows = fitted.rows
    sizes = np.sort(rows["n_params"].unique()) if "n_params" in rows else []
    parts = []
    for smaller, size in pairwise(sizes[1:]):  # one size alone would leave the size term out
        part = rows[rows["n_params"] <= smaller].reset_index(drop=True)
        try:
            one = fit(fitted.law, part, settings)
            one = replace(one, misfit=_misfit(one, held_out))
        except InputError:
            continue  # too few sizes or rows for this law
        cells = cells_of(rows[rows["n_params"] == size].reset_index(drop=True))
        loss, spread = one.forecast(cells)
        error = np.log(cells["loss"].to_numpy(float) / loss)
        parts.append((error, spread**2, float(np.log(size / smaller))))
    scores = [_drift_score(drift, parts) for drift in DRIFTS]
    return DRIFTS[int(np.argmax(scores))]


def _drift_score(drift: float, parts: list[tuple[NDArray, NDArray, float]]) -> float:
    score = -((np.log(drift / _DRIFT) / _DRIFT_SPREAD) ** 2) / 2
    for error, spread, apart in parts:
        total = spread + drift**2 * apart
        score += float(np.mean(-0.5 * np.log(2 * np.pi * total) - error**2 / (2 * total)))
    return score
