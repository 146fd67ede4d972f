"""One rule for every law that reads the checkpoint's base loss: given, measured or forecast."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from laws_grid import BASE_LOSSES, HELD_OUT, SIZES, TIED, observations
from plan_fits import FORGETTING, SIMPLE, N, request, with_record

from ptpp.errors import InputError
from ptpp.laws import FitSettings, bootstrap, declared_law, fit
from ptpp.laws.base_loss import BaseLosses
from ptpp.laws.rows import law_rows
from ptpp.planning import LawPlanner, complete_request, plan_table

TABLE = observations()
ZERO_SHOT = TABLE["atpp"] == 0
MEASURED = BaseLosses(TABLE, "fr")
INFORMED = fit("checkpoint_informed", law_rows(TABLE, "checkpoint_informed", "fr"))


def true_base_loss(n_params, ptpp, truth=BASE_LOSSES):
    row = {"n_params": np.array([n_params]), "adapt_tokens": np.array([n_params * ptpp])}
    return truth.value(row)[0]


def test_a_stated_value_counts_before_a_measured_one():
    found = complete_request(request(base_loss=3.3), [INFORMED], MEASURED)
    assert (found.base_loss, found.base_loss_source) == (3.3, "given")


def test_a_checkpoint_of_the_table_is_measured_and_need_not_be_named_to_the_digit():
    for n_params in (SIZES["m"], 87000):
        found = complete_request(request(n_params=n_params), [INFORMED], MEASURED)
        assert found.base_loss_source == "measured"
        assert found.base_loss == pytest.approx(true_base_loss(SIZES["m"], HELD_OUT))


def test_any_other_checkpoint_is_forecast_by_the_law_of_one_exponent():
    measured = BaseLosses(observations(base_losses=TIED), "fr")
    found = complete_request(request(n_params=3e5, ptpp=500), [INFORMED], measured)
    assert found.base_loss_source == "forecast"
    assert found.base_loss == pytest.approx(true_base_loss(3e5, 500, TIED), rel=1e-3)


def test_laws_that_read_no_base_loss_need_none():
    bare = TABLE[TABLE["domain"] == "fr"]
    with pytest.raises(InputError, match="no zero-shot rows"):
        BaseLosses(bare, "fr").find(1e5, 279)
    none = BaseLosses(bare, "fr")
    bare_request = request(zero_shot_losses={})
    assert complete_request(bare_request, [SIMPLE], none).base_loss is None
    with pytest.raises(InputError, match="no zero-shot rows"):
        complete_request(bare_request, [with_record(FORGETTING, domain="en")], none)


def test_each_base_domain_has_a_loss_of_its_own():
    fits = [with_record(FORGETTING, domain=domain) for domain in ("en", "ar")]
    wanted = request(zero_shot_losses={"ar": 2.9}, forgetting_limits={"en": 0.1, "ar": 0.1})
    shifted = TABLE.assign(loss=TABLE["loss"] + (TABLE["domain"] == "en"))
    found = complete_request(wanted, fits, BaseLosses(shifted, "fr"))
    measured = true_base_loss(N, HELD_OUT) + 1
    assert found.zero_shot_losses == {"ar": 2.9, "en": pytest.approx(measured)}
    assert found.zero_shot_sources == {"ar": "given", "en": "measured"}
    far = complete_request(replace(wanted, n_params=3e5), fits, BaseLosses(shifted, "fr"))
    assert far.zero_shot_sources == {"ar": "given", "en": "forecast"}
    assert far.zero_shot_losses["en"] < measured
    plan = LawPlanner(found, SIMPLE, dict(zip(("en", "ar"), fits, strict=True))).plan()
    row = plan_table([plan]).iloc[0]
    assert (row.zero_shot_ar, row.zero_shot_ar_source) == (2.9, "given")
    assert "zero_shot_loss" not in plan.extrapolated
    beyond = replace(found, zero_shot_losses={"en": 1.0, "ar": 2.9})
    plan = LawPlanner(beyond, SIMPLE, dict(zip(("en", "ar"), fits, strict=True))).plan()
    assert "zero_shot_loss" in plan.extrapolated


def test_replay_0_is_left_out_with_the_reason():
    """Seeds that differ without replay are named; otherwise the law's own range is."""
    fits = [with_record(FORGETTING, domain=domain) for domain in ("en", "ar")]
    wanted = request(forgetting_limits={"en": 0.1, "ar": 0.1}, replay_floor=0.0)
    found = complete_request(wanted, fits, MEASURED)
    assert (found.replay_floor, found.least_replay) == (0.05, 0.05)
    assert found.replay_reason == (
        "replay from 0.05: the forgetting law of ar, en speaks of replay above 0, and nothing is "
        "measured between 0 and 0.05"
    )
    wild = (TABLE["domain"] == "ar") & (TABLE["replay"] == 0) & (TABLE["atpp"] > 0)
    noisy = TABLE.assign(loss=TABLE["loss"] * (1 + 0.2 * wild * (TABLE["seed"] - 1)))
    found = complete_request(wanted, fits, BaseLosses(noisy, "fr"))
    assert re.fullmatch(
        r"replay from 0\.05: without replay runs of ar differ by 1\d % \(seed noise\), and nothing "
        r"is measured between 0 and 0\.05",
        found.replay_reason,
    )
    only_english = complete_request(
        replace(wanted, forgetting_limits={"en": 0.1}), fits, BaseLosses(noisy, "fr")
    )
    assert "runs of ar" not in only_english.replay_reason
    assert complete_request(request(forgetting_limits={}), fits, MEASURED).least_replay == 0


