"""Figures: that they show the table's numbers, fit on the page and come out the same each time."""

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import numpy as np
import pandas as pd
import pytest
import yaml
from docutils.core import publish_parts
from docutils.writers.html5_polyglot import Writer
from jinja2 import Environment, StrictUndefined
from matplotlib import pyplot
from matplotlib.collections import QuadMesh

from ptpp.errors import InputError
from ptpp.laws.scoring import score
from ptpp.report import figures
from ptpp.report.names import law_name
from ptpp.report.page.page import render_caption
from ptpp.table.kinds import cell_means, forgetting_rows, is_sweep, is_zero_shot

SIZES = {"w16": 16832, "w32": 45952, "w48": 87360}
CHOSEN = {"replay": 0.2, "atpp": 5.0, "feasible": True}
MIX = {"en": 0.75, "ar": 0.25}
LIMITS = {"target_loss": 4.2, "forgetting_en": 0.1, "forgetting_ar": 0.15}


def observation_table(controls=True, seeds=3, domains=("fr", "en", "ar"), sizes=SIZES):
    """Observations of the default grid from a smooth made-up loss surface with seed noise."""
    noise = np.random.default_rng(0)
    replays = [0, 0.05, 0.25, 0.5] + ([1.0] if controls else [])
    cells = [(0, 0.0), *itertools.product((1, 2, 4, 8, 16), replays)]
    rows = []
    for (size, n), ptpp, (atpp, replay) in itertools.product(sizes.items(), (15, 31, 279), cells):
        for seed in range(seeds if size == min(sizes) else 1):
            base = 2.2 + 12 * n**-0.25 + 0.9 * ptpp**-0.4
            loss = {"fr": 5.6 + 0.05 * np.log(ptpp), "en": base, "ar": base + 0.2}
            if atpp and replay < 1:
                share = (1 - replay) * atpp
                loss["fr"] = 2.5 + 12 * n**-0.25 + 1.4 * share**-0.35 * (ptpp / 31) ** -0.1
            if atpp:
                lost = 2.5 * (1 - replay) * (1 + 60 * replay) ** -0.8 * (1 - (1 + atpp) ** -0.5)
                loss["en"] += lost + 0.02 - 0.05 * replay * np.log1p(atpp)
                loss["ar"] += 1.3 * lost + 0.02 - 0.05 * replay * np.log1p(atpp)
            for domain in domains:
                rows.append(
                    {
                        "run": f"{size}-{ptpp}-{replay}-{seed}",
                        "size": size,
                        "n_params": n,
                        "ptpp": float(ptpp),
                        "replay": float(replay),
                        "atpp": float(atpp),
                        "adapt_tokens": float(atpp * n),
                        "domain": domain,
                        "loss": loss[domain] * (1 + 0.006 * noise.standard_normal()),
                        "seed": seed,
                    }
                )
    return pd.DataFrame(rows)


def prediction_table(observations, laws=("dcpt", "floor", "gated", "gated_floor")):
    """Predictions of made-up laws, each off by a little more than the last, for two protocols."""
    rows = cell_means(observations[(observations["domain"] == "fr") & is_sweep(observations)])
    late = rows["ptpp"] == 279
    tables = []
    for (i, law), protocol in itertools.product(enumerate(laws), ("early_to_late", "with_anchors")):
        bias = (0.05 - 0.015 * i) * late * (0.4 if protocol == "with_anchors" else 1)
        wave = 0.01 * np.sin(np.arange(len(rows)))
        anchored = late & (rows.index % 3 == 0) & (protocol == "with_anchors")
        tables.append(
            rows.assign(
                law=law,
                protocol=protocol,
                information="anchors" if protocol == "with_anchors" else "early",
                forecast="law",
                role=np.where(late & ~anchored, "held_out", "fit"),
                observed=rows["loss"],
                predicted=rows["loss"] * (1 + bias + wave),
            )
        )
    return pd.concat(tables, ignore_index=True)


def curve_table(seeds=3, sizes=SIZES):
    """Training curves on geometrically spaced token counts."""
    noise = np.random.default_rng(1)
    rows = []
    for size, n in sizes.items():
        for seed in range(seeds if size == min(sizes) else 1):
            tokens = np.unique(np.round(np.geomspace(0.05, 279, 120) * n / 512) * 512)
            tokens = tokens[tokens > 0]
            loss = 2.2 + 12 * n**-0.25 + 2.4 * (tokens / n + 0.5) ** -0.4
            loss *= 1 + 0.01 * noise.standard_normal(len(tokens))
            model = f"{size}.seed{seed}"
            columns = {"model": model, "size": size, "seed": seed, "n_params": n}
            rows.append(pd.DataFrame({**columns, "tokens": tokens, "loss": loss}))
    return pd.concat(rows, ignore_index=True)


