"""Results in words, for the command line."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ptpp.api.fits import CURE, LawFit
from ptpp.api.plans import PlanOfLaw, Plans
from ptpp.laws.fitted import LEVEL, FittedLaw
from ptpp.planning.break_even import BreakEven
from ptpp.planning.plans import Plan, Relaxation

_UNITS = {"max_atpp": "tokens per parameter", "max_flops": "FLOPs"}


def describe_fit(one: LawFit) -> list[str]:
    """How the fit went, and every parameter with its interval."""
    record = one.fitted.record
    state = "converged" if record.converged else "NOT CONVERGED"
    lines = [
        f"{record.law} on {record.n_rows} rows of {record.domain} ({record.protocol}): {state}, "
        f"objective {record.objective:.6g}, {record.share_1e6:.0%} of starts agree"
    ]
    for name, row in one.parameters.iterrows():
        note = row["note"] or f"{LEVEL:.0%}: {row['low']:.4g} to {row['high']:.4g}"
        lines.append(f"  {name} = {row['value']:.6g} ({note})")
    return lines + _warnings(one)


def describe_prediction(one: LawFit, answer: Mapping) -> list[str]:
    """The loss of one run; a band instead of one number where the rows cannot tell them apart."""
    lines = [f"loss: {answer['loss']:.6g} nats/token"]
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
        lines.append(
            f"{LEVEL:.0%} interval of a measured loss: {answer['low']:.6g} to "
            f"{answer['high']:.6g} nats/token"
        )
    if answer["extrapolated"]:
        names = ", ".join(answer["extrapolated"])
        lines.append(f"extrapolated: {names} outside the fitted rows' range")
    return lines + _warnings(one)


def describe_scores(fitted: FittedLaw, scores: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """Every score with its interval, coverage and the noise floor."""
    stages = ", ".join(f"{s:g}" for s in sorted(rows["ptpp"].unique())) if "ptpp" in rows else ""
    where = f", PTPP {stages}" if stages else ""
    domain = rows["domain"].iloc[0] if "domain" in rows else fitted.record.domain
    lines = [f"{fitted.record.law} on {len(rows)} rows of {domain}{where}:"]
    for name, row in scores.iterrows():
        if name == "coverage":
            lines.append(f"  coverage of {LEVEL:.0%} intervals = {row['value']:.1%}")
        elif name == "noise_floor":
            if np.isfinite(row["value"]):
                text = f"  noise floor = {row['value']:.4g} (relative seed noise of one run)"
                lines.append(text)
        else:
            ends = f" ({LEVEL:.0%}: {row['low']:.4g} to {row['high']:.4g})" if "low" in row else ""
            lines.append(f"  {name} = {row['value']:.4g}{ends}")
    return lines


def describe_plans(plans: Plans) -> list[str]:
    """The plans by every law, with what was asked for besides."""
    return [line for one in plans.laws for line in _describe_law(one)]


def _describe_law(one: PlanOfLaw) -> list[str]:
    record, request = one.fit.fitted.record, one.request
    lines = [
        f"{record.law} ({record.protocol}) for {request.n_params:.4g} parameters at PTPP "
        f"{request.ptpp:g}, fitted to {record.n_rows} rows of {record.domain}:"
    ]
    if request.base_loss is not None:
        lines.append(f"  base loss {request.base_loss:.4g} nats ({request.base_loss_source})")
    if one.front is not None:
        lines += describe_front(one.front)
    else:
        relaxed, within = one.plans.relaxations(), request.target_loss is None
        lines += describe_plan(one.plans.point, "point plan")
        lines += describe_relaxations(relaxed.get("point", ()), within)
        title = f"robust plan, {request.confidence:.0%} of the draws"
        lines += describe_plan(one.plans.robust, title)
        lines += describe_relaxations(relaxed.get("robust", ()), within)
    lines += describe_extrapolation(one.extrapolated)
    for comparison in one.break_even:
        if isinstance(comparison, str):
            lines.append(f"  break-even: {comparison}")
        else:
            lines += describe_break_even(comparison)
    if one.measurements is not None:
        lines += describe_measurements(one.measurements)
    return lines + [f"  {line}" for line in _warnings(one.fit)]


def _warnings(one: LawFit) -> list[str]:
    return [f"warning: {line}" for line in one.warnings]


def describe_plan(plan: Plan, title: str) -> list[str]:
    """A plan in a few lines: where it is, what it promises, what binds, how sure it is."""
    asked = "" if plan.feasible else f", INFEASIBLE by {plan.shortfall:.4g} nats; the least bad is"
    lines = [
        f"  {title}{asked}: replay {plan.replay:.3f}, ATPP {plan.atpp:.4g} "
        f"({plan.adapt_tokens:.4g} tokens, {plan.flops:.4g} FLOPs)"
    ]
    limit = plan.target_loss_limit
    lines.append(_describe_value("target loss", plan.target_loss, limit, plan, "target_loss"))
    for domain, value in plan.forgetting.items():
        limit = plan.forgetting_limits[domain]
        name = f"forgetting {domain}"
        lines.append(_describe_value(name, value, limit, plan, f"forgetting_{domain}"))
    lines.append(f"    binding: {', '.join(plan.binding) or 'none'}")
    if plan.met is not None:
        lines.append(
            f"    all limits are met in {plan.met:.1%} of the draws; however target and forgetting "
            f"errors depend on each other, in {plan.met_at_least:.1%} or more"
        )
    if plan.feasible_draws:
        ends = {name: plan.intervals[name] for name in ("replay", "atpp", "flops")}
        spread = ", ".join(f"{n} {low:.4g} to {high:.4g}" for n, (low, high) in ends.items())
        lines.append(
            f"    {LEVEL:.0%} of the draws' own plans: {spread} ({plan.feasible_draws:.1%} of the "
            "draws have one)"
        )
    return lines


def describe_relaxations(limits: Sequence[Relaxation], within: bool) -> list[str]:
    """What would make a plan feasible, a line per limit; `within`: the target is a distance."""
    if not limits:
        return []
    lines = ["    what would make it feasible, each limit alone:"]
    for one in limits:
        name = "target_within" if within and one.limit == "target_loss" else one.limit
        unit = _UNITS.get(one.limit, "nats")
        if np.isnan(one.needed):
            lines.append(f"      {name}: no value does")
        else:
            lines.append(f"      {name}: {one.needed:.4g} {unit} instead of {one.asked:.4g}")
    return lines


def describe_front(front: pd.DataFrame) -> list[str]:
    """The front as aligned columns."""
    names = ["flops", "atpp", "replay", "target_loss", "worst_forgetting"]
    shown = front[[name for name in names if name in front]]
    text = shown.to_string(index=False, float_format=lambda value: f"{value:.4g}")
    return [f"  {line}" for line in text.splitlines()]


def describe_break_even(result: BreakEven) -> list[str]:
    """A plan beside a run from scratch."""
    how = "measured runs" if result.basis == "measured" else f"the law {result.scratch_law}"
    start = f"  from scratch, by {how}: "
    if not np.isfinite(result.scratch_tokens):
        return [start + f"the target loss {result.target_loss:.4g} is out of reach"]
    ends = ""
    if not np.isnan(result.scratch_tokens_low):
        low, high = result.scratch_tokens_low, result.scratch_tokens_high
        ends = f" ({LEVEL:.0%}: {low:.4g} to {high:.4g})"
    lines = [
        start
        + f"{result.scratch_tokens:.4g} tokens{ends}, {result.ratio:.4g} times the compute of "
        f"the plan, {result.ratio_with_pretraining:.4g} times that of the plan with its "
        "pre-training"
    ]
    lines.append(f"    adapting the checkpoint is cheaper up to ATPP {result.break_even_atpp:.4g}")
    if result.extrapolated:
        lines.append(f"    extrapolated: {', '.join(result.extrapolated.split())}")
    return lines


def describe_measurements(best: pd.DataFrame) -> list[str]:
    """The next measurements worth buying as aligned columns."""
    names = ["n_params", "ptpp", "replay", "atpp", "flops", "cut_share"]
    text = best[names].to_string(index=False, float_format=lambda value: f"{value:.4g}")
    title = "  next measurements, by the share of the plan's variance they cut per FLOP:"
    return [title, *(f"    {line}" for line in text.splitlines())]


def describe_extrapolation(names: Sequence[str]) -> list[str]:
    """One line where anything leaves the fitted rows' range."""
    if not names:
        return []
    return [f"  extrapolated: {', '.join(names)} outside the fitted rows' range"]


def _describe_value(name: str, value: float, limit: float, plan: Plan, key: str) -> str:
    notes = []
    if not np.isnan(limit):
        notes.append(f"limit {limit:.4g}")
    if key in plan.intervals:
        low, high = plan.intervals[key]
        notes.append(f"{LEVEL:.0%}: {low:.4g} to {high:.4g}")
    if key in plan.missed and (key != "target_loss" or plan.goal == "least_compute"):
        notes.append(f"missed in {plan.missed[key]:.1%} of the draws")
    return (
        f"    {name} {value:.4g} nats ({'; '.join(notes)})" if notes else f"    {name} {value:.4g}"
    )
