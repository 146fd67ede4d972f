"""Levels of information: what a forecast knew of the checkpoint, and what it has to beat."""

import numpy as np
import pandas as pd
import pytest
from laws_grid import GRID, HELD_OUT, observations

from ptpp.errors import InputError
from ptpp.laws import Experiment, FitSettings, get_law, score
from ptpp.laws.experiment import SCORE_COLUMNS, predictions, score_table
from ptpp.laws.from_table import FitOptions, default_law, fit_law
from ptpp.laws.levels import LAST_STAGE, information_of, last_stage_losses
from ptpp.laws.misfit import krige
from ptpp.laws.rows import anchors_of, cells_of, law_rows
from ptpp.table.anchors import Cell, choose_anchors
from ptpp.table.kinds import is_before, is_stage, is_sweep, target_rows

ANCHORS = tuple(choose_anchors(GRID, 8))
TABLE = observations("gated", noise=0.01)
EXPERIMENT = Experiment(TABLE, HELD_OUT, ANCHORS)
FEW = FitSettings(starts=2)
CELL = ["size", "replay", "atpp"]


@pytest.fixture(scope="module")
def fits():
    asked = (
        ("dcpt", "early_to_late", "fr"),
        ("dcpt", "with_anchors", "fr"),
        ("state", "early_to_late", "fr"),
        ("state", "with_anchors", "fr"),
        ("forgetting", "early_to_late", "en"),
        ("forgetting", "with_anchors", "en"),
        ("forgetting_without_replay", "early_to_late", "en"),
    )
    fits = [EXPERIMENT.fit(law, protocol, domain, FEW) for law, protocol, domain in asked]
    return [krige(one, HELD_OUT) if one.record.law == "state" else one for one in fits]


@pytest.fixture(scope="module")
def scores(fits):
    return score_table(fits, EXPERIMENT)


def labels_of(frame):
    return list(zip(frame["information"], frame["forecast"], strict=True))


def test_every_score_stands_in_a_level_of_information(scores):
    assert scores.columns.tolist() == list(SCORE_COLUMNS)

    def of(law, protocol):
        return labels_of(scores[(scores["law"] == law) & (scores["protocol"] == protocol)])

    assert of("dcpt", "early_to_late") == [("early", "law")]
    assert of("dcpt", "with_anchors") == [("anchors", "law")]
    both = [("early", "law"), ("early", "kriged"), ("zero_shot", "law"), ("zero_shot", "kriged")]
    assert of("state", "early_to_late") == both
    assert of("state", "with_anchors") == [("anchors", "law"), ("anchors", "kriged")]
    assert of("forgetting", "early_to_late") == [("zero_shot", "law")]
    assert of("forgetting", "with_anchors") == [("anchors", "law")]
    assert of("forgetting_without_replay", "early_to_late") == [("zero_shot", "law")]


def test_scores_are_those_of_the_cells(fits, scores):
    state = fits[2]
    cells = EXPERIMENT.split_of(state).held_out
    assert len(cells) == 60 and cells["n_seeds"].tolist() == [
        3 if size == "xs" else 1 for size in cells["size"]
    ]
    rows = scores[(scores["law"] == "state") & (scores["protocol"] == "early_to_late")]
    rows = rows.set_index(["information", "forecast"])
    alone = score(cells["loss"], state.loss(cells))["mae_rel"]
    kriged = score(cells["loss"], state.forecast(cells)[0])["mae_rel"]
    assert rows.loc[("zero_shot", "law"), "mae_rel"] == pytest.approx(alone, rel=1e-12)
    assert rows.loc[("zero_shot", "kriged"), "mae_rel"] == pytest.approx(kriged, rel=1e-12)
    assert (rows["n_fit"] == 200).all()  # five runs per stage, replay and budget
    # From the early stages alone, base losses are forecast as well.
    guess = EXPERIMENT.early_base_losses("fr")
    values = [guess.find(n, p)[0] for n, p in zip(cells["n_params"], cells["ptpp"], strict=True)]
    early = score(cells["loss"], state.loss(cells.assign(base_loss=values)))["mae_rel"]
    assert rows.loc[("early", "law"), "mae_rel"] == pytest.approx(early, rel=1e-9)


def test_the_last_stage_unchanged_stands_beside_the_laws(scores):
    last = scores[scores["law"] == LAST_STAGE]
    assert list(zip(last["domain"], labels_of(last), strict=True)) == [
        ("en", ("zero_shot", "law")),
        ("fr", ("early", "law")),
    ]
    assert (last["protocol"] == "early_to_late").all() and (last["n_fit"] == 0).all()
    rows = target_rows(TABLE, "fr").set_index(CELL)
    late, before = (rows.loc[rows["ptpp"] == stage, "loss"] for stage in (HELD_OUT, 31))
    expected = score(late, before.loc[late.index])
    for name, value in expected.items():
        assert last.set_index("domain").loc["fr", name] == pytest.approx(value, rel=1e-12)


def test_the_last_stage_of_forgetting_is_its_change_upon_the_cell_s_own_loss(fits):
    law, forgetting = get_law("forgetting"), fits[4]
    cells = EXPERIMENT.split_of(forgetting).held_out
    found = last_stage_losses(TABLE, cells, HELD_OUT, law, "en")
    rows = cells_of(law_rows(TABLE, law, "en"))
    before = rows[rows["ptpp"] == 31].set_index(CELL)
    change = (before["loss"] - before["zero_shot_loss"]).loc[cells[CELL].apply(tuple, axis=1)]
    np.testing.assert_allclose(found, change.to_numpy() + cells["zero_shot_loss"], rtol=1e-12)


