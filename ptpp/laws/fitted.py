"""A fitted law: the record of the fit, its draws, its misfit and the rows it was fitted to."""

import os
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.linalg import LinAlgError
from numpy.typing import NDArray
from scipy.special import ndtri

from ptpp.errors import InputError
from ptpp.laws.declared import law_of
from ptpp.laws.kriging import Cells, Misfit, from_arrays, to_arrays
from ptpp.laws.law import Law
from ptpp.laws.problem import (
    Columns,
    Problem,
    law_inputs,
    law_values,
    observed_loss,
    offset_of,
    stage_labels,
)
from ptpp.laws.record import DAMAGED, Draws, Fit, draws_path
from ptpp.laws.scoring import score

LEVEL = 0.9  # of intervals
ENDS = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]  # the quantiles between which they lie
_MISFIT = "misfit "  # begins the names of its arrays in a file
_RESIDUALS = 25  # quantiles that stand for the distribution of residuals


@dataclass(frozen=True)
class FittedLaw:
    """A record with its `rows` (None: not read), bootstrap `draws`, `misfit` (None: not made), law.

    `law`: by default the one that the record names or declares; a law made in Python has to be
    passed. With a misfit, forecasts are kriged: the law corrected by it. Frames are tables, or
    mappings of arrays (n,), with the law's `columns`. Two of them are equal if their records are.
    """

    record: Fit
    rows: pd.DataFrame | None = field(default=None, compare=False)
    draws: Draws | None = field(default=None, compare=False)
    law: Law | None = field(default=None, compare=False)
    misfit: Misfit | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.law is None:
            object.__setattr__(self, "law", law_of(self.record))

    @classmethod
    def load(cls, path: str | os.PathLike) -> "FittedLaw":
        """Read a fit (.json) and, where they are, draws and misfit beside it (.npz); raises
        InputError for a damaged file or draws of another law.
        """
        beside = draws_path(path)
        one = cls(Fit.from_json(path))
        one.record.check(one.law, path)
        if not beside.exists():
            return one
        draws = Draws.from_npz(beside)
        draws.check(one.record, one.law, beside)
        return replace(one, draws=draws, misfit=_read_misfit(one.law, beside))

    def save(self, path: str | os.PathLike) -> None:
        """Write the record (.json), and draws and misfit beside it (.npz); rows are not written."""
        if self.draws is not None:
            arrays = {} if self.misfit is None else to_arrays(self.misfit)
            extra = {f"{_MISFIT}{name}": values for name, values in arrays.items()}
            draws = replace(self.draws, fit=self.record.digest)
            draws.to_npz(draws_path(path), extra)
        self.record.to_json(path)

    @property
    def label(self) -> dict[str, str]:
        """The first columns of every table."""
        return {name: getattr(self.record, name) for name in ("law", "protocol", "domain")}

    @cached_property
    def theta(self) -> NDArray:
        """The fit as the solver's vector (p,)."""
        return self.law.to_solver(self.record.params)

    @cached_property
    def params(self) -> NDArray:
        """The fit's parameters (1, p), natural units, in the order of the law's names."""
        return np.array([[self.record.params[name] for name in self.law.names]])

    @cached_property
    def problem(self) -> Problem:
        """The law on the rows of the fit; raises InputError where `rows` cannot be those."""
        record, rows = self.record, self.rows
        if rows is None or len(rows) != record.n_rows:
            count = "no" if rows is None else len(rows)
            raise InputError(
                f"law {record.law}: {count} rows, but its fit was made on {record.n_rows}; "
                "accepted are the rows it was fitted on"
            )
        return Problem(
            law=self.law,
            inputs=law_inputs(self.law, rows),
            reference=record.reference,
            offset=offset_of(self.law, rows),
            loss=observed_loss(self.law, rows),
            free=np.array([name not in record.fixed for name in self.law.names]),
            theta=self.theta,
            delta=record.settings["delta"],
            stages=stage_labels(rows),
        )

    @property
    def largest_size(self) -> float:
        """The largest fitted size [parameters]; NaN where it is not known."""
        if self.misfit is not None and np.isfinite(self.misfit.largest):
            return float(np.exp(self.misfit.largest))
        return self.record.ranges.get("n_params", (np.nan, np.nan))[1]

    def value(self, frame: Columns) -> NDArray:
        """The law's value (n,), nats per token: the loss, or for forgetting laws its change. Raises
        InputError for a missing column, a value outside the law's domain or a value not finite.
        """
        return law_values(self.law, self.theta, frame, self.record.reference)

    def loss(self, frame: Columns, kriged: bool = False) -> NDArray:
        """The predicted loss (n,), nats per token, by the law alone or `kriged`; for forgetting
        laws zero_shot_loss is added.
        """
        if kriged:
            return self.forecast(frame)[0]
        return self.value(frame) + offset_of(self.law, frame)

    def value_draws(self, frame: Columns, params: NDArray | None = None) -> NDArray:
        """The law's values (m, n) by every draw, or by `params` (m, p) in natural units."""
        params = self.need_draws().params if params is None else params
        logs = np.array([p.scale == "log" for p in self.law.parameters])
        theta = np.where(logs, np.log(np.where(logs, params, 1.0)), params)
        return law_values(self.law, theta, frame, self.record.reference)

    def loss_draws(self, frame: Columns, params: NDArray | None = None) -> NDArray:
        """Predicted losses (m, n), nats per token, by every draw, or by `params` (m, p)."""
        return self.value_draws(frame, params) + offset_of(self.law, frame)

    def interval(self, frame: Columns) -> tuple[NDArray, NDArray]:
        """Lower and upper ends (n,), nats per token, between which a measured loss should lie.

        Quantiles of each draw's prediction times a residual of the fit, every draw with every one
        of 25 quantiles of the residuals.
        """
        predicted = self.loss_draws(frame)
        places = (np.arange(_RESIDUALS) + 0.5) / _RESIDUALS
        factors = np.exp(-np.quantile(self.draws.residuals, places))
        predicted = predicted[:, None] * factors[None, :, None]
        predicted = predicted.reshape(-1, predicted.shape[-1])
        return tuple(np.quantile(predicted, ENDS, axis=0))

    def band(self, frame: Columns) -> tuple[NDArray, NDArray] | None:
        """Least and greatest loss (n,) over the unidentified parameter's band, if there is one."""
        if not len(self.need_draws().band):
            return None
        predicted = self.loss_draws(frame, self.draws.band_params)
        return predicted.min(axis=0), predicted.max(axis=0)

    def log_slopes(self, frame: Columns) -> NDArray:
        """Derivatives (n, p) of the log of the law's loss in the solver's parameters."""
        point = self.theta, law_inputs(self.law, frame), self.record.reference
        return self.law.jacobian(*point) / self.loss(frame)[:, None]

    def forecast(self, frame: Columns, noise: bool = True) -> tuple[NDArray, NDArray]:
        """The kriged loss (n,), nats per token, and the standard deviation of its logarithm (n,):
        of a measured loss, or of the mean over many runs where `noise` is False.

        Raises InputError where the fit has no misfit.
        """
        cells = Cells.of(self.law, frame, self._need_misfit().last_stage)
        added, spread = self.misfit.posterior(cells, self.log_slopes(frame), noise)
        return self.loss(frame) * np.exp(added), spread

    def joint(self, a: Columns, b: Columns) -> NDArray:
        """Covariance (m, c) of the kriged log losses at `a` (m), means over many runs, and `b` (c).

        Raises InputError where the fit has no misfit.
        """
        stage = self._need_misfit().last_stage
        first, second = (Cells.of(self.law, frame, stage) for frame in (a, b))
        return self.misfit.joint(first, self.log_slopes(a), second, self.log_slopes(b))

    def predict(self, frame: Columns, kriged: bool | None = None) -> pd.DataFrame:
        """Predicted losses, a row per row of `frame` [nats]: loss and, where they are known, its
        low and high end. `kriged`: these are, and `law_loss` is the law alone; None: with a misfit.
        """
        kriged = self.misfit is not None if kriged is None else kriged
        if kriged:
            loss, spread = self.forecast(frame)
            step = ndtri((1 + LEVEL) / 2) * spread
            ends = {"low": loss * np.exp(-step), "high": loss * np.exp(step)}
            return pd.DataFrame({"loss": loss, **ends, "law_loss": self.loss(frame)})
        table = pd.DataFrame({"loss": self.loss(frame)})
        if self.draws is not None:
            table["low"], table["high"] = self.interval(frame)
        return table

    def score(self, frame: Columns) -> dict[str, float]:
        """The scores of the law alone against the losses of `frame`; see `scoring.score`."""
        return score(observed_loss(self.law, frame), self.loss(frame))

    def how_far(self, frame: Columns) -> dict[str, float]:
        """By column that leaves the range of the fitted rows anywhere in `frame`: its value over
        the bound that it passes, where it is farthest out: above 1 beyond the greatest value, NaN
        where the bound is not above 0.
        """
        inputs = law_inputs(self.law, frame)
        outside = {}
        for name, (low, high) in self.record.ranges.items():
            values = inputs[name]
            slack = 1e-9 * max(abs(low), abs(high))  # a bound reached up to rounding is within
            if name == "share":
                name, values, low, high = "replay", 1 - values, 1 - high, 1 - low
            if np.max(values) > high + slack:
                outside[name] = float(np.max(values)) / high if high > 0 else np.nan
            elif np.min(values) < low - slack:
                outside[name] = float(np.min(values)) / low if low > 0 else np.nan
        return outside

    def _need_misfit(self) -> Misfit:
        if self.misfit is None:
            raise InputError(f"law {self.record.law}: its misfit was not kriged")
        return self.misfit

    def need_draws(self) -> Draws:
        """The draws; raises InputError where there are none."""
        if self.draws is None:
            raise InputError(
                f"law {self.record.law}: its fit to {self.record.domain or 'its domain'} has no "
                "bootstrap draws, which intervals, robust plans and next measurements need"
            )
        return self.draws


def _read_misfit(law: Law, path: Path) -> Misfit | None:
    """The misfit in a file of draws, where it holds one."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            names = [name for name in stored.files if name.startswith(_MISFIT)]
            arrays = {name.removeprefix(_MISFIT): stored[name] for name in names}
        numbers = [v for name, v in arrays.items() if not name.startswith("of ")]
        if any(v.dtype.kind not in "fiu" or np.isnan(v).any() for v in numbers):
            raise ValueError("arrays of something else than numbers")
        return from_arrays(law, arrays) if arrays else None
    except (*DAMAGED, LinAlgError, IndexError):
        raise InputError(
            f"{path}: not the misfit of law {law.name}; accepted is the .npz beside a fit of this "
            "version"
        ) from None
