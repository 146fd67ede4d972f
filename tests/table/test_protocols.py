"""Protocols: the rows a law is scored on never reach its fit."""

import numpy as np
import pytest
from laws_grid import ATPPS, GRID, HELD_OUT, REPLAYS, observations

from ptpp.errors import InputError
from ptpp.laws import PROTOCOLS, FitSettings, early_to_late, fit, split, with_anchors
from ptpp.laws.experiment import cross_validation
from ptpp.table.anchors import Cell, choose_anchors
from ptpp.table.kinds import CELL, is_stage, target_rows
from ptpp.table.protocols import CROSS_VALIDATIONS, folds

KEYS = [*CELL]


def anchors(count=20):
    return choose_anchors(GRID, count)


def keys(frame):
    return set(frame[KEYS].itertuples(index=False, name=None))


def test_early_to_late_fits_earlier_stages_and_scores_the_held_out_one():
    table = observations()
    parts = early_to_late(table, HELD_OUT)
    assert set(parts.fit["ptpp"]) == {15, 31}
    assert set(parts.held_out["ptpp"]) == {HELD_OUT}
    assert len(parts.fit) + len(parts.held_out) == len(table)


def test_stages_after_the_held_out_one_are_in_neither_part():
    parts = early_to_late(observations(), 31)
    assert set(parts.fit["ptpp"]) == {15}
    assert set(parts.held_out["ptpp"]) == {31}


def test_anchors_move_from_the_scored_rows_to_the_fit_with_all_seeds_and_domains():
    table = observations()
    early, anchored = early_to_late(table, HELD_OUT), with_anchors(table, HELD_OUT, anchors())
    moved = anchored.fit[is_stage(anchored.fit, HELD_OUT)]
    assert len(moved) == sum(3 * (3 if c.size == "xs" else 1) for c in anchors())
    assert len(anchored.held_out) == len(early.held_out) - len(moved)
    assert not keys(moved) & keys(anchored.held_out)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("table", [observations(), target_rows(observations(), "fr")])
def test_no_cell_is_on_both_sides(protocol, table):
    parts = split(protocol, table, HELD_OUT, anchors())
    assert not keys(parts.fit) & keys(parts.held_out)
    assert keys(parts.fit) | keys(parts.held_out) == keys(table)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_fit_does_not_change_when_the_scored_losses_do(protocol):
    table = observations(noise=0.01)
    rows = target_rows(table, "fr")
    clean = split(protocol, rows, HELD_OUT, anchors())
    scored = rows[KEYS].apply(tuple, axis=1).isin(keys(clean.held_out))
    spoilt = rows.assign(loss=np.where(scored, 99.0, rows["loss"]))
    again = split(protocol, spoilt, HELD_OUT, anchors()).fit
    assert fit("floor", again).record == fit("floor", clean.fit).record


def test_anchors_are_required_and_must_have_been_measured():
    table = observations()
    with pytest.raises(InputError, match="no anchors are given"):
        with_anchors(table, HELD_OUT, [])
    with pytest.raises(InputError, match=r"size 'xs', replay 0\.3, atpp 1 has no row"):
        with_anchors(table, HELD_OUT, [Cell("xs", 0.3, 1.0)])


def test_something_must_be_left_to_fit_and_to_score():
    table = observations()
    with pytest.raises(InputError, match="no rows to fit with held-out stage 15"):
        early_to_late(table, 15)
    with pytest.raises(InputError, match="no rows to score with held-out stage 100"):
        early_to_late(table, 100)
    everything = [Cell(s, r, a) for s in ("xs", "s", "m") for r in REPLAYS for a in ATPPS]
    with pytest.raises(InputError, match="no rows to score"):
        with_anchors(target_rows(table, "fr"), HELD_OUT, everything)


def test_an_unknown_protocol_is_refused():
    with pytest.raises(InputError, match="'late' is not known; accepted are early_to_late"):
        split("late", observations(), HELD_OUT)


def test_every_stage_is_left_out_once_and_fitted_by_all_others():
    rows = target_rows(observations(), "fr")
    parts = folds("leave_one_stage_out", rows)
    assert list(parts) == ["PTPP 15", "PTPP 31", "PTPP 279"]
    for name, part in parts.items():
        (stage,) = part.held_out["ptpp"].unique()
        assert name == f"PTPP {stage:g}"
        assert set(part.fit["ptpp"]) == {15, 31, HELD_OUT} - {stage}
        assert keys(part.fit) | keys(part.held_out) == keys(rows)


def test_the_largest_size_is_left_out_at_every_stage():
    rows = target_rows(observations(), "fr")
    ((name, part),) = folds("leave_largest_size_out", rows).items()
    assert name == "N 87360"
    assert set(part.held_out["size"]) == {"m"}
    assert set(part.held_out["ptpp"]) == {15, 31, HELD_OUT}
    assert set(part.fit["size"]) == {"xs", "s"}


def test_a_cross_validation_without_enough_parts_is_refused():
    rows = target_rows(observations(), "fr")
    with pytest.raises(InputError, match="2 PTPP stages; accepted are 3 or more"):
        folds("leave_one_stage_out", rows[rows["ptpp"] < 100])
    with pytest.raises(InputError, match="1 sizes; accepted are 2 or more"):
        folds("leave_largest_size_out", rows[rows["size"] == "m"])
    with pytest.raises(InputError, match="'loo' is not known; accepted are leave_one_stage_out"):
        folds("loo", rows)


def test_cross_validation_scores_each_fold_and_all_together():
    table = cross_validation(
        observations(noise=0.01), ["dcpt", "gated"], CROSS_VALIDATIONS, "fr", FitSettings(starts=4)
    )
    assert len(table) == 2 * (4 + 1)
    stages = table[table["protocol"] == "leave_one_stage_out"].set_index(["law", "left_out"])
    # The true law has a gate, so it beats the baseline at both ends and on the whole.
    for left_out in ("PTPP 15", "PTPP 279", "each"):
        assert stages.mae_rel["gated", left_out] < stages.mae_rel["dcpt", left_out]
    each = stages.loc["gated"].drop("each")
    assert each.mae_rel.min() < stages.mae_rel["gated", "each"] < each.mae_rel.max()
    assert (table["noise_floor"] > 0).all()
    largest = table[table["protocol"] == "leave_largest_size_out"]
    assert largest["note"].str.contains("alpha is not identified: 2 values of n_params").all()


def test_a_fold_that_cannot_be_fitted_says_why_and_has_no_scores():
    early = observations(noise=0.01).query("ptpp < 100")
    table = cross_validation(early, ["gated"], CROSS_VALIDATIONS, "fr", FitSettings(starts=2))
    stages = table[table["protocol"] == "leave_one_stage_out"]
    assert stages["mae_rel"].isna().all()
    assert stages["note"].str.contains("accepted are 3 or more").all()
    one = cross_validation(
        early.query("ptpp == 15"), ["gated"], ["leave_largest_size_out"], "fr", FitSettings()
    )
    assert one["mae_rel"].isna().all()
    assert one["note"].str.contains("all rows are of PTPP 15").all()
