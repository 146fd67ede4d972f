"""How sure a fit is: bootstrap by run, prediction intervals and their measured coverage.

The rows of one run (one size, stage and replay ratio; its measurements along ATPP) share the noise
of one training, so runs are resampled, not rows. Each draw refits the law from the full fit.
Parameters that the design of the rows cannot identify are drawn at random from their band instead:
the data have no say in them, and a refit that left them where they are would call them certain.
The bootstrap is Efron's; the choice of strata, the bands and the use of residuals are ours.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptpp.errors import InputError
from ptpp.jobs.files import atomic_file
from ptpp.laws.declared import law_of
from ptpp.laws.fitting import law_inputs, predict_draws
from ptpp.laws.law import Law, Parameter
from ptpp.laws.record import Fit
from ptpp.laws.solver import huber, minimise

LEVEL = 0.9
RUN = ("size", "n_params", "ptpp", "replay")  # what the rows of one run have in common
# The values a parameter may take where its rows say nothing about it, narrower than its bounds.
BANDS: Mapping[str, tuple[float, float]] = {"kappa": (0.15, 0.7)}
BAND_POINTS = 12
_LEAST_SHARE = 1e-3  # of the observed loss, so that a prediction always has a logarithm
_LEVELS_KEPT = 4  # of each input, in every resample, where the rows have as many
_MOST_REDRAWS = 1000
_RESIDUALS = 25  # quantiles that stand for the distribution of residuals


@dataclass(frozen=True)
class Rows:
    """The rows a law was fitted on, as arrays (n,), with what is needed to fit it again."""

    law: Law
    inputs: Mapping[str, NDArray]
    reference: Mapping[str, float]
    offset: NDArray
    loss: NDArray
    delta: float
    free: NDArray  # (p,), True for parameters that were fitted
    best: NDArray  # (p,), the full fit as the solver's vector

    @classmethod
    def of(cls, record: Fit, frame: pd.DataFrame, law: Law | None = None) -> "Rows":
        """Raises InputError where `frame` cannot be what the record was fitted on."""
        law = law or law_of(record)
        if len(frame) != record.n_rows:
            raise InputError(
                f"law {record.law}: {len(frame)} rows, but its fit was made on {record.n_rows}; "
                "accepted are the rows it was fitted on"
            )
        zero = np.zeros(len(frame))
        return cls(
            law=law,
            inputs=law_inputs(law, frame),
            reference=record.reference,
            offset=frame[law.offset].to_numpy(float) if law.offset else zero,
            loss=frame["loss"].to_numpy(float),
            delta=record.settings["delta"],
            free=np.array([name not in record.fixed for name in law.names]),
            best=law.to_solver(record.params),
        )

    def log_residuals(self, theta: NDArray) -> NDArray:
        """log predicted - log observed loss (..., n) at the solver's vectors (..., p)."""
        return self.with_slopes(theta, ())[0]

    def jacobian(self, theta: NDArray) -> NDArray:
        """Derivatives (n, p) of the log residuals with respect to the solver's vector (p,)."""
        return self.with_slopes(theta, range(len(self.best)))[1].T

    def with_slopes(self, theta: NDArray, wanted: Sequence[int]) -> tuple[NDArray, NDArray]:
        """Log residuals (..., n) and their slopes (..., k, n) in the wanted parameters."""
        value, slopes = self.law.with_slopes(theta, self.inputs, self.reference, wanted)
        predicted = np.maximum(self.offset + value, _LEAST_SHARE * self.loss)
        return np.log(predicted / self.loss), slopes / predicted[..., None, :]

    def objective(self, theta: NDArray, weights: NDArray | None = None) -> float:
        """Sum over rows of weight times Huber(delta) of the log residuals."""
        each = huber(self.log_residuals(theta), self.delta)
        return float(each.sum() if weights is None else weights @ each)


