"""From fits, or a table of losses, to plans: how much replay and how many tokens, within limits."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ptpp.errors import InputError
from ptpp.laws.base_loss import BaseLosses
from ptpp.laws.fitted import FittedLaw
from ptpp.laws.from_table import LawFit, fit_law, name_of, render_html
from ptpp.planning.break_even import (
    BreakEven,
    by_measurement,
    by_transfer,
    fit_scratch,
    fit_transfer,
)
from ptpp.planning.front import pareto_front
from ptpp.planning.measurement import candidate_cells, next_measurements
from ptpp.planning.plans import LawPlanner, LawPlans, plan_table
from ptpp.planning.request import PlanRequest, complete_request, losses_before
from ptpp.table.kinds import is_stage, is_sweep, list_stages


@dataclass(frozen=True)
class PlanOfLaw:
    """What one law says: `plans`, or a Pareto `front` (one of them is None), and what was asked for
    besides. `break_even`: a comparison, or why there is none.
    """

    fit: LawFit
    request: PlanRequest
    plans: LawPlans | None = None
    front: pd.DataFrame | None = None
    break_even: tuple[BreakEven | str, ...] = ()
    measurements: pd.DataFrame | None = None

    @property
    def table(self) -> pd.DataFrame:
        """The point plan and the robust plan, a row each, or the front, a row per point."""
        if self.front is not None:
            return self.front
        table = plan_table([self.plans.point, self.plans.robust])
        table.insert(2, "kind", ["point", "robust"])
        return table

    @property
    def extrapolated(self) -> list[str]:
        """The inputs that leave the range of the fitted rows anywhere in the plans."""
        return sorted({name for names in self.table["extrapolated"] for name in names.split()})


@dataclass(frozen=True)
class Plans:
    """The plans by each law."""

    laws: tuple[PlanOfLaw, ...]

    @property
    def table(self) -> pd.DataFrame:
        """All plans, one row each: replay [share], atpp [tokens per parameter], adapt_tokens
        [tokens], flops, target loss and forgetting [nats], limits, intervals and what binds.
        """
        return pd.concat([one.table for one in self.laws], ignore_index=True)

    @property
    def extrapolated(self) -> list[str]:
        """The inputs that leave the range of the fitted rows anywhere."""
        return sorted({name for one in self.laws for name in one.extrapolated})

    def _repr_html_(self) -> str:
        shown = ["law", "protocol", "kind", "replay", "atpp", "adapt_tokens", "flops", "feasible"]
        shown += ["target_loss", "binding", "met"]
        request, table = self.laws[0].request, self.table
        title = f"Plans for {request.n_params:.4g} parameters at PTPP {request.ptpp:g}"
        kept = [c for c in table if c in shown or c.startswith("forgetting_")]
        outside = ", ".join(self.extrapolated)
        return render_html(title, [table[kept]], [f"extrapolated: {outside}"] if outside else [])


def make_request(table: pd.DataFrame, **wishes: object) -> PlanRequest:
    """What is asked for; min_atpp and max_atpp are by default what the table's sweep measured."""
    sweep = table[is_sweep(table)]
    if sweep.empty:
        raise InputError(f"{name_of(table)}: no sweep rows (atpp > 0, replay < 1)")
    measured = {"min_atpp": float(sweep["atpp"].min()), "max_atpp": float(sweep["atpp"].max())}
    return PlanRequest(**measured | wishes)


def make_plans(fits: Sequence[LawFit], request: PlanRequest, **options: Any) -> Plans:
    """Plans by each of `fits`, laws of the target domain fitted to one table.

    Every limited base domain gets a forgetting law, fitted to the same table in the same way.
    `options`: goal, break_even, from_scratch and measurements of `ptpp.plan`. Raises InputError
    where a plan cannot be made, as `ptpp.planning.plans.LawPlanner` does.
    """
    table, how = fits[0].table, fits[0].options
    domains, target = request.forgetting_limits, fits[0].fitted.record.domain
    if target in domains:
        raise InputError(
            f"plan: the limit of {target!r} is one of forgetting, and {target} is the target; its "
            "loss is limited by target_loss or target_within"
        )
    forgetting = {
        name: fit_law(table, "forgetting", name, how, always_draw=False).fitted for name in domains
    }
    return Plans(tuple(_plan_one(one, forgetting, request, **options) for one in fits))


def _plan_one(
    one: LawFit,
    forgetting: Mapping[str, FittedLaw],
    request: PlanRequest,
    goal: str = "least_compute",
    break_even: bool = False,
    from_scratch: str | os.PathLike | None = None,
    measurements: int = 0,
) -> PlanOfLaw:
    target, fits = one.fitted, [one.fitted, *forgetting.values()]
    base_losses = BaseLosses(one.table, target.record.domain)
    request = complete_request(request, fits, base_losses)
    if goal == "pareto":
        return PlanOfLaw(one, request, front=pareto_front(request, target, forgetting))
    plans = LawPlanner(request, target, forgetting).plan_both(goal)
    row = plan_table([plans.point]).to_dict("records")[0]
    cells = None
    if measurements:
        sweep = one.table[is_sweep(one.table)]
        stages = list_stages(sweep)
        if not is_stage(sweep, request.ptpp).any():
            stages = sorted({request.ptpp, *stages})
        before = losses_before(fits, base_losses)
        candidates = candidate_cells(target.rows, row, stages, before)
        cells = next_measurements(row, target, forgetting, candidates).head(measurements)
    comparisons: list[BreakEven | str] = []
    settings, record = one.options.settings, target.record
    if break_even:
        transfer = fit_transfer(target.rows, record.protocol, settings, one.options.draws)
        comparisons.append(transfer if isinstance(transfer, str) else by_transfer(row, transfer))
    if from_scratch:
        scratch = fit_scratch(from_scratch, record.domain, settings)
        comparisons.append(by_measurement(row, scratch))
    return PlanOfLaw(one, request, plans, break_even=tuple(comparisons), measurements=cells)
