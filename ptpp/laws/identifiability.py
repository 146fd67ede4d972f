"""What the rows can say about each parameter of a law: profiles, verdicts, and the cure.

A profile holds one parameter at a value and refits all others. Its deviance is twice the loss in
log-likelihood, with errors whose density is proportional to exp(-Huber(log residual) / tau), tau
profiled out: Laplace errors where residuals are far above delta, normal ones far below. It is
divided by the usual design effect of clusters, since rows of one run are correlated, and by the
share of runs that the parameters leave as degrees of freedom. Profile likelihood, design effect and
degrees of freedom are textbook statistics; joining them with this density is ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import erf, gammaincinv

from ptpp.laws.fitted import LEVEL, FittedLaw
from ptpp.laws.law import Parameter
from ptpp.laws.problem import STAGES_FOR_PRIORS, Problem
from ptpp.laws.uncertainty import refits, run_numbers
from ptpp.table.kinds import is_before, list_stages, target_rows

# Deviance at the ends of a 90 % interval: the quantile of chi squared with one degree of freedom.
# By hand, since scipy.stats takes as long to import as a fit does.
THRESHOLD = float(2 * gammaincinv(0.5, LEVEL))
VERDICTS = ("identified", "one-sided", "flat", "at bound")
BAND_COLUMNS = ("law", "protocol", "domain", "parameter", "value", "objective", "mean_loss")
PROFILE_COLUMNS = ("law", "protocol", "domain", "parameter", "value", "objective", "deviance")
_FAR = 3 * THRESHOLD  # a profile is followed no further than this deviance
_MOST_STEPS = 16  # to each side
_WIDE = 0.7  # of the root deviance between neighbours
_MOST_HALVINGS = 8
_ITERATIONS = (
    100  # of a refit; a few lines still creep then, far from where they cross the threshold
)
_ROUNDING = 1e-20  # of an objective, per row


def profile(fitted: FittedLaw) -> pd.DataFrame:
    """The profile of every fitted parameter, `PROFILE_COLUMNS`; the fit itself has deviance 0. A
    parameter that a prior holds has one too, measured from its own least objective, since the rows
    had no say in its value; it stays held in the profiles of the others.

    From the optimum refits go outward, each from its neighbour, until the deviance is three times
    the 90 % threshold or a bound is reached. Raises InputError where the rows are not the fit's.
    """
    problem, parameters = fitted.problem, fitted.law.parameters
    runs = run_numbers(fitted.rows)
    effect = design_effect(problem.log_residuals(problem.theta), runs)
    # A fit makes residuals smaller than the errors they stand for, as with `Draws.residuals`, and
    # errors are shared within runs: so many runs are left to tell their size.
    count = int(runs.max()) + 1
    effect *= count / max(count - int(problem.free.sum()), 1)
    points = [
        (parameters[line.j].name, parameters[line.j].from_solver(place), objective)
        for line in _trace_profiles(problem, effect)
        for place, (_, objective, _) in sorted(line.points.items())
    ]
    table = pd.DataFrame(points, columns=["parameter", "value", "objective"])
    # A refit below the fit is the better optimum, and the one to measure from.
    priors = [p.name for p, prior in zip(parameters, problem.by_prior, strict=True) if prior]
    for part in [[p.name for p in parameters if p.name not in priors], *([p] for p in priors)]:
        rows = table["parameter"].isin(part)
        objectives = table.loc[rows, "objective"].to_numpy()
        if len(objectives):
            far = deviance(objectives, objectives.min(), problem, effect)
            table.loc[rows, "deviance"] = far
    return table.assign(**fitted.label)[list(PROFILE_COLUMNS)]


def verdicts(fitted: FittedLaw, profiles: pd.DataFrame) -> pd.DataFrame:
    """What is known of each fitted parameter, from the `profile` of the same fit.

    law, protocol, domain, parameter, value; low, high: ends of the 90 % profile interval, natural
    units, NaN where the profile stays below the threshold up to the bound; unit; verdict, one of
    `VERDICTS`; words: it as a sentence; better: by which share of the objective a refit of the
    profile beat the fit.
    """
    hopeless = {p.name: p.needs for p, n in fitted.problem.unidentified if n < p.needs[1]}
    parameters = dict(zip(fitted.law.names, fitted.law.parameters, strict=True))
    rows = [
        _verdict(fitted, parameters[name], line, hopeless.get(name))
        for name, line in profiles.groupby("parameter", sort=False)
    ]
    return pd.DataFrame(rows)


def deviance(objectives: NDArray, least: float, problem: Problem, effect: float) -> NDArray:
    """Deviance (m,) of objectives above the least one; `effect` is the design effect."""
    n = len(problem.loss)
    levels = np.array([_minus_log_likelihood(v, n, problem.delta) for v in objectives])
    return np.maximum(2 * (levels - _minus_log_likelihood(least, n, problem.delta)) / effect, 0.0)


def design_effect(residuals: NDArray, runs: NDArray) -> float:
    """How many correlated rows are worth one: 1 + (m - 1) rho, not below 1.

    rho: the intraclass correlation of the residuals (n,) within runs (n,), by one-way analysis of
    variance; m: the mean number of rows of a run, weighted for unequal runs.
    """
    sizes = np.bincount(runs)
    sizes = sizes[sizes > 0]
    n, k = sizes.sum(), len(sizes)
    if k < 2 or n == k:
        return 1.0
    means = pd.Series(residuals).groupby(runs).transform("mean").to_numpy()
    between = np.sum((means - residuals.mean()) ** 2) / (k - 1)
    within = np.sum((residuals - means) ** 2) / (n - k)
    typical = (n - np.sum(sizes**2) / n) / (k - 1)
    spread = between + (typical - 1) * within
    rho = (between - within) / spread if spread > 0 else 0.0
    return float(1 + max(rho, 0.0) * (typical - 1))


def kappa_band(fitted: FittedLaw, late: pd.DataFrame) -> pd.DataFrame:
    """What each value of the bootstrap's band would forecast, `BAND_COLUMNS`: one row per value.

    `objective`: of the refit on the rows of the fit; `mean_loss`: the mean forecast (nats per
    token) over the rows `late`, whose losses are not read.
    """
    law, draws = fitted.law, fitted.draws
    thetas = [law.to_solver(dict(zip(law.names, each, strict=True))) for each in draws.band_params]
    table = {"parameter": draws.band_name, "value": draws.band}
    table["objective"] = [fitted.problem.objective(theta) for theta in thetas]
    table["mean_loss"] = fitted.loss_draws(late, draws.band_params).mean(axis=1)
    return pd.DataFrame({**fitted.label, **table}, columns=list(BAND_COLUMNS))


def cure(observations: pd.DataFrame, target: str, held_out: float) -> str:
    """The cheapest measurement that would identify the floor's curvature, in words and FLOPs.

    Compares anchors at the held-out stage with further stages up to four in all, each at twice the
    one before, all at the smallest size: 6 N tokens of pre-training beyond the last early stage and
    one adaptation run each.
    """
    rows = target_rows(observations, target)
    early = list_stages(rows[is_before(rows, held_out)])
    n, last = float(rows["n_params"].min()), early[-1]
    adaptation = float(rows.loc[rows["n_params"] == n, "adapt_tokens"].max()) * 6 * n
    anchors = 6 * n * n * (held_out - last) + adaptation
    further = [last * 2**k for k in range(1, STAGES_FOR_PRIORS - len(early) + 1)]
    words = f"anchors at PTPP {held_out:g} ({anchors:.2g} FLOPs), one run each"
    if not further or further[-1] >= held_out:
        return f"cheapest cure at N = {n:.3g}: {words}"
    stages = 6 * n * n * (further[-1] - last) + len(further) * adaptation
    names = " and ".join(f"{stage:g}" for stage in further)
    what = "a further stage" if len(further) == 1 else "further stages"
    return (
        f"cheapest cure at N = {n:.3g}: {what} at PTPP {names} ({stages:.2g} FLOPs), or, surer, "
        + words
    )


def describe_band(fitted: FittedLaw) -> str:
    """Why the forecast of a fit whose draws hold a band is a band, in words."""
    draws = fitted.draws
    parameter = fitted.law.parameters[fitted.law.names.index(draws.band_name)]
    stages = list_stages(fitted.rows)
    names = ", ".join(f"{stage:g}" for stage in stages)
    prior = ""
    if parameter.name in fitted.record.fixed:
        prior = f", and its point fit has {parameter.prior:g}, a prior"
    return (
        f"{len(stages)} PTPP stages ({names}) cannot identify {parameter.name}, the "
        f"{parameter.meaning.removesuffix(' in PTPP')}: the forecast is the band over "
        f"{parameter.name} from {draws.band[0]:g} to {draws.band[-1]:g}" + prior
    )


@dataclass
class _Line:
    """The profile of parameter `j` so far: by its value in the solver's scale, the refit (p,), its
    objective and its deviance from the fit.
    """

    j: int
    points: dict[float, tuple[NDArray, float, float]]


@dataclass
class _Walk:
    """The way along a line from the fit to one bound."""

    line: _Line
    place: float
    end: float
    step: float

    @property
    def next(self) -> float:
        if self.end > self.place:
            return float(min(self.place + self.step, self.end))
        return float(max(self.place - self.step, self.end))


def _trace_profiles(problem: Problem, effect: float) -> list[_Line]:
    """A line per free parameter and per one that a prior holds. All lines take their steps
    together, as one batch of refits.
    """
    ends = problem.law.bounds()
    best, start = problem.objective(problem.theta), np.clip(problem.theta, *ends)
    fit = problem.theta, best, 0.0
    traced = problem.free | problem.by_prior
    lines = [_Line(j, {start[j]: fit}) for j in np.flatnonzero(traced)]

    def refit(wanted: Sequence[tuple[_Line, float, float]]) -> None:
        """Refit each line at a value, from its fit at another."""
        starts = np.array([line.points[near][0] for line, _, near in wanted])
        free = np.tile(problem.free, (len(wanted), 1))
        for k, (line, place, _) in enumerate(wanted):
            starts[k, line.j], free[k, line.j] = place, False
        thetas, objectives = refits(problem, starts, free, iterations=_ITERATIONS)
        far = deviance(objectives, best, problem, effect)
        for k, (line, place, _) in enumerate(wanted):
            line.points[place] = thetas[k], float(objectives[k]), float(far[k])

    steps = _first_steps(problem, traced, ends[1] - ends[0])
    pairs = zip(lines, steps, strict=True)
    walks = [_Walk(line, start[line.j], end[line.j], step) for line, step in pairs for end in ends]
    for _ in range(_MOST_STEPS):
        walks = [walk for walk in walks if walk.place != walk.end]
        if not walks:
            break
        refit([(walk.line, walk.next, walk.place) for walk in walks])
        for walk in walks:
            walk.place = walk.next
            far = walk.line.points[walk.place][2]
            # Steps grow where little happens, so that a flat profile soon reaches its bound.
            walk.step *= 2.0 if far < THRESHOLD / 4 else 1.25
            if far > _FAR:
                walk.end = walk.place
    for _ in range(_MOST_HALVINGS):
        wanted = [(line, *gap) for line in lines if (gap := _widest_gap(line))]
        if not wanted:
            break
        refit(wanted)
    return lines


def _widest_gap(line: _Line) -> tuple[float, float] | None:
    """The middle of the widest gap of the root deviance and the place to refit it from, where the
    crossing of the threshold would otherwise be guessed far.
    """
    places = sorted(line.points)
    root = np.sqrt(np.minimum([line.points[place][2] for place in places], _FAR))
    gaps = np.abs(np.diff(root))
    if not len(gaps) or gaps.max() < _WIDE:
        return None
    widest = int(gaps.argmax())
    left, right = places[widest], places[widest + 1]
    return float((left + right) / 2), left if root[widest] < root[widest + 1] else right


def _first_steps(problem: Problem, traced: NDArray, widths: NDArray) -> list[float]:
    """Half the standard error by the Jacobian, within 1/500 and 1/10 of the bounds' widths (p,)."""
    jacobian = problem.jacobian(problem.theta)[:, traced]
    residuals = problem.log_residuals(problem.theta)
    scale = np.linalg.norm(jacobian, axis=0)
    scale[scale == 0] = 1.0
    unit = jacobian / scale
    # A little ridge: a flat direction must give a large step, not an infinite one.
    inverse = np.linalg.inv(unit.T @ unit + 1e-9 * np.eye(unit.shape[1]))
    errors = np.sqrt(np.diag(inverse) * np.mean(residuals**2)) / scale
    widths = widths[traced]
    return np.clip(errors / 2, widths / 500, widths / 10).tolist()