def profile_tables(law="floor"):
    """Profiles of three made-up parameters under two protocols, and their verdicts."""
    lines, found = [], []
    for protocol, width in (("early_to_late", 2.0), ("with_anchors", 1.0)):
        for name, fitted, scale in (("E", 2.0, 0.3), ("S", 0.01, 0.004), ("kappa", 0.4, 0.0)):
            values = np.linspace(0.2, 1.8, 9) * fitted
            far = ((values - fitted) / (scale * width)) ** 2 if scale else np.zeros(9)
            labels = {"law": law, "protocol": protocol, "domain": "fr", "parameter": name}
            lines.append(pd.DataFrame({**labels, "value": values, "deviance": far}))
            verdict = "identified" if scale else "flat"
            found.append({**labels, "value": fitted, "verdict": verdict})
    return pd.concat(lines, ignore_index=True), pd.DataFrame(found)


def sweep_table(laws=("dcpt", "floor", "gated", "gated_floor")):
    """Errors that fall with the number of anchors; the random choice is repeated."""
    rows = []
    for (i, law), count in itertools.product(enumerate(laws), (0, 1, 3, 5, 10, 20)):
        for choice, repeats in (("spread", 1), ("random", 3), ("v_optimal", 1)):
            for repeat in range(repeats):
                error = (0.02 + 0.03 * i) / (1 + count) ** 0.5 * (1 + 0.1 * repeat)
                rows.append((law, "fr", choice, count, repeat, error))
    return pd.DataFrame(rows, columns=["law", "domain", "choice", "count", "repeat", "mae_rel"])


