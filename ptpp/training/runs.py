"""What every training run shares: who is trained, with which settings, and the rows it measures."""

import csv
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from ptpp.errors import InputError
from ptpp.jobs.files import atomic_file
from ptpp.models.checkpoint import given_of
from ptpp.models.cpu import use_fast_float32
from ptpp.models.sizes import Given, Shape, shape_of, training_flops
from ptpp.text.store import bytes_per_token
from ptpp.training.evaluation import bits_per_byte
from ptpp.training.schedule import Settings
from ptpp.training.text import Text


@dataclass(frozen=True)
class Run:
    """Who is trained: its name in tables and logs, shape, counting rule, seed and device.

    A model of the user's own has no shape but its counts.
    """

    model: str
    size: str
    shape: Shape | Given
    count: str
    seed: int
    device: str
    code: str  # digest of the training code, part of the fingerprint

    @classmethod
    def of(
        cls, model: str, spec: Mapping, code: str, checkpoint: str | Path | None = None
    ) -> "Run":
        """The run of `model` as the workflow specifies it: size, seed, context, count, device.

        checkpoint: where a model of the user's own was taken over (`ptpp.training.adoption`).
        """
        size, context = spec["size"], spec["context"]
        given = "n_params" in size
        return cls(
            model=model,
            size=size["name"],
            shape=(
                given_of(checkpoint, context)
                if given
                else shape_of(size, context, spec["vocab_size"])
            ),
            count=spec["count"],
            seed=spec["seed"],
            device=pick_device(spec["device"]),
            code=code,
        )

    @property
    def n_params(self) -> int:
        return self.shape.count(self.count)

    @property
    def trained(self) -> Shape | None:
        """The GPT-2 of ours that it is; None for a model of the user's own."""
        return self.shape if isinstance(self.shape, Shape) else None


def settings_for(optimiser: Mapping, run: Run, batch_tokens: int) -> Settings:
    """Engine settings from a `pretraining` or `adaptation` section, token counts in sequences."""
    return Settings.of(optimiser, batch_tokens, run.n_params, run.shape.context)


def pick_device(wanted: str) -> str:
    """`auto` is the GPU when there is one."""
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device: {wanted} asked for, but torch sees no GPU; accepted: auto, cpu")
    return wanted


def prepare(threads: int) -> None:
    """Set up torch for a training job on `threads` CPU threads."""
    torch.set_num_threads(threads)
    use_fast_float32()


def rows_of(
    run: Run,
    name: str,
    ptpp: float,
    replay: float,
    atpp: float,
    tokens: int,
    losses: Mapping[str, float],
    text: Text,
) -> list[dict]:
    """Observation rows of one measurement, one per domain."""
    return [
        {
            "run": name,
            "size": run.size,
            "n_params": run.n_params,
            "n_params_non_embedding": run.shape.n_params_non_embedding,
            "ptpp": ptpp,
            "replay": replay,
            "atpp": atpp,
            "adapt_tokens": tokens,
            "domain": domain,
            "loss": loss,
            "bits_per_byte": bits_per_byte(loss, bytes_per_token(text.valid[domain].info)),
            "seed": run.seed,
            "flops": training_flops(run.n_params, tokens),
        }
        for domain, loss in losses.items()
    ]


def cost_of(run: Run, name: str, tokens: int, started: float, devices: int) -> dict:
    """What a run took: tokens trained on, branches included, FLOPs, seconds, peak memory (MiB).

    `started` is a reading of time.monotonic(). On several devices memory is that of the first
    one's process, and `seconds` pass on each of them.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "run": name,
        "size": run.size,
        "seed": run.seed,
        "device": run.device,
        "devices": devices,
        "tokens": tokens,
        "flops": training_flops(run.n_params, tokens),
        "seconds": round(time.monotonic() - started, 3),
        "peak_memory_mib": round(peak / (2**20 if sys.platform == "darwin" else 2**10)),
    }


def write_rows(rows: list[dict], path: str | Path) -> None:
    """Floats at full precision. Not through pandas, whose import costs every job half a second."""
    with atomic_file(path) as temporary, open(temporary, "w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
