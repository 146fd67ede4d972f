"""From fitted laws to a compute plan: point and robust plans, their validation, what to measure.

request = PlanRequest(8.1e9, 279, {"en": 0.5}, max_atpp=16, target_within=0.05)
plan_law(request, target_fit, {"en": forgetting_fit})
"""

from ptpp.planning.break_even import break_even_table, fit_scratch, fit_transfer
from ptpp.planning.forecast import Forecast, forgetting_fits, group_by_target
from ptpp.planning.front import pareto_front
from ptpp.planning.measurement import candidate_cells, next_measurements
from ptpp.planning.plans import (
    GOALS,
    LawPlans,
    Plan,
    Relaxation,
    least_losses,
    make_plan,
    make_robust_plan,
    plan_law,
    plan_table,
    relaxations,
    surface,
    with_intervals,
)
from ptpp.planning.regret import regret_cases, regret_table
from ptpp.planning.request import FLOPS_PER_PARAMETER_AND_TOKEN, PlanRequest, find_base_loss
from ptpp.planning.tables import Supplement, plan_tables, supplements

__all__ = [
    "FLOPS_PER_PARAMETER_AND_TOKEN",
    "GOALS",
    "Forecast",
    "LawPlans",
    "Plan",
    "PlanRequest",
    "Relaxation",
    "Supplement",
    "break_even_table",
    "candidate_cells",
    "find_base_loss",
    "fit_scratch",
    "fit_transfer",
    "forgetting_fits",
    "group_by_target",
    "least_losses",
    "make_plan",
    "make_robust_plan",
    "next_measurements",
    "pareto_front",
    "plan_law",
    "plan_table",
    "plan_tables",
    "regret_cases",
    "regret_table",
    "relaxations",
    "supplements",
    "surface",
    "with_intervals",
]
