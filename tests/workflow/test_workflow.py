"""The workflow as a user meets it: run, rerun, change something, kill it, go on."""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from datetime import datetime

import pandas as pd
import pytest
import yaml
from conftest import ROOT

from ptpp.jobs.heartbeat import read_records
from ptpp.table.observations import COLUMNS, read_observations

SMOKE = ["--configfile", "scales/smoke.yaml"]
NOT_COPIED = shutil.ignore_patterns(
    "results", ".snakemake", ".git", "corpora", ".venv", "*cache*", ".hypothesis"
)


def workflow_copy(folder):
    """A copy of the repository without its results, so that a test may edit it."""

    def ignored(directory, names):
        # The package ptpp.text stays; a folder of text called corpora at the top does not.
        found = NOT_COPIED(directory, names)
        return found - {"corpora"} if directory != str(ROOT) else found

    shutil.copytree(ROOT, folder, ignore=ignored, symlinks=True)
    return folder


@pytest.fixture(scope="session")
def counterfeit_gpus(tmp_path_factory):
    """A folder with an `nvidia-smi` that lists two GPUs which no other run on this machine has."""
    folder = tmp_path_factory.mktemp("bin")
    lines = [f"GPU {k}: Counterfeit (UUID: GPU-{uuid.uuid4()})" for k in range(2)]
    (folder / "nvidia-smi").write_text("#!/bin/sh\n" + "".join(f"echo '{n}'\n" for n in lines))
    (folder / "nvidia-smi").chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory, counterfeit_gpus):
    """The smoke scale, run once from nothing; jobs are handed GPUs, and train on the CPU."""
    folder = workflow_copy(tmp_path_factory.mktemp("smoke") / "ptpp")
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *SMOKE]
    environment = os.environ | {"PATH": f"{counterfeit_gpus}:{os.environ['PATH']}"}
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture
def results(finished):
    return finished / "results" / "smoke"


def planned(finished, snakemake, change=None, target="all"):
    """Jobs per rule that a dry run would start after `change` to the configuration."""
    arguments = [target, *SMOKE]
    if change is not None:
        path = finished / "change.yaml"
        path.write_text(yaml.safe_dump(change))
        arguments.append("change.yaml")
    done = snakemake(finished, "--dry-run", *arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, re.MULTILINE)
    return {rule: int(count) for rule, count in rows if rule not in (target, "total")}


FIGURES = (
    *("adaptation", "calibration", "forgetting", "residuals", "plan", "pretraining"),
    *("residuals_by_input", "law_comparison", "profile", "anchor_sweep"),
)
TABLES = (
    *("scores", "score_intervals", "coverage", "comparison", "cross_validation"),
    *("identifiability", "kappa_bands", "anchor_sweep", "seed_noise", "plan_regret", "costs"),
)
PLANS = (
    *("plan", "robust", "least_loss", "relaxations"),
    *("front", "break_even", "next_measurement"),
)
TRAINING = {"tokenizer", "tokens", "pretrain", "adapt"}


def test_a_complete_run_leaves_every_promised_file(results):
    expected = ["observations.csv", "costs.csv", "anchors.csv", "plan/plan.csv", "report.html"]
    expected += ["plan/planner.html"]
    expected += [f"figures/{name}.{suffix}" for name in FIGURES for suffix in ("pdf", "png")]
    expected += [f"tables/{name}.{suffix}" for name in TABLES for suffix in ("csv", "md", "tex")]
    expected += [f"plan/{name}.{suffix}" for name in PLANS for suffix in ("csv", "md", "tex")]
    expected += [
        f"fits/{law}.{protocol}.fr.json"
        for law in ("dcpt", "floor", "gated", "gated_floor")
        for protocol in ("early_to_late", "with_anchors")
    ]
    expected += [f"fits/forgetting.early_to_late.{domain}.json" for domain in ("en", "ar")]
    missing = [name for name in expected if not (results / name).stat().st_size]
    assert not missing
    left = {path.name for path in results.glob(".state/*")}
    assert left == {"finished"}, "finished jobs leave no training state"


