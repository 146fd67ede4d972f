"""Score intervals, coverage and paired comparisons of laws."""

from dataclasses import replace

import numpy as np
import pytest
from laws_grid import GRID, HELD_OUT, observations

from ptpp.errors import InputError
from ptpp.laws import Experiment, FitSettings, bootstrap
from ptpp.laws.comparison import comparison_table, coverage_table, interval_table, score_draws
from ptpp.table.anchors import choose_anchors

ANCHORS = tuple(choose_anchors(GRID, 20))
EXPERIMENT = Experiment(observations(noise=0.01), HELD_OUT, ANCHORS)
LAWS = ("dcpt", "gated", "gated_floor")


def fit_law(law, protocol="with_anchors", draws=40, seed=0):
    return bootstrap(EXPERIMENT.fit(law, protocol, "fr", FitSettings(starts=4)), draws, seed)


@pytest.fixture(scope="module")
def fits():
    return [fit_law(law) for law in LAWS]


def test_every_score_has_an_interval_around_its_value(fits):
    table = interval_table(fits, EXPERIMENT).set_index(["law", "score"])
    for one in fits:
        values = one.score(EXPERIMENT.split_of(one).held_out)
        for name, value in values.items():
            row = table.loc[(one.record.law, name)]
            assert row["value"] == value
            assert row["low"] < row["high"]
        row = table.loc[(one.record.law, "mae_rel")]
        assert row["low"] < row["value"] < row["high"]


def test_a_draw_is_scored_with_its_own_fit_and_its_own_rows(fits):
    one = fits[-1]
    held_out = EXPERIMENT.split_of(one).held_out
    drawn = score_draws(one, held_out)
    assert len(drawn) == len(one.draws.params)
    # One held-out run after another changes the score, so both parts must matter.
    same_fit = np.tile(one.draws.params[0], (len(drawn), 1))
    rows_only = score_draws(replace(one, draws=replace(one.draws, params=same_fit)), held_out)
    assert 0 < rows_only["mae_rel"].std() < drawn["mae_rel"].std() * 1.5


def test_the_true_law_beats_the_baseline_in_every_draw(fits):
    table = comparison_table(fits, EXPERIMENT)
    assert len(table) == 3
    assert (table["mae_rel"] <= table["other_mae_rel"]).all()
    row = table[(table["law"] == "gated_floor") & (table["other"] == "dcpt")].iloc[0]
    assert row["probability"] == 1
    assert row["high"] < 0


def test_a_law_against_itself_is_a_draw(fits):
    table = comparison_table([fits[0], fits[0]], EXPERIMENT)
    assert table["probability"].tolist() == [0.5]
    assert table["difference"].tolist() == [0]


def test_only_draws_of_the_same_resamples_are_compared(fits):
    with pytest.raises(InputError, match="their draws are not of the same resamples"):
        comparison_table([fits[0], fit_law("gated", seed=1)], EXPERIMENT)
    # Another protocol is another comparison, not a mistake.
    other = fit_law("gated", "early_to_late")
    assert len(comparison_table([fits[0], other], EXPERIMENT)) == 0


def test_coverage_is_measured_and_names_what_was_drawn(fits):
    table = coverage_table([*fits, fit_law("gated_floor", "early_to_late")], EXPERIMENT)
    by_law = table.set_index(["protocol", "law"])
    assert by_law.coverage["with_anchors", "gated_floor"] > 0.7
    assert by_law.coverage["with_anchors", "dcpt"] < 0.7  # the wrong law is surer than right
    assert by_law.drawn["early_to_late", "gated_floor"] == "kappa"
    assert by_law.drawn["with_anchors", "gated_floor"] == ""
    # The largest size is told apart, and each row says what its forecast knew and how it was made.
    one = fits[0]
    cells = EXPERIMENT.split_of(one).held_out
    cells = cells[cells["n_params"] == cells["n_params"].max()]
    low, high = one.interval(cells)
    inside = ((cells["loss"] >= low) & (cells["loss"] <= high)).mean()
    assert table.iloc[0]["coverage_largest"] == pytest.approx(inside)
    assert (table["forecast"] == "law").all()
    assert by_law.information.to_dict() == {
        key: "anchors" if key[0] == "with_anchors" else "early" for key in by_law.index
    }