def interval_table(laws=("dcpt", "floor", "gated", "gated_floor")):
    rows = []
    for (i, law), protocol in itertools.product(enumerate(laws), ("early_to_late", "with_anchors")):
        for score_name, value in (("mae_rel", 0.08 / (i + 1)), ("calibration_slope", 1 + 0.05 * i)):
            low, high = 0.8 * value, 1.3 * value
            rows.append((law, protocol, "fr", "law", score_name, value, low, high))
    columns = ["law", "protocol", "domain", "forecast", "score", "value", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def plan_grid(domains=("en", "ar")):
    replay, atpp = np.meshgrid(np.linspace(0, 0.9, 61), np.geomspace(0.5, 40, 81))
    lost = 1.5 * (1 - replay) * (1 + 40 * replay) ** -0.9 * (1 - (1 + atpp) ** -0.5)
    grid = {"replay": replay, "atpp": atpp, "target_loss": 3.3 + ((1 - replay) * atpp) ** -0.35}
    grid |= {f"forgetting_{d}": lost * (1 + 0.3 * i) for i, d in enumerate(domains)}
    return pd.DataFrame({name: values.ravel() for name, values in grid.items()})


def every_figure():
    """All figures, by name, drawn from simulated tables."""
    observations = observation_table()
    predicted = prediction_table(observations)
    return {
        "adaptation": figures.adaptation(observations, "fr", predicted, "floor"),
        "calibration": figures.calibration(predicted, 0.005, "fr"),
        "forgetting": figures.forgetting(observations, ["en", "ar"], {"en": 0.3, "ar": None}),
        "residuals": figures.residuals(predicted, 0.005, "fr"),
        "residuals_by_input": figures.residuals_by_input(predicted, 0.005, "fr", "with_anchors"),
        "profile": figures.profile(*profile_tables(), "floor", "fr", 2.7),
        "anchor_sweep": figures.anchor_sweep(sweep_table(), 0.005, "fr"),
        "law_comparison": figures.law_comparison(interval_table(), 0.005, "fr"),
        "pretraining": figures.pretraining(curve_table(), observations, MIX, 0.2),
        "plan": figures.plan(plan_grid(), CHOSEN, LIMITS),
    }


@pytest.fixture(scope="module")
def drawn():
    return every_figure()


@pytest.fixture(scope="module")
def observations():
    return observation_table()


@pytest.fixture(scope="module")
def predicted(observations):
    return prediction_table(observations)


def line_points(axis):
    """All points of the axis' data lines (n, 2), sorted; lines of two points are references."""
    lines = [line.get_xydata() for line in axis.get_lines() if len(line.get_xydata()) > 2]
    return by_rows(np.concatenate(lines))


def scattered_points(axis):
    """All scattered points of an axis as sorted (n, 2)."""
    offsets = [c.get_offsets() for c in axis.collections if len(c.get_offsets()) > 1]
    return by_rows(np.concatenate([np.asarray(o) for o in offsets]))


def of_panel(predicted, protocol, law):
    return predicted[(predicted["protocol"] == protocol) & (predicted["law"] == law)]


def by_rows(points):
    points = np.asarray(points, float)
    return points[np.lexsort(points.T)]


def assert_within_page(figure):
    """No text, tick or legend is cut off, and the legend covers no panel."""
    renderer = figure.canvas.get_renderer()
    page, ink = figure.bbox, figure.get_tightbbox(renderer).transformed(figure.dpi_scale_trans)
    assert ink.x0 >= page.x0 and ink.y0 >= page.y0 and ink.x1 <= page.x1 and ink.y1 <= page.y1
    for legend in figure.legends:
        box = legend.get_window_extent(renderer)
        others = [a.get_tightbbox(renderer) for a in figure.axes]
        others += [text.get_window_extent(renderer) for text in figure.texts]
        assert not any(box.overlaps(other) for other in others)


# --- what is drawn


def points_of(axis):
    """All points that error bars stand at, as sorted (n, 2)."""
    return by_rows(np.concatenate([bars.lines[0].get_xydata() for bars in axis.containers]))


def test_adaptation_has_a_panel_per_size_and_stage_with_the_cell_means(drawn, observations):
    target = observations[(observations["domain"] == "fr") & is_sweep(observations)]
    means, axes = cell_means(target), drawn["adaptation"].axes
    assert len(axes) == 3 * (3 + 1)
    for place, (size, stage) in enumerate(itertools.product(SIZES, (15, 31, 279))):
        axis = axes[place + place // 3]
        rows = means[(means["size"] == size) & (means["ptpp"] == stage)]
        np.testing.assert_allclose(points_of(axis), by_rows(rows[["atpp", "loss"]]))
        assert (axis.get_xscale(), axis.get_yscale()) == ("log", "log")


def test_curves_of_the_law_run_over_the_points_and_titles_say_how_far_off(drawn, predicted):
    rows = of_panel(predicted, "early_to_late", "floor")
    late = rows[rows["role"] == "held_out"]
    error = score(late["observed"].to_numpy(), late["predicted"].to_numpy())["mae_rel"]
    titles = [axis.get_title() for axis in drawn["adaptation"].axes[:4]]
    forecast = f"PTPP 279: forecast, {100 * error:.1f} % off"
    assert titles == ["PTPP 15: fitted", "PTPP 31: fitted", forecast, "without fr text"]
    here = rows[(rows["size"] == "w16") & (rows["ptpp"] == 279)]
    curves = [line for line in drawn["adaptation"].axes[2].get_lines() if line.get_linewidth() == 1]
    assert len(curves) == here["replay"].nunique()
    for line, (_, cells) in zip(curves, here.groupby("replay"), strict=True):
        atpp, loss = line.get_xydata().T
        cells = cells.sort_values("atpp")
        assert (atpp[0], atpp[-1]) == pytest.approx(tuple(cells["atpp"].iloc[[0, -1]]))
        there = np.exp(np.interp(np.log(cells["atpp"]), np.log(atpp), np.log(loss)))
        np.testing.assert_allclose(there, cells["predicted"], rtol=1e-3)
        assert np.diff(loss).max() < 0  # as the law's values fall, so does the curve


def test_without_a_law_lines_join_the_points(observations):
    axis = figures.adaptation(observations, "fr").axes[2]
    assert axis.get_title() == "PTPP 279"
    assert {bars.lines[0].get_linestyle() for bars in axis.containers} == {"-"}


def test_adaptation_has_what_saw_no_target_text_aside_and_the_spread_over_seeds(
    drawn, observations
):
    before = cell_means(observations[is_zero_shot(observations)])
    before = before[before["domain"] == "fr"].set_index(["size", "ptpp"])["loss"]
    for row, size in enumerate(SIZES):
        controls, diamonds = drawn["adaptation"].axes[4 * row + 3].get_lines()
        assert diamonds.get_ydata().tolist() == pytest.approx(before[size].tolist())
        assert len(controls.get_ydata()) == 3 * 5
    # The smallest size has three seeds, the largest one.
    cell = observations.query("domain == 'fr' and size == 'w16' and ptpp == 15 and atpp == 1")
    spread = cell[cell["replay"] == 0]["loss"]
    ends = drawn["adaptation"].axes[0].containers[0].lines[2][0].get_segments()[0][:, 1]
    assert ends.tolist() == pytest.approx(
        [spread.mean() - spread.std(), spread.mean() + spread.std()]
    )
    bare = drawn["adaptation"].axes[-2].containers[0].lines[2][0].get_segments()
    assert all(np.ptp(segment[:, 1]) == 0 for segment in bare)


def test_calibration_shows_errors_of_held_out_rows_and_laws_by_their_error(drawn, predicted):
    held_out = predicted[predicted["role"] == "held_out"]
    laws = ["gated_floor", "gated", "floor", "dcpt"]  # each off by more than the one before
    axes = drawn["calibration"].axes
    titles = [axis.get_title().split("\n") for axis in axes]
    assert [name for name, _ in titles] == [law_name(law) for law in laws]
    for axis, law, (_, errors) in zip(axes, laws, titles, strict=True):
        rows = held_out[held_out["law"] == law]
        errors_of = rows.assign(error=100 * (rows["predicted"] / rows["observed"] - 1))
        np.testing.assert_allclose(
            scattered_points(axis), by_rows(errors_of[["observed", "error"]])
        )
        early = of_panel(held_out, "early_to_late", law)
        mae = score(early["observed"].to_numpy(), early["predicted"].to_numpy())["mae_rel"]
        assert errors.startswith(f"without anchors {100 * mae:.1f} %, with anchors ")


def test_forgetting_shows_the_largest_size_with_its_control(drawn, observations):
    largest = observations[observations["size"] == "w48"]
    panels = list(itertools.product(("en", "ar"), (15, 31, 279)))
    assert len(drawn["forgetting"].axes) == len(panels)
    for axis, (domain, stage) in zip(drawn["forgetting"].axes, panels, strict=True):
        rows = forgetting_rows(largest, domain)
        rows = rows[rows["ptpp"] == stage]
        assert 1.0 in set(rows["replay"])
        np.testing.assert_allclose(line_points(axis), by_rows(rows[["replay", "forgetting"]]))
    assert "w48" in drawn["forgetting"].get_suptitle()


def test_forgetting_draws_the_limits_and_says_from_which_replay_on_they_are_kept(
    drawn, observations
):
    axes = drawn["forgetting"].axes
    for number, axis in enumerate(axes):
        dashed = [line.get_ydata()[0] for line in axis.get_lines() if line.get_linestyle() == "--"]
        assert dashed == ([0.3] if number < 3 else [])
    rows = forgetting_rows(observations[observations["size"] == "w48"], "en")
    most = rows[rows["ptpp"] == 31].groupby("replay")["forgetting"].max()
    kept = most[most <= 0.3].index.min()
    assert (most[kept:] <= 0.3).all() and 0 < kept < 1
    assert axes[1].get_title() == f"PTPP 31: limit kept from {100 * kept:g} %"
    assert axes[4].get_title() == "PTPP 31"
    swept = most[most.index < 1].min()
    control = figures.forgetting(observations, ["en"], {"en": (most[1.0] + swept) / 2})
    assert most[1.0] < swept and control.axes[1].get_title() == "PTPP 31: limit not kept"
    least = figures.forgetting(observations, ["en"], {"en": -1.0})
    assert least.axes[0].get_title() == "PTPP 15: limit not kept"


def test_tick_labels_of_replay_stand_apart_and_lines_are_named(drawn):
    renderer = drawn["forgetting"].canvas.get_renderer()
    axis = drawn["forgetting"].axes[3]
    labels = axis.get_xticklabels()
    assert [label.get_text() for label in labels] == ["0", "5", "25", "50", "100"]
    boxes = [label.get_window_extent(renderer) for label in labels]
    assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))
    names = [text for text in drawn["forgetting"].axes[2].texts if "ATPP" in text.get_text()]
    heights = sorted(text.get_window_extent(renderer).y0 for text in names)
    assert len(names) == 5
    assert min(np.diff(heights)) > 0.8 * names[0].get_window_extent(renderer).height


