"""Fit a law to a table, refit it to many reweighted tables, and predict from the fit.

The objective is the sum over rows of Huber(delta) of log(predicted loss) - log(observed loss);
Huber is r^2/2 for |r| <= delta and delta (|r| - delta/2) beyond (as in Hoffmann et al. 2022).
The solver (`ptpp.laws.solver`) runs several seeded starts at once. A start draws the shape
parameters within their bounds (the first start takes the middle) and solves for the amplitudes, in
which a law is linear: this data-driven half of the start is what makes a handful of starts enough.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
import scipy
from numpy.typing import NDArray
from scipy.optimize import least_squares, lsq_linear

import ptpp
from ptpp.errors import InputError
from ptpp.laws.declared import find_law, law_of
from ptpp.laws.law import Law, Parameter
from ptpp.laws.record import Fit
from ptpp.laws.solver import Solution, huber, minimise

Rows = pd.DataFrame | Mapping[str, NDArray]

# A prediction is kept above this share of the observed loss, so that its logarithm exists: steps of
# the solver that would lead below are rejected, because the residual there is huge.
_LEAST_SHARE = 1e-3
_AT_BOUND = 1e-4  # of the width of the bounds
_DRAWS_WITHOUT_AMPLITUDES = 16  # per start: a law none of whose parameters can be solved for
_HUBER_EFFICIENCY = 1.345  # 95 % efficiency for normal noise [source: Huber 1964, 1981]
_MAD_TO_SIGMA = 1.4826  # of normal noise


@dataclass(frozen=True)
class FitSettings:
    """`delta`: where Huber turns linear, in log loss. `starts`, `seed`: of the multi-start.

    `robust_scale`: replace delta by 1.345 sigma, where sigma is the robust standard deviation
    (1.4826 times the median absolute value) of the residuals of a first fit with `delta`.
    `max_evaluations`: iterations of the solver per start.
    """

    delta: float = 1e-3
    starts: int = 32
    seed: int = 0
    max_evaluations: int = 1000
    robust_scale: bool = False


@dataclass(frozen=True)
class Refits:
    """Fits of one law to k weightings of its rows.

    `params` (k, p): natural units, columns in the order of the law's `names`. `objective` (k,).
    `converged` (k,): whether the solver stopped by its own criterion.
    """

    params: NDArray
    objective: NDArray
    converged: NDArray


@dataclass(frozen=True)
class _Problem:
    """One law on one table: arrays, bounds and the parameters that are free."""

    law: Law
    inputs: Mapping[str, NDArray]
    reference: Mapping[str, float]
    offset: NDArray
    loss: NDArray
    free: NDArray
    start: NDArray  # the solver's vector that holds the fixed parameters

    def theta(self, x: NDArray) -> NDArray:
        """Free parameters (..., f) -> the solver's vectors (..., p)."""
        theta = np.broadcast_to(self.start, (*x.shape[:-1], len(self.start))).copy()
        theta[..., self.free] = x
        return theta

    def residuals(self, x: NDArray) -> tuple[NDArray, NDArray]:
        """Log residuals (..., n) and their slopes (..., f, n) in the free parameters."""
        value, slopes = self.law.with_slopes(
            self.theta(x), self.inputs, self.reference, np.flatnonzero(self.free)
        )
        predicted = np.maximum(self.offset + value, _LEAST_SHARE * self.loss)
        return np.log(predicted / self.loss), slopes / predicted[..., None, :]

    def bounds(self) -> tuple[NDArray, NDArray]:
        parameters = [p for p, free in zip(self.law.parameters, self.free, strict=True) if free]
        low = np.array([p.to_solver(p.low) for p in parameters])
        high = np.array([p.to_solver(p.high) for p in parameters])
        return low, high


def fit(
    law: Law | str,
    frame: pd.DataFrame,
    settings: FitSettings | None = None,
    protocol: str = "",
    domain: str = "",
    source: str = "",
) -> Fit:
    """Fit `law` to the rows of `frame`, which hold `loss` [nats] and the law's `columns`.

    `law`: a law, the name of one of the zoo, or the path of a declared law (.yaml). A forgetting
    law also needs `zero_shot_loss`; its residuals are those of zero_shot_loss + forgetting, so that
    scores of all laws compare. `protocol` and `domain` only label the record; `source` is the file
    that errors name.

    Raises InputError for too few rows, an input that is constant, missing columns, values outside
    the law's domain (share 0, for one) and a law that is not finite on the rows.
    """
    try:
        return _fit(find_law(law), frame, settings or FitSettings(), protocol, domain)
    except InputError as error:
        raise InputError(f"{source}: {error}" if source else str(error)) from None


