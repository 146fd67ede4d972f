"""What fitted laws say of a plan's points: by their best forecast, or by many draws at once.

Arrays of points are (g, ...), where g is 1 (the same points for every draw) or the number of draws
m (points of each draw's own); values are (m, ...). A point forecast has m = 1.

A fit with a misfit forecasts kriged losses. Its draws are the even quantiles of the forecast's
distribution, the same one at all points: where one cell of a checkpoint is worse than forecast, so
are its neighbours. A fit without one forecasts by its law, and its draws are bootstrap refits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RectBivariateSpline
from scipy.special import ndtri

from ptpp.errors import InputError
from ptpp.laws.dual import value_of
from ptpp.laws.fitted import FittedLaw
from ptpp.laws.law import Point
from ptpp.laws.problem import Columns, check_finite, law_inputs, offset_of
from ptpp.laws.record import Draws
from ptpp.planning.request import PlanRequest

# Those without an underscore are handed to the planner's page.
_PAIRING_SEED = 0
_DEVIATES = 100  # draws of a forecast all of whose laws are kriged
_FEW_POINTS = 64  # are forecast themselves, more by splines
KNOTS = {"replay": 41, "tokens": 33}  # of the splines that stand for many points
NO_LOSS = 1e3  # nats: stands where a law has no positive loss
BASE_STEP = 1e-4  # nats of the base loss, for a slope
STRETCH = 0.02  # keeps the coordinate of replay finite at 0
NARROW = 1e-3  # the least width of that coordinate, where one replay ratio alone is searched


@dataclass(frozen=True)
class Forecast:
    """A target law and one forgetting law per limited base domain, at one checkpoint.

    `laws`: by the limit in nats that they speak of, "target_loss" first and then
    "forgetting_<domain>". `draws` by the same names: parameters (m, p), natural units, of a law, or
    standard normal deviates (m,) of a kriged one; row i of all of them is one draw.
    """

    request: PlanRequest
    laws: Mapping[str, FittedLaw]
    draws: Mapping[str, NDArray]
    _surfaces: dict = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(
        cls, request: PlanRequest, target: FittedLaw, forgetting: Mapping[str, FittedLaw]
    ) -> "Forecast":
        """By the best forecasts. Raises InputError where a limited domain has no fit."""
        laws = _laws_by_limit(request, target, forgetting)
        return cls(request, laws, dict(zip(laws, point_draws(list(laws.values())), strict=True)))

    @classmethod
    def of_draws(
        cls, request: PlanRequest, target: FittedLaw, forgetting: Mapping[str, FittedLaw]
    ) -> "Forecast":
        """By the draws, paired as `pair_draws` says. Raises InputError where a fit has none."""
        laws = _laws_by_limit(request, target, forgetting)
        for one in laws.values():
            if one.misfit is None:
                one.need_draws()
        return cls(request, laws, dict(zip(laws, robust_draws(list(laws.values())), strict=True)))

    @property
    def target(self) -> FittedLaw:
        return self.laws["target_loss"]

    def values(self, replay: NDArray, log_atpp: NDArray) -> dict[str, NDArray]:
        """Target loss and forgetting (m, ...) by name, nats, at points (g, ...)."""
        return {name: self.value(name, replay, log_atpp) for name in self.laws}

    def excess(self, target_limit: NDArray, replay: NDArray, log_atpp: NDArray) -> NDArray:
        """How far each limit is exceeded, nats, (limits, m, ...), at points (g, ...).

        `target_limit` (m,) or (1,): NaN where a draw has none, since it cannot meet the others.
        """
        values = self.values(replay, log_atpp)
        loss = values.pop("target_loss")
        limit = target_limit.reshape(-1, *(1,) * (loss.ndim - 1))
        unlimited = np.where(np.isposinf(loss), np.inf, -np.inf)
        parts = [np.where(np.isnan(limit), unlimited, loss - limit)]
        limits = self.request.forgetting_limits.values()
        parts += [each - most for each, most in zip(values.values(), limits, strict=True)]
        return np.array(parts)

    def extrapolated(self, replay: float, log_atpp: float) -> tuple[str, ...]:
        """The columns that leave the fitted rows' range at one point, each once."""
        outside = set()
        for name, law in self.laws.items():
            outside |= {*law.how_far(self._rows(name, *map(np.atleast_1d, (replay, log_atpp))))}
        return tuple(sorted(outside))

    def _rows(self, name: str, replay: NDArray, log_atpp: NDArray) -> dict[str, NDArray]:
        """Points as columns that one of `laws` can predict from, shaped to be broadcast together.

        What all points share has one element: a law's terms in it are then computed once. Raises
        InputError where a loss before adaptation that the law reads is not known.
        """
        law, domain = self.laws[name].law, _domain_of(name)
        request, atpp = self.request, np.exp(log_atpp)
        shared = {"n_params": request.n_params, "ptpp": request.ptpp}
        if request.base_loss is not None:
            shared["base_loss"] = request.base_loss
        if domain in request.zero_shot_losses:
            shared["zero_shot_loss"] = request.zero_shot_losses[domain]
        keys = {"base_loss": "base_loss", "zero_shot_loss": f"zero_shot_losses.{domain}"}
        for column, key in keys.items():
            if column in law.inputs and column not in shared:
                raise InputError(
                    f"plan.{key}: law {law.name} reads the checkpoint's loss before adaptation; "
                    "accepted is a number of nats"
                )
        one = (1,) * np.broadcast(replay, log_atpp).ndim
        columns = {name: np.full(one, float(value)) for name, value in shared.items()}
        return columns | {"replay": replay, "atpp": atpp, "adapt_tokens": atpp * request.n_params}

    def value(self, name: str, replay: NDArray, log_atpp: NDArray) -> NDArray:
        """One of `values`; where not finite, an error of a point fit, infinitely bad of a draw."""
        fitted, draws = self.laws[name], self.draws[name]
        if fitted.misfit is not None:
            return self._kriged(name, replay, log_atpp)
        rows = self._rows(name, replay, log_atpp)
        values = broadcast_values(fitted, draws, rows)
        if len(draws) == 1:
            every = {k: np.broadcast_to(v, values.shape).ravel() for k, v in rows.items()}
            check_finite(fitted.law, values.reshape(1, -1), every)
        return np.nan_to_num(values, nan=np.inf, posinf=np.inf, neginf=-np.inf)

    def _kriged(self, name: str, replay: NDArray, log_atpp: NDArray) -> NDArray:
        """Kriged values (m, ...): from the forecast itself at few points, by a spline at many."""
        deviates = self.draws[name]
        replay, log_atpp = np.broadcast_arrays(replay, log_atpp)
        if replay.size <= _FEW_POINTS:
            log_loss, spread = self._krige(name, replay.ravel(), log_atpp.ravel())
            log_loss, spread = log_loss.reshape(replay.shape), spread.reshape(replay.shape)
        else:
            splines, place = self._surface(name), _stretch(replay)
            log_loss, spread = (one.ev(place, log_atpp) for one in splines)
        deviates = deviates.reshape(-1, *(1,) * (replay.ndim - 1))
        values = np.exp(log_loss + deviates * spread)
        return values - self._offset(name)

    def _surface(self, name: str) -> tuple[RectBivariateSpline, RectBivariateSpline]:
        """Splines of the log loss and its spread over the request's range."""
        request = self.request
        bottom, top = np.log(request.least_atpp), np.log(request.atpp_limit)
        key = name, request.least_replay, request.max_replay, bottom, top
        if key not in self._surfaces:
            first, last = _stretch(np.array([request.least_replay, request.max_replay]))
            places = np.linspace(first, max(last, first + NARROW), KNOTS["replay"])
            steps = np.linspace(bottom, top, KNOTS["tokens"])
            replay, log_atpp = (a.ravel() for a in np.meshgrid(_unstretch(places), steps))
            values = self._krige(name, replay, log_atpp)
            shape = len(steps), len(places)
            self._surfaces[key] = tuple(
                RectBivariateSpline(places, steps, each.reshape(shape).T) for each in values
            )
        return self._surfaces[key]

    def _krige(self, name: str, replay: NDArray, log_atpp: NDArray) -> tuple[NDArray, NDArray]:
        """Log loss (n,) and its spread (n,) at points (n,): of the mean over many runs."""
        rows = self._rows(name, replay, log_atpp)
        frame = {key: np.broadcast_to(each, replay.shape) for key, each in rows.items()}
        fitted, error = self.laws[name], self.request.base_loss_spread
        with np.errstate(invalid="ignore"):  # a law far beyond its rows may leave no loss
            loss, spread = fitted.forecast(frame, noise=False)
        if "base_loss" in fitted.law.inputs and 0 < error < np.inf:
            ends = [
                fitted.loss(frame | {"base_loss": frame["base_loss"] + step})
                for step in (-BASE_STEP, BASE_STEP)
            ]
            slope = np.log(ends[1] / ends[0]) / (2 * BASE_STEP)
            spread = np.sqrt(spread**2 + (slope * error) ** 2)
        # Where there is none, the worst: nothing is planned there.
        known = loss > 0
        return np.log(np.where(known, loss, NO_LOSS)), np.where(known, spread, 0.0)

    def _offset(self, name: str) -> float:
        """What is taken from a loss to give the law's value, nats."""
        if self.laws[name].law.offset is None:
            return 0.0
        return self.request.zero_shot_losses[_domain_of(name)]

    def target_by_law(self, replay: NDArray, log_atpp: NDArray) -> NDArray:
        """The target loss (1, ...), nats, by the law alone."""
        rows = self._rows("target_loss", replay, log_atpp)
        return broadcast_values(self.target, self.target.params, rows)


