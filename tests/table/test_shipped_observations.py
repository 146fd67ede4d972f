"""The shipped tables are whole, are those of their provenance, and read without a warning."""

import json

import pandas as pd
import pytest
import yaml
from conftest import ROOT

from ptpp.jobs.files import sha256
from ptpp.table.kinds import CELL, is_sweep
from ptpp.table.observations import read_observations

FOLDER = ROOT / "resources" / "observations"


@pytest.fixture(scope="module", params=["laptop-real", "six-stages"])
def name(request):
    return request.param


@pytest.fixture(scope="module")
def provenance(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def table(name):
    return read_observations(FOLDER / f"{name}.csv", held_out=279, target="fr")


@pytest.fixture(scope="module")
def seeds(provenance):
    return {size["name"]: size["seeds"] for size in provenance["config"]["models"]["sizes"]}


def test_provenance_speaks_of_this_very_table(provenance):
    assert sha256(FOLDER / provenance["table"]) == provenance["sha256"]
    for key in ("code", "machine", "software", "text", "config", "command", "measured"):
        assert provenance[key]
    assert all(len(digest) == 64 for digest in provenance["text"]["sha256"].values())


def test_the_scale_of_the_table_is_the_one_that_was_measured(name, provenance):
    scale = yaml.safe_load((ROOT / "scales" / f"{name}.yaml").read_text())
    measured = provenance["config"]
    assert scale["models"]["sizes"] == measured["models"]["sizes"]
    assert scale["corpora"]["languages"] == measured["corpora"]["languages"]
    stages = scale.get("pretraining", {}).get("ptpp", measured["pretraining"]["ptpp"])
    assert stages == measured["pretraining"]["ptpp"]


def test_the_table_holds_the_whole_grid_of_its_configuration(provenance, table, seeds):
    config = provenance["config"]
    assert len(seeds) >= 4 and sum(len(each) >= 3 for each in seeds.values()) >= 4
    sweep = table[is_sweep(table)]
    ratios, budgets = config["adaptation"]["replay"], config["adaptation"]["atpp"]
    stages = config["pretraining"]["ptpp"]
    assert set(table.ptpp) == set(stages)
    counts = sweep.groupby(list(CELL)).seed.nunique()
    assert len(counts) == len(seeds) * len(stages) * len(ratios) * len(budgets) * 3
    for size, part in counts.groupby("size"):
        assert (part == len(seeds[size])).all(), size
    assert set(table[table.replay == 1].atpp) == set(budgets)
    assert (table.atpp == 0).sum() == sum(map(len, seeds.values())) * len(stages) * 3


def test_costs_cover_every_run_of_the_table(name, table):
    costs = pd.read_csv(FOLDER / f"{name}.costs.csv")
    adapted = table[table.atpp > 0].run
    assert set(adapted) <= set(costs.run)
    assert (costs.tokens > 0).all() and (costs.seconds > 0).all()
