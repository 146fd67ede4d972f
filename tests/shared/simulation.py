"""Observation tables whose true laws are known: to test recovery, and to time fits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from ptpp.laws.forms import get_law
from ptpp.laws.law import ROWS
from ptpp.laws.problem import law_inputs
from ptpp.table.checks import check_observations


@dataclass(frozen=True)
class Truth:
    """A law with its true parameters and the reference point they belong to."""

    law: str
    params: Mapping[str, float]
    reference: Mapping[str, float]

    def value(self, frame: pd.DataFrame) -> np.ndarray:
        """The true value (n,) on the rows of `frame`, nats per token."""
        law = get_law(self.law)
        return law.predict(law.to_solver(self.params), law_inputs(law, frame), self.reference)


@dataclass(frozen=True)
class Design:
    """A full grid: sizes (name -> parameters), stages, replay ratios, ATPP, seeds per size."""

    sizes: Mapping[str, int]
    ptpps: Sequence[float]
    replays: Sequence[float]
    atpps: Sequence[float]
    seeds: Mapping[str, Sequence[int]]


def simulate(
    design: Design,
    target: tuple[str, Truth],
    bases: Mapping[str, Sequence[Truth]],
    base_losses: Truth,
    noise: float,
    seed: int = 0,
) -> pd.DataFrame:
    """Observations on the full grid, with zero-shot rows.

    `target` is (domain, target law); `bases` are the forgetting laws of the base domains, each for
    the rows that it speaks of. Losses before adaptation follow `base_losses`, a Chinchilla law in N
    and pre-training tokens.
    Each loss is multiplied by exp(noise * standard normal), so `noise` is relative. Rows with
    replay 1 are simulated for base domains only: no target law speaks of share 0.
    """
    domain, truth = target
    grid = pd.DataFrame(
        [
            (size, n, ptpp, replay, atpp, run_seed)
            for (size, n), ptpp in product(design.sizes.items(), design.ptpps)
            for replay, atpp in [(0.0, 0.0), *product(design.replays, design.atpps)]
            for run_seed in design.seeds[size]
        ],
        columns=["size", "n_params", "ptpp", "replay", "atpp", "seed"],
    )
    grid["adapt_tokens"] = grid["atpp"] * grid["n_params"]
    adapted = grid["atpp"] > 0
    pretrained = grid.assign(adapt_tokens=grid["ptpp"] * grid["n_params"])
    before = base_losses.value(pretrained)
    parts = []
    grid["zero_shot_loss"] = before
    for name, forgetting in bases.items():
        after = before.copy()
        for one in forgetting:
            spoken = adapted & ROWS[get_law(one.law).rows](grid["replay"])
            after[spoken] += one.value(grid[spoken])
        parts.append(grid.assign(domain=name, loss=after))
    grid = grid.drop(columns="zero_shot_loss")
    parts = [part.drop(columns="zero_shot_loss") for part in parts]
    swept = grid[adapted & (grid["replay"] < 1)]
    parts.append(swept.assign(domain=domain, loss=truth.value(swept)))
    table = pd.concat(parts, ignore_index=True)
    noises = np.random.default_rng(seed).standard_normal(len(table))
    return check_observations(table.assign(loss=table["loss"] * np.exp(noise * noises)))
