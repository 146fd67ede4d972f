"""What a plan is asked for: the checkpoint, the limits and the range that is searched."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from ptpp.errors import InputError
from ptpp.laws.base_loss import SOURCES, BaseLosses
from ptpp.laws.fitted import FittedLaw
from ptpp.table.kinds import is_stage
from ptpp.table.noise import seed_noise

FLOPS_PER_PARAMETER_AND_TOKEN = 6
ATPP_RANGE = 1e3  # the least ATPP searched is max_atpp over this
NOISY = 0.05  # relative seed noise without replay beyond which no law of it is of use [ours]
_POSITIVE = ("n_params", "ptpp", "min_atpp", "max_atpp", "max_flops", "target_loss", "base_loss")


@dataclass(frozen=True)
class PlanRequest:
    """What is wanted.

    `n_params`, `ptpp`: the checkpoint. `forgetting_limits`: nats per base domain. `target_loss`:
    nats; where None, `target_within` nats above the least predicted target loss that is reachable
    under the other limits (of a robust plan: in each draw above that draw's own). `max_atpp`,
    `min_atpp`: tokens per parameter; min_atpp None is a thousandth of the greatest. `max_flops`:
    FLOPs. `base_loss`: the checkpoint's own before adaptation, nats, for laws that read it, its
    source (`laws.base_loss.SOURCES`) and, of a forecast, its standard deviation in nats, infinite
    where nothing is known of it. `zero_shot_losses`, with their sources: the same of each base
    domain, for forgetting laws. `replay_floor`: the least replay ratio that the forgetting laws
    speak of, where a limit needs them, and `replay_reason`: why, in words. `confidence`: the share
    of draws in which a robust plan meets all limits. `holds_replay`: only `max_replay` is
    considered, since the target law has seen no other.

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
    max_replay: float = 0.95
    min_atpp: float | None = None
    base_loss: float | None = None
    base_loss_source: str = SOURCES[0]
    base_loss_spread: float = 0.0
    zero_shot_losses: Mapping[str, float] = field(default_factory=dict)
    zero_shot_sources: Mapping[str, str] = field(default_factory=dict)
    replay_floor: float = 0.0
    replay_reason: str = ""
    confidence: float = 0.9
    holds_replay: bool = False

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value > 0):
                raise InputError(f"plan: {name} is {value}; accepted is a number above 0")
        for domain, loss in self.zero_shot_losses.items():
            if not (np.isfinite(loss) and loss > 0):
                raise InputError(
                    f"plan: zero_shot_losses.{domain} is {loss}; accepted is a number above 0"
                )
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
        elif not 0 <= self.max_replay < 1:
            problem = f"max_replay is {self.max_replay}; accepted is 0 or more, below 1"
        elif self.least_replay > self.max_replay:
            problem = f"max_replay is {self.max_replay:g}, but forgetting laws speak of replay "
            problem += f"from {self.replay_floor:g}"
        if problem:
            raise InputError(f"plan: {problem}")

    def is_sure(self, target: FittedLaw) -> bool:
        """Whether anything is known of the errors of the base loss that a target law reads."""
        return "base_loss" not in target.law.inputs or bool(np.isfinite(self.base_loss_spread))

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
    def least_replay(self) -> float:
        """The least replay ratio that is considered: without forgetting limits, any."""
        if self.holds_replay:
            return self.max_replay
        return self.replay_floor if self.forgetting_limits else 0.0

    @property
    def reason_of_replay(self) -> str:
        """Why some replay ratios are not considered; empty where all are."""
        return self.replay_reason if self.forgetting_limits or self.holds_replay else ""

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
    return [
        first,
        *(replace(first, n_params=n, base_loss=None, zero_shot_losses={}) for n in beyond),
    ]