@dataclass(frozen=True)
class Draws:
    """What a bootstrap leaves: refits (m, p), natural units, and the residuals (n,) of the fit.

    `residuals`: log predicted - log observed on the fit's rows times sqrt(n / (n - parameters)),
    since a fit makes them smaller than the errors they stand for. `drawn`: parameters that the
    design cannot identify, drawn from their band. `band` (k,), `band_params` (k, p): refits with
    the parameter `band_name` held at each value of its band; none where it is identified.
    `resamples`: a digest of which rows each draw counted how often; draws of two laws that share it
    can be compared pair by pair.
    """

    names: tuple[str, ...]
    params: NDArray
    objectives: NDArray
    residuals: NDArray
    drawn: tuple[str, ...]
    band_name: str
    band: NDArray
    band_params: NDArray
    resamples: str
    seed: int

    def to_npz(self, path: str | os.PathLike) -> None:
        """Write the arrays; texts are arrays of text, so reading needs no pickle."""
        with atomic_file(path) as temporary:
            np.savez(temporary, **{f.name: np.asarray(getattr(self, f.name)) for f in fields(self)})

    @classmethod
    def from_npz(cls, path: str | os.PathLike) -> "Draws":
        """Read draws; raises InputError, one line, if the file does not hold them."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                value = {f.name: stored[f.name] for f in fields(cls)}
        except FileNotFoundError:
            raise InputError(f"{path}: no such file") from None
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            raise InputError(
                f"{path}: not bootstrap draws; accepted is the .npz beside a fit of this version"
            ) from None
        names = tuple(str(name) for name in np.atleast_1d(value["names"]))
        if value["params"].ndim != 2 or value["params"].shape[1] != len(names):
            raise InputError(
                f"{path}: draws of {value['params'].shape} for {len(names)} parameters"
            )
        value |= {
            "names": names,
            "drawn": tuple(str(name) for name in np.atleast_1d(value["drawn"])),
            "band_name": str(value["band_name"]),
            "resamples": str(value["resamples"]),
            "seed": int(value["seed"]),
        }
        return cls(**value)


def bootstrap(
    record: Fit, frame: pd.DataFrame, draws: int = 200, seed: int = 0, law: Law | None = None
) -> Draws:
    """Refit `record` to `draws` resamples of the runs of `frame`, the rows it was fitted on.

    Each refit starts from the full fit, so a draw whose best optimum lies in another valley is not
    found there. Raises InputError where `frame` is not the fit's, or has too few runs to resample.
    """
    rows = Rows.of(record, frame, law)
    counts = resample_counts(frame, draws, seed)
    name, band, band_thetas = band_refits(rows)
    drawn = _to_be_drawn(rows)
    generator = np.random.default_rng([seed, 1])
    starts = np.tile(rows.best, (draws, 1))
    free = rows.free.copy()
    for parameter in drawn:
        low, high = (parameter.to_solver(end) for end in plausible(parameter))
        values = generator.uniform(low, high, size=draws)
        j = rows.law.names.index(parameter.name)
        if parameter.name == name:  # the refit with a near value is the better start
            starts = band_thetas[np.abs(values[:, None] - band).argmin(axis=1)].copy()
        starts[:, j], free[j] = values, False
    thetas, objectives = refits(rows, starts, free, counts.astype(float))
    spare = max(record.n_rows - int(rows.free.sum()), 1)
    return Draws(
        names=rows.law.names,
        params=_natural(rows.law, thetas),
        objectives=objectives,
        residuals=rows.log_residuals(rows.best) * np.sqrt(record.n_rows / spare),
        drawn=tuple(parameter.name for parameter in drawn),
        band_name=name,
        band=band,
        band_params=_natural(rows.law, band_thetas),
        resamples=hashlib.sha256(np.ascontiguousarray(counts, "<i4").tobytes()).hexdigest(),
        seed=seed,
    )


def resample_counts(
    frame: pd.DataFrame, draws: int, seed: int = 0, keep_levels: bool = True
) -> NDArray:
    """How often each row counts (draws, n): runs drawn with replacement within each stage.

    `keep_levels`: a draw that lost too much to be fitted is drawn again; it must keep half of the
    runs, and of each of size, stage, replay and ATPP four levels, or all there are. Nothing here
    depends on a law or on a loss, so equal rows give equal draws to every law. Raises InputError
    where draws keep failing.
    """
    if draws < 1:
        raise InputError(f"bootstrap: {draws} draws; accepted is 1 or more")
    runs = run_numbers(frame)
    of_run = np.unique(runs, return_index=True)[1]  # a row of each run
    stages = frame["ptpp"].to_numpy()[of_run] if "ptpp" in frame else np.zeros(len(of_run))
    strata = [np.flatnonzero(stages == stage) for stage in np.unique(stages)]
    levels = [
        np.unique(frame[column].to_numpy(float).round(12), return_inverse=True)[1]
        for column in ("n_params", "ptpp", "replay", "atpp")
        if column in frame
    ]
    generator = np.random.default_rng(seed)
    counts = np.empty((draws, len(frame)), dtype=np.int64)
    for i in range(draws):
        for _ in range(_MOST_REDRAWS):
            drawn = np.zeros(len(of_run), dtype=np.int64)
            for stratum in strata:
                even = np.full(len(stratum), 1 / len(stratum))
                drawn[stratum] = generator.multinomial(len(stratum), even)
            counts[i] = drawn[runs]
            kept = counts[i] > 0
            if not keep_levels or (
                2 * np.count_nonzero(drawn) >= len(drawn)
                and all(
                    len(np.unique(level[kept])) >= min(_LEVELS_KEPT, level.max() + 1)
                    for level in levels
                )
            ):
                break
        else:
            raise InputError(
                f"bootstrap: {len(of_run)} runs are too few to resample; more sizes, stages or "
                "replay ratios are needed"
            )
    return counts


def run_numbers(frame: pd.DataFrame) -> NDArray:
    """The number (n,) of the run each row belongs to: equal `RUN` columns are one run."""
    columns = [column for column in RUN if column in frame]
    if not columns:
        return np.arange(len(frame))
    return frame.groupby(columns, sort=True).ngroup().to_numpy()


def unidentified(rows: Rows) -> list[Parameter]:
    """Free parameters for which the rows have too few values of an input, whatever the losses."""
    return [
        p
        for p, free in zip(rows.law.parameters, rows.free, strict=True)
        if free and p.needs is not None and _levels(rows, p.needs[0]) < p.needs[1]
    ]


def _to_be_drawn(rows: Rows) -> list[Parameter]:
    """One parameter per input with too few values: given that one, the rows can tell the others."""
    chosen: dict[str, Parameter] = {}
    for parameter in unidentified(rows):
        before = chosen.get(parameter.needs[0])
        if before is None or before.name not in BANDS:
            chosen[parameter.needs[0]] = parameter
    return list(chosen.values())


def _levels(rows: Rows, name: str) -> int:
    return len(np.unique(rows.inputs[name].round(12)))


def plausible(parameter: Parameter) -> tuple[float, float]:
    """The band from which a parameter that is not identified is drawn: `BANDS`, or its bounds."""
    low, high = BANDS.get(parameter.name, (parameter.low, parameter.high))
    return max(low, parameter.low), min(high, parameter.high)


def band_refits(rows: Rows) -> tuple[str, NDArray, NDArray]:
    """Refits (k, p) with the banded parameter that is not identified held across its band (k,).

    ("", no values, no refits) where every banded parameter is identified. Refits go outward from
    the value nearest to the fit's own, each from its neighbour.
    """
    parameter = next((p for p in unidentified(rows) if p.name in BANDS), None)
    if parameter is None:
        return "", np.empty(0), np.empty((0, len(rows.best)))
    j = rows.law.names.index(parameter.name)
    band = np.linspace(*plausible(parameter), BAND_POINTS)
    free = rows.free.copy()
    free[j] = False
    thetas = np.empty((len(band), len(rows.best)))
    centre = int(np.abs(band - parameter.from_solver(rows.best[j])).argmin())
    for way in (range(centre, len(band)), range(centre - 1, -1, -1)):
        theta = rows.best if way.start == centre else thetas[centre]
        for k in way:
            start = theta.copy()
            start[j] = parameter.to_solver(band[k])
            theta = refits(rows, start[None], free)[0][0]
            thetas[k] = theta
    return parameter.name, band, thetas


def predict_loss_draws(
    record: Fit,
    params: NDArray,
    frame: pd.DataFrame | Mapping[str, NDArray],
    law: Law | None = None,
) -> NDArray:
    """Predicted losses (m, r) of the rows of `frame` by each of `params` (m, p), nats per token."""
    law = law or law_of(record)
    offset = np.asarray(frame[law.offset], dtype=float) if law.offset else 0.0
    return predict_draws(record, params, frame, law) + offset


def prediction_interval(
    record: Fit,
    draws: Draws,
    frame: pd.DataFrame | Mapping[str, NDArray],
    level: float = LEVEL,
    law: Law | None = None,
    noise: bool = True,
) -> tuple[NDArray, NDArray]:
    """Lower and upper ends (r,), nats per token, between which a measured loss should lie.

    The quantiles (1 - level) / 2 and 1 - that of each draw's prediction times a residual of the
    fit, every draw with every one of 25 quantiles of the residuals. `noise` False leaves the
    residuals out: the interval of the law's value alone.
    """
    predicted = predict_loss_draws(record, draws.params, frame, law)
    if noise:
        places = (np.arange(_RESIDUALS) + 0.5) / _RESIDUALS
        factors = np.exp(-np.quantile(draws.residuals, places))
        predicted = (predicted[:, None] * factors[None, :, None]).reshape(-1, predicted.shape[1])
    low, high = np.quantile(predicted, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def band(
    record: Fit,
    draws: Draws,
    frame: pd.DataFrame | Mapping[str, NDArray],
    law: Law | None = None,
) -> tuple[NDArray, NDArray] | None:
    """Least and greatest prediction (r,) over the band of the parameter that is not identified.

    None where there is no such parameter.
    """
    if not len(draws.band):
        return None
    predicted = predict_loss_draws(record, draws.band_params, frame, law)
    return predicted.min(axis=0), predicted.max(axis=0)


def coverage(observed: Sequence[float] | NDArray, low: NDArray, high: NDArray) -> float:
    """Share of observed losses within their intervals."""
    observed = np.asarray(observed, dtype=float)
    return float(np.mean((observed >= low) & (observed <= high)))


def bounds(law: Law) -> tuple[NDArray, NDArray]:
    """Lower and upper bounds (p,) of the solver's vector."""
    low = np.array([p.to_solver(p.low) for p in law.parameters])
    high = np.array([p.to_solver(p.high) for p in law.parameters])
    return low, high


def _natural(law: Law, thetas: NDArray) -> NDArray:
    """Solver's vectors (m, p) as parameter values (m, p)."""
    return np.array([list(law.from_solver(t).values()) for t in thetas]).reshape(thetas.shape)


def refits(
    rows: Rows, starts: NDArray, free: NDArray, weights: NDArray | None = None
) -> tuple[NDArray, NDArray]:
    """Local refits: solver's vectors (m, p) from `starts` (m, p), and their objectives (m,).

    `free` (p,) or (m, p): which parameters may move; the others keep their start. `weights` (m, n):
    how often each row counts (None: once).
    """
    low, high = bounds(rows.law)
    starts = np.clip(starts, low, high)
    wanted = np.flatnonzero(np.any(np.atleast_2d(free), axis=0))

    def residuals(theta: NDArray) -> tuple[NDArray, NDArray]:
        values, slopes = rows.with_slopes(theta, wanted)
        everything = np.zeros((*theta.shape, slopes.shape[-1]))  # a slope of 0 holds a parameter
        everything[:, wanted] = slopes
        return values, everything

    low, high = np.where(free, low, starts), np.where(free, high, starts)
    found = minimise(residuals, starts, low, high, rows.delta, weights, tolerance=1e-8)
    return found.x, found.objective