def test_training_jobs_at_work_together_have_a_gpu_each(results):
    held = {}
    for line in read_records(results / "logs"):
        told = re.search(r"trains on (GPU-\S+)", (results / f"logs/{line['job']}.log").read_text())
        trains = line["job"].split("/")[0] in ("pretrain", "adapt")
        assert bool(told) == trains, line["job"]
        if trains:
            times = [datetime.fromisoformat(line[end]) for end in ("started", "ended")]
            held.setdefault(told[1], []).append(times)
    assert len(held) == 2 and sum(map(len, held.values())) == 18
    for times in held.values():
        for (_, ended), (started, _) in itertools.pairwise(sorted(times)):
            assert started >= ended


def test_the_observation_table_holds_the_whole_grid(results):
    table = read_observations(results / "observations.csv", held_out=8, target="fr")
    assert tuple(table.columns) == COLUMNS
    checkpoints, domains = 3 * 3, 3
    sweep = checkpoints * 2 * 3 * domains  # replay ratios x ATPP
    control = checkpoints * 3 * domains
    zero_shot = checkpoints * domains
    assert len(table) == sweep + control + zero_shot
    assert table.loss.between(0.5, 12).all()


def test_scores_and_plan_have_one_row_per_law_and_protocol(results):
    scores = pd.read_csv(results / "tables" / "scores.csv")
    columns = "law,protocol,domain,n_fit,n_held_out,huber_log,mae_rel,calibration_slope,"
    columns += "calibration_intercept,rmse,mape,r2,noise_floor"
    assert list(scores.columns) == columns.split(",")
    laws = ("dcpt", "floor", "gated", "gated_floor")
    pairs = set(itertools.product(laws, ("early_to_late", "with_anchors")))
    french = scores[scores.domain == "fr"]
    assert set(zip(french.law, french.protocol, strict=True)) == pairs
    assert set(scores[scores.domain != "fr"].law) == {"forgetting"}
    plan = pd.read_csv(results / "plan" / "plan.csv")
    assert set(zip(plan.law, plan.protocol, strict=True)) == pairs


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


def test_a_second_run_has_nothing_to_do(finished, snakemake):
    assert planned(finished, snakemake) == {}


def test_other_resources_and_devices_rerun_nothing(finished, snakemake):
    sizes = yaml.safe_load((finished / "scales" / "smoke.yaml").read_text())["models"]["sizes"]
    sizes[0] |= {"devices": 2, "resources": {"mem_mb": 9000, "runtime": {"adapt": 30}, "gpu": 2}}
    change = {"jobs_per_gpu": 3, "save_every": 7, "models": {"sizes": sizes}}
    assert planned(finished, snakemake, change) == {}


def test_a_new_replay_ratio_trains_only_its_own_runs(finished, snakemake):
    jobs = planned(finished, snakemake, {"adaptation": {"replay": [0, 0.25, 0.5]}})
    assert jobs["adapt"] == 9
    assert TRAINING & set(jobs) == {"adapt"}
    assert {"observations", "fit", "scores", "plan"} <= set(jobs)


def test_a_cluster_may_run_every_trajectory_as_a_job_of_its_own(finished, snakemake):
    assert planned(finished, snakemake, {"replays_per_job": 1})["adapt"] == 27
    assert planned(finished, snakemake, {"replays_per_job": 2})["adapt"] == 18


def test_one_core_and_another_split_into_jobs_measure_the_same_bits(finished, tmp_path, snakemake):
    folder = workflow_copy(tmp_path / "ptpp")
    table = "results/smoke/observations.csv"
    (folder / "change.yaml").write_text(yaml.safe_dump({"replays_per_job": 2}))
    done = snakemake(folder, table, *SMOKE, "change.yaml", cores=1)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (folder / table).read_bytes() == (finished / table).read_bytes()


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
    assert trained == {job for job in jobs if job.startswith(("pretrain/", "adapt/"))}
    costs = pd.read_csv(results / "costs.csv")
    assert sum(line["tokens"] or 0 for line in lines) == costs.tokens.sum()
    assert sum(line["flops"] or 0 for line in lines) == pytest.approx(costs.flops.sum())
    assert not list(results.glob(".running/*"))


