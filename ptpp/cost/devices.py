"""How long a device computes at a training step's arithmetic."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ptpp.errors import InputError
from ptpp.models.sizes import Given, Shape, shape_of


@dataclass(frozen=True)
class Device:
    """Seconds of a token are `seconds_per_token` + FLOPs / (`peak` x `utilisation`).

    peak: FLOP/s of dense matrix products in the type that training multiplies in (float32 on a CPU,
    bfloat16 on a GPU). utilisation: the share of it that training reaches. seconds_per_token: time
    that is not arithmetic, for shapes as small as those of the default scale. [ours]
    """

    peak: float
    utilisation: float
    seconds_per_token: float
    source: str

    def seconds(self, shape: Shape | Given, trained: int, evaluated: int = 0) -> float:
        """Seconds for `trained` tokens forward and backward and `evaluated` tokens forward.

        A forward pass is a third of a training step.
        """
        tokens = trained + evaluated / 3
        flops = step_flops_per_token(shape)
        return tokens * (self.seconds_per_token + flops / (self.peak * self.utilisation))


def step_flops_per_token(shape: Shape | Given) -> float:
    """6 N + 12 depth x width x context: attention counted, causal or not, where the shape is known.

    The convention of Chowdhery et al. 2022 (PaLM, arXiv 2204.02311, appendix B), in which
    utilisations are usually reported.
    """
    return 6.0 * shape.n_params + shape.attention_flops_per_token


# Peaks of GPUs: NVIDIA's data sheets, bfloat16, halved where those count sparsity. We measured
# nothing on a GPU: 0.4 is an assumption, what good code reaches on large models.
_SHEET = "NVIDIA data sheet, bfloat16; utilisation assumed"
DEVICES = {
    # Peak: docs/performance.md. The other two: `calibrate_device` on benchmarks/laptop.costs.csv.
    "zen5_core": Device(259e9, 0.753, 2.76e-6, "one core of an AMD EPYC, Zen 5; measured"),
    "a100": Device(312e12, 0.4, 0.0, _SHEET),
    "h100": Device(989e12, 0.4, 0.0, f"SXM, {_SHEET}"),
    "h100_pcie": Device(756e12, 0.4, 0.0, f"PCIe, {_SHEET}"),
    "h200": Device(989e12, 0.4, 0.0, _SHEET),
}


def device_of(section: Mapping) -> Device:
    """The device of a config's `cost` section; its `utilisation`, if any, replaces the table's."""
    if section["device"] not in DEVICES:
        known = ", ".join(DEVICES)
        raise InputError(f"cost.device: found {section['device']!r}; accepted: {known}")
    device = DEVICES[section["device"]]
    if section["utilisation"] is None:
        return device
    return replace(device, utilisation=section["utilisation"])


def calibrate_device(costs: pd.DataFrame, config: Mapping, peak: float) -> Device:
    """The device that explains the seconds of the pre-training runs in `costs`.

    `costs` is a finished `costs.csv` of the scale `config`. Least squares of relative errors, a
    point per size: its tokens per second over all stages. Adaptation runs are left out, so that
    they can check the result. Raises InputError for fewer than two trained sizes.
    """
    models = config["models"]
    rows = []
    pretraining = costs[~costs["run"].str.contains(".replay", regex=False)]
    sums = pretraining.groupby("size")[["tokens", "seconds"]].sum()
    for size in models["sizes"]:
        if size["name"] in sums.index and "checkpoints" not in size:
            shape = shape_of(size, models["context"], config["tokenizer"]["vocab_size"])
            tokens, seconds = sums.loc[size["name"]]
            rows.append([tokens / seconds, step_flops_per_token(shape) * tokens / seconds])
    if len(rows) < 2:
        raise InputError(f"costs: {len(rows)} of the configured sizes measured, expected 2 or more")
    (overhead, per_flop), *_ = np.linalg.lstsq(np.array(rows), np.ones(len(rows)), rcond=None)
    return Device(peak, float(1 / (per_flop * peak)), float(overhead), "measured")
