"""From fitted laws to a compute plan: point and robust plans, their validation, what to measure.

request = PlanRequest(8.1e9, 279, {"en": 0.5}, max_atpp=16, target_within=0.05)
make_plan(request, target_fit, {"en": forgetting_fit})
"""

from ptpp.planning.break_even import break_even_table, fitted_scratch, fitted_transfer
from ptpp.planning.forecast import Fitted, Forecast
from ptpp.planning.front import pareto_front
from ptpp.planning.measurement import candidate_cells, next_measurements
from ptpp.planning.plans import (
    GOALS,
    Plan,
    Relaxation,
    forgetting_fits,
    least_losses,
    make_plan,
    make_robust_plan,
    plan_table,
    relaxations,
    split_fitted,
    surface,
    with_intervals,
)
from ptpp.planning.regret import regret_cases, regret_table
from ptpp.planning.request import FLOPS_PER_PARAMETER_AND_TOKEN, PlanRequest
from ptpp.planning.tables import plan_tables, supplements

__all__ = [
    "FLOPS_PER_PARAMETER_AND_TOKEN",
    "GOALS",
    "Fitted",
    "Forecast",
    "Plan",
    "PlanRequest",
    "Relaxation",
    "break_even_table",
    "candidate_cells",
    "fitted_scratch",
    "fitted_transfer",
    "forgetting_fits",
    "least_losses",
    "make_plan",
    "make_robust_plan",
    "next_measurements",
    "pareto_front",
    "plan_table",
    "plan_tables",
    "regret_cases",
    "regret_table",
    "relaxations",
    "split_fitted",
    "supplements",
    "surface",
    "with_intervals",
]
