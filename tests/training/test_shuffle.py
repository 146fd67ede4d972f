"""The order of a large store's blocks is a permutation that no array holds."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptpp.training import data, shuffle
from ptpp.training.data import BlockOrder, Text
from ptpp.training.shuffle import shuffle_places

CONTEXT = 4


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 16, 17, 1000, 4096, 4097, 65_537])
def test_every_place_has_a_number_of_its_own(n):
    got = shuffle_places(np.arange(n), n, [0, n])
    assert got.dtype == np.int64 and np.array_equal(np.sort(got), np.arange(n))


@settings(max_examples=40)
@given(n=st.integers(1, 1 << 62), seed=st.integers(0, 1 << 32), places=st.lists(st.integers(0)))
def test_numbers_of_any_size_stay_below_n_and_differ(n, seed, places):
    places = np.unique(np.array(places, dtype=object) % n).astype(np.int64)
    got = shuffle_places(places, n, [seed])
    assert len(np.unique(got)) == len(places) and ((got >= 0) & (got < n)).all()


def test_seeds_differ_and_neighbours_are_strangers():
    n = 50_000
    first, second = (shuffle_places(np.arange(n), n, [7, epoch]) for epoch in (0, 1))
    assert (first == second).mean() < 10 / n
    assert (first == np.arange(n)).mean() < 10 / n
    for one, other in ((first, second), (first, np.arange(n)), (first[1:], first[:-1])):
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(n)
    steps = np.abs(np.diff(first)) / n  # of a random order their mean is a third
    assert steps.mean() == pytest.approx(1 / 3, abs=0.01)


def test_the_first_places_are_spread_evenly():
    """Whatever is read of an epoch stands for the whole store: chi-square of 16 parts."""
    n = 3 << 40
    parts = np.bincount(shuffle_places(np.arange(16_000), n, [1]) * 16 // n, minlength=16)
    assert ((parts - 1000) ** 2 / 1000).sum() < 45  # 1 in 10,000 by chance


def test_another_order_needs_another_version():
    got = shuffle_places(np.arange(4), 10**9, [0]).tolist()
    assert (shuffle.VERSION, got) == (1, [945629146, 518170752, 64630893, 597663193])


def make_order(n_blocks):
    tokens = np.broadcast_to(np.uint16(1), (n_blocks * CONTEXT + 1,))  # one number, seen often
    return BlockOrder(tokens, CONTEXT, (3, 5))


def test_blocks_of_a_huge_store_are_found_without_an_array_of_them(monkeypatch):
    asked = []
    monkeypatch.setattr(data, "take_blocks", lambda tokens, context, which, _: asked.append(which))
    n = 1 << 40
    tracemalloc.start()
    order = make_order(n)
    for start, stop in ((0, 64), (n - 3, n + 3), (32, 40)):
        order.blocks(start, stop)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
    assert np.array_equal(asked[0][32:40], asked[2]), "the same, however it was reached"
    assert len(np.unique(asked[1])) == 6 and (asked[1] < n).all()
    assert not np.isin(asked[1][3:], asked[0][:3]).any(), "another epoch, another order"


def test_an_epoch_of_a_large_store_reads_every_block_once(monkeypatch):
    monkeypatch.setattr(data, "LARGE", 30)
    tokens = np.arange(50 * CONTEXT + 1, dtype=np.uint16)
    order = BlockOrder(tokens, CONTEXT, (3, 5))
    whole = order.blocks(0, 100)
    assert sorted(whole[:50, 0]) == sorted(whole[50:, 0]) == list(range(0, 200, CONTEXT))
    assert not np.array_equal(whole[:50], whole[50:])
    assert np.array_equal(np.concatenate([order.blocks(0, 41), order.blocks(41, 100)]), whole)


def test_small_stores_keep_the_order_that_finished_runs_had():
    order = BlockOrder(np.arange(6 * CONTEXT + 1, dtype=np.uint16), CONTEXT, (3, 5))
    first, second = (np.random.default_rng([3, 5, epoch]).permutation(6) for epoch in (0, 1))
    which = order.blocks(4, 9)[:, 0] // CONTEXT
    assert which.tolist() == [*first[4:], *second[:3]]


def test_only_the_text_of_large_stores_names_the_order(monkeypatch, training_stores):
    paths = (
        [str(training_stores / f"{name}.{split}.bin") for name in ("en", "fr")]
        for split in ("train", "valid")
    )
    text = Text.open(*paths, target="fr", base={"en": 1.0}, evaluation_tokens=64)
    assert "order" not in text.identity(CONTEXT)
    monkeypatch.setattr(data, "LARGE", 10)
    assert text.identity(CONTEXT)["order"] == shuffle.VERSION
