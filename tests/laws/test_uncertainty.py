"""Bootstrap and prediction intervals: what is resampled, what is certain, what is covered."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from grid_fits import ANCHORED, EARLY, ROWS, anchored_fit, early_fit
from hypothesis import given, settings
from hypothesis import strategies as st
from laws_grid import HELD_OUT, observations

from ptpp.errors import InputError
from ptpp.laws import (
    Draws,
    FitSettings,
    bootstrap,
    declared_law,
    early_to_late,
    fit,
    get_law,
)
from ptpp.laws.rows import law_rows
from ptpp.laws.solver import huber
from ptpp.laws.uncertainty import (
    Resamples,
    choose_resamples,
    coverage,
    refits,
    resample_counts,
    run_numbers,
)
from ptpp.table.kinds import target_rows

BAND = get_law("gated_floor").parameters[-1].band


@pytest.fixture(scope="module")
def banded():
    return bootstrap(early_fit(), 60)


@pytest.fixture(scope="module")
def informed():
    return bootstrap(anchored_fit(), 60)


def row_counts(frame, draws, seed=0):
    """How often each row counts in resamples for fits (draws, n)."""
    resamples = choose_resamples(frame, draws, seed)
    return resamples.counts[:, resamples.numbers]


def test_all_rows_of_a_run_are_drawn_together_and_each_stage_keeps_its_weight():
    counts = row_counts(ANCHORED.fit, 50)
    runs = run_numbers(ANCHORED.fit)
    for run in np.unique(runs):
        assert (counts[:, runs == run] == counts[:, runs == run][:, :1]).all()
    # Every early run has as many rows as any other, so the weight of a stage in rows is kept too.
    for stage in (15, 31):
        here = (ANCHORED.fit["ptpp"] == stage).to_numpy()
        assert (counts[:, here].sum(axis=1) == here.sum()).all()


def test_equal_rows_give_equal_draws_whatever_their_losses():
    other = EARLY.fit.assign(loss=1.0)
    for count in (row_counts, resample_counts):
        assert (count(EARLY.fit, 5, 3) == count(other, 5, 3)).all()
        assert (count(EARLY.fit, 5, 3) != count(EARLY.fit, 5, 4)).any()


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.integers(1, 4),
    stages=st.integers(1, 3),
    replays=st.integers(2, 5),
    seed=st.integers(0, 2**31),
)
def test_every_draw_can_be_fitted(sizes, stages, replays, seed):
    cells = [
        (10.0 ** (4 + n), 2.0**p * 10, r / 5, 2.0**a)
        for n in range(sizes)
        for p in range(stages)
        for r in range(replays)
        for a in range(3)
    ]
    frame = pd.DataFrame(cells, columns=["n_params", "ptpp", "replay", "atpp"])
    counts = row_counts(frame, 20, seed)
    for drawn in counts:
        kept = frame[drawn > 0]
        for column, levels in (("n_params", sizes), ("ptpp", stages), ("replay", replays)):
            assert kept[column].nunique() >= min(4, levels)
        assert drawn.sum() == len(frame)


def test_without_noise_every_draw_finds_the_law():
    rows = target_rows(observations("gated"), "fr")
    parts = early_to_late(rows, HELD_OUT)
    low, high = bootstrap(fit("gated", parts.fit), 10).interval(parts.held_out)
    np.testing.assert_allclose(low, parts.held_out["loss"], rtol=1e-4)
    np.testing.assert_allclose(high, parts.held_out["loss"], rtol=1e-4)


def test_intervals_of_the_true_law_cover_held_out_losses_about_as_often_as_they_say(informed):
    low, high = informed.interval(ANCHORED.held_out)
    assert 0.75 <= coverage(ANCHORED.held_out["loss"], low, high) <= 1
    predicted = informed.loss(ANCHORED.held_out)
    assert ((low < predicted) & (predicted < high)).all()


def test_a_curvature_that_two_stages_cannot_tell_is_drawn_from_its_whole_band(banded):
    draws, law, problem = banded.draws, banded.law, banded.problem
    assert draws.drawn == ("kappa",)
    kappa = draws.params[:, draws.names.index("kappa")]
    low, high = BAND
    assert low <= kappa.min() < low + 0.1
    assert high - 0.1 < kappa.max() <= high
    # The band fits the rows equally well and yet forecasts differently.
    objectives = [
        problem.objective(law.to_solver(dict(zip(law.names, p, strict=True))))
        for p in draws.band_params
    ]
    assert max(objectives) < 1.02 * early_fit().record.objective
    least, most = banded.band(EARLY.held_out)
    assert ((most - least) / least).mean() > 0.02


def test_with_anchors_there_is_no_band(informed):
    assert informed.draws.drawn == ()
    assert informed.band(ANCHORED.held_out) is None


def test_a_band_belongs_to_the_floor_s_curvature_and_not_to_a_name():
    """`saturating_gate` has a kappa too: how fast its gate saturates, which has no band."""
    fitted = bootstrap(fit("saturating_gate", EARLY.fit, FitSettings(starts=4)), 60)
    assert fitted.draws.drawn == ("kappa",)
    kappa = fitted.draws.params[:, fitted.draws.names.index("kappa")]
    assert kappa.max() > 1.2  # anywhere within its bounds
    assert fitted.draws.band_name == "" and fitted.band(EARLY.held_out) is None


def test_forgetting_draws_predict_losses_not_changes():
    parts = early_to_late(law_rows(observations(noise=0.01), "forgetting", "en"), HELD_OUT)
    predicted = bootstrap(fit("forgetting", parts.fit), 5).loss_draws(parts.held_out)
    assert predicted.shape == (5, len(parts.held_out))
    np.testing.assert_allclose(
        predicted, np.tile(parts.held_out["loss"], (5, 1)), rtol=0.2
    )  # fmt: skip


def test_equal_seeds_give_equal_draws_and_the_file_gives_them_back(tmp_path, banded):
    again = bootstrap(early_fit(), 60).draws
    banded = banded.draws
    again.to_npz(tmp_path / "a.b.npz")
    banded.to_npz(tmp_path / "c.npz")
    assert (tmp_path / "a.b.npz").read_bytes() == (tmp_path / "c.npz").read_bytes()
    back = Draws.from_npz(tmp_path / "c.npz")
    assert back.names == banded.names
    assert back.drawn == banded.drawn
    assert back.resamples == banded.resamples
    np.testing.assert_array_equal(back.params, banded.params)


def test_a_damaged_or_absent_file_is_refused_in_one_line(tmp_path):
    path = tmp_path / "x.npz"
    with pytest.raises(InputError, match="no such file"):
        Draws.from_npz(path)
    for content in (b"", b"PK\x03\x04 not a zip", b"text"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="not bootstrap draws; accepted is") as error:
            Draws.from_npz(path)
        assert "\n" not in str(error.value)
    np.savez(path, names=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="not bootstrap draws"):
        Draws.from_npz(path)


def test_other_rows_than_the_fit_s_are_refused():
    with pytest.raises(InputError, match="60 rows, but its fit was made on 120"):
        bootstrap(replace(early_fit(), rows=EARLY.held_out))
    with pytest.raises(InputError, match="0 draws; accepted is 1 or more"):
        resample_counts(EARLY.fit, 0, seed=0)


def refit(fitted, weights):
    """Params as the solver's vectors and objectives of refits to weighted rows."""
    starts = np.tile(fitted.theta, (len(weights), 1))
    return refits(fitted.problem, starts, fitted.problem.free, weights.astype(float))


