"""AdamW with clipping, and the rule that carries a rate across widths."""

import torch

from ptpp.models.weights import Weights
from ptpp.training.schedule import Settings


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
    parameter: torch.Tensor,
    gradient: torch.Tensor,
    first: torch.Tensor,
    second: torch.Tensor,
    steps: torch.Tensor,
    settings: Settings,
    rate: float,
    decay: float,
) -> None:
    """Update a parameter and its moments in place; `steps` counts this one.

    The kernel is the one behind `torch.optim.AdamW(fused=True)`, whose constructor imports torch's
    compiler and so would cost every job most of a second; a test holds the two equal.
    """
    torch._fused_adamw_(
        [parameter],
        [gradient],
        [first],
        [second],
        [],
        [steps],
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
    for group, (rate, decay) in group_settings(settings, weights.shape.width).items():
        where = weights.groups[group]
        adamw(
            weights.flat[where],
            weights.gradient[where],
            weights.first[where],
            weights.second[where],
            steps,
            settings,
            rate * multiplier,
            decay,
        )
