"""Fit a law to a table, and predict from the fit.

The objective is the sum over rows of Huber(delta) of log(predicted loss) - log(observed loss);
Huber is r^2/2 for |r| <= delta and delta (|r| - delta/2) beyond (as in Hoffmann et al. 2022).
The solver is scipy's trust-region reflective least squares with the analytic Jacobian, from several
seeded starts. A start draws the shape parameters within their bounds (the first start takes the
middle) and solves for the amplitudes, in which every law is linear: this data-driven half of the
start is what makes a handful of starts enough.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import scipy
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult, least_squares, lsq_linear

import ptpp
from ptpp.errors import InputError
from ptpp.laws.forms import Law, Parameter, get_law
from ptpp.laws.record import Fit

Rows = pd.DataFrame | Mapping[str, NDArray]

# A prediction is kept above this share of the observed loss, so that its logarithm exists: steps of
# the solver that would lead below are rejected, because the residual there is huge.
_LEAST_SHARE = 1e-3
_AT_BOUND = 1e-4  # of the width of the bounds


@dataclass(frozen=True)
class FitSettings:
    """`delta`: where Huber turns linear, in log loss. `starts`, `seed`: of the multi-start."""

    delta: float = 1e-3
    starts: int = 16
    seed: int = 0
    max_evaluations: int = 2000


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
        theta = self.start.copy()
        theta[self.free] = x
        return theta

    def residuals(self, x: NDArray) -> NDArray:
        return np.log(self._predicted(x)[0] / self.loss)

    def jacobian(self, x: NDArray) -> NDArray:
        predicted, jacobian = self._predicted(x)
        return jacobian[:, self.free] / predicted[:, None]

    def _predicted(self, x: NDArray) -> tuple[NDArray, NDArray]:
        value, jacobian = self.law.function(self.theta(x), self.inputs, self.reference)
        return np.maximum(self.offset + value, _LEAST_SHARE * self.loss), jacobian


def fit(
    law: Law | str,
    frame: pd.DataFrame,
    settings: FitSettings | None = None,
    protocol: str = "",
    domain: str = "",
) -> Fit:
    """Fit `law` to the rows of `frame`, which hold `loss` [nats] and what the law's inputs need.

    A forgetting law also needs `zero_shot_loss`; its residuals are those of zero_shot_loss +
    forgetting, so that scores of all laws compare. `protocol` and `domain` only label the record.

    Raises InputError for too few rows, a single PTPP stage where the law uses PTPP, missing columns
    and values outside the law's domain (share 0, for one).
    """
    law = get_law(law) if isinstance(law, str) else law
    settings = settings or FitSettings()
    problem = _problem(law, frame)
    runs = [_solve(problem, x, settings) for x in _starts(problem, settings)]
    gap = _relative_gap(np.array([run.cost for run in runs]), len(frame))
    # Where the rows cannot identify a parameter, starts tie: the first of them, which is the
    # centred one if it is among them, is a choice that rounding errors do not make.
    best = runs[int(np.argmax(gap <= 1e-9))]
    # Restarting from the optimum tells a true minimum from a solver that ran out of evaluations.
    again = _solve(problem, best.x, settings)
    settled = _relative_gap(np.array([best.cost, again.cost]), len(frame))[0] <= 1e-6
    found_again = settings.starts == 1 or np.sum(gap <= 1e-3) >= 2
    if not settled:
        best = again
    theta = problem.theta(best.x)
    fixed = tuple(n for n, free in zip(law.names, problem.free, strict=True) if not free)
    return Fit(
        law=law.name,
        protocol=protocol,
        domain=domain,
        params=law.from_solver(theta),
        fixed=fixed,
        reference=dict(problem.reference),
        at_bounds=_at_bounds(law, theta, problem.free),
        objective=float(best.cost),
        n_rows=len(frame),
        share_1e6=float(np.mean(gap <= 1e-6)),
        share_1e3=float(np.mean(gap <= 1e-3)),
        converged=bool(best.status > 0 and settled and found_again),
        ranges={n: (float(v.min()), float(v.max())) for n, v in problem.inputs.items()},
        warnings=_warnings(law, problem),
        settings=asdict(settings),
        data_sha256=_digest(problem),
        versions={"ptpp": ptpp.__version__, "numpy": np.__version__, "scipy": scipy.__version__},
    )


def predict(record: Fit, frame: Rows, law: Law | None = None) -> NDArray:
    """The law's value (n,) on the rows of `frame`, nats per token.

    A loss for target laws, forgetting itself for forgetting laws. No loss column is read. `frame`
    may also be a mapping of arrays (n,) by column. `law` is needed for a law outside the zoo.
    """
    law = law or get_law(record.law)
    inputs = law_inputs(law, frame)
    return law.predict(law.to_solver(record.params), inputs, record.reference)


def predict_loss(record: Fit, frame: Rows, law: Law | None = None) -> NDArray:
    """The predicted loss (n,), nats per token; for forgetting laws, zero_shot_loss is added."""
    law = law or get_law(record.law)
    return predict(record, frame, law) + _offset(law, frame)


def extrapolated_inputs(record: Fit, frame: Rows, law: Law | None = None) -> tuple[str, ...]:
    """The law's inputs that leave the fitted rows' range anywhere in `frame`."""
    inputs = law_inputs(law or get_law(record.law), frame)
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
        bad = ~(values > 0) if name in law.centred else ~(values >= 0)
        if bad.any():
            above = "above 0" if name in law.centred else "not below 0"
            raise InputError(
                f"law {law.name}: {name} is {values[bad][0]:g} in {bad.sum()} of {len(values)} "
                f"rows; accepted are values {above}"
            )
        inputs[name] = values
    return inputs


def huber(residuals: NDArray, delta: float) -> NDArray:
    """r^2/2 for |r| <= delta, delta (|r| - delta/2) beyond, elementwise."""
    size = np.abs(residuals)
    return np.where(size <= delta, 0.5 * size**2, delta * (size - delta / 2))


def _problem(law: Law, frame: pd.DataFrame) -> _Problem:
    if "loss" not in frame:
        raise InputError(f"law {law.name}: the table has no column 'loss'")
    inputs = law_inputs(law, frame)
    loss = frame["loss"].to_numpy(dtype=float)
    if not (np.isfinite(loss) & (loss > 0)).all():
        raise InputError(f"law {law.name}: a loss is not a number above 0")
    free = np.array([_is_free(p, inputs) for p in law.parameters])
    if len(frame) < free.sum():
        raise InputError(
            f"law {law.name}: {len(frame)} rows cannot determine {free.sum()} free parameters"
        )
    if "ptpp" in inputs and len(np.unique(inputs["ptpp"])) < 2:
        raise InputError(
            f"law {law.name}: all rows are of PTPP {inputs['ptpp'][0]:g}; a law of PTPP needs at "
            "least 2 stages"
        )
    middle = [_inside(p, 0.5) if p.fixed is None else p.to_solver(p.fixed) for p in law.parameters]
    return _Problem(
        law=law,
        inputs=inputs,
        reference={n: float(np.exp(np.log(inputs[n]).mean())) for n in law.centred},
        offset=_offset(law, frame),
        loss=loss,
        free=free,
        start=np.array(middle),
    )


def _offset(law: Law, frame: Rows) -> NDArray:
    if law.offset is None:
        return np.zeros(len(frame[law.inputs[0]]))
    if law.offset not in frame:
        raise InputError(f"law {law.name}: the table has no column {law.offset!r}")
    return np.asarray(frame[law.offset], dtype=float)


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


def _bounds(problem: _Problem) -> tuple[NDArray, NDArray]:
    parameters = [p for p, free in zip(problem.law.parameters, problem.free, strict=True) if free]
    low = np.array([p.to_solver(p.low) for p in parameters])
    high = np.array([p.to_solver(p.high) for p in parameters])
    return low, high


def _starts(problem: _Problem, settings: FitSettings) -> list[NDArray]:
    """Free parameters at which the solver begins, each strictly within the bounds."""
    generator = np.random.default_rng(settings.seed)
    low, high = _bounds(problem)
    margin = 1e-6 * (high - low)
    starts = []
    for number in range(settings.starts):
        theta = problem.start.copy()
        if number:
            for j, parameter in enumerate(problem.law.parameters):
                if problem.free[j]:
                    theta[j] = _inside(parameter, generator.uniform())
        theta = _with_amplitudes(problem, theta)
        starts.append(np.clip(theta[problem.free], low + margin, high - margin))
    return starts


def _with_amplitudes(problem: _Problem, theta: NDArray) -> NDArray:
    """Put the amplitudes to their bounded least-squares values, given the other parameters.

    With an amplitude at 1, the Jacobian's column is its basis function on either scale. Rows are
    divided by their loss, so that relative errors are fitted, as later.
    """
    parameters = problem.law.parameters
    columns = [j for j, p in enumerate(parameters) if p.amplitude and problem.free[j]]
    theta = theta.copy()
    theta[columns] = [parameters[j].to_solver(1.0) for j in columns]
    basis = problem.law.jacobian(theta, problem.inputs, problem.reference)[:, columns]
    low = [parameters[j].low for j in columns]
    high = [parameters[j].high for j in columns]
    wanted = (problem.loss - problem.offset) / problem.loss
    solution = lsq_linear(basis / problem.loss[:, None], wanted, bounds=(low, high)).x
    for j, value in zip(columns, solution, strict=True):
        parameter = parameters[j]
        theta[j] = parameter.to_solver(min(max(value, parameter.low), parameter.high))
    return theta


def _solve(problem: _Problem, x: NDArray, settings: FitSettings) -> OptimizeResult:
    """One local fit. scipy's cost for loss="huber" is sum of Huber with delta = f_scale."""
    low, high = _bounds(problem)
    return least_squares(
        problem.residuals,
        np.clip(x, low, high),
        problem.jacobian,
        bounds=(low, high),
        loss="huber",
        f_scale=settings.delta,
        ftol=1e-12,
        xtol=1e-12,
        gtol=1e-14,
        max_nfev=settings.max_evaluations,
    )


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
        levels = len(np.unique(problem.inputs[name].round(12)))
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
