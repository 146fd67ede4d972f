"""What the sections of the acceptance share: where they run, a check's record, and timing."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ptpp.cost.devices import DEVICES, step_flops_per_token
from ptpp.models.sizes import ExternalSize, Shape
from ptpp.training.schedule import Settings

SETTINGS = Settings(learning_rate=0.01, base_width=64, batch=16, warmup=0, decay_fraction=0.2)


@dataclass(frozen=True)
class Setup:
    """device: cuda, or cpu for a dry run. small: tiny shapes and few steps."""

    device: str = "cuda"
    small: bool = False

    @property
    def on_gpu(self) -> bool:
        return self.device == "cuda"

    def wait(self) -> None:
        """Until the device has done what it was asked for."""
        if self.on_gpu:
            torch.cuda.synchronize()


def check(name: str, ok: bool, **facts: object) -> dict:
    """The record of one check."""
    return {"check": name, "ok": bool(ok), **facts}


def skip(name: str) -> dict:
    """Stands for a check that a dry run leaves out."""
    return check(name, True, skipped="only a GPU shows this")


def predictable_blocks(shape: Shape, sequences: int, seed: int = 0) -> torch.Tensor:
    """Blocks (sequences, context + 1) with something to learn: nine ids in ten follow from the id
    before.
    """
    generator = torch.Generator().manual_seed(seed)
    size, ids = (sequences, shape.context + 1), shape.vocab_size
    blocks = torch.randint(0, ids, size, generator=generator)
    follows = torch.rand(size, generator=generator) < 0.9
    for k in range(1, shape.context + 1):
        next_ids = (7 * blocks[:, k - 1] + 3) % ids
        blocks[:, k] = torch.where(follows[:, k], next_ids, blocks[:, k])
    return blocks


@dataclass(frozen=True)
class Speed:
    """Tokens a second once it is warm, seconds until the first step was done, peak memory (GB)."""

    tokens_per_s: float
    first_step_s: float
    peak_gb: float | None

    def facts(self, size: Shape | ExternalSize) -> dict:
        """For a record: with the share of the card's peak (MFU), None for a card not known."""
        peak = peak_flops()
        done = self.tokens_per_s * step_flops_per_token(size)
        return {
            "tokens_per_s": round(self.tokens_per_s),
            "mfu": None if peak is None else round(done / peak, 4),
            "first_step_s": round(self.first_step_s, 1),
            "peak_gb": None if self.peak_gb is None else round(self.peak_gb, 2),
        }


def measure_speed(setup: Setup, step: Callable[[], object], tokens: int) -> Speed:
    """Time `step`, which trains on so many `tokens`, for some seconds after four steps."""
    if setup.on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    began = time.monotonic()
    step()
    setup.wait()
    first = time.monotonic() - began
    for _ in range(0 if setup.small else 3):
        step()
    setup.wait()
    began, steps = time.monotonic(), 0
    while steps < 2 or time.monotonic() - began < (0.0 if setup.small else 3.0):
        for _ in range(2):
            step()
        setup.wait()
        steps += 2
    rate = tokens * steps / (time.monotonic() - began)
    peak = torch.cuda.max_memory_allocated() / 1e9 if setup.on_gpu else None
    return Speed(rate, first, peak)


def peak_flops() -> float | None:
    """The card's peak by its data sheet, where `ptpp.cost.devices` has it."""
    if not torch.cuda.is_available():
        return None
    name = torch.cuda.get_device_name().upper()
    if "H100" in name:
        return DEVICES["h100_pcie" if "PCIE" in name else "h100"].peak
    return next((DEVICES[each].peak for each in ("h200", "a100") if each.upper() in name), None)
