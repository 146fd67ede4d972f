"""The loops that benchmarks/training.py compares do the same work."""

import importlib.util
import sys

import numpy as np
import pytest
import torch

from ptpp.models.checkpoint import save_checkpoint
from ptpp.models.cpu import Weights, initialise
from ptpp.models.sizes import Shape
from ptpp.training.data import BlockOrder, Mixture
from ptpp.training.schedule import Settings

SHAPE = Shape(width=32, depth=2, heads=2, context=16, vocab_size=64)
SETTINGS = Settings(learning_rate=0.01, base_width=16, batch=4, warmup=8, decay_fraction=1.0)
STEPS = 6


@pytest.fixture
def loops(root):
    sys.path.insert(0, str(root / "benchmarks"))
    import training_loops

    sys.path.pop(0)
    return training_loops


@pytest.fixture
def task(loops, tmp_path):
    weights = Weights(SHAPE)
    initialise(weights, seed=0)
    save_checkpoint(SHAPE, weights.parameters, tmp_path / "checkpoint", tmp_path)
    rng = np.random.default_rng(0)
    orders = {
        language: BlockOrder(rng.integers(0, 64, 2000).astype(np.uint16), 16, (key,))
        for key, language in enumerate(("en", "ar"))
    }
    mixture = Mixture(orders, {"en": 0.5, "ar": 0.5})
    return loops.Task(tmp_path / "checkpoint", mixture, SETTINGS, STEPS)


@pytest.mark.parametrize("name", ["plain", "trainer"])
def test_every_loop_finds_our_losses(loops, task, name):
    if name == "trainer" and importlib.util.find_spec("accelerate") is None:
        pytest.skip("Trainer needs accelerate")
    ticks = []
    theirs = loops.LOOPS[name](task, lambda: ticks.append(name))
    assert len(ticks) == STEPS
    # The first step sees the weights; the others what AdamW, clipping and schedule made of them.
    assert theirs == pytest.approx(loops.ours(task), rel=1e-5)
    assert theirs[0] != pytest.approx(theirs[-1], rel=1e-5)


def test_without_accelerate_the_trainer_says_how_to_install_it(loops, task, monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ImportError, match="pip install accelerate"):
        loops.trainer(task)


def test_the_trained_model_can_be_looked_at(loops, task):
    if importlib.util.find_spec("accelerate") is None:
        pytest.skip("Trainer needs accelerate")
    seen = []
    loops.trainer(task, after=seen.append)
    before = torch.nn.utils.parameters_to_vector(loops._transformers_model(task).parameters())
    assert not torch.equal(torch.nn.utils.parameters_to_vector(seen[0].parameters()), before)
