"""Properties of the laws as functions: Jacobians, nesting, limits, monotonicity."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws_grid import FORGETTING_PARAMS, REFERENCE, TARGET_PARAMS, WITHOUT_REPLAY_PARAMS

from ptpp.errors import InputError
from ptpp.laws.forms import LAWS, g, get_law
from ptpp.laws.problem import law_inputs

TARGET_LAWS = [name for name, law in LAWS.items() if law.offset is None]
SHARE_LAWS = [name for name in TARGET_LAWS if "S" in get_law(name).names]
STATE_LAWS = [name for name in TARGET_LAWS if "state" in name]  # a factor for the base loss

unit = st.floats(min_value=0, max_value=1)
few = settings(max_examples=12)  # per law; every example draws a batch of rows


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

    share = values(0.05, 0.995)  # forgetting laws have no value without replay
    n_params, atpp = values(1e3, 1e7), values(0.1, 100)
    return {
        "n_params": n_params,
        "ptpp": values(1, 1000),
        "atpp": atpp,
        "adapt_tokens": atpp * n_params,
        "share": share,
        "replay": 1 - share,
        "base_loss": values(1, 10),
        "zero_shot_loss": values(1, 10),
    }


@pytest.mark.parametrize("law", LAWS)
@few
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


@pytest.mark.parametrize("law", LAWS)
@few
@given(data=st.data())
def test_a_batch_of_parameter_vectors_is_evaluated_like_each_alone(law, data):
    law = get_law(law)
    batch, inputs = np.array([data.draw(thetas(law.name)) for _ in range(3)]), data.draw(points())
    values = law.predict(batch, inputs, REFERENCE)
    slopes = law.jacobian(batch, inputs, REFERENCE)
    assert values.shape == (3, 4) and slopes.shape == (3, 4, len(law.parameters))
    for theta, value, slope in zip(batch, values, slopes, strict=True):
        np.testing.assert_allclose(law.predict(theta, inputs, REFERENCE), value, rtol=1e-12)
        np.testing.assert_allclose(law.jacobian(theta, inputs, REFERENCE), slope, rtol=1e-9)


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


def state(q, inputs):
    """exp(lam (L_base - L_base0)), the factor of the laws of the checkpoint's state."""
    return np.exp(q["lam"] * (inputs["base_loss"] - REFERENCE["base_loss"]))


def mix(q, share):
    ratio = (share + q["eps"]) / (REFERENCE["share"] + q["eps"])
    return q["S"] * g(ratio, q["gamma"])


@few
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


@few
@given(inputs=points())
def test_at_full_share_dcpt_is_a_chinchilla_law_up_to_a_constant(inputs):
    inputs = {**inputs, "share": np.full(4, REFERENCE["share"])}
    np.testing.assert_allclose(
        evaluate("dcpt", TARGET_PARAMS, inputs),
        evaluate("chinchilla", TARGET_PARAMS, inputs),
        rtol=1e-14,
    )


@pytest.mark.parametrize("law", TARGET_LAWS)
@few
@given(data=st.data())
def test_target_loss_falls_with_size_and_with_tokens(law, data):
    theta, inputs = data.draw(thetas(law)), data.draw(points())
    if law == "floor_tokens":  # a larger model has read more, which lowers the floor for G >= 0
        place = get_law(law).names.index("G")
        theta[place] = abs(theta[place])
    before = get_law(law).predict(theta, inputs, REFERENCE)
    slack = 1e-9 * np.abs(before)
    for name in ("n_params", "adapt_tokens"):
        after = get_law(law).predict(theta, {**inputs, name: 2 * inputs[name]}, REFERENCE)
        falls = np.ones(4, dtype=bool)
        if law == "exponent_gate" and name == "adapt_tokens":
            p = dict(zip(get_law(law).names, theta, strict=True))
            falls = p["beta"] > p["omega"] * np.log(inputs["ptpp"] / REFERENCE["ptpp"])
        assert np.where(falls, after <= before + slack, after >= before - slack).all()


