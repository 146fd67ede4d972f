"""From fitted laws to a compute plan: point and robust plans, their validation, what to measure.

request = PlanRequest(8.1e9, 279, {"en": 0.5}, max_atpp=16, target_within=0.05)
LawPlanner(request, target_fit, {"en": forgetting_fit}).plan_both()
"""

# ruff: noqa: F401
from ptpp.planning.break_even import fit_scratch, fit_transfer
from ptpp.planning.forecast import Forecast, forgetting_fits, group_by_target
from ptpp.planning.measurement import candidate_cells, next_measurements
from ptpp.planning.plans import LawPlanner, plan_table, surface
from ptpp.planning.regret import regret_cases, regret_table
from ptpp.planning.request import (
    FLOPS_PER_PARAMETER_AND_TOKEN,
    PlanRequest,
    complete_request,
    make_requests,
)
from ptpp.planning.tables import plan_tables, supplements
