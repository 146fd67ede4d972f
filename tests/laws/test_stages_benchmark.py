"""How far forecasts reach: the shipped file holds every split, and what the shipped table gives."""

import sys

import pandas as pd
import pytest
from conftest import ROOT

from ptpp.table.kinds import list_stages, stages_of
from ptpp.table.observations import read_observations

TABLE = ROOT / "resources" / "observations" / "six-stages.csv"
POINTS = 0.002  # what another machine's arithmetic may change


@pytest.fixture(scope="module")
def stages():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import stages
    finally:
        sys.path.pop(0)
    return stages


@pytest.fixture(scope="module")
def table():
    return read_observations(TABLE)


@pytest.fixture(scope="module")
def shown():
    return pd.read_csv(ROOT / "resources" / "results" / "six-stages" / "stages.csv")


def test_every_pair_and_triple_of_earlier_stages_forecasts_each_later_one(stages, table, shown):
    splits = list(stages.splits(list_stages(table)))
    assert len(splits) == 1 + (3 + 1) + (6 + 4) + (10 + 10)
    assert all(max(seen) < held_out for seen, held_out in splits)
    names = {(" ".join(f"{stage:g}" for stage in seen), held_out) for seen, held_out in splits}
    assert set(zip(shown["stages"], shown["held_out"], strict=True)) == names
    counts = shown.groupby(["stages", "held_out"]).size()
    assert (counts == 2 * len(stages.LAWS) * len(stages.ANCHORS) + 1).all()


def test_scores_are_those_of_the_shipped_losses(stages, table, shown):
    part = table[stages_of(table).isin([8.0, 15.0, 31.0])].reset_index(drop=True)
    found = stages.measure(part, ["dcpt", "state"], [0])
    assert found["law"].tolist() == ["dcpt", "dcpt", "last_stage", "state", "state"]
    keys = ["held_out", "stages", "law", "anchors", "information", "forecast"]
    both = found.merge(shown, on=keys, suffixes=("", "_shown"), validate="1:1")
    assert len(both) == len(found)
    assert both["mae_rel"].to_numpy() == pytest.approx(both["mae_rel_shown"], abs=POINTS)
    assert both["noise_floor"].to_numpy() == pytest.approx(both["noise_floor_shown"])
    kriged = both[both["forecast"] == "kriged"]
    assert kriged["coverage"].to_numpy() == pytest.approx(kriged["coverage_shown"], abs=0.02)
