"""What trains a model: loss, gradients, steps and state, whichever way the passes are computed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch

from ptpp.models import optimiser
from ptpp.models.checkpoint import check_shape, load_checkpoint, save_checkpoint
from ptpp.models.cpu import HandWritten
from ptpp.models.group import ALONE, Group
from ptpp.models.sizes import Shape
from ptpp.models.weights import Weights, initialise
from ptpp.training.schedule import Settings

LONGEST_WRITTEN_OUT = 1024  # tokens; beyond, attention scores would fill the memory


class Backend(Protocol):
    """A model in training, by one process or by a `group` of them, which all make the same calls.

    tokens are blocks of ids, shape (batch, context + 1), on `device`; every process of a group is
    given all of them and takes its part.
    """

    device: torch.device
    context: int
    vocab_size: int
    group: Group

    def loss(self, tokens: torch.Tensor) -> float:
        """Mean next-token cross-entropy, nats."""

    def gradients(self, tokens: torch.Tensor) -> torch.Tensor:
        """The same loss, with its gradients kept for `step`."""

    def step(self, settings: Settings, multiplier: float) -> None:
        """One clipped AdamW step at `multiplier` times the peak rate."""

    def state(self, label: str) -> dict[str, torch.Tensor]:
        """Parameters, moments and step count under `label`, copied; a group's are in parts."""

    def restore(self, tensors: Mapping[str, torch.Tensor], label: str) -> None:
        """Put back what `state` or `whole` gave, bit for bit."""

    def whole(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The parts of a `state` put together for a file; empty but on the leading process."""

    def save(self, directory: str | Path, tokenizer: str | Path, text: Mapping) -> None:
        """Write a checkpoint, as `save_checkpoint` does."""


class Flat:
    """One of our GPT-2s over flat weights, in one process.

    passes: `HandWritten` or `Autograd`. micro_batch: sequences whose activations are held at once;
    gradients are added up over them. None: the whole batch.
    """

    group = ALONE

    def __init__(self, passes, micro_batch: int | None = None):
        self.passes = passes
        self.weights: Weights = passes.weights
        self.micro_batch = micro_batch
        self.device = self.weights.device
        self.context = self.weights.shape.context
        self.vocab_size = self.weights.shape.vocab_size

    def loss(self, tokens: torch.Tensor) -> float:
        return self.passes.loss(tokens)

    def gradients(self, tokens: torch.Tensor) -> torch.Tensor:
        if self.micro_batch is None or len(tokens) <= self.micro_batch:
            return self.passes.gradients(tokens)
        added, loss = torch.zeros_like(self.weights.gradient), 0.0
        for part in tokens.split(self.micro_batch):
            share = len(part) / len(tokens)
            loss = loss + share * self.passes.gradients(part)
            added.add_(self.weights.gradient, alpha=share)
        self.weights.gradient.copy_(added)
        return loss

    def step(self, settings: Settings, multiplier: float) -> None:
        optimiser.step(self.weights, settings, multiplier)

    def state(self, label: str) -> dict[str, torch.Tensor]:
        return self.weights.state(label)

    def restore(self, tensors: Mapping[str, torch.Tensor], label: str) -> None:
        self.weights.restore(tensors, label)

    def whole(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return dict(tensors)

    def save(self, directory: str | Path, tokenizer: str | Path, text: Mapping) -> None:
        save_checkpoint(self.weights, directory, tokenizer, text)


def backend_for(weights: Weights, micro_batch: int | None = None) -> Flat:
    """Hand-written passes on a CPU; the module, compiled, on a GPU."""
    if weights.device.type == "cpu" and weights.shape.context <= LONGEST_WRITTEN_OUT:
        return Flat(HandWritten(weights), micro_batch)
    # Imported here, since a CPU job never needs it and each import counts.
    from ptpp.models.model import Autograd

    return Flat(Autograd(weights, compiled=weights.device.type != "cpu"), micro_batch)


def started(
    shape: Shape, seed: int, device: str, group: Group = ALONE, micro_batch: int | None = None
) -> Backend:
    """A freshly initialised GPT-2, the same numbers however many processes hold it."""
    if group.size > 1:
        from ptpp.models.huggingface import started_module

        return started_module(shape, seed, device, group, micro_batch)
    weights = Weights(shape, device)
    initialise(weights, seed)
    return backend_for(weights, micro_batch)


def opened(
    checkpoint: str | Path,
    shape: Shape | None,
    context: int,
    device: str,
    group: Group = ALONE,
    micro_batch: int | None = None,
) -> Backend:
    """The model of a checkpoint directory, to be trained on in blocks of `context` tokens.

    shape: the GPT-2 of ours that it must be; None: any model that transformers knows. Raises
    InputError when the directory holds no such model.
    """
    if shape is not None and group.size == 1:
        weights = load_checkpoint(checkpoint, device)
        check_shape(checkpoint, shape)
        return backend_for(weights, micro_batch)
    from ptpp.models.huggingface import opened_module

    return opened_module(checkpoint, shape, context, device, group, micro_batch)
