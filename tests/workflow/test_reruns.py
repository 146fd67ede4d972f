"""What runs again after a change, and what does not: dry runs beside a finished run."""

import json
import shutil
from contextlib import contextmanager

import pandas as pd
import pytest
import yaml
from workflow import SMOKE, job_counts

TRAINING = {"tokenizer", "tokens", "pretrain", "adapt"}


@pytest.fixture(scope="module")
def folder(smoke_run, tmp_path_factory):
    """A finished run that may be edited."""
    return shutil.copytree(smoke_run, tmp_path_factory.mktemp("reruns") / "smoke")


@pytest.fixture(scope="module")
def planned(folder, snakemake):
    """A function: jobs per rule that a dry run would start after `change` to the configuration."""

    def plan(change=None, *arguments):
        (folder / "change.yaml").write_text(yaml.safe_dump(change or {}))
        return job_counts(snakemake(folder, "--dry-run", *arguments, *SMOKE, "change.yaml"))

    return plan


@pytest.fixture
def scale(folder):
    return yaml.safe_load((folder / "scales" / "smoke.yaml").read_text())


@contextmanager
def edited(folder, *names):
    """Files with one more line, for a while."""
    before = {folder / name: (folder / name).read_text() for name in names}
    try:
        for path, text in before.items():
            path.write_text(text + "\nANOTHER_CONSTANT = 1\n")
        yield
    finally:
        for path, text in before.items():
            path.write_text(text)


def test_a_second_run_has_nothing_to_do_whatever_its_resources_devices_and_records(planned, scale):
    sizes = scale["models"]["sizes"]
    sizes[0] |= {"devices": 2, "resources": {"mem_mb": 9000, "runtime": {"adapt": 30}, "gpu": 2}}
    change = {"jobs_per_gpu": 3, "save_every": 7, "tensorboard": True, "compile": True}
    assert planned(change | {"models": {"sizes": sizes}}) == {}


def test_a_new_replay_ratio_trains_only_its_own_runs(planned):
    jobs = planned({"adaptation": {"replay": [0, 0.25, 0.5]}})
    assert jobs["adapt"] == 9
    assert TRAINING & set(jobs) == {"adapt"}
    assert {"observations", "fit", "law_tables", "plan"} <= set(jobs)


def test_what_was_measured_of_a_plan_is_in_the_table_once_it_is_kept(planned, folder, snakemake):
    results = folder / "results" / "smoke"
    done = snakemake(folder, "keep_applied", *SMOKE)
    assert done.returncode == 0, done.stderr[-3000:]
    (kept,) = (results / "measured").iterdir()
    try:
        assert pd.read_csv(kept)["run"].unique().tolist() == [kept.name.removesuffix(".csv")]
        jobs = planned()
        assert {"observations", "fit", "plan", "carry_out", "report"} <= set(jobs)
        assert not TRAINING & set(jobs)
    finally:
        shutil.rmtree(results / "measured")
    assert planned() == {}


def test_a_plan_that_cannot_be_carried_out_says_why(folder, snakemake):
    (folder / "my.csv").write_bytes((folder / "results/smoke/observations.csv").read_bytes())
    finished = {"observations": "my.csv", "scale": "other"}
    for change, why in (
        ({"plan": {"n_params": 1_000_000}}, "this run has no model of plan.n_params"),
        ({"held_out": {"ptpp": None}}, "held_out.ptpp: null measures only, so there is no plan"),
        (finished, "observations names a finished table, and no checkpoint"),
    ):
        (folder / "change.yaml").write_text(yaml.safe_dump(change))
        done = snakemake(folder, "--dry-run", "apply", *SMOKE, "change.yaml")
        assert done.returncode == 1 and f"apply: {why}" in done.stdout + done.stderr


def test_a_new_size_and_a_new_seed_train_only_themselves(planned, scale):
    sizes = scale["models"]["sizes"]
    sizes[0]["seeds"].append(2)
    new = {"name": "w24", "width": 24, "depth": 1, "heads": 1, "batch_tokens": 256, "seeds": [0]}
    jobs = planned({"models": {"sizes": [*sizes, new]}})
    assert (jobs["pretrain"], jobs["adapt"]) == (3 + 3, 3 + 3)
    assert TRAINING & set(jobs) == {"pretrain", "adapt"}


