"""Plans in words, for the command line."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ptpp.laws.uncertainty import LEVEL
from ptpp.planning.break_even import BreakEven
from ptpp.planning.plans import Plan, Relaxation

_UNITS = {"max_atpp": "tokens per parameter", "max_flops": "FLOPs"}


def told_plan(plan: Plan, title: str) -> list[str]:
    """A plan in a few lines: where it is, what it promises, what binds, how sure it is."""
    asked = "" if plan.feasible else f", INFEASIBLE by {plan.shortfall:.4g} nats; the least bad is"
    lines = [
        f"  {title}{asked}: replay {plan.replay:.3f}, ATPP {plan.atpp:.4g} "
        f"({plan.adapt_tokens:.4g} tokens, {plan.flops:.4g} FLOPs)"
    ]
    limit = plan.target_loss_limit
    lines.append(_told_value("target loss", plan.target_loss, limit, plan, "target_loss"))
    for domain, value in plan.forgetting.items():
        limit = plan.forgetting_limits[domain]
        name = f"forgetting {domain}"
        lines.append(_told_value(name, value, limit, plan, f"forgetting_{domain}"))
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


def told_relaxations(found: Sequence[Relaxation], within: bool) -> list[str]:
    """What would make a plan feasible, a line per limit; `within`: the target is a distance."""
    lines = ["    what would make it feasible, each limit alone:"]
    for one in found:
        name = "target_within" if within and one.limit == "target_loss" else one.limit
        unit = _UNITS.get(one.limit, "nats")
        if np.isnan(one.needed):
            lines.append(f"      {name}: no value does")
        else:
            lines.append(f"      {name}: {one.needed:.4g} {unit} instead of {one.asked:.4g}")
    return lines


def told_front(front: pd.DataFrame) -> list[str]:
    """The front as aligned columns."""
    names = ["flops", "atpp", "replay", "target_loss", "worst_forgetting"]
    shown = front[[name for name in names if name in front]]
    text = shown.to_string(index=False, float_format=lambda value: f"{value:.4g}")
    return [f"  {line}" for line in text.splitlines()]


def told_break_even(found: BreakEven) -> list[str]:
    """A plan beside a run from scratch."""
    how = "measured runs" if found.basis == "measured" else f"the law {found.scratch_law}"
    start = f"  from scratch, by {how}: "
    if not np.isfinite(found.scratch_tokens):
        return [start + f"the target loss {found.target_loss:.4g} is out of reach"]
    ends = ""
    if not np.isnan(found.scratch_tokens_low):
        low, high = found.scratch_tokens_low, found.scratch_tokens_high
        ends = f" ({LEVEL:.0%}: {low:.4g} to {high:.4g})"
    lines = [
        start + f"{found.scratch_tokens:.4g} tokens{ends}, {found.ratio:.4g} times the compute of "
        f"the plan, {found.ratio_with_pretraining:.4g} times that of the plan with its pre-training"
    ]
    lines.append(f"    adapting the checkpoint is cheaper up to ATPP {found.break_even_atpp:.4g}")
    if found.extrapolated:
        lines.append(f"    extrapolated: {', '.join(found.extrapolated.split())}")
    return lines


def told_measurements(best: pd.DataFrame) -> list[str]:
    """The next measurements worth buying as aligned columns."""
    names = ["n_params", "ptpp", "replay", "atpp", "flops", "cut_share"]
    text = best[names].to_string(index=False, float_format=lambda value: f"{value:.4g}")
    title = "  next measurements, by the share of the plan's variance they cut per FLOP:"
    return [title, *(f"    {line}" for line in text.splitlines())]


def told_extrapolation(names: Sequence[str]) -> list[str]:
    """One line where anything leaves the fitted rows' range."""
    if not names:
        return []
    return [f"  extrapolated: {', '.join(names)} outside the fitted rows' range"]


def _told_value(name: str, value: float, limit: float, plan: Plan, key: str) -> str:
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
