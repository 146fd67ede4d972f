"""Fit a law to a table.

The solver runs several seeded starts at once. A start draws the shape parameters within their
bounds (the first takes the middle) and solves for the amplitudes, in which a law is linear: this
data-driven half of the start is what makes a handful of starts enough.
"""

import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
import scipy
from numpy.typing import NDArray
from scipy.optimize import least_squares, lsq_linear

import ptpp
from ptpp.errors import InputError
from ptpp.laws.declared import find_law
from ptpp.laws.fitted import FittedLaw
from ptpp.laws.large import is_large, polish, thin
from ptpp.laws.law import Law, Parameter
from ptpp.laws.problem import (
    STAGES_FOR_PRIORS,
    Problem,
    law_inputs,
    observed_loss,
    offset_of,
    stage_labels,
)
from ptpp.laws.record import Fit
from ptpp.laws.solver import Solution, huber, minimise
from ptpp.table.kinds import is_stage, list_stages

log = logging.getLogger("ptpp")

_AT_BOUND = 1e-4  # of the width of the bounds
_DRAWS_WITHOUT_AMPLITUDES = 16  # per start: a law none of whose parameters can be solved for
_PLACES = 8  # within the bounds, at which a slope must vanish to be lost
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


def fit(
    law: Law | str,
    frame: pd.DataFrame,
    settings: FitSettings | None = None,
    protocol: str = "",
    domain: str = "",
    source: str = "",
    asked: float | None = None,
) -> FittedLaw:
    """Fit `law` to the rows of `frame`, which hold `loss` [nats] and the law's `columns`.

    `law`: a law, the name of one of the zoo, or the path of a declared law (.yaml). The residuals
    of a forgetting law are those of zero_shot_loss + forgetting, so that scores of all laws
    compare. `protocol` and `domain` only label the record; `source` is the file that errors name.
    `asked`: the PTPP that is to be forecast (None: unknown). A parameter with a prior, such as the
    floor's kappa, is fitted where the rows are of four stages or hold the one asked for; else it
    keeps its prior. Terms whose input does not vary (replay, size, tokens) are left out. The
    record's `fixed` and `warnings` tell both.

    Raises InputError for too few rows, rows of one PTPP for a law of PTPP, missing columns, values
    outside the law's domain (share 0, for one) and a law that is not finite on the rows.
    """
    settings = settings or FitSettings()
    try:
        law = find_law(law)
        problem = pose_problem(law, frame, settings.delta, asked)
        solution = _solve_starts(problem, settings)
        if settings.robust_scale:
            least = problem.residuals(solution.x[int(np.argmin(solution.objective))])[0]
            sigma = _MAD_TO_SIGMA * float(np.median(np.abs(least)))
            settings = replace(settings, delta=_HUBER_EFFICIENCY * max(sigma, 1e-9))
            problem = replace(problem, delta=settings.delta)
            solution = _solve(problem, solution.x, settings)
    except InputError as error:
        raise InputError(f"{source}: {error}" if source else str(error)) from None
    gap = _relative_gap(solution.objective, len(frame))
    # Where the rows cannot identify a parameter, starts tie: the first of them, which is the
    # centred one if it is among them, is a choice that rounding errors do not make.
    best = int(np.argmax(gap <= 1e-9))
    x, objective, settled = _confirm(problem, solution, best, settings)
    again = settings.starts == 1 or np.sum(gap <= 1e-3) >= 2
    theta = problem.expand(x)
    second = float(np.sort(gap)[1]) if len(gap) > 1 else np.inf
    record = Fit(
        law=law.name,
        protocol=protocol,
        domain=domain,
        params=law.from_solver(theta),
        fixed=tuple(n for n, free in zip(law.names, problem.free, strict=True) if not free),
        reference=dict(problem.reference),
        at_bounds=_at_bounds(problem, theta),
        objective=objective,
        n_rows=len(frame),
        share_1e6=float(np.mean(gap <= 1e-6)),
        share_1e3=float(np.mean(gap <= 1e-3)),
        converged=bool(solution.converged[best] and settled and again),
        ranges={n: (float(v.min()), float(v.max())) for n, v in problem.inputs.items()},
        warnings=tuple(_warnings(problem)),
        settings=asdict(settings),
        data_sha256=_digest(problem),
        versions={"ptpp": ptpp.__version__, "numpy": np.__version__, "scipy": scipy.__version__},
        gap=second if np.isfinite(second) else None,
        declaration=law.declaration,
    )
    return FittedLaw(record, frame, law=law)


