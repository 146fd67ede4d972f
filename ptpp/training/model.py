"""A lean GPT-2 whose weights are exactly those of `transformers.GPT2LMHeadModel`.

The module exists because importing transformers costs seconds in every job and its forward pass
is slower; what it saves is an ordinary Hugging Face directory (parity is tested in float64).
"""

import json
import math
import shutil
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from ptpp.errors import InputError
from ptpp.files import read_json, replacing_directory
from ptpp.training.sizes import Shape

PREFIX = "transformer."
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


class CrossEntropy(torch.autograd.Function):
    """Mean cross-entropy of logits (n, V) against targets (n,), with the gradient written out.

    torch's own backward of log_softmax is a fifth of a training step of a small model on a CPU;
    this one is an exponential and a subtraction.
    """

    @staticmethod
    def forward(ctx, logits, targets):
        log_probabilities = torch.log_softmax(logits, dim=-1)
        ctx.save_for_backward(log_probabilities, targets)
        return -log_probabilities.gather(1, targets[:, None]).mean()

    @staticmethod
    def backward(ctx, upstream):
        log_probabilities, targets = ctx.saved_tensors
        gradient = log_probabilities.exp()
        gradient.scatter_add_(1, targets[:, None], gradient.new_full((len(targets), 1), -1.0))
        return gradient.mul_(upstream / len(targets)), None


class Affine(nn.Module):
    """x W + b with W of shape (inputs, outputs), the layout GPT-2 checkpoints use."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        return torch.addmm(self.bias, x, self.weight)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.c_attn = Affine(width, 3 * width)
        self.c_proj = Affine(width, width)

    def forward(self, x, batch: int, length: int):
        width = x.shape[-1]
        parts = self.c_attn(x).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(mixed.transpose(1, 2).reshape(batch * length, width))


class MLP(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.c_fc = Affine(width, 4 * width)
        self.c_proj = Affine(4 * width, width)

    def forward(self, x):
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = MLP(width)

    def forward(self, x, batch: int, length: int):
        x = x + self.attn(self.ln_1(x), batch, length)
        return x + self.mlp(self.ln_2(x))


class GPT2(nn.Module):
    """The decoder. `forward` takes token ids (batch, length) and gives logits (batch*length, V)."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        self.wte = nn.Embedding(shape.vocab_size, shape.width)
        self.wpe = nn.Embedding(shape.context, shape.width)
        self.h = nn.ModuleList(Block(shape.width, shape.heads) for _ in range(shape.depth))
        self.ln_f = nn.LayerNorm(shape.width)

    def forward(self, tokens):
        batch, length = tokens.shape
        x = (self.wte(tokens) + self.wpe.weight[:length]).view(batch * length, -1)
        for block in self.h:
            x = block(x, batch, length)
        return self.ln_f(x) @ self.wte.weight.t()

    def loss(self, blocks):
        """Mean next-token cross-entropy in nats over blocks of shape (batch, context + 1)."""
        return CrossEntropy.apply(self(blocks[:, :-1]), blocks[:, 1:].reshape(-1))


def initialise(model: GPT2, seed: int, embedding_std: float = 0.02) -> None:
    """Seeded GPT-2 initialisation with hidden matrices at 1/sqrt(fan-in), as muP asks.

    Residual projections are further divided by sqrt(2 depth) [Radford et al. 2019, GPT-2].
    """
    generator = torch.Generator().manual_seed(seed)
    residual = 1 / math.sqrt(2 * model.shape.depth)
    for name, parameter in sorted(model.named_parameters()):
        if name in ("wte.weight", "wpe.weight"):
            std = embedding_std
        elif parameter.ndim == 2:
            std = parameter.shape[0] ** -0.5 * (residual if "c_proj" in name else 1.0)
        else:
            continue  # norms start at one and biases at zero
        with torch.no_grad():
            parameter.normal_(0.0, std, generator=generator)


def is_hidden_matrix(name: str, parameter: torch.Tensor) -> bool:
    """Whether muP scales this parameter's learning rate with 1/width."""
    return parameter.ndim == 2 and name not in ("wte.weight", "wpe.weight")


def save_checkpoint(model: GPT2, directory: Path, tokenizer_directory: Path) -> None:
    """Write a Hugging Face directory that `AutoModelForCausalLM.from_pretrained` loads."""
    shape = model.shape
    config = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "activation_function": "gelu_pytorch_tanh",
        "n_embd": shape.width,
        "n_layer": shape.depth,
        "n_head": shape.heads,
        "n_positions": shape.context,
        "vocab_size": shape.vocab_size,
        "tie_word_embeddings": True,
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "dtype": "float32",
    }
    with replacing_directory(directory) as temporary:
        (temporary / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        weights = {PREFIX + name: tensor.cpu() for name, tensor in model.state_dict().items()}
        save_file(weights, temporary / "model.safetensors", metadata={"format": "pt"})
        for name in TOKENIZER_FILES:
            source = Path(tokenizer_directory) / name
            if source.exists():
                shutil.copyfile(source, temporary / name)


def load_checkpoint(directory: str | Path) -> GPT2:
    """Read a GPT-2 directory written by `save_checkpoint` (or by transformers, tied, same shape).

    Raises InputError when a file is absent or damaged, or holds another architecture.
    """
    directory = Path(directory)
    config = read_json(directory / "config.json")
    if config.get("model_type") != "gpt2":
        raise InputError(
            f"{directory}/config.json: model_type is {config.get('model_type')!r}, expected 'gpt2'"
        )
    shape = Shape(
        config["n_embd"],
        config["n_layer"],
        config["n_head"],
        config["n_positions"],
        config["vocab_size"],
    )
    model = GPT2(shape)
    path = directory / "model.safetensors"
    try:
        with safe_open(path, framework="pt") as stream:
            weights = {name.removeprefix(PREFIX): stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
        weights.pop("lm_head.weight", None)  # tied
        model.load_state_dict(weights)
    except (
        Exception
    ) as error:  # safetensors and torch raise many kinds; all mean the same to a user
        raise InputError(f"{path}: cannot be read as GPT-2 weights ({error})") from None
    return model
