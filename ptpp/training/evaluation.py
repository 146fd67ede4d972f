"""Held-out loss on fixed blocks, all domains alike."""

import math
from collections.abc import Mapping

import numpy as np
import torch

from ptpp.models.backend import Backend

# Logits held at a time: little enough for a core's cache, enough to fill a GPU.
_LOGITS = {"cpu": 2**19, "cuda": 2**27}


def held_out_losses(backend: Backend, blocks: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Mean next-token cross-entropy (nats/token) per domain.

    `blocks[domain]` has shape (n, context + 1). Sums run in float64.
    """
    block = backend.context * backend.vocab_size
    batch = max(1, _LOGITS[backend.device.type] // block) * backend.group.size
    losses = {}
    for domain, rows in blocks.items():
        total = 0.0
        for start in range(0, len(rows), batch):
            part = torch.from_numpy(rows[start : start + batch]).to(backend.device)
            total += backend.loss(part) * len(part)
        losses[domain] = total / len(rows)
    return losses


def bits_per_byte(loss: float, bytes_per_token: float) -> float:
    """Loss in nats/token as bits per UTF-8 byte, so that tokenizers compare."""
    return loss / (math.log(2) * bytes_per_token)