def pose_problem(
    law: Law, frame: pd.DataFrame, delta: float, asked: float | None = None
) -> Problem:
    """The law on the rows of `frame`, with its free parameters and reference; see `fit`."""
    if not len(frame):
        raise InputError(f"law {law.name}: no rows to fit; at least one per free parameter")
    loss, inputs = observed_loss(law, frame), law_inputs(law, frame)
    constant = _find_constant(law, inputs)
    held = [_is_held(p, inputs, constant) for p in law.parameters]
    if any(p.prior is not None for p in law.parameters) and not _tells_prior(frame, asked):
        held = [
            is_held or p.prior is not None for is_held, p in zip(held, law.parameters, strict=True)
        ]
    low, high = law.bounds()
    values = [_held_value(p, constant) for p in law.parameters]
    centred = [(name, inputs[name]) for name in law.centred]
    problem = Problem(
        law=law,
        inputs=inputs,
        # An input that may be 0 has its reference among the other values.
        reference={n: float(np.exp(np.log(v[v > 0]).mean())) for n, v in centred},
        offset=offset_of(law, frame),
        loss=loss,
        free=~np.array(held),
        theta=np.where(np.isnan(values), low + (high - low) * 0.5, values),
        delta=delta,
        stages=stage_labels(frame),
    )
    if constant:
        problem = _hold_lost(problem, constant)
    if len(frame) < problem.free.sum():
        raise InputError(
            f"law {law.name}: {len(frame)} rows cannot determine {problem.free.sum()} free "
            "parameters; add rows, or take a law with fewer"
        )
    return problem


def _find_constant(law: Law, inputs: Mapping[str, NDArray]) -> dict[str, float]:
    """The inputs that do not vary, and their value. Raises InputError for one that the law is
    about: PTPP, or the checkpoint's base loss.
    """
    constant = {
        name: float(values[0])
        for name, values in inputs.items()
        if np.ptp(values) <= 1e-9 * np.abs(values).max()
    }
    if law.declaration is not None:
        return constant
    if "ptpp" in constant:
        raise InputError(
            f"law {law.name}: all rows are of PTPP {constant['ptpp']:g}; a law of PTPP needs at "
            "least 2 stages"
        )
    if "base_loss" in constant:
        raise InputError(
            f"law {law.name}: column base_loss: all {len(inputs['base_loss'])} rows hold "
            f"{constant['base_loss']:g}; measure another checkpoint, or take a law without it"
        )
    return constant


def _is_held(
    parameter: Parameter, inputs: Mapping[str, NDArray], constant: Mapping[str, float]
) -> bool:
    """Whether a parameter keeps its fixed value, or the input of its term does not vary."""
    if parameter.goes_with in constant and not parameter.amplitude:
        return True
    if parameter.fixed is None or parameter.free_below is None:
        return parameter.fixed is not None
    name, limit = parameter.free_below
    return bool(inputs[name].min() > limit + 1e-9)


def _held_value(parameter: Parameter, constant: Mapping[str, float]) -> float:
    """What a held parameter keeps, in the solver's scale; NaN: the middle of its bounds."""
    values = [parameter.fixed, parameter.prior]
    if parameter.goes_with in constant:
        values.insert(0, parameter.without)
    value = next((value for value in values if value is not None), None)
    return np.nan if value is None else parameter.to_solver(value)


def _tells_prior(frame: pd.DataFrame, asked: float | None) -> bool:
    """Whether the rows tell what a prior holds: by their stages, or by rows at the one `asked`."""
    if "ptpp" not in frame:
        return False
    if len(list_stages(frame)) >= STAGES_FOR_PRIORS:
        return True
    return asked is not None and bool(is_stage(frame, asked).any())


