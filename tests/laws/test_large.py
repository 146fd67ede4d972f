"""Tables of many rows: the same fit and the same draws as by the solver on all rows."""

import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from laws_grid import REFERENCE, TARGET_PARAMS, Truth

from ptpp.laws import FitSettings, bootstrap, fit, large
from ptpp.laws.solver import Solution

STAGES = (15.0, 31.0, 62.0, 124.0)


def rows_of(stages, count, noise=0.01):
    """About so many rows per stage, in forty runs each, with seeded noise."""
    generator = np.random.default_rng(1)
    runs = [(n, p, r) for n in np.geomspace(2e4, 2e6, 8).round() for p in stages
            for r in (0.0, 0.1, 0.25, 0.5, 0.75)]  # fmt: skip
    frame = pd.DataFrame(runs, columns=["n_params", "ptpp", "replay"]).merge(
        pd.DataFrame({"atpp": np.geomspace(0.5, 32, -(-count // 40))}), how="cross"
    )
    frame["adapt_tokens"] = frame["atpp"] * frame["n_params"]
    loss = Truth("gated_floor", TARGET_PARAMS, REFERENCE).value(frame)
    return frame.assign(loss=loss * np.exp(noise * generator.standard_normal(len(frame))))


SETTINGS = FitSettings(starts=6)


@pytest.mark.parametrize("stages", [STAGES, STAGES[:2]], ids=["four stages", "two stages"])
def test_a_large_table_has_the_fit_and_the_draws_of_all_its_rows(monkeypatch, stages):
    rows = rows_of(stages, 6000 // len(stages))
    assert len(rows) > large.LARGE
    quick = bootstrap(fit("gated_floor", rows, SETTINGS), 30)
    monkeypatch.setattr(large, "LARGE", len(rows))
    exact = bootstrap(fit("gated_floor", rows, SETTINGS), 30)
    assert quick.record.objective == pytest.approx(exact.record.objective, rel=1e-6)
    assert quick.record.converged and quick.record.share_1e6 == exact.record.share_1e6
    assert quick.draws.resamples == exact.draws.resamples
    assert quick.draws.drawn == exact.draws.drawn == (("kappa",) if len(stages) == 2 else ())
    late = rows.assign(ptpp=rows["ptpp"] * 2).iloc[::50]
    one, two = (np.log(each.loss_draws(late)) for each in (quick, exact))
    np.testing.assert_allclose(one.std(axis=0), two.std(axis=0), rtol=0.1)
    assert np.sqrt(((one - two) ** 2).mean()) < 0.15 * two.std(axis=0).mean()


def test_up_to_the_limit_nothing_changes(monkeypatch):
    rows = rows_of(STAGES[:2], 400)
    usual = bootstrap(fit("gated_floor", rows, SETTINGS), 5)
    monkeypatch.setattr(large, "LARGE", len(rows))
    again = bootstrap(fit("gated_floor", rows, SETTINGS), 5)
    assert usual.record == again.record
    np.testing.assert_array_equal(usual.draws.params, again.draws.params)


def test_thinned_rows_hold_every_stage(monkeypatch):
    problem = fit("gated_floor", rows_of(STAGES[:3], 400), FitSettings(starts=1)).problem
    few = problem.inputs["ptpp"] == STAGES[0]
    few[np.flatnonzero(few)[5:]] = False
    chosen = few | (problem.inputs["ptpp"] != STAGES[0])
    parts = {name: values[chosen] for name, values in problem.inputs.items()}
    cut = {name: getattr(problem, name)[chosen] for name in ("loss", "offset")}
    if problem.stages is not None:
        cut["stages"] = problem.stages[chosen]
    monkeypatch.setattr(large, "LARGE", 100)
    monkeypatch.setattr(large, "_STAGE_ROWS", 20)
    thinned = large.thin(replace(problem, inputs=parts, **cut))
    counts = [int(np.sum(thinned.inputs["ptpp"] == stage)) for stage in STAGES[:3]]
    assert counts[0] == 5 and min(counts[1:]) >= 20
    assert len(thinned.loss) == len(thinned.offset) == sum(counts) <= 120


def test_starts_that_share_an_optimum_share_its_polish():
    objectives = np.array([2.0, 3.0, 2.0, np.inf, 50.0])
    places = np.array([[1.0], [2.0], [1.1], [9.0], [3.0]])
    first = Solution(places, objectives, np.ones(5, bool), np.ones(5, int))
    seen = []

    def solve(starts):
        seen.append(starts.copy())
        k = len(starts)
        return Solution(starts + 0.5, 10 * np.arange(1.0, k + 1), np.ones(k, bool), np.ones(k, int))

    polished = large.polish(first, solve)
    np.testing.assert_array_equal(seen[0], [[1.0], [2.0], [3.0]])
    np.testing.assert_array_equal(polished.x[:, 0], [1.5, 2.5, 1.5, 9.0, 3.5])
    np.testing.assert_array_equal(polished.objective, [10, 20, 10, np.inf, 30])


def test_long_work_tells_how_far_it_is(caplog, monkeypatch):
    rows = rows_of(STAGES[:2], 400)
    monkeypatch.setattr(large, "LARGE", 200)
    monkeypatch.setattr(large, "_STAGE_ROWS", 10)
    with caplog.at_level(logging.INFO, "ptpp"):
        bootstrap(fit("gated_floor", rows, SETTINGS), 10)
    told = [record.getMessage() for record in caplog.records]
    assert told[0] == f"gated_floor: 6 starts on 200 of {len(rows)} rows"
    assert told[-1] == "gated_floor: bootstrap: 10 of 10"
    assert 4 <= len(told) <= 10