def test_event_files_on_request_rerun_nothing(finished, snakemake):
    assert planned(finished, snakemake, {"tensorboard": True}) == {}


def test_a_new_size_trains_only_itself(finished, snakemake):
    sizes = yaml.safe_load((finished / "scales" / "smoke.yaml").read_text())["models"]["sizes"]
    new = {"name": "w24", "width": 24, "depth": 1, "heads": 1, "batch_tokens": 256, "seeds": [0]}
    jobs = planned(finished, snakemake, {"models": {"sizes": [*sizes, new]}})
    assert (jobs["pretrain"], jobs["adapt"]) == (3, 3)
    assert TRAINING & set(jobs) == {"pretrain", "adapt"}


def test_a_new_seed_trains_only_itself(finished, snakemake):
    sizes = yaml.safe_load((finished / "scales" / "smoke.yaml").read_text())["models"]["sizes"]
    sizes[0]["seeds"].append(2)
    jobs = planned(finished, snakemake, {"models": {"sizes": sizes}})
    assert (jobs["pretrain"], jobs["adapt"]) == (3, 3)


def test_an_inserted_stage_reruns_itself_and_later_stages(finished, snakemake):
    jobs = planned(finished, snakemake, {"pretraining": {"ptpp": [2, 4, 6, 8]}})
    models = 3
    assert jobs["pretrain"] == 2 * models
    assert jobs["adapt"] == 2 * models
    assert "tokens" not in jobs


def test_a_law_less_refits_nothing(finished, snakemake):
    jobs = planned(finished, snakemake, {"laws": {"target": ["dcpt", "gated", "gated_floor"]}})
    assert "fit" not in jobs
    assert not TRAINING & set(jobs)
    assert {"scores", "predictions", "plan"} <= set(jobs)


def test_a_law_more_fits_only_that_law(finished, snakemake):
    kept = list((finished / "results" / "smoke" / "fits").glob("gated_floor.*"))
    aside = finished / "aside"
    aside.mkdir()
    try:
        for path in kept:
            path.rename(aside / path.name)
        jobs = planned(finished, snakemake, target="laws")
    finally:
        for path in kept:
            (aside / path.name).rename(path)
        aside.rmdir()
    assert jobs["fit"] == 2
    assert not TRAINING & set(jobs)


def test_a_declared_law_is_fitted_beside_the_others_and_trains_nothing(finished, snakemake):
    law = {"name": "mine", "expression": "E + B * n**-alpha * d**-beta * s**eta * p**delta"}
    law["parameters"] = {
        "E": {"low": 0, "high": 100},
        "B": {"low": 0.000001, "high": 100, "scale": "log"},
        **{name: {"low": -1, "high": 2} for name in ("alpha", "beta", "eta", "delta")},
    }
    (finished / "mine.yaml").write_text(yaml.safe_dump(law))
    change = {"laws": {"declared": ["mine.yaml"]}}
    jobs = planned(finished, snakemake, change)
    assert jobs["fit"] == 2
    assert not TRAINING & set(jobs)
    fits = [f"results/smoke/fits/mine.{p}.fr.json" for p in ("early_to_late", "with_anchors")]
    done = snakemake(finished, *fits, *SMOKE, "change.yaml")
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((finished / fits[0]).read_text())["law"] == "mine"

    (finished / "mine.yaml").write_text(yaml.safe_dump(law | {"name": "other"}))
    done = snakemake(finished, *fits, *SMOKE, "change.yaml")
    assert "error: mine.yaml: name is 'other'; accepted is the file's own name" in done.stderr


