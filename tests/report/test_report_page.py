"""The report's page: its numbers are those of the tables, and it can be read in a real browser."""

import base64
import re
from itertools import pairwise, product
from pathlib import Path
from shutil import copyfile

import numpy as np
import pandas as pd
import pytest
import yaml
from browser import CHROMIUM, DRIVER, MISSING, chromium, look
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from ptpp.errors import InputError
from ptpp.report import figures
from ptpp.report.figures.forecast import forecast, middle_cell
from ptpp.report.figures.pareto import pareto
from ptpp.report.names import name_stages
from ptpp.report.page import Report, Run, find, make_reachable, report_page, summary
from ptpp.report.page.findings import digits, percent, plan_sentences
from ptpp.report.page.tables import Column, digits_of_noise, read_errors, read_shown

ROOT = Path(figures.__file__).parents[3]
SIZES = {"w16": 16832, "w32": 45952, "w48": 87360}
STAGES, REPLAYS, ATPPS = (15.0, 31.0, 279.0), (0.0, 0.1, 0.25), (1.0, 4.0, 16.0)
ANCHORS = {("w16", 0.1, 4.0), ("w32", 0.0, 1.0)}
COMMAND = "snakemake --cores 2 --config observations=losses.csv scale=mine"
SENTENCES = {"early": 0.0388, "baseline": 0.0756, "last_stage": 0.0548, "zero_shot": 0.0146}
SENTENCES |= {"baseline_kriged": 0.061, "anchors": 0.0053, "noise": 0.006}


def observation_table():
    rows = []
    for (size, n), ptpp in product(SIZES.items(), STAGES):
        base = 2 + 12 * n**-0.25 + 0.9 * ptpp**-0.4
        cells = [(0.0, 0.0), *product(REPLAYS, ATPPS)]
        for (replay, atpp), domain in product(cells, ("fr", "en")):
            loss = base + (
                0.4 * max(atpp, 0.5) ** -0.5 if domain == "fr" else 0.3 * (1 - replay) * (atpp > 0)
            )
            row = {"run": f"{size}-{ptpp:g}-{replay}", "size": size, "n_params": n, "ptpp": ptpp}
            row |= {"replay": replay, "atpp": atpp, "adapt_tokens": atpp * n, "domain": domain}
            rows.append(row | {"loss": loss, "seed": 0})
    return pd.DataFrame(rows)


def prediction_table(law="state", off=0.01, half_width=0.05):
    """Kriged forecasts of one law that are `off` at the held-out stage, and rows without ends."""
    table = observation_table()
    cells = table[(table["domain"] == "fr") & (table["atpp"] > 0)].reset_index(drop=True)
    cells["observed"] = cells.pop("loss")
    late = cells["ptpp"] == STAGES[-1]
    parts = []
    for protocol, share in (("early_to_late", 1.0), ("with_anchors", 0.2)):
        keys = zip(cells["size"], cells["replay"], cells["atpp"], strict=True)
        anchored = np.array([key in ANCHORS for key in keys]) & (protocol == "with_anchors")
        loss = cells["observed"] * (1 + share * off * late)
        width = np.where(late, share * half_width, 0.002)
        rows = cells.assign(
            law=law, protocol=protocol, forecast="kriged",
            information="anchors" if protocol == "with_anchors" else "zero_shot",
            role=np.where(late & ~anchored, "held_out", "fit"),
            predicted=loss, low=loss * (1 - width), high=loss * (1 + width),
        )  # fmt: skip
        parts.append(rows)
    blind = parts[0].assign(information="early", low=np.nan, high=np.nan, predicted=9.0)
    alone = parts[0].assign(forecast="law", predicted=8.0)
    return pd.concat([*parts, blind, alone], ignore_index=True)


def score_table():
    rows = [
        ("dcpt", "early_to_late", "early", "law", SENTENCES["baseline"]),
        ("dcpt", "early_to_late", "early", "kriged", SENTENCES["baseline_kriged"]),
        ("floor", "early_to_late", "early", "law", 0.08),
        ("floor", "early_to_late", "early", "kriged", SENTENCES["early"]),
        ("state", "early_to_late", "zero_shot", "law", 0.017),
        ("state", "early_to_late", "zero_shot", "kriged", SENTENCES["zero_shot"]),
        ("last_stage", "early_to_late", "early", "law", SENTENCES["last_stage"]),
        ("dcpt", "with_anchors", "anchors", "law", 0.0758),
        ("state", "with_anchors", "anchors", "kriged", SENTENCES["anchors"]),
    ]
    names = ["law", "protocol", "information", "forecast", "mae_rel"]
    table = pd.DataFrame(rows, columns=names)
    other = table.assign(domain="en", mae_rel=1e-4)  # of another domain: never told
    table = pd.concat([table.assign(domain="fr"), other], ignore_index=True)
    return table.assign(n_held_out=9, calibration_slope=1.0, noise_floor=SENTENCES["noise"])