def test_a_cell_that_the_last_stage_lacks_has_no_such_loss():
    cells = EXPERIMENT.split("dcpt", "early_to_late", "fr").held_out
    dropped = (TABLE["ptpp"] == 31) & (TABLE["size"] == "m") & (TABLE["replay"] == 0.25)
    found = last_stage_losses(TABLE[~dropped], cells, HELD_OUT, get_law("dcpt"), "fr")
    absent = (cells["size"] == "m") & (cells["replay"] == 0.25)
    assert (found.isna() == absent).all()
    late = TABLE[is_stage(TABLE, HELD_OUT)]
    assert last_stage_losses(late, cells, HELD_OUT, get_law("dcpt"), "fr").isna().all()


def test_predictions_have_no_interval_where_the_base_loss_is_forecast(fits):
    table = predictions([fits[2]], EXPERIMENT)
    by_level = table.groupby(["information", "forecast"])
    assert by_level.size().to_dict() == {
        (level, forecast): 180 for level in ("early", "zero_shot") for forecast in ("law", "kriged")
    }
    known = by_level["low"].apply(lambda low: low.notna().mean())
    assert known["zero_shot", "kriged"] == 1 and known["early", "kriged"] == 0
    assert set(table["role"]) == {"fit", "held_out"}
    assert (table["role"] == "held_out").sum() == 4 * 60


@pytest.mark.parametrize(
    ("law", "without_anchors"),
    [("dcpt", "early"), ("gated_floor", "early"), ("state", "zero_shot"),
     ("checkpoint_informed", "zero_shot"), ("forgetting", "zero_shot")],
)  # fmt: skip
def test_what_a_law_reads_is_what_it_knows(law, without_anchors):
    assert information_of(get_law(law), "early_to_late") == without_anchors
    assert information_of(get_law(law), "with_anchors") == "anchors"


def test_a_law_takes_the_anchors_that_it_speaks_of():
    cells = [Cell("xs", replay, 4.0) for replay in (0.0, 0.25, 0.0, 0.5)]
    assert anchors_of(get_law("dcpt"), cells) == cells
    assert anchors_of(get_law("forgetting"), cells) == [cells[1], cells[3]]
    assert anchors_of(get_law("forgetting_without_replay"), cells) == [cells[0], cells[2]]
    fitted = EXPERIMENT.split("forgetting", "with_anchors", "en").fit
    late = fitted[is_stage(fitted, HELD_OUT)]
    expected = {(c.size, c.replay, c.atpp) for c in ANCHORS if c.replay > 0}
    assert set(late[CELL].itertuples(index=False, name=None)) == expected


def test_the_law_by_default_is_state_where_base_losses_are_known():
    assert default_law(TABLE, "fr") == "state"
    fr = TABLE[TABLE["domain"] == "fr"].reset_index(drop=True)
    assert default_law(fr, "fr") == "gated_floor"
    assert default_law(fr.assign(base_loss=3.0), "fr") == "state"
    # One checkpoint that was not measured in one base domain, and no law can read them all.
    lacking = (TABLE["domain"] == "ar") & (TABLE["size"] == "s") & (TABLE["ptpp"] == HELD_OUT)
    assert default_law(TABLE[~(lacking & (TABLE["atpp"] == 0))], "fr") == "gated_floor"
    columns = ["n_params", "ptpp", "replay", "adapt_tokens", "loss", "domain"]
    assert default_law(fr[columns], "fr") == "gated_floor"
    options = FitOptions(held_out=HELD_OUT, starts=1, draws=40)
    fit = fit_law(TABLE, target="fr", options=options)
    assert fit.fitted.record.law == "state"
    with pytest.raises(
        InputError, match=r"law state needs base_loss \(the checkpoint's on base text"
    ):
        fit.predict(n_params=1e5, ptpp=279, replay=0.1, atpp=4)


def test_laws_that_read_the_base_loss_are_fitted_to_runs_and_scored_on_cells():
    runs = law_rows(TABLE, "state", "fr")
    swept = TABLE[(TABLE["domain"] == "fr") & is_sweep(TABLE)]
    assert len(runs) == len(swept) == 300 and (runs["n_seeds"] == 1).all()
    zero_shot = TABLE[(TABLE["atpp"] == 0) & TABLE["domain"].isin(["en", "ar"])]
    own = zero_shot.groupby(["size", "ptpp", "seed"])["loss"].mean()
    expected = own.loc[list(runs[["size", "ptpp", "seed"]].itertuples(index=False, name=None))]
    np.testing.assert_allclose(runs["base_loss"], expected, rtol=1e-12)
    assert runs.loc[runs["size"] == "xs"].groupby("ptpp")["base_loss"].nunique().eq(3).all()
    # Laws that read nothing of the checkpoint take means over seeds.
    means = law_rows(TABLE, "gated", "fr")
    assert len(means) == 180 and "seed" not in means
    cells = cells_of(runs)
    pd.testing.assert_series_equal(cells["loss"], means["loss"])
    assert cells_of(means) is means
    by_cell = runs.groupby(["size", "ptpp"])["base_loss"].mean()
    averaged = cells.set_index(["size", "ptpp"])["base_loss"]
    np.testing.assert_allclose(averaged, by_cell.loc[averaged.index], rtol=1e-12)
    parts = EXPERIMENT.split("state", "early_to_late", "fr")
    assert len(parts.fit) == 200 and is_before(parts.fit, HELD_OUT).all()
    pd.testing.assert_frame_equal(
        parts.held_out[["size", "replay", "atpp", "loss"]],
        EXPERIMENT.split("gated", "early_to_late", "fr").held_out[
            ["size", "replay", "atpp", "loss"]
        ],
    )
