"""Score intervals, coverage and paired comparisons of laws."""

import numpy as np
import pytest
from laws_grid import ATPPS, HELD_OUT, REPLAYS, observations

from ptpp.errors import InputError
from ptpp.laws import FitSettings, predict_loss, score
from ptpp.laws.comparison import (
    Contender,
    comparison_table,
    coverage_table,
    interval_table,
    score_draws,
)
from ptpp.laws.experiment import fit_protocol, split_of
from ptpp.laws.uncertainty import bootstrap
from ptpp.table.anchors import choose_anchors, select

TABLE = observations(noise=0.01)
ANCHORS = select(TABLE, choose_anchors(["xs", "s"], REPLAYS, ATPPS, 20), HELD_OUT)
LAWS = ("dcpt", "gated", "gated_floor")


def contender(law, protocol="with_anchors", draws=60, seed=0):
    record = fit_protocol(
        TABLE, law, protocol, "fr", HELD_OUT, ANCHORS, FitSettings(starts=4)
    )  # fmt: skip
    parts = split_of(record, TABLE, HELD_OUT, ANCHORS)
    return Contender(record, bootstrap(record, parts.fit, draws, seed), parts.held_out)


@pytest.fixture(scope="module")
def contenders():
    return [contender(law) for law in LAWS]


def test_every_score_has_an_interval_around_its_value(contenders):
    table = interval_table(contenders).set_index(["law", "score"])
    for one in contenders:
        values = score(one.held_out["loss"], predict_loss(one.record, one.held_out))
        for name, value in values.items():
            row = table.loc[(one.record.law, name)]
            assert row["value"] == value
            assert row["low"] < row["high"]
        row = table.loc[(one.record.law, "mae_rel")]
        assert row["low"] < row["value"] < row["high"]


def test_a_draw_is_scored_with_its_own_fit_and_its_own_rows(contenders):
    one = contenders[-1]
    drawn = score_draws(one.record, one.draws, one.held_out)
    assert len(drawn) == len(one.draws.params)
    # One held-out run after another changes the score, so both parts must matter.
    same_fit = np.tile(one.draws.params[0], (len(drawn), 1))
    rows_only = score_draws(
        one.record,
        type(one.draws)(**{**vars(one.draws), "params": same_fit}),
        one.held_out,
    )
    assert 0 < rows_only["mae_rel"].std() < drawn["mae_rel"].std() * 1.5


def test_the_true_law_beats_the_baseline_in_every_draw(contenders):
    table = comparison_table(contenders)
    assert len(table) == 3
    assert (table["mae_rel"] <= table["other_mae_rel"]).all()
    row = table[(table["law"] == "gated_floor") & (table["other"] == "dcpt")].iloc[0]
    assert row["probability"] == 1
    assert row["high"] < 0


def test_a_law_against_itself_is_a_draw(contenders):
    table = comparison_table([contenders[0], contenders[0]])
    assert table["probability"].tolist() == [0.5]
    assert table["difference"].tolist() == [0]


def test_only_draws_of_the_same_resamples_are_compared(contenders):
    with pytest.raises(InputError, match="their draws are not of the same resamples"):
        comparison_table([contenders[0], contender("gated", seed=1)])
    # Another protocol is another comparison, not a mistake.
    assert len(comparison_table([contenders[0], contender("gated", "early_to_late")])) == 0


def test_coverage_is_measured_and_names_what_was_drawn(contenders):
    table = coverage_table([*contenders, contender("gated_floor", "early_to_late")])
    by_law = table.set_index(["protocol", "law"])
    assert by_law.coverage["with_anchors", "gated_floor"] > 0.7
    assert by_law.coverage["with_anchors", "dcpt"] < 0.7  # the wrong law is surer than right
    assert by_law.drawn["early_to_late", "gated_floor"] == "kappa"
    assert by_law.drawn["with_anchors", "gated_floor"] == ""
    assert (table["mean_width_of_law"] < table["mean_width"]).all()
