"""Batches are a pure function of seed, position and mixture, with exact quotas."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptpp.errors import InputError
from ptpp.training.data import (
    BlockOrder,
    Mixture,
    adaptation_shares,
    evaluation_blocks,
    stream_key,
)

CONTEXT = 4
BASE = {"en": 0.5, "ar": 0.5}


def order(language, first, n_blocks=50, seed=0):
    """A store whose tokens tell language and place: first, first + 1, ..."""
    tokens = np.arange(first, first + n_blocks * CONTEXT + 1, dtype=np.uint16)
    return BlockOrder(tokens, CONTEXT, stream_key(seed, "adaptation", language))


def mixture(replay, seed=0):
    orders = {"fr": order("fr", 0, seed=seed), "en": order("en", 1000, seed=seed)}
    orders["ar"] = order("ar", 2000, seed=seed)
    return Mixture(orders, adaptation_shares("fr", BASE, replay))


def french(batch):
    return batch[batch[:, 0] < 1000]


@given(replay=st.floats(0, 1), k=st.integers(0, 3000))
def test_quotas_are_met_to_within_one_sequence_after_any_number_of_sequences(replay, k):
    shares = adaptation_shares("fr", BASE, replay)
    counts = mixture(replay).counts(k)
    assert sum(counts.values()) == k
    assert abs(counts["fr"] - k * shares["fr"]) <= 0.5 + k * 1e-6
    assert abs(counts["en"] - k * shares["en"]) <= 1 + k * 1e-6
    assert abs(counts["ar"] - k * shares["ar"]) <= 1 + k * 1e-6


@given(replay=st.floats(0, 1), k=st.integers(0, 500))
def test_no_language_ever_gives_a_sequence_back(replay, k):
    before, after = mixture(replay).counts(k), mixture(replay).counts(k + 1)
    assert all(after[language] >= before[language] for language in before)


def test_every_replay_ratio_reads_the_same_french_in_the_same_order():
    plain = french(mixture(0.0).batch(0, 20))
    for replay in (0.05, 0.25, 0.5):
        mixed = french(mixture(replay).batch(0, 80))
        n = min(len(plain), len(mixed))
        assert n >= 10
        assert np.array_equal(mixed[:n], plain[:n])


def test_a_batch_is_the_same_however_it_was_reached():
    whole = mixture(0.25).batch(0, 24)
    fresh = mixture(0.25)
    halves = [fresh.batch(0, 7), fresh.batch(7, 24)]
    assert sorted(map(tuple, np.concatenate(halves))) == sorted(map(tuple, whole))


def test_an_epoch_reads_every_block_once_and_the_next_reads_them_in_another_order():
    blocks = order("fr", 0)
    first, second = blocks.blocks(0, 50), blocks.blocks(50, 100)
    assert sorted(first[:, 0]) == list(range(0, 200, CONTEXT))
    assert sorted(second[:, 0]) == sorted(first[:, 0])
    assert not np.array_equal(first, second)
    assert Mixture({"fr": blocks}, {"fr": 1.0}).epochs(75) == {"fr": 1.5}


def test_seeds_differ_in_order():
    assert not np.array_equal(mixture(0).batch(0, 20), mixture(0, seed=1).batch(0, 20))


def test_evaluation_blocks_are_fixed_and_spread_over_the_store():
    rows = evaluation_blocks(np.arange(0, 401, dtype=np.uint16), CONTEXT, 40)
    assert rows.shape == (10, CONTEXT + 1)
    assert rows[0, 0] == 0 and rows[-1, 0] >= 350
    assert np.array_equal(rows, evaluation_blocks(np.arange(0, 401), CONTEXT, 40))


def test_shares_that_do_not_sum_to_one_are_refused():
    with pytest.raises(InputError, match="do not sum to 1"):
        Mixture({"fr": order("fr", 0)}, {"fr": 0.9})


def test_a_store_shorter_than_a_block_is_refused():
    with pytest.raises(InputError, match="do not fill one block"):
        BlockOrder(np.arange(4, dtype=np.uint16), CONTEXT, (0,))
