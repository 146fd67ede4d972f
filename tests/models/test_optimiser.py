"""One step of the flat optimiser is one step of torch's AdamW, group by group."""

import pytest
import torch

from ptpp.models.backend import GROUPS, group_of, group_settings
from ptpp.models.cpu import HandWritten, Weights, initialise
from ptpp.models.sizes import Shape
from ptpp.training.schedule import Settings

SHAPE = Shape(width=32, depth=2, heads=2, context=16, vocab_size=64)
SETTINGS = Settings(learning_rate=0.02, base_width=8, batch=4, warmup=0, decay_fraction=0.2)


def test_hidden_matrices_learn_slower_in_proportion_to_width():
    groups = group_settings(SETTINGS, width=32)
    assert groups["hidden"][0] == 0.02 * 8 / 32
    assert groups["embeddings"][0] == groups["vectors"][0] == 0.02
    rate_times_decay = {group: rate * decay for group, (rate, decay) in groups.items()}
    assert rate_times_decay["hidden"] == pytest.approx(rate_times_decay["embeddings"])
    assert groups["vectors"][1] == 0, "norms and biases do not decay"


def test_every_parameter_lies_in_the_slice_of_its_group():
    weights = Weights(SHAPE)
    assert tuple(weights.groups) == GROUPS
    for number, where in enumerate(weights.groups.values(), start=1):
        weights.flat[where] = number
    for name, view in weights.parameters.items():
        assert (view == GROUPS.index(group_of(name, tuple(view.shape))) + 1).all(), name
    assert sum(where.stop - where.start for where in weights.groups.values()) == SHAPE.n_params


def test_steps_equal_those_of_torch():
    weights = Weights(SHAPE)
    initialise(weights, 0)
    parameters = {name: torch.nn.Parameter(v.clone()) for name, v in weights.parameters.items()}
    groups = [
        {
            "params": [
                p for name, p in parameters.items() if group_of(name, tuple(p.shape)) == group
            ],
            "lr": rate,
            "weight_decay": decay,
        }
        for group, (rate, decay) in group_settings(SETTINGS, SHAPE.width).items()
    ]
    backend = HandWritten(weights)
    theirs = torch.optim.AdamW(groups, betas=SETTINGS.betas)
    generator = torch.Generator().manual_seed(0)
    for scale in (0.001, 1.0, 1.0):  # the first lies under the clipping norm
        weights.gradient.copy_(torch.randn(SHAPE.n_params, generator=generator) * scale)
        for name, parameter in parameters.items():
            parameter.grad = weights.gradients[name].clone()
        torch.nn.utils.clip_grad_norm_(parameters.values(), SETTINGS.clip)
        theirs.step()
        backend.step(SETTINGS, multiplier=1.0)
    for name, parameter in parameters.items():
        torch.testing.assert_close(weights.parameters[name], parameter.data, rtol=1e-5, atol=1e-7)
