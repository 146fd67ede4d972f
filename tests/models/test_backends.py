"""The hand-written passes are GPT-2: transformers finds the same losses and gradients."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, GPT2LMHeadModel

from ptpp.errors import InputError
from ptpp.models.backend import open_model, start_model
from ptpp.models.checkpoint import save_checkpoint
from ptpp.models.cpu import HandWritten, Weights, initialise, load_checkpoint, use_fast_float32
from ptpp.models.huggingface import Module, open_module
from ptpp.models.sizes import Shape
from ptpp.training.run import prepare
from ptpp.training.schedule import Settings

SHAPE = Shape(width=32, depth=2, heads=2, context=16, vocab_size=64)


def start_weights(shape=SHAPE, seed=3, dtype=torch.float32):
    weights = Weights(shape, dtype=dtype)
    initialise(weights, seed)
    return weights


def save(weights, directory):
    save_checkpoint(weights.shape, weights.parameters, directory, directory.parent)


def some_blocks(sequences=4, shape=SHAPE, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, shape.vocab_size, (sequences, shape.context + 1), generator=generator)


@pytest.mark.parametrize("depth,heads", [(1, 1), (2, 2), (3, 4)])
def test_transformers_finds_the_same_loss_and_gradients_in_float64(depth, heads, tmp_path):
    shape = Shape(32, depth, heads, context=16, vocab_size=64)
    save(start_weights(shape), tmp_path / "c")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "c", dtype=torch.float64)
    assert isinstance(theirs, GPT2LMHeadModel)
    ours = start_weights(shape, dtype=torch.float64)
    blocks = some_blocks(shape=shape)
    logits = theirs(blocks[:, :-1]).logits.reshape(-1, 64)
    expected = torch.nn.functional.cross_entropy(logits, blocks[:, 1:].reshape(-1))
    expected.backward()
    backend = HandWritten(ours)
    assert backend.loss(blocks) == pytest.approx(expected.item(), rel=1e-12)
    assert backend.gradients(blocks).item() == pytest.approx(expected.item(), rel=1e-12)
    gradients = dict(theirs.transformer.named_parameters())
    assert set(gradients) == set(ours.gradients)
    for name, gradient in ours.gradients.items():
        torch.testing.assert_close(gradient, gradients[name].grad, rtol=1e-9, atol=1e-12)


def test_a_batch_leaves_no_trace_in_the_next_whatever_its_size():
    reused = HandWritten(start_weights())
    for sequences in (4, 1, 7, 3):
        blocks = some_blocks(sequences, seed=sequences)
        reused.gradients(blocks)
        fresh = HandWritten(start_weights())
        fresh.gradients(blocks)
        assert torch.equal(reused.weights.gradient, fresh.weights.gradient)


def test_an_improbable_token_costs_much_and_breaks_nothing():
    weights = start_weights()
    weights.parameters["wte.weight"][7] = 1e4
    backend = HandWritten(weights)
    assert torch.isfinite(backend.gradients(some_blocks()))
    assert torch.isfinite(weights.gradient).all()


def test_float32_products_stay_float32_whoever_multiplies():
    before = torch.backends.mkldnn.matmul.fp32_precision
    use_fast_float32()
    try:
        left, right = torch.randn(300, 64), torch.randn(64, 90)
        error = (left @ right).double() - left.double() @ right.double()
        assert error.abs().max() < 1e-4
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = before


def test_products_of_a_cpu_are_switched_on_a_cpu_alone(monkeypatch):
    switched = []
    monkeypatch.setattr("ptpp.models.cpu.use_fast_float32", lambda: switched.append(True))
    threads = torch.get_num_threads()
    prepare(threads, "cuda")
    assert not switched
    prepare(threads, "cpu")
    assert switched and torch.get_num_threads() == threads


def test_a_gpt2_without_a_mask_is_the_same_to_the_bit_and_reads_no_values(tmp_path):
    save(start_weights(), tmp_path / "c")
    ours = open_module(tmp_path / "c", SHAPE, SHAPE.context)
    theirs = open_module(tmp_path / "c", None, SHAPE.context)
    blocks = some_blocks()
    for module, reads in ((ours, 0), (theirs, 1)):
        with ValueReads() as seen:
            module.gradients(blocks)
        assert seen.count == reads
    for name, parameter in ours.parameters.items():
        assert torch.equal(parameter.grad, theirs.parameters[name].grad)
    assert ours.loss(blocks) == theirs.loss(blocks)


class ValueReads(TorchDispatchMode):
    """Counts reads of a tensor's value, which wait for a GPU."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


