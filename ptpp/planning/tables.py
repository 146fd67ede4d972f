"""The tables of a plan: every law's plans, and what would make the infeasible ones feasible."""

from collections.abc import Mapping, Sequence

import pandas as pd

from ptpp.laws.fitting import FitSettings
from ptpp.planning.break_even import break_even_table, fitted_transfer
from ptpp.planning.forecast import Fitted
from ptpp.planning.front import pareto_front
from ptpp.planning.measurement import Seen, candidate_cells, next_measurements
from ptpp.planning.plans import (
    Plan,
    least_losses,
    make_plan,
    make_robust_plan,
    plan_table,
    relaxations,
    split_fitted,
    with_intervals,
)
from ptpp.planning.request import PlanRequest

RELAXATION_COLUMNS = ("law", "protocol", "kind", "limit", "asked", "needed")


def plan_tables(
    request: PlanRequest, fitted: Sequence[Fitted], regret: pd.DataFrame | None = None
) -> dict[str, pd.DataFrame]:
    """Tables by name, from target and forgetting fits with their draws, in any order.

    `plan`: every law's point plan of least compute, with what the draws say of it; `robust`: its
    robust plan; `least_loss`: both kinds of plan for the least target loss, told apart by `kind`;
    `relaxations`: one row per limit of every plan of least compute that is infeasible, see
    `Relaxation`. `regret`: a table by `regret_table`; from it comes the column `met_measured`, the
    share of plans of the same law, protocol and kind that kept their limits where the held-out
    stage was measured. Raises InputError where a fit lacks draws or a limited domain its fit.
    """
    points, robust, least, relaxed = [], [], [], []
    for target, others in split_fitted(fitted):
        records = {domain: one.record for domain, one in others.items()}
        point = make_plan(request, target.record, records)
        reached = least_losses(request, target, others)
        points.append(with_intervals(point, request, target, others, reached=reached))
        robust.append(make_robust_plan(request, target, others, reached=reached))
        if not points[-1].feasible:
            found = relaxations(request, target.record, records)
            relaxed += [_labelled(point, "point", vars(one)) for one in found]
        if not robust[-1].feasible:
            found = relaxations(request, target, others, reached=reached)
            relaxed += [_labelled(point, "robust", vars(one)) for one in found]
        best = make_plan(request, target.record, records, goal="least_loss")
        best = with_intervals(best, request, target, others, reached=reached)
        least.append(("point", best))
        least.append(("robust", make_robust_plan(request, target, others, goal="least_loss")))
    kinds, plans = zip(*least, strict=True) if least else ((), ())
    table = plan_table(plans)
    table.insert(min(2, table.shape[1]), "kind", kinds)
    return {
        "plan": _checked(plan_table(points), "point", regret),
        "robust": _checked(plan_table(robust), "robust", regret),
        "least_loss": table,
        "relaxations": pd.DataFrame(relaxed, columns=list(RELAXATION_COLUMNS)),
    }


def supplements(
    request: PlanRequest,
    plans: pd.DataFrame,
    fitted: Sequence[Fitted],
    rows: Mapping[tuple[str, str, str], pd.DataFrame],
    stages: Sequence[float],
    settings: FitSettings,
    scratch: Fitted | None = None,
    best: int = 10,
) -> dict[str, pd.DataFrame]:
    """What is told beside the point plans of `plan_tables`: tables by name.

    `front`: every law's Pareto front; `break_even`: plans beside training from scratch;
    `next_measurement`: the `best` cells to measure next, for every plan. `rows`: the rows each fit
    was made on by (law, protocol, domain); `stages`: the PTPP at which more could be measured.
    """
    fronts, measurements, transfer = [], [], {}
    for plan, (target, others) in zip(plans.to_dict("records"), split_fitted(fitted), strict=True):
        limited = {domain: others[domain] for domain in request.forgetting_limits}
        fronts.append(pareto_front(request, target, limited))
        seen = {one.record.domain: _seen(one, rows) for one in (target, *limited.values())}
        own = seen.pop(target.record.domain)
        cells = candidate_cells(own.rows, plan, [*stages, request.ptpp])
        measurements.append(next_measurements(plan, own, seen, cells).head(best))
        if plan["protocol"] not in transfer:
            draws = len(target.draws.params)
            transfer[plan["protocol"]] = fitted_transfer(
                own.rows, plan["protocol"], settings, draws
            )
    return {
        "front": pd.concat(fronts, ignore_index=True),
        "break_even": break_even_table(plans, transfer, scratch),
        "next_measurement": pd.concat(measurements, ignore_index=True),
    }


def _seen(one: Fitted, rows: Mapping[tuple[str, str, str], pd.DataFrame]) -> Seen:
    return Seen(one, rows[one.record.law, one.record.protocol, one.record.domain])


def _checked(table: pd.DataFrame, kind: str, regret: pd.DataFrame | None) -> pd.DataFrame:
    if regret is None or table.empty:
        return table
    same = regret[(regret["goal"] == "least_compute") & (regret["kind"] == kind)]
    met = same.set_index(["law", "protocol"])["met"]
    keys = pd.MultiIndex.from_frame(table[["law", "protocol"]])
    return table.assign(met_measured=met.reindex(keys).to_numpy())


def _labelled(plan: Plan, kind: str, values: dict) -> dict:
    return {"law": plan.law, "protocol": plan.protocol, "kind": kind, **values}
