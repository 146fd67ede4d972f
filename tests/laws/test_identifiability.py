"""Identifiability: what rows can tell is found, and what they cannot is said."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from grid_fits import EARLY, ROWS, TABLE, anchored_fit, early_fit
from laws_grid import HELD_OUT, TARGET_PARAMS, observations, target_truth

from ptpp.laws import FitSettings, bootstrap, fit
from ptpp.laws.identifiability import (
    PROFILE_COLUMNS,
    THRESHOLD,
    cure,
    describe_band,
    design_effect,
    deviance,
    kappa_band,
    profile,
    verdicts,
)
from ptpp.table.kinds import target_rows


@pytest.fixture(scope="module")
def early_profile():
    return profile(early_fit())


@pytest.fixture(scope="module")
def early(early_profile):
    return {v.parameter: v for v in verdicts(early_fit(), early_profile).itertuples()}


@pytest.fixture(scope="module")
def anchored():
    return {v.parameter: v for v in verdicts(anchored_fit(), profile(anchored_fit())).itertuples()}


def test_every_fitted_parameter_has_a_profile_that_is_zero_at_the_fit(early_profile):
    assert list(early_profile.columns) == list(PROFILE_COLUMNS)
    fitted = set(early_fit().record.params) - set(early_fit().record.fixed)
    assert set(early_profile["parameter"]) == fitted | {"kappa"}  # which a prior holds
    for name, line in early_profile.groupby("parameter"):
        at_fit = (line["value"] - early_fit().record.params[name]).abs().idxmin()
        assert line.loc[at_fit, "deviance"] == pytest.approx(0, abs=1e-3)
        assert (line["objective"] >= early_fit().record.objective * (1 - 1e-6)).all()
        assert line["value"].is_monotonic_increasing


def test_a_prior_that_the_rows_contradict_has_a_profile_of_its_own():
    steep = {**TARGET_PARAMS, "kappa": 1.2, "G": 0.6}
    rows = ROWS.assign(loss=replace(target_truth("gated_floor"), params=steep).value(ROWS))
    noise = np.exp(0.002 * np.random.default_rng(0).standard_normal(len(rows)))
    fitted = fit("gated_floor", rows.assign(loss=rows["loss"] * noise))
    assert "kappa" in fitted.record.fixed and fitted.record.params["kappa"] == 0.4
    profiles = profile(fitted)
    found = {v.parameter: v for v in verdicts(fitted, profiles).itertuples()}
    assert found["kappa"].low > 0.4
    assert "the rows need" not in found["kappa"].words  # there are three stages
    kappa = profiles[profiles["parameter"] == "kappa"]
    assert kappa["deviance"].min() == 0
    # The others are measured from the fit, in which kappa stays held.
    others = profiles[profiles["parameter"] != "kappa"]
    assert others["objective"].min() >= fitted.record.objective * (1 - 1e-6)


def test_two_stages_leave_kappa_flat_and_anchors_identify_it(early, anchored):
    assert early["kappa"].verdict == "flat"
    assert "the rows need 3 values of ptpp" in early["kappa"].words
    assert anchored["kappa"].verdict == "identified"
    assert anchored["kappa"].low < TARGET_PARAMS["kappa"] < anchored["kappa"].high


def test_intervals_of_identified_parameters_hold_the_truth(early):
    # Exponents do not depend on the reference point; each is covered nine times in ten.
    names = [n for n in ("alpha", "beta", "eta", "delta") if early[n].verdict == "identified"]
    assert len(names) >= 3
    held = [early[n].low <= TARGET_PARAMS[n] <= early[n].high for n in names]
    assert sum(held) >= len(names) - 1


def test_a_term_that_the_data_lack_is_not_called_identified():
    rows = EARLY.fit
    rows = rows.assign(loss=5 - 0.1 * rows["replay"] - 0.2 * np.log(rows["atpp"]))  # no size in it
    fitted = fit("chinchilla", rows, FitSettings(starts=8))
    found = {v.parameter: v for v in verdicts(fitted, profile(fitted)).itertuples()}
    assert "identified" not in {found["A"].verdict, found["alpha"].verdict}
    assert all(v.words.startswith(v.parameter) for v in found.values())


def test_rows_that_repeat_each_other_count_for_less():
    noise = np.random.default_rng(0)
    runs = np.repeat(np.arange(20), 5)
    alone, shared = noise.standard_normal(100), np.repeat(noise.standard_normal(20), 5)
    assert design_effect(shared, runs) == pytest.approx(5)
    assert design_effect(alone, runs) < 1.6
    assert 2 < design_effect(alone + 1.5 * shared, runs) < 5
    assert design_effect(alone, np.arange(100)) == 1


@pytest.mark.parametrize("spread", ["laplace", "normal"])
def test_deviance_is_the_likelihood_ratio_of_the_errors(spread):
    # Residuals far above delta are Laplace errors, far below it normal ones.
    rows = early_fit().problem
    n, times = len(rows.loss), 2 if spread == "laplace" else 1
    least = n * 1e-3 * 1e-1 if spread == "laplace" else n * 1e-6 * 1e-4
    (found,) = deviance(np.array([1.05 * least]), least, rows, 1.0)
    assert found == pytest.approx(times * n * np.log(1.05), rel=0.02)
    assert deviance(np.array([1.05 * least]), least, rows, 2.0)[0] == pytest.approx(found / 2)


def test_the_forecast_over_the_band_differs_where_the_fit_does_not():
    fitted = bootstrap(early_fit(), 1)
    table = kappa_band(fitted, EARLY.held_out.drop(columns="loss"))
    assert set(table["parameter"]) == {"kappa"}
    assert (table["value"].min(), table["value"].max()) == fitted.law.parameters[-1].band
    assert np.ptp(table["objective"]) < 0.02 * table["objective"].min()
    assert np.ptp(table["mean_loss"]) > 0.05


def test_the_reason_and_the_cure_are_described():
    assert describe_band(bootstrap(early_fit(), 1)) == (
        "2 PTPP stages (15, 31) cannot identify kappa, the curvature of the floor: the forecast is "
        "the band over kappa from 0.05 to 1.5, and its point fit has 0.4, a prior"
    )
    words = cure(TABLE, "fr", HELD_OUT)
    # 6 N tokens: 93 N of pre-training and 16 N of adaptation at each of two stages.
    stages = f"further stages at PTPP 62 and 124 ({6 * 16832**2 * (93 + 32):.2g} FLOPs)"
    assert stages in words
    assert "stage" not in cure(TABLE, "fr", 31)  # doubling leads beyond it
    assert "anchors at PTPP 279" in words
    # 6 N tokens: 248 N of pre-training and 16 N of adaptation, N = 16832.
    assert f"{6 * 16832**2 * (248 + 16):.2g} FLOPs" in words


def test_the_threshold_is_that_of_a_90_percent_interval():
    assert pytest.approx(2.7055, abs=1e-4) == THRESHOLD


def test_without_noise_every_parameter_is_identified_tightly():
    rows = target_rows(observations("gated"), "fr")
    fitted = fit("gated", rows, FitSettings(starts=8))
    for verdict in verdicts(fitted, profile(fitted)).itertuples():
        assert verdict.verdict == "identified"
        assert pd.notna([verdict.low, verdict.high]).all()
