"""Bootstrap and prediction intervals: what is resampled, what is certain, what is covered."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws_grid import ATPPS, HELD_OUT, REPLAYS, observations

from ptpp.errors import InputError
from ptpp.laws import early_to_late, fit, predict_loss, split
from ptpp.laws.uncertainty import (
    BANDS,
    Draws,
    Rows,
    band,
    bootstrap,
    coverage,
    predict_loss_draws,
    prediction_interval,
    resample_counts,
    run_numbers,
)
from ptpp.table.anchors import choose_anchors
from ptpp.table.observations import forgetting_rows, target_rows

ANCHORS = choose_anchors(["xs", "s"], REPLAYS, ATPPS, 20)
ROWS = target_rows(observations(noise=0.01), "fr")
EARLY = early_to_late(ROWS, HELD_OUT)
ANCHORED = split("with_anchors", ROWS, HELD_OUT, ANCHORS)
FLOOR = fit("gated_floor", EARLY.fit)
INFORMED = fit("gated_floor", ANCHORED.fit)


@pytest.fixture(scope="module")
def banded():
    return bootstrap(FLOOR, EARLY.fit, 60)


@pytest.fixture(scope="module")
def informed():
    return bootstrap(INFORMED, ANCHORED.fit, 60)


def test_all_rows_of_a_run_are_drawn_together_and_each_stage_keeps_its_weight():
    counts = resample_counts(ANCHORED.fit, 50)
    runs = run_numbers(ANCHORED.fit)
    for run in np.unique(runs):
        assert (counts[:, runs == run] == counts[:, runs == run][:, :1]).all()
    # Every early run has as many rows as any other, so the weight of a stage in rows is kept too.
    for stage in (15, 31):
        here = (ANCHORED.fit["ptpp"] == stage).to_numpy()
        assert (counts[:, here].sum(axis=1) == here.sum()).all()


def test_equal_rows_give_equal_draws_whatever_their_losses():
    other = EARLY.fit.assign(loss=1.0)
    assert (resample_counts(EARLY.fit, 5, 3) == resample_counts(other, 5, 3)).all()
    assert (resample_counts(EARLY.fit, 5, 3) != resample_counts(EARLY.fit, 5, 4)).any()


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
    counts = resample_counts(frame, 20, seed)
    for drawn in counts:
        kept = frame[drawn > 0]
        for column, levels in (("n_params", sizes), ("ptpp", stages), ("replay", replays)):
            assert kept[column].nunique() >= min(4, levels)
        assert drawn.sum() == len(frame)


def test_without_noise_every_draw_finds_the_law():
    rows = target_rows(observations("gated"), "fr")
    parts = early_to_late(rows, HELD_OUT)
    record = fit("gated", parts.fit)
    draws = bootstrap(record, parts.fit, 10)
    low, high = prediction_interval(record, draws, parts.held_out)
    np.testing.assert_allclose(low, parts.held_out["loss"], rtol=1e-4)
    np.testing.assert_allclose(high, parts.held_out["loss"], rtol=1e-4)


def test_intervals_of_the_true_law_cover_held_out_losses_about_as_often_as_they_say(informed):
    low, high = prediction_interval(INFORMED, informed, ANCHORED.held_out, level=0.9)
    assert 0.75 <= coverage(ANCHORED.held_out["loss"], low, high) <= 1
    predicted = predict_loss(INFORMED, ANCHORED.held_out)
    assert ((low < predicted) & (predicted < high)).all()


def test_intervals_without_noise_and_of_a_lower_level_are_narrower(informed):
    def width(**how):
        low, high = prediction_interval(INFORMED, informed, ANCHORED.held_out, **how)
        return high - low

    assert (width(noise=False) < width()).all()
    assert (width(level=0.5) < width(level=0.9)).all()


def test_a_curvature_that_two_stages_cannot_tell_is_drawn_from_its_whole_band(banded):
    assert banded.drawn == ("kappa",)
    kappa = banded.params[:, banded.names.index("kappa")]
    low, high = BANDS["kappa"]
    assert low <= kappa.min() < low + 0.1
    assert high - 0.1 < kappa.max() <= high
    # The band fits the rows equally well and yet forecasts differently.
    rows = Rows.of(FLOOR, EARLY.fit)
    law = rows.law
    objectives = [
        rows.objective(law.to_solver(dict(zip(law.names, p, strict=True))))
        for p in banded.band_params
    ]
    assert max(objectives) < 1.02 * FLOOR.objective
    least, most = band(FLOOR, banded, EARLY.held_out)
    assert ((most - least) / least).mean() > 0.02


def test_with_anchors_there_is_no_band(informed):
    assert informed.drawn == ()
    assert band(INFORMED, informed, ANCHORED.held_out) is None


def test_forgetting_draws_predict_losses_not_changes():
    parts = early_to_late(forgetting_rows(observations(noise=0.01), "en"), HELD_OUT)
    record = fit("forgetting", parts.fit)
    draws = bootstrap(record, parts.fit, 5)
    predicted = predict_loss_draws(record, draws.params, parts.held_out)
    assert predicted.shape == (5, len(parts.held_out))
    np.testing.assert_allclose(
        predicted, np.tile(parts.held_out["loss"], (5, 1)), rtol=0.2
    )  # fmt: skip


def test_equal_seeds_give_equal_draws_and_the_file_gives_them_back(tmp_path, banded):
    again = bootstrap(FLOOR, EARLY.fit, 60)
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
        bootstrap(FLOOR, EARLY.held_out)
    with pytest.raises(InputError, match="0 draws; accepted is 1 or more"):
        resample_counts(EARLY.fit, 0)