def plan_table(replay, atpp, met, sizes=((87360, 1.0), (8.1e9, 92_720.0))):
    rows = [
        {"law": law, "n_params": n, "ptpp": 279, "replay": replay, "atpp": atpp, "met": met,
         "adapt_tokens": atpp * n, "flops": 6 * atpp * n**2, "target_loss": 2.957, "feasible": True,
         "times_largest": times}
        for law, (n, times) in product(("floor", "state"), sizes)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def config():
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    return config | {"observations": "losses.csv", "arguments": "", "scale": "mine"}


def make_results(folder):
    """The files of a run that the page's first sections read."""
    for name in ("tables", "plan", "figures"):
        (folder / name).mkdir(parents=True)
    observation_table().to_csv(folder / "observations.csv", index=False)
    anchors = pd.DataFrame(sorted(ANCHORS), columns=["size", "replay", "atpp"])
    anchors.to_csv(folder / "anchors.csv", index=False)
    score_table().to_csv(folder / "tables" / "scores.csv", index=False)
    plan_table(0.281, 12.12, 0.01).to_csv(folder / "plan" / "plan.csv", index=False)
    plan_table(0.296, 13.2, 0.9).to_csv(folder / "plan" / "robust.csv", index=False)
    planner = "<!DOCTYPE html><title>\"Planner\"</title><p id='inside'>works & is quoted</p>"
    (folder / "plan" / "planner.html").write_text(planner)
    figures.save(forecast(prediction_table(), "state", "fr"), folder / "figures" / "forecast.png")
    return folder


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return make_results(tmp_path_factory.mktemp("run") / "mine")


@pytest.fixture(scope="module")
def made(results, config):
    run = Run(config, "state", COMMAND, "0123456789ab")
    return report_page(results, ROOT / "report", run)


# --- the figure


def test_the_forecast_shows_a_panel_per_size_with_the_errors_of_both_fans():
    figure = forecast(prediction_table(off=0.013), "state", "fr")
    titles = [axis.get_title() for axis in figure.axes]
    assert [title.split(" ")[0] for title in titles] == list(SIZES)
    assert all("1.3 % off, 0.3 % with anchors" in title for title in titles[1:])
    assert figure.get_size_inches()[0] <= figures.WIDTH
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "forecast from PTPP 15 and 31, and the checkpoint's base loss" in labels
    assert not any("outside" in label for label in labels)


def test_fans_end_at_the_informed_kriged_forecast_and_points_are_measurements():
    table = prediction_table(off=0.02)
    replay, atpp = middle_cell(table)
    figure = forecast(table, "state", "fr")
    shown = table[(table["replay"] == replay) & (table["atpp"] == atpp) & (table["size"] == "w48")]
    here = shown[(shown["information"] == "zero_shot") & (shown["forecast"] == "kriged")]
    lines = [line.get_ydata() for line in figure.axes[-1].lines]
    assert any(np.array_equal(line, here["predicted"]) for line in lines)
    assert any(np.array_equal(line, here["observed"][:2]) for line in lines)
    assert figure.axes[-1].get_ylim()[1] < 8


def test_a_measurement_outside_of_its_interval_is_hollow_and_named():
    figure = forecast(prediction_table(off=0.1, half_width=0.01), "state", "fr")
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "held out, outside of it" in labels
    diamonds = [line for line in figure.axes[0].lines if line.get_marker() == "D"]
    assert [line.get_markerfacecolor() for line in diamonds if len(line.get_xdata())] == ["white"]


def test_the_cell_shown_is_in_the_middle_of_the_grid_and_no_anchor_where_one_is_free():
    table = prediction_table()
    assert middle_cell(table) == (0.1, 4.0)  # the only inner cell, although once an anchor
    late = table[(table["role"] == "held_out") & (table["replay"] > 0)]
    assert middle_cell(late[late["atpp"] > 1])[0] in (0.1, 0.25)


@pytest.mark.parametrize(
    ("stages", "text"),
    [([15.0], "15"), ([15.0, 31.0], "15 and 31"), ([2.0, 4.0, 8.0], "2, 4 and 8"),
     ([8, 15, 31, 62, 124], "8 to 124 (5 stages)")],
)  # fmt: skip
def test_many_stages_are_named_by_their_ends(stages, text):
    assert name_stages(stages) == text


def test_one_protocol_is_enough():
    table = prediction_table()
    figure = forecast(table[table["protocol"] == "with_anchors"], "state", "fr")
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[0] == "forecast with anchors at PTPP 279"


def test_a_law_that_forecasts_nothing_is_named():
    with pytest.raises(InputError, match="the law 'gated' forecasts no held-out cell of 'fr'"):
        forecast(prediction_table(), "gated", "fr")


def front_table():
    rows = [
        {"law": law, "replay": replay, "atpp": atpp, "flops": 6 * atpp * 87360**2,
         "target_loss": 3 + replay / 2 - np.log(atpp) / 10, "worst_forgetting": 1 - replay,
         "forgetting_en": 1 - replay, "forgetting_en_high": 9.0}
        for law, atpp, replay in product(("floor", "state"), (1.0, 4.0, 16.0), (0.1, 0.5, 0.9))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_the_front_has_a_line_per_budget_and_the_robust_plan_of_the_measured_model():
    robust = plan_table(0.3, 13.2, 0.9).assign(
        forgetting_en=0.45, forgetting_en_high=0.6, forgetting_en_limit=0.5
    )
    robust.loc[robust["n_params"] > 1e6, "forgetting_en"] = 0.2
    figure = pareto(front_table(), robust, "state", "fr", 0.5)
    lines = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [len(line.get_xdata()) for line in lines] == [3, 3, 3]
    assert lines[0].get_xdata().tolist() == pytest.approx([0.9, 0.5, 0.1])
    star = next(line for line in figure.axes[0].lines if line.get_marker() == "*")
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (0.45, 2.957)
    none = pareto(front_table(), robust.assign(feasible=False), "state", "fr", None)
    assert "*" not in [line.get_marker() for line in none.axes[0].lines]
    with pytest.raises(InputError, match="no front of the law 'gated'"):
        pareto(front_table(), robust, "gated", "fr", 0.5)


# --- numbers and sentences


@pytest.mark.parametrize(
    ("value", "text"),
    [(2.2456, "2.2"), (0.5337, "0.53"), (9.97, "10"), (12.3, "12"), (0.6, "0.60"), (0.0, "0"),
     (1234.0, "1\u202f200"), (-0.0234, "-0.023")],
)  # fmt: skip
def test_numbers_have_two_digits(value, text):
    assert digits(value) == text


@pytest.mark.parametrize(("sd", "places"), [(0.018, 2), (0.0042, 3), (0.3, 1), (float("nan"), 3)])
def test_losses_end_at_the_first_digit_of_their_noise(sd, places):
    assert digits_of_noise(sd) == places


def test_findings_are_the_best_scores_of_the_target_by_what_was_known():
    found = find(score_table(), "fr", "state", 279, STAGES[:2], 2)
    errors = {name: each.error for name, each in found.best.items()}
    assert errors == {name: SENTENCES[name] for name in ("early", "zero_shot", "anchors")}
    assert (found.baseline.error, found.last_stage.error) == (0.0756, 0.0548)
    assert found.best["early"].name == "Form 1 (floor), kriged"
    assert found.baseline_kriged.error == 0.061
    assert found.tried == {"early": 3, "zero_shot": 2, "anchors": 1}
    assert found.chosen["early"] is None and found.chosen["anchors"].law == "state"


def test_five_lines_tell_the_run():
    found = find(score_table(), "fr", "state", 279, STAGES[:2], 2)
    plan = plan_sentences(plan_table(0.281, 12.12, 0.01), plan_table(0.296, 13.2, 0.9), "state")
    assert summary(Report("", found, plan), "results/mine/report.html") == [
        "fr loss at PTPP 279: baseline D-CPT is 7.6 % off (6.1 % kriged), last stage unchanged "
        "5.5 %",
        "best without anchors: 1.5 % (state, kriged)",
        "best with 2 anchors: 0.53 % (state, kriged); seed noise of one run: 0.60 %",
        "plan: N = 87.4k at PTPP 279: give 30 % of the tokens to replay and read 13 tokens per "
        "parameter (1.2M tokens, 6.0e11 FLOPs): keeps all limits in 90 % of the draws.",
        "open results/mine/report.html",
    ]


def test_a_larger_model_says_first_how_far_it_is_and_comes_after_the_measured_one():
    plan = plan_sentences(plan_table(0.281, 12.12, 0.01), plan_table(0.296, 13.2, 0.9), "state")
    assert plan.others[0].startswith("N = 87.4k at PTPP 279: the cheapest by the point forecast")
    beyond = "N = 8.1B at PTPP 279, 93\u202f000 times the largest measured model: give 30 %"
    assert plan.others[1].startswith(beyond)


def test_a_plan_without_draws_says_why():
    point = plan_table(0.05, 4.9, np.nan).assign(note="no interval: measure the base loss first")
    robust = plan_table(0.3, 16.0, np.nan).assign(feasible=False)
    plan = plan_sentences(point, robust, "state")
    assert plan.main.endswith("FLOPs): no interval: measure the base loss first.")


def test_plans_that_keep_no_limit_say_so():
    none = plan_table(0.3, 16.0, 0.0).assign(feasible=False, note="measure the base loss first")
    plan = plan_sentences(none, none, "state")
    assert plan.main == (
        "N = 87.4k at PTPP 279: no plan keeps all limits (measure the base loss first)."
    )


# --- tables


def test_tables_show_chosen_columns_rounded_and_sort_by_what_the_file_says(tmp_path):
    frame = pd.DataFrame(
        {"law": ["floor", None], "mae_rel": [0.012345, np.nan], "loss": [2.956, 3]}
    )
    frame.to_csv(tmp_path / "one.csv", index=False)
    columns = (Column("law", "law"), Column("mae_rel", "error", "percent"),
               Column("loss", "loss", "loss"), Column("absent", "absent", "count"))  # fmt: skip
    table = read_shown(tmp_path, "one.csv", "One", columns, 2)
    assert [column.name for column in table.columns] == ["law", "mae_rel", "loss"]
    assert [cell.text for cell in table.rows[0]] == ["floor", "1.2", "2.96"]
    assert [cell.key for cell in table.rows[0]] == ["floor", "0.012345", "2.956"]
    assert [cell.text for cell in table.rows[1]] == ["–", "–", "3.00"]
    assert read_shown(tmp_path, "none.csv", "None", columns, 2) is None


# --- the page


def test_parts_that_a_run_lacks_are_left_out(tmp_path, config):
    observation_table().to_csv(tmp_path / "observations.csv", index=False)
    measured = config | {"held_out": {"ptpp": None, "anchors": config["held_out"]["anchors"]}}
    report = report_page(tmp_path, ROOT / "report", Run(measured, "state", COMMAND))
    assert report.findings is None and report.plan is None
    assert re.findall(r'<section id="(\w+)"', report.html) == ["finding", "sweep", "run"]
    assert "This run measures only" in report.html
    assert "How it was made, how to make it again</h2>" in report.html
    assert summary(Report("", None, None), "here") == ["open here"]


def test_a_plan_that_was_carried_out_is_told_where_this_run_did_it(results, config):
    rows = [("fr", 2.9, 2.8, 3.0, 2.95, True), ("en", 3.1, 3.05, 3.15, 3.2, False)]
    names = ["domain", "predicted", "lower", "upper", "measured", "inside"]
    table = pd.DataFrame(rows, columns=names).assign(
        relative_error=-0.017, limit=[3.0, np.nan], kept=[True, None], law="state", kind="robust",
        size="w48", seed=0, n_params=87360, ptpp=279, replay=0.296, atpp=13.2,
    )  # fmt: skip
    (results / "applied").mkdir()
    table.to_csv(results / "applied" / "comparison.csv", index=False)
    run = Run(config, "state", COMMAND, applied=True)
    report = report_page(results, ROOT / "report", run)
    assert report.applied == (
        "w48 (seed 0) at PTPP 279, adapted as the robust plan by state has it (replay 29.6 %, 13.2 "
        "tokens per parameter): fr 2.95 nats, forecast 2.9; en 3.2 nats, forecast 3.1. 1 of 2 "
        "losses within their intervals, 1 of 1 limits kept."
    )
    assert report.applied in report.html and 'id="applied-comparison"' in report.html
    assert f"carried out: {report.applied}" in summary(report, "here")
    html = report_page(results, ROOT / "report", Run(config, "state", COMMAND)).html
    assert "applied" not in html, "another run of that folder did"


def test_tables_call_laws_and_protocols_as_readers_do(tmp_path):
    frame = pd.DataFrame({"law": ["gated_floor", "mine_too"], "protocol": "early_to_late"})
    frame.to_csv(tmp_path / "one.csv", index=False)
    columns = (Column("law", "law", "law"), Column("protocol", "protocol", "protocol"))
    table = read_shown(tmp_path, "one.csv", "One", columns, 2)
    texts = [[cell.text for cell in row] for row in table.rows]
    assert texts == [["Form 3 (gated+floor)", "without anchors"], ["mine too", "without anchors"]]
    assert not any(column.is_number for column in columns)


def test_profiles_and_errors_by_input_are_a_supplement_at_the_end(tmp_path, config):
    folder = make_results(tmp_path / "mine")
    for name in ("profile", "residuals_by_input"):
        copyfile(folder / "figures" / "forecast.png", folder / "figures" / f"{name}.png")
    html = report_page(folder, ROOT / "report", Run(config, "state", COMMAND)).html
    assert re.findall(r'<section id="(\w+)"', html)[-2:] == ["run", "supplement"]
    last = html[html.index('<section id="supplement"') :]
    assert re.findall(r'<figure class="item" id="([\w-]+)"', last) == [
        "figures-profile", "figures-residuals_by_input",
    ]  # fmt: skip


def test_texts_of_tables_and_configuration_stay_texts(results, config):
    hostile = "<script>alert(1)</script>"
    named = config | {"observations": hostile}
    html = report_page(results, ROOT / "report", Run(named, "state", hostile)).html
    assert hostile not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


def test_the_page_is_small_and_asks_for_nothing_outside(made):
    assert len(made.html) < 8_000_000
    asked = re.findall(r'(?:src|href)="(?!data:|#)([^"]{1,200})"', made.html)
    assert {"tables/scores.csv", "plan/planner.html", "provenance.html"} <= set(asked)
    assert not [address for address in asked if "//" in address]


def test_provenance_has_to_be_a_page():
    with pytest.raises(InputError, match="no </head>"):
        make_reachable("nothing")


needs_browser = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason=MISSING)


@pytest.fixture(scope="module")
def driver(results, made):
    (results / "report.html").write_text(made.html, encoding="utf-8")
    (results / "provenance.html").write_text("<title>made by</title>")
    with chromium() as driver:
        look(driver, 1400, 900)
        driver.get((results / "report.html").resolve().as_uri())
        yield driver


@needs_browser
def test_numbers_of_the_sentences_are_those_of_the_scores(driver, results):
    look(driver, 1400, 900)
    shown = driver.find_elements(By.CSS_SELECTOR, ".findings b")
    values = {one.get_attribute("data-score"): one.text for one in shown}
    scores = pd.read_csv(results / "tables" / "scores.csv")
    fr = scores[(scores["domain"] == "fr") & ~scores["law"].isin(["dcpt", "last_stage"])]
    best = fr.groupby("information")["mae_rel"].min()
    keys = ["law", "protocol", "forecast"]
    fixed = scores[scores["domain"] == "fr"].set_index(keys)["mae_rel"]
    expected = {name: percent(best[name]) for name in ("early", "zero_shot", "anchors")}
    for name, law, how in (
        ("baseline", "dcpt", "law"),
        ("baseline_kriged", "dcpt", "kriged"),
        ("last_stage", "last_stage", "law"),
    ):
        expected[name] = percent(fixed[law, "early_to_late", how])
    assert values == expected | {"noise": percent(scores["noise_floor"].iloc[0])}


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (1400, 900), (390, 844)])
def test_nothing_is_wider_than_the_window_and_the_heading_is_in_it(driver, width, height, scheme):
    look(driver, width, height, scheme)
    wide = driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    top = driver.execute_script(
        "scrollTo(0, 0); return document.querySelector('h1').getBoundingClientRect().top"
    )
    assert wide
    assert 0 <= top < height / 2


