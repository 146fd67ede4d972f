"""How much a loss differs from seed to seed: the floor under every error of a law."""

import numpy as np
import pandas as pd

from ptpp.table.kinds import CELL, CELL_KEYS, is_stage, is_sweep, with_stages


def noise_floor(frame: pd.DataFrame, domain: str, held_out: float | None = None) -> float:
    """`seed_noise` of a domain's sweep rows at the held-out stage: what stands beside a score.

    `held_out` None takes all stages. NaN where no cell was repeated.
    """
    rows = frame[(frame["domain"] == domain) & is_sweep(frame)]
    return seed_noise(rows if held_out is None else rows[is_stage(rows, held_out)])


def seed_noise(frame: pd.DataFrame) -> float:
    """Relative seed noise of one run, over the cells measured with two seeds or more.

    sum |y - cell mean| sqrt(n / (n - 1)) / sum y: a mean absolute relative error, so it stands
    beside MAErel; the root undoes the shrinkage of deviations from a mean of n. NaN without
    repeated cells.
    """
    cells = with_stages(frame).groupby(list(CELL_KEYS))["loss"]
    n = cells.transform("size").to_numpy()
    deviation = (frame["loss"] - cells.transform("mean")).abs().to_numpy()
    repeated = n >= 2
    if not repeated.any():
        return float("nan")
    n = n[repeated]
    noise = deviation[repeated] * np.sqrt(n / (n - 1))
    return float(noise.sum() / frame["loss"].to_numpy()[repeated].sum())


def seed_noise_by_cell(frame: pd.DataFrame) -> pd.DataFrame:
    """Seed noise of every cell measured with two seeds or more, zero-shot rows included.

    Columns: those of `CELL` (`ptpp` is the label of the stage), `seeds` (how many), `mean_loss`
    (nats), `sd` (sample standard deviation over seeds, nats) and `relative_sd` (sd / mean_loss). No
    row without repeated cells.
    """
    grouped = with_stages(frame).groupby(list(CELL_KEYS), sort=False)["loss"]
    cells = grouped.agg(seeds="count", mean_loss="mean", sd="std").reset_index()
    cells = cells.rename(columns={"stage": "ptpp"})
    cells = cells[cells["seeds"] >= 2]
    cells = cells.assign(relative_sd=cells["sd"] / cells["mean_loss"])
    return cells.sort_values(["domain", *CELL[1:-1]]).reset_index(drop=True)
