"""The workflow from a finished table; and tables and configurations that it refuses."""

import json

import pandas as pd
import pytest
import yaml
from workflow import SMOKE, job_counts, link_workflow

TRAINING = {"tokenizer", "tokens", "pretrain", "adapt"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return link_workflow(tmp_path_factory.mktemp("own_tables"))


@pytest.fixture(scope="module")
def table(smoke_run):
    return smoke_run / "results" / "smoke" / "observations.csv"


def own(folder, table, name, **change):
    """Arguments of a run from `table`, to results/`name`."""
    table.to_csv(folder / f"{name}.csv", index=False)
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(change))
    return [*SMOKE, f"{name}.yaml", "--config", f"observations={name}.csv", f"scale={name}"]


def test_a_finished_table_is_scored_like_the_run_it_came_from(folder, table, smoke_run, snakemake):
    law = {"laws": {"target": ["gated_floor"], "base": []}, "plan": {"law": "gated_floor"}}
    done = snakemake(folder, "law_tables", *own(folder, pd.read_csv(table), "mine", **law))
    assert not TRAINING & set(job_counts(done))
    scores = pd.read_csv(folder / "results" / "mine" / "tables" / "scores.csv")
    expected = pd.read_csv(smoke_run / "results" / "smoke" / "tables" / "scores.csv")
    ours = expected.law.isin(["gated_floor", "last_stage"]) & (expected.domain == "fr")
    expected = expected[ours].reset_index(drop=True)
    pd.testing.assert_frame_equal(scores, expected)


@pytest.mark.long  # a whole report; `ptpp report` makes another in tests/cli/test_report.py
def test_laws_are_judged_and_plans_made_from_the_shortest_table(folder, table, snakemake):
    """Only what a table must have: no domain, no base languages, no names; and no plan is asked."""
    rows = pd.read_csv(table)
    rows = rows[(rows.domain == "fr") & (rows.replay < 1) & (rows.atpp > 0) & (rows.seed == 0)]
    rows = rows[["n_params", "ptpp", "replay", "adapt_tokens", "loss"]]
    change = {"laws": {"target": ["gated_floor"]}}
    change["plan"] = {"law": "gated_floor", "forgetting": {"en": None, "ar": None}}
    arguments = own(folder, rows, "short", **change)
    done = snakemake(folder, *arguments)
    jobs = job_counts(done)
    assert not TRAINING & set(jobs)
    short = folder / "results" / "short"
    assert not (short / "checkpoints").exists()
    assert not list(short.glob("fits/forgetting*"))
    assert not list(short.glob("figures/forgetting*"))
    assert (short / "report.html").stat().st_size
    assert pd.read_csv(short / "plan" / "plan.csv").feasible.all()
    bands = pd.read_csv(short / "tables" / "kappa_bands.csv")
    assert set(bands.law) == {"gated_floor"}
    assert set(bands.protocol) == {"early_to_late"}
    assert bands.reason.str.contains("2 PTPP stages").all()
    verdicts = pd.read_csv(short / "tables" / "identifiability.csv")
    assert set(verdicts.verdict) <= {"identified", "one-sided", "flat", "at bound"}
    coverage = pd.read_csv(short / "tables" / "coverage.csv")
    assert coverage.coverage.between(0, 1).all()

    done = snakemake(folder, "status", *arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    status = json.loads((short / "status.json").read_text())
    assert [row["what"] for row in status["table"]] == ["laws and tables", "all"]
    last = status["table"][-1]
    assert last["jobs"] == last["done"] == sum(jobs.values())
    assert "Everything is done." in done.stdout


def test_a_wrong_table_ends_in_one_line_that_names_the_row(folder, table, snakemake):
    rows = pd.read_csv(table)
    rows.loc[3, "loss"] = -1.0
    done = snakemake(folder, *own(folder, rows, "wrong"))
    assert done.returncode != 0
    assert "error: wrong.csv: row 5, column loss: -1; accepted is a number above 0" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "results" / "wrong" / "observations.csv").exists()
