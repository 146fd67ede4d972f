"""AdamW with clipping, and the rule that carries a rate across widths."""

from dataclasses import dataclass, field

import torch

from ptpp.models.weights import Weights
from ptpp.training.schedule import Settings


@dataclass(frozen=True)
class Moments:
    """Parameters of one group with their gradients and AdamW's moments, in the same order."""

    parameters: list[torch.Tensor] = field(default_factory=list)
    gradients: list[torch.Tensor] = field(default_factory=list)
    first: list[torch.Tensor] = field(default_factory=list)
    second: list[torch.Tensor] = field(default_factory=list)


def group_settings(settings: Settings, width: int | None) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay of each parameter group at `width`.

    Hidden matrices learn at rate * base_width / width, as muP has it for Adam [Yang et al. 2022,
    arXiv 2203.03466]; their decay is divided by the same factor, so that rate x decay is the same
    at every width. Norms and biases do not decay. None for `width`: the rate as it is.
    """
    scale = 1.0 if width is None else settings.base_width / width
    rate, decay = settings.learning_rate, settings.weight_decay
    return {
        "hidden": (rate * scale, decay / scale),
        "embeddings": (rate, decay),
        "vectors": (rate, 0.0),
    }


def clipping(norm: torch.Tensor, settings: Settings) -> torch.Tensor:
    """The factor that brings gradients of this norm to `settings.clip` at most."""
    return (settings.clip / (norm + 1e-6)).clamp(max=1.0)


def adamw(
    tensors: Moments, steps: torch.Tensor, settings: Settings, rate: float, decay: float
) -> None:
    """Update parameters and their moments in place; `steps` counts this one.

    The kernel is the one behind `torch.optim.AdamW(fused=True)`, whose constructor imports torch's
    compiler and so would cost every job most of a second; a test holds the two equal.
    """
    torch._fused_adamw_(
        tensors.parameters,
        tensors.gradients,
        tensors.first,
        tensors.second,
        [],
        [steps] * len(tensors.parameters),
        lr=rate,
        beta1=settings.betas[0],
        beta2=settings.betas[1],
        weight_decay=decay,
        eps=1e-8,
        amsgrad=False,
        maximize=False,
    )


def step(weights: Weights, settings: Settings, multiplier: float) -> None:
    """One clipped AdamW step from `weights.gradient`, at `multiplier` times the peak rate."""
    norm = torch.linalg.vector_norm(weights.gradient)
    weights.gradient.mul_(clipping(norm, settings))
    weights.steps += 1
    steps = torch.tensor(float(weights.steps), device=weights.device)
    flats = (weights.flat, weights.gradient, weights.first, weights.second)
    for group, (rate, decay) in group_settings(settings, weights.shape.width).items():
        where = weights.groups[group]
        adamw(
            Moments(*([flat[where]] for flat in flats)), steps, settings, rate * multiplier, decay
        )
