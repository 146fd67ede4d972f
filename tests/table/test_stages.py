"""Stages are groups of measured PTPP: a little jitter within one changes no split."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from laws_grid import GRID, HELD_OUT, observations

import ptpp
from ptpp.cli.overlay import make_overlay
from ptpp.errors import InputError
from ptpp.laws import Experiment, FitSettings, fit
from ptpp.laws.experiment import predictions
from ptpp.laws.rows import law_rows
from ptpp.laws.uncertainty import resample_counts, run_numbers
from ptpp.planning.measurement import candidate_cells
from ptpp.planning.regret import true_cells
from ptpp.report import figures
from ptpp.table.anchors import choose_anchors, measured_cells
from ptpp.table.checks import check_observations
from ptpp.table.kinds import (
    CELL,
    cell_means,
    find_stage,
    forgetting_rows,
    has_base_losses,
    is_before,
    is_stage,
    list_stages,
    stage_numbers,
    target_rows,
)
from ptpp.table.noise import noise_floor, seed_noise_by_cell
from ptpp.table.observations import gather_observations, read_observations, write_observations
from ptpp.table.protocols import CROSS_VALIDATIONS, folds

ROOT = Path(__file__).parents[2]
TABLE = observations(noise=0.004)
ANCHORS = tuple(choose_anchors(GRID, 20))
SETTINGS = FitSettings(starts=4)


def jitter(width, seed=0, table=TABLE):
    """The table with every row's PTPP off by up to `width`, relative."""
    off = np.random.default_rng(seed).uniform(-1, 1, len(table))
    return check_observations(table.assign(ptpp=table["ptpp"] * (1 + width * off)))


def keys(frame):
    names = [name for name in CELL if name != "ptpp"]
    return list(frame[names].itertuples(index=False, name=None))


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([15, 31, 279], [15, 31, 279]),
        ([279.5, 1234.5], [279.5, 1234.5]),
        ([15.0, 15.3, 31.0], [15.1, 15.1, 31]),
        ([31, 15.3, 15.0], [31, 15.1, 15.1]),
        ([10, 11, 11.001], [10.5, 10.5, 11.001]),
        ([10, 10.6, 11.3], [10.3, 10.3, 11.3]),  # by the first of the stage, not by neighbours
        ([15, np.nan], [15, np.nan]),
        ([109.9, 100, 110.2, 110.4], [105, 105, 110, 110]),
        ([], []),
    ],
)
def test_a_stage_begins_ten_percent_above_the_first_of_the_one_before(values, labels):
    np.testing.assert_allclose(stage_numbers(values), labels)


def test_a_stage_is_found_by_its_label_or_the_nearest_ptpp_within_ten_percent():
    frame = pd.DataFrame({"ptpp": [15.0, 15.3, 31.0, 290.0]})
    assert find_stage(frame, 15) == find_stage(frame, 16.5) == stage_numbers([15.0, 15.3])[0]
    assert find_stage(frame, 279) == 290
    assert np.isnan(find_stage(frame, 20))
    assert is_stage(frame, 15).tolist() == [True, True, False, False]
    assert is_before(frame, 279).tolist() == [True, True, True, False]
    assert is_before(frame, 100).tolist() == [True, True, True, False]
    named = frame.assign(stage=[1, 1, 2, 3])
    assert find_stage(named, 2) == 2
    assert find_stage(named, 279) == 3