@pytest.mark.parametrize("law", ["gated_floor", "transfer_offset"])
def test_refits_equal_fits_of_the_resampled_rows(law):
    fitted = fit(law, ROWS, FitSettings(starts=8))
    counts = np.random.default_rng(0).multinomial(len(ROWS), np.full(len(ROWS), 1 / 180), size=2)
    for count, theta, objective in zip(counts, *refit(fitted, counts), strict=True):
        copies = ROWS.loc[ROWS.index.repeat(count)]
        # The drawn fit may find a better minimum elsewhere, but never a better one nearby.
        drawn = fit(law, copies, FitSettings(starts=4)).record
        assert drawn.objective * (1 - 1e-6) <= objective <= drawn.objective * 1.05
        there = replace(fitted.record, params=fitted.law.from_solver(theta))
        residuals = np.log(replace(fitted, record=there).loss(copies) / copies["loss"])
        assert objective == pytest.approx(huber(residuals, 1e-3).sum(), rel=1e-7)


def test_equal_weights_give_the_fit_itself():
    fitted = anchored_fit()
    thetas, objectives = refit(fitted, np.ones((2, len(fitted.rows))))
    np.testing.assert_allclose(objectives, fitted.record.objective, rtol=1e-6)
    np.testing.assert_allclose(thetas[0], thetas[1])


def test_a_bootstrap_spreads_as_refitting_fresh_noise_does():
    few = FitSettings(starts=8)
    rows = [target_rows(observations("gated", 0.01, seed), "fr") for seed in range(7)]
    fits = [fit("gated", each, few) for each in rows]
    spread = bootstrap(fits[0], 60).loss_draws(ROWS).std(axis=0).mean()
    fresh = [one.loss(ROWS) for one in fits[1:]]
    assert 0.5 < spread / np.std(fresh, axis=0).mean() < 2
    truth = target_rows(observations("gated"), "fr")["loss"]
    assert np.abs(fits[0].loss(ROWS) - truth).mean() < 3 * spread