def test_residuals_show_every_row_in_percent_with_roles_told_apart(drawn, predicted):
    panels = list(itertools.product(predicted["law"].unique(), ("early_to_late", "with_anchors")))
    assert len(drawn["residuals"].axes) == len(panels)
    for axis, (law, protocol) in zip(drawn["residuals"].axes, panels, strict=True):
        rows = of_panel(predicted, protocol, law)
        percent = 100 * (rows["predicted"] / rows["observed"] - 1)
        points = scattered_points(axis)
        np.testing.assert_allclose(np.sort(points[:, 1]), np.sort(percent))
        # The stage a point belongs to is the nearest tick.
        assert np.bincount(np.round(points[:, 0]).astype(int)).tolist() == [60, 60, 60]
        colours = np.unique(axis.collections[-1].get_facecolors(), axis=0)
        assert len(colours) == rows["role"].nunique() == 2


def off_by(table, share, columns, **labels):
    """The same rows with other labels and numbers."""
    return table.assign(**{name: table[name] * (1 + share) for name in columns}, **labels)


def test_of_several_forecasts_the_kriged_one_that_knew_most_is_drawn(observations):
    law = prediction_table(observations, laws=["floor", "dcpt"])
    informed = {"early": "zero_shot"}
    known = law.replace({"information": informed})
    kriged = off_by(known[known["law"] == "floor"], 0.03, ["predicted"], forecast="kriged")
    guessed = off_by(law[law["law"] == "floor"], 0.2, ["predicted"], forecast="kriged")
    guessed = guessed[guessed["protocol"] == "early_to_late"]
    everything = pd.concat([guessed, kriged, known])
    alone = pd.concat([kriged, known[known["law"] == "dcpt"]])
    draws = (
        lambda table: figures.calibration(table, None, "fr"),
        lambda table: figures.residuals(table, None, "fr"),
        lambda table: figures.residuals_by_input(table, None, "fr", "early_to_late"),
    )
    for draw in draws:
        for found, wanted in zip(draw(everything).axes, draw(alone).axes, strict=True):
            np.testing.assert_array_equal(scattered_points(found), scattered_points(wanted))
    both = interval_table(laws=["floor", "dcpt"])
    better = off_by(both[both["law"] == "floor"], -0.5, ["value", "low", "high"])
    better = better.assign(forecast="kriged")
    found = figures.law_comparison(pd.concat([better, both]), None, "fr").axes
    wanted = figures.law_comparison(pd.concat([better, both[both["law"] == "dcpt"]]), None, "fr")
    for one, other in zip(found, wanted.axes, strict=True):
        ends = [[tuple(line.get_xdata()) for line in axis.get_lines()] for axis in (one, other)]
        assert ends[0] == ends[1]


