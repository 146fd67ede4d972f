"""How long a device computes at a training step's arithmetic."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ptpp.errors import InputError
from ptpp.models.sizes import ExternalSize, Shape, shape_of


@dataclass(frozen=True)
class Device:
    """Seconds of a token are `seconds_per_token` + FLOPs / (`peak` x `utilisation`).

    peak: FLOP/s of dense matrix products in the type that training multiplies in (float32 on a CPU,
    bfloat16 on a GPU). utilisation: the share of it that training reaches. seconds_per_token: time
    that is not arithmetic: on a CPU for shapes as small as those of the default scale, on a GPU for
    vocabularies of 50,000 and more. measures: FLOP/s of measuring a loss, in float32; None: those
    of training. [ours]
    """

    peak: float
    utilisation: float
    seconds_per_token: float
    source: str
    measures: float | None = None

    def seconds(self, shape: Shape | ExternalSize, trained: int, evaluated: int = 0) -> float:
        """Seconds for `trained` tokens forward and backward and `evaluated` tokens forward.

        A forward pass has a third of a training step's FLOPs.
        """
        flops, rate = step_flops_per_token(shape), self.peak * self.utilisation
        training = trained * (self.seconds_per_token + flops / rate)
        if self.measures is None:
            return training + evaluated / 3 * (self.seconds_per_token + flops / rate)
        return training + evaluated / 3 * flops / self.measures


def step_flops_per_token(shape: Shape | ExternalSize) -> float:
    """6 N + 12 depth x width x context: attention counted, causal or not, where the shape is known.

    The convention of Chowdhery et al. 2022 (PaLM, arXiv 2204.02311, appendix B), in which
    utilisations are usually reported.
    """
    return 6.0 * shape.n_params + shape.attention_flops_per_token


# Peaks of GPUs: NVIDIA's data sheets, bfloat16, halved where those count sparsity. The H200's other
# numbers: `calibrate_gpu` on resources/results/gpu/h200.jsonl. An H100 computes like it. The A100's
# and a PCIe card's are assumed: they have a third, and two thirds, of its rate in float32.
_SHEET = "NVIDIA data sheet, bfloat16; the rest as measured on an H200"
DEVICES = {
    # Peak: docs/performance.md. The other two: `calibrate_device` on benchmarks/laptop.costs.csv.
    "zen5_core": Device(259e9, 0.753, 2.76e-6, "one core of an AMD EPYC, Zen 5; measured"),
    "a100": Device(312e12, 0.4, 0.0, "NVIDIA data sheet, bfloat16; utilisation assumed", 14e12),
    "h100": Device(989e12, 0.486, 1.32e-6, f"SXM, {_SHEET}", 46e12),
    "h100_pcie": Device(756e12, 0.486, 1.32e-6, f"PCIe, {_SHEET}", 35e12),
    "h200": Device(989e12, 0.486, 1.32e-6, "NVIDIA data sheet, bfloat16; measured", 46e12),
}


def device_of(section: Mapping) -> Device:
    """The device of a config's `cost` section.

    Its `utilisation`, if any, replaces the table's, and on a GPU is all that training takes.
    """
    if section["device"] not in DEVICES:
        known = ", ".join(DEVICES)
        raise InputError(f"cost.device: found {section['device']!r}; accepted: {known}")
    device = DEVICES[section["device"]]
    if section["utilisation"] is None:
        return device
    kept = device.seconds_per_token if device.measures is None else 0.0
    source = f"{device.source}; here by cost.utilisation"
    rates = {"utilisation": section["utilisation"], "seconds_per_token": kept}
    return replace(device, **rates, source=source)


def calibrate_gpu(speeds: Sequence[tuple[Shape, float]], peak: float) -> tuple[float, float]:
    """Utilisation and seconds per token that explain tokens/s of training at several shapes.

    Least squares of relative errors.
    """
    rates = np.array([rate for _, rate in speeds])
    flops = np.array([step_flops_per_token(shape) for shape, _ in speeds])
    return _explain(rates, flops * rates, peak)


def calibrate_device(costs: pd.DataFrame, config: Mapping, peak: float) -> Device:
    """The device that explains the seconds of the pre-training runs in `costs`.

    `costs` is a finished `costs.csv` of the scale `config`. Least squares of relative errors, a
    point per size: its tokens per second over all stages. Adaptation runs are left out, so that
    they can check the result. Raises InputError for fewer than two trained sizes.
    """
    models = config["models"]
    rates, flops = [], []
    pretraining = costs[~costs["run"].str.contains(".replay", regex=False)]
    sums = pretraining.groupby("size")[["tokens", "seconds"]].sum()
    for size in models["sizes"]:
        if size["name"] in sums.index and "checkpoints" not in size:
            shape = shape_of(size, models["context"], config["tokenizer"]["vocab_size"])
            tokens, seconds = sums.loc[size["name"]]
            rates.append(tokens / seconds)
            flops.append(step_flops_per_token(shape) * tokens / seconds)
    if len(rates) < 2:
        raise InputError(
            f"costs: {len(rates)} of the configured sizes measured, expected 2 or more"
        )
    return Device(peak, *_explain(rates, flops, peak), "measured")


def _explain(rates: ArrayLike, flops: ArrayLike, peak: float) -> tuple[float, float]:
    """From tokens and FLOPs a second."""
    rows = np.stack([rates, flops], axis=1)
    (overhead, per_flop), *_ = np.linalg.lstsq(rows, np.ones(len(rows)), rcond=None)
    return float(1 / (per_flop * peak)), float(overhead)
