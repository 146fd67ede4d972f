"""Which plan is carried out, and what was predicted of it against what was measured."""

import json

import numpy as np
import pandas as pd
import pytest
from laws_grid import observations
from plan_fits import FLOOR, FORGETTING, TARGET, N, with_draws, with_record

from ptpp.errors import InputError
from ptpp.planning import LawPlanner, PlanRequest, plan_table
from ptpp.planning.applied import (
    choose_plan,
    compare_losses,
    is_measured,
    keep_rows,
    outcome_sentence,
    read_plans,
    unlike_table,
)
from ptpp.table.observations import read_observations, write_observations

DRAWN = {
    name: with_record(with_draws(one, {"E": [0.0] * 3} if name == "fr" else {"W": [0.0] * 3}),
                      domain=name)
    for name, one in (("fr", TARGET), ("en", FORGETTING), ("ar", FORGETTING))
}  # fmt: skip


def plans(kind="robust", **changes):
    row = {"law": "state", "n_params": N, "ptpp": 279.0, "replay": 0.25, "atpp": 4.0}
    row |= {"feasible": True, "target_loss_limit": 3.0, "forgetting_en_limit": 0.5}
    return {kind: pd.DataFrame([row | changes])}


def test_the_robust_plan_is_taken_or_else_the_cheapest_or_none():
    both = plans() | plans("point", atpp=2.0)
    assert choose_plan(both, "state", N).kind == "robust"
    robust = plans(feasible=False)
    cheapest = choose_plan(robust | plans("point", atpp=2.0), "state", 1.005 * N, 279)
    assert (cheapest.kind, cheapest.atpp, cheapest.forgetting_limits) == ("point", 2.0, {"en": 0.5})
    assert choose_plan(robust | plans("point", feasible="False"), "state", N) is None
    assert choose_plan(both, "gated", N) is None
    assert choose_plan(both, "state", 1.02 * N) is None, "another model's plan"
    assert choose_plan(both, "state", N, 31) is None, "another stage's plan"


def test_plans_are_read_from_csv_and_json_and_other_files_are_refused(tmp_path):
    request = PlanRequest(N, 279.0, {}, 16.0, target_within=0.05)
    table = plan_table([LawPlanner(request, TARGET, {}).plan()])
    table.assign(kind="point").to_csv(tmp_path / "plan.csv", index=False)
    expected = choose_plan({"point": table}, "gated_floor", N)
    assert choose_plan(read_plans(tmp_path / "plan.csv"), "gated_floor", N) == expected
    record = {"plans": table.assign(kind="point").to_dict("records")}
    (tmp_path / "plan.json").write_text(json.dumps(record, default=str))
    assert choose_plan(read_plans(tmp_path / "plan.json"), "gated_floor", N) == expected
    table.assign(feasible_draws=1.0).to_csv(tmp_path / "of_workflow.csv", index=False)
    assert list(read_plans(tmp_path / "of_workflow.csv")) == ["point"]
    (tmp_path / "other.json").write_text("[1]")
    with pytest.raises(InputError, match=r"other.json: no key 'plans'; accepted is the output of"):
        read_plans(tmp_path / "other.json")
    table.assign(n_params=-1.0).to_csv(tmp_path / "odd.csv", index=False)
    with pytest.raises(InputError, match=r"odd.csv: accepted are replay from 0 to 1, and n_params"):
        read_plans(tmp_path / "odd.csv")


def measured(replay, atpp):
    """Rows of the checkpoint, and of the model adapted from it, of the simulated table."""
    table = observations()
    rows = table[(table.n_params == N) & (table.ptpp == 279)]
    before = rows[rows.atpp == 0]
    fr = before.assign(domain="fr", loss=5.0).head(1)
    after = rows[(rows.replay == replay) & (rows.atpp == atpp)]
    return pd.concat([before, fr]), after


def test_losses_are_predicted_from_the_checkpoint_s_own_and_compared_with_their_limits():
    before, after = measured(0.25, 4.0)
    plan = choose_plan(plans(), "state", N)
    table = compare_losses(plan, DRAWN["fr"], DRAWN, before, after).set_index("domain")
    assert table.index[0] == "fr"
    assert table.predicted.to_dict() == pytest.approx(table.measured.to_dict(), rel=1e-9)
    assert table.inside.all() and (table.lower < table.upper).all()
    assert table.limit["en"] == before.set_index("domain").loss["en"] + 0.5
    assert np.isnan(table.limit["ar"]) and table.kept["ar"] is None
    off = after.assign(loss=after.loss * np.where(after.domain == "fr", 2.0, 1.0))
    table = compare_losses(plan, DRAWN["fr"], DRAWN, before, off)
    one = table.set_index("domain").loc["fr"]
    assert one.relative_error == pytest.approx(-0.5) and not one.inside and not one.kept
    assert "2 of 3 losses within their intervals, 1 of 2 limits kept." in outcome_sentence(table)


def test_where_a_law_says_nothing_nothing_is_predicted():
    before, after = measured(0.0, 4.0)
    plan = choose_plan(plans(replay=0.0), "state", N)
    assert FLOOR > 0
    table = compare_losses(plan, DRAWN["fr"], {"en": DRAWN["en"]}, before, after)
    table = table.set_index("domain")
    assert np.isfinite(table.predicted["fr"])
    assert table.predicted[["en", "ar"]].isna().all(), "a law with replay, and no law"
    assert table.inside["en"] is None


def test_rows_are_kept_under_the_name_of_their_run_and_never_twice(tmp_path):
    before, after = measured(0.25, 4.0)
    table = observations()
    cells = (table.n_params == N) & (table.ptpp == 279) & (table.replay == 0.25) & (table.atpp == 4)
    write_observations(after.assign(run="mine"), tmp_path / "rows.csv")
    write_observations(table[~cells], tmp_path / "without.csv")
    path = keep_rows(tmp_path / "rows.csv", tmp_path / "without.csv", tmp_path / "measured")
    assert path == tmp_path / "measured" / "mine.csv"
    assert read_observations(path).equals(read_observations(tmp_path / "rows.csv"))
    assert unlike_table(table, before) == ""
    other = before.assign(loss=1.02 * before.loss)
    assert "with other text or another checkpoint" in unlike_table(table, other)
    assert is_measured(table, after) and not is_measured(table[~cells], after)
    write_observations(table, tmp_path / "with.csv")
    with pytest.raises(InputError, match="holds this cell already; nothing is kept a second time"):
        keep_rows(tmp_path / "rows.csv", tmp_path / "with.csv", tmp_path / "measured")
