"""Plans checked against measured cells: the true law has no regret, wrong ones are told apart."""

import numpy as np
import pytest
from laws_grid import FORGETTING_PARAMS, HELD_OUT, TARGET_PARAMS, observations
from plan_fits import fit_by, with_draws, with_record

from ptpp.errors import InputError
from ptpp.laws import Experiment
from ptpp.laws.levels import LAST_STAGE
from ptpp.planning import regret_cases, regret_table
from ptpp.planning.regret import true_cells
from ptpp.table.anchors import Cell
from ptpp.table.kinds import is_stage

TABLE = observations()
REPLAYED = TABLE[(TABLE["replay"] > 0) | (TABLE["atpp"] == 0)]
EXPERIMENT = Experiment(REPLAYED, HELD_OUT)
TRUE = fit_by("gated_floor", TARGET_PARAMS, "fr")
FORGETTING = [fit_by("forgetting", FORGETTING_PARAMS, domain) for domain in ("en", "ar")]


def summary(cases, goal, law, kind="point"):
    table = regret_table(cases)
    (row,) = table[(table.goal == goal) & (table.law == law) & (table.kind == kind)].to_dict(
        "records"
    )
    return row


@pytest.fixture(scope="module")
def cases():
    blind = {**TARGET_PARAMS, "delta": 0.0, "G": 1e-9, "E": TARGET_PARAMS["E"] + 0.3}
    wrong = with_record(fit_by("gated_floor", blind, "fr"), protocol="early_to_late")
    others = [with_record(one, protocol="early_to_late") for one in FORGETTING]
    return regret_cases([TRUE, wrong, *FORGETTING, *others], EXPERIMENT)


def test_the_true_law_has_no_regret(cases):
    true = cases[(cases.law == "gated_floor") & (cases.protocol == "with_anchors")]
    assert true.met.all() and true.is_best.all() and true.declared.all()
    assert (true.excess == 0).all()
    assert (true[true.goal == "least_compute"].compute_ratio == 1).all()
    assert (true[true.goal == "least_loss"].loss_regret == 0).all()


def test_a_law_that_is_too_pessimistic_gives_up_or_pays_for_it(cases):
    wrong = cases[(cases.law == "gated_floor") & (cases.protocol == "early_to_late")]
    compute = wrong[wrong.goal == "least_compute"]
    assert not compute.declared.all()
    assert (compute.compute_ratio >= 1).all() and compute.compute_ratio.max() > 1


def test_limits_are_swept_and_every_size_is_asked(cases):
    one = cases[(cases.law == LAST_STAGE) & (cases.goal == "least_compute")]
    assert one.groupby("size").target_loss_limit.nunique().min() >= 8
    assert one.groupby("size").forgetting_en_limit.nunique().eq(4).all()
    assert set(one["size"]) == {"xs", "s", "m"}


def test_every_law_is_asked_the_same(cases):
    asked = ["goal", "size", "target_loss_limit", "forgetting_en_limit", "max_atpp"]
    groups = [
        group[asked].reset_index(drop=True)
        for _, group in cases.groupby(["law", "protocol", "kind"])
    ]
    assert len(groups) == 3
    for group in groups[1:]:
        assert group.equals(groups[0])


def test_the_excess_is_what_the_table_says_of_the_chosen_cell(cases):
    truth = true_cells(TABLE, "fr", ["ar", "en"], HELD_OUT).set_index(["size", "replay", "atpp"])
    broken = cases[~cases.met]
    assert len(broken)
    for row in broken.to_dict("records")[:20]:
        cell = truth.loc[(row["size"], row["replay"], row["atpp"])]
        over = max(
            cell[name] - row[f"{name}_limit"]
            for name in ("target_loss", "forgetting_ar", "forgetting_en")
        )
        assert row["excess"] == pytest.approx(over)


def test_the_best_cell_meets_all_limits(cases):
    truth = true_cells(TABLE, "fr", ["ar", "en"], HELD_OUT).set_index(["size", "replay", "atpp"])
    for row in cases.to_dict("records"):
        cell = truth.loc[(row["size"], row["best_replay"], row["best_atpp"])]
        assert cell["target_loss"] <= row["target_loss_limit"] + 1e-6
        assert cell["forgetting_en"] <= row["forgetting_en_limit"] + 1e-6
        assert row["best_atpp"] <= row["max_atpp"]


def test_anchors_are_no_candidates():
    anchors = [Cell("xs", replay, atpp) for replay in (0.05, 0.25) for atpp in (1.0, 2.0, 4.0)]
    cases = regret_cases([TRUE, *FORGETTING], Experiment(REPLAYED, HELD_OUT, tuple(anchors)))
    small = cases[cases["size"] == "xs"]
    chosen = {Cell("xs", *pair) for pair in zip(small.replay, small.atpp, strict=True)}
    assert chosen and not chosen & set(anchors)
    assert cases.met[cases.law == "gated_floor"].all()


def test_robust_choices_break_fewer_limits_than_point_choices_of_an_uncertain_law():
    # The law promises 0.1 nats too much; its draws know that it may.
    shift = np.linspace(0.0, 0.4, 41) - 0.1
    target = with_draws(TRUE, {"E": shift})
    hopeful = dict(target.record.params, E=target.record.params["E"] - 0.1)
    target = with_record(target, params=hopeful)
    others = [with_draws(one, {"S": np.zeros(41)}, "b") for one in FORGETTING]
    cases = regret_cases([target, *others], EXPERIMENT)
    point = summary(cases, "least_compute", "gated_floor")
    robust = summary(cases, "least_compute", "gated_floor", "robust")
    assert robust["met"] > point["met"]
    assert robust["excess_mean"] < point["excess_mean"]


def test_a_table_of_target_losses_alone_is_checked_too():
    cases = regret_cases([TRUE], Experiment(TABLE[TABLE.domain == "fr"], HELD_OUT))
    assert cases.met[cases.law == "gated_floor"].all()
    assert set(cases.goal) == {"least_compute", "least_loss"}


def test_cells_without_replay_are_not_chosen_where_forgetting_is_limited():
    cases = regret_cases([TRUE, *FORGETTING], Experiment(TABLE, HELD_OUT))
    true = cases[cases.law == "gated_floor"]
    assert (true.replay > 0).all() and true.met.all()
    assert (true.best_replay == 0).any()  # what it costs is told


def test_without_an_earlier_stage_only_laws_are_asked():
    late = Experiment(TABLE[is_stage(TABLE, HELD_OUT)], HELD_OUT)
    cases = regret_cases([TRUE, *FORGETTING], late)
    assert set(cases.law) == {"gated_floor"}


def test_nothing_to_choose_from_is_refused():
    sizes = {"xs": 0, "s": 0, "m": 0}
    every = [Cell(s, r, a) for s in sizes for r in (0, 0.05, 0.25, 0.5) for a in (1, 2, 4, 8, 16)]
    with pytest.raises(InputError, match="no cells at PTPP 279 beside the anchors"):
        regret_cases([TRUE, *FORGETTING], Experiment(TABLE, HELD_OUT, tuple(every)))
    with pytest.raises(InputError, match="no target fit to check"):
        regret_cases(FORGETTING, EXPERIMENT)
