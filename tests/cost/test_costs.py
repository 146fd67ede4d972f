"""Costs add up, by size and kind of run."""

import pandas as pd
import pytest

from ptpp.cost.measured import COLUMNS, cost_summary

COSTS = pd.DataFrame(
    [
        ("w16.ptpp15", "w16", 0, "cpu", 1, 1000, 6e7, 10.0, 300),
        ("w16.ptpp15.replay0.5", "w16", 0, "cpu", 1, 500, 3e7, 6.0, 320),
        ("w16.ptpp15.replay0", "w16", 0, "cpu", 1, 500, 3e7, 4.0, 310),
        ("w8.ptpp15", "w8", 0, "cpu", 2, 100, 6e5, 1.0, 290),
    ],
    columns=list(COLUMNS),
)


def test_a_row_per_size_and_kind_in_the_order_of_the_sweep_and_a_total():
    table = cost_summary(COSTS)
    assert list(zip(table["size"], table["kind"], strict=True)) == [
        ("w16", "pre-training"),
        ("w16", "adaptation"),
        ("w8", "pre-training"),
        ("all", "all"),
    ]
    assert table["runs"].tolist() == [1, 2, 1, 4]
    assert table["tokens"].iloc[-1] == table["tokens"].iloc[:-1].sum() == 2100
    assert table["device_hours"].iloc[-1] == pytest.approx(22 / 3600)


def test_a_run_on_two_devices_counts_both():
    one = cost_summary(COSTS).set_index("size").loc["w8"]
    assert one.device_hours == pytest.approx(2 / 3600) and one.tokens_per_second == 50


def test_rates_and_peaks_are_those_of_the_runs_together():
    adaptation = cost_summary(COSTS).iloc[1]
    assert adaptation.tokens_per_second == pytest.approx(100)
    assert adaptation.peak_memory_mib == 320
    assert cost_summary(COSTS)["share_of_flops"].iloc[:-1].sum() == pytest.approx(1)
