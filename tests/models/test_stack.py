"""Runs trained at once against the same runs one by one."""

import functools
from types import SimpleNamespace

import pytest
import torch
from test_compiling import Compiler
from test_recording import SETTINGS, SHAPE, batches, tape

from ptpp.models import huggingface
from ptpp.models import stack as stack_module
from ptpp.models.backend import Group, Placement, open_model, start_model
from ptpp.models.checkpoint import read_shape
from ptpp.models.compiling import CompiledLayers
from ptpp.models.huggingface import start_module
from ptpp.models.sizes import Shape
from ptpp.models.stack import Stack, stack_size
from ptpp.training.schedule import Settings

MEMBERS = 3
CLIPPED = Settings(learning_rate=0.01, base_width=8, batch=4, warmup=0, decay_fraction=1, clip=0.3)


def train(backend, blocks, settings):
    losses = []
    for k, batch in enumerate(blocks):
        losses.append(backend.gradients(batch))
        backend.step(settings, 1.0 / (k + 1))
    return torch.stack(losses)


@pytest.mark.parametrize("start", [start_model, start_module])
@pytest.mark.parametrize("settings", [SETTINGS, CLIPPED], ids=["free", "clipped"])
def test_members_train_as_models_alone_do(start, settings):
    stack = Stack(start(SHAPE, 0), MEMBERS)
    blocks = [batches(6)[k:] + batches(6)[:k] for k in range(MEMBERS)]
    found = train(stack, [torch.cat(step) for step in zip(*blocks, strict=True)], settings)
    assert found.shape == (6, MEMBERS)
    for k in range(MEMBERS):
        alone = start(SHAPE, 0)
        expected = train(alone, blocks[k], settings)
        torch.testing.assert_close(found[:, k], expected, rtol=0, atol=1e-5)
        stack.show(k)
        held_out = batches(7)[-1]
        assert stack.model.loss(held_out) == pytest.approx(alone.loss(held_out), abs=1e-5)
    assert stack.steps == 6


def test_recorded_steps_of_a_stack_are_plain_ones():
    blocks = [torch.cat(pair) for pair in zip(batches(8), batches(8)[::-1], strict=True)]
    plain = Stack(start_module(SHAPE, 0), 2)
    recorded = Stack(start_module(SHAPE, 0, Placement(records=True)), 2)
    recorded.recorded.record = tape(recorded)
    found, expected = (train(stack, blocks, SETTINGS) for stack in (recorded, plain))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert recorded.recorded.is_recorded and plain.recorded is None


@pytest.mark.parametrize("error", [None, RuntimeError("no C compiler")])
def test_layers_of_a_stack_are_compiled_where_they_can_be(monkeypatch, caplog, error, one_thread):
    torch._dynamo.reset()
    compiler = Compiler(error)
    compiled = functools.partial(CompiledLayers, backend=compiler)
    for module in (huggingface, stack_module):
        monkeypatch.setattr(module, "CompiledLayers", compiled)
    blocks = [torch.cat([batch, batch]) for batch in batches(3)]
    blocks.append(torch.cat(2 * batches(1, sequences=2)))
    stack = Stack(start_module(SHAPE, 0, Placement(compiles=True)), 2)
    found = train(stack, blocks, SETTINGS)
    expected = train(Stack(start_module(SHAPE, 0), 2), blocks, SETTINGS)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert compiler.graphs == 1, "alike layers share a graph; a short batch has none"
    assert stack.compiled.fails == bool(error) == ("torch.compile failed" in caplog.text)


def test_products_of_training_are_in_bfloat16_where_the_model_has_them_so():
    block = torch.cat(batches(2))
    half, whole = (
        Stack(start_module(SHAPE, 0, Placement(bfloat16=half)), 2) for half in (True, False)
    )
    found, expected = half.gradients(block), whole.gradients(block)
    assert found.dtype == torch.float32 and not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-3)
    assert half.loss(block) == pytest.approx(whole.loss(block), abs=1e-6), "measured in float32"


def test_a_stack_starts_again_from_what_is_read(whole):
    checkpoint = whole.checkpoint(1.0)
    stack = Stack(open_model(checkpoint, read_shape(checkpoint), 16), 2)
    before = stack.state("now")
    generator = torch.Generator().manual_seed(0)
    size = (4, stack.context + 1)
    stack.gradients(torch.randint(0, stack.vocab_size, size, generator=generator))
    stack.step(SETTINGS, 1.0)
    stack.reload(checkpoint)
    assert all(torch.equal(tensor, before[name]) for name, tensor in stack.state("now").items())


def model_on_gpu(**changes):
    shape = Shape(width=64, depth=4, heads=2, context=256, vocab_size=2048)
    fields = {"device": torch.device("cuda"), "group": Group(), "shape": shape, "is_chosen": True}
    return SimpleNamespace(**fields | changes)


@pytest.mark.parametrize(
    ("changes", "free", "size"),
    [
        ({}, 80e9, 6),
        ({}, 1.3e9, 3),
        ({}, 1e6, 1),
        ({"device": torch.device("cpu")}, 80e9, 1),
        ({"group": Group(0, 2)}, 80e9, 1),
        ({"shape": None}, 80e9, 1),
        ({"shape": Shape(512, 8, 8, 2048, 65_536)}, 80e9, 1),
        ({"is_chosen": False}, 80e9, 1),
    ],
)
def test_as_many_as_memory_holds_are_stacked_on_a_gpu_alone(monkeypatch, changes, free, size):
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (free, 80e9))
    assert stack_size(model_on_gpu(**changes), batch=32, count=6) == size