def _fit(law: Law, frame: pd.DataFrame, settings: FitSettings, protocol: str, domain: str) -> Fit:
    problem = _problem(law, frame)
    starts = _starts(problem, settings)
    solution = _solved(problem, starts, settings)
    if settings.robust_scale:
        settings = replace(settings, delta=_robust_delta(problem, solution))
        solution = _solved(problem, solution.x, settings)
    gap = _relative_gap(solution.objective, len(frame))
    # Where the rows cannot identify a parameter, starts tie: the first of them, which is the
    # centred one if it is among them, is a choice that rounding errors do not make.
    best = int(np.argmax(gap <= 1e-9))
    x, objective, settled = _checked(problem, solution, best, settings)
    found_again = settings.starts == 1 or np.sum(gap <= 1e-3) >= 2
    theta = problem.theta(x)
    fixed = tuple(n for n, free in zip(law.names, problem.free, strict=True) if not free)
    return Fit(
        law=law.name,
        protocol=protocol,
        domain=domain,
        params=law.from_solver(theta),
        fixed=fixed,
        reference=dict(problem.reference),
        at_bounds=_at_bounds(law, theta, problem.free),
        objective=objective,
        n_rows=len(frame),
        share_1e6=float(np.mean(gap <= 1e-6)),
        share_1e3=float(np.mean(gap <= 1e-3)),
        converged=bool(solution.converged[best] and settled and found_again),
        ranges={n: (float(v.min()), float(v.max())) for n, v in problem.inputs.items()},
        warnings=_warnings(law, problem),
        settings=asdict(settings),
        data_sha256=_digest(problem),
        versions={"ptpp": ptpp.__version__, "numpy": np.__version__, "scipy": scipy.__version__},
        gap=_gap_of_the_second(gap),
        declaration=law.declaration,
    )


def refit(record: Fit, frame: pd.DataFrame, weights: NDArray, law: Law | None = None) -> Refits:
    """Fit the law of `record` again to k weightings of the rows it was fitted to.

    `weights` (k, n), not negative: a bootstrap resample is the number of times that each row was
    drawn. Each refit starts at the record's parameters, keeps its reference point, its fixed
    parameters and its Huber delta, and finds the nearest minimum.

    Raises InputError where shapes do not match or a weight is negative or not finite.
    """
    law = law or law_of(record)
    weights = np.asarray(weights, dtype=float)
    if weights.ndim != 2 or weights.shape[1] != len(frame):
        raise InputError(
            f"refit: weights of shape {weights.shape}; accepted is (draws, {len(frame)})"
        )
    if not (np.isfinite(weights) & (weights >= 0)).all() or not (weights.sum(axis=1) > 0).all():
        raise InputError("refit: weights must be finite, not below 0, and not all 0 in a draw")
    start = law.to_solver(record.params)
    free = np.array([name not in record.fixed for name in law.names])
    problem = _Problem(
        law, law_inputs(law, frame), record.reference, _offset(law, frame), _loss(law, frame),
        free, start,
    )  # fmt: skip
    solution = minimise(
        problem.residuals,
        np.tile(start[free], (len(weights), 1)),
        *problem.bounds(),
        delta=record.settings["delta"],
        weights=weights,
        iterations=FitSettings.max_evaluations,
        tolerance=1e-8,
    )
    logs = np.array([p.scale == "log" for p in law.parameters])
    theta = problem.theta(solution.x)
    params = np.where(logs, np.exp(np.where(logs, theta, 0.0)), theta)
    return Refits(params, solution.objective, solution.converged)


def predict(record: Fit, frame: Rows, law: Law | None = None) -> NDArray:
    """The law's value (n,) on the rows of `frame`, nats per token.

    A loss for target laws, forgetting itself for forgetting laws. No loss column is read. `frame`
    may also be a mapping of arrays (n,) by column. `law` is needed for a law made in Python.
    Raises InputError where a column is missing, a value is outside the law's domain, or the law is
    not finite.
    """
    law = law or law_of(record)
    return _predicted(law, law.to_solver(record.params), frame, record.reference)


def predict_draws(record: Fit, params: NDArray, frame: Rows, law: Law | None = None) -> NDArray:
    """The law's values (k, n) for k parameter vectors (k, p) in natural units; see `Refits`."""
    law = law or law_of(record)
    logs = np.array([p.scale == "log" for p in law.parameters])
    theta = np.where(logs, np.log(np.where(logs, params, 1.0)), params)
    return _predicted(law, theta, frame, record.reference)