@pytest.mark.parametrize("width", [0.001, 0.03])
def test_jitter_within_stages_changes_no_split_cell_or_fold(width):
    table = jitter(width)
    rows, plain = target_rows(table, "fr"), target_rows(TABLE, "fr")
    assert len(list_stages(table)) == 3
    assert keys(rows) == keys(plain)
    np.testing.assert_allclose(rows["loss"], plain["loss"], rtol=1e-12)
    assert (rows["n_seeds"] == plain["n_seeds"]).all()
    assert (np.abs(rows["ptpp"] / plain["ptpp"] - 1) <= width).all()
    assert keys(forgetting_rows(table, "en")) == keys(forgetting_rows(TABLE, "en"))
    for protocol in ("early_to_late", "with_anchors"):
        one, other = (
            Experiment(each, HELD_OUT, ANCHORS).split("floor", protocol, "fr")
            for each in (table, TABLE)
        )
        assert keys(one.fit) == keys(other.fit)
        assert keys(one.held_out) == keys(other.held_out)
    for protocol in CROSS_VALIDATIONS:
        pairs = zip(folds(protocol, rows).values(), folds(protocol, plain).values(), strict=True)
        for one, other in pairs:
            assert keys(one.held_out) == keys(other.held_out)
    assert measured_cells(table, HELD_OUT) == measured_cells(TABLE, HELD_OUT)
    assert (run_numbers(rows) == run_numbers(plain)).all()
    assert (resample_counts(rows, 3, 0) == resample_counts(plain, 3, 0)).all()
    assert noise_floor(table, "fr", HELD_OUT) == pytest.approx(noise_floor(TABLE, "fr", HELD_OUT))
    assert len(seed_noise_by_cell(table)) == len(seed_noise_by_cell(TABLE))
    assert has_base_losses(table, "fr")
    truth, plain_truth = (true_cells(each, "fr", ["en"], HELD_OUT) for each in (table, TABLE))
    np.testing.assert_allclose(truth["forgetting_en"], plain_truth["forgetting_en"], rtol=1e-12)
    informed, plain_informed = (
        law_rows(each, "checkpoint_informed", "fr") for each in (table, TABLE)
    )
    np.testing.assert_allclose(informed["base_loss"], plain_informed["base_loss"], rtol=1e-12)
    assert keys(informed) == keys(plain_informed)
    assert (informed["seed"] == plain_informed["seed"]).all()


@pytest.mark.parametrize("law", ["dcpt", "floor", "gated", "checkpoint_informed"])
@pytest.mark.parametrize("width", [0.001, 0.03])
@pytest.mark.parametrize("protocol", ["early_to_late", "with_anchors"])
def test_jitter_within_stages_changes_a_score_by_no_more_than_itself(law, width, protocol):
    scores = []
    for table in (jitter(width), TABLE):
        experiment = Experiment(table, HELD_OUT, ANCHORS)
        fitted = experiment.fit(law, protocol, "fr", SETTINGS)
        assert ("kappa" in fitted.record.fixed) == (law == "floor" and protocol == "early_to_late")
        scores.append(fitted.score(experiment.split_of(fitted).held_out)["mae_rel"])
    assert scores[0] == pytest.approx(scores[1], abs=width)


def test_a_fit_of_jittered_rows_warns_as_of_the_stages_there_are():
    rows = Experiment(jitter(0.03), HELD_OUT).split("gated_floor", "early_to_late", "fr").fit
    (warning,) = fit("gated_floor", rows, SETTINGS).record.warnings
    assert warning.startswith("kappa is held at 0.4, a prior: 2 PTPP stages")
    (warning,) = fit("saturating_gate", rows, SETTINGS).record.warnings[:1]
    assert "2 values of ptpp among the fit rows, at least 3 are needed" in warning


def test_a_column_names_the_stages_where_there_is_one(tmp_path):
    table = TABLE.assign(
        ptpp=TABLE["ptpp"].replace({31.0: 16.0}), stage=TABLE["ptpp"].replace({15.0: 14.0})
    )
    path = tmp_path / "x.csv"
    table.to_csv(path, index=False)
    table = read_observations(path, held_out=279, target="fr")
    assert list_stages(table) == [14, 31, 279]
    assert len(target_rows(table, "fr")) == len(target_rows(TABLE, "fr"))
    assert set(target_rows(table, "fr").loc[lambda t: t["stage"] == 31, "ptpp"]) == {16}
    write_observations(table, path)
    pd.testing.assert_frame_equal(
        read_observations(path).sort_values(["run", "domain", "atpp"], ignore_index=True),
        table.sort_values(["run", "domain", "atpp"], ignore_index=True),
        check_like=True,
    )
    # Without it, 15 and 16 are one stage.
    assert len(list_stages(check_observations(table.drop(columns="stage")))) == 2


def test_exact_stages_leave_a_table_as_it_is():
    assert "stage" not in TABLE and "stage" not in target_rows(TABLE, "fr")
    assert "stage" not in check_observations(TABLE.assign(stage=TABLE["ptpp"]))
    assert set(cell_means(TABLE)["ptpp"]) == {15, 31, HELD_OUT}


def test_stages_that_follow_from_tables_follow_anew_from_all_of_them(tmp_path):
    paths = []
    for number, size in enumerate(("xs", "s", "m")):
        part = jitter(0.02, number, TABLE[TABLE["size"] == size])
        paths.append(tmp_path / f"{size}.csv")
        part.drop(columns="stage").to_csv(paths[-1], index=False)
    table = gather_observations(paths, held_out=HELD_OUT, target="fr")
    assert len(list_stages(table)) == 3
    assert len(target_rows(table, "fr")) == len(target_rows(TABLE, "fr"))