def test_an_inserted_stage_reruns_itself_and_later_stages(planned):
    jobs = planned({"pretraining": {"ptpp": [2, 4, 6, 8]}})
    models = 3
    assert jobs["pretrain"] == 2 * models
    assert jobs["adapt"] == 2 * models
    assert "tokens" not in jobs


def test_a_law_less_refits_nothing(planned):
    jobs = planned({"laws": {"target": ["dcpt", "state"]}})
    assert "fit" not in jobs
    assert not TRAINING & set(jobs)
    assert {"law_tables", "plan"} <= set(jobs)


def test_a_law_more_fits_only_that_law(planned, folder):
    aside = folder / "aside"
    aside.mkdir()
    paths = list((folder / "results" / "smoke" / "fits").glob("gated_floor.*"))
    for path in paths:
        path.rename(aside / path.name)
    try:
        jobs = planned(None, "laws")
    finally:
        for path in paths:
            (aside / path.name).rename(path)
        aside.rmdir()
    assert paths and jobs["fit"] == 1  # under all protocols
    assert not TRAINING & set(jobs)


def test_a_declared_law_is_fitted_beside_the_others_and_trains_nothing(planned, folder, snakemake):
    law = {"name": "mine", "expression": "E + B * n**-alpha * d**-beta * s**eta * p**delta"}
    law["parameters"] = {
        "E": {"low": 0, "high": 100},
        "B": {"low": 0.000001, "high": 100, "scale": "log"},
        **{name: {"low": -1, "high": 2} for name in ("alpha", "beta", "eta", "delta")},
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(law))
    jobs = planned({"laws": {"declared": ["mine.yaml"]}})
    assert jobs["fit"] == 1
    assert not TRAINING & set(jobs)
    fit = "results/smoke/fits/mine.early_to_late.fr.json"
    done = snakemake(folder, fit, *SMOKE, "change.yaml")
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((folder / fit).read_text())["law"] == "mine"

    (folder / "mine.yaml").write_text(yaml.safe_dump(law | {"name": "other"}))
    done = snakemake(folder, fit, *SMOKE, "change.yaml")
    assert "error: mine.yaml: name is 'other'; accepted is the file's own name" in done.stderr


def test_other_fit_settings_refit_and_retrain_nothing(planned):
    jobs = planned({"laws": {"seed": 5}})
    assert (jobs["fit"], jobs["fit_forgetting"]) == (3, 1)
    assert not TRAINING & set(jobs)


def test_other_text_is_tokenised_and_trained_anew(planned, scale):
    languages = scale["corpora"]["languages"]
    languages[2]["cognates"] = 0.1
    jobs = planned({"corpora": {"languages": languages}}, "observations")
    assert jobs["tokenizer"] == 1
    assert (jobs["pretrain"], jobs["adapt"]) == (9, 9)


@pytest.mark.parametrize(
    "modules,reruns,spared",
    [
        (
            ["laws/uncertainty.py"],
            {"fit", "law_tables", "plan"},
            {"adapt", "observations", "anchors"},
        ),
        (["planning/plans.py"], {"plan", "plan_regret"}, {"adapt", "fit", "law_tables"}),
        (
            ["laws/fitting.py"],
            {"fit", "law_tables", "plan"},
            TRAINING | {"observations", "anchors"},
        ),
        (["training/engine.py"], {"pretrain", "adapt", "fit"}, {"tokenizer", "tokens"}),
        (["training/application.py"], {"carry_out", "report"}, TRAINING | {"fit", "plan"}),
        (["jobs/progress.py", "errors.py"], set(), TRAINING | {"fit", "law_tables", "plan"}),
    ],
)
def test_edited_package_code_reruns_what_uses_it(planned, folder, modules, reruns, spared):
    with edited(folder, *(f"ptpp/{module}" for module in modules)):
        jobs = planned()
    assert reruns <= set(jobs)
    assert not spared & set(jobs)


def test_an_edited_figure_style_and_an_edited_script_rerun_what_they_draw_and_no_more(
    planned, folder
):
    with edited(folder, "ptpp/report/figures/canvas.py", "scripts/planner_page.py"):
        jobs = planned()
    assert jobs.pop("planner_page") == jobs.pop("report") == 1
    assert jobs and all("figure" in rule for rule in jobs)