def _minus_log_likelihood(objective: float, n: int, delta: float) -> float:
    """Least over tau of objective / tau + n log of the density's normalising constant."""
    objective = max(objective, _ROUNDING * n)

    def value(log_tau: float) -> float:
        tau = np.exp(log_tau)
        inside = np.sqrt(2 * np.pi * tau) * erf(delta / np.sqrt(2 * tau))
        outside = 2 * tau / delta * np.exp(-(delta**2) / (2 * tau))
        return objective / tau + n * np.log(inside + outside)

    # The two regimes' own optima enclose the joint one: normal 2 S / n, Laplace S / n.
    middle = np.log(objective / n)
    return float(minimize_scalar(value, bounds=(middle - 1, middle + 2), method="bounded").fun)


def _verdict(
    fitted: FittedLaw, parameter: Parameter, line: pd.DataFrame, needs: tuple[str, int] | None
) -> dict:
    line = line.sort_values("value")
    value, far = line["value"].to_numpy(), line["deviance"].to_numpy()
    best = int(far.argmin())
    low = _crossing(parameter, value[best::-1], far[best::-1])
    high = _crossing(parameter, value[best:], far[best:])
    closed = int(np.isfinite(low)) + int(np.isfinite(high))
    name, at = parameter.name, fitted.record.params[parameter.name]
    hit = next((h for h in fitted.record.at_bounds if h.startswith(f"{name}=")), None)
    kind = "flat" if not closed else "at bound" if hit else VERDICTS[2 - closed]
    if kind == "identified":
        sign = "; its sign is open" if low < 0 < high else ""
        words = f"lies between {low:.3g} and {high:.3g}{sign}"
    elif kind == "flat":
        words = f"is not identified: all of {parameter.low:g} to {parameter.high:g} fits about as"
        words += " well"
    elif kind == "one-sided":
        side, bound = (
            (f"below {high:.3g}", parameter.low)
            if np.isfinite(high)
            else (f"above {low:.3g}", parameter.high)
        )
        words = f"is only known to be {side}: nothing keeps it from its bound {bound:g}"
    else:
        lower = hit.endswith("low")
        side, inner, way = ("lower", high, "up to") if lower else ("upper", low, "down to")
        known = f"; the data allow {way} {inner:.3g}" if np.isfinite(inner) else ""
        words = f"is at its {side} bound {at:.3g}{known}: the form may be off"
    short = f"; the rows need {needs[1]} values of {needs[0]}" if needs else ""
    at_fit = line.loc[(line["value"] - at).abs().idxmin(), "objective"]
    better = float(max(0.0, 1 - line["objective"].min() / at_fit)) if at_fit > 0 else 0.0
    words = f"{name} {words}{short}"
    found = {"parameter": name, "value": at, "low": low, "high": high, "unit": parameter.unit}
    return {**fitted.label, **found, "verdict": kind, "words": words, "better": better}


def _crossing(parameter: Parameter, values: NDArray, far: NDArray) -> float:
    """Where the deviance first passes the threshold, going outward; NaN if it does not.

    Between two points the root of the deviance is taken to be linear, as it is near an optimum.
    """
    places, root = [parameter.to_solver(v) for v in values], np.sqrt(far)
    limit = np.sqrt(THRESHOLD)
    for (a, b), (here, there) in zip(pairwise(places), pairwise(root), strict=True):
        if there >= limit > here:
            return parameter.from_solver(a + (b - a) * (limit - here) / (there - here))
    return float("nan")
