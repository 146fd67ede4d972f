"""Break-even against training from scratch, and the next measurement worth buying."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from laws_grid import HELD_OUT, REFERENCE, TARGET_PARAMS, observations
from plan_fits import FORGETTING, SIMPLE, N, fit_by, request, with_draws, with_record

from ptpp.errors import InputError
from ptpp.laws import Experiment, FitSettings, bootstrap, fit
from ptpp.laws.base_loss import BaseLosses
from ptpp.laws.misfit import krige
from ptpp.planning import (
    LawPlanner,
    candidate_cells,
    complete_request,
    fit_scratch,
    fit_transfer,
    next_measurements,
    plan_table,
    plan_tables,
    supplements,
)
from ptpp.planning.break_even import break_even_table, by_measurement, by_transfer
from ptpp.planning.measurement import variance_cut

EXPERIMENT = Experiment(observations(noise=0.01), HELD_OUT)
TRANSFER = fit_by("transfer_offset", TARGET_PARAMS)
PLAN = plan_table([LawPlanner(request(forgetting_limits={}, target_loss=3.8), SIMPLE, {}).plan()])
ROW = PLAN.to_dict("records")[0]


def chinchilla_loss(n_params, tokens):
    p, ref = TARGET_PARAMS, REFERENCE
    size = p["A"] * (n_params / ref["n_params"]) ** -p["alpha"]
    return p["E"] + size + p["B"] * (tokens / ref["adapt_tokens"]) ** -p["beta"]


def test_by_transfer_a_run_without_pretraining_reaches_the_same_loss_of_the_law():
    found = by_transfer(ROW, TRANSFER)
    here = {k: np.array([float(ROW[k])]) for k in ("n_params", "ptpp", "replay", "adapt_tokens")}
    bare = fit_by("transfer_offset", {**TARGET_PARAMS, "tau": 1e-12})
    there = {**here, "adapt_tokens": np.array([found.scratch_tokens])}
    assert bare.value(there) == pytest.approx(TRANSFER.value(here), rel=1e-9)
    assert found.scratch_tokens > found.adapt_tokens
    assert found.ratio == pytest.approx(found.scratch_flops / found.adapt_flops)
    assert found.break_even_atpp == pytest.approx(found.scratch_tokens / N)
    whole = found.adapt_flops + 6 * N * N * 279
    assert found.ratio_with_pretraining == pytest.approx(found.scratch_flops / whole)
    assert "from_scratch" in found.extrapolated.split()


def test_by_measurement_the_tokens_at_which_the_measured_law_has_the_plans_loss():
    scratch = fit_by("chinchilla", TARGET_PARAMS)
    found = by_measurement(ROW, scratch)
    assert chinchilla_loss(N, found.scratch_tokens) == pytest.approx(ROW["target_loss"], rel=1e-9)
    assert found.reached == 1
    assert "from_scratch" not in found.extrapolated


def test_a_loss_that_no_run_from_scratch_reaches_is_said_to_be_out_of_reach():
    hopeless = fit_by("chinchilla", {**TARGET_PARAMS, "E": 10.0})
    found = by_measurement(ROW, hopeless)
    assert np.isinf(found.scratch_tokens) and np.isinf(found.ratio)
    assert found.reached == 0


def test_draws_give_an_interval_and_the_share_that_gets_there():
    shifts = np.append(np.linspace(-0.1, 0.1, 19), [10.0])  # one draw of 20 never gets there
    scratch = with_draws(fit_by("chinchilla", TARGET_PARAMS), {"E": shifts})
    found = by_measurement(ROW, scratch)
    assert found.scratch_tokens_low < found.scratch_tokens < found.scratch_tokens_high
    assert found.reached == pytest.approx(0.95)
    drawn = with_draws(TRANSFER, {"tau": np.linspace(-5, 5, 21)})
    found = by_transfer(ROW, drawn)
    assert found.scratch_tokens_low < found.scratch_tokens < found.scratch_tokens_high


def test_a_table_of_runs_from_scratch_is_read_and_fitted(tmp_path):
    rows = [(n, n * a) for n in (2e4, 5e4, 9e4) for a in (2, 8, 32, 128)]
    table = pd.DataFrame(rows, columns=["n_params", "adapt_tokens"])
    table["loss"] = chinchilla_loss(table["n_params"], table["adapt_tokens"])
    table.to_csv(tmp_path / "scratch.csv", index=False)
    fitted = fit_scratch(tmp_path / "scratch.csv", "fr", FitSettings(starts=8))
    found = by_measurement(ROW, fitted)
    expected = by_measurement(ROW, fit_by("chinchilla", TARGET_PARAMS))
    assert found.scratch_tokens == pytest.approx(expected.scratch_tokens, rel=0.02)
    assert np.isnan(found.scratch_tokens_low)


def test_only_laws_that_know_no_pretraining_speak_of_runs_from_scratch():
    with pytest.raises(InputError, match="law gated_floor: the table has no column 'ptpp'"):
        by_measurement(ROW, fit_by("gated_floor", TARGET_PARAMS))


def test_where_no_transfer_can_be_fitted_the_table_says_why():
    rows = Experiment(observations(), HELD_OUT).split("dcpt", "early_to_late", "fr").fit
    one_stage = rows[rows.ptpp == 15]
    reason = fit_transfer(one_stage, "early_to_late", FitSettings(starts=2), 5)
    assert "a law of PTPP needs at least 2 stages" in reason
    table = break_even_table(PLAN, {"with_anchors": reason})
    assert table.note.tolist() == [reason]


def test_the_variance_that_a_measurement_settles_is_the_textbook_one():
    # q = y = E: measuring E with noise v leaves v V / (V + v).
    generator = np.random.default_rng(0)
    shift = generator.uniform(-1, 1, 4000)
    cut, variance = variance_cut(shift, shift[:, None], 0.5)
    assert variance - cut[0] == pytest.approx(0.5 * variance / (variance + 0.5))
    unrelated = generator.uniform(-1, 1, (4000, 1))
    assert variance_cut(shift, unrelated, 0.5)[0][0] < 0.01 * variance
    assert variance_cut(np.zeros(10), np.zeros((10, 1)), 0.0)[0][0] == 0


@pytest.fixture(scope="module")
def seen():
    return bootstrap(EXPERIMENT.fit("gated", "early_to_late", "fr", FitSettings(starts=4)), 60)


def test_candidates_are_cells_that_were_not_seen_and_cost_their_checkpoint(seen):
    cells = candidate_cells(seen.rows, ROW, [15, 31, HELD_OUT])
    early = cells[(cells.ptpp < 100) & (cells.n_params <= seen.rows.n_params.max())]
    assert (early.flops_pretrain == 0).all()
    late = cells[cells.ptpp == HELD_OUT]
    assert (late.flops_pretrain == 6 * late.n_params**2 * HELD_OUT).all()
    assert (cells.flops == cells.flops_adapt + cells.flops_pretrain).all()
    keys = ["n_params", "ptpp", "replay", "atpp"]
    assert cells[keys].merge(seen.rows[keys], on=keys).empty
    assert cells.n_params.max() == 4 * seen.rows.n_params.max()


def test_next_measurements_each_tell_more_than_any_of_their_cost(seen):
    plan = dict(ROW, law="gated", protocol="early_to_late")
    cells = candidate_cells(seen.rows, plan, [15, 31, HELD_OUT])
    found = next_measurements(plan, seen, {}, cells)
    assert found.cut_share.is_monotonic_decreasing and found.flops.is_monotonic_decreasing
    assert found.cut_share.between(0, 1).all() and found.cut_share.max() > 0.05
    assert (found.cut_share_per_flop * found.flops).tolist() == pytest.approx(found.cut_share)
    # The plan is for PTPP 279: no cell tells as much as one there.
    assert found.ptpp.iloc[0] == HELD_OUT


def test_measuring_the_best_cell_does_narrow_the_forecast(seen):
    """The cut that was promised, against a refit with that cell in the table."""
    plan = dict(ROW, law="gated", protocol="early_to_late")
    late = EXPERIMENT.split_of(seen).held_out
    keys = ["n_params", "ptpp", "replay", "atpp"]
    cells = candidate_cells(seen.rows, plan, [HELD_OUT])
    found = next_measurements(plan, seen, {}, cells).merge(late[keys], on=keys)
    best = found.loc[found.cut_share.idxmax()]
    # Anchors at one replay ratio: the whole run up to the best cell, as one would measure it.
    run = late[(late.n_params == best.n_params) & (late.replay == best.replay)]
    rows = pd.concat([seen.rows, run], ignore_index=True)
    more = bootstrap(fit("gated", rows, FitSettings(starts=4), "early_to_late", "fr"), 60)
    point = pd.DataFrame([plan])

    def spread(fitted):
        return np.subtract(*np.quantile(fitted.loss_draws(point)[:, 0], [0.95, 0.05]))

    assert spread(more) < spread(seen)


def test_a_kriged_plan_asks_for_the_cell_that_narrows_it_most(seen):
    """No draws are needed; the late stage is what an early fit has not seen."""
    kriged = replace(krige(seen, HELD_OUT), draws=None)
    plan = dict(ROW, law="gated", protocol="early_to_late")
    cells = candidate_cells(seen.rows, plan, [15, 31, HELD_OUT])
    found = next_measurements(plan, kriged, {}, cells)
    assert found.cut_share.between(0, 1).all() and found.cut_share.is_monotonic_decreasing
    assert found.ptpp.iloc[0] == HELD_OUT
    asked = pd.DataFrame([plan])
    cut = (kriged.loss(asked)[0] * kriged.joint(asked, found)[0] / kriged.forecast(found)[1]) ** 2
    correction = kriged.forecast(asked)[0][0] / kriged.loss(asked)[0]
    assert found.cut_target_loss.to_numpy() == pytest.approx(cut * correction**2)
    with pytest.raises(InputError, match="law gated: its fit to fr has no bootstrap draws"):
        next_measurements(plan, replace(kriged, misfit=None), {}, cells)


def test_every_table_of_a_plan_is_made(seen):
    forgetting = with_draws(FORGETTING, {"S": np.linspace(-0.05, 0.05, 60)})
    forgetting = with_record(forgetting, protocol="early_to_late", domain="en")
    forgetting = replace(forgetting, rows=seen.rows.head(2))
    wanted = request(forgetting_limits={"en": 0.5})
    fits = [seen, forgetting]
    tables = plan_tables([wanted], fits)
    base_losses = BaseLosses(EXPERIMENT.observations, "fr")
    about = [15, 31, HELD_OUT], FitSettings(starts=2), base_losses
    tables |= supplements(wanted, tables["plan"], fits, *about)
    assert set(tables) == {
        *("plan", "robust", "least_loss", "relaxations"),
        *("front", "break_even", "next_measurement"),
    }
    assert len(tables["next_measurement"]) == 10
    assert {"cut_target_loss", "cut_forgetting_en"} <= set(tables["next_measurement"].columns)
    assert tables["break_even"].basis.tolist() == ["transfer"]
    assert tables["least_loss"].kind.tolist() == ["point", "robust"]
    assert "base_loss" not in tables["plan"]


def test_every_table_is_made_for_a_law_that_reads_the_base_loss():
    few = FitSettings(starts=4)
    fits = [EXPERIMENT.fit("checkpoint_informed", "early_to_late", "fr", few)]
    fits.append(EXPERIMENT.fit("forgetting", "early_to_late", "en", few))
    fits = [bootstrap(one, 12) for one in fits]
    base_losses = BaseLosses(EXPERIMENT.observations, "fr")
    wanted = complete_request(request(forgetting_limits={"en": 0.5}), fits, base_losses)
    assert wanted.base_loss_source == "measured"
    tables = plan_tables([wanted], fits)
    tables |= supplements(wanted, tables["plan"], fits, [15, 31, HELD_OUT], few, base_losses)
    for name in ("plan", "robust", "least_loss"):
        assert set(tables[name].base_loss) == {wanted.base_loss}
        assert set(tables[name].base_loss_source) == {"measured"}
    for name in ("plan", "robust", "least_loss"):
        assert set(tables[name].zero_shot_en) == {wanted.zero_shot_losses["en"]}
    cells = tables["next_measurement"]
    assert cells.zero_shot_en.nunique() > 1
    assert len(cells) == 10 and cells.base_loss.nunique() > 1
    assert len(tables["front"])
