"""Held-out loss on fixed blocks, all domains alike."""

import math
from collections.abc import Mapping

import numpy as np
import torch

from ptpp.training.model import GPT2


@torch.no_grad()
def held_out_losses(
    model: GPT2, blocks: Mapping[str, np.ndarray], batch: int = 16
) -> dict[str, float]:
    """Mean next-token cross-entropy (nats/token) per domain.

    `blocks[domain]` has shape (n, context + 1). Sums run in float64, so the batch size does not
    show.
    """
    model.eval()
    device = model.wte.weight.device
    losses = {}
    for domain, rows in blocks.items():
        total = 0.0
        for start in range(0, len(rows), batch):
            part = torch.from_numpy(rows[start : start + batch]).to(device)
            total += model.loss(part).item() * len(part)
        losses[domain] = total / len(rows)
    model.train()
    return losses


def bits_per_byte(loss: float, bytes_per_token: float) -> float:
    """Loss in nats/token as bits per UTF-8 byte, so that tokenizers compare."""
    return loss / (math.log(2) * bytes_per_token)
