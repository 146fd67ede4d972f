"""Batches are the same whether or not they are prepared ahead."""

import numpy as np
import pytest
import torch

from ptpp.training.data import BlockOrder, Mixture
from ptpp.training.feeding import Feed

CPU = torch.device("cpu")


@pytest.fixture
def mixture():
    """Counts what is asked of it."""
    tokens = np.arange(200, dtype=np.uint16)
    mixture = Mixture({"x": BlockOrder(tokens, 4, (0,))}, {"x": 1.0})
    batch, mixture.asked = mixture.batch, []

    def counted(start, stop):
        mixture.asked.append((start, stop))
        return batch(start, stop)

    mixture.batch = counted
    return mixture


def test_a_batch_that_was_asked_for_is_prepared_once_and_then(mixture):
    feed, plain = Feed(mixture, CPU, ahead=True), Feed(mixture, CPU)
    feed.ask(0, 3)
    assert mixture.asked == [(0, 3)]
    assert torch.equal(feed.take(0, 3), plain.take(0, 3))
    assert mixture.asked == [(0, 3), (0, 3)]
    feed.ask(3, 6)
    assert torch.equal(feed.take(6, 8), plain.take(6, 8)), "another one than was asked for"
    assert feed.take(0, 3).dtype == torch.int64


def test_nothing_is_prepared_ahead_on_a_cpu_nor_past_the_end(mixture):
    plain, feed = Feed(mixture, CPU), Feed(mixture, CPU, ahead=True)
    plain.ask(0, 3)
    feed.ask(3, 3)
    assert mixture.asked == []
