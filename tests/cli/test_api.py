"""The Python API: what a notebook gets, and that the command line gives the same."""

import json
import runpy

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from laws_grid import HELD_OUT, observations

import ptpp
from ptpp.cli.main import main
from ptpp.laws import fit as fit_rows
from ptpp.laws import score
from ptpp.table.kinds import target_rows
from ptpp.table.observations import write_observations

TABLE = observations(noise=0.01)
QUICK = {"starts": 4, "draws": 10}


@pytest.fixture(scope="module")
def fit():
    return ptpp.fit(TABLE, law="gated", target="fr", held_out=HELD_OUT, anchors=5, **QUICK)


def test_a_fit_is_that_of_the_package():
    rows = target_rows(TABLE, "fr")
    one = ptpp.fit(TABLE, law="gated", target="fr", starts=8, draws=2)
    assert dict(one.fitted.record.params) == pytest.approx(
        dict(fit_rows("gated", rows).record.params), rel=1e-4
    )
    assert one.held_out.empty
    with pytest.raises(ptpp.InputError, match="no held-out stage"):
        one.score()


def test_predictions_have_a_row_per_point_and_intervals(fit):
    table = fit.predict(n_params=["17k", "8.1B"], ptpp=279, replay=0.1, adapt_tokens="10M")
    assert table["atpp"].tolist() == pytest.approx([1e7 / 17e3, 1e7 / 8.1e9])
    assert (table["low"] < table["high"]).all()
    assert table["extrapolated"].tolist()[0] == "adapt_tokens"
    assert "n_params" in table["extrapolated"].tolist()[1]
    again = fit.predict(table[["n_params", "ptpp", "replay", "atpp"]])
    np.testing.assert_allclose(again["loss"], table["loss"])
    kriged, spread = fit.fitted.forecast(table)
    np.testing.assert_array_equal(table["loss"], kriged)
    np.testing.assert_allclose(table["high"], kriged * np.exp(1.6448536 * spread))
    np.testing.assert_array_equal(table["law_loss"], fit.fitted.loss(table))


def test_a_fit_that_is_not_kriged_predicts_by_its_law_and_draws(fit):
    alone = {"held_out": HELD_OUT, "anchors": 5, "krige": False, **QUICK}
    one = ptpp.fit(TABLE, law="gated", target="fr", **alone)
    assert one.fitted.misfit is None and one.fitted.record == fit.fitted.record
    table = one.predict(n_params=[17e3, 8e4], ptpp=279, replay=0.1, atpp=5)
    np.testing.assert_array_equal(table["loss"], fit.fitted.loss(table))
    low, high = fit.fitted.interval(table)
    np.testing.assert_array_equal(table[["low", "high"]].to_numpy().T, [low, high])
    assert "law_loss" not in table and list(one.score().columns) == ["value", "low", "high"]


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"n_params": 1e5, "ptpp": 279, "atpp": 5}, "predict: law gated needs replay"),
        ({"n_params": "many", "ptpp": 279, "replay": 0, "atpp": 5}, "n_params is 'many'; accepted"),
        ({"n_params": [1e5, 1e6], "ptpp": [1, 2, 3], "replay": 0, "atpp": 5}, "differ in length"),
        ({}, "predict: law gated needs n_params"),
    ],
)
def test_a_point_that_cannot_be_is_refused_in_one_line(fit, point, message):
    with pytest.raises(ptpp.InputError, match=message) as raised:
        fit.predict(**point)
    assert "\n" not in str(raised.value)


def test_scores_are_of_the_held_out_rows_or_of_a_table(fit):
    scores = fit.score()
    assert list(scores.columns) == ["value", "low", "high", "law"]

    def kriged(rows):
        return score(rows["loss"], fit.fitted.forecast(rows)[0])["mae_rel"]

    assert scores.loc["mae_rel", "value"] == kriged(fit.held_out)
    assert scores.loc["mae_rel", "law"] == fit.fitted.score(fit.held_out)["mae_rel"]
    assert 0 < scores.loc["noise_floor", "value"] < 0.05
    late = TABLE[TABLE["ptpp"] == HELD_OUT]
    rows = target_rows(late, "fr")
    assert fit.score(late).loc["mae_rel", "value"] == kriged(rows)
    assert fit.score(late).loc["mae_rel", "law"] == fit.fitted.score(rows)["mae_rel"]


def test_a_fit_that_is_saved_and_loaded_predicts_the_same(fit, tmp_path):
    fit.save(tmp_path / "fit.json")
    point = {"n_params": 5e4, "ptpp": 279, "replay": 0.1, "atpp": 5}
    pd.testing.assert_frame_equal(
        ptpp.load(tmp_path / "fit.json").predict(**point), fit.predict(**point)
    )
    with pytest.raises(ptpp.InputError, match="needs a table, or fits made from one"):
        ptpp.plan(ptpp.load(tmp_path / "fit.json"), n_params=5e4, ptpp=279)


