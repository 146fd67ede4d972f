"""The plan: known optima, limits, infeasibility, and independence of the grid."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from laws_grid import FORGETTING_PARAMS
from plan_fits import (
    FLOOR,
    FORGETTING,
    L0,
    LINEAR,
    SIMPLE,
    SIMPLE_PARAMS,
    TARGET,
    N,
    request,
    simple_forgetting,
    simple_loss,
    with_record,
)

from ptpp.errors import InputError
from ptpp.planning import LawPlanner, forgetting_fits, group_by_target, plan_table, surface
from ptpp.planning.search import Mesh


def test_the_known_optimum_of_a_solvable_law_is_found():
    # Forgetting is proportional to s A, so its limit is s <= c/A. There the D term goes like
    # A^-(eta + beta): it falls with A, and the least A is where both limits are met exactly.
    replay, atpp = 0.35, 3.0
    limits = {"en": float(simple_forgetting(replay, atpp))}
    plan = LawPlanner(
        request(forgetting_limits=limits, target_loss=float(simple_loss(replay, atpp))),
        SIMPLE,
        {"en": LINEAR},
    ).plan()
    assert SIMPLE_PARAMS["eta"] + SIMPLE_PARAMS["beta"] > 0
    assert plan.feasible
    assert plan.binding == ("target_loss", "forgetting_en")
    assert plan.replay == pytest.approx(replay, abs=1e-4)
    assert plan.atpp == pytest.approx(atpp, rel=1e-4)
    assert plan.flops == pytest.approx(6 * N * N * atpp, rel=1e-4)
    assert plan.adapt_tokens == pytest.approx(N * atpp, rel=1e-4)


def test_without_a_binding_forgetting_limit_the_least_replay_is_cheapest():
    reason = "replay from 0.05: nobody measured less"
    limited = request(forgetting_limits={"en": 100.0}, target_loss=float(simple_loss(FLOOR, 2.0)))
    plan = LawPlanner(replace(limited, replay_reason=reason), SIMPLE, {"en": LINEAR}).plan()
    assert (plan.replay, plan.replay_reason) == (FLOOR, reason)
    assert plan.atpp == pytest.approx(2.0, rel=1e-4)
    assert plan.binding == ("target_loss", "least_replay")
    free = request(forgetting_limits={}, target_loss=float(simple_loss(0, 2.0)))
    plan = LawPlanner(replace(free, replay_reason=reason), SIMPLE, {}).plan()
    assert (plan.replay, plan.replay_reason, plan.binding) == (0, None, ("target_loss",))


@settings(max_examples=3, deadline=None)
@given(st.floats(0.06, 1.0), st.floats(0.005, 0.3))
def test_a_finer_grid_changes_compute_by_less_than_a_thousandth(limit, within):
    arguments = (
        request(forgetting_limits={"en": limit, "ar": 1.5 * limit}, target_within=within),
        TARGET,
        {"en": FORGETTING, "ar": FORGETTING},
    )
    coarse, fine = (LawPlanner(*arguments, mesh=Mesh(points)).plan() for points in (80, 151))
    assert coarse.feasible == fine.feasible
    if fine.feasible:
        assert coarse.flops == pytest.approx(fine.flops, rel=1e-3)
    assert coarse.shortfall == pytest.approx(fine.shortfall, abs=1e-5)


@settings(max_examples=6, deadline=None)
@example(1.0, 0.25, 4)  # cheaper still below the least replay that is considered
@given(st.floats(0.06, 1.0), st.floats(0.005, 0.3), st.integers(0, 99))
def test_no_cheaper_point_meets_the_limits(limit, within, seed):
    asked = request(forgetting_limits={"en": limit}, target_within=within)
    plan = LawPlanner(asked, SIMPLE, {"en": LINEAR}, mesh=Mesh(100)).plan()
    generator = np.random.default_rng(seed)
    replay = generator.uniform(asked.least_replay, asked.max_replay, 2000)
    atpp = plan.atpp * np.exp(-5 * generator.uniform(1e-4, 1, 2000))
    harmless = simple_forgetting(replay, atpp) <= limit
    assert plan.feasible
    assert plan.target_loss <= plan.target_loss_limit + 1e-6
    assert plan.forgetting["en"] <= limit + 1e-6
    assert not (harmless & (simple_loss(replay, atpp) <= plan.target_loss_limit - 1e-6)).any()


def test_target_within_is_measured_from_the_best_loss_the_other_limits_allow():
    # Unlimited forgetting: the best is at no replay and the largest ATPP.
    free = LawPlanner(request(forgetting_limits={}, target_within=0.1), SIMPLE, {}).plan()
    assert free.target_loss_limit == pytest.approx(simple_loss(0, 16.0) + 0.1, abs=1e-6)
    limited = LawPlanner(request(target_within=0.1), SIMPLE, {"en": LINEAR}).plan()
    assert limited.target_loss_limit > free.target_loss_limit


def test_a_compute_limit_works_like_an_atpp_limit():
    by_atpp = request(forgetting_limits={}, max_atpp=4.0)
    by_flops = request(forgetting_limits={}, max_flops=6 * N * N * 4.0)
    limits = [LawPlanner(r, SIMPLE, {}).plan().target_loss_limit for r in (by_atpp, by_flops)]
    assert limits[0] == pytest.approx(limits[1])


def test_an_infeasible_plan_says_by_how_much_and_what_binds():
    wanted = float(simple_loss(0, 16.0)) - 0.2
    plan = LawPlanner(request(forgetting_limits={}, target_loss=wanted), SIMPLE, {}).plan()
    assert not plan.feasible
    assert plan.shortfall == pytest.approx(0.2, abs=1e-6)
    assert plan.binding == ("target_loss", "max_atpp")
    by_flops = request(forgetting_limits={}, target_loss=wanted, max_flops=6 * N * N)
    assert LawPlanner(by_flops, SIMPLE, {}).plan().binding == ("target_loss", "max_flops")


def test_contradictory_limits_share_the_shortfall():
    plan = LawPlanner(
        request(forgetting_limits={"en": 0.01}, target_loss=3.4), SIMPLE, {"en": LINEAR}
    ).plan()
    assert not plan.feasible
    assert set(plan.binding) >= {"target_loss", "forgetting_en"}
    assert plan.target_loss - plan.target_loss_limit == pytest.approx(plan.shortfall, abs=1e-5)
    assert plan.forgetting["en"] - 0.01 == pytest.approx(plan.shortfall, abs=1e-5)


def test_a_forgetting_limit_that_nothing_meets_leaves_the_loss_limit_undefined():
    plan = LawPlanner(request(forgetting_limits={"en": -1.0}), TARGET, {"en": FORGETTING}).plan()
    assert not plan.feasible
    assert np.isnan(plan.target_loss_limit)
    assert plan.shortfall == pytest.approx(plan.forgetting["en"] + 1.0)
    assert "forgetting_en" in plan.binding


def test_no_plan_goes_below_the_least_atpp():
    easy = {"forgetting_limits": {}, "target_loss": 50.0}
    free = LawPlanner(request(**easy), TARGET, {}).plan()
    bounded = LawPlanner(request(min_atpp=2.0, **easy), TARGET, {}).plan()
    assert free.atpp < 2.0
    assert bounded.atpp == pytest.approx(2.0)
    assert bounded.binding == ("min_atpp",)


def test_every_target_fit_goes_with_the_forgetting_of_its_own_protocol():
    other = with_record(FORGETTING, domain="en", protocol="early_to_late")
    same = with_record(FORGETTING, domain="en", params={**FORGETTING_PARAMS, "W": 0.05})
    fits = [other, TARGET, same, SIMPLE]
    assert group_by_target(fits) == [(TARGET, {"en": same}), (SIMPLE, {"en": same})]
    assert forgetting_fits(fits, "early_to_late") == {"en": other}


def test_the_surface_shows_what_the_laws_predict_over_the_searched_range():
    wanted = request(min_atpp=1.0)
    grid = surface(wanted, TARGET, {"en": FORGETTING})
    assert len(grid) == 60 * 60
    assert (grid.atpp.min(), grid.atpp.max()) == pytest.approx((1.0, 16.0))
    point = {"n_params": N, "ptpp": 279.0, "adapt_tokens": N, "zero_shot_loss": L0}
    point = pd.DataFrame([{**point, **grid.iloc[0]}])
    assert grid.replay.min() == FLOOR
    assert grid.target_loss[0] == TARGET.value(point)[0]
    assert grid.forgetting_en[0] == pytest.approx(FORGETTING.value(point)[0], rel=1e-12)


def test_extrapolation_is_listed():
    near = LawPlanner(request(forgetting_limits={"en": 1.0}), TARGET, {"en": FORGETTING}).plan()
    assert near.extrapolated == ()
    far = LawPlanner(request(n_params=8.1e9, ptpp=500.0), TARGET, {"en": FORGETTING}).plan()
    assert {"n_params", "ptpp"} <= set(far.extrapolated)


def test_plans_stand_in_one_table():
    wishes = request(forgetting_limits={"en": 0.3, "ar": 0.4})
    fits = {"en": FORGETTING, "ar": FORGETTING}
    table = plan_table(
        [LawPlanner(wishes, t, fits, mesh=Mesh(60)).plan() for t in (TARGET, SIMPLE)]
    )
    assert table["law"].tolist() == ["gated_floor", "dcpt"]
    assert table["forgetting_ar_limit"].tolist() == [0.4, 0.4]
    assert {"feasible", "binding", "shortfall", "extrapolated", "flops"} <= set(table.columns)
    assert table["binding"].map(type).eq(str).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_atpp": 0}, "plan: max_atpp is 0; accepted is a number above 0"),
        ({"target_within": None}, "plan: neither target_loss nor target_within is given"),
        ({"target_within": -0.1}, "plan: target_within is -0.1; accepted is 0 or more"),
        ({"confidence": 0}, "plan: confidence is 0; accepted is a share above 0, such as 0.9"),
        ({"forgetting_limits": {"en": np.nan}}, "plan: the forgetting limit of 'en' is nan"),
        ({"max_replay": 1.0}, "plan: max_replay is 1.0; accepted is 0 or more, below 1"),
        (
            {"max_replay": 0.01},
            "plan: max_replay is 0.01, but forgetting laws speak of replay from",
        ),
        ({"zero_shot_losses": {"en": 0.0}}, "plan: zero_shot_losses.en is 0.0; accepted is a"),
    ],
)
def test_a_senseless_request_is_refused(change, message):
    with pytest.raises(InputError) as raised:
        request(**change)
    assert str(raised.value).startswith(message)


def test_the_least_loss_is_where_compute_and_forgetting_limits_end():
    plan = LawPlanner(request(forgetting_limits={}), SIMPLE, {}).plan("least_loss")
    assert (plan.replay, plan.atpp) == (0, pytest.approx(16.0))
    assert plan.binding == ("max_atpp",)
    limited = LawPlanner(request(), SIMPLE, {"en": LINEAR}).plan("least_loss")
    assert limited.feasible and limited.goal == "least_loss"
    assert limited.forgetting["en"] == pytest.approx(0.1, abs=1e-6)
    # target_within is counted from this very loss.
    cheap = LawPlanner(request(target_within=0.05), SIMPLE, {"en": LINEAR}).plan()
    assert cheap.target_loss_limit == pytest.approx(limited.target_loss + 0.05, abs=1e-6)


def test_an_unknown_goal_is_refused():
    with pytest.raises(InputError, match="goal 'fastest' is not known; accepted are least_compute"):
        LawPlanner(request(), SIMPLE, {"en": LINEAR}).plan("fastest")


def test_a_limited_domain_needs_a_fit():
    with pytest.raises(InputError, match="no forgetting fit for the base domain 'ar'; there are"):
        LawPlanner(request(forgetting_limits={"ar": 0.1}), TARGET, {"en": FORGETTING}).plan()
