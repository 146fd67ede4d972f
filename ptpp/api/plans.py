"""From fits, or a table of losses, to plans: how much replay and how many tokens, within limits."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from ptpp.api.fits import FitOptions, LawFit, fit_law, only_domain
from ptpp.api.html import render
from ptpp.errors import InputError
from ptpp.laws.base_loss import BaseLosses
from ptpp.planning.break_even import (
    BreakEven,
    by_measurement,
    by_transfer,
    fit_scratch,
    fit_transfer,
)
from ptpp.planning.front import pareto_front
from ptpp.planning.measurement import candidate_cells, next_measurements
from ptpp.planning.plans import LawPlans, plan_law, plan_table
from ptpp.planning.request import PlanRequest, find_base_loss
from ptpp.table.kinds import is_sweep


@dataclass(frozen=True)
class PlanOptions:
    """What to make beside or in place of a plan of least compute.

    `goal`: least_compute, least_loss or pareto. `break_even`: compare with training from scratch,
    by the law transfer_offset; `from_scratch`: by a table of runs from scratch (CSV with n_params,
    adapt_tokens and loss). `measurements`: how many next measurements to name.
    """

    goal: str = "least_compute"
    break_even: bool = False
    from_scratch: str | os.PathLike | None = None
    measurements: int = 0


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
        if self.front is not None:
            return sorted({n for names in self.front["extrapolated"] for n in names.split()})
        return sorted({*self.plans.point.extrapolated, *self.plans.robust.extrapolated})


@dataclass(frozen=True)
class Plans:
    """The plans by each law."""

    laws: tuple[PlanOfLaw, ...] = field(default_factory=tuple)

    @property
    def table(self) -> pd.DataFrame:
        """All plans, one row each: replay [share], atpp [tokens per parameter], adapt_tokens
        [tokens], flops, target loss and forgetting [nats], limits, intervals and what binds.
        """
        return pd.concat([one.table for one in self.laws], ignore_index=True)

    def _repr_html_(self) -> str:
        shown = ["law", "protocol", "kind", "replay", "atpp", "adapt_tokens", "flops", "feasible"]
        shown += ["target_loss", "binding", "met"]
        request, table = self.laws[0].request, self.table
        title = f"Plans for {request.n_params:.4g} parameters at PTPP {request.ptpp:g}"
        kept = [c for c in table if c in shown or c.startswith("forgetting_")]
        outside = sorted({name for one in self.laws for name in one.extrapolated})
        lines = [f"extrapolated: {', '.join(outside)}"] if outside else []
        return render(title, [table[kept]], lines)


def make_plans(
    fits: Sequence[LawFit],
    forgetting: Mapping[str, LawFit],
    request: PlanRequest,
    options: PlanOptions | None = None,
) -> Plans:
    """Plans by each of `fits`, laws of the target domain; one forgetting law per limited domain.

    Raises InputError where a plan cannot be made, as `ptpp.planning.plans.plan_law` does.
    """
    options, others = options or PlanOptions(), {d: one.fitted for d, one in forgetting.items()}
    return Plans(tuple(_plan_one(one, others, request, options) for one in fits))


def fit_forgetting(
    table: pd.DataFrame, domains: Sequence[str], options: FitOptions, source: str = "the table"
) -> dict[str, LawFit]:
    """One forgetting law per base domain, by domain."""
    return {domain: fit_law(table, "forgetting", domain, options, source) for domain in domains}


def measured_range(
    table: pd.DataFrame, target: str | None, source: str
) -> tuple[str, float, float]:
    """The target domain, and the least and greatest ATPP that the table's sweep measured."""
    sweep = table[is_sweep(table)]
    if sweep.empty:
        raise InputError(f"{source}: no sweep rows (atpp > 0, replay < 1)")
    target = target or only_domain(sweep, source)
    return target, float(sweep["atpp"].min()), float(sweep["atpp"].max())


def _plan_one(
    one: LawFit, others: Mapping, request: PlanRequest, options: PlanOptions
) -> PlanOfLaw:
    target = one.fitted
    base_losses = None
    if "base_loss" in target.law.inputs and one.table is not None:
        base_losses = BaseLosses.of(one.table, target.record.domain)
        request = find_base_loss(request, [target], base_losses)
    limited = {d: others[d] for d in request.forgetting_limits if d in others}
    if options.goal == "pareto":
        return PlanOfLaw(one, request, front=pareto_front(request, target, limited))
    plans = plan_law(request, target, limited, options.goal)
    row = plan_table([plans.point]).to_dict("records")[0]
    cells = None
    if options.measurements:
        stages = {request.ptpp, *target.rows["ptpp"]}
        if one.table is not None:
            stages |= set(one.table[is_sweep(one.table)]["ptpp"])
        candidates = candidate_cells(target.rows, row, sorted(stages), base_losses)
        cells = next_measurements(row, target, limited, candidates).head(options.measurements)
    comparisons = _compare_with_scratch(one, row, options)
    return PlanOfLaw(one, request, plans, break_even=comparisons, measurements=cells)


def _compare_with_scratch(
    one: LawFit, row: Mapping, options: PlanOptions
) -> tuple[BreakEven | str, ...]:
    """The plan beside training from scratch, where that is asked for."""
    comparisons: list[BreakEven | str] = []
    settings, record = one.options.settings, one.fitted.record
    if options.break_even:
        transfer = fit_transfer(one.fitted.rows, record.protocol, settings, one.options.draws)
        comparisons.append(transfer if isinstance(transfer, str) else by_transfer(row, transfer))
    if options.from_scratch:
        scratch = fit_scratch(options.from_scratch, record.domain, settings)
        comparisons.append(by_measurement(row, scratch))
    return tuple(comparisons)