@needs_browser
def test_headings_stand_in_order_and_contents_lead_to_them(driver):
    look(driver, 1400, 900)
    levels = driver.execute_script(
        "return [...document.querySelectorAll('h1,h2,h3')].map(h => Number(h.tagName[1]))"
    )
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))
    links = driver.execute_script(
        "return [...document.querySelectorAll('nav ol a')].map(a => [a.hash.slice(1), a.text])"
    )
    sections = driver.execute_script(
        "return [...document.querySelectorAll('section')]"
        ".map(s => [s.id, s.querySelector('h2').innerText])"
    )
    assert links == sections
    assert [name for name, _ in links] == ["finding", "forecast", "laws", "sweep", "plan", "run"]


def test_errors_stand_in_a_row_per_law_by_what_a_forecast_knew(results):
    table = read_errors(results, "tables/scores.csv", "Errors")
    assert [column.heading for column in table.columns] == [
        *("law", "domain", "early stages (%)", "and base losses (%)", "and anchors (%)"),
        "noise (%)",
    ]
    rows = {(row[0].text, row[1].text): [cell.text for cell in row[2:]] for row in table.rows}
    assert len(rows) == len(table.rows) == 8
    assert rows["Form 1 (floor)", "fr"] == ["3.9 (8.0)", "–", "–", "0.60"]
    assert rows["state", "fr"] == ["–", "1.5 (1.7)", "0.53", "0.60"]
    assert rows["baseline D-CPT", "fr"] == ["6.1 (7.6)", "–", "7.6", "0.60"]
    assert rows["last stage unchanged", "fr"] == ["5.5", "–", "–", "0.60"]
    floor = next(row for row in table.rows if row[0].text == "Form 1 (floor)")
    assert float(floor[2].key) == SENTENCES["early"]
    assert read_errors(results, "tables/none.csv", "Errors") is None


