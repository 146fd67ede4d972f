"""The interactive planner in a real browser: the same numbers as Python, by mouse and keyboard.

Skipped, and said so, where there is no Chromium.
"""

import base64
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import yaml
from browser import CHROMIUM, DRIVER, MISSING, chromium, look, open_page, settle
from laws_grid import HELD_OUT, SIZES, observations
from pages import BASE_LOSSES, REQUEST, every_law, kriged_laws, make_page
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from ptpp.laws.base_loss import BaseLosses
from ptpp.planning import LawPlanner, complete_request
from ptpp.planning.forecast import Forecast, pair_rows
from ptpp.planning.front import pareto_front
from ptpp.planning.search import Mesh

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason=MISSING)

FITS, KRIGED = every_law(), kriged_laws()
NAMES = [f"{one.record.law}-{one.record.domain}" for one in FITS]
TARGETS = {one.record.law: one for one in FITS if not one.law.offset}
FORGETTING = {one.record.domain: one for one in FITS if one.law.offset}


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "planner.html"
    path.write_text(make_page(REQUEST, FITS), "utf-8")
    with chromium() as driver:
        look(driver, 1280, 1000)
        open_page(driver, path)
        yield driver


@contextmanager
def tab(driver, place, width=1280, height=1000):
    """Another page, by its file or link, in a tab of its own."""
    first = driver.current_window_handle
    driver.switch_to.new_window("tab")
    try:
        look(driver, width, height)
        driver.get(place if isinstance(place, str) else place.resolve().as_uri())
        settle(driver)
        yield
    finally:
        driver.close()
        driver.switch_to.window(first)


@pytest.fixture
def page(driver):
    """The page as it was configured."""
    look(driver, 1280, 1000)
    driver.execute_script("scrollTo(0, 0)")  # nothing to be clicked lies below the verdict there
    driver.find_element("id", "reset").click()
    settle(driver)
    return driver


def unfold(page):
    """Open every part of the controls."""
    page.execute_script("document.querySelectorAll('details').forEach((e) => (e.open = true))")


def found(page, name):
    settle(page)
    return page.execute_script(f"return planner.found.{name}")


def text(page, element):
    return page.find_element("id", element).text


def rows(n_params, ptpp, replay, atpp):
    one = np.ones(np.shape(atpp))
    columns = {"n_params": n_params * one, "ptpp": ptpp * one, "replay": replay * one}
    columns |= {"zero_shot_loss": 3.1 * one, "base_loss": 3.4 * one}
    return columns | {"atpp": atpp, "adapt_tokens": atpp * n_params}


def random_rows(count, least_replay=0.0):
    """Points within and far beyond what was measured, two of them where the bends cancel."""
    generator = np.random.default_rng(0)
    n_params, ptpp = 10 ** generator.uniform(4, 11, count), 10 ** generator.uniform(0, 4, count)
    replay, atpp = (
        generator.uniform(least_replay, 0.99, count),
        10 ** generator.uniform(-3, 3, count),
    )
    replay[0], ptpp[1] = 1 - 0.8, 22.0  # the reference share and PTPP
    replay[2] = least_replay
    return rows(n_params, ptpp, replay, atpp)


@pytest.mark.parametrize("number", range(len(FITS)), ids=NAMES)
def test_law_values_are_those_of_python(driver, number):
    fitted = FITS[number]
    table = random_rows(200, 0.01 if fitted.law.offset else 0.0)
    points = np.column_stack([table[c] for c in ("n_params", "ptpp", "replay", "atpp")])
    ask = """const [fit, draw, points] = arguments;
        const before = {base_loss: 3.4, zero_shot_loss: 3.1};
        return points.map(([n_params, ptpp, replay, atpp]) =>
          planner.value(fit, draw, {...before, n_params, ptpp}, replay, atpp))"""
    for draw in (None, 0, 15):
        params = fitted.params if draw is None else fitted.draws.params[[draw]]
        python = fitted.value_draws(table, params)[0]
        shown = driver.execute_script(ask, number, draw, points.tolist())
        np.testing.assert_allclose(shown, python, rtol=1e-9, atol=1e-9)


