"""Results in words, for the command line."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ptpp.laws.fitted import LEVEL, FittedLaw
from ptpp.laws.from_table import CURE, LawFit
from ptpp.laws.levels import information_at
from ptpp.planning.break_even import BreakEven
from ptpp.planning.from_table import PlanOfLaw, Plans
from ptpp.planning.plans import Plan, Relaxation
from ptpp.planning.request import PlanRequest
from ptpp.table.kinds import list_stages

_BEYOND = 1.01  # times the largest measured model, from which a plan says so
_KNOWN = {  # levels of information
    "early": "other stages alone: nothing of this checkpoint was measured",
    "zero_shot": "the checkpoint's losses before adaptation",
    "anchors": "adaptation runs at this stage",
}
_UNITS = {"max_atpp": "tokens per parameter", "max_flops": "FLOPs"}


def describe_fit(one: LawFit) -> list[str]:
    """How the fit went, and every parameter with its interval."""
    record = one.fitted.record
    state = "converged" if record.converged else "NOT CONVERGED"
    return [
        f"{record.law} on {record.n_rows} rows of {record.domain} ({record.protocol}): {state}, "
        f"objective {record.objective:.6g}, {record.share_1e6:.0%} of starts agree",
        *(
            f"  {name} = {row['value']:.6g} ({row['note'] or _interval(row['low'], row['high'])})"
            for name, row in one.parameters.iterrows()
        ),
        *_warnings(one),
    ]


def describe_prediction(one: LawFit, answer: Mapping) -> list[str]:
    """The loss of one run; a band instead of one number where the rows cannot tell them apart."""
    alone = f" (the law alone: {answer['law_loss']:.6g})" if one.fitted.misfit else ""
    lines = [f"loss: {answer['loss']:.6g} nats/token{alone}"]
    if answer["band"]:
        name, low, high = answer["band"].values()
        values = one.fitted.draws.band
        lines = [
            f"loss: {low:.6g} to {high:.6g} nats/token, a band over {name} from {values[0]:g} to "
            f"{values[-1]:g}, which the fitted stages cannot tell apart; {CURE}",
            f"point fit: {answer['loss']:.6g} nats/token at {name} = "
            f"{one.fitted.record.params[name]:.4g}, one of many",
        ]
    if answer["low"] is not None:
        ends = f"{answer['low']:.6g} to {answer['high']:.6g} nats/token"
        lines.append(f"{LEVEL:.0%} interval of a measured loss: {ends}")
    far = [
        name
        if np.isnan(times)
        else f"{name} ({times:.3g} times the {'largest' if times > 1 else 'least'} fitted)"
        for name, times in answer["how_far"].items()
    ]
    return lines + _extrapolated(far) + _warnings(one)


def describe_scores(fitted: FittedLaw, scores: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """Every score with its interval, coverage and the noise floor."""
    stages = ", ".join(f"{s:g}" for s in list_stages(rows)) if "ptpp" in rows else ""
    domain = rows["domain"].iloc[0] if "domain" in rows else fitted.record.domain
    where = f", PTPP {stages}" if stages else ""
    lines = [f"{fitted.record.law} on {len(rows)} rows of {domain}{where}:"]
    for name, row in scores.iterrows():
        if name == "coverage":
            lines.append(f"  coverage of {LEVEL:.0%} intervals = {row['value']:.1%}")
        elif name != "noise_floor":
            ends = f" ({_interval(row['low'], row['high'])})" if "low" in row else ""
            ends += f"; the law alone {row['law']:.4g}" if "law" in row else ""
            lines.append(f"  {name} = {row['value']:.4g}{ends}")
        elif np.isfinite(row["value"]):
            lines.append(f"  noise floor = {row['value']:.4g} (relative seed noise of one run)")
    return lines


def describe_plans(plans: Plans) -> list[str]:
    """The plans by every law, with what was asked for besides."""
    return [line for one in plans.laws for line in _describe_law(one)]


def _describe_law(one: PlanOfLaw) -> list[str]:
    fitted, record, request = one.fit.fitted, one.fit.fitted.record, one.request
    known = information_at(fitted, request.ptpp, request.base_loss_source)
    times, lines = request.n_params / fitted.largest_size, []
    if times > _BEYOND:
        lines.append(f"extrapolates: N is {times:.3g} times the largest measured model")
    of_smaller = " of smaller models" if known == "anchors" and times > _BEYOND else ""
    lines.append(f"forecast from {_KNOWN[known]}{of_smaller}")
    if request.base_loss is not None:
        lines.append(f"base loss {request.base_loss:.4g} nats ({request.base_loss_source})")
    for domain in filter(request.zero_shot_losses.get, request.forgetting_limits):
        loss, how = request.zero_shot_losses[domain], request.zero_shot_sources[domain]
        lines.append(f"loss of {domain} before adaptation {loss:.4g} nats ({how})")
    if request.reason_of_replay:
        lines.append(request.reason_of_replay)
    if one.front is not None:
        names = ["flops", "atpp", "replay", "target_loss", "worst_forgetting"]
        lines += _columns(one.front[[name for name in names if name in one.front]])
    else:
        relaxed, within = one.plans.relaxations, request.target_loss is None
        titles = {
            "point": "point plan",
            "robust": f"robust plan, {request.confidence:.0%} of draws",
        }
        kinds = reversed(titles) if one.plans.robust.feasible else titles
        for kind in kinds:
            title = titles[kind]
            lines += _describe_plan(getattr(one.plans, kind), title, request)
            lines += _describe_relaxations(relaxed.get(kind, ()), within)
    lines += _extrapolated(one.extrapolated)
    for result in one.break_even:
        is_note = isinstance(result, str)
        lines += [f"break-even: {result}"] if is_note else _describe_break_even(result)
    if one.measurements is not None:
        lines.append(
            "next measurements, those that cut most of the plan's variance for their cost:"
        )
        names = ["n_params", "ptpp", "replay", "atpp", "flops", "cut_share"]
        lines += _indent(_columns(one.measurements[names]))
    title = (
        f"{record.law} ({record.protocol}) for {_count(request.n_params)} parameters at PTPP "
        f"{request.ptpp:g}, fitted to {record.n_rows} rows of {record.domain}:"
    )
    return [title, *_indent(lines + _warnings(one.fit))]


def _describe_plan(plan: Plan, title: str, request: PlanRequest) -> list[str]:
    """A plan in a few lines: where it is, what it promises, what binds, how sure it is."""
    asked = "" if plan.feasible else f", INFEASIBLE by {plan.shortfall:.4g} nats; the least bad is"
    asked = ", not to be had; the point plan is" if plan.note and not plan.feasible else asked
    within = request.target_within if request.target_loss is None else None
    lines = [_describe_value("target_loss", plan.target_loss, plan.target_loss_limit, plan, within)]
    for domain, value in plan.forgetting.items():
        limit = plan.forgetting_limits[domain]
        lines.append(_describe_value(f"forgetting_{domain}", value, limit, plan))
    lines.append(f"binding: {', '.join(plan.binding) or 'none'}")
    if plan.note:
        lines.append(plan.note)
    if plan.met is not None:
        least = ""
        if plan.met_at_least != plan.met:
            least = f" (at worst in {plan.met_at_least:.0%}: errors of target and forgetting may "
            least += "depend on each other)"
        lines.append(f"all limits are met in {plan.met:.0%} of draws{least}")
    if plan.feasible_draws:
        ends = {name: plan.intervals[name] for name in ("replay", "atpp", "flops")}
        spread = ", ".join(f"{n} {low:.3g} to {high:.3g}" for n, (low, high) in ends.items())
        share = f"; {plan.feasible_draws:.0%} have one" if plan.feasible_draws < 1 else ""
        lines.append(f"{LEVEL:.0%} of the draws' own plans: {spread}{share}")
    return [
        f"{title}{asked}: replay {plan.replay:.2f}, ATPP {plan.atpp:.3g} "
        f"({plan.adapt_tokens:.3g} tokens, {plan.flops:.3g} FLOPs)",
        *_indent(lines),
    ]


def _describe_value(
    key: str, value: float, limit: float, plan: Plan, within: float | None = None
) -> str:
    """`within`: how far the limit is above the least loss that the other limits allow, nats."""
    notes = [] if np.isnan(limit) else [f"limit {limit:.4g}"]
    if notes and within is not None:
        notes[0] += f", {within:g} above the least that the others allow"
    if key in plan.intervals:
        notes.append(_interval(*plan.intervals[key]))
    if key in plan.missed and (key != "target_loss" or plan.goal == "least_compute"):
        notes.append(f"missed in {plan.missed[key]:.0%} of draws")
    text = f"{key.replace('_', ' ', 1)} {value:.4g}"
    return f"{text} nats ({'; '.join(notes)})" if notes else text


def _describe_relaxations(limits: Sequence[Relaxation], within: bool) -> list[str]:
    """What would make a plan feasible, a line per limit; `within`: the target is a distance."""
    lines = []
    for one in limits:
        name = "target_within" if within and one.limit == "target_loss" else one.limit
        value = f"{one.needed:.4g} {_UNITS.get(one.limit, 'nats')} instead of {one.asked:.4g}"
        lines.append(f"{name}: {'no value does' if np.isnan(one.needed) else value}")
    title = "what would make it feasible, each limit alone:"
    return _indent([title, *_indent(lines)]) if lines else []


def _describe_break_even(result: BreakEven) -> list[str]:
    """A plan beside a run from scratch."""
    how = "measured runs" if result.basis == "measured" else f"the law {result.scratch_law}"
    start = f"from scratch, by {how}: "
    if not np.isfinite(result.scratch_tokens):
        return [start + f"the target loss {result.target_loss:.4g} is out of reach"]
    ends = ""
    if not np.isnan(result.scratch_tokens_low):
        ends = f" ({_interval(result.scratch_tokens_low, result.scratch_tokens_high)})"
    lines = [f"adapting the checkpoint is cheaper up to ATPP {result.break_even_atpp:.4g}"]
    if result.extrapolated:
        lines.append(f"extrapolated: {', '.join(result.extrapolated.split())}")
    return [
        f"{start}{result.scratch_tokens:.4g} tokens{ends}, {result.ratio:.4g} times the compute of "
        f"the plan, {result.ratio_with_pretraining:.4g} times that of the plan with its "
        "pre-training",
        *_indent(lines),
    ]


def _count(number: float) -> str:
    return f"{number:,.0f}" if number < 1e6 else f"{number:.4g}"


def _interval(low: float, high: float) -> str:
    return f"{LEVEL:.0%}: {low:.4g} to {high:.4g}"


def _extrapolated(names: Sequence[str]) -> list[str]:
    line = f"extrapolated: {', '.join(names)} outside the fitted rows' range"
    return [line] if names else []


def _warnings(one: LawFit) -> list[str]:
    return [f"warning: {line}" for line in one.warnings]


def _columns(table: pd.DataFrame) -> list[str]:
    """A table as aligned columns."""
    return table.to_string(index=False, float_format=lambda v: f"{v:.4g}").splitlines()


def _indent(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" for line in lines]
