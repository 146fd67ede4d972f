"""Properties of the laws as functions: Jacobians, nesting, limits, monotonicity."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws_grid import REFERENCE, TARGET_PARAMS

from ptpp.errors import InputError
from ptpp.laws.forms import LAWS, g, get_law

TARGET_LAWS = ["chinchilla", "dcpt", "floor", "gated", "gated_floor"]

unit = st.floats(min_value=0, max_value=1)


@st.composite
def thetas(draw, law):
    """A solver's vector within the bounds of the law."""
    parameters = get_law(law).parameters
    low = np.array(
        [p.to_solver(max(p.low, 1e-3) if p.scale == "log" else p.low) for p in parameters]
    )
    high = np.array([p.to_solver(min(p.high, 1e3)) for p in parameters])
    return low + (high - low) * np.array([draw(unit) for _ in parameters])


@st.composite
def points(draw, count=4):
    """Input arrays of the size and spread of a real experiment."""

    def values(low, high):
        logs = [
            draw(st.floats(min_value=np.log(low), max_value=np.log(high))) for _ in range(count)
        ]
        return np.exp(np.array(logs))

    share = values(0.05, 1.0)
    n_params, atpp = values(1e3, 1e7), values(0.1, 100)
    return {
        "n_params": n_params,
        "ptpp": values(1, 1000),
        "atpp": atpp,
        "adapt_tokens": atpp * n_params,
        "share": share,
        "replay": 1 - share,
    }


@pytest.mark.parametrize("law", LAWS)
@given(data=st.data())
def test_the_jacobian_is_the_derivative(law, data):
    law = get_law(law)
    theta, inputs = data.draw(thetas(law.name)), data.draw(points())
    jacobian = law.jacobian(theta, inputs, REFERENCE)
    assert jacobian.shape == (4, len(law.parameters))
    for j in range(len(theta)):
        # A complex step has no cancellation, so the comparison is exact up to rounding.
        step = theta.astype(complex)
        step[j] += 1e-30j
        expected = law.predict(step, inputs, REFERENCE).imag / 1e-30
        scale = np.abs(jacobian).max() + 1
        np.testing.assert_allclose(jacobian[:, j], expected, rtol=1e-9, atol=1e-12 * scale)


@given(log_x=st.floats(-10, 10), k=st.floats(-2, 2))
def test_g_is_smooth_through_k_zero(log_x, k):
    x = np.exp(log_x)
    assert g(x, 0.0) == pytest.approx(-log_x, rel=1e-12, abs=1e-12)
    tiny = g(x, 1e-9 * k)
    assert tiny == pytest.approx(-log_x, rel=1e-7, abs=1e-12)
    if abs(k) > 1e-3:
        assert g(x, k) == pytest.approx((x**-k - 1) / k, rel=1e-9, abs=1e-9)


def evaluate(law, params, inputs):
    return get_law(law).predict(get_law(law).to_solver(params), inputs, REFERENCE)


@given(inputs=points(), kappa=st.floats(0.05, 1.5))
def test_nested_laws_coincide(inputs, kappa):
    without = {**TARGET_PARAMS, "G": 0.0, "delta": 0.0, "kappa": kappa}
    dcpt = evaluate("dcpt", without, inputs)
    np.testing.assert_allclose(evaluate("floor", without, inputs), dcpt, rtol=1e-14)
    np.testing.assert_allclose(evaluate("gated", without, inputs), dcpt, rtol=1e-14)
    no_gate = {**TARGET_PARAMS, "delta": 0.0}
    np.testing.assert_allclose(
        evaluate("gated_floor", no_gate, inputs), evaluate("floor", no_gate, inputs), rtol=1e-14
    )
    no_floor = {**TARGET_PARAMS, "G": 0.0}
    np.testing.assert_allclose(
        evaluate("gated_floor", no_floor, inputs), evaluate("gated", no_floor, inputs), rtol=1e-14
    )