REQUESTS = {
    "feasible": {},
    "easy": {"target_loss": 5.0, "forgetting_limits": {"en": 3.0, "ar": 3.0}},
    "cannot be met": {"target_loss": 2.2},
    "contradictory": {"target_loss": 3.0, "forgetting_limits": {"en": 0.1, "ar": 0.1}},
    "forgetting alone cannot be met": {"forgetting_limits": {"en": -0.4, "ar": 0.6}},
    "at the greatest replay": {"forgetting_limits": {"en": 0.11, "ar": 0.6}},
    "a compute limit": {"target_loss": 2.9, "max_flops": 2e11},
    "no forgetting limit": {"forgetting_limits": {}, "target_within": 0.01},
}


@pytest.mark.parametrize("change", REQUESTS.values(), ids=REQUESTS)
def test_page_and_python_make_the_same_plan_and_name_the_same_limits(driver, change):
    request = replace(REQUEST, **change)
    asked = {
        "law": "gated_floor.with_anchors",
        "mode": "within" if request.target_loss is None else "target",
    }
    asked |= {"within": request.target_within, "target": request.target_loss or 2}
    asked |= {"forgetting": {d: request.forgetting_limits.get(d) for d in ("en", "ar")}}
    asked |= {"max_flops": request.max_flops}
    driver.execute_script("planner.set(arguments[0])", asked)
    plan = LawPlanner(request, TARGETS["gated_floor"], FORGETTING).plan()
    shown = found(driver, "point")
    assert shown["feasible"] is plan.feasible
    assert tuple(shown["binding"]) == plan.binding
    assert shown["replay"] == pytest.approx(plan.replay, abs=2e-4)
    assert shown["atpp"] == pytest.approx(plan.atpp, rel=2e-4)
    assert shown["shortfall"] == pytest.approx(plan.shortfall, abs=1e-6)
    if not plan.feasible:
        assert "No point keeps" in text(driver, "verdict")


@pytest.mark.parametrize("law", ["exponent_gate", "transfer_offset", "checkpoint_informed", "mine"])
def test_a_plan_is_that_of_python(page, law):
    page.execute_script("planner.set({law: arguments[0]})", f"{law}.with_anchors")
    shown, plan = found(page, "point"), LawPlanner(REQUEST, TARGETS[law], FORGETTING).plan()
    assert shown["feasible"] is plan.feasible is True
    assert shown["limit"] == pytest.approx(plan.target_loss_limit, abs=1e-6)
    assert shown["atpp"] == pytest.approx(plan.atpp, rel=1e-4)
    assert tuple(shown["binding"]) == plan.binding


@pytest.mark.parametrize(
    ("n_params", "ptpp", "source"), [(87000, 279, "measured"), (3e5, 100, "forecast")]
)
def test_a_base_loss_is_found_as_by_python_and_its_source_is_named(
    driver, tmp_path, n_params, ptpp, source
):
    laws = (TARGETS["checkpoint_informed"], *FORGETTING.values())
    unstated = replace(REQUEST, base_loss=None, zero_shot_losses={"ar": 3.0})
    unstated = replace(unstated, n_params=n_params, ptpp=ptpp)
    request = complete_request(unstated, laws, BASE_LOSSES)
    assert request.base_loss_source == source
    assert request.zero_shot_sources == {"ar": "given", "en": source}
    path = tmp_path / "planner.html"
    path.write_text(make_page(unstated, laws, "checkpoint_informed"), "utf-8")
    with tab(driver, path):
        driver.execute_script("planner.set({n_params: arguments[0]})", n_params)
        shown, plan = found(driver, "point"), LawPlanner(request, laws[0], FORGETTING).plan()
        assert shown["atpp"] == pytest.approx(plan.atpp, rel=1e-4)
        unfold(driver)
        stated = f"Base loss before adaptation: {request.base_loss:.4g} nats/token ({source})."
        assert stated in text(driver, "law-note")
        loss = request.zero_shot_losses["en"]
        for words in (
            f"Loss of en before adaptation: {loss:.4g} nats/token ({source}).",
            "Loss of ar before adaptation: 3 nats/token (given).",
            f"Searched: {request.replay_reason}.",
        ):
            assert words in text(driver, "law-note")


