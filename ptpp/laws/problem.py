"""A law on a table of rows: the arrays it reads, and the residuals that a solver makes small.

A residual is log predicted - log observed loss. The objective is the sum over rows of Huber(delta)
of the residuals (as in Hoffmann et al. 2022).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptpp.errors import InputError
from ptpp.laws.law import INPUTS, Law, Parameter
from ptpp.laws.solver import huber
from ptpp.table.kinds import stage_numbers

Columns = pd.DataFrame | Mapping[str, NDArray]

STAGES_FOR_PRIORS = 4  # so many stages among the rows tell what a prior would hold

# A prediction is kept above this share of the observed loss, so that its logarithm exists: steps of
# the solver that would lead below are rejected, because the residual there is huge.
_LEAST_SHARE = 1e-3


@dataclass(frozen=True)
class Problem:
    """One law on n rows: arrays (n,), and which of the p parameters are free.

    `free` (p,): those that are fitted. `theta` (p,): a solver's vector with the fixed parameters'
    values and, for a law that was fitted, the fit. `delta`: of Huber. `stages` (n,): the labels of
    the rows' stages, where they do not follow from PTPP.
    """

    law: Law
    inputs: Mapping[str, NDArray]
    reference: Mapping[str, float]
    offset: NDArray
    loss: NDArray
    free: NDArray
    theta: NDArray
    delta: float
    stages: NDArray | None = None

    @property
    def by_prior(self) -> NDArray:
        """Parameters (p,) that are held by a prior, not by the rows."""
        priors = np.array([p.prior is not None for p in self.law.parameters])
        return priors & ~self.free

    def count_levels(self, name: str) -> int:
        """How many distinct values of an input the rows hold; of PTPP, how many stages."""
        values = self.inputs[name]
        if name == "ptpp":
            return len(np.unique(stage_numbers(values) if self.stages is None else self.stages))
        return len(np.unique((values / values.max()).round(12)))

    @property
    def unidentified(self) -> list[tuple[Parameter, int]]:
        """Parameters that the rows cannot tell: those held by a prior, and free ones for which the
        rows hold too few values of an input; and how many values there are.
        """
        pairs = []
        for j, parameter in enumerate(self.law.parameters):
            if parameter.needs is not None and (self.free[j] or self.by_prior[j]):
                levels = self.count_levels(parameter.needs[0])
                if self.by_prior[j] or levels < parameter.needs[1]:
                    pairs.append((parameter, levels))
        return pairs

    def expand(self, x: NDArray) -> NDArray:
        """Free parameters (..., f) -> the solver's vectors (..., p)."""
        theta = np.broadcast_to(self.theta, (*x.shape[:-1], len(self.theta))).copy()
        theta[..., self.free] = x
        return theta

    def residuals(self, x: NDArray) -> tuple[NDArray, NDArray]:
        """Log residuals (..., n) and their slopes (..., f, n) in the free parameters (..., f)."""
        return self.with_slopes(self.expand(x), np.flatnonzero(self.free))

    def bounds(self) -> tuple[NDArray, NDArray]:
        """Lower and upper bounds (f,) of the free parameters."""
        low, high = self.law.bounds()
        return low[self.free], high[self.free]

    def with_slopes(self, theta: NDArray, wanted: Sequence[int]) -> tuple[NDArray, NDArray]:
        """Log residuals (..., n) and their slopes (..., k, n) in the wanted parameters."""
        value, slopes = self.law.with_slopes(theta, self.inputs, self.reference, wanted)
        predicted = np.maximum(self.offset + value, _LEAST_SHARE * self.loss)
        return np.log(predicted / self.loss), slopes / predicted[..., None, :]

    def log_residuals(self, theta: NDArray) -> NDArray:
        """Log residuals (..., n) at the solver's vectors (..., p)."""
        return self.with_slopes(theta, ())[0]

    def jacobian(self, theta: NDArray) -> NDArray:
        """Derivatives (n, p) of the log residuals with respect to the solver's vector (p,)."""
        return self.with_slopes(theta, range(len(self.theta)))[1].T

    def objective(self, theta: NDArray) -> float:
        """Sum over rows of Huber(delta) of the log residuals."""
        return float(huber(self.log_residuals(theta), self.delta).sum())


