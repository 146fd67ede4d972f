"""From fitted laws to a compute plan: point and robust plans, their validation, what to measure.

request = PlanRequest(8.1e9, 279, {"en": 0.5}, max_atpp=16, target_within=0.05)
make_plan(request, target_fit, {"en": forgetting_fit})
"""

from ptpp.planning.forecast import Fitted, Forecast
from ptpp.planning.front import pareto_front
from ptpp.planning.plans import (
    GOALS,
    Plan,
    Relaxation,
    forgetting_fits,
    make_plan,
    make_plans,
    make_robust_plan,
    plan_table,
    relaxations,
    split_fitted,
    surface,
    with_intervals,
)
from ptpp.planning.regret import regret_cases, regret_table
from ptpp.planning.request import FLOPS_PER_PARAMETER_AND_TOKEN, PlanRequest
from ptpp.planning.tables import plan_tables

__all__ = [
    "FLOPS_PER_PARAMETER_AND_TOKEN",
    "GOALS",
    "Fitted",
    "Forecast",
    "Plan",
    "PlanRequest",
    "Relaxation",
    "forgetting_fits",
    "make_plan",
    "make_plans",
    "make_robust_plan",
    "pareto_front",
    "plan_table",
    "plan_tables",
    "regret_cases",
    "regret_table",
    "relaxations",
    "split_fitted",
    "surface",
    "with_intervals",
]