@pytest.mark.parametrize("law", TARGET_LAWS)
@few
@given(data=st.data())
def test_target_loss_tends_to_its_floor(law, data):
    inputs = data.draw(points())
    inputs["ptpp"] = np.minimum(inputs["ptpp"], 400)  # beta > omega ln(P/P0) for exponent_gate
    endless = {**inputs, "n_params": np.full(4, 1e150), "adapt_tokens": np.full(4, 1e150)}
    floor = np.full(4, TARGET_PARAMS["E"])
    if law in SHARE_LAWS:
        floor += mix(TARGET_PARAMS, inputs["share"])
    if law == "checkpoint_informed":
        floor += TARGET_PARAMS["lam"] * (inputs["base_loss"] - REFERENCE["base_loss"])
    if law == "floor_tokens":  # endless models have read endless text
        floor -= TARGET_PARAMS["G"] / TARGET_PARAMS["kappa"]
    elif "floor" in law:
        ratio = inputs["ptpp"] / REFERENCE["ptpp"]
        floor += TARGET_PARAMS["G"] * g(ratio, TARGET_PARAMS["kappa"])
    if law == "state_without_offset":
        floor = TARGET_PARAMS["K"] * (floor - TARGET_PARAMS["E"])
    if law in STATE_LAWS:
        floor *= state(TARGET_PARAMS, inputs)
    np.testing.assert_allclose(evaluate(law, TARGET_PARAMS, endless), floor, rtol=1e-9)


@pytest.mark.parametrize("law", TARGET_LAWS)
@few
@given(inputs=points())
def test_before_adaptation_a_law_is_infinite_or_knows_what_pretraining_is_worth(law, inputs):
    before = {**inputs, "atpp": np.full(4, 1e-200), "adapt_tokens": 1e-200 * inputs["n_params"]}
    loss = evaluate(law, TARGET_PARAMS, before)
    if "adapt_tokens" not in get_law(law).may_be_zero:
        assert (loss > 1e20).all()
        return
    none = {**inputs, "adapt_tokens": np.zeros(4)}
    q = TARGET_PARAMS
    if law == "transfer_state":
        worth = q["tau"] * inputs["n_params"] / REFERENCE["adapt_tokens"]
        size = q["A"] * (inputs["n_params"] / REFERENCE["n_params"]) ** -q["alpha"]
        bracket = q["E"] + size + q["B"] * worth ** -q["beta"] + mix(q, inputs["share"])
        expected = bracket * state(q, inputs)
        np.testing.assert_allclose(evaluate(law, q, none), expected, rtol=1e-12)
        np.testing.assert_allclose(loss, expected, rtol=1e-12)
        return
    none["share"] = np.array([0, 0.3, 0.7, 1])  # it knows nothing of replay
    p = inputs["ptpp"] / REFERENCE["ptpp"]
    worth = q["tau"] * inputs["n_params"] * p ** q["pi"] / REFERENCE["adapt_tokens"]
    size = q["A"] * (inputs["n_params"] / REFERENCE["n_params"]) ** -q["alpha"]
    expected = q["E"] + size + q["B"] * worth ** -q["beta"]
    np.testing.assert_allclose(evaluate(law, q, none), expected, rtol=1e-12)
    np.testing.assert_allclose(loss, expected, rtol=1e-12)


@pytest.mark.parametrize("law", TARGET_LAWS)
@few
@given(inputs=points())
def test_endless_pretraining_leaves_what_the_law_states(law, inputs):
    inputs["adapt_tokens"] = 1e3 * REFERENCE["adapt_tokens"] * np.ones(4)
    endless = {**inputs, "ptpp": np.full(4, 1e300)}
    at_reference = {**inputs, "ptpp": np.full(4, REFERENCE["ptpp"])}
    q = TARGET_PARAMS
    no_data = evaluate("dcpt", {**q, "B": 1e-300}, inputs)
    loss = evaluate(law, q, endless)
    if law == "floor":
        expected = evaluate(law, q, at_reference) - q["G"] / q["kappa"]
    elif law == "floor_tokens":
        expected = evaluate("dcpt", q, inputs) - q["G"] / q["kappa"]
    elif law == "gated":
        q = {**q, "delta": -0.5}
        loss, expected = evaluate(law, q, endless), no_data
        assert (evaluate(law, {**q, "delta": 0.5}, endless) > 1e20).all()
    elif law == "gated_floor":
        q = {**q, "delta": -0.5}
        loss, expected = evaluate(law, q, endless), no_data - q["G"] / q["kappa"]
    elif law == "exponent_gate":
        loss, expected = evaluate(law, {**q, "omega": -0.1}, endless), no_data
        assert (evaluate(law, {**q, "omega": 0.1}, endless) > 1e20).all()
    elif law == "transfer_offset":
        expected = evaluate("chinchilla", {**q, "B": 1e-300}, inputs)
    elif law == "saturating_gate":
        expected = evaluate("dcpt", {**q, "B": q["B"] * q["g_inf"]}, inputs)
    else:
        expected = evaluate(law, q, inputs)  # P is no input
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


