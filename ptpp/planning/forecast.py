"""What fitted laws say of a plan's points: by their point fits, or by every bootstrap draw at once.

Arrays of points are (g, ...), where g is 1 (the same points for every draw) or the number of draws
m (points of each draw's own); values are (m, ...). A forecast by point fits has m = 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from ptpp.errors import InputError
from ptpp.laws.dual import value_of
from ptpp.laws.fitted import FittedLaw
from ptpp.laws.law import Point
from ptpp.laws.problem import law_inputs
from ptpp.laws.record import Draws
from ptpp.planning.request import PlanRequest

_PAIRING_SEED = 0


@dataclass(frozen=True)
class Forecast:
    """A target law and one forgetting law per limited base domain, at one checkpoint.

    `target_params` (m, p), `forgetting_params` domain -> (m, q): natural units. Row i of all of
    them is one draw.
    """

    request: PlanRequest
    target: FittedLaw
    target_params: NDArray
    forgetting: Mapping[str, FittedLaw]
    forgetting_params: Mapping[str, NDArray]

    @classmethod
    def of(
        cls, request: PlanRequest, target: FittedLaw, forgetting: Mapping[str, FittedLaw]
    ) -> "Forecast":
        """By the point fits. Raises InputError where a limited domain has no fit."""
        limited = _limited_domains(request, forgetting)
        params = {domain: one.params for domain, one in limited.items()}
        return cls(request, target, target.params, limited, params)

    @classmethod
    def of_draws(
        cls, request: PlanRequest, target: FittedLaw, forgetting: Mapping[str, FittedLaw]
    ) -> "Forecast":
        """By the draws, paired as `pair_draws` says. Raises InputError where a fit has none."""
        limited = _limited_domains(request, forgetting)
        for one in (target, *limited.values()):
            if one.draws is None:
                raise InputError(
                    f"plan: the fit of {one.record.law} to {one.record.domain or 'its domain'} has "
                    "no bootstrap draws, which a robust plan needs"
                )
        first, *others = pair_draws([target.draws, *(one.draws for one in limited.values())])
        return cls(request, target, first, limited, dict(zip(limited, others, strict=True)))

    @property
    def size(self) -> int:
        """The number m of draws."""
        return len(self.target_params)

    @property
    def names(self) -> tuple[str, ...]:
        """The limits in nats, in the order of `excess`."""
        return ("target_loss", *(f"forgetting_{domain}" for domain in self.forgetting))

    def target_loss(self, replay: NDArray, log_atpp: NDArray) -> NDArray:
        """Target loss (m, ...), nats, at points (g, ...)."""
        return self._values(self.target, self.target_params, replay, log_atpp)

    def forgetting_of(self, domain: str, replay: NDArray, log_atpp: NDArray) -> NDArray:
        """Forgetting (m, ...) of one base domain, nats, at points (g, ...)."""
        params = self.forgetting_params[domain]
        return self._values(self.forgetting[domain], params, replay, log_atpp)

    def excess(self, target_limit: NDArray, replay: NDArray, log_atpp: NDArray) -> NDArray:
        """How far each limit is exceeded, nats, (limits, m, ...), at points (g, ...).

        `target_limit` (m,) or (1,): NaN where a draw has none, since it cannot meet the others.
        """
        loss = self.target_loss(replay, log_atpp)
        limit = target_limit.reshape(-1, *(1,) * (loss.ndim - 1))
        unlimited = np.where(np.isposinf(loss), np.inf, -np.inf)
        parts = [np.where(np.isnan(limit), unlimited, loss - limit)]
        for domain in self.forgetting:
            forgetting = self.forgetting_of(domain, replay, log_atpp)
            parts.append(forgetting - self.request.forgetting_limits[domain])
        return np.array(parts)

    def extrapolated(self, replay: float, log_atpp: float) -> tuple[str, ...]:
        """The columns that leave the fitted rows' range at one point, each once."""
        rows = self.rows(np.array([replay]), np.array([log_atpp]))
        laws = [self.target, *self.forgetting.values()]
        return tuple(sorted({name for one in laws for name in one.extrapolated(rows)}))

    def rows(self, replay: NDArray, log_atpp: NDArray) -> dict[str, NDArray]:
        """Points as columns that laws can predict from, shaped to be broadcast together.

        What all points share has one element: a law's terms in it are then computed once.
        """
        one = (1,) * np.broadcast(replay, log_atpp).ndim
        atpp = np.exp(log_atpp)
        columns = {
            "n_params": np.full(one, float(self.request.n_params)),
            "ptpp": np.full(one, float(self.request.ptpp)),
            "replay": replay,
            "atpp": atpp,
            "adapt_tokens": atpp * self.request.n_params,
        }
        if self.request.base_loss is not None:
            columns["base_loss"] = np.full(one, self.request.base_loss)
        return columns

    def _values(
        self, fitted: FittedLaw, params: NDArray, replay: NDArray, log_atpp: NDArray
    ) -> NDArray:
        """A law's values; where not finite, an error of a point fit, infinitely bad of a draw."""
        if "base_loss" in fitted.law.inputs and self.request.base_loss is None:
            raise InputError(
                f"plan.base_loss: law {fitted.record.law} reads the checkpoint's base loss before "
                "adaptation; accepted is a number of nats"
            )
        rows = self.rows(replay, log_atpp)
        values = broadcast_values(fitted, params, rows)
        if len(params) == 1 and not np.isfinite(values).all():
            bad = np.argmin(np.isfinite(values).ravel())
            every = {k: np.broadcast_to(v, values.shape).ravel() for k, v in rows.items()}
            where = ", ".join(f"{k} = {v[bad]:g}" for k, v in every.items())
            raise InputError(
                f"law {fitted.record.law}: not finite at {where}; accepted are inputs at which it "
                "has a value"
            )
        return np.nan_to_num(values, nan=np.inf, posinf=np.inf, neginf=-np.inf)


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
    whose rows include the replay 1 controls, are put in an order of their own by a fixed seed, that
    is, taken as independent. Where numbers differ, the first ones are used.
    """
    count = min(len(one.params) for one in draws)
    order = {draws[0].resamples: np.arange(count)}
    for one in draws:
        generator = np.random.default_rng([_PAIRING_SEED, len(order)])
        order.setdefault(one.resamples, generator.permutation(count))
    return [order[one.resamples].tolist() for one in draws]


def group_by_target(
    fits: Sequence[FittedLaw],
) -> list[tuple[FittedLaw, dict[str, FittedLaw]]]:
    """Each target fit with the forgetting fits of its protocol by base domain."""
    targets = [one for one in fits if not one.law.offset]
    return [(one, forgetting_fits(fits, one.record.protocol)) for one in targets]


def forgetting_fits(fits: Sequence[FittedLaw], protocol: str) -> dict[str, FittedLaw]:
    """The forgetting fits of one protocol by base domain; `fits` may hold target fits too."""
    return {
        one.record.domain: one for one in fits if one.law.offset and one.record.protocol == protocol
    }


def _limited_domains(
    request: PlanRequest, forgetting: Mapping[str, FittedLaw]
) -> dict[str, FittedLaw]:
    """The forgetting fits that have a limit."""
    for domain in request.forgetting_limits:
        if domain not in forgetting:
            raise InputError(
                f"plan: no forgetting fit for the base domain {domain!r}; there are "
                + (", ".join(map(repr, forgetting)) or "none")
                + f"; set plan.forgetting.{domain} to null to plan without that limit"
            )
    return {domain: forgetting[domain] for domain in request.forgetting_limits}
