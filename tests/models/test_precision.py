"""Products of training in bfloat16: parameters, sums, losses and measurements stay float32."""

import functools

import pytest
import torch
from groups import lone_group
from small_models import BLOCKS
from small_models import gpt2 as any_gpt2
from small_models import llama as any_llama

from ptpp.models.backend import Placement
from ptpp.training.schedule import Settings

pytestmark = pytest.mark.usefixtures("one_thread")
SETTINGS = Settings(learning_rate=0.01, base_width=8, batch=5, warmup=0, decay_fraction=0.2)
gpt2, llama = (functools.partial(each, depth=2) for each in (any_gpt2, any_llama))


@pytest.fixture
def lone():
    with lone_group() as group:
        yield group


def types_seen(backend):
    """Types of the first product's parameter and result, and of the losses, in training."""
    seen = {}

    def note(module, arguments, output):
        seen.update(product=output.dtype, parameter=module.weight.dtype)

    names = ("c_attn", "q_proj")
    product = next(each for name, each in backend.module.named_modules() if name.endswith(names))
    product.register_forward_hook(note)
    backend.losses.register_forward_hook(lambda *parts: seen.update(losses=parts[2].dtype))
    return seen


@pytest.mark.parametrize("start", [gpt2, llama])
def test_a_sharded_model_gathers_bfloat16_and_keeps_float32(start, lone):
    exact = start(Placement())
    half = start(Placement(group=lone, micro_batch=2, bfloat16=True))
    seen = types_seen(half)
    assert half.gradients(BLOCKS).item() == pytest.approx(exact.gradients(BLOCKS).item(), abs=5e-3)
    assert seen["product"] == seen["parameter"] == torch.bfloat16
    assert seen["losses"] == torch.float32
    assert {each.dtype for each in half.parameters.values()} == {torch.float32}
    expected = torch.cat([each.grad.flatten() for each in exact.parameters.values()])
    found = torch.cat([each.grad.full_tensor().flatten() for each in half.parameters.values()])
    assert found.dtype == torch.float32
    assert 0 < (found - expected).norm() < 0.02 * expected.norm()
    for _ in range(3):
        for backend in (exact, half):
            backend.step(SETTINGS, 1.0)
            backend.gradients(BLOCKS)
    assert half.loss(BLOCKS) == pytest.approx(exact.loss(BLOCKS), abs=5e-3)


@pytest.mark.parametrize("start", [gpt2, llama])
def test_what_is_measured_of_a_sharded_model_is_float32_to_the_bit(start, lone):
    half = start(Placement(group=lone, bfloat16=True))
    exact = start(Placement())
    assert half.loss(BLOCKS) == exact.loss(BLOCKS)
    half.gradients(BLOCKS)
    half.step(SETTINGS, 1.0)
    exact.restore(half.whole(half.state("now")), "now")
    assert half.loss(BLOCKS) == exact.loss(BLOCKS), "also after a step"


def test_a_single_process_computes_in_bfloat16_by_autocast():
    exact, half = gpt2(Placement()), gpt2(Placement(bfloat16=True))
    seen = types_seen(half)
    loss = half.gradients(BLOCKS).item()
    assert loss == pytest.approx(exact.gradients(BLOCKS).item(), abs=5e-3)
    assert loss != exact.gradients(BLOCKS).item()
    assert seen["product"] == torch.bfloat16
    assert seen["parameter"] == seen["losses"] == torch.float32
    assert half.loss(BLOCKS) == exact.loss(BLOCKS)
