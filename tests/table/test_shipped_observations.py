"""The shipped table is whole, is the one its provenance speaks of, and reads without a warning."""

import json

import pandas as pd
import pytest
from conftest import ROOT

from ptpp.jobs.files import sha256
from ptpp.table.kinds import CELL, is_sweep
from ptpp.table.observations import read_observations

FOLDER = ROOT / "resources" / "observations"


@pytest.fixture(scope="module")
def provenance():
    return json.loads((FOLDER / "laptop-real.json").read_text())


@pytest.fixture(scope="module")
def table():
    return read_observations(FOLDER / "laptop-real.csv", held_out=279, target="fr")


def test_provenance_speaks_of_this_very_table(provenance):
    assert sha256(FOLDER / provenance["table"]) == provenance["sha256"]
    for key in ("code", "machine", "software", "text", "config", "command", "measured"):
        assert provenance[key]
    assert all(len(digest) == 64 for digest in provenance["text"]["sha256"].values())


def test_the_table_holds_the_whole_grid_of_its_configuration(provenance, table):
    config = provenance["config"]
    sizes = {size["name"]: size["seeds"] for size in config["models"]["sizes"]}
    assert len(sizes) >= 4 and all(len(seeds) >= 3 for seeds in sizes.values())
    sweep = table[is_sweep(table)]
    ratios, budgets = config["adaptation"]["replay"], config["adaptation"]["atpp"]
    cells = len(sizes) * len(config["pretraining"]["ptpp"]) * len(ratios) * len(budgets) * 3
    counts = sweep.groupby(list(CELL)).seed.nunique()
    assert len(counts) == cells
    assert (counts == 3).all()
    assert set(table[table.replay == 1].atpp) == set(budgets)
    assert (table.atpp == 0).sum() == sum(map(len, sizes.values())) * 3 * 3


def test_costs_cover_every_run_of_the_table(table):
    costs = pd.read_csv(FOLDER / "laptop-real.costs.csv")
    adapted = table[table.atpp > 0].run
    assert set(adapted) <= set(costs.run)
    assert (costs.tokens > 0).all() and (costs.seconds > 0).all()
