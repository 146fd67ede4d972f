"""What a start of the workflow reads: the command line, a finished table, its own arguments."""

import csv
import os
import shlex
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from conftest import ROOT
from workflow import SMOKE, job_counts, link_workflow

TABLE = ROOT / "resources" / "observations" / "laptop-real.csv"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return link_workflow(tmp_path_factory.mktemp("start"))


def test_keys_are_set_on_the_command_line_by_their_types(folder, snakemake):
    keys = ["tensorboard=true", "plan={law: dcpt, max_flops: 1e21}", "scale=7", "replays_per_job=1"]
    jobs = job_counts(snakemake(folder, "--dry-run", "observations", *SMOKE, "--config", *keys))
    assert jobs["adapt"] == 27, "every trajectory is a job of its own"
    assert "report" not in jobs, "the report is made only where all or report is asked for"


def test_jobs_are_looked_for_when_one_ends_and_no_more_often(tmp_path, snakemake):
    folder = link_workflow(tmp_path / "many")
    (folder / "many.smk").write_text(
        'include: "Snakefile"\n'
        "rule each:\n    output: 'each.{n}'\n    shell: 'sleep 0.7; touch {output}'\n"
    )
    names = [f"each.{n}" for n in range(6)]
    done = snakemake(folder, "-s", "many.smk", "--verbose", *SMOKE, "--", *names, cores=1)
    assert done.returncode == 0, done.stderr
    assert 6 <= done.stderr.count("Ready jobs:") <= 8, "once a second and finished job more"


@pytest.mark.parametrize(
    "entry,message",
    [
        ("plan={law: gatd}", "error: config: plan.law: found 'gatd'; accepted: dcpt, gated"),
        ("jobs_per_gpu=many", "error: config: jobs_per_gpu: found 'many'; expected integer"),
        ("plan={lw: gated}", "error: config: plan: unknown key 'lw'; did you mean 'law'?"),
    ],
)
def test_a_wrong_configuration_ends_in_one_line_that_starts_with_error(
    folder, snakemake, entry, message
):
    done = snakemake(folder, "--dry-run", *SMOKE, "--config", entry)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "config:" in line]
    assert line.startswith(message)
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def foreign(folder):
    """The name of a scale whose table has spaces after commas, and another name for n_params."""
    with TABLE.open(newline="") as stream:
        header, *rows = csv.reader(stream)
    header = ["N_millions" if name == "n_params" else name for name in header]
    place = header.index("N_millions")
    for row in rows:
        row[place] = repr(float(row[place]) / 1e6)
    lines = [", ".join(row) for row in (header, *rows)]
    (folder / "foreign.csv").write_text("\n".join(lines) + "\n")
    change = {"scale": "foreign", "observations": "foreign.csv", "where": "ptpp > 20"}
    change["columns"] = {"N_millions": "n_params*1e6"}
    (folder / "foreign.yaml").write_text(yaml.safe_dump(change))
    return "foreign"


def test_spaces_after_commas_drop_no_forgetting_law(folder, foreign, snakemake):
    done = snakemake(folder, "--dry-run", "laws", "--configfile", f"{foreign}.yaml")
    jobs = job_counts(done)
    assert (jobs["fit"], jobs["fit_forgetting"]) == (6, 1)


def test_a_law_of_base_losses_needs_them_in_a_finished_table(folder, snakemake):
    table = pd.read_csv(TABLE).query("atpp > 0")
    table.to_csv(folder / "adapted.csv", index=False)
    arguments = ["--dry-run", "laws", "--config", "observations=adapted.csv", "scale=adapted"]
    done = snakemake(folder, *arguments)
    assert job_counts(done)["fit"] == 4
    assert "adapted.csv: state, state_without_offset read base losses, but not" in done.stderr
    assert "they are left out, and the plan is by gated_floor" in done.stderr
    done = snakemake(folder, *arguments, "laws={target: [state]}")
    assert done.returncode == 1
    assert "error: config: laws.target: adapted.csv: state read base losses" in done.stderr


def test_a_script_runs_outside_snakemake_and_reads_the_columns_and_rows_configured(folder, foreign):
    command = [sys.executable, "scripts/_mock.py", "observations"]
    command += ["--configfile", f"{foreign}.yaml"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    table = pd.read_csv(folder / "results" / foreign / "observations.csv")
    expected = pd.read_csv(TABLE).query("ptpp > 20")
    assert len(table) == len(expected) > 0
    assert set(table["n_params"]) == set(expected["n_params"])


def test_the_report_says_which_arguments_make_it_anew(folder, snakemake):
    """Asked of one rule's job, since the report itself takes a finished run."""
    (folder / "second.yaml").write_text("jobs_per_gpu: 2")
    keys = ["scale=other", "plan={law: dcpt}"]
    arguments = [*SMOKE, "second.yaml", "--config", *keys]
    code = "import json; from _mock import mock_snakemake; print(mock_snakemake('cost_estimate', "
    code += "['scales/smoke.yaml', 'second.yaml'], {'scale': 'other', 'plan': {'law': 'dcpt'}})"
    code += ".config['arguments'])"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "scripts")])}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    words = shlex.split(done.stdout.splitlines()[-1])
    assert words[:4] == ["--configfile", "scales/smoke.yaml", "second.yaml", "--config"]
    runs = [
        job_counts(snakemake(folder, "--dry-run", "report", *each)) for each in (words, arguments)
    ]
    assert runs[0] == runs[1]
    assert '{{ c["arguments"] }}' in (ROOT / "report" / "workflow.rst").read_text()