@pytest.mark.parametrize("law", TARGET_LAWS)
@few
@given(inputs=points())
def test_without_replay_the_loss_is_finite_and_reached_smoothly(law, inputs):
    none = {**inputs, "share": np.ones(4), "replay": np.zeros(4)}
    little = {**inputs, "share": np.full(4, 1 - 1e-9), "replay": np.full(4, 1e-9)}
    loss = evaluate(law, TARGET_PARAMS, none)
    assert np.isfinite(loss).all()
    np.testing.assert_allclose(evaluate(law, TARGET_PARAMS, little), loss, rtol=1e-6)


@pytest.mark.parametrize("law", TARGET_LAWS)
@few
@given(inputs=points())
def test_replay_alone_leaves_what_the_law_states(law, inputs):
    alone = {**inputs, "share": np.full(4, 1e-300), "replay": np.ones(4)}
    if law in ("chinchilla", "tied"):
        np.testing.assert_array_equal(
            evaluate(law, TARGET_PARAMS, alone), evaluate(law, TARGET_PARAMS, inputs)
        )
    elif law in ("transfer_offset", "transfer_state"):
        before = {**inputs, "adapt_tokens": np.zeros(4), "share": np.zeros(4)}
        np.testing.assert_allclose(
            evaluate(law, TARGET_PARAMS, alone), evaluate(law, TARGET_PARAMS, before), rtol=1e-12
        )
    else:
        assert (evaluate(law, {**TARGET_PARAMS, "eta": -0.3}, alone) > 1e20).all()
        without = {**TARGET_PARAMS, "eta": 0.3}
        finite = evaluate(law, without, alone)
        no_data = evaluate(law, {**without, "B": 1e-300}, {**alone, "share": np.zeros(4) + 1e-300})
        if law == "state_without_offset":
            no_data = without["K"] * mix(without, np.zeros(4)) * state(without, inputs)
        np.testing.assert_allclose(finite, no_data, rtol=1e-9)


@pytest.mark.parametrize("law", SHARE_LAWS)
@few
@given(data=st.data())
def test_more_target_text_lowers_target_loss_where_eta_is_not_positive(law, data):
    theta, inputs = data.draw(thetas(law)), data.draw(points())
    names = get_law(law).names
    if "eta" in names:
        theta[names.index("eta")] = -abs(theta[names.index("eta")]) / 2
    before = get_law(law).predict(theta, inputs, REFERENCE)
    more = {**inputs, "share": np.sqrt(inputs["share"])}
    slack = 1e-9 * np.abs(before)
    assert (get_law(law).predict(theta, more, REFERENCE) <= before + slack).all()


PTPP_SIGNS = {  # by law: the parameters that make target loss fall with PTPP
    "floor": {"G": 0.3},
    "gated": {"delta": -0.2},
    "gated_floor": {"delta": -0.2, "G": 0.3},
    "exponent_gate": {"delta": -0.2, "omega": 0.0},
    "transfer_offset": {"pi": 0.3},
    "saturating_gate": {},
    "checkpoint_informed": {"lam": 0.5},
    "floor_tokens": {"G": 0.3},
    "state": {"lam": 0.5},
    "transfer_state": {"lam": 0.5},
    "state_without_offset": {"lam": 0.5},
}


def test_every_law_that_knows_of_pretraining_has_its_signs():
    known = [n for n in TARGET_LAWS if {"ptpp", "base_loss"} & set(get_law(n).inputs)]
    assert set(known) == set(PTPP_SIGNS)