def predict_loss(record: Fit, frame: Rows, law: Law | None = None) -> NDArray:
    """The predicted loss (n,), nats per token; for forgetting laws, zero_shot_loss is added."""
    law = law or law_of(record)
    return predict(record, frame, law) + _offset(law, frame)


def extrapolated_inputs(record: Fit, frame: Rows, law: Law | None = None) -> tuple[str, ...]:
    """The law's inputs that leave the fitted rows' range anywhere in `frame`."""
    inputs = law_inputs(law or law_of(record), frame)
    outside = []
    for name, (low, high) in record.ranges.items():
        slack = 1e-9 * max(abs(low), abs(high))  # a bound reached up to rounding is within
        if np.any((inputs[name] < low - slack) | (inputs[name] > high + slack)):
            outside.append(name)
    return tuple(outside)


def law_inputs(law: Law, frame: Rows) -> dict[str, NDArray]:
    """The arrays a law needs, by name, from the columns of `frame` (share = 1 - replay).

    Raises InputError where a column is missing or a value is outside the law's domain.
    """
    inputs = {}
    for name in law.inputs:
        column = "replay" if name == "share" else name
        if column not in frame:
            raise InputError(f"law {law.name}: the table has no column {column!r}")
        values = np.asarray(frame[column], dtype=float)
        values = 1 - values if name == "share" else values
        if name in law.centred and name not in law.may_be_zero:
            good, accepted = values > 0, "values above 0"
        else:
            good, accepted = values >= 0, "values not below 0"
        good &= values < np.inf
        if name in ("share", "replay"):
            good, accepted = good & (values <= 1), f"{accepted} and not above 1"
        if not good.all():
            raise InputError(
                f"law {law.name}: {name} is {values[~good][0]:g} in {(~good).sum()} of "
                f"{len(values)} rows; accepted are {accepted}"
            )
        inputs[name] = values
    return inputs


def _predicted(law: Law, theta: NDArray, frame: Rows, reference: Mapping[str, float]) -> NDArray:
    inputs = law_inputs(law, frame)
    with np.errstate(all="ignore"):
        values = law.predict(theta, inputs, reference)
    bad = ~np.isfinite(values).reshape(-1, values.shape[-1]).all(axis=0)
    if bad.any():
        where = ", ".join(f"{name} = {inputs[name][bad][0]:g}" for name in inputs)
        raise InputError(
            f"law {law.name}: not finite at {where}; accepted are inputs at which it has a value"
        )
    return values


def _loss(law: Law, frame: pd.DataFrame) -> NDArray:
    if "loss" not in frame:
        raise InputError(f"law {law.name}: the table has no column 'loss'")
    loss = np.asarray(frame["loss"], dtype=float)
    good = np.isfinite(loss) & (loss > 0)
    if not good.all():
        raise InputError(
            f"law {law.name}: loss is {loss[~good][0]:g} in {(~good).sum()} of {len(loss)} rows; "
            "accepted are numbers above 0"
        )
    return loss


def _problem(law: Law, frame: pd.DataFrame) -> _Problem:
    if not len(frame):
        raise InputError(f"law {law.name}: no rows to fit; at least one per free parameter")
    loss, inputs = _loss(law, frame), law_inputs(law, frame)
    free = np.array([_is_free(p, inputs) for p in law.parameters])
    if len(frame) < free.sum():
        raise InputError(
            f"law {law.name}: {len(frame)} rows cannot determine {free.sum()} free parameters; "
            "add rows, or take a law with fewer"
        )
    _check_spread(law, inputs)
    middle = [_inside(p, 0.5) if p.fixed is None else p.to_solver(p.fixed) for p in law.parameters]
    return _Problem(
        law=law,
        inputs=inputs,
        reference={n: _geometric_mean(inputs[n]) for n in law.centred},
        offset=_offset(law, frame),
        loss=loss,
        free=free,
        start=np.array(middle),
    )


def _geometric_mean(values: NDArray) -> float:
    """Of the values above 0: an input that may be 0 has its reference among the others."""
    return float(np.exp(np.log(values[values > 0]).mean()))


def _check_spread(law: Law, inputs: Mapping[str, NDArray]) -> None:
    """Raise where an input never varies: the law's terms in it would be anybody's guess."""
    for name, values in inputs.items():
        if np.ptp(values) > 1e-9 * np.abs(values).max():
            continue
        if name == "ptpp":
            raise InputError(
                f"law {law.name}: all rows are of PTPP {values[0]:g}; a law of PTPP needs at "
                "least 2 stages"
            )
        column, value = ("replay", 1 - values[0]) if name == "share" else (name, values[0])
        raise InputError(
            f"law {law.name}: column {column}: all {len(values)} rows hold {value:g}; measure "
            f"another value, or take a law without {column}"
        )