def test_other_fit_settings_refit_and_retrain_nothing(finished, snakemake):
    jobs = planned(finished, snakemake, {"laws": {"seed": 5}})
    assert jobs["fit"] == 12
    assert not TRAINING & set(jobs)


def test_other_text_is_tokenised_and_trained_anew(finished, snakemake):
    languages = yaml.safe_load((finished / "scales" / "smoke.yaml").read_text())["corpora"]
    languages["languages"][2]["cognates"] = 0.1
    jobs = planned(finished, snakemake, {"corpora": {"languages": languages["languages"]}})
    assert jobs["tokenizer"] == 1
    assert (jobs["pretrain"], jobs["adapt"]) == (9, 9)


@pytest.mark.parametrize(
    "module,reruns,spared",
    [
        ("figures/style.py", {"figure_adaptation", "figure_plan"}, {"adapt", "fit", "scores"}),
        (
            "laws/uncertainty.py",
            {"fit", "comparison", "plan"},
            {"adapt", "observations", "anchors"},
        ),
        ("planning/plans.py", {"plan", "plan_regret", "figure_plan"}, {"adapt", "fit", "scores"}),
        ("laws/fitting.py", {"fit", "scores", "plan"}, TRAINING | {"observations", "anchors"}),
        ("training/engine.py", {"pretrain", "adapt", "fit"}, {"tokenizer", "tokens"}),
        ("progress.py", set(), TRAINING | {"fit", "scores", "plan", "figure_plan"}),
    ],
)
def test_edited_package_code_reruns_what_uses_it(finished, snakemake, module, reruns, spared):
    path = finished / "ptpp" / module
    before = path.read_text()
    try:
        path.write_text(before + "\nANOTHER_CONSTANT = 1\n")
        jobs = planned(finished, snakemake)
    finally:
        path.write_text(before)
    assert reruns <= set(jobs)
    assert not spared & set(jobs)


def test_an_edited_script_reruns_its_rule(finished, snakemake):
    path = finished / "scripts" / "figure_adaptation.py"
    before = path.read_text()
    try:
        path.write_text(before + "\n# edited\n")
        jobs = planned(finished, snakemake)
    finally:
        path.write_text(before)
    assert jobs == {"figure_adaptation": 1}


