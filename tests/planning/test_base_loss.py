"""One rule for every law that reads the checkpoint's base loss: given, measured or forecast."""

import numpy as np
import pandas as pd
import pytest
from laws_grid import BASE_LOSSES, HELD_OUT, SIZES, observations
from plan_fits import FORGETTING, SIMPLE, request

from ptpp.errors import InputError
from ptpp.laws import FitSettings, bootstrap, declared_law, fit
from ptpp.laws.base_loss import BaseLosses
from ptpp.laws.rows import law_rows
from ptpp.planning import find_base_loss, make_plan, plan_law, plan_table

TABLE = observations()
ZERO_SHOT = TABLE["atpp"] == 0
MEASURED = BaseLosses.of(TABLE, "fr")
INFORMED = fit("checkpoint_informed", law_rows(TABLE, "checkpoint_informed", "fr"))


def true_base_loss(n_params, ptpp):
    row = {"n_params": np.array([n_params]), "adapt_tokens": np.array([n_params * ptpp])}
    return BASE_LOSSES.value(row)[0]


def test_a_stated_value_counts_before_a_measured_one():
    found = find_base_loss(request(base_loss=3.3), [INFORMED], MEASURED)
    assert (found.base_loss, found.base_loss_source) == (3.3, "given")


def test_a_checkpoint_of_the_table_is_measured_and_need_not_be_named_to_the_digit():
    for n_params in (SIZES["m"], 87000):
        found = find_base_loss(request(n_params=n_params), [INFORMED], MEASURED)
        assert found.base_loss_source == "measured"
        assert found.base_loss == pytest.approx(true_base_loss(SIZES["m"], HELD_OUT))


def test_any_other_checkpoint_is_forecast():
    found = find_base_loss(request(n_params=3e5, ptpp=500), [INFORMED], MEASURED)
    assert found.base_loss_source == "forecast"
    assert found.base_loss == pytest.approx(true_base_loss(3e5, 500), rel=1e-3)


def test_laws_that_read_no_base_loss_need_none():
    bare = TABLE[TABLE["domain"] == "fr"]
    with pytest.raises(InputError, match="no zero-shot rows"):
        BaseLosses.of(bare, "fr").find(1e5, 279)
    none = BaseLosses.of(bare, "fr")
    assert find_base_loss(request(), [SIMPLE, FORGETTING], none).base_loss is None


def test_a_column_of_the_table_counts_as_measured():
    table = TABLE[TABLE["domain"] == "fr"].assign(base_loss=3.0)
    losses = BaseLosses.of(table, "fr")
    assert losses.find(SIZES["xs"], 31) == (3.0, "measured")


def test_a_checkpoint_of_the_stage_counts_as_measured_and_of_another_size_does_not():
    losses = BaseLosses.of(TABLE, "fr")
    exact = losses.find(SIZES["xs"], 31)
    assert exact[1] == "measured"
    assert losses.find(1.005 * SIZES["xs"], 1.05 * 31) == exact
    assert losses.find(1.05 * SIZES["xs"], 31)[1] == "forecast"
    assert losses.find(SIZES["xs"], 1.2 * 31)[1] == "forecast"


def test_what_cannot_be_forecast_names_a_key_that_exists():
    one_size = TABLE[ZERO_SHOT & (TABLE["size"] == "xs")]
    losses = BaseLosses.of(one_size, "fr")
    with pytest.raises(
        InputError, match=r"^plan\.base_loss: not stated, .* 1 size cannot determine"
    ):
        losses.find(8e9, 279)
    with pytest.raises(InputError, match=r"^plan\.base_loss: law checkpoint_informed reads"):
        make_plan(request(), INFORMED, {"en": FORGETTING})


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
    wanted = find_base_loss(request(forgetting_limits={}), [fitted], MEASURED)
    plans = plan_law(wanted, bootstrap(fitted, 8), {})
    table = plan_table([plans.point, plans.robust, make_plan(wanted, SIMPLE, {})])
    assert table["base_loss"].tolist()[:2] == [wanted.base_loss] * 2
    assert table["base_loss_source"].tolist()[:2] == ["measured"] * 2
    assert table["base_loss"].isna().tolist() == [False, False, True]
    far = find_base_loss(request(n_params=1e6, forgetting_limits={}), [fitted], MEASURED)
    assert (far.base_loss_source, far.base_loss < wanted.base_loss) == ("forecast", True)


def test_a_replay_ratio_beyond_the_range_is_named_once():
    """The target law reads the share, the forgetting law the replay: one column to the user."""
    wanted = request(forgetting_limits={"en": 0.05}, min_replay=0.9, max_replay=0.9)
    plan = make_plan(wanted, SIMPLE, {"en": with_range(FORGETTING)})
    assert plan.extrapolated.count("replay") == 1


def with_range(fitted):
    ranges = {**fitted.record.ranges, "replay": (0.0, 0.5)}
    return type(fitted)(type(fitted.record)(**{**vars(fitted.record), "ranges": ranges}))


def test_measured_rows_need_every_base_domain():
    gone = ZERO_SHOT & (TABLE["domain"] == "ar") & (TABLE["size"] == "s")
    with pytest.raises(InputError, match="only 1 of the base domains ar, en"):
        BaseLosses.of(pd.DataFrame(TABLE[~gone]), "fr").find(1e5, 279)
