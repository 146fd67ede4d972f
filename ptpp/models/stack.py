"""Several runs of one small GPT-2 of ours in training at once, on a GPU that one leaves idle.

They start from one checkpoint, read different text and take the same steps. Every matrix product is
one over all of them, and none sees another's numbers.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from ptpp.models.backend import Backend, adamw, clipping, group_of, group_settings
from ptpp.models.compiling import CompiledLayers
from ptpp.models.cpu import EPSILON
from ptpp.models.memory import STACKED, activation_bytes, run_bytes, runs_that_fit
from ptpp.models.recording import RecordedStep
from ptpp.models.sizes import Shape
from ptpp.training.schedule import Settings


def stack_size(model: Backend, batch: int, count: int) -> int:
    """How many of `count` runs of a model to train at once: as many as memory holds, 1 where it is
    no small GPT-2 of ours alone on a GPU, or where its sequences at once are given.

    batch: sequences of a step of one run.
    """
    shape = model.shape
    if model.device.type != "cuda" or model.group.size > 1 or shape is None:
        return 1
    if shape.n_params > STACKED or not model.is_chosen:
        return 1
    token = activation_bytes(shape.n_params, shape.width, shape.depth)
    each = run_bytes(shape.n_params, batch * shape.context, token, shape.vocab_size)
    free, _ = torch.cuda.mem_get_info(model.device)
    return runs_that_fit(free, each, count)


class _Layer(nn.Module):
    """A decoder layer of all members; a module, so that it can be compiled as others are."""

    def __init__(self, shape: Shape, weights: Mapping[str, nn.Parameter]):
        super().__init__()
        self.heads, self.width = shape.heads, shape.width
        self.weights = nn.ParameterDict({n.replace(".", "_"): each for n, each in weights.items()})

    def forward(self, states: torch.Tensor, length: int) -> torch.Tensor:
        """states: (members, tokens, width), sequences of `length` tokens one after another."""
        heads = (-1, length, self.heads, self.width // self.heads)
        every = self._linear(self._norm(states, "ln_1"), "attn_c_attn")
        split = (each.reshape(heads).transpose(1, 2) for each in every.split(self.width, -1))
        mixed = F.scaled_dot_product_attention(*split, is_causal=True)
        mixed = mixed.transpose(1, 2).reshape(states.shape)
        states = states + self._linear(mixed, "attn_c_proj")
        wide = F.gelu(self._linear(self._norm(states, "ln_2"), "mlp_c_fc"))
        return states + self._linear(wide, "mlp_c_proj")

    def _linear(self, states: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = (self.weights[f"{name}_{kind}"] for kind in ("weight", "bias"))
        return torch.baddbmm(bias[:, None], states, weight)

    def _norm(self, states: torch.Tensor, name: str) -> torch.Tensor:
        return _normalise(states, *(self.weights[f"{name}_{kind}"] for kind in ("weight", "bias")))


def _normalise(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    normal = F.layer_norm(states, states.shape[-1:], eps=EPSILON)
    return normal * weight[:, None] + bias[:, None]


class Stack(Backend):
    """`members` runs of `model` that are trained together; each begins as the model is.

    Tensors have one more dimension, the first: the member. A batch holds as many sequences for
    each, those of the first member first; losses have shape (members,). Each clips its own
    gradients. Products, compiled layers and recorded steps are as the model has them; a member is
    measured by the model, see `show`.
    """

    def __init__(self, model: Backend, members: int):
        self.model, self.members = model, members
        self.group, self.device, self.shape = model.group, model.device, model.shape
        self.context, self.vocab_size = model.context, model.vocab_size
        self.parameters = {
            name: nn.Parameter(self._repeat(each)) for name, each in model.parameters.items()
        }
        self.first = {n: torch.zeros_like(p.detach()) for n, p in self.parameters.items()}
        self.second = {n: torch.zeros_like(p.detach()) for n, p in self.parameters.items()}
        self.steps = torch.zeros((), device=self.device)
        self.layers = nn.ModuleList(self._layer(k) for k in range(self.shape.depth))
        self.compiled = None
        if model.compiled is not None and not model.compiled.fails:
            self.compiled = CompiledLayers(self.layers)
        self.usual: torch.Size | None = None  # of batches; others would each compile anew
        parameters = list(self.parameters.values())
        self.recorded = None
        if model.recorded is not None:
            self.recorded = RecordedStep(parameters, self._compute, self._update)

    @torch.no_grad()
    def show(self, member: int) -> None:
        """Give the model the parameters of a member, to be measured with."""
        for name, tensor in self.model.parameters.items():
            self.model.fill(tensor, self.parameters[name][member])

    @torch.no_grad()
    def loss(self, tokens: torch.Tensor) -> float:
        with self._compiling(False):
            return self._losses(tokens).mean().item()

    def gradients(self, tokens: torch.Tensor) -> torch.Tensor:
        compute = self._compute if self.recorded is None else self.recorded.gradients
        try:
            return compute(tokens)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            if self.compiled is None or not self.compiled.give_up(error):
                raise
        return compute(tokens)

    def step(self, settings: Settings, multiplier: float) -> None:
        update = self._update if self.recorded is None else self.recorded.step
        update(settings, multiplier)

    def read(self, checkpoint: str | Path) -> dict[str, torch.Tensor]:
        return {name: self._repeat(each) for name, each in self.model.read(checkpoint).items()}

    def _compute(self, tokens: torch.Tensor) -> torch.Tensor:
        for parameter in self.parameters.values():
            parameter.grad = None
        self.usual = self.usual or tokens.shape
        compiling = self._compiling(tokens.shape == self.usual)
        with compiling, torch.autocast(self.device.type, torch.bfloat16, self.model.autocasts):
            losses = self._losses(tokens)
        losses.sum().backward()
        if self.compiled is not None:
            self.compiled.settle()
        return losses.detach()

    def _compiling(self, is_wanted: bool) -> contextlib.AbstractContextManager:
        """Within it layers are compiled where that is wanted and can be."""
        if self.compiled is None:
            return contextlib.nullcontext()
        return self.compiled.eagerly(not is_wanted)

    def _update(self, settings: Settings, multiplier: float | torch.Tensor) -> None:
        self.steps += 1  # on the device, where the kernel reads it
        gradients = {name: each.grad for name, each in self.parameters.items()}
        squares = [each.square().flatten(1).sum(1) for each in gradients.values()]
        factor = clipping(torch.stack(squares).sum(0).sqrt(), settings)
        rules = group_settings(settings, self.shape.width)
        groups = {group: ([], [], [], []) for group in rules}
        for name, gradient in gradients.items():
            gradient.mul_(factor.view(-1, *[1] * (gradient.dim() - 1)))
            parameter = self.parameters[name].detach()
            tensors = (parameter, gradient, self.first[name], self.second[name])
            kinds = groups[group_of(name, parameter.shape[1:])]
            for kind, tensor in zip(kinds, tensors, strict=True):
                kind.append(tensor)
        for group, (rate, decay) in rules.items():
            adamw(groups[group], self.steps, settings, rate * multiplier, decay)

    def _losses(self, tokens: torch.Tensor) -> torch.Tensor:
        """Mean next-token loss of each member (members,), nats."""
        blocks = tokens.view(self.members, -1, tokens.shape[-1])
        hidden = self._hidden(blocks[..., :-1])
        logits = (hidden @ self.parameters["wte.weight"].transpose(1, 2)).float()
        targets = blocks[..., 1:].flatten()
        losses = F.cross_entropy(logits.flatten(0, 1), targets, reduction="none")
        return losses.view(self.members, -1).mean(1)

    def _hidden(self, given: torch.Tensor) -> torch.Tensor:
        """GPT-2's last hidden states, shape (members, tokens, width), of ids of shape (members,
        sequences, tokens of one).
        """
        weights, shape = self.parameters, self.shape
        members, sequences, length = given.shape
        # One table of all members' embeddings, so that their gradient is that of a table.
        place = torch.arange(members, device=self.device).view(-1, 1, 1) * self.vocab_size
        states = F.embedding(given + place, weights["wte.weight"].flatten(0, 1))
        states = states + weights["wpe.weight"][:, None, :length]
        states = states.view(members, sequences * length, shape.width)
        for layer in self.layers:
            states = layer(states, length)
        return _normalise(states, weights["ln_f.weight"], weights["ln_f.bias"])

    def _layer(self, number: int) -> _Layer:
        prefix = f"h.{number}."
        weights = {
            n.removeprefix(prefix): p for n, p in self.parameters.items() if n.startswith(prefix)
        }
        return _Layer(self.shape, weights)

    def _repeat(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.detach().expand(self.members, *tensor.shape).clone()