def _offset(law: Law, frame: Rows) -> NDArray:
    if law.offset is None:
        return np.zeros(len(frame[law.columns[0]]))
    if law.offset not in frame:
        raise InputError(f"law {law.name}: the table has no column {law.offset!r}")
    offset = np.asarray(frame[law.offset], dtype=float)
    if not np.isfinite(offset).all():
        raise InputError(
            f"law {law.name}: {law.offset} is not a number in {(~np.isfinite(offset)).sum()} of "
            f"{len(offset)} rows"
        )
    return offset


def _is_free(parameter: Parameter, inputs: Mapping[str, NDArray]) -> bool:
    if parameter.fixed is None:
        return True
    if parameter.free_below is None:
        return False
    name, limit = parameter.free_below
    return bool(inputs[name].min() <= limit + 1e-9)


def _inside(parameter: Parameter, position: float) -> float:
    """The solver's value at a position 0..1 between the bounds."""
    low, high = parameter.to_solver(parameter.low), parameter.to_solver(parameter.high)
    return low + (high - low) * position


def _starts(problem: _Problem, settings: FitSettings) -> NDArray:
    """Free parameters (starts, f) at which the solver begins, each strictly within the bounds.

    Where no parameter is an amplitude, more are drawn and the best of them are taken.
    """
    generator = np.random.default_rng(settings.seed)
    low, high = problem.bounds()
    margin = 1e-6 * (high - low)
    parameters = problem.law.parameters
    amplitudes = [j for j, p in enumerate(parameters) if p.amplitude and problem.free[j]]
    draws = settings.starts * (1 if amplitudes else _DRAWS_WITHOUT_AMPLITUDES)
    starts = []
    for number in range(draws):
        theta = problem.start.copy()
        if number:
            for j, parameter in enumerate(parameters):
                if problem.free[j]:
                    theta[j] = _inside(parameter, generator.uniform())
        if amplitudes:
            theta = _with_amplitudes(problem, theta, amplitudes)
        starts.append(np.clip(theta[problem.free], low + margin, high - margin))
    starts = np.array(starts)
    if len(starts) > settings.starts:
        objective = _objective(problem, starts, settings.delta)
        best = np.argsort(objective[1:], kind="stable")[: settings.starts - 1] + 1
        starts = starts[np.append(0, best)]
    return starts


def _with_amplitudes(problem: _Problem, theta: NDArray, columns: list[int]) -> NDArray:
    """Put the amplitudes to their bounded least-squares values, given the other parameters.

    With an amplitude's factor at 1, the Jacobian's column is its basis function on every scale.
    Rows are divided by their loss, so that relative errors are fitted, as later.
    """
    parameters = [problem.law.parameters[j] for j in columns]
    theta = theta.copy()
    theta[columns] = [_factor_to_solver(p, 1.0) for p in parameters]
    with np.errstate(all="ignore"):
        slopes = problem.law.with_slopes(theta, problem.inputs, problem.reference, columns)[1]
        wanted = (problem.loss - problem.offset) / problem.loss
        basis = (slopes / problem.loss).T
        # Columns of one size each: far from the reference they differ by many orders.
        size = np.abs(basis).max(axis=0)
    if not np.isfinite(basis).all() or not (size > 0).all():
        return theta
    low, high = np.array([_factor_bounds(p) for p in parameters]).T
    solution = lsq_linear(basis / size, wanted, bounds=(low * size, high * size)).x / size
    for j, p, value in zip(columns, parameters, np.clip(solution, low, high), strict=True):
        theta[j] = _factor_to_solver(p, value)
    return theta


def _factor_to_solver(parameter: Parameter, factor: float) -> float:
    """The solver's value at which an amplitude multiplies its term by `factor`."""
    value = np.log(factor) if parameter.amplitude == "exp" else factor
    return parameter.to_solver(float(value))


def _factor_bounds(parameter: Parameter) -> tuple[float, float]:
    bounds = parameter.low, parameter.high
    return tuple(np.exp(np.clip(bounds, -690, 690))) if parameter.amplitude == "exp" else bounds


def _objective(problem: _Problem, x: NDArray, delta: float) -> NDArray:
    """The objective (k,) at free parameters (k, f); inf where it is not finite."""
    with np.errstate(all="ignore"):
        values = np.array([huber(problem.residuals(row)[0], delta).sum() for row in x])
    return np.where(np.isfinite(values), values, np.inf)


