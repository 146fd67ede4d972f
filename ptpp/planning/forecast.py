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
from ptpp.laws.problem import check_finite, law_inputs
from ptpp.laws.record import Draws
from ptpp.planning.request import PlanRequest

_PAIRING_SEED = 0


@dataclass(frozen=True)
class Forecast:
    """A target law and one forgetting law per limited base domain, at one checkpoint.

    `laws`: by the limit in nats that they speak of, "target_loss" first and then
    "forgetting_<domain>". `params` (m, p) by the same names, natural units: row i of all of them is
    one draw.
    """

    request: PlanRequest
    laws: Mapping[str, FittedLaw]
    params: Mapping[str, NDArray]

    @classmethod
    def of(
        cls, request: PlanRequest, target: FittedLaw, forgetting: Mapping[str, FittedLaw]
    ) -> "Forecast":
        """By the point fits. Raises InputError where a limited domain has no fit."""
        laws = _laws_by_limit(request, target, forgetting)
        return cls(request, laws, {name: one.params for name, one in laws.items()})

    @classmethod
    def of_draws(
        cls, request: PlanRequest, target: FittedLaw, forgetting: Mapping[str, FittedLaw]
    ) -> "Forecast":
        """By the draws, paired as `pair_draws` says. Raises InputError where a fit has none."""
        laws = _laws_by_limit(request, target, forgetting)
        for one in laws.values():
            if one.draws is None:
                raise InputError(
                    f"plan: the fit of {one.record.law} to {one.record.domain or 'its domain'} has "
                    "no bootstrap draws, which a robust plan needs"
                )
        params = pair_draws([one.draws for one in laws.values()])
        return cls(request, laws, dict(zip(laws, params, strict=True)))

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
            outside |= {*law.extrapolated(self._rows(name, *map(np.atleast_1d, (replay, log_atpp))))}
        return tuple(sorted(outside))

    def _rows(self, name: str, replay: NDArray, log_atpp: NDArray) -> dict[str, NDArray]:
        """Points as columns that one of `laws` can predict from, shaped to be broadcast together.

        What all points share has one element: a law's terms in it are then computed once.
        """
        request, atpp = self.request, np.exp(log_atpp)
        shared = {"n_params": request.n_params, "ptpp": request.ptpp}
        if request.base_loss is not None:
            shared["base_loss"] = request.base_loss
        domain = name.removeprefix("forgetting_")
        if domain in request.zero_shot_losses:
            shared["zero_shot_loss"] = request.zero_shot_losses[domain]
        one = (1,) * np.broadcast(replay, log_atpp).ndim
        columns = {name: np.full(one, float(value)) for name, value in shared.items()}
        return columns | {"replay": replay, "atpp": atpp, "adapt_tokens": atpp * request.n_params}

    def value(self, name: str, replay: NDArray, log_atpp: NDArray) -> NDArray:
        """One of `values`; where not finite, an error of a point fit, infinitely bad of a draw."""
        fitted, params = self.laws[name], self.params[name]
        if "base_loss" in fitted.law.inputs and self.request.base_loss is None:
            raise InputError(
                f"plan.base_loss: law {fitted.record.law} reads the checkpoint's base loss before "
                "adaptation; accepted is a number of nats"
            )
        rows = self._rows(name, replay, log_atpp)
        if "zero_shot_loss" in fitted.law.inputs and "zero_shot_loss" not in rows:
            domain = name.removeprefix("forgetting_")
            raise InputError(
                f"plan.zero_shot_losses.{domain}: law {fitted.record.law} reads the checkpoint's "
                "loss of that domain before adaptation; accepted is a number of nats"
            )
        values = broadcast_values(fitted, params, rows)
        if len(params) == 1:
            every = {k: np.broadcast_to(v, values.shape).ravel() for k, v in rows.items()}
            check_finite(fitted.law, values.reshape(1, -1), every)
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
