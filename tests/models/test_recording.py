"""A recorded step against a plain one, with a tape in place of CUDA graphs."""

import logging

import pytest
import torch

from ptpp.models.backend import Placement
from ptpp.models.huggingface import start_module
from ptpp.models.sizes import Shape
from ptpp.training.schedule import Settings

SHAPE = Shape(width=16, depth=2, heads=2, context=8, vocab_size=64)
SETTINGS = Settings(learning_rate=0.01, base_width=16, batch=4, warmup=0, decay_fraction=0.2)


def tape(backend):
    """As a CUDA graph does: recording changes nothing, playing reads and writes the same memory."""

    def record(work):
        before = backend.state("now")
        work()
        backend.restore(before, "now")
        kept = [each.grad for each in backend.parameters.values()]

        def play():
            work()
            for gradient, parameter in zip(kept, backend.parameters.values(), strict=True):
                gradient.copy_(parameter.grad)

        return play

    return record


@pytest.fixture
def plain():
    return start_module(SHAPE, 0)


@pytest.fixture
def recorded():
    backend = start_module(SHAPE, 0, Placement(records=True))
    backend.recorded.record = tape(backend)
    return backend


def batches(count, sequences=4):
    generator = torch.Generator().manual_seed(0)
    size = (count, sequences, SHAPE.context + 1)
    return list(torch.randint(0, SHAPE.vocab_size, size, generator=generator))


def train(backend, blocks):
    losses = []
    for k, batch in enumerate(blocks):
        losses.append(backend.gradients(batch))
        backend.step(SETTINGS, 1.0 / (k + 1))
    return torch.stack(losses).tolist()


def test_recorded_steps_are_plain_ones(plain, recorded):
    blocks = batches(8)
    assert train(recorded, blocks) == pytest.approx(train(plain, blocks), abs=1e-6)
    assert recorded.recorded.is_recorded
    assert recorded.loss(blocks[0]) == pytest.approx(plain.loss(blocks[0]), abs=1e-6)


def test_other_batches_in_between_are_not_played(plain, recorded):
    blocks = batches(6) + batches(1, sequences=3) + batches(3)
    assert train(recorded, blocks) == pytest.approx(train(plain, blocks), abs=1e-6)


def test_goes_on_from_a_state(recorded):
    blocks = batches(12)
    train(recorded, blocks[:6])
    kept = recorded.state("now")
    first = train(recorded, blocks[6:])
    recorded.restore(kept, "now")
    assert train(recorded, blocks[6:]) == first


def test_micro_batches_are_not_recorded(plain):
    backend = start_module(SHAPE, 0, Placement(records=True, micro_batch=2))
    blocks = batches(6)
    assert train(backend, blocks) == pytest.approx(train(plain, blocks), abs=1e-6)
    assert not backend.recorded.is_recorded


@pytest.mark.parametrize("half", [1, 2])
def test_goes_on_where_recording_fails(plain, half, caplog):
    backend = start_module(SHAPE, 0, Placement(records=True))
    record, calls = tape(backend), []

    def refuse(work):
        calls.append(work)
        if len(calls) == half:
            raise RuntimeError("operation not permitted\nwhen stream is capturing")
        return record(work)

    backend.recorded.record = refuse
    blocks = batches(8)
    with caplog.at_level(logging.WARNING, "ptpp"):
        assert train(backend, blocks) == pytest.approx(train(plain, blocks), abs=1e-6)
    assert len(calls) == half
    assert [each.message for each in caplog.records] == [
        "no CUDA graph of a step (operation not permitted when stream is capturing): "
        "goes on without"
    ]


def test_none_on_a_cpu(plain):
    assert plain.recorded is None


def test_training_losses_are_not_rounded_to_bfloat16():
    """As they were, to a fifth of a per cent."""
    backend = start_module(SHAPE, 0, Placement(bfloat16=True))
    loss = backend.gradients(batches(1)[0])
    assert loss.dtype == torch.float32
    assert loss.bfloat16().float() != loss
    assert loss.item() == pytest.approx(backend.loss(batches(1)[0]), abs=2e-3)