@needs_browser
def test_a_heading_sorts_its_table_by_number_down_and_up(driver):
    look(driver, 1400, 900)
    driver.execute_script("document.getElementById('tables-scores').open = true")
    heading = next(
        each
        for each in driver.find_elements(By.CSS_SELECTOR, "#tables-scores th")
        if each.text.startswith("error")
    )
    ask = "return [...document.querySelectorAll('#tables-scores .scroll tbody tr')]"
    ask += ".map(row => Number(row.cells[5].dataset.key))"
    for order in ("ascending", "descending"):
        heading.find_element(By.TAG_NAME, "button").click()
        assert heading.get_attribute("aria-sort") == order
        shown = driver.execute_script(ask)
        assert shown == sorted(shown, reverse=order == "descending") and len(set(shown)) > 5


@needs_browser
def test_the_planner_works_within_the_page_and_nothing_complains(driver):
    look(driver, 1400, 900)
    driver.execute_script("document.getElementById('planner').open = true")
    frame = driver.find_element(By.TAG_NAME, "iframe")
    driver.switch_to.frame(frame)
    try:
        inside = WebDriverWait(driver, 20, 0.05).until(lambda d: d.find_element(By.ID, "inside"))
        assert inside.text == "works & is quoted"
    finally:
        driver.switch_to.default_content()
    assert driver.get_log("browser") == []


@needs_browser
def test_the_heading_of_the_provenance_is_within_the_window(driver):
    """The layout of Snakemake's pane: without the repair, the heading lies above the window."""
    from snakemake.report import html_reporter

    folder = html_reporter.__path__[0]
    source = (Path(folder) / "template" / "components" / "content.js").read_text()
    classes = re.search(r'className: "(grow [^"]*)"', source)[1]
    assert {"items-center", "justify-center", "h-screen"} <= set(classes.split())
    style = ".items-center {align-items: center} .justify-center {justify-content: center}"
    style += ".flex {display: flex} .h-screen {height: 100vh} .overflow-auto {overflow: auto}"
    page = f"""<html><head><style>body {{margin: 0}} {style}</style></head><body>
        <div class="{classes}"><div><h1>Title</h1><p style="height: 3000px">text</p></div></div>"""
    look(driver, 1400, 900)
    tops = []
    for text in (page, make_reachable(page)):
        address = "data:text/html;base64," + base64.b64encode(text.encode()).decode()
        driver.get(address)
        tops.append(
            driver.execute_script("return document.querySelector('h1').getBoundingClientRect().top")
        )
    assert tops[0] < 0 <= tops[1] < 900