def _domain_of(name: str) -> str:
    """The base domain that a limit in nats speaks of."""
    return name.removeprefix("forgetting_")


def point_draws(fits: Sequence[FittedLaw]) -> list[NDArray]:
    """One draw of every fit: its parameters (1, p), or the deviate 0 of a kriged forecast."""
    return [one.params if one.misfit is None else np.zeros(1) for one in fits]


def robust_draws(fits: Sequence[FittedLaw]) -> list[NDArray] | None:
    """Draws of every fit, equally many: parameters (m, p) by bootstrap, paired as `pair_draws`
    says, or standard normal deviates (m,) of a kriged forecast. None where a fit has neither.
    """
    by_law = [one for one in fits if one.misfit is None]
    if any(one.draws is None for one in by_law):
        return None
    params = pair_draws([one.draws for one in by_law]) if by_law else []
    count, refits = len(params[0]) if params else _DEVIATES, iter(params)
    return [
        next(refits) if one.misfit is None else _deviates(count, place)
        for place, one in enumerate(fits)
    ]


def drawn_values(fitted: FittedLaw, draws: NDArray, table: Columns) -> NDArray:
    """The law's values (m, n), nats, at the rows of a table by draws as above."""
    if fitted.misfit is None:
        names = [name for name in fitted.law.columns if name in table]
        columns = {name: np.asarray(table[name])[None] for name in names}
        return broadcast_values(fitted, draws, columns)
    loss, spread = fitted.forecast(table, noise=False)
    return loss * np.exp(draws[:, None] * spread) - offset_of(fitted.law, table)


