"""The Pareto front of target loss, forgetting and compute."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from plan_fits import FORGETTING, LINEAR, SIMPLE, TARGET, request, with_draws

from ptpp.planning import Fitted, make_plan, pareto_front
from ptpp.planning.front import OBJECTIVES, dominated


@settings(max_examples=40, deadline=None)
@given(arrays(float, (12, 3), elements=st.integers(0, 4).map(float)))
def test_dominated_points_are_beaten_by_another_and_the_rest_by_none(points):
    beaten = dominated(points)
    assert not beaten.all()
    for i, point in enumerate(points):
        beats = (points <= point).all(axis=1) & (points < point).any(axis=1)
        assert beaten[i] == beats.any()
        if beaten[i]:  # and by one that is itself on the front
            assert (beats & ~beaten).any()


def test_along_the_front_less_forgetting_costs_target_loss_at_equal_compute():
    front = pareto_front(request(), Fitted(SIMPLE), {"en": Fitted(LINEAR)})
    for _, level in front.groupby("flops"):
        ordered = level.sort_values("target_loss")
        assert ordered.worst_forgetting.is_monotonic_decreasing
    assert front.flops.nunique() == 5


def test_the_front_holds_the_worst_base_domain():
    fits = {"en": Fitted(FORGETTING), "ar": Fitted(LINEAR)}
    wanted = request(forgetting_limits={"en": 0.1, "ar": 0.1})
    front = pareto_front(wanted, Fitted(TARGET), fits)
    worst = front[["forgetting_en", "forgetting_ar"]].max(axis=1)
    np.testing.assert_allclose(front.worst_forgetting, worst)
    assert not dominated(front[list(OBJECTIVES)].to_numpy()).any()


def test_no_point_of_the_front_beats_the_plan():
    wanted = request(forgetting_limits={"en": 0.4}, target_loss=3.8)
    plan = make_plan(wanted, SIMPLE, {"en": LINEAR})
    front = pareto_front(wanted, Fitted(SIMPLE), {"en": Fitted(LINEAR)}, atpps=40, replays=40)
    inside = front[(front.target_loss <= 3.8) & (front.worst_forgetting <= 0.4)]
    assert len(inside) and (inside.flops >= plan.flops * (1 - 1e-6)).all()


def test_without_forgetting_limits_the_front_is_loss_against_compute():
    front = pareto_front(request(forgetting_limits={}), Fitted(SIMPLE), {})
    assert "worst_forgetting" not in front
    assert len(front) == 5 and (front.replay == 0).all()


def test_draws_give_intervals_and_extrapolation_is_marked():
    target = with_draws(SIMPLE, {"E": np.linspace(-0.1, 0.1, 21)})
    forgetting = with_draws(LINEAR, {"F": np.zeros(21)})
    front = pareto_front(request(n_params=8.1e9), target, {"en": forgetting})
    np.testing.assert_allclose(front.target_loss_high - front.target_loss_low, 0.18)
    assert front.extrapolated.str.contains("n_params").all()
