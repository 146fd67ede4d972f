"""What a run of the workflow leaves."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from workflow import SMOKE

from ptpp.jobs.heartbeat import read_records
from ptpp.laws.experiment import SCORE_COLUMNS
from ptpp.table.columns import COLUMNS
from ptpp.table.observations import read_observations


@pytest.fixture(scope="module")
def results(smoke_run):
    return smoke_run / "results" / "smoke"


FIGURES = (
    *("adaptation", "calibration", "forgetting", "residuals", "plan", "pretraining"),
    *("residuals_by_input", "law_comparison", "profile", "anchor_sweep", "forecast", "pareto"),
)
BASES = ("en", "ar")
LAWS = ("dcpt", "gated_floor", "state")
JUDGED = ("early_to_late", "with_anchors")
TABLES = (
    *("scores", "score_intervals", "coverage", "comparison", "cross_validation"),
    *("identifiability", "kappa_bands", "anchor_sweep", "seed_noise", "plan_regret", "costs"),
)
PLANS = (
    *("plan", "robust", "least_loss", "relaxations"),
    *("front", "break_even", "next_measurement"),
)


def test_a_complete_run_leaves_every_promised_file(results):
    expected = ["observations.csv", "costs.csv", "anchors.csv", "plan/plan.csv", "report.html"]
    expected += ["plan/planner.html", "provenance.html", "applied/checkpoint/README.md"]
    expected += [f"applied/{name}.csv" for name in ("comparison", "observations", "zero_shot")]
    expected += [f"figures/{name}.{suffix}" for name in FIGURES for suffix in ("pdf", "png")]
    expected += [f"tables/{name}.{suffix}" for name in TABLES for suffix in ("csv", "md", "tex")]
    expected += [f"plan/{name}.{suffix}" for name in PLANS for suffix in ("csv", "md", "tex")]
    expected += [
        f"fits/{law}.{protocol}.{domain}.json"
        for law, domain in [*((law, "fr") for law in LAWS), *(("forgetting", d) for d in BASES)]
        for protocol in (*JUDGED, "all_rows")
    ]
    missing = [name for name in expected if not (results / name).stat().st_size]
    assert not missing
    left = {path.name for path in results.glob(".state/*")}
    assert left == {"finished"}, "finished jobs leave no training state"


def test_training_jobs_at_work_together_have_a_gpu_each(results):
    held = {}
    for line in read_records(results / "logs"):
        log = (results / f"logs/{line['job']}.log").read_text()
        told = re.search(r"^(\S+) trains on (GPU-\S+)", log, re.MULTILINE)
        trains = line["job"].split("/")[0] in ("pretrain", "adapt", "carry_out")
        assert bool(told) == trains, line["job"]
        if trains:
            left = re.search(r"^(\S+) leaves GPU-", log, re.MULTILINE)[1]
            held.setdefault(told[2], []).append(
                (line["ended"][:10] + told[1], line["ended"][:10] + left)
            )
    assert len(held) == 2 and sum(map(len, held.values())) == 19
    for times in held.values():
        for (_, left), (taken, _) in itertools.pairwise(sorted(times)):
            assert taken >= left


def test_the_observation_table_holds_the_whole_grid(results):
    table = read_observations(results / "observations.csv", held_out=8, target="fr")
    assert tuple(table.columns) == COLUMNS
    checkpoints, domains = 3 * 3, 3
    sweep = checkpoints * 2 * 3 * domains  # replay ratios x ATPP
    control = checkpoints * 3 * domains
    zero_shot = checkpoints * domains
    assert len(table) == sweep + control + zero_shot
    assert table.loss.between(0.5, 12).all()


def test_scores_have_one_row_per_law_protocol_level_of_information_and_forecast(results):
    scores = pd.read_csv(results / "tables" / "scores.csv")
    assert tuple(scores.columns) == SCORE_COLUMNS
    labels = ["law", "protocol", "domain", "information", "forecast"]
    assert not scores.duplicated(labels).any()
    french = scores[scores.domain == "fr"].set_index("law")
    for law in LAWS:
        rows = french.loc[law]
        levels = {"early", "anchors"} | ({"zero_shot"} if law.startswith("state") else set())
        made = set(itertools.product(levels, ("law", "kriged")))
        assert set(zip(rows.information, rows.forecast, strict=True)) == made
        assert set(rows.protocol) == set(JUDGED)
    assert set(french.index) == {*LAWS, "last_stage"}
    others = scores[scores.domain != "fr"]
    assert set(zip(others.law, others.domain, strict=True)) == set(
        itertools.product(("forgetting", "last_stage"), BASES)
    )


def test_the_plan_has_one_row_per_law_and_model_by_a_fit_to_all_rows(results):
    table = read_observations(results / "observations.csv")
    models = (table["n_params"].max(), 1_000_000)
    for name in ("plan", "robust"):
        plan = pd.read_csv(results / "plan" / f"{name}.csv")
        pairs = list(zip(plan.law, plan.n_params, strict=True))
        assert sorted(pairs) == sorted(itertools.product(LAWS, models))
        assert set(plan.protocol) == {"all_rows"}


def test_anchors_are_small_held_out_cells_and_never_scored(results):
    anchors = pd.read_csv(results / "anchors.csv")
    assert set(anchors.ptpp) == {8}
    assert set(anchors["size"]) == {"w8"}
    cells = anchors[["size", "replay", "atpp"]].drop_duplicates()
    assert len(cells) == 4
    predictions = pd.read_csv(results / "tables" / "predictions.csv")
    held_out = predictions[
        (predictions.role == "held_out") & (predictions.protocol == "with_anchors")
    ]
    assert len(held_out)
    assert held_out.merge(cells).empty


def test_checkpoints_are_hugging_face_folders_with_the_same_held_out_loss(results):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from ptpp.text.store import open_store
    from ptpp.training.data import evaluation_blocks

    folder = results / "checkpoints" / "w16" / "ptpp8"
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder).vocab_size == 300
    zero_shot = pd.read_csv(results / "runs" / "w16.ptpp8.zero_shot.csv").set_index("domain").loss
    for domain in ("en", "ar", "fr"):
        store = open_store(results / "tokens" / f"{domain}.valid.bin")
        blocks = torch.from_numpy(evaluation_blocks(store.tokens, 32, 1024))
        with torch.no_grad():
            logits = model(blocks[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), blocks[:, 1:].flatten()
        ).item()
        assert loss == pytest.approx(zero_shot[domain], rel=1e-5)


def test_longer_adaptation_on_french_lowers_its_loss(results):
    table = read_observations(results / "observations.csv")
    rows = table[(table.domain == "fr") & (table.replay == 0) & (table.ptpp == 8)]
    by_atpp = rows[rows["size"] == "w16"].sort_values("atpp").loss.to_list()
    assert by_atpp == sorted(by_atpp, reverse=True)


def test_the_plan_is_carried_out_on_the_largest_model_and_compared_with_its_forecast(results):
    table = read_observations(results / "observations.csv")
    plans = [pd.read_csv(results / "plan" / f"{name}.csv") for name in ("robust", "plan")]
    rows = pd.concat(plans).query("law == 'state' and n_params < 1e6")
    plan = rows[rows.feasible].iloc[0]
    compared = pd.read_csv(results / "applied" / "comparison.csv").set_index("domain")
    assert set(compared["size"]) == {"w16"} and set(compared.index) == {"fr", "ar", "en"}
    assert set(compared.replay) == {plan.replay} and set(compared.atpp) == {plan.atpp}
    measured = read_observations(results / "applied" / "observations.csv")
    assert compared.measured.to_dict() == measured.set_index("domain").loss.to_dict()
    assert ((compared.lower <= compared.measured) == compared.inside).all()
    error = compared.predicted / compared.measured - 1
    assert error.tolist() == pytest.approx(compared.relative_error.tolist())
    assert compared.relative_error.abs().max() < 0.2
    before = table.query("size == 'w16' and ptpp == 8 and atpp == 0").set_index("domain").loss
    own = pd.read_csv(results / "applied" / "zero_shot.csv").set_index("domain").loss
    assert own.to_dict() == before.to_dict(), "the checkpoint's own state, to the bit"
    assert not set(measured.run) & set(table.run), "a table follows from the sweep alone"
    card = (results / "applied" / "checkpoint" / "README.md").read_text()
    assert "results/smoke/checkpoints/w16/ptpp8" in card
    assert f"{compared.measured['fr']:.4f}" in card
    told = (results / "applied" / "applied.txt").read_text()
    assert f"fr {compared.measured['fr']:.4g} nats" in told
    assert told.split("\n")[0] in (results / "report.html").read_text()


def test_where_no_plan_is_feasible_nothing_is_adapted_and_a_sentence_says_so(smoke_run, tmp_path):
    folder = shutil.copytree(smoke_run, tmp_path / "smoke")
    results = folder / "results" / "smoke"
    for name in ("robust", "plan"):
        path = results / "plan" / f"{name}.csv"
        pd.read_csv(path).assign(feasible=False).to_csv(path, index=False)
    command = [sys.executable, "scripts/_mock.py", "carry_out", "--configfile", SMOKE[1]]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    told = "no plan by state for 8624 parameters is feasible, so nothing was adapted\n"
    assert (results / "applied" / "applied.txt").read_text() == told
    assert [path.name for path in (results / "applied" / "checkpoint").iterdir()] == ["README.md"]
    for name in ("comparison", "observations", "zero_shot", "cost"):
        assert pd.read_csv(results / "applied" / f"{name}.csv").empty


def test_every_run_of_the_sweep_has_its_cost(results):
    costs = pd.read_csv(results / "costs.csv")
    assert len(costs) == 9 + 27 and costs.run.is_unique
    assert (costs.flops > 0).all() and (costs.seconds > 0).all()


def test_every_job_leaves_log_benchmark_and_a_line(results):
    lines = [
        json.loads(line)
        for path in results.glob("logs/jobs.*.jsonl")
        for line in path.read_text().splitlines()
    ]
    jobs = {line["job"] for line in lines}
    assert {line["status"] for line in lines} == {"done"} and len(jobs) == len(lines)
    logs = {str(path.relative_to(results / "logs")) for path in results.glob("logs/**/*.log")}
    assert logs == {f"{job}.log" for job in jobs}
    assert not [job for job in jobs if not (results / "benchmarks" / f"{job}.tsv").exists()]
    trained = {line["job"] for line in lines if line["tokens"]}
    assert trained == {job for job in jobs if job.startswith(("pretrain/", "adapt/", "carry_out"))}
    costs = [pd.read_csv(results / name) for name in ("costs.csv", "applied/cost.csv")]
    costs = pd.concat(costs)
    assert sum(line["tokens"] or 0 for line in lines) == costs.tokens.sum()
    assert sum(line["flops"] or 0 for line in lines) == pytest.approx(costs.flops.sum())
    assert not list(results.glob(".running/*"))
