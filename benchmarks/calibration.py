"""A device's utilisation and seconds per token, from measured speeds; for ptpp/cost/devices.py."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ptpp.cost.devices import Device, step_flops_per_token
from ptpp.errors import InputError
from ptpp.models.sizes import Shape, shape_of


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