def _hold_lost(problem: Problem, constant: Mapping[str, float]) -> Problem:
    """Hold what the rows cannot tell because inputs do not vary.

    An amplitude whose term is the same in all rows stands at its low bound: another one, such as E,
    takes its part. In any law, a parameter without a slope in any row is held where it is.
    """
    law, free, theta = problem.law, problem.free.copy(), problem.theta.copy()
    low, high = law.bounds()
    # At one point a slope may vanish by chance, as on one side of a minimum.
    places = np.random.default_rng(0).uniform(size=(_PLACES, len(theta)))
    points = np.where(free, low + (high - low) * places, theta)
    with np.errstate(all="ignore"):
        slopes = law.with_slopes(points, problem.inputs, problem.reference, range(len(theta)))[1]
        size = np.abs(slopes).max(axis=2)
        alike = (np.ptp(slopes, axis=2) <= 1e-9 * size).all(axis=0)
        lost = (size <= 1e-12 * problem.loss.max()).all(axis=0)
    for j, parameter in enumerate(law.parameters):
        if parameter.goes_with in constant and parameter.amplitude:
            if alike[j]:
                free[j], theta[j] = False, low[j]
        elif lost[j]:
            free[j] = False
    return replace(problem, free=free, theta=theta)


def draw_starts(problem: Problem, settings: FitSettings) -> NDArray:
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
        theta = problem.theta.copy()
        if number:
            theta[problem.free] = low + (high - low) * generator.uniform(size=len(low))
        if amplitudes:
            theta = _with_amplitudes(problem, theta, amplitudes)
        starts.append(np.clip(theta[problem.free], low + margin, high - margin))
    starts = np.array(starts)
    if len(starts) > settings.starts:
        with np.errstate(all="ignore"):
            residuals = [problem.residuals(row)[0] for row in starts[1:]]
            objective = np.array([huber(each, problem.delta).sum() for each in residuals])
        objective = np.where(np.isfinite(objective), objective, np.inf)
        best = np.argsort(objective, kind="stable")[: settings.starts - 1] + 1
        starts = starts[np.append(0, best)]
    return starts


def _with_amplitudes(problem: Problem, theta: NDArray, columns: list[int]) -> NDArray:
    """Put the amplitudes to their bounded least-squares values, given the other parameters.

    With an amplitude's factor at 1, the Jacobian's column is its basis function on every scale.
    Rows are divided by their loss, so that relative errors are fitted, as later.
    """
    parameters = [problem.law.parameters[j] for j in columns]

    def to_solver(factors: Iterable[float]) -> list[float]:
        """The solver's values at which amplitudes multiply their terms by these factors."""
        pairs = zip(parameters, factors, strict=True)
        return [p.to_solver(float(np.log(f) if p.amplitude == "exp" else f)) for p, f in pairs]

    theta = theta.copy()
    theta[columns] = to_solver(np.ones(len(columns)))
    with np.errstate(all="ignore"):
        slopes = problem.law.with_slopes(theta, problem.inputs, problem.reference, columns)[1]
        wanted = (problem.loss - problem.offset) / problem.loss
        basis = (slopes / problem.loss).T
        # Columns of one size each: far from the reference they differ by many orders.
        size = np.abs(basis).max(axis=0)
    if not np.isfinite(basis).all() or not (size > 0).all():
        return theta
    bounds = np.array([(p.low, p.high) for p in parameters], dtype=float)
    powers = [p.amplitude == "exp" for p in parameters]
    bounds[powers] = np.exp(np.clip(bounds[powers], -690, 690))
    low, high = bounds.T
    solution = lsq_linear(basis / size, wanted, bounds=(low * size, high * size)).x / size
    theta[columns] = to_solver(np.clip(solution, low, high))
    return theta


def _solve_starts(problem: Problem, settings: FitSettings) -> Solution:
    """All starts solved: on all rows, or where there are many, on some and the best then on all."""
    if not is_large(problem):
        return _solve(problem, draw_starts(problem, settings), settings)
    few = thin(problem, settings.seed)
    rows, name = len(problem.loss), problem.law.name
    log.info("%s: %d starts on %d of %d rows", name, settings.starts, len(few.loss), rows)
    first = _solve(few, draw_starts(few, settings), settings)
    log.info("%s: the best on all %d rows", name, rows)
    return polish(first, lambda starts: _solve(problem, starts, settings))


def _solve(problem: Problem, starts: NDArray, settings: FitSettings) -> Solution:
    solution = minimise(
        problem.residuals,
        starts,
        *problem.bounds(),
        delta=problem.delta,
        iterations=settings.max_evaluations,
    )
    if not np.isfinite(solution.objective).any():
        with np.errstate(all="ignore"):
            value = problem.law.predict(problem.theta, problem.inputs, problem.reference)
        row = int(np.argmax(~np.isfinite(value)))
        where = ", ".join(f"{name} = {v[row]:g}" for name, v in problem.inputs.items())
        raise InputError(
            f"law {problem.law.name}: not finite on the data, from any start (row {row + 1}: "
            f"{where}); change the expression or the bounds"
        )
    return solution