@pytest.mark.parametrize(
    "change,message",
    [
        ({"pretraining": {"ptp": [1]}}, "config: pretraining: unknown key 'ptp'; did you mean"),
        ({"held_out": {"anchors": {"count": 99}}}, "99 anchors, but sizes w8 have 6 cells"),
        ({"held_out": {"ptpp": 9}}, "held_out.ptpp: 9 is not among pretraining.ptpp"),
    ],
)
def test_a_wrong_configuration_stops_before_anything_runs(finished, snakemake, change, message):
    (finished / "change.yaml").write_text(yaml.safe_dump(change))
    done = snakemake(finished, *SMOKE, "change.yaml")
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_finished_table_is_fitted_and_planned_without_training(finished, snakemake):
    shutil.copy(finished / "results" / "smoke" / "observations.csv", finished / "mine.csv")
    arguments = ["--config", "observations=mine.csv", "scale=mine"]
    done = snakemake(finished, *SMOKE, *arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    mine = finished / "results" / "mine"
    assert not (mine / "checkpoints").exists()
    assert (mine / "plan" / "plan.csv").stat().st_size
    ours = pd.read_csv(finished / "results" / "smoke" / "tables" / "scores.csv")
    pd.testing.assert_frame_equal(pd.read_csv(mine / "tables" / "scores.csv"), ours)


def test_laws_are_judged_from_the_shortest_table_of_one_s_own(finished, snakemake):
    """Only what a table must have: no domain, no base languages, no names; and no plan is asked."""
    table = pd.read_csv(finished / "results" / "smoke" / "observations.csv")
    table = table[
        (table.domain == "fr") & (table.replay < 1) & (table.atpp > 0) & (table.seed == 0)
    ]
    table[["n_params", "ptpp", "replay", "adapt_tokens", "loss"]].to_csv(
        finished / "short.csv", index=False
    )
    unlimited = {"plan": {"forgetting": {"en": None, "ar": None}}}
    (finished / "change.yaml").write_text(yaml.safe_dump(unlimited))
    arguments = ["change.yaml", "--config", "observations=short.csv", "scale=short"]
    done = snakemake(finished, *SMOKE, *arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    short = finished / "results" / "short"
    assert not (short / "checkpoints").exists()
    assert not list(short.glob("fits/forgetting*"))
    assert not list(short.glob("figures/forgetting*"))
    assert pd.read_csv(short / "plan" / "plan.csv").feasible.all()
    bands = pd.read_csv(short / "tables" / "kappa_bands.csv")
    assert set(bands.law) == {"floor", "gated_floor"}
    assert set(bands.protocol) == {"early_to_late"}
    assert bands.reason.str.contains("2 PTPP stages").all()
    verdicts = pd.read_csv(short / "tables" / "identifiability.csv")
    assert set(verdicts.verdict) <= {"identified", "one-sided", "flat", "at bound"}
    coverage = pd.read_csv(short / "tables" / "coverage.csv")
    assert coverage.coverage.between(0, 1).all()


def test_a_missing_table_is_named_even_when_results_of_another_exist(finished, snakemake):
    done = snakemake(finished, *SMOKE, "--config", "observations=typo.csv")
    assert done.returncode != 0
    assert "config: observations: typo.csv: no such file" in done.stderr


def test_a_wrong_table_ends_in_one_line_that_names_the_row(finished, snakemake):
    table = pd.read_csv(finished / "results" / "smoke" / "observations.csv")
    table.loc[3, "loss"] = -1.0
    table.to_csv(finished / "wrong.csv", index=False)
    done = snakemake(finished, *SMOKE, "--config", "observations=wrong.csv", "scale=wrong")
    assert done.returncode != 0
    assert "error: wrong.csv: row 5, column loss: -1; accepted is a number above 0" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (finished / "results" / "wrong" / "observations.csv").exists()


KILLED = {
    "scale": "killed",
    "save_every": 0.2,
    "models": {
        "sizes": [
            {"name": "w16", "width": 16, "depth": 1, "heads": 1, "batch_tokens": 256, "seeds": [0]}
        ]
    },
    "pretraining": {"ptpp": [1, 2, 60]},
    "adaptation": {"replay": [0.5], "controls": [], "atpp": [1, 20]},
    "held_out": {"ptpp": 60, "anchors": {"count": 1, "sizes": ["w16"]}},
}


def test_killed_and_resumed_equals_uninterrupted(tmp_path, snakemake):
    target = "results/killed/observations.csv"
    folders = []
    for name in ("whole", "cut"):
        folder = workflow_copy(tmp_path / name)
        (folder / "change.yaml").write_text(yaml.safe_dump(KILLED))
        folders.append(folder)
    arguments = [target, *SMOKE, "change.yaml"]
    whole, cut = folders
    done = snakemake(whole, *arguments)
    assert done.returncode == 0, done.stderr[-3000:]

    # Killed once while pre-training and once while adapting, each time after a save.
    for rule in ("pretrain", "adapt"):
        command = [sys.executable, "-m", "snakemake", "--cores", "1", *arguments]
        process = subprocess.Popen(
            command,
            cwd=cut,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        saved = f"results/killed/.state/{rule}.w16.ptpp60/**/state.safetensors"
        deadline = time.monotonic() + 120
        while not list(cut.glob(saved)) and time.monotonic() < deadline:
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert list(cut.glob(saved)), f"{rule} saved no state"
        assert not (cut / target).exists()
        assert snakemake(cut, *arguments, "--unlock").returncode == 0
    done = snakemake(cut, *arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "CPT from PTPP 60 at replay 0.5: goes on from its saved state" in done.stderr
    assert (cut / target).read_bytes() == (whole / target).read_bytes()