def _solved(problem: _Problem, starts: NDArray, settings: FitSettings) -> Solution:
    solution = minimise(
        problem.residuals,
        starts,
        *problem.bounds(),
        delta=settings.delta,
        iterations=settings.max_evaluations,
    )
    if not np.isfinite(solution.objective).any():
        with np.errstate(all="ignore"):
            value = problem.law.predict(problem.start, problem.inputs, problem.reference)
        row = int(np.argmax(~np.isfinite(value)))
        where = ", ".join(f"{name} = {v[row]:g}" for name, v in problem.inputs.items())
        raise InputError(
            f"law {problem.law.name}: not finite on the data, from any start (row {row + 1}: "
            f"{where}); change the expression or the bounds"
        )
    return solution


def _checked(
    problem: _Problem, solution: Solution, best: int, settings: FitSettings
) -> tuple[NDArray, float, bool]:
    """The best parameters, their objective, and whether another solver agrees that they are best.

    scipy's trust-region solver restarts from the optimum: it tells a minimum from a point at which
    ours ran out of steps or of precision. Its cost for loss="huber" is our objective.
    """
    low, high = problem.bounds()
    try:
        with np.errstate(all="ignore"):
            again = least_squares(
                lambda x: problem.residuals(x)[0],
                np.clip(solution.x[best], low, high),
                lambda x: problem.residuals(x)[1].T,
                bounds=(low, high),
                loss="huber",
                f_scale=settings.delta,
                ftol=1e-9,
                xtol=1e-12,
                gtol=1e-14,
                max_nfev=min(settings.max_evaluations, 50),
            )
    except ValueError:  # on absurd scales it stumbles over overflow: then nothing is confirmed
        return solution.x[best], float(solution.objective[best]), False
    both = np.array([solution.objective[best], again.cost])
    settled = bool(_relative_gap(both, len(problem.loss))[0] <= 1e-6)
    if settled:
        return solution.x[best], float(both[0]), True
    return np.clip(again.x, low, high), float(again.cost), False


def _robust_delta(problem: _Problem, solution: Solution) -> float:
    """1.345 robust standard deviations of the best fit's residuals; see `FitSettings`."""
    best = solution.x[int(np.argmin(solution.objective))]
    sigma = _MAD_TO_SIGMA * float(np.median(np.abs(problem.residuals(best)[0])))
    return _HUBER_EFFICIENCY * max(sigma, 1e-9)


def _gap_of_the_second(gap: NDArray) -> float | None:
    """Relative distance of the second best start; None where none reached a finite objective."""
    if len(gap) < 2:
        return None
    second = float(np.sort(gap)[1])
    return second if np.isfinite(second) else None


def _relative_gap(objectives: NDArray, n_rows: int) -> NDArray:
    """How far each objective is above the least one; rounding errors around 0 count as 0."""
    rounding = 1e-20 * n_rows
    least = objectives.min()
    return np.where(objectives <= rounding, 0.0, objectives / max(least, rounding) - 1)


def _at_bounds(law: Law, theta: NDArray, free: NDArray) -> tuple[str, ...]:
    hit = []
    for parameter, value, is_free in zip(law.parameters, theta, free, strict=True):
        low, high = parameter.to_solver(parameter.low), parameter.to_solver(parameter.high)
        if is_free and value - low <= _AT_BOUND * (high - low):
            hit.append(f"{parameter.name}=low")
        elif is_free and high - value <= _AT_BOUND * (high - low):
            hit.append(f"{parameter.name}=high")
    return tuple(hit)


def _warnings(law: Law, problem: _Problem) -> tuple[str, ...]:
    """One line for each free parameter that the design of the fit rows cannot identify."""
    lines = []
    for parameter, is_free in zip(law.parameters, problem.free, strict=True):
        if not is_free or parameter.needs is None:
            continue
        name, needed = parameter.needs
        values = problem.inputs[name]
        levels = len(np.unique((values / values.max()).round(12)))
        if levels < needed:
            line = (
                f"{parameter.name} is not identified: {levels} values of {name} among the fit "
                f"rows, at least {needed} are needed"
            )
            if name == "ptpp":
                line += "; the forecast at another PTPP is decided by its bounds"
            lines.append(line)
    return tuple(lines)


def _digest(problem: _Problem) -> str:
    """SHA-256 of all numbers that enter the fit, with their names, in the order of the rows."""
    columns = {**problem.inputs, "offset": problem.offset, "loss": problem.loss}
    digest = hashlib.sha256()
    for name, values in columns.items():
        digest.update(name.encode() + b"\0" + np.ascontiguousarray(values, "<f8").tobytes())
    return digest.hexdigest()