@pytest.mark.parametrize("law", PTPP_SIGNS)
@few
@given(data=st.data())
def test_a_better_pretrained_model_has_the_lower_target_loss(law, data):
    theta, inputs = data.draw(thetas(law)), data.draw(points())
    if law in STATE_LAWS:  # a factor of what is positive where the share term is
        inputs["share"] = np.minimum(inputs["share"], REFERENCE["share"])
    for name, value in PTPP_SIGNS[law].items():
        theta[get_law(law).names.index(name)] = value
    before = get_law(law).predict(theta, inputs, REFERENCE)
    better = {**inputs, "ptpp": 3 * inputs["ptpp"], "base_loss": 0.8 * inputs["base_loss"]}
    slack = 1e-9 * np.abs(before)
    assert (get_law(law).predict(theta, better, REFERENCE) <= before + slack).all()
    if "ptpp" in get_law(law).inputs or "base_loss" in get_law(law).inputs:
        opposite = {"G": -0.3, "delta": 0.2, "pi": -0.3, "lam": -0.5}
        for name in set(opposite) & set(PTPP_SIGNS[law]):
            theta[get_law(law).names.index(name)] = opposite[name]
            sign = -1.0
        if set(opposite) & set(PTPP_SIGNS[law]):
            before = get_law(law).predict(theta, inputs, REFERENCE)
            after = get_law(law).predict(theta, better, REFERENCE)
            assert (sign * (after - before) <= 1e-9 * np.abs(before)).all()


@few
@given(inputs=points(), kappa=st.floats(0.05, 0.6))
def test_the_further_laws_contain_those_they_extend(inputs, kappa):
    gated = evaluate("gated", {**TARGET_PARAMS, "delta": -kappa}, inputs)
    q = {**TARGET_PARAMS, "omega": 0.0, "delta": -kappa, "g_inf": 0.0, "kappa": kappa, "lam": 0.0}
    np.testing.assert_allclose(evaluate("exponent_gate", q, inputs), gated, rtol=1e-12)
    np.testing.assert_allclose(evaluate("saturating_gate", q, inputs), gated, rtol=1e-12)
    dcpt = evaluate("dcpt", q, inputs)
    np.testing.assert_allclose(evaluate("checkpoint_informed", q, inputs), dcpt, rtol=1e-12)
    all_target = {**inputs, "share": np.ones(4)}
    no_worth = evaluate("transfer_offset", {**q, "tau": 1e-200}, all_target)
    np.testing.assert_allclose(no_worth, evaluate("chinchilla", q, all_target), rtol=1e-12)


@few
@given(inputs=points())
def test_the_laws_of_state_and_tokens_contain_those_they_extend(inputs):
    q, s0 = TARGET_PARAMS, REFERENCE["share"]
    np.testing.assert_allclose(
        evaluate("tied", q, inputs),
        evaluate("chinchilla", {**q, "beta": q["alpha"]}, inputs),
        rtol=1e-12,
    )
    dcpt = evaluate("dcpt", q, inputs)
    np.testing.assert_allclose(evaluate("state", {**q, "lam": 0.0}, inputs), dcpt, rtol=1e-12)
    np.testing.assert_allclose(evaluate("state", q, inputs), dcpt * state(q, inputs), rtol=1e-12)
    no_offset = {**q, "E": 0.0, "A": 1e-300, "B": q["K"], "S": q["K"] * q["S"]}
    np.testing.assert_allclose(
        evaluate("state_without_offset", q, inputs),
        evaluate("state", no_offset, inputs),
        rtol=1e-12,
    )
    # Without a worth of pre-training, the tokens of the target are s D.
    of_target = {**q, "eta": -q["beta"], "B": q["B"] * s0 ** -q["beta"]}
    np.testing.assert_allclose(
        evaluate("transfer_state", {**q, "tau": 1e-200}, inputs),
        evaluate("state", of_target, inputs),
        rtol=1e-12,
    )
    one_size = {**inputs, "n_params": np.full(4, REFERENCE["n_params"])}
    np.testing.assert_allclose(
        evaluate("floor_tokens", q, one_size), evaluate("floor", q, one_size), rtol=1e-12
    )
    # Twice the size at half the PTPP: as many tokens.
    doubled = {**inputs, "n_params": 2 * inputs["n_params"], "ptpp": inputs["ptpp"] / 2}
    floors = [evaluate("floor_tokens", q, x) - evaluate("dcpt", q, x) for x in (inputs, doubled)]
    np.testing.assert_allclose(*floors, rtol=1e-9, atol=1e-9)


