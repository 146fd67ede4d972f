"""The published tables are what their card says; docs/evidence.md shows what they give."""

import hashlib
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from ptpp.laws.declared import load_law
from ptpp.laws.fitting import FitSettings, fit

FOLDER = ROOT / "resources" / "published"
TABLES = ROOT.parent / "shared" / "tables"
PAGE = ROOT / "docs" / "evidence.md"


@pytest.fixture(scope="module")
def evidence():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import evidence
    finally:
        sys.path.pop(0)
    return evidence


@pytest.mark.parametrize("name", ["gadre", "olmo_ladder", "gemstones"])
def test_a_table_is_the_one_of_the_card(name):
    card = dict(
        re.findall(r"^([0-9a-f]{64})  (\w+)\.csv$", (FOLDER / "README.md").read_text(), re.M)
    )
    sums = {name: digest for digest, name in card.items()}
    assert sums[name] == hashlib.sha256((FOLDER / f"{name}.csv").read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["gadre", "olmo_ladder", "gemstones"])
def test_a_table_holds_what_the_card_says(name, evidence):
    table, card = pd.read_csv(FOLDER / f"{name}.csv"), (FOLDER / "README.md").read_text()
    row = re.search(rf"^\| `{name}.csv` \| (\d+)[^|]*\|[^|]*\| (\d+) \|", card, re.MULTILINE)
    keys = [key for key in ("train_set", "size", "tokens") if key in table]
    assert (len(table[keys].drop_duplicates()), len(table)) == tuple(map(int, row.groups()))
    assert all(f"`{column}`" in card for column in table)
    np.testing.assert_allclose(table["ptpp"], table["tokens"] / table["n_params"], rtol=1e-5)
    assert not table.duplicated([*keys, "domain"]).any()
    for group, base in evidence.SOURCES[name].sets.items():
        rows = table if group is None else table[table["train_set"] == group]
        own = rows[rows["domain"] == base].set_index(["size", "tokens"])
        assert (own["loss"] == own["base_loss"]).all()
        for _, part in rows.groupby("domain"):  # every checkpoint carries its own base loss
            part = part.set_index(["size", "tokens"])["base_loss"]
            assert (part == own["base_loss"].reindex(part.index)).all()


@pytest.mark.skipif(not TABLES.is_dir(), reason="the published tables are not here")
def test_the_losses_are_those_of_the_source():
    theirs = pd.read_csv(TABLES / "olmo_ladder.csv")
    ours = pd.read_csv(FOLDER / "olmo_ladder.csv").set_index(["size", "domain", "n_params", "loss"])
    rows = zip(theirs["model"], theirs["domain"], theirs["N"], theirs["loss"], strict=True)
    assert set(ours.index) == {(m, d, n, float(f"{loss:.7g}")) for m, d, n, loss in rows}
    theirs = pd.read_csv(TABLES / "gadre_overtraining.csv")
    losses = theirs.filter(regex="^loss_").to_numpy().ravel()
    ours = np.sort(pd.read_csv(FOLDER / "gadre.csv")["loss"])
    np.testing.assert_allclose(ours, np.sort(losses), rtol=1e-6)
    ours = pd.read_csv(FOLDER / "gemstones.csv")
    for name, domain in (("hot", "constant_rate"), ("cool_end", "cooled")):
        theirs = pd.read_csv(TABLES / f"gemstones_{name}.csv").sort_values(["N", "width", "D"])
        part = ours[ours["domain"] == domain].sort_values(["n_params", "width", "tokens"])
        np.testing.assert_allclose(part["loss"], theirs["loss"], rtol=1e-6)
        np.testing.assert_array_equal(part["tokens"] + part["cool_tokens"], theirs["D"])


def test_the_published_tables_are_small():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 400_000


def test_a_law_of_the_base_loss_finds_itself():
    law = load_law(ROOT / "resources" / "laws" / "base_power.yaml")
    base = np.linspace(2.2, 5.5, 12)
    rows = pd.DataFrame({"base_loss": base, "loss": 0.4 + 2.3 * (base / 3) ** 1.2})
    fitted = fit(law, rows, FitSettings(starts=8))
    assert fitted.record.converged
    assert fitted.record.params == pytest.approx({"E": 0.4, "K": 2.3, "k": 1.2}, rel=1e-4)


