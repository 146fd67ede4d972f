"""Products of training in bfloat16: parameters, sums, losses and measurements stay float32."""

import pytest
import torch
from groups import lone_group
from transformers import AutoModelForCausalLM, LlamaConfig

from ptpp.models.backend import Placement
from ptpp.models.huggingface import Module, start_module
from ptpp.models.sizes import Shape
from ptpp.training.schedule import Settings

SHAPE = Shape(width=16, depth=2, heads=2, context=12, vocab_size=40)
SETTINGS = Settings(learning_rate=0.01, base_width=8, batch=5, warmup=0, decay_fraction=0.2)
BLOCKS = torch.randint(0, 40, (5, 13), generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def one_thread():
    """More of them only wait for each other in models this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def lone():
    with lone_group() as group:
        yield group


def gpt2(place):
    return start_module(SHAPE, 3, place)


def llama(place):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    config = LlamaConfig(**sizes, num_attention_heads=2, vocab_size=40)
    return Module(AutoModelForCausalLM.from_config(config), 12, place)


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
    exact, half = start_module(SHAPE, 3), start_module(SHAPE, 3, Placement(bfloat16=True))
    seen = types_seen(half)
    loss = half.gradients(BLOCKS).item()
    assert loss == pytest.approx(exact.gradients(BLOCKS).item(), abs=5e-3)
    assert loss != exact.gradients(BLOCKS).item()
    assert seen["product"] == torch.bfloat16
    assert seen["parameter"] == seen["losses"] == torch.float32
    assert half.loss(BLOCKS) == exact.loss(BLOCKS)