def test_a_plan_draws_no_refits_where_its_forecast_is_kriged():
    asked = {"n_params": 87_360, "ptpp": 279, "limits": {"en": 0.5}, "max_atpp": 8}
    fits = {"law": "gated", "target": "fr", **QUICK}
    (kriged,) = ptpp.plan(TABLE, **asked, **fits).laws
    (by_law,) = ptpp.plan(TABLE, krige=False, **asked, **fits).laws
    assert kriged.fit.fitted.draws is None and kriged.fit.fitted.misfit is not None
    assert len(by_law.fit.fitted.draws.params) == QUICK["draws"]
    for one in (kriged, by_law):
        assert one.plans.robust.target_loss > 0 and one.plans.robust.feasible


def test_plans_of_a_fit_and_of_its_table_are_equal(fit):
    wanted = {"n_params": "87.36k", "ptpp": 279, "limits": {"en": 0.5}}
    plans = ptpp.plan(fit, **wanted)
    assert plans.table["kind"].tolist() == ["point", "robust"]
    same = {"law": "gated", "target": "fr", "held_out": HELD_OUT, "anchors": 5, **QUICK}
    pd.testing.assert_frame_equal(ptpp.plan(TABLE, **wanted, **same).table, plans.table)
    assert (plans.table["atpp"] <= 16).all()
    wider = ptpp.plan(fit, **wanted, max_atpp=64, target_loss=1.0)
    assert not wider.table["feasible"].any()


def test_a_plan_keeps_the_only_replay_ratio_of_its_rows():
    table = TABLE[(TABLE["replay"] == 0.25) | (TABLE["atpp"] == 0)]
    asked = {"n_params": 87_360, "ptpp": 279, "law": "gated", "target": "fr", **QUICK}
    for limits in ({}, {"en": 0.5}):
        plans = ptpp.plan(table, limits=limits, **asked).table
        assert plans["replay"].tolist() == pytest.approx([0.25, 0.25])
        assert set(plans["replay_reason"]) == {"replay stays 0.25: the rows of fr have no other"}
        assert not plans["binding"].str.contains("replay").any()
    with pytest.raises(
        ptpp.InputError, match=r"max_replay is 0[.]1, but all rows of fr have replay"
    ):
        ptpp.plan(table, max_replay=0.1, **asked)


def test_a_plan_without_replay_is_made():
    asked = {"n_params": 87_360, "ptpp": 279, "law": "gated", "target": "fr", **QUICK}
    assert ptpp.plan(TABLE, max_replay=0, **asked).table["replay"].tolist() == [0, 0]


def test_the_command_line_gives_the_same_numbers(fit, tmp_path, capsys):
    write_observations(TABLE, tmp_path / "table.csv")
    command = ["fit", str(tmp_path / "table.csv"), "--law", "gated", "--target", "fr"]
    command += ["--held-out", "279", "--anchors", "5", "--starts", "4", "--bootstrap", "10"]
    assert main([*command, "--out", str(tmp_path / "fit.json"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["protocol"] == "with_anchors"
    read = ptpp.read(tmp_path / "table.csv")
    one = ptpp.fit(read, law="gated", target="fr", held_out=279, anchors=5, **QUICK)
    values = {name: row["value"] for name, row in answer["parameters"].items()}
    assert values == one.parameters["value"].to_dict()
    assert answer["scores"]["mae_rel"]["low"] == one.score().loc["mae_rel", "low"]


def test_results_show_as_html(fit):
    page = fit._repr_html_()
    assert "gated on" in page and "<table" in page and "gamma" in page and "noise_floor" in page
    plans = ptpp.plan(fit, n_params=1e6, ptpp=279, limits={"en": 0.5})
    page = plans._repr_html_()
    assert "Plans for 1e+06 parameters" in page and "extrapolated: " in page


def test_a_table_in_memory_can_be_read_with_other_names(caplog):
    foreign = TABLE.rename(columns={"n_params": "N", "loss": "val_loss"})
    foreign["share"] = 1 - foreign["replay"]
    foreign = foreign.drop(columns="replay")
    table = ptpp.read(foreign, rename={"replay": "1 - share"}, where="ptpp < 100")
    assert len(table) == (TABLE["ptpp"] < 100).sum()
    assert "'N' as n_params" in caplog.text


def test_anchors_need_a_held_out_stage():
    with pytest.raises(ptpp.InputError, match="anchors: they are cells of a held-out stage"):
        ptpp.fit(TABLE, law="gated", target="fr", anchors=5)


def test_the_example_runs_on_the_shipped_table(capsys):
    result = runpy.run_path(str(ROOT / "examples" / "plan_from_a_table.py"))
    assert capsys.readouterr().out.startswith("forecast error 0.7%, seed noise of one run 0.6%")
    assert result["plans"].table["feasible"].any()
    assert (result["curve"]["low"] < result["curve"]["loss"]).all()