def _deviates(count: int, place: int) -> NDArray:
    """Standard normal deviates (count,): its even quantiles, in an order of the law's own."""
    quantiles = ndtri((np.arange(count) + 0.5) / count)
    return np.random.default_rng([_PAIRING_SEED, place]).permutation(quantiles)


def _stretch(replay: NDArray) -> NDArray:
    """A coordinate of replay in which laws are smooth towards 0 and 1."""
    return np.log((replay + STRETCH) / (1 - replay))


def _unstretch(place: NDArray) -> NDArray:
    odds = np.exp(place)
    return (odds - STRETCH) / (1 + odds)


def broadcast_values(fitted: FittedLaw, params: NDArray, rows: Mapping[str, NDArray]) -> NDArray:
    """The law's values (m, ...), nats, by `params` (m, p) in natural units at rows (g, ...).

    The columns of `rows` have the same number of axes and are broadcast together.
    Raises InputError where a column is missing or outside the law's domain.
    """
    law = fitted.law
    inputs = law_inputs(law, rows)
    shape = np.broadcast_shapes(*map(np.shape, rows.values()))
    columns = params.T.reshape(params.shape[1], -1, *(1,) * (len(shape) - 1))
    with np.errstate(all="ignore"):
        values = law.formula(
            SimpleNamespace(**dict(zip(law.names, columns, strict=True))),
            Point(inputs, fitted.record.reference),
        )
    return np.broadcast_to(value_of(values), (max(len(params), shape[0]), *shape[1:]))


def pair_draws(draws: Sequence[Draws]) -> list[NDArray]:
    """The draws' parameters (m, p), each, so that row i of all of them is one draw of the world."""
    return [one.params[rows] for one, rows in zip(draws, pair_rows(draws), strict=True)]


def pair_rows(draws: Sequence[Draws]) -> list[list[int]]:
    """Which row of each of `draws` goes with which, so that the i-th rows are one draw of all.

    Draws of the same resamples keep their order. Others, as of a target law and of forgetting laws,
    whose rows include the replay 1 controls, are permuted by a fixed seed, that is, taken as
    independent. Where numbers differ, the first ones are used.
    """
    count = min(len(one.params) for one in draws)
    order = {draws[0].resamples: np.arange(count)}
    for one in draws:
        generator = np.random.default_rng([_PAIRING_SEED, len(order)])
        order.setdefault(one.resamples, generator.permutation(count))
    return [order[one.resamples].tolist() for one in draws]


def group_by_target(fits: Sequence[FittedLaw]) -> list[tuple[FittedLaw, dict[str, FittedLaw]]]:
    """Each target fit with the forgetting fits of its protocol by base domain."""
    targets = [one for one in fits if not one.law.offset]
    return [(one, forgetting_fits(fits, one.record.protocol)) for one in targets]


def forgetting_fits(fits: Sequence[FittedLaw], protocol: str) -> dict[str, FittedLaw]:
    """The forgetting fits of one protocol by base domain; `fits` may hold others too.

    Those without replay are left out: plans leave replay 0 out where forgetting is limited.
    """
    return {
        one.record.domain: one
        for one in fits
        if one.law.offset and one.law.rows != "without_replay" and one.record.protocol == protocol
    }


def _laws_by_limit(
    request: PlanRequest, target: FittedLaw, forgetting: Mapping[str, FittedLaw]
) -> dict[str, FittedLaw]:
    for domain in request.forgetting_limits:
        if domain not in forgetting:
            raise InputError(
                f"plan: no forgetting fit for the base domain {domain!r}; there are "
                + (", ".join(map(repr, forgetting)) or "none")
                + f"; set plan.forgetting.{domain} to null to plan without that limit"
            )
    limited = {f"forgetting_{domain}": forgetting[domain] for domain in request.forgetting_limits}
    return {"target_loss": target, **limited}