@pytest.fixture(scope="module")
def kriged_page(tmp_path_factory):
    """A page of kriged fits, and of one without a misfit, which opens on the first."""
    path = tmp_path_factory.mktemp("kriged") / "planner.html"
    path.write_text(make_page(REQUEST, KRIGED), "utf-8")
    with chromium() as driver:
        look(driver, 1280, 1000)
        open_page(driver, path)
        yield driver


@pytest.mark.parametrize("number", range(len(KRIGED)))
def test_a_kriged_forecast_and_its_spread_are_those_of_python(kriged_page, number):
    fitted = KRIGED[number]
    if fitted.misfit is None:
        return
    table = random_rows(200, 0.01 if fitted.law.offset else 0.0)
    at_m = rows(SIZES["m"], HELD_OUT, np.array([0.25]), np.array([4.0]))  # a measured cell
    table = {name: np.append(values, at_m[name]) for name, values in table.items()}
    points = np.column_stack([table[c] for c in ("n_params", "ptpp", "replay", "atpp")])
    ask = """const [fit, points] = arguments;
        return points.map(([n_params, ptpp, replay, atpp]) => planner.forecast(
          fit, {n_params, ptpp, base_loss: 3.4, zero_shot_loss: 3.1}, replay, atpp))"""
    shown = np.array(kriged_page.execute_script(ask, number, points.tolist()))
    loss, spread = fitted.forecast(table, noise=False)
    np.testing.assert_allclose(shown[:, 0], np.log(loss), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(shown[:, 1], spread, rtol=1e-9, atol=1e-9)


# Of kriged laws alone, and of one whose draws are refits among them.
KRIGED_PLANS = {
    "near the best": ("gated_floor", {}),
    "cannot be met": ("gated_floor", {"target_loss": 2.2}),
    "one limit": ("gated_floor", {"forgetting_limits": {"ar": 0.2}, "target_loss": 3.4}),
    "refits, a tight limit": ("floor", {"forgetting_limits": {"en": 0.11, "ar": 0.6}}),
}


@pytest.mark.parametrize(("law", "change"), KRIGED_PLANS.values(), ids=KRIGED_PLANS)
def test_kriged_plans_are_those_of_python(kriged_page, law, change):
    request, fits = replace(REQUEST, **change), {one.record.domain: one for one in KRIGED[-2:]}
    target = next(one for one in KRIGED if one.record.law == law)
    asked = {"mode": "within" if request.target_loss is None else "target"}
    asked |= {"target": request.target_loss or 2, "law": f"{law}.with_anchors"}
    asked |= {"forgetting": {d: request.forgetting_limits.get(d) for d in ("en", "ar")}}
    kriged_page.execute_script("planner.set(arguments[0])", asked)
    plans = LawPlanner(request, target, fits).plan_both()
    point, robust = found(kriged_page, "point"), found(kriged_page, "robust")
    assert point["feasible"] is plans.point.feasible
    assert tuple(point["binding"]) == plans.point.binding
    assert point["atpp"] == pytest.approx(plans.point.atpp, rel=2e-4)
    assert point["share"] == pytest.approx(plans.point.met, abs=0.011)
    assert robust["feasible"] is plans.robust.feasible
    assert robust["replay"] == pytest.approx(plans.robust.replay, abs=1e-6)
    assert robust["atpp"] == pytest.approx(plans.robust.atpp, rel=1e-6)
    assert robust["all"] == pytest.approx(plans.robust.met, abs=1e-12)
    values = kriged_page.execute_script(
        "return planner.values(arguments[0], arguments[1])", plans.robust.replay, plans.robust.atpp
    )
    expected = [plans.robust.target_loss, *plans.robust.forgetting.values()]
    ends = list(plans.robust.intervals.values())
    for shown, loss, (low, high) in zip(values, expected, ends, strict=False):
        told = [shown["value"], shown["low"], shown["high"]]
        np.testing.assert_allclose(told, [loss, low, high], rtol=1e-9)


def test_a_checkpoint_whose_base_loss_nothing_tells_gets_no_robust_plan(driver, tmp_path):
    path = tmp_path / "planner.html"
    fits = [KRIGED[1], *KRIGED[-2:]]
    unstated = replace(REQUEST, base_loss=None, n_params=SIZES["m"])
    path.write_text(make_page(unstated, fits, "state"), "utf-8")
    with tab(driver, path):
        assert "Robust plan: give" in text(driver, "verdict")
        driver.execute_script("planner.set({n_params: 60000})")
        settle(driver)
        assert text(driver, "verdict").startswith("Measure the checkpoint's base loss first.")
        driver.execute_script("planner.set({base_loss: 3.4})")
        assert found(driver, "robust") is not None


def test_the_spread_of_a_forecast_base_loss_widens_a_forecast_as_in_python(driver, tmp_path):
    table = observations(noise=0.01)
    table["n_params"] = table["n_params"] * 1e4  # no longer tiny
    losses = BaseLosses(table.assign(adapt_tokens=table["atpp"] * table["n_params"]), "fr")
    request = replace(REQUEST, base_loss=None, n_params=3e9, ptpp=500)
    request = complete_request(request, [KRIGED[1]], losses)
    assert 0 < request.base_loss_spread < np.inf
    path = tmp_path / "planner.html"
    unstated = replace(request, base_loss=None, forgetting_limits={})
    fits = [KRIGED[1], *KRIGED[-2:]]
    path.write_text(make_page(unstated, fits, "state", losses), "utf-8")
    forecast = Forecast.of(replace(request, forgetting_limits={}), KRIGED[1], {})
    log_loss, spread = forecast._krige("target_loss", np.array([0.2]), np.log([4.0]))
    with tab(driver, path):
        ask = "return planner.forecast(0, modelOf(planner.state, data.fits[0]), 0.2, 4)"
        driver.execute_script("planner.set({n_params: 3e9, ptpp: 500})")
        shown = driver.execute_script(ask)
        np.testing.assert_allclose(shown, [log_loss[0], spread[0]], rtol=1e-9)


def test_what_would_make_a_robust_plan_feasible_is_that_of_python(kriged_page):
    request = replace(REQUEST, target_loss=2.9)
    fits = {one.record.domain: one for one in KRIGED[-2:]}
    asked = {"mode": "target", "target": 2.9, "law": "gated_floor.with_anchors"}
    asked |= {"forgetting": dict(request.forgetting_limits)}
    kriged_page.execute_script("planner.set(arguments[0])", asked)
    shown = found(kriged_page, "relaxed")
    python = LawPlanner(request, KRIGED[0], fits).relax(robust=True)
    assert [one["limit"] for one in shown] == [one.limit for one in python]
    needed = [np.nan if one["needed"] is None else one["needed"] for one in shown]
    np.testing.assert_allclose(needed, [one.needed for one in python], rtol=1e-3)
    assert "No plan keeps every limit" in text(kriged_page, "verdict")
    assert f"target loss {python[0].needed:.3g} instead of 2.9" in text(kriged_page, "verdict")


def member(name):
    return TARGETS.get(name) or FORGETTING[name]


def at_draw(fitted, draw):
    """The fit that has a draw's parameters."""
    params = dict(zip(fitted.law.names, fitted.draws.params[draw].tolist(), strict=True))
    return replace(fitted, record=replace(fitted.record, params=params))


def share_kept(limits, replay, atpp):
    """In how many of the paired draws all limits hold, by Python, at points of one shape."""
    table = rows(REQUEST.n_params, REQUEST.ptpp, np.ravel(replay), np.ravel(atpp))
    names = ["gated_floor", *REQUEST.forgetting_limits]
    order = dict(zip(names, pair_rows([member(name).draws for name in names]), strict=True))
    kept = TARGETS["gated_floor"].value_draws(table) <= limits[:, None] + 1e-7
    for domain, most in REQUEST.forgetting_limits.items():
        params = FORGETTING[domain].draws.params[order[domain]]
        one = np.full(len(table["atpp"]), REQUEST.zero_shot_losses[domain])
        forgetting = FORGETTING[domain].value_draws(table | {"zero_shot_loss": one}, params)
        kept &= forgetting <= most + 1e-7
    return kept.mean(axis=0).reshape(np.shape(atpp))


@pytest.mark.parametrize(("mode", "level"), [("within", 0.6), ("within", 0.9), ("target", 0.8)])
def test_the_robust_plan_holds_in_enough_draws_and_nothing_cheaper_does(page, mode, level):
    page.execute_script("planner.set({mode: arguments[0], level: arguments[1]})", mode, level)
    page.execute_script("planner.set({target: 3.5})")
    robust, limits = (
        found(page, "robust"),
        np.array(found(page, "limits && [...planner.found.limits]")),
    )
    assert robust["feasible"] and (mode == "within" or (limits == 3.5).all())
    point = np.array([robust["replay"]]), np.array([robust["atpp"]])
    assert share_kept(limits, *point)[0] >= level - 1e-12
    assert robust["all"] == pytest.approx(share_kept(limits, *point)[0], abs=1e-12)
    replay, atpp = np.meshgrid(
        np.linspace(REQUEST.least_replay, 0.95, 200),
        np.geomspace(REQUEST.min_atpp, robust["atpp"] * 0.995, 200),
    )
    assert (share_kept(limits, replay, atpp) < level).all()


def test_near_the_best_means_near_each_draws_own_best(page):
    limits = found(page, "limits && [...planner.found.limits]")
    names = ["gated_floor", *REQUEST.forgetting_limits]
    order = pair_rows([member(name).draws for name in names])
    for draw in (0, 11):
        target, en, ar = (
            at_draw(member(name), place[draw]) for name, place in zip(names, order, strict=True)
        )
        plan = LawPlanner(REQUEST, target, {"en": en, "ar": ar}, mesh=Mesh(60)).plan()
        assert limits[draw] == pytest.approx(plan.target_loss_limit, abs=1e-4)


def test_sliders_move_by_keyboard(page):
    page.execute_script("planner.set({forgetting: {en: 0.2, ar: 0.6}})")
    before = found(page, "point.atpp")
    unfold(page)
    slider = page.find_element("id", "forgetting_en")
    slider.send_keys(Keys.ARROW_RIGHT * 10)
    assert page.execute_script("return planner.state.forgetting.en") == pytest.approx(0.3)
    assert "0.3 nats" in slider.get_attribute("aria-valuetext")
    assert found(page, "point.limit") is not None and found(page, "point.atpp") != before


def test_numbers_can_be_typed_and_nonsense_changes_nothing(page):
    field = page.find_element("id", "n_params-number")
    field.clear()
    field.send_keys("8.1B\n")
    assert page.execute_script("return planner.state.n_params") == 8.1e9
    settle(page)
    said = text(page, "extrapolation")
    assert said.startswith("Very far beyond") and "N is 93 k × the largest measured" in said
    field.clear()
    field.send_keys("many\n")
    assert field.get_attribute("aria-invalid") == "true"
    assert page.execute_script("return planner.state.n_params") == 8.1e9


def test_a_click_on_the_map_shows_what_is_there(page):
    place = page.find_element("css selector", "#map .pointer")
    ActionChains(page).move_to_element(place).click().perform()
    settle(page)
    replay, atpp = page.execute_script("return [planner.state.replay, planner.state.atpp]")
    assert replay == pytest.approx(0.5, abs=0.02)
    table = rows(REQUEST.n_params, REQUEST.ptpp, np.array([replay]), np.array([atpp]))
    loss = TARGETS["gated_floor"].value(table)[0]
    assert "Your point" in text(page, "numbers")
    assert f"{loss:.4g}" in text(page, "numbers")


def test_a_limit_is_lifted_with_its_box_and_the_plan_gets_no_dearer(page):
    page.execute_script("planner.set({mode: 'target', target: 3.1})")
    before = found(page, "point.atpp")
    unfold(page)
    page.find_element("id", "forgetting_en-limited").click()
    assert found(page, "point.atpp") <= before * (1 + 1e-9)
    assert not page.find_element("id", "forgetting_en").is_enabled()


def test_a_budget_below_the_least_tokens_is_named(page):
    unfold(page)
    field = page.find_element("id", "max_atpp-number")
    field.clear()
    field.send_keys("0.1\n")
    assert "The budget ends at ATPP 0.1" in text(page, "verdict")


def test_what_is_measured_carries_no_warning_and_what_is_not_does(page):
    page.find_element("id", "inside").click()
    settle(page)
    assert text(page, "extrapolation") == ""
    for ptpp, words in ((400, "Beyond"), (1000, "Far beyond"), (9000, "Very far beyond")):
        page.execute_script("planner.set({ptpp: arguments[0]})", ptpp)
        said = text(page, "extrapolation")
        assert said.startswith(f"{words} what was measured: PTPP is {ptpp / 279:.2g} × the largest")


def test_every_control_has_a_name_and_is_reached_by_tab(page):
    unnamed = page.execute_script(
        """return [...document.querySelectorAll("input, select, button")].filter((each) =>
        !each.labels?.length && !each.getAttribute("aria-labelledby") && !each.textContent.trim()
        ).map((each) => each.id)"""
    )
    assert unnamed == []
    page.find_element("id", "law").click()
    ActionChains(page).send_keys(Keys.ESCAPE, Keys.TAB).perform()
    assert page.switch_to.active_element.get_attribute("id") == "reset"


def test_a_phone_shows_it_all_without_scrolling_sideways(page):
    look(page, 360, 740)
    beyond = """return [...document.querySelectorAll("#map svg, fieldset, select, .row")]
        .filter((each) => each.getBoundingClientRect().right > 360).length"""
    WebDriverWait(page, 10).until(
        lambda p: p.execute_script(beyond) == 0
    )  # plots follow in a while
    assert page.execute_script("return document.documentElement.scrollWidth") <= 360


def test_dark_mode_changes_page_and_plots(page):
    ink = "return getComputedStyle(document.querySelector('#map .across')).fill"
    light = page.execute_script(ink)
    look(page, 1280, 1000, "dark")
    settle(page)
    assert page.execute_script(ink) != light
    paper = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(20, 23, 26)"


def test_a_report_can_show_it_in_a_frame_by_a_data_url(driver, page):
    document = make_page(REQUEST, FITS).encode()
    url = "data:text/html;charset=utf8;base64," + base64.b64encode(document).decode()
    driver.switch_to.new_window("tab")
    try:
        driver.execute_script(
            """const frame = document.createElement("iframe");
            frame.src = arguments[0];
            document.body.append(frame)""",
            url,
        )
        driver.switch_to.frame(driver.find_element("tag name", "iframe"))
        settle(driver)
        assert "Cheapest plan" in driver.page_source
    finally:
        driver.close()
        driver.switch_to.window(driver.window_handles[0])


def test_it_loads_nothing_and_complains_of_nothing(page):
    assert page.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert [entry for entry in page.get_log("browser") if entry["level"] != "INFO"] == []
    assert page.title == "Adaptation planner"


def test_the_map_is_walked_by_keyboard_and_left_by_escape(page):
    place = page.find_element("id", "map")
    place.send_keys(Keys.ARROW_RIGHT * 3 + Keys.ARROW_DOWN)
    moved = page.execute_script("return [planner.state.replay, planner.state.atpp]")
    plan = page.execute_script("const p = planner.found.robust; return [p.replay, p.atpp]")
    assert moved[0] == pytest.approx(plan[0] + 0.03)
    assert moved[1] == pytest.approx(plan[1] * np.exp(-0.05))
    place.send_keys(Keys.ESCAPE)
    assert page.execute_script("return planner.state.replay") is None


def test_a_link_opens_the_same_state(page):
    page.execute_script("planner.set({within: 0.3, forgetting: {en: 0.4, ar: null}})")
    plan, link = found(page, "robust.atpp"), page.execute_script("return asText('link')")
    with tab(page, link):
        assert found(page, "robust.atpp") == plan


def test_what_is_asked_for_is_taken_along(page):
    page.execute_script("planner.set({n_params: 70000, mode: 'target', target: 3.3})")
    unfold(page)
    page.find_element("id", "copy-command").click()
    command = page.find_element("id", "copied").get_attribute("value")
    for part in ("plan TABLE.csv", "--n-params 70000", "--target-loss 3.3", "--limit en=0.5"):
        assert part in command
    page.find_element("id", "copy-yaml").click()
    section = yaml.safe_load(page.find_element("id", "copied").get_attribute("value"))["plan"]
    assert section["forgetting"] == {"en": 0.5, "ar": 0.6} and section["target_loss"] == 3.3
    settle(page)
    head, *lines = page.execute_script("return asTable()").split()
    assert head == "replay,atpp,target_loss,forgetting_en,forgetting_ar,share_of_draws"
    assert len(lines) == 41 * 41
    page.execute_script("window.saved = null; save = (...all) => (window.saved = all)")
    page.find_element("id", "save-png").click()
    WebDriverWait(page, 10).until(lambda p: p.execute_script("return window.saved !== null"))
    assert page.execute_script("return saved[2].size") > 10_000


def test_the_pareto_front_is_that_of_python(page):
    page.execute_script("planner.set({law: 'gated_floor.with_anchors'})")
    settle(page)
    shown = page.execute_script("return paretoFront(planner.found.space)")
    python = pareto_front(REQUEST, TARGETS["gated_floor"], FORGETTING)
    for ours, theirs in (("replay", "replay"), ("atpp", "atpp"), ("loss", "target_loss")):
        np.testing.assert_allclose([at[ours] for at in shown], python[theirs], rtol=1e-9)


def test_the_map_shows_what_was_measured_and_stays_in_sight_on_a_phone(driver, tmp_path):
    path = tmp_path / "planner.html"
    fits = [KRIGED[1], *KRIGED[-2:]]
    asked = replace(REQUEST, n_params=SIZES["m"])
    path.write_text(make_page(asked, fits, "state"), "utf-8")
    with tab(driver, path, 390, 844):
        cells = driver.find_elements("css selector", "#map .cell")
        assert len(cells) == 4 * 5 and all(one.get_attribute("fill") != "none" for one in cells)
        top = "byId(id).getBoundingClientRect().top"
        tops = driver.execute_script(f"return ['verdict', 'map', 'first'].map((id) => {top})")
        assert tops == sorted(tops)
        driver.execute_script("byId('budget').scrollIntoView()")
        assert driver.execute_script("return byId('map').getBoundingClientRect().bottom") > 200
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 390
