"""What a plan is asked for: the checkpoint, the limits and the range that is searched."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ptpp.errors import InputError
from ptpp.laws.base_loss import SOURCES, BaseLosses
from ptpp.laws.fitted import FittedLaw
from ptpp.table.kinds import is_stage

FLOPS_PER_PARAMETER_AND_TOKEN = 6
ATPP_RANGE = 1e3  # the least ATPP searched is max_atpp over this
_POSITIVE = ("n_params", "ptpp", "min_atpp", "max_atpp", "max_flops", "target_loss", "base_loss")


@dataclass(frozen=True)
class PlanRequest:
    """What is wanted.

    `n_params`, `ptpp`: the checkpoint. `forgetting_limits`: nats per base domain. `target_loss`:
    nats; where None, `target_within` nats above the least predicted target loss that is reachable
    under the other limits (of a robust plan: in each draw above that draw's own). `max_atpp`,
    `min_atpp`: tokens per parameter; min_atpp None is a thousandth of the greatest. `max_flops`:
    FLOPs. `base_loss`: the checkpoint's own before adaptation, nats, for laws that read it, and its
    source (`laws.base_loss.SOURCES`). `confidence`: the share of draws in which a robust plan meets
    all limits.

    6 FLOPs per parameter and token is the usual count of a dense transformer's forward and backward
    pass, without attention.
    """

    n_params: float
    ptpp: float
    forgetting_limits: Mapping[str, float]
    max_atpp: float
    target_loss: float | None = None
    target_within: float | None = None
    max_flops: float | None = None
    min_replay: float = 0.0
    max_replay: float = 0.95
    min_atpp: float | None = None
    base_loss: float | None = None
    base_loss_source: str = SOURCES[0]
    confidence: float = 0.9

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value > 0):
                raise InputError(f"plan: {name} is {value}; accepted is a number above 0")
        for domain, limit in self.forgetting_limits.items():
            if not np.isfinite(limit):
                raise InputError(
                    f"plan: the forgetting limit of {domain!r} is {limit}; accepted is a number"
                )
        least, most, within = self.min_atpp, self.atpp_limit, self.target_within
        problem = None
        if least is not None and not least < most:
            problem = f"min_atpp is {least:g}, but max_atpp and max_flops allow {most:g} at most"
        elif self.target_loss is None and within is None:
            problem = "neither target_loss nor target_within is given"
        elif within is not None and not within >= 0:
            problem = f"target_within is {within}; accepted is 0 or more"
        elif not 0 < self.confidence <= 1:
            problem = f"confidence is {self.confidence}; accepted is a share above 0, such as 0.9"
        elif not 0 <= self.min_replay <= self.max_replay < 1:
            problem = f"replay from {self.min_replay} to {self.max_replay}; accepted are limits "
            problem += "with 0 <= min_replay <= max_replay < 1"
        if problem:
            raise InputError(f"plan: {problem}")

    def flops(self, atpp: float) -> float:
        """Compute of adapting the model on `atpp` tokens per parameter, FLOPs."""
        return FLOPS_PER_PARAMETER_AND_TOKEN * self.n_params * (atpp * self.n_params)

    @property
    def atpp_limit(self) -> float:
        """The largest ATPP that max_atpp and max_flops allow."""
        if self.max_flops is None:
            return self.max_atpp
        return min(self.max_atpp, self.max_flops / self.flops(1.0))

    @property
    def atpp_limit_name(self) -> str:
        """Which of the two limits that is."""
        return "max_flops" if self.atpp_limit < self.max_atpp else "max_atpp"

    @property
    def least_atpp(self) -> float:
        """The least ATPP that is considered."""
        return self.min_atpp or self.atpp_limit / ATPP_RANGE


def make_requests(wishes: Mapping, observations: pd.DataFrame) -> list[PlanRequest]:
    """What a configuration's `plan` section asks for: a request per model, `n_params` first and
    then those `beyond`.

    `n_params` None is the largest model that `observations` measured at that PTPP, or at any. A
    stated `base_loss` is that of the first model.
    """
    wishes = dict(wishes)
    beyond, limits = wishes.pop("beyond", ()), wishes.pop("forgetting")
    if wishes["n_params"] is None:
        at_stage = observations[is_stage(observations, wishes["ptpp"])]
        rows = observations if at_stage.empty else at_stage
        wishes["n_params"] = float(rows["n_params"].max())
    first = PlanRequest(forgetting_limits=limits, **wishes)
    return [first, *(replace(first, n_params=n, base_loss=None) for n in beyond)]


def find_base_loss(
    request: PlanRequest, fits: Sequence[FittedLaw], base_losses: BaseLosses
) -> PlanRequest:
    """The request with the checkpoint's base loss, where one of `fits` reads it: what the request
    states, else measured, else a forecast. Raises InputError where none is possible.
    """
    if request.base_loss is not None or not any("base_loss" in one.law.inputs for one in fits):
        return request
    value, source = base_losses.find(request.n_params, request.ptpp)
    return replace(request, base_loss=value, base_loss_source=source)
