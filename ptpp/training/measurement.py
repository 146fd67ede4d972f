"""What a run measures, and the tables it leaves: held-out losses as observations, and costs."""

import csv
import math
import resource
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from ptpp.errors import Diverged
from ptpp.jobs.files import atomic_file
from ptpp.models.backend import Backend
from ptpp.models.sizes import training_flops
from ptpp.text.store import bytes_per_token
from ptpp.training.data import Text
from ptpp.training.job import TrainingJob

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


def check_finite(losses: Mapping[str, float], what: str, hint: str) -> None:
    """Raise Diverged when a loss is not finite."""
    for domain, loss in losses.items():
        if not math.isfinite(loss):
            raise Diverged(f"{what}: {domain} loss is {loss}{hint}")


def observation_rows(
    job: TrainingJob,
    losses: Mapping[str, float],
    text: Text,
    run: str,
    replay: float = 0.0,
    atpp: float = 0.0,
    tokens: int = 0,
) -> list[dict]:
    """Rows of one measurement of a run, one per domain, after adaptation on `tokens`."""
    return [
        {
            "run": run,
            "size": job.model.size,
            "n_params": job.n_params,
            "n_params_non_embedding": job.shape.n_params_non_embedding,
            "ptpp": job.measured_ptpp,
            **({} if job.gpt2 else {"stage": job.ptpp}),
            "replay": replay,
            "atpp": atpp,
            "adapt_tokens": tokens,
            "domain": domain,
            "loss": loss,
            # Per UTF-8 byte, so that tokenizers compare.
            "bits_per_byte": loss / (math.log(2) * bytes_per_token(text.valid[domain].info)),
            "seed": job.model.seed,
            "flops": training_flops(job.n_params, tokens),
        }
        for domain, loss in losses.items()
    ]


def cost_row(job: TrainingJob, run: str, tokens: int, seconds: float, devices: int) -> dict:
    """What a run took: tokens trained on, branches included, FLOPs, seconds, peak memory (MiB).

    seconds: over all starts of the run, on each of the `devices`. On several of them memory is that
    of the main process.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "run": run,
        "size": job.model.size,
        "seed": job.model.seed,
        "device": job.device,
        "devices": devices,
        "tokens": tokens,
        "flops": training_flops(job.n_params, tokens),
        "seconds": round(seconds, 3),
        "peak_memory_mib": round(peak / (2**20 if sys.platform == "darwin" else 2**10)),
    }


def write_rows(rows: list[dict], path: str | Path) -> None:
    """Floats at full precision. Not through pandas, whose import costs every job half a second."""
    with atomic_file(path) as temporary, open(temporary, "w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