def _confirm(
    problem: Problem, solution: Solution, best: int, settings: FitSettings
) -> tuple[NDArray, float, bool]:
    """The best parameters, their objective, and whether scipy's trust-region solver, restarted from
    there, agrees: it tells a minimum from a point at which ours ran out of steps or of
    precision. Its cost for loss="huber" is our objective.
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
                f_scale=problem.delta,
                ftol=1e-9,
                xtol=1e-12,
                gtol=1e-14,
                max_nfev=min(settings.max_evaluations, 50),
            )
    except ValueError:  # on absurd scales it stumbles over overflow: then nothing is confirmed
        return solution.x[best], float(solution.objective[best]), False
    both = np.array([solution.objective[best], again.cost])
    if _relative_gap(both, len(problem.loss))[0] <= 1e-6:
        return solution.x[best], float(both[0]), True
    return np.clip(again.x, low, high), float(again.cost), False


def _relative_gap(objectives: NDArray, n_rows: int) -> NDArray:
    """How far each objective is above the least one; rounding errors around 0 count as 0."""
    rounding = 1e-20 * n_rows
    least = objectives.min()
    return np.where(objectives <= rounding, 0.0, objectives / max(least, rounding) - 1)


def _at_bounds(problem: Problem, theta: NDArray) -> tuple[str, ...]:
    low, high = problem.law.bounds()
    slack = _AT_BOUND * (high - low)
    at_low, at_high = theta - low <= slack, high - theta <= slack
    ends = zip(problem.law.names, problem.free, at_low, at_high, strict=True)
    return tuple(
        f"{name}={'low' if lower else 'high'}"
        for name, free, lower, upper in ends
        if free and (lower or upper)
    )


def _warnings(problem: Problem) -> list[str]:
    """What the rows cannot tell, one line each."""
    lines = []
    constant, parameters = _find_constant(problem.law, problem.inputs), problem.law.parameters
    # A column of zero slopes may also be held in a declared law, which has no such words.
    told = {p.name for p in parameters if p.fixed is not None} | {
        p.name for p, prior in zip(parameters, problem.by_prior, strict=True) if prior
    }
    for name, value in constant.items():
        column, value = ("replay", 1 - value) if name == "share" else (name, value)
        held = [
            p.name
            for p, free in zip(parameters, problem.free, strict=True)
            if not free and p.goes_with == name
        ]
        told |= set(held)
        if held:
            lines.append(f"{column} does not vary ({value:.6g} in all rows): ")
            lines[-1] += f"{', '.join(held)} {'are' if len(held) > 1 else 'is'} left out"
    lost = [
        n
        for n, free in zip(problem.law.names, problem.free, strict=True)
        if not free and n not in told
    ]
    if lost:
        names = ", ".join("replay" if name == "share" else name for name in constant)
        lines.append(f"{names} {'do' if len(constant) > 1 else 'does'} not vary: ")
        lines[-1] += f"{', '.join(lost)} {'have' if len(lost) > 1 else 'has'} no effect and "
        lines[-1] += f"{'are' if len(lost) > 1 else 'is'} held"
    return lines + [_warning(problem, *pair) for pair in problem.unidentified]


def _warning(problem: Problem, parameter: Parameter, levels: int) -> str:
    name, needed = parameter.needs
    if problem.by_prior[problem.law.names.index(parameter.name)]:
        low, high = parameter.plausible
        return (
            f"{parameter.name} is held at {parameter.prior:g}, a prior: {levels} PTPP stages, none "
            f"known to be the one forecast, cannot tell it; intervals take it as anything from "
            f"{low:g} to {high:g}"
        )
    line = (
        f"{parameter.name} is not identified: {levels} values of {name} among the fit rows, "
        f"at least {needed} are needed"
    )
    return line + ("; the forecast at another PTPP is decided by its bounds" * (name == "ptpp"))


def _digest(problem: Problem) -> str:
    """SHA-256 of all numbers that enter the fit, with their names, in the order of the rows."""
    columns = {**problem.inputs, "offset": problem.offset, "loss": problem.loss}
    digest = hashlib.sha256()
    for name, values in columns.items():
        digest.update(name.encode() + b"\0" + np.ascontiguousarray(values, "<f8").tobytes())
    return digest.hexdigest()