def test_residuals_within_a_stage_stand_in_the_order_of_atpp(observations):
    one = prediction_table(observations, laws=["dcpt"]).query("protocol == 'early_to_late'")
    one = one[one["ptpp"] == 15]
    points = scattered_points(figures.residuals(one, None, "fr").axes[0])
    percent = 100 * (one["predicted"] / one["observed"] - 1)
    places = {round(y, 9): x for x, y in points}
    order = one["atpp"].iloc[np.argsort([places[round(p, 9)] for p in percent], kind="stable")]
    assert order.is_monotonic_increasing


def test_pretraining_has_a_mean_line_per_size_thin_lines_per_seed_and_the_stages(drawn):
    curves, axis = curve_table(), drawn["pretraining"].axes[0]
    lines = [line for line in axis.get_lines() if len(line.get_xydata()) > 3]
    assert len(lines) == 3 + 3  # three seeds of the smallest size, a mean line per size
    smallest = curves[curves["size"] == "w16"]
    mean = smallest.groupby(smallest["tokens"] / smallest["n_params"])["loss"].mean()[0.1:]
    thick = [line for line in lines if line.get_linewidth() > 1]
    np.testing.assert_allclose(thick[0].get_xdata(), mean.index)
    np.testing.assert_allclose(thick[0].get_ydata(), mean)
    marked = [line.get_xdata()[0] for line in axis.get_lines() if line.get_linestyle() == "--"]
    assert marked == [15, 31, 279]
    assert (axis.get_xscale(), axis.get_yscale()) == ("log", "log")


def test_every_checkpoint_has_its_mixed_loss_at_the_end_of_a_branch(drawn, observations):
    before = cell_means(observations[is_zero_shot(observations)])
    before = before.set_index(["domain", "size", "ptpp"])["loss"]
    mixed = 0.75 * before["en"] + 0.25 * before["ar"]
    lines = drawn["pretraining"].axes[0].get_lines()
    diamonds = [line for line in lines if line.get_marker() == "D"]
    branches = [line.get_xydata() for line in lines if line.get_linestyle() == ":"]
    assert len(branches) == 9
    for place, (size, diamond) in enumerate(zip(SIZES, diamonds, strict=True)):
        np.testing.assert_allclose(diamond.get_ydata(), mixed[size])
        for end, (start, tip) in zip(
            diamond.get_xydata(), branches[3 * place : 3 * place + 3], strict=True
        ):
            assert tip.tolist() == end.tolist()
            assert start[0] == pytest.approx(0.8 * end[0])


def test_pretraining_means_only_where_every_seed_was_logged(observations):
    curves = curve_table(sizes={"w16": 16832})
    late = curves["tokens"] > curves["tokens"].median()
    curves = curves[~((curves["seed"] == 2) & late)]
    lines = figures.pretraining(curves, observations, MIX).axes[0].get_lines()
    shared = curves[curves["seed"] == 2]["tokens"].max() / 16832
    thick = [line for line in lines if line.get_linewidth() == 1.4]
    assert [line.get_xdata()[-1] for line in thick] == [shared]
    assert not [line for line in lines if line.get_linestyle() == ":"], "no trunk, no branch"


def named_lines(figure):
    return {text.get_text() for text in figure.axes[0].texts}


