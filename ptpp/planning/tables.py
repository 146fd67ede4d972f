"""The tables of a plan: every law's plans, and what else there is to know about them."""

from collections.abc import Sequence
from itertools import product

import pandas as pd

from ptpp.laws.base_loss import BaseLosses
from ptpp.laws.fitted import FittedLaw
from ptpp.laws.fitting import FitSettings
from ptpp.planning.break_even import break_even_table, fit_transfer
from ptpp.planning.forecast import group_by_target
from ptpp.planning.front import pareto_front
from ptpp.planning.measurement import candidate_cells, next_measurements
from ptpp.planning.plans import LawPlanner, plan_table
from ptpp.planning.request import PlanRequest, losses_before

RELAXATION_COLUMNS = ("law", "n_params", "kind", "limit", "asked", "needed")
_MEASUREMENTS = 10  # per plan, the best


def plan_tables(
    requests: Sequence[PlanRequest],
    fits: Sequence[FittedLaw],
    regret: pd.DataFrame | None = None,
) -> dict[str, pd.DataFrame]:
    """Tables by name, from target and forgetting fits with their draws, in any order.

    `plan`: every law's point plan of least compute, for every request; `robust`: its robust plan;
    `least_loss`: both kinds for the least target loss; `relaxations`: one row per limit of every
    infeasible plan of least compute. `regret`, a table by `regret_table`, adds the column
    `met_measured`: the share of plans of the same law and kind that kept their limits where the
    held-out stage was measured, by the fits that had seen most of it. Raises InputError where a fit
    lacks draws or a limited domain its fit.
    """
    cheapest, best, relaxed = [], [], []
    for request, (target, others) in product(requests, group_by_target(fits)):
        planner = LawPlanner(request, target, others)
        plans = planner.plan_both()
        cheapest.append(plans)
        best.append(planner.plan_both("least_loss"))
        for kind, changes in plans.relaxations.items():
            labels = {"law": plans.point.law, "n_params": request.n_params, "kind": kind}
            relaxed += [{**labels, **vars(one)} for one in changes]
    least = plan_table([plan for each in best for plan in (each.point, each.robust)])
    least.insert(min(2, least.shape[1]), "kind", ["point", "robust"] * len(best))
    return {
        "plan": _add_regret(plan_table([each.point for each in cheapest]), "point", regret),
        "robust": _add_regret(plan_table([each.robust for each in cheapest]), "robust", regret),
        "least_loss": least,
        "relaxations": pd.DataFrame(relaxed, columns=list(RELAXATION_COLUMNS)),
    }


def supplements(
    request: PlanRequest,
    plans: pd.DataFrame,
    fits: Sequence[FittedLaw],
    stages: Sequence[float],
    settings: FitSettings,
    base_losses: BaseLosses,
    scratch: FittedLaw | None = None,
) -> dict[str, pd.DataFrame]:
    """Tables beside the point plans of `plan_tables`: for the request, `front`, every law's Pareto
    front, and `next_measurement`, the best cells to measure next; `break_even` for every plan.

    `stages`: the PTPP at which more could be measured. `settings`: of the fit of `transfer_offset`.
    `base_losses`: of the checkpoints to measure. `scratch`: a fit to runs from scratch.
    """
    fronts, measurements, transfer = [], [], {}
    own = plans[plans["n_params"] == request.n_params]
    for plan, (target, others) in zip(own.to_dict("records"), group_by_target(fits), strict=True):
        limited = {domain: others[domain] for domain in request.forgetting_limits}
        fronts.append(pareto_front(request, target, limited))
        before = losses_before([target, *limited.values()], base_losses)
        cells = candidate_cells(target.rows, plan, [*stages, request.ptpp], before)
        measurements.append(next_measurements(plan, target, limited, cells).head(_MEASUREMENTS))
        protocol = plan["protocol"]
        if protocol not in transfer:
            draws = len(target.draws.params)
            transfer[protocol] = fit_transfer(target.rows, protocol, settings, draws)
    return {
        "front": pd.concat(fronts, ignore_index=True),
        "break_even": break_even_table(plans, transfer, scratch),
        "next_measurement": pd.concat(measurements, ignore_index=True),
    }


def _add_regret(table: pd.DataFrame, kind: str, regret: pd.DataFrame | None) -> pd.DataFrame:
    if regret is None or table.empty:
        return table
    same = regret[(regret["goal"] == "least_compute") & (regret["kind"] == kind)]
    met = same.groupby("law")["met"].last()  # protocols stand in the order of what they see
    return table.assign(met_measured=met.reindex(table["law"]).to_numpy())
