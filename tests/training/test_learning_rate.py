"""The default learning rate is near the best of the committed sweep, at every default size."""

import pandas as pd
import pytest
import yaml
from conftest import ROOT

CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())
SIZES = [size["name"] for size in CONFIG["models"]["sizes"]]


@pytest.fixture(scope="module")
def sweep():
    """Mean held-out base loss by size and rate: over seeds, then over the stages measured."""
    table = pd.read_csv(ROOT / "benchmarks" / "learning_rate.csv")
    assert table.loss.notna().all(), "no rate of the grid diverges"
    by_stage = table.groupby(["size", "ptpp", "learning_rate"]).loss.mean()
    return by_stage.groupby(["size", "learning_rate"]).mean()


@pytest.mark.parametrize("size", SIZES)
def test_the_default_rate_is_within_0_02_nats_of_the_best(sweep, size):
    losses = sweep[size]
    assert losses[CONFIG["pretraining"]["learning_rate"]] - losses.min() < 0.02


@pytest.mark.parametrize("size", SIZES)
def test_the_grid_reaches_beyond_the_best_rate_on_both_sides(sweep, size):
    best = sweep[size].idxmin()
    assert sweep[size].index.min() < best < sweep[size].index.max()


def test_every_cell_of_the_sweep_has_several_seeds():
    table = pd.read_csv(ROOT / "benchmarks" / "learning_rate.csv")
    counts = table.groupby(["size", "ptpp", "learning_rate"]).seed.nunique().unstack()
    assert counts.notna().all().all() and (counts >= 3).all().all()
    assert set(SIZES) == set(table["size"])
    assert {"ptpp", "loss"} <= set(table.columns)