def test_the_cpu_gets_the_hand_written_passes_and_long_contexts_the_module():
    assert isinstance(start_model(SHAPE, 0), HandWritten)
    assert isinstance(start_model(Shape(8, 1, 1, 2048, 32), 0), Module)


def test_checkpoints_saved_by_transformers_load_too(tmp_path):
    weights = start_weights()
    save(weights, tmp_path / "ours")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    again = load_checkpoint(tmp_path / "theirs")
    assert torch.equal(weights.flat, again.flat)


@pytest.mark.parametrize("width,depth,heads", [(16, 1, 1), (32, 2, 2), (48, 3, 3)])
def test_parameter_counts_are_those_of_the_built_model(width, depth, heads):
    shape = Shape(width, depth, heads, context=16, vocab_size=64)
    weights = Weights(shape)
    assert shape.n_params == sum(view.numel() for view in weights.parameters.values())
    embeddings = weights.parameters["wte.weight"].numel() + weights.parameters["wpe.weight"].numel()
    assert shape.n_params_non_embedding == shape.n_params - embeddings
    assert shape.count("total") == shape.n_params
    assert shape.count("non_embedding") == shape.n_params_non_embedding


def test_initialisation_follows_the_seed():
    assert torch.equal(start_weights(seed=1).flat, start_weights(seed=1).flat)
    assert not torch.equal(start_weights(seed=1).flat, start_weights(seed=2).flat)


def test_state_puts_back_every_bit():
    weights, others = start_weights(), start_weights(seed=9)
    backend, other = HandWritten(weights), HandWritten(others)
    weights.first.normal_()
    weights.second.uniform_()
    backend.steps.fill_(7)
    state = backend.state("x")
    other.restore(state, "x")
    for name in ("flat", "first", "second"):
        assert torch.equal(getattr(weights, name), getattr(others, name))
    assert other.steps == 7
    weights.flat.zero_()
    assert state["x.wte.weight"].any(), "a copy, so that training may go on"


def test_a_checkpoint_that_is_not_what_was_written_is_named(tmp_path):
    save(start_weights(), tmp_path / "c")
    weights = tmp_path / "c" / "model.safetensors"
    whole = weights.read_bytes()
    for damaged in (whole[:-100], whole[:-1] + bytes([whole[-1] ^ 1])):
        weights.write_bytes(damaged)
        with pytest.raises(InputError, match=r"model\.safetensors: is not what was written"):
            load_checkpoint(tmp_path / "c")


def test_another_architecture_is_refused(tmp_path):
    save(start_weights(), tmp_path / "c")
    (tmp_path / "c" / "sha256.json").unlink()  # as for a checkpoint from elsewhere
    config = tmp_path / "c" / "config.json"
    config.write_text(config.read_text().replace('"gelu"', '"relu"'))
    with pytest.raises(InputError, match="activation_function is 'relu', expected 'gelu'"):
        load_checkpoint(tmp_path / "c")


@pytest.mark.parametrize("open_it", ["hand-written", "module"])
def test_a_reloaded_model_is_the_checkpoint_s_again_to_the_bit(tmp_path, open_it):
    save(start_weights(), tmp_path / "c")
    if open_it == "module":
        backend = open_module(tmp_path / "c", SHAPE, SHAPE.context)
    else:
        backend = open_model(tmp_path / "c", SHAPE, SHAPE.context)
    before = backend.state("x")
    settings = Settings(0.01, base_width=8, batch=4, warmup=0, decay_fraction=0.2)
    backend.gradients(some_blocks())
    backend.step(settings, 1.0)
    assert any(not torch.equal(before[name], each) for name, each in backend.state("x").items())
    backend.reload(tmp_path / "c")
    assert all(torch.equal(before[name], each) for name, each in backend.state("x").items())