@given(inputs=points())
def test_at_full_share_dcpt_is_a_chinchilla_law_up_to_a_constant(inputs):
    inputs = {**inputs, "share": np.full(4, REFERENCE["share"])}
    np.testing.assert_allclose(
        evaluate("dcpt", TARGET_PARAMS, inputs),
        evaluate("chinchilla", TARGET_PARAMS, inputs),
        rtol=1e-14,
    )


@pytest.mark.parametrize("law", TARGET_LAWS)
@given(data=st.data())
def test_target_loss_falls_with_size_and_with_tokens(law, data):
    theta, inputs = data.draw(thetas(law)), data.draw(points())
    before = get_law(law).predict(theta, inputs, REFERENCE)
    for name in ("n_params", "adapt_tokens"):
        more = {**inputs, name: 2 * inputs[name]}
        assert (get_law(law).predict(theta, more, REFERENCE) < before + 1e-9 * np.abs(before)).all()


@pytest.mark.parametrize("law", TARGET_LAWS)
@given(data=st.data())
def test_target_loss_tends_to_its_floor(law, data):
    inputs = data.draw(points())
    endless = {**inputs, "n_params": np.full(4, 1e200), "adapt_tokens": np.full(4, 1e200)}
    floor = np.full(4, TARGET_PARAMS["E"])
    if law != "chinchilla":
        eps = TARGET_PARAMS["eps"]
        ratio = (inputs["share"] + eps) / (REFERENCE["share"] + eps)
        floor += TARGET_PARAMS["S"] * g(ratio, TARGET_PARAMS["gamma"])
    if "floor" in law:
        ratio = inputs["ptpp"] / REFERENCE["ptpp"]
        floor += TARGET_PARAMS["G"] * g(ratio, TARGET_PARAMS["kappa"])
    np.testing.assert_allclose(evaluate(law, TARGET_PARAMS, endless), floor, rtol=1e-9)


@given(data=st.data())
def test_forgetting_is_rewarming_alone_before_any_adaptation(data):
    law = get_law("forgetting")
    theta, inputs = data.draw(thetas("forgetting")), data.draw(points())
    start = {**inputs, "atpp": np.zeros(4)}
    warm = law.from_solver(theta)["W"]
    np.testing.assert_allclose(law.predict(theta, start, REFERENCE), warm, atol=1e-9)


@given(data=st.data())
def test_without_target_text_the_base_domain_only_gains_beyond_rewarming(data):
    law = get_law("forgetting")
    theta, inputs = data.draw(thetas("forgetting")), data.draw(points())
    control = {**inputs, "replay": np.ones(4)}
    assert (law.predict(theta, control, REFERENCE) <= law.from_solver(theta)["W"] + 1e-9).all()


@given(data=st.data())
def test_replay_protects_and_adaptation_damages(data):
    law = get_law("forgetting")
    theta, inputs = data.draw(thetas("forgetting")), data.draw(points())
    before = law.predict(theta, inputs, REFERENCE)
    slack = 1e-9 * (1 + np.abs(before))
    more_replay = {**inputs, "replay": np.sqrt(inputs["replay"])}
    assert (law.predict(theta, more_replay, REFERENCE) <= before + slack).all()
    alone = {**inputs, "replay": np.zeros(4)}
    longer = {**alone, "atpp": 2 * inputs["atpp"]}
    damage = law.predict(theta, alone, REFERENCE)
    assert (law.predict(theta, longer, REFERENCE) >= damage - 1e-9 * (1 + np.abs(damage))).all()


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_each_law_documents_itself(law):
    assert law.equation and law.source and law.title
    assert len(set(law.names)) == len(law.names)
    for parameter in law.parameters:
        assert parameter.low < parameter.high
        assert parameter.meaning and parameter.unit
        assert parameter.scale in ("log", "linear")
        assert parameter.from_solver(parameter.to_solver(0.3)) == pytest.approx(0.3)


def test_an_unknown_law_is_refused_with_the_names_of_the_known():
    with pytest.raises(InputError, match="'gate' is not known; accepted are chinchilla, dcpt"):
        get_law("gate")