def test_a_plan_needs_the_losses_that_its_forgetting_laws_read():
    with pytest.raises(InputError, match=r"^plan\.zero_shot_losses\.en: law forgetting reads"):
        LawPlanner(request(zero_shot_losses={}), SIMPLE, {"en": FORGETTING}).plan()


def test_a_column_of_the_table_counts_as_measured():
    table = TABLE[TABLE["domain"] == "fr"].assign(base_loss=3.0)
    losses = BaseLosses(table, "fr")
    assert losses.find(SIZES["xs"], 31) == (3.0, "measured")


def test_a_checkpoint_of_the_stage_counts_as_measured_and_of_another_size_does_not():
    losses = BaseLosses(TABLE, "fr")
    exact = losses.find(SIZES["xs"], 31)
    assert exact[1] == "measured"
    assert losses.find(1.005 * SIZES["xs"], 1.05 * 31) == exact
    assert losses.find(1.05 * SIZES["xs"], 31)[1] == "forecast"
    assert losses.find(SIZES["xs"], 1.2 * 31)[1] == "forecast"


def test_what_cannot_be_forecast_names_a_key_that_exists():
    one_size = TABLE[ZERO_SHOT & (TABLE["size"] == "xs")]
    losses = BaseLosses(one_size, "fr")
    with pytest.raises(
        InputError, match=r"^plan\.base_loss: not stated, .* 1 size cannot determine"
    ):
        losses.find(8e9, 279)
    with pytest.raises(InputError, match=r"^plan\.base_loss: law checkpoint_informed reads"):
        LawPlanner(request(), INFORMED, {"en": FORGETTING}).plan()


def test_plans_by_a_declared_law_that_reads_it_say_where_it_comes_from():
    law = declared_law(
        {
            "name": "mine",
            "expression": "E + B*d**-beta + c*base_loss",
            "parameters": {
                "E": {"low": -5, "high": 10},
                "B": {"low": 0, "high": 9},
                "beta": {"low": 0.02, "high": 1},
                "c": {"low": 0, "high": 3},
            },
        },
        "mine.yaml",
    )
    fitted = fit(law, law_rows(TABLE, law, "fr"), FitSettings(starts=4), "all_rows", "fr")
    wanted = complete_request(request(forgetting_limits={}), [fitted], MEASURED)
    plans = LawPlanner(wanted, bootstrap(fitted, 8), {}).plan_both()
    table = plan_table([plans.point, plans.robust, LawPlanner(wanted, SIMPLE, {}).plan()])
    assert table["base_loss"].tolist()[:2] == [wanted.base_loss] * 2
    assert table["base_loss_source"].tolist()[:2] == ["measured"] * 2
    assert table["base_loss"].isna().tolist() == [False, False, True]
    far = complete_request(request(n_params=1e6, forgetting_limits={}), [fitted], MEASURED)
    assert (far.base_loss_source, far.base_loss < wanted.base_loss) == ("forecast", True)


def test_a_replay_ratio_beyond_the_range_is_named_once():
    """The target law reads the share, the forgetting law the replay: one column to the user."""
    wanted = request(forgetting_limits={"en": 0.05}, replay_floor=0.9, max_replay=0.9)
    plan = LawPlanner(wanted, SIMPLE, {"en": with_range(FORGETTING)}).plan()
    assert plan.extrapolated.count("replay") == 1


def with_range(fitted):
    ranges = {**fitted.record.ranges, "replay": (0.0, 0.5)}
    return type(fitted)(type(fitted.record)(**{**vars(fitted.record), "ranges": ranges}))


def test_measured_rows_need_every_base_domain():
    gone = ZERO_SHOT & (TABLE["domain"] == "ar") & (TABLE["size"] == "s")
    with pytest.raises(InputError, match="only 1 of the base domains ar, en"):
        BaseLosses(pd.DataFrame(TABLE[~gone]), "fr").find(1e5, 279)
