"""The lean GPT-2 is GPT-2: transformers loads its checkpoints and finds the same losses."""

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2LMHeadModel

from ptpp.errors import InputError
from ptpp.training.model import GPT2, CrossEntropy, initialise, load_checkpoint, save_checkpoint
from ptpp.training.sizes import Shape

SHAPE = Shape(width=32, depth=2, heads=2, context=16, vocab_size=64)


@pytest.fixture
def model():
    model = GPT2(SHAPE)
    initialise(model, seed=3)
    return model


def test_transformers_finds_the_same_loss_and_gradient_in_float64(model, tmp_path):
    save_checkpoint(model, tmp_path / "checkpoint", tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint", dtype=torch.float64)
    assert isinstance(theirs, GPT2LMHeadModel)
    ours = load_checkpoint(tmp_path / "checkpoint").double()
    blocks = torch.randint(0, 64, (4, 17), generator=torch.Generator().manual_seed(0))
    logits = theirs(blocks[:, :-1]).logits.reshape(-1, 64)
    expected = torch.nn.functional.cross_entropy(logits, blocks[:, 1:].reshape(-1))
    loss = ours.loss(blocks)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    loss.backward()
    expected.backward()
    gradients = dict(theirs.transformer.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name].grad, rtol=1e-9, atol=1e-12)


def test_checkpoints_saved_by_transformers_load_too(model, tmp_path):
    save_checkpoint(model, tmp_path / "ours", tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    again = load_checkpoint(tmp_path / "theirs")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])


def test_cross_entropy_has_the_exact_gradient():
    logits = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([0, 4, 2, 2, 1, 3])
    assert torch.autograd.gradcheck(lambda x: CrossEntropy.apply(x, targets), logits)


@pytest.mark.parametrize("width,depth,heads", [(16, 1, 1), (32, 2, 2), (48, 3, 3)])
def test_parameter_counts_are_those_of_the_built_model(width, depth, heads):
    shape = Shape(width, depth, heads, context=16, vocab_size=64)
    model = GPT2(shape)
    assert shape.n_params == sum(p.numel() for p in model.parameters())
    embeddings = model.wte.weight.numel() + model.wpe.weight.numel()
    assert shape.n_params_non_embedding == shape.n_params - embeddings
    assert shape.count("total") == shape.n_params
    assert shape.count("non_embedding") == shape.n_params_non_embedding


def test_initialisation_follows_the_seed():
    def weights(seed):
        model = GPT2(SHAPE)
        initialise(model, seed)
        return model.state_dict()

    assert all(torch.equal(a, b) for a, b in zip(weights(1).values(), weights(1).values()))  # noqa: B905
    assert not torch.equal(weights(1)["wte.weight"], weights(2)["wte.weight"])


def test_a_damaged_checkpoint_is_named(model, tmp_path):
    save_checkpoint(model, tmp_path / "c", tmp_path)
    weights = tmp_path / "c" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"model\.safetensors"):
        load_checkpoint(tmp_path / "c")