def test_models_from_elsewhere_and_from_here_share_the_stages_that_labels_name(tmp_path):
    """Those trained here have exactly the PTPP that is their stage; others name theirs."""
    changed = {"stage": TABLE["ptpp"], "ptpp": TABLE["ptpp"] * 0.94}
    named = TABLE.assign(size="own-" + TABLE["size"], run="own-" + TABLE["run"], **changed)
    paths = [tmp_path / "own.csv", tmp_path / "here.csv"]
    for table, path in zip((named, TABLE), paths, strict=True):
        table.to_csv(path, index=False)
    together = gather_observations(paths, HELD_OUT)
    assert set(list_stages(together)) == set(TABLE["ptpp"])
    own = together["size"].str.startswith("own-")
    assert (together["ptpp"][own] / together["stage"][own]).tolist() == pytest.approx(
        [0.94] * len(TABLE)
    )
    assert (together["ptpp"][~own] == together["stage"][~own]).all()


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ("early", "'early' is not a number"),
        ("0", "0; accepted is a number above 0"),
        ("20", "20 holds PTPP 15, but a lower stage holds 31; accepted are numbers that name"),
    ],
)
def test_a_stage_that_cannot_be_is_refused_in_one_line(tmp_path, stages, message):
    path = tmp_path / "x.csv"
    path.write_text(
        f"n_params,ptpp,stage,replay,atpp,loss\n1000,31,2,0,1,3\n1000,15,{stages},0,1,3\n"
    )
    with pytest.raises(InputError) as raised:
        read_observations(path)
    assert (
        str(raised.value) == f"{path}: row 3, column stage: " + str(raised.value).split(": ", 2)[2]
    )
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_close_checkpoints_of_one_run_are_said_to_be_repeats(tmp_path, caplog):
    path = tmp_path / "x.csv"
    path.write_text("n_params,ptpp,replay,atpp,loss\n1000,15,0,1,3\n1000,16,0,1,3.1\n")
    table = read_observations(path)
    assert len(target_rows(table, "target")) == 1
    assert "size 1000 was measured at PTPP 15 and 16, which are one stage" in caplog.text
    caplog.clear()
    jitter(0.0)
    assert not caplog.text


def test_figures_tables_and_overlays_know_three_stages():
    table = jitter(0.03)
    experiment = Experiment(table, HELD_OUT, ANCHORS)
    fitted = experiment.fit("gated", "with_anchors", "fr", SETTINGS)
    frame = predictions([fitted], experiment)
    assert sorted(frame["stage"].unique()) == list_stages(table)
    drawn = figures.residuals(frame, None, "fr")
    names = [label.get_text() for label in drawn.axes[0].get_xticklabels()]
    assert names == [f"{stage:g}" for stage in list_stages(table)]
    by_input = figures.residuals_by_input(frame, None, "fr", "with_anchors")
    assert [label.get_text() for label in by_input.axes[1].get_xticklabels()] == names
    assert len(figures.adaptation(table, "fr").axes) == 3 * 3
    assert len(figures.forgetting(table, ["en"]).axes) == 3
    defaults = yaml.safe_load((ROOT / "config.yaml").read_text())
    overlay = make_overlay(table, "fr", "mine", defaults)
    assert overlay["held_out"]["ptpp"] == list_stages(table)[-1]
    assert overlay["laws"]["protocols"] == ["early_to_late", "with_anchors"]
    assert "n_params" not in overlay["plan"] and defaults["plan"]["n_params"] is None
    assert overlay["plan"]["ptpp"] == list_stages(table)[-1] and overlay["plan"]["beyond"] == []


def test_next_measurements_repeat_no_cell_of_a_jittered_table():
    rows, plain = target_rows(jitter(0.03), "fr"), target_rows(TABLE, "fr")
    plan = {"replay": 0.1}
    found, expected = (candidate_cells(each, plan, list_stages(each)) for each in (rows, plain))
    assert len(found) == len(expected)
    assert (found["flops_pretrain"] > 0).sum() == (expected["flops_pretrain"] > 0).sum()


def test_the_interface_finds_the_stage_that_is_near():
    table = jitter(0.03)
    one = ptpp.fit(table, "floor", target="fr", held_out=279, anchors=20, starts=2, draws=3)
    assert len(one.fitted.rows) == 120 + 20
    assert "kappa" not in one.fitted.record.fixed
    assert len(one.held_out) == 40
    assert one.score().loc["mae_rel", "value"] < 0.03
