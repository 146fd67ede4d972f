"""AdamW with clipping over flat weights, and the rule that carries a rate across widths."""

import torch

from ptpp.training.schedule import Settings
from ptpp.training.weights import Weights


def group_settings(settings: Settings, width: int) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay of each parameter group at `width`.

    Hidden matrices learn at rate * base_width / width, as muP has it for Adam [Yang et al. 2022,
    arXiv 2203.03466]; their decay is divided by the same factor, so that rate x decay is the same
    at every width. Norms and biases do not decay.
    """
    scale = settings.base_width / width
    rate, decay = settings.learning_rate, settings.weight_decay
    return {
        "hidden": (rate * scale, decay / scale),
        "embeddings": (rate, decay),
        "vectors": (rate, 0.0),
    }


def step(weights: Weights, settings: Settings, multiplier: float) -> None:
    """One clipped AdamW step from `weights.gradient`, at `multiplier` times the peak rate.

    The kernel is the one behind `torch.optim.AdamW(fused=True)`, whose constructor imports torch's
    compiler and so would cost every job most of a second; a test holds the two equal.
    """
    norm = torch.linalg.vector_norm(weights.gradient)
    weights.gradient.mul_((settings.clip / (norm + 1e-6)).clamp(max=1.0))
    weights.steps += 1
    steps = torch.tensor(float(weights.steps), device=weights.device)
    for group, (rate, decay) in group_settings(settings, weights.shape.width).items():
        where = weights.groups[group]
        torch._fused_adamw_(
            [weights.flat[where]],
            [weights.gradient[where]],
            [weights.first[where]],
            [weights.second[where]],
            [],
            [steps],
            lr=rate * multiplier,
            beta1=settings.betas[0],
            beta2=settings.betas[1],
            weight_decay=decay,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )
