"""Which of the two implementations of GPT-2 trains a set of weights, and what both offer."""

from typing import Protocol

import torch

from ptpp.training.cpu import HandWritten
from ptpp.training.weights import Weights

LONGEST_WRITTEN_OUT = 1024  # tokens; beyond, attention scores would fill the memory


class Backend(Protocol):
    """Loss and gradients for blocks of token ids (batch, context + 1), on the weights' device."""

    weights: Weights

    def loss(self, tokens: torch.Tensor) -> float:
        """Mean next-token cross-entropy, nats."""

    def gradients(self, tokens: torch.Tensor) -> torch.Tensor:
        """The same loss, with its gradients written into `weights.gradient`."""


def backend_for(weights: Weights) -> Backend:
    """Hand-written passes on a CPU; the module, compiled, on a GPU."""
    if weights.device.type == "cpu" and weights.shape.context <= LONGEST_WRITTEN_OUT:
        return HandWritten(weights)
    # Imported here, since a CPU job never needs it and each import counts.
    from ptpp.training.model import Autograd

    return Autograd(weights, compiled=weights.device.type != "cpu")