def complete_request(
    request: PlanRequest, fits: Sequence[FittedLaw], base_losses: BaseLosses
) -> PlanRequest:
    """The request with what `fits` need to know beside it.

    The checkpoint's losses before adaptation that they read: what the request states, else
    measured, else a forecast. And the least replay ratio that the forgetting laws among them speak
    of, with the reason. `fits`: the target's first. Raises InputError where none can be
    forecast.
    """
    found = {}
    for name, losses in losses_before(fits, base_losses).items():
        if stated_loss(request, name) is None:
            found[name] = losses.find(request.n_params, request.ptpp)
    if "base_loss" in found:
        value, source = found.pop("base_loss")
        known = source != "forecast"
        spread = 0.0 if known else base_losses.spread(request.n_params, request.ptpp)
        more = {"base_loss_source": source, "base_loss_spread": spread}
        request = replace(request, base_loss=value, **more)
    values, sources = dict(request.zero_shot_losses), dict(request.zero_shot_sources)
    sources = {domain: SOURCES[0] for domain in values} | sources
    for name, (value, source) in found.items():
        domain = name.removeprefix("zero_shot_")
        values[domain], sources[domain] = value, source
    request = replace(request, zero_shot_losses=values, zero_shot_sources=sources)
    request = _leave_replay_out(request, fits, base_losses.observations)
    return _hold_replay(request, fits[0])


def losses_before(fits: Sequence[FittedLaw], base_losses: BaseLosses) -> dict[str, BaseLosses]:
    """The losses before adaptation that `fits` read: base_loss, and zero_shot_<domain>."""
    reads = {"base_loss": base_losses} if any("base_loss" in f.law.inputs for f in fits) else {}
    domains = [one.record.domain for one in fits if "zero_shot_loss" in one.law.inputs]
    of_domain = {d: BaseLosses.of_domain(base_losses.observations, d) for d in set(domains)}
    return reads | {f"zero_shot_{domain}": of_domain[domain] for domain in sorted(of_domain)}


def stated_loss(request: PlanRequest, name: str) -> float | None:
    """What a request says of a loss before adaptation, by a name of `losses_before`."""
    if name == "base_loss":
        return request.base_loss
    return request.zero_shot_losses.get(name.removeprefix("zero_shot_"))


def _hold_replay(request: PlanRequest, target: FittedLaw) -> PlanRequest:
    """The request at the one replay ratio that the target law's rows have, if they have one: the
    law holds no term in replay then, and would allow any.
    """
    low, high = target.record.ranges.get("replay") or target.record.ranges.get("share", (0, 1))
    if target.law.declaration is not None or high - low > 1e-9:
        return request
    replay = float(low) if "replay" in target.record.ranges else round(1 - float(low), 12)
    if not replay <= request.max_replay:
        raise InputError(
            f"plan: max_replay is {request.max_replay:g}, but all rows of "
            f"{target.record.domain} have replay {replay:g}, and a plan keeps it"
        )
    reason = f"replay stays {replay:g}: the rows of {target.record.domain} have no other"
    held = {"max_replay": replay, "replay_floor": replay, "replay_reason": reason}
    return replace(request, **held, holds_replay=True)


def _leave_replay_out(
    request: PlanRequest, fits: Sequence[FittedLaw], observations: pd.DataFrame
) -> PlanRequest:
    """The request with the replay ratios left out of which no forgetting law speaks.

    That is replay 0, where seeds differ too much or another law holds, and what lies between it and
    the least that was measured.
    """
    least = {
        one.record.domain: float(one.record.ranges["replay"][0])
        for one in fits
        if one.law.rows == "with_replay" and "replay" in one.record.ranges
    }
    least = {d: r for d, r in least.items() if d in request.forgetting_limits} or least
    if not least:
        return request
    floor, reasons, others = max(least.values()), [], []
    for domain in sorted(least):
        rows = observations[observations["domain"] == domain]
        noise = seed_noise(rows[(rows["replay"] == 0) & (rows["atpp"] > 0)])
        if noise > NOISY:
            reasons.append(
                f"without replay runs of {domain} differ by {100 * noise:.2g} % (seed noise)"
            )
        else:
            others.append(domain)
    if not reasons:
        reasons = [f"the forgetting law of {', '.join(others)} speaks of replay above 0"]
    words = ", ".join(reasons)
    reason = f"replay from {floor:g}: {words}, and nothing is measured between 0 and {floor:g}"
    return replace(request, replay_floor=floor, replay_reason=reason)
