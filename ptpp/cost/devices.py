"""How long a device computes at a training step's arithmetic."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ptpp.errors import InputError
from ptpp.models.sizes import ExternalSize, Shape


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
# numbers: benchmarks/calibration.py on resources/results/gpu/h200.jsonl. An H100 computes like it.
# The A100's and a PCIe card's are assumed: they have a third, and two thirds, of its rate in
# float32.
_SHEET = "NVIDIA data sheet, bfloat16; the rest as measured on an H200"
DEVICES = {
    # Peak: docs/performance.md. The other two: benchmarks/calibration.py on laptop.costs.csv.
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
