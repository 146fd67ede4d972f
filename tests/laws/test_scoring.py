"""Scores, against numbers worked out by hand and by numpy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws_grid import HELD_OUT, observations

from ptpp.errors import InputError
from ptpp.laws import Experiment, FitSettings, score
from ptpp.laws.experiment import score_table
from ptpp.table.noise import seed_noise

losses = st.lists(st.floats(min_value=0.5, max_value=10), min_size=3, max_size=20)


def test_scores_of_a_small_example():
    scores = score([2.0, 4.0], [2.2, 4.0])
    assert scores["mae_rel"] == pytest.approx(0.2 / 6)
    assert scores["mape"] == pytest.approx(0.1 / 2)
    assert scores["rmse"] == pytest.approx(np.sqrt(0.04 / 2))
    assert scores["r2"] == pytest.approx(1 - 0.04 / 2)
    assert scores["huber_log"] == pytest.approx(1e-3 * (np.log(1.1) - 0.5e-3) / 2)
    assert scores["calibration_slope"] == pytest.approx(2 / 1.8)
    assert scores["calibration_intercept"] == pytest.approx(4 - 4 * 2 / 1.8)


@given(losses)
def test_a_perfect_prediction_is_perfect(values):
    scores = score(values, values)
    assert scores["huber_log"] == scores["mae_rel"] == scores["rmse"] == scores["mape"] == 0
    if np.ptp(values) > 1e-3:
        assert scores["r2"] == 1
        assert scores["calibration_slope"] == pytest.approx(1, rel=1e-6)
        assert scores["calibration_intercept"] == pytest.approx(0, abs=1e-5)


@given(losses, st.integers(0, 1000))
def test_the_calibration_line_is_least_squares_of_observed_on_predicted(values, seed):
    observed = np.array(values)
    predicted = observed + 0.1 * np.random.default_rng(seed).standard_normal(len(values))
    scores = score(observed, predicted)
    slope, intercept = np.polyfit(predicted, observed, 1)
    assert scores["calibration_slope"] == pytest.approx(slope, rel=1e-5, abs=1e-6)
    assert scores["calibration_intercept"] == pytest.approx(intercept, rel=1e-5, abs=1e-5)


def test_what_does_not_exist_is_not_a_number():
    one = score([2.0], [2.1])
    assert np.isnan([one["r2"], one["calibration_slope"], one["calibration_intercept"]]).all()
    assert np.isnan(score([2.0, 3.0], [2.5, 2.5])["calibration_slope"])
    assert np.isnan(score([2.0, 3.0], [2.5, -1.0])["huber_log"])


@pytest.mark.parametrize(("observed", "predicted"), [([], []), ([1.0], [1.0, 2.0])])
def test_unequal_or_no_rows_are_refused(observed, predicted):
    with pytest.raises(InputError, match="score: "):
        score(observed, predicted)


def test_the_score_table_stands_beside_the_noise_floor():
    table = observations("gated", noise=0.004)
    experiment = Experiment(table, HELD_OUT)
    few = FitSettings(starts=4)
    fits = [experiment.fit(law, "early_to_late", "fr", few) for law in ("gated", "dcpt")]
    frame = score_table(fits, experiment)
    labels = ["law", "protocol", "domain", "information", "forecast", "n_fit", "n_held_out"]
    assert frame.columns[:7].tolist() == labels
    # In the order of the zoo, and last what a law has to beat.
    assert frame["law"].tolist() == ["dcpt", "gated", "last_stage"]
    assert (frame["n_held_out"] == 60).all() and frame["n_fit"].tolist() == [120, 120, 0]
    late = table[(table["domain"] == "fr") & (table["ptpp"] == HELD_OUT)]
    assert (frame["noise_floor"] == seed_noise(late)).all()
