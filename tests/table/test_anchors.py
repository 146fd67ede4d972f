"""Anchors: spread over the design, never repeated, chosen without losses."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws_grid import ATPPS, GRID, HELD_OUT, REPLAYS, observations

from ptpp.errors import InputError
from ptpp.table.anchors import Cell, choose_anchors, grid_of, select

sizes = st.lists(st.sampled_from("abcd"), min_size=1, unique=True)
replays = st.lists(st.floats(0, 0.9), min_size=1, max_size=5, unique=True)
atpps = st.lists(st.floats(0.1, 100), min_size=1, max_size=6, unique=True)


@given(sizes, replays, atpps, st.integers(0, 99), st.data())
def test_anchors_are_distinct_cells_of_the_grid(sizes, replays, atpps, seed, data):
    total = len(sizes) * len(replays) * len(atpps)
    count = data.draw(st.integers(0, total))
    grid = {"sizes": sizes, "replay": replays, "atpp": atpps}
    cells = choose_anchors(grid, count, seed)
    assert len(cells) == len(set(cells)) == count
    assert {c.size for c in cells} <= set(sizes)
    assert {c.replay for c in cells} <= set(replays)
    assert {c.atpp for c in cells} <= set(atpps)


@given(st.integers(0, 50), st.integers(1, 40))
def test_every_level_is_measured_about_equally_often(seed, count):
    cells = choose_anchors(GRID, count, seed)
    for name, levels in (("replay", REPLAYS), ("atpp", ATPPS), ("size", ("xs", "s"))):
        counts = Counter(getattr(c, name) for c in cells)
        spread = [counts[level] for level in levels]
        assert max(spread) - min(spread) <= 2, name


@given(st.integers(0, 50))
def test_twenty_anchors_on_the_default_grid_take_each_pair_of_replay_and_atpp_once(seed):
    cells = choose_anchors(GRID, 20, seed)
    assert len({(c.replay, c.atpp) for c in cells}) == 20
    assert Counter(c.size for c in cells) == {"xs": 10, "s": 10}


@given(st.integers(0, 50))
def test_few_anchors_reach_over_most_of_the_range(seed):
    cells = choose_anchors(GRID, 5, seed)
    assert {c.atpp for c in cells} == set(ATPPS)
    assert {c.replay for c in cells} == set(REPLAYS)
    assert np.corrcoef(np.log([c.atpp for c in cells]), [c.replay for c in cells])[0, 1] ** 2 < 0.7


def test_the_choice_is_seeded_and_a_shorter_list_is_a_prefix():
    assert choose_anchors(GRID, 20, 1) == choose_anchors(GRID, 20, 1)
    assert choose_anchors(GRID, 20, 1) != choose_anchors(GRID, 20, 2)
    assert choose_anchors(GRID, 20, 1)[:5] == choose_anchors(GRID, 5, 1)
    turned = {axis: levels[::-1] for axis, levels in GRID.items()}
    assert choose_anchors(turned, 7, 1) == choose_anchors(GRID, 7, 1)


def test_more_anchors_than_cells_are_refused():
    with pytest.raises(InputError, match="count is 41; accepted are 0 to 40"):
        choose_anchors(GRID, 41)


def test_the_rows_of_an_anchor_are_all_its_seeds_and_domains():
    rows = select(observations(), [Cell("xs", 0.25, 4.0), Cell("m", 0.0, 1.0)], HELD_OUT)
    assert Counter(rows["size"]) == {"xs": 9, "m": 3}
    assert set(rows["ptpp"]) == {HELD_OUT}


def test_a_share_that_differs_by_rounding_is_the_same_share():
    assert len(select(observations(), [Cell("xs", 1 - 0.95, 4.0)], HELD_OUT)) == 9


def test_an_anchor_that_was_not_measured_is_named():
    with pytest.raises(InputError, match=r"size 'm', replay 0\.3, atpp 1 has no row at .* 279"):
        select(observations(), [Cell("m", 0.3, 1.0)], HELD_OUT)


def test_a_finished_table_offers_all_but_its_largest_size():
    assert grid_of(observations(), HELD_OUT) == GRID
