"""Robust plans, intervals and relaxations, where the answer is known or can be checked."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_fits import (
    FLOOR,
    FORGETTING,
    LINEAR,
    SIMPLE,
    SIMPLE_PARAMS,
    TARGET,
    request,
    simple_loss,
    with_draws,
    with_record,
)

from ptpp.errors import InputError
from ptpp.planning import Forecast, LawPlanner, plan_table
from ptpp.planning.forecast import pair_draws
from ptpp.planning.search import quantile

SHIFTS = np.linspace(-0.1, 0.1, 21)
NONE = np.zeros(21)


def noisy(seed, count=40):
    """A target and a forgetting fit whose draws scatter."""
    generator = np.random.default_rng(seed)
    target = with_draws(SIMPLE, {"E": generator.normal(0, 0.05, count)})
    forgetting = with_draws(
        with_record(LINEAR, domain="en"), {"S": generator.normal(0, 0.05, count)}, "b"
    )
    return target, {"en": forgetting}


def test_a_robust_plan_buys_the_tokens_that_the_worst_of_nine_tenths_of_the_draws_need():
    # Only E is uncertain: 90 % of the draws are met where the 19th of 21 shifts is made up for.
    wanted = request(forgetting_limits={}, target_loss=float(simple_loss(0, 2.0)))
    plan = LawPlanner(wanted, with_draws(SIMPLE, {"E": SHIFTS}), {}).plan_robustly()
    left = simple_loss(0, 2.0) - SHIFTS[18]
    fixed = simple_loss(0, 2.0) - simple_loss(0, np.inf)
    atpp = 2.0 * ((left - simple_loss(0, np.inf)) / fixed) ** (-1 / SIMPLE_PARAMS["beta"])
    assert plan.feasible
    assert plan.met == pytest.approx(19 / 21)
    assert plan.atpp == pytest.approx(atpp, rel=1e-3)
    assert plan.replay == 0
    assert plan.binding == ("target_loss",)


def test_certain_draws_give_the_point_plan():
    target, forgetting = with_draws(TARGET, {"E": NONE}), with_draws(FORGETTING, {"S": NONE})
    wanted = request(forgetting_limits={"en": 0.2})
    point = LawPlanner(wanted, TARGET, {"en": FORGETTING}).plan()
    robust = LawPlanner(wanted, target, {"en": forgetting}).plan_robustly()
    assert robust.flops == pytest.approx(point.flops, rel=1e-3)
    assert robust.met == 1


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 99), st.floats(0.55, 0.95), st.floats(0.2, 0.6))
def test_a_feasible_robust_plan_meets_all_limits_together_in_the_share_asked_for(
    seed, confidence, limit
):
    wanted = request(
        forgetting_limits={"en": limit}, target_loss=3.8, confidence=round(confidence, 2)
    )
    target, forgetting = noisy(seed)
    plan = LawPlanner(wanted, target, forgetting).plan_robustly()
    assert plan.feasible == (plan.met >= wanted.confidence - 1e-9)
    assert plan.met_at_least <= plan.met + 1e-9
    assert plan.feasible == (plan.shortfall == 0)
    surer = LawPlanner(replace(wanted, confidence=1.0), target, forgetting).plan_robustly()
    assert not surer.feasible or surer.flops >= plan.flops * (1 - 1e-4)


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 99))
def test_no_cheaper_point_meets_the_limits_in_the_share_asked_for(seed):
    wanted = request(forgetting_limits={"en": 0.5}, target_loss=3.9)
    target, forgetting = noisy(seed)
    plan = LawPlanner(wanted, target, forgetting).plan_robustly()
    assert plan.feasible
    generator = np.random.default_rng(seed)
    replay = generator.uniform(0, 0.95, (1, 3000))
    atpp = plan.atpp * np.exp(-3 * generator.uniform(1e-3, 1, (1, 3000)))
    forecast = Forecast.of_draws(wanted, target, forgetting)
    excess = forecast.excess(np.array([3.9]), replay, np.log(atpp)).max(axis=0)
    assert (quantile(excess, wanted.confidence) > 0).all()


def test_a_draw_that_is_nowhere_finite_counts_as_one_that_misses():
    # 2 of 21 draws are not numbers: 19 of 21 is still a share above 0.9.
    broken = np.where(np.arange(21) < 2, np.nan, 0.0)
    wanted = request(forgetting_limits={}, target_loss=3.8)
    for change in ({}, {"target_loss": None, "target_within": 0.05}):
        asked = replace(wanted, **change)
        planner = LawPlanner(asked, with_draws(SIMPLE, {"E": broken}), {})
        plan = planner.plan_robustly()
        assert plan.feasible and plan.met == pytest.approx(19 / 21)
        surer = replace(planner, request=replace(asked, confidence=1.0))
        assert not surer.plan_robustly().feasible


def test_a_plan_at_the_edge_of_the_point_fits_is_met_in_about_half_of_the_draws():
    target = with_draws(SIMPLE, {"E": SHIFTS})
    wanted = request(forgetting_limits={}, target_loss=3.8)
    planner = LawPlanner(wanted, target, {})
    plan = planner.plan()
    judged = planner.judge(plan)
    assert judged.met == pytest.approx(11 / 21)
    assert judged.missed == {"target_loss": pytest.approx(10 / 21)}
    low, high = judged.intervals["target_loss"]
    assert (low, high) == pytest.approx((3.8 + SHIFTS[1], 3.8 + SHIFTS[19]))
    # Each draw's own plan: the interval of ATPP encloses the point plan's.
    assert judged.intervals["atpp"][0] < plan.atpp < judged.intervals["atpp"][1]
    assert judged.feasible_draws == 1


def test_target_within_is_near_each_draws_own_best():
    # Whatever E is, the best moves with it, so nothing but the distance counts.
    target = with_draws(SIMPLE, {"E": SHIFTS})
    wanted = request(forgetting_limits={}, target_within=0.1)
    planner = LawPlanner(wanted, target, {})
    robust, point = planner.plan_robustly(), planner.plan()
    assert robust.met == 1
    assert robust.flops == pytest.approx(point.flops, rel=1e-3)


def test_an_infeasible_robust_plan_says_how_far_nine_tenths_of_the_draws_are_away():
    wanted = request(forgetting_limits={}, target_loss=float(simple_loss(0, 16.0)))
    plan = LawPlanner(wanted, with_draws(SIMPLE, {"E": SHIFTS}), {}).plan_robustly()
    assert not plan.feasible
    assert plan.shortfall == pytest.approx(SHIFTS[18], abs=1e-6)
    assert plan.binding == ("target_loss", "max_atpp")


@pytest.mark.parametrize("robust", [False, True])
def test_each_relaxation_alone_makes_the_plan_feasible_and_nothing_less_does(robust):
    make = LawPlanner.plan_robustly if robust else LawPlanner.plan
    wanted = request(forgetting_limits={"en": 0.3}, target_loss=3.6)
    planner = LawPlanner(wanted, *noisy(3))
    assert not make(planner).feasible
    found = {one.limit: one for one in planner.relax(robust=robust)}
    assert set(found) == {"target_loss", "forgetting_en", "max_atpp"}
    changes = {
        "target_loss": lambda value: {"target_loss": value},
        "forgetting_en": lambda value: {"forgetting_limits": {"en": value}},
        "max_atpp": lambda value: {"max_atpp": value, "min_atpp": wanted.least_atpp},
    }
    for name, change in changes.items():
        asked, needed = found[name].asked, found[name].needed
        if np.isnan(needed):
            continue
        more = 1e-3 * needed
        assert needed > asked
        enough, little = (replace(wanted, **change(needed + by)) for by in (more, -more))
        assert make(replace(planner, request=enough)).feasible
        assert not make(replace(planner, request=little)).feasible
    assert not np.isnan(found["target_loss"].needed)


def test_a_limit_that_cannot_help_is_said_not_to():
    # Without a forgetting limit, more tokens than allowed are what is missing, or a lower target.
    # The least replay is that from which forgetting laws speak.
    limit = float(simple_loss(FLOOR, 17.0))
    wanted = request(forgetting_limits={"en": 100.0}, target_loss=limit)
    found = {one.limit: one for one in LawPlanner(wanted, SIMPLE, {"en": LINEAR}).relax()}
    assert np.isnan(found["forgetting_en"].needed)
    assert found["max_atpp"].needed == pytest.approx(17.0, rel=1e-4)
    assert found["target_loss"].needed == pytest.approx(simple_loss(FLOOR, 16.0), abs=1e-6)


def test_a_compute_limit_is_relaxed_in_flops():
    wanted = request(forgetting_limits={}, target_loss=float(simple_loss(0, 4.0)))
    tight = replace(wanted, max_flops=wanted.flops(2.0))
    found = {one.limit: one for one in LawPlanner(tight, SIMPLE, {}).relax()}
    assert found["max_flops"].needed == pytest.approx(wanted.flops(4.0), rel=1e-4)


def test_draws_of_the_same_resamples_stay_together_and_others_are_shuffled():
    numbers = np.arange(50.0)
    target = with_draws(SIMPLE, {"E": numbers}, "target").draws
    en, ar = (with_draws(LINEAR, {"S": numbers}, "bases").draws for _ in range(2))
    first, second, third = pair_draws([target, en, ar])
    np.testing.assert_array_equal(first, target.params)
    np.testing.assert_array_equal(second, third)
    assert not np.array_equal(second, en.params)
    np.testing.assert_array_equal(np.sort(second, axis=0), np.sort(en.params, axis=0))


def test_the_least_loss_of_a_robust_plan_is_kept_in_nine_tenths_of_the_draws():
    target, forgetting = noisy(5)
    wanted = request(forgetting_limits={"en": 0.4})
    plan = LawPlanner(wanted, target, forgetting).plan_robustly("least_loss")
    assert plan.feasible and plan.goal == "least_loss"
    assert plan.missed["forgetting_en"] <= 0.1 + 1e-9
    assert np.isnan(plan.target_loss_limit)


def test_a_robust_plan_needs_draws():
    with pytest.raises(InputError, match="has no bootstrap draws, which intervals, robust plans"):
        LawPlanner(request(forgetting_limits={}), SIMPLE, {}).plan_robustly()


def test_a_quantile_is_a_value_that_the_share_does_not_exceed():
    values = np.arange(10.0)[:, None]
    assert quantile(values, 0.9)[0, 0] == 8
    assert quantile(values, 1.0)[0, 0] == 9
    assert quantile(values, 0.05)[0, 0] == 0


def test_a_table_of_judged_plans_has_shares_and_intervals():
    target, forgetting = noisy(1)
    wanted = request(forgetting_limits={"en": 0.4}, target_loss=3.8)
    planner = LawPlanner(wanted, target, forgetting)
    table = plan_table([planner.judge(planner.plan())])
    assert {"met", "met_at_least", "missed_forgetting_en", "feasible_draws"} <= set(table.columns)
    assert (table["target_loss_low"] < table["target_loss_high"]).all()
    assert (table["replay_low"] <= table["replay_high"]).all()