def tiny(sizes, stages, atpps, replays=(0.1,), noise=0.01):
    """Rows of a grid, one run per size, stage and replay, whose losses follow no law exactly."""
    cells = [(n, p, r, a) for n in sizes for p in stages for r in replays for a in atpps]
    frame = pd.DataFrame(cells, columns=["n_params", "ptpp", "replay", "atpp"])
    frame["size"], frame["adapt_tokens"] = (
        frame["n_params"].astype(str),
        frame.eval("n_params*atpp"),
    )
    wiggle = np.random.default_rng(0).standard_normal(len(frame))
    frame["loss"] = 1 + 5 * frame["n_params"] ** -0.2 + frame["adapt_tokens"] ** -0.1
    return frame.assign(loss=frame["loss"] * np.exp(noise * wiggle))


SIZES = (1000, 4000, 16000)
TINY = {
    "runs within stages": (tiny(SIZES, (10, 20, 40), (1, 2, 4), (0.1, 0.3)), "run", True),
    "a run per stage": (tiny((1000,), np.geomspace(10, 999, 9), (1, 2, 4)), "run", False),
    "three sizes": (tiny(SIZES, (10,), (1, 2, 4, 8, 16, 32)), "row", True),
    "four rows": (tiny(SIZES[:2], (10,), (1, 2)), "residual", True),
}


@pytest.mark.parametrize(("rows", "unit", "strata"), TINY.values(), ids=TINY)
def test_where_runs_are_too_few_rows_are_resampled_and_then_residuals(rows, unit, strata):
    resamples = choose_resamples(rows, 200)
    assert (resamples.unit, resamples.strata) == (unit, strata)
    assert len(np.unique(resamples.counts, axis=0)) >= 30
    assert resamples.digest == choose_resamples(rows.assign(loss=1.0), 200).digest
    assert resamples.digest != choose_resamples(rows, 200, 1).digest
    if unit != "residual":
        assert all(weights.sum() == len(rows) for weights in resamples.weights())


LINE = {
    "name": "line",
    "expression": "exp(a) * adapt_tokens**-b",
    "parameters": {"a": {"low": -3, "high": 3}, "b": {"low": 0, "high": 2}},
}


@pytest.mark.parametrize(
    ("rows", "unit"), [(TINY["three sizes"][0], "row"), (TINY["four rows"][0], "residual")]
)
def test_tables_too_small_to_resample_runs_have_draws_that_differ(rows, unit):
    fitted = bootstrap(fit(declared_law(LINE, "line"), rows), 200)
    assert fitted.draws.unit == unit
    assert len(np.unique(fitted.draws.params.round(9), axis=0)) >= 30
    spread = fitted.draws.params.std(axis=0)
    assert (spread > 1e-4).all()
    assert np.abs(fitted.draws.params.mean(axis=0) - fitted.params[0]).max() < 3 * spread.max()


def test_tables_that_allow_no_thirty_resamples_are_refused_in_one_line():
    three = tiny(SIZES, (10,), (1,))
    with pytest.raises(
        InputError, match="bootstrap: 3 rows allow fewer than 30 different"
    ) as error:
        choose_resamples(three, 200)
    assert "\n" not in str(error.value)
    four = tiny(SIZES[:2], (10,), (1, 2))
    wide = {"low": -1, "high": 1}
    curve = {
        "name": "curve",
        "expression": "exp(a) * adapt_tokens**-b + c*atpp + e",
        "parameters": {**LINE["parameters"], "c": wide, "e": wide},
    }
    exact = fit(declared_law(curve, "curve"), four)
    with pytest.raises(InputError, match="a fit of 4 parameters leaves no residuals"):
        bootstrap(exact)
    with pytest.raises(InputError, match="of 4 rows; accepted are 125000000 draws"):
        choose_resamples(four, 10**9)


def test_seeds_apart_share_resamples_with_their_means_whatever_is_resampled():
    for rows, unit, _ in TINY.values():
        apart = pd.concat([rows.assign(seed=0), rows.assign(seed=1)], ignore_index=True)
        one, two = choose_resamples(rows, 50), choose_resamples(apart, 50)
        assert one.unit == two.unit == unit and one.digest == two.digest


def test_residuals_stand_where_their_source_had_them():
    numbers = np.array([0, 0, 1, 1, 2])
    resamples = Resamples("residual", numbers, np.array([[1, 0, 0], [2, 2, 2]], np.int32))
    own, scaled = np.zeros(5), np.arange(5.0)
    np.testing.assert_array_equal(resamples.shifts(own, scaled), [[2, 3, 0, 1, 0], [4, 4, 4, 4, 4]])
