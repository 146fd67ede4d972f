"""Anchor choices: what each may know, and that they are compared on the same cells."""

import numpy as np
import pandas as pd
import pytest
from grid_fits import EARLY, ROWS, TABLE, early_fit
from laws_grid import GRID, HELD_OUT, REPLAYS

from ptpp.config import Config
from ptpp.errors import InputError
from ptpp.laws import Experiment, FitSettings
from ptpp.laws.anchoring import (
    CHOICES,
    SWEEP_COLUMNS,
    SweepRequest,
    anchor_sweep,
    plan_targets,
    random_cells,
    v_optimal_cells,
)
from ptpp.table.anchors import choose_anchors
from ptpp.table.kinds import is_stage, target_rows
from ptpp.table.protocols import CROSS_VALIDATIONS

CANDIDATES = ROWS[is_stage(ROWS, HELD_OUT) & (ROWS["size"] != "m")].reset_index(drop=True)
TARGETS = pd.DataFrame({"n_params": [1e9], "ptpp": [HELD_OUT], "replay": [0.25], "atpp": [16.0]})
TARGETS["adapt_tokens"] = TARGETS["n_params"] * TARGETS["atpp"]
SETTINGS = FitSettings(starts=2)


def sweep(table=TABLE, laws=("dcpt", "gated_floor"), grid=GRID, targets=TARGETS, **request):
    usual = {"counts": (0, 5), "repeats": 2, "settings": SETTINGS}
    request = SweepRequest(grid, targets, **{**usual, **request})
    return anchor_sweep(Experiment(table, HELD_OUT), laws, "fr", request)


@pytest.fixture(scope="module")
def swept():
    return sweep()


def test_every_law_count_and_choice_is_scored_on_the_same_rows(swept):
    assert list(swept.columns) == list(SWEEP_COLUMNS)
    assert len(swept) == 2 * 2 * (1 + 2 + 1)  # laws x counts x (spread, random twice, v-optimal)
    assert swept["n_held_out"].nunique() == 1
    assert (swept["n_fit"] - swept["count"]).nunique() == 1


def test_without_anchors_no_choice_differs(swept):
    none = swept[swept["count"] == 0]
    assert (none.groupby("law")["mae_rel"].nunique() == 1).all()


def test_anchors_help_the_law_that_lacks_a_stage(swept):
    mean = swept[swept["law"] == "gated_floor"].groupby("count")["mae_rel"].mean()
    assert mean[5] < mean[0]


def test_losses_of_the_held_out_stage_decide_no_choice():
    spoilt = TABLE.assign(
        loss=np.where(is_stage(TABLE, HELD_OUT), TABLE["loss"] * 2, TABLE["loss"])
    )  # fmt: skip
    cells = v_optimal_cells(early_fit(), CANDIDATES, TARGETS, 5)
    late = target_rows(spoilt, "fr")
    late = late[is_stage(late, HELD_OUT) & (late["size"] != "m")].reset_index(drop=True)
    assert v_optimal_cells(early_fit(), late, TARGETS, 5) == cells
    assert random_cells(GRID, 5, 0) == random_cells(GRID, 20, 0)[:5]


def forecast_variance(cells):
    """Variance of the log forecast at the target, by the normal equations of all rows at once."""
    chosen = [
        CANDIDATES[(CANDIDATES["size"] == c.size) & (CANDIDATES["replay"] == c.replay)
                   & (CANDIDATES["atpp"] == c.atpp)]
        for c in cells
    ]  # fmt: skip
    rows = early_fit().problem
    noise = np.sqrt(np.mean(rows.log_residuals(rows.theta) ** 2))
    law, told = rows.law, rows.free | rows.by_prior

    def slopes(frame):
        inputs = {n: 1 - frame["replay"] if n == "share" else frame[n] for n in law.inputs}
        inputs = {name: values.to_numpy(float) for name, values in inputs.items()}
        value = early_fit().loss(frame)
        return (law.jacobian(rows.theta, inputs, rows.reference) / value[:, None])[:, told]

    design = np.concatenate([slopes(EARLY.fit), *(slopes(c) for c in chosen)])
    width = np.array([p.to_solver(p.high) - p.to_solver(p.low) for p in law.parameters])[told]
    information = design.T @ design / noise**2 + np.diag(12 / width**2)
    wanted = slopes(TARGETS)[0]
    return wanted @ np.linalg.solve(information, wanted)


def test_v_optimal_anchors_leave_less_variance_than_others():
    best = forecast_variance(v_optimal_cells(early_fit(), CANDIDATES, TARGETS, 5))
    assert best < forecast_variance([])
    assert best < forecast_variance(choose_anchors(GRID, 5))
    for seed in range(5):
        assert best < forecast_variance(random_cells(GRID, 5, seed))
    # The first one is the best of all single cells.
    first = v_optimal_cells(early_fit(), CANDIDATES, TARGETS, 1)
    alone = [forecast_variance([c]) for c in random_cells(GRID, 40, 0)]
    assert forecast_variance(first) == pytest.approx(min(alone))


def test_the_schema_accepts_exactly_the_choices_and_cross_validations_there_are():
    schema = Config.model_json_schema()["$defs"]
    assert tuple(schema["AnchorSweep"]["properties"]["choices"]["items"]["enum"]) == CHOICES
    assert (
        tuple(schema["Laws"]["properties"]["cross_validation"]["items"]["enum"])
        == CROSS_VALIDATIONS
    )


def test_the_plan_s_targets_are_its_model_on_the_measured_grid():
    targets = plan_targets(GRID, n_params=8.1e9, ptpp=279, max_atpp=8)
    assert len(targets) == len(REPLAYS) * 4
    assert set(targets["atpp"]) == {1, 2, 4, 8}
    assert (targets["adapt_tokens"] == targets["atpp"] * 8.1e9).all()


def test_counts_beyond_the_grid_are_left_out():
    grid = {**GRID, "sizes": ["xs"], "replay": [0.0, 0.5]}
    table = sweep(laws=["gated"], grid=grid, counts=(0, 3, 99), choices=("spread",))
    assert table["count"].tolist() == [0, 3]


def test_a_sweep_must_leave_something_to_score():
    everything = {**GRID, "sizes": ["xs", "s", "m"]}
    with pytest.raises(InputError, match="take every cell at the held-out stage 279"):
        sweep(laws=["gated"], grid=everything, counts=(60,), choices=("spread",))


def test_a_law_that_reads_the_base_loss_is_swept_with_v_optimal_anchors_too():
    targets = plan_targets(GRID, n_params=8.1e9, ptpp=279, max_atpp=8, base_loss=2.9)
    assert (targets["base_loss"] == 2.9).all()
    table = sweep(laws=["checkpoint_informed"], targets=targets, counts=(3,), repeats=1)
    assert set(table["choice"]) == set(CHOICES) and table["mae_rel"].notna().all()