def rewarmed(q, inputs):
    """W - w (L0 - L0r): what is left of forgetting without damage and gain."""
    return q["W"] - q["w"] * (inputs["zero_shot_loss"] - REFERENCE["zero_shot_loss"])


@few
@given(inputs=points())
def test_the_control_measures_rewarming_and_gain_alone(inputs):
    q, control = FORGETTING_PARAMS, {**inputs, "replay": np.ones(4)}
    gain = q["V"] * np.log1p(inputs["atpp"] / inputs["ptpp"])
    expected = rewarmed(q, inputs) - gain
    np.testing.assert_allclose(evaluate("forgetting", q, control), expected, atol=1e-9)


@few
@given(inputs=points())
def test_endless_pretraining_leaves_rewarming_and_the_damage(inputs):
    trained = {**inputs, "ptpp": np.full(4, 1e200)}
    q = {**FORGETTING_PARAMS, "gamma": -1.0, "b": -1.0, "d": 0.0, "q": 0.0}
    damage = q["S"] * (1 - inputs["replay"]) * inputs["atpp"] / REFERENCE["atpp"]
    expected = rewarmed(q, inputs) + damage
    np.testing.assert_allclose(evaluate("forgetting", q, trained), expected, rtol=1e-9, atol=1e-9)


@few
@given(inputs=points(), gamma=st.floats(0.05, 2))
def test_without_replay_the_law_with_replay_has_no_value(inputs, gamma):
    little = {**inputs, "replay": np.full(4, 1e-300)}
    assert (evaluate("forgetting", {**FORGETTING_PARAMS, "gamma": gamma}, little) > 1e6).all()
    law, table = get_law("forgetting"), pd.DataFrame({**inputs, "replay": np.zeros(4)})
    with pytest.raises(InputError, match="forgetting: replay is 0 in 4 of 4 rows; accepted are"):
        law_inputs(law, table)


@few
@given(data=st.data())
def test_replay_protects(data):
    law = get_law("forgetting")
    theta, inputs = data.draw(thetas("forgetting")), data.draw(points())
    inputs["replay"] = np.maximum(inputs["replay"], 1e-3)
    before = law.predict(theta, inputs, REFERENCE)
    slack = 1e-9 * (1 + np.abs(before))
    more = {**inputs, "replay": np.sqrt(inputs["replay"])}
    assert (law.predict(theta, more, REFERENCE) <= before + slack).all()


@few
@given(inputs=points(), m=st.floats(0.05, 2))
def test_without_replay_damage_begins_at_rewarming_and_grows_without_end(inputs, m):
    law, q = "forgetting_without_replay", {**WITHOUT_REPLAY_PARAMS, "m": m}
    start = {**inputs, "atpp": np.full(4, 1e-200)}
    np.testing.assert_allclose(evaluate(law, q, start), q["W"], atol=1e-4)
    before = evaluate(law, q, inputs)
    assert (evaluate(law, q, {**inputs, "atpp": 2 * inputs["atpp"]}) > before).all()
    assert (evaluate(law, q, {**inputs, "atpp": np.full(4, 1e300)}) > 1e6).all()


@few
@given(inputs=points())
def test_a_checkpoint_with_more_to_lose_loses_more_where_q_is_above_0(inputs):
    better = {**inputs, "zero_shot_loss": 0.9 * inputs["zero_shot_loss"]}
    for law, q in (
        ("forgetting", {**FORGETTING_PARAMS, "w": 0.0}),
        ("forgetting_without_replay", WITHOUT_REPLAY_PARAMS),
    ):
        assert q["q"] > 0
        inputs["replay"] = better["replay"] = np.clip(inputs["replay"], 0.01, 0.9)
        assert (evaluate(law, q, better) > evaluate(law, q, inputs)).all()


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
    with pytest.raises(
        InputError, match="'gate' is not known; accepted are chinchilla, tied, dcpt"
    ):
        get_law("gate")
    with pytest.raises(InputError, match=r"accepted are .*; did you mean 'gated_floor'[?]"):
        get_law("gated-flor")