def test_sizes_that_nearly_agree_are_of_one_class(evidence):
    sizes = [475e6, 48e6, 52e6, 1.9e9, 1.0e9, 543e6, 48e6, 67e6]
    assert evidence.size_classes(sizes).tolist() == [1, 0, 0, 3, 2, 1, 0, 0]


def rows_of(sizes, stages):
    table = pd.DataFrame([(n, p) for n in sizes for p in stages], columns=["n_params", "ptpp"])
    return table.assign(loss=np.arange(1.0, len(table) + 1), adapt_tokens=table.prod(axis=1))


def test_later_stages_are_forecast_of_models_whose_early_ones_are_fitted(evidence):
    rows = pd.concat([rows_of([1e8, 4e8], [10, 20, 160]), rows_of([2e9], [160])], ignore_index=True)
    source = evidence.Source("made", 20, (150, 170), {None: "base"})
    fitted, asked = evidence.split(source, "later", rows)
    assert set(fitted["ptpp"]) == {10, 20} and set(fitted["n_params"]) == {1e8, 4e8}
    assert set(asked["ptpp"]) == {160} and set(asked["n_params"]) == {1e8, 4e8}


@pytest.mark.parametrize(("question", "left_out"), [("one size", {2e9}), ("two sizes", {4e8, 2e9})])
def test_the_largest_sizes_are_left_out_at_every_stage(question, left_out, evidence):
    source = evidence.Source("made", 20, (150, 170), {None: "base"})
    rows = rows_of([1e8, 4e8, 2e9], [10, 160])
    fitted, asked = evidence.split(source, question, rows)
    assert set(asked["n_params"]) == left_out and set(asked["ptpp"]) == {10, 160}
    assert len(fitted) + len(asked) == len(rows) and not left_out & set(fitted["n_params"])


def test_the_baseline_is_the_last_stage_of_the_same_model_or_the_largest_model_at_that_stage(
    evidence,
):
    fitted = rows_of([1e8, 4e8], [10, 20])  # losses 1 to 4
    asked = pd.DataFrame({"n_params": [1e8, 4e8, 2e9, 2e9], "ptpp": [160, 160, 10, 20]})
    assert evidence.last_measured(fitted, asked).tolist() == [2, 4, 3, 4]


def test_errors_are_averaged_over_tables_not_over_rows(evidence):
    table = pd.DataFrame({"train_set": "", "law": "a", "observed": 2.0}, index=range(4))
    table["domain"] = ["x", "y", "y", "y"]
    table["predicted"] = [2.2, 2.0, 2.0, 2.0]
    assert evidence.errors(table, ["law"])["a"] == pytest.approx(5.0)


def test_another_number_on_the_page_is_noticed(evidence):
    table = pd.DataFrame({"S, law": [1.25], "S, within": [91.0]}, index=["row"])
    begin, end = evidence.BEGIN.format("intervals"), evidence.END
    page = f"text\n{begin}\n{evidence.write_table(table, 'source, forecast')}\n{end}\nmore"
    assert evidence.find_differences(page, {"intervals": table}) == []
    differing = evidence.find_differences(page.replace("1.25", "1.35"), {"intervals": table})
    assert differing == ["intervals, row, S, law"]
    assert evidence.find_differences(page.replace("| 91 |", "| 81 |"), {"intervals": table})
    assert evidence.find_differences(page.replace("| row |", "| raw |"), {"intervals": table})


def run_check(*arguments):
    command = [sys.executable, ROOT / "benchmarks" / "evidence.py", "--check", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_page_shows_what_a_published_table_gives():
    result = run_check("gemstones", "--quick")
    assert result.returncode == 0, result.stderr


@pytest.mark.long
def test_the_page_shows_what_all_published_tables_give():
    result = run_check()
    assert result.returncode == 0, result.stderr


def test_every_result_on_the_page_stands_in_a_table_that_the_script_writes(evidence):
    page = PAGE.read_text()
    for name in evidence.BLOCKS:
        before, _, after = evidence.split_page(page, name)
        page = before + after
    prose = re.sub(r"^```.*?^```$|`[^`]*`|\]\([^)]*\)", "", page, flags=re.MULTILINE | re.DOTALL)
    prose = re.sub(r"arXiv \d+\.\d+", "", prose)
    assert not re.findall(r"\d+\.\d+|\d+ %", prose)