def law_inputs(law: Law, frame: Columns) -> dict[str, NDArray]:
    """The arrays a law reads, by name, from the columns of `frame` (share = 1 - replay).

    Raises InputError where a column is missing or a value is outside the law's domain.
    """
    inputs = {}
    for name in law.inputs:
        values = _column(law, frame, "replay" if name == "share" else name)
        values = 1 - values if name == "share" else values
        positive = name in law.centred and name not in law.may_be_zero
        good = (values > 0 if positive else values >= 0) & (values < np.inf)
        accepted = "values above 0" if positive else "values not below 0"
        if name == "replay" and law.rows == "with_replay":
            good, accepted = good & (values > 0), "values above 0"
        if name not in INPUTS:  # of the table's own
            good, accepted = np.isfinite(values), "finite numbers"
        if name in ("share", "replay"):
            good, accepted = good & (values <= 1), f"{accepted} and not above 1"
        _check(law, name, values, good, accepted)
        inputs[name] = values
    return inputs


def observed_loss(law: Law, frame: Columns) -> NDArray:
    """The column `loss` (n,), nats; raises InputError unless all are numbers above 0."""
    loss = _column(law, frame, "loss")
    _check(law, "loss", loss, np.isfinite(loss) & (loss > 0), "numbers above 0")
    return loss


def stage_labels(frame: Columns) -> NDArray | None:
    """The labels (n,) of the rows' stages where the table brings them, else None."""
    return np.asarray(frame["stage"], dtype=float) if "stage" in frame else None


def offset_of(law: Law, frame: Columns) -> NDArray:
    """What is added to the law's value to give a loss (n,), nats; 0 for most laws."""
    if law.offset is None:
        return np.zeros(len(frame[law.columns[0]]))
    offset = _column(law, frame, law.offset)
    _check(law, law.offset, offset, np.isfinite(offset), "finite numbers")
    return offset


def law_values(law: Law, theta: NDArray, frame: Columns, reference: Mapping[str, float]) -> NDArray:
    """The law's values (..., n), nats, at solver's vectors (..., p).

    Raises InputError where a column is missing, or the law is not finite.
    """
    inputs = law_inputs(law, frame)
    with np.errstate(all="ignore"):
        values = law.predict(theta, inputs, reference)
    check_finite(law, values.reshape(-1, values.shape[-1]), inputs)
    return values


def check_finite(law: Law, values: NDArray, inputs: Mapping[str, NDArray]) -> None:
    """Raise InputError, naming the first bad point, unless all values (m, n) are finite."""
    bad = ~np.isfinite(values).all(axis=0)
    if bad.any():
        where = ", ".join(f"{name} = {each[bad][0]:g}" for name, each in inputs.items())
        raise InputError(
            f"law {law.name}: not finite at {where}; accepted are inputs at which it has a value"
        )


def _column(law: Law, frame: Columns, name: str) -> NDArray:
    if name not in frame:
        raise InputError(f"law {law.name}: the table has no column {name!r}")
    try:
        return np.asarray(frame[name], dtype=float)
    except (TypeError, ValueError):
        raise InputError(
            f"law {law.name}: column {name!r} does not hold numbers alone; accepted are numbers"
        ) from None


def _check(law: Law, name: str, values: NDArray, good: NDArray, accepted: str) -> None:
    if not good.all():
        raise InputError(
            f"law {law.name}: {name} is {values[~good][0]:g} in {(~good).sum()} of "
            f"{len(values)} rows; accepted are {accepted}"
        )