def legend_texts(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_plan_marks_the_plan_and_names_each_limit_in_its_place(drawn):
    axis, grid = drawn["plan"].axes[0], plan_grid()
    mesh = next(c for c in axis.collections if isinstance(c, QuadMesh))
    table = grid.pivot(index="atpp", columns="replay", values="target_loss").to_numpy()
    np.testing.assert_allclose(np.asarray(mesh.get_array()).ravel(), table.ravel())
    (star,) = axis.get_lines()
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (20, 5.0)
    assert named_lines(drawn["plan"]) == {
        "target loss ≤ 4.2", "forgetting en ≤ 0.1", "forgetting ar ≤ 0.15",
    }  # fmt: skip
    assert legend_texts(drawn["plan"]) == ["plan: replay 20 %, ATPP 5"]


def test_only_points_that_keep_all_limits_are_coloured():
    limits = {"target_loss": 3.9, "forgetting_en": 0.1}
    figure, grid = figures.plan(plan_grid(["en"]), None, limits), plan_grid(["en"])
    figure.canvas.draw()
    pixels, axis = np.asarray(figure.canvas.buffer_rgba()), figure.axes[0]
    shown = [
        (100 * grid["replay"]).between(*axis.get_xlim(), inclusive="neither"),
        grid["atpp"].between(*axis.get_ylim(), inclusive="neither"),
    ]
    inside = grid[shown[0] & shown[1]]
    places = axis.transData.transform(np.stack([100 * inside["replay"], inside["atpp"]], axis=1))
    colours = pixels[(pixels.shape[0] - 1 - places[:, 1]).astype(int), places[:, 0].astype(int), :3]
    excess = np.max([inside[column] - limit for column, limit in limits.items()], axis=0)
    grey = np.ptp(colours.astype(int), axis=1) == 0
    clear = np.abs(excess) > 0.05  # not on a line
    # A few points lie below a name or a line of equal loss.
    assert grey[clear & (excess > 0)].mean() > 0.95
    assert grey[clear & (excess < 0)].mean() < 0.05
    assert 0 < (clear & (excess < 0)).sum() < clear.sum()


def test_plan_says_when_no_point_meets_the_limits():
    chosen = {"replay": 0.3, "atpp": 9.0, "feasible": False, "law": "gated", "n_params": 8.1e9}
    figure = figures.plan(plan_grid(), chosen, {"target_loss": 1.0, "forgetting_en": 9.0})
    labels = legend_texts(figure)
    assert "target loss ≤ 1: kept nowhere here" in labels
    assert "forgetting en ≤ 9: kept everywhere here" in labels
    assert "no plan; least bad: replay 30 %, ATPP 9" in labels
    title = "Form 2 (gated), N = 8.1B\nno point keeps all limits"
    assert figure.axes[0].get_title() == title
    assert_within_page(figure)


def test_a_robust_plan_has_a_mark_of_its_own():
    robust = {"replay": 0.4, "atpp": 8.0, "feasible": True}
    labels = [
        legend_texts(figures.plan(plan_grid(), CHOSEN, LIMITS, each))
        for each in (robust, robust | {"feasible": False})
    ]
    assert [each[1] for each in labels] == [
        "robust plan: replay 40 %, ATPP 8",
        "no robust plan; least bad: replay 40 %, ATPP 8",
    ]
    assert labels[0][0] == "plan: replay 20 %, ATPP 5"


def test_a_plan_beyond_the_grid_stands_at_its_edge_and_is_called_so():
    figure = figures.plan(plan_grid(), CHOSEN | {"atpp": 0.003}, LIMITS)
    (star,) = figure.axes[0].get_lines()
    assert star.get_ydata()[0] == plan_grid()["atpp"].min()
    assert legend_texts(figure)[0] == "plan: replay 20 %, ATPP 0.003, beyond the edge"
    assert_within_page(figure)


def test_a_plan_on_the_edge_is_not_beyond_it():
    highest = plan_grid()["atpp"].max()
    figure = figures.plan(plan_grid(), {"replay": 0.2, "atpp": highest * (1 + 1e-12)}, LIMITS)
    assert not any("beyond" in text for text in legend_texts(figure))


def test_plan_draws_round_forgetting_levels_where_there_is_no_limit():
    figure = figures.plan(plan_grid(["en"]), None, {})
    names = {f"forgetting en = {level}" for level in ("0.05", "0.1", "0.2", "0.5", "1")}
    assert named_lines(figure) and named_lines(figure) <= names


def test_plan_draws_the_only_replay_ratio_as_a_strip():
    grid = plan_grid()
    only = grid[grid["replay"] == grid["replay"].unique()[2]]
    replay = 100 * only["replay"].iloc[0]
    figure = figures.plan(only, CHOSEN | {"replay": replay / 100}, LIMITS)
    axis = figure.axes[0]
    assert axis.get_xlabel().endswith(", the only one of the rows")
    low, high = axis.get_xlim()
    assert low < replay < high and high - low < 5
    assert "only" not in figures.plan(grid, CHOSEN, LIMITS).axes[0].get_xlabel()


def test_plan_takes_an_unknown_limit_for_none():
    figure = figures.plan(plan_grid(["en"]), None, {"target_loss": float("nan")})
    assert not any("target" in name for name in named_lines(figure))
    assert figure.axes[0].get_title() == ""


def test_sizes_without_names_are_called_by_their_parameters(tmp_path):
    table = observation_table(sizes={"16832": 16832, "45952": 45952})
    prediction_table(table, laws=["floor"]).to_csv(tmp_path / "predictions.csv")
    # From CSV such sizes come back as numbers.
    predicted = pd.read_csv(tmp_path / "predictions.csv")
    figure = figures.adaptation(table, "fr", predicted.astype({"size": str}), "floor")
    rows = [axis.texts[0].get_text() for axis in figure.axes if axis.texts]
    assert rows == ["N = 16.8k", "N = 46k"]
    assert_within_page(figure)


# --- lean tables


@pytest.mark.parametrize(
    "lean",
    [
        {"controls": False, "domains": ("fr", "en")},
        {"sizes": {"16832": 16832}, "seeds": 1, "controls": False},
    ],
    ids=["no control, one base domain", "least"],
)
def test_lean_tables_are_drawn_within_the_page(lean):
    table = observation_table(**lean)
    base = [domain for domain in lean.get("domains", ("en", "ar")) if domain != "fr"]
    predicted = prediction_table(table, laws=["floor"])
    made = {
        "adaptation": (figures.adaptation(table, "fr"), 4 * table["size"].nunique()),
        "forgetting": (figures.forgetting(table, base), 3 * len(base)),
        "calibration": (figures.calibration(predicted, float("nan"), "fr"), 1),
        "residuals": (figures.residuals(predicted, None, "fr"), 2),
    }
    for figure, panels in made.values():
        assert len(figure.axes) == panels
        assert_within_page(figure)


def test_a_missing_cell_leaves_a_gap_not_an_error(observations):
    holed = observations[~((observations["size"] == "w48") & (observations["ptpp"] == 31))]
    figure = figures.adaptation(holed, "fr")
    assert len(figure.axes) == 12
    assert not figure.axes[9].get_lines()


def test_many_laws_stay_within_the_page(observations):
    laws = ["dcpt", "floor", "gated", "gated_floor", "exponent_gate", "saturating_gate"]
    predicted = prediction_table(observations, laws=laws)
    for draw in (figures.calibration, figures.residuals):
        assert_within_page(draw(predicted, 0.005, "fr"))


def test_nothing_is_cut_off(drawn):
    for figure in drawn.values():
        assert_within_page(figure)


# --- what is certain


def test_residuals_by_input_has_a_panel_per_law_and_input_with_every_cell(drawn, predicted):
    figure = drawn["residuals_by_input"]
    panels = itertools.product(("dcpt", "floor", "gated", "gated_floor"), figures.laws.INPUTS)
    for axis, (law, column) in zip(figure.axes, panels, strict=True):
        rows = of_panel(predicted, "with_anchors", law)
        residuals = 100 * (rows["predicted"] / rows["observed"] - 1)
        np.testing.assert_allclose(np.sort(scattered_points(axis)[:, 1]), np.sort(residuals))
        assert len(axis.get_xticks()) == rows[column].nunique()


def test_a_profile_panel_names_its_parameter_and_verdict_and_shows_both_protocols(drawn):
    profiles, _ = profile_tables()
    figure = drawn["profile"]
    shown = [axis for axis in figure.axes if axis.get_visible()]
    assert [axis.get_title() for axis in shown] == ["E: identified", "S: identified", "κ: flat"]
    for axis, name in zip(shown, ("E", "S", "kappa"), strict=True):
        lines = profiles[profiles["parameter"] == name]
        np.testing.assert_allclose(line_points(axis), by_rows(lines[["value", "deviance"]]))


def test_the_anchor_sweep_draws_means_over_repeats_in_percent(drawn):
    sweep = sweep_table()
    counts = sorted(sweep["count"].unique())
    for axis, law in zip(drawn["anchor_sweep"].axes, ("dcpt", "floor"), strict=False):
        means = sweep[sweep["law"] == law].groupby(["choice", "count"])["mae_rel"].mean()
        expected = [(counts.index(count), 100 * mean) for (_, count), mean in means.items()]
        np.testing.assert_allclose(line_points(axis), by_rows(expected))
        assert [tick.get_text() for tick in axis.get_xticklabels()] == [f"{c}" for c in counts]


def test_the_law_comparison_draws_every_score_within_its_interval(drawn):
    errors, slopes = drawn["law_comparison"].axes
    table = interval_table()
    for axis, name, factor in ((errors, "mae_rel", 100), (slopes, "calibration_slope", 1)):
        rows = table[table["score"] == name]
        drawn_lines = [line.get_xdata() for line in axis.get_lines()]
        spans = [line for line in drawn_lines if len(line) == 2 and line[0] != line[1]]
        wanted = sorted(zip(factor * rows["low"], factor * rows["high"], strict=True))
        np.testing.assert_allclose(sorted(map(tuple, spans)), wanted)
    assert [tick.get_text() for tick in errors.get_yticklabels()] == [
        "Form 3 (gated+floor)", "Form 2 (gated)", "Form 1 (floor)", "baseline D-CPT",
    ]  # fmt: skip


def test_what_is_missing_for_a_figure_of_certainty_is_named(predicted):
    profiles, found = profile_tables()
    with pytest.raises(InputError, match="no profile of law 'gated'"):
        figures.profile(profiles, found, "gated", "fr", 2.7)
    with pytest.raises(InputError, match="'de'"):
        figures.law_comparison(interval_table(), None, "de")
    with pytest.raises(InputError, match="no rows under protocol 'late'"):
        figures.residuals_by_input(predicted, None, "fr", "late")


# --- bad input


def test_an_unknown_domain_is_named(observations, predicted):
    with pytest.raises(InputError, match=r"'de'.*'ar', 'en', 'fr'"):
        figures.adaptation(observations, "de")
    with pytest.raises(InputError, match="no predictions of 'fr' by the law 'tied'"):
        figures.adaptation(observations, "fr", predicted, "tied")
    with pytest.raises(InputError, match="'de'"):
        figures.calibration(predicted, 0.005, "de")
    with pytest.raises(InputError, match="'de'"):
        figures.forgetting(observations, ["en", "de"])


def test_calibration_without_held_out_rows_is_refused(predicted):
    with pytest.raises(InputError, match="no held-out rows of domain 'fr'"):
        figures.calibration(predicted[predicted["role"] == "fit"], None, "fr")


# --- files


def draw_three():
    """A figure of lines, one of a surface and one of intervals, from small tables."""
    one_size = observation_table(sizes={"w16": 16832}, seeds=2)
    return {
        "forgetting": figures.forgetting(one_size, ["en"]),
        "plan.floor.early_to_late": figures.plan(plan_grid(), CHOSEN, LIMITS),
        "law_comparison": figures.law_comparison(interval_table(), 0.005, "fr"),
    }


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with the files of three figures."""
    folder = tmp_path_factory.mktemp("figures")
    before = dict(matplotlib.rcParams)
    for name, figure in draw_three().items():
        figures.save(figure, folder / name)
    assert dict(matplotlib.rcParams) == before, "a setting outlives a figure"
    assert pyplot.get_fignums() == [], "pyplot knows a figure"
    return folder


def test_each_figure_is_saved_as_pdf_and_png_under_its_whole_stem(saved):
    names = ("forgetting", "law_comparison", "plan.floor.early_to_late")
    expected = [f"{name}.{kind}" for name in names for kind in ("pdf", "png")]
    assert sorted(path.name for path in saved.iterdir()) == expected
    for path in saved.iterdir():
        start = b"%PDF-" if path.suffix == ".pdf" else b"\x89PNG"
        assert path.read_bytes().startswith(start)


def test_another_process_draws_the_same_bytes(saved, tmp_path):
    code = (
        "from ptpp.report import figures; import test_figures as t;"
        "[figures.save(figure, name) for name, figure in t.draw_three().items()]"
    )
    root = str(Path(figures.__file__).parents[3])
    path = os.pathsep.join([root, str(Path(__file__).parent), str(Path(root) / "tests" / "shared")])
    environment = os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment)
    for path in saved.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


# --- captions

REPORT = Path(figures.__file__).parents[3] / "report"


@pytest.mark.parametrize("observations", [None, "my_losses.csv"])
@pytest.mark.parametrize("caption", sorted(REPORT.glob("*.rst")), ids=lambda path: path.name)
def test_captions_render_without_a_complaint(caption, observations):
    config = yaml.safe_load((REPORT.parent / "config.yaml").read_text())
    config |= {"observations": observations, "arguments": ""}
    # As Snakemake sets it up: a block that ends a line takes the line break with it.
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(caption.read_text())
    text = template.render(snakemake=SimpleNamespace(config=config))
    page = publish_parts(text, writer=Writer(), settings_overrides={"halt_level": 2})
    assert "{" not in page["body"]
    assert "None" not in page["body"]
    assert "---" not in page["body"], "a heading that was not recognised"
    if observations:
        assert "language" not in page["body"], "the table's domains need not be languages"


@pytest.mark.parametrize("name", ["adaptation", "forgetting"])
def test_captions_of_a_run_that_measures_speak_of_no_law(name):
    config = yaml.safe_load((REPORT.parent / "config.yaml").read_text())
    config["held_out"]["ptpp"] = None
    text = str(render_caption(REPORT / f"{name}.rst", config))
    assert not re.search(r"None|\blaw|allows", text)


def test_every_figure_has_a_caption(drawn):
    assert {path.stem for path in REPORT.glob("*.rst")} >= {*drawn, "workflow"}
