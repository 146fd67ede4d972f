"""Models over two nodes of a real SLURM: four processes each, stopped by it and gone on with.

The first story is of pre-training; the second of all that follows, and of a model from elsewhere.
"""

import contextlib
import csv
import json
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import yaml
from cluster import cluster, missing
from conftest import ROOT
from own_models import save_llama
from safetensors.torch import load_file
from workflow import SMOKE, snakemake_command

from ptpp.models.cpu import load_checkpoint
from ptpp.models.sizes import Shape

pytestmark = [
    pytest.mark.skipif(
        bool(missing()),
        reason=f"SLURM is not installed: no {', '.join(missing())} (slurm-wlm, munge)",
    ),
    pytest.mark.long,  # minutes of waiting for SLURM; parts run in test_group and test_profile
]
NODES = {"nodes": 2, "devices": 2, "resources": {"mem": "900MB", "gpu": 2, "runtime": 10}}
STAGE = "w8.ptpp8"
TRUNK = f"results/smoke/trunks/{STAGE}.safetensors"


def rows(path):
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


def prepare(smoke_run, folder, **size):
    """A finished run but for the last stage of its first size, at a rate that keeps rounding small.

    Returns the arguments that train it.
    """
    shutil.copytree(smoke_run, folder)
    results = folder / "results" / "smoke"
    shutil.rmtree(results / ".state" / "finished")
    for path in (*results.glob(f"*/{STAGE}*"), results / "checkpoints" / "w8" / "ptpp8"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    sizes = yaml.safe_load((ROOT / "scales" / "smoke.yaml").read_text())["models"]["sizes"]
    sizes[0] |= size
    write_settings(folder, sizes)
    return ["--rerun-triggers", "mtime", *SMOKE, "change.yaml", "--", TRUNK]


def write_settings(folder, sizes, **sections):
    """The configuration, at a rate that keeps rounding small, and a profile that asks often."""
    change = {"save_every": 0, "models": {"sizes": sizes}, "pretraining": {"learning_rate": 0.001}}
    (folder / "change.yaml").write_text(yaml.safe_dump(change | sections))
    profile = yaml.safe_load((ROOT / "profiles" / "slurm" / "config.yaml").read_text())
    profile |= {"slurm-init-seconds-before-status-checks": 2, "max-status-checks-per-second": 1}
    (folder / "slurm").mkdir()
    (folder / "slurm" / "config.yaml").write_text(yaml.safe_dump(profile | {"latency-wait": 5}))


@dataclass(frozen=True)
class Story:
    one: Path  # results of one process
    four: Path
    jobs: list[list[str]]  # what SLURM was asked for
    stopped: str  # what the cancelled job printed


@pytest.fixture(scope="module")
def story(tmp_path_factory, smoke_run):
    """A stage on two nodes, cancelled once it has saved something; Snakemake submits it again."""
    place = tmp_path_factory.mktemp("nodes")
    here, folder = place / "one", place / "four"
    command = snakemake_command(*prepare(smoke_run, here), cores=1)
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-3000:]
    arguments = ["--workflow-profile", "slurm", *prepare(smoke_run, folder, **NODES)]
    results, log = folder / "results" / "smoke", place / "head.log"
    with cluster(place / "cluster") as environment, open(log, "w") as said:

        def squeue(columns):
            command = ["squeue", "-h", "-t", "all", "--sort=i", "-O", columns]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            return [line.split() for line in done.stdout.splitlines()]

        output = {"cwd": folder, "env": environment, "stdout": said, "stderr": subprocess.STDOUT}
        head = subprocess.Popen(snakemake_command(*arguments, cores=None), **output)
        try:
            while not (results / ".state" / f"pretrain.{STAGE}" / "state.safetensors").exists():
                assert head.poll() is None, log.read_text()[-3000:]
                time.sleep(0.02)
            (job,) = squeue("JobID")
            subprocess.run(["scancel", *job], env=environment, check=True)
            assert head.wait(1200) == 0, log.read_text()[-6000:]
        finally:
            head.kill()
        jobs = squeue("State:20,NumNodes:9,NumTasks:9,NumCPUs:9,MinMemory:20,tres-per-node:20")
        (path,) = (folder / ".snakemake" / "slurm_logs").rglob(f"{job[0]}.log")
        return Story(here / "results" / "smoke", results, jobs, path.read_text())


def test_each_node_is_asked_for_its_gpus_processors_and_memory(story):
    each = ["2", "2", "4", "900M", "gres:gpu:2"]
    assert story.jobs == [["CANCELLED", *each], ["COMPLETED", *each]]


def test_a_cancelled_run_over_nodes_saves_and_goes_on(story):
    (saved,) = re.findall(r"asked to stop; saved after (\d+) seq", story.stopped)
    log = (story.four / "logs" / "pretrain" / f"{STAGE}.log").read_text()
    assert re.findall(r"goes on from its saved state \((\d+) seq", log) == [saved]
    assert not list((story.four / "runs").glob(".*"))


def test_four_processes_on_two_nodes_train_what_one_does(story):
    name = f"runs/{STAGE}.zero_shot.csv"
    one, four = (
        [float(row["loss"]) for row in rows(path / name)] for path in (story.one, story.four)
    )
    assert len(one) == 3 and four == pytest.approx(one, abs=2e-5)
    one, four = (
        load_file(path / f"trunks/{STAGE}.safetensors") for path in (story.one, story.four)
    )
    assert one["trunk.steps"] == four["trunk.steps"] > 0
    costs = rows(story.four / f"costs/{STAGE}.pretrain.csv")
    assert [row["devices"] for row in costs] == ["4"]
    load_checkpoint(story.four / "checkpoints" / "w8" / "ptpp8")


# --- all that follows pre-training

OWN = "llama.ptpp8"  # adopted and adapted; the model that the plan is for is one of ours
ADAPTED = f"runs/{OWN}.replay0+0.5+1.csv"
APPLIED = "applied/observations.csv"


def prepare_adaptation(smoke_run, folder, **sizes_have):
    """A finished run but for its carried-out plan, and a model from elsewhere beside its own.

    Returns the arguments that adapt that model, and carry out the plan.
    """
    shutil.copytree(smoke_run, folder)
    results = folder / "results" / "smoke"
    for path in (results / "applied", results / ".state" / "finished"):
        shutil.rmtree(path)
    shutil.copytree(results / "tokenizer", folder / "brought")
    save_llama(folder / "brought" / "llama")
    n_params, planned = 23_216, Shape(16, 1, 1, 32, 300).n_params  # else for the largest, that one
    own = {
        **{"name": "llama", "n_params": n_params, "learning_rate": 0.001, "batch_tokens": 256},
        **{"seeds": [0], "checkpoints": [{"ptpp": 8, "model": "brought/llama"}]},
    }
    own["checkpoints"][0]["tokens"] = 8 * n_params
    sizes = yaml.safe_load((ROOT / "scales" / "smoke.yaml").read_text())["models"]["sizes"]
    sizes = [size | sizes_have for size in (*sizes, own)]
    write_settings(folder, sizes, tokenizer={"model": "brought"}, plan={"n_params": planned})
    targets = (f"results/smoke/{name}" for name in (ADAPTED, APPLIED))
    rules = ["--allowed-rules", "adopt", "adapt", "carry_out"]  # the plan stays what it is
    return ["--rerun-triggers", "mtime", *rules, *SMOKE, "change.yaml", "--", *targets]


@dataclass(frozen=True)
class Adaptation:
    one: Path  # results of one process
    four: Path
    jobs: list[list[str]]  # by when they were submitted
    stopped: str  # what the job printed that met its time limit


@pytest.fixture(scope="module")
def adaptation(tmp_path_factory, smoke_run):
    """A model is adopted and adapted, and a plan carried out, on two nodes each.

    Adaptation is held once it has saved something, until its time limit ends it.
    """
    place = tmp_path_factory.mktemp("adapted")
    here, folder = place / "one", place / "four"
    arguments = prepare_adaptation(smoke_run, here)
    command = snakemake_command(*arguments, cores=1)
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-3000:]
    nodes = NODES | {"resources": NODES["resources"] | {"runtime": 60}}  # enough where it is slow
    arguments = ["--workflow-profile", "slurm", *prepare_adaptation(smoke_run, folder, **nodes)]
    results, log = folder / "results" / "smoke", place / "head.log"
    with cluster(place / "cluster") as environment, open(log, "w") as said:

        def slurm(*command):
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            return done.stdout

        output = {"cwd": folder, "env": environment, "stdout": said, "stderr": subprocess.STDOUT}
        head = subprocess.Popen(snakemake_command(*arguments, cores=None), **output)
        try:
            while not any(results.glob(f".state/adapt.{OWN}/*/state.safetensors")):
                assert head.poll() is None, log.read_text()[-3000:]
                time.sleep(0.02)
            held = hold_processes(folder)
            assert len(held) == 4
            number = json.loads((results / f".running/adapt.{OWN}.replay0+0.5+1.json").read_text())
            slurm("scontrol", "update", f"JobId={number['slurm_job']}", "TimeLimit=1")
            assert head.wait(1800) == 0, log.read_text()[-6000:]
        finally:
            head.kill()
        columns = "Comment:|,State:|,NumNodes:|,NumTasks:|,TimeLimit:|"
        lines = slurm("squeue", "-h", "-t", "all", "--sort=i", "-O", columns).splitlines()
        jobs = [line.rstrip("|").split("|") for line in lines]
        (path,) = (folder / ".snakemake" / "slurm_logs").rglob(f"{number['slurm_job']}.log")
        return Adaptation(here / "results" / "smoke", results, jobs, path.read_text())


def hold_processes(folder):
    """Stop the processes that train a model together, in the middle of their work."""
    held = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            is_one = "ptpp.training.processes" in process.cmdline()
            if is_one and process.name() != "srun" and process.cwd() == str(folder):
                process.suspend()
                held.append(process)
    return held


def test_every_job_over_nodes_has_as_many_and_the_one_that_was_cut_off_has_more_time(adaptation):
    jobs = sorted((job[0].split("_wildcards")[0], *job[1:]) for job in adaptation.jobs)
    assert jobs == [
        ("rule_adapt", "COMPLETED", "2", "2", "2:00:00"),
        ("rule_adapt", "TIMEOUT", "2", "2", "1:00"),
        ("rule_adopt", "COMPLETED", "2", "2", "1:00:00"),
        ("rule_carry_out", "COMPLETED", "2", "2", "1:00:00"),
    ]


def test_adaptation_over_nodes_goes_on_after_a_time_limit(adaptation):
    (saved,) = re.findall(r"asked to stop; saved after (\d+) seq", adaptation.stopped)
    log = (adaptation.four / f"logs/adapt/{OWN}.replay0+0.5+1.log").read_text()
    assert re.findall(r"goes on from its saved state \((\d+) seq", log) == [saved]
    assert not list((adaptation.four / "runs").glob(".*"))
    assert not list((adaptation.four / "applied").glob(".*"))
    assert not list((adaptation.four / ".state").glob("adapt.*"))


@pytest.mark.parametrize("name", [f"runs/{OWN}.zero_shot.csv", ADAPTED, APPLIED])
def test_four_processes_on_two_nodes_measure_what_one_does(adaptation, name):
    one, four = (rows(path / name) for path in (adaptation.one, adaptation.four))
    expected = [float(row["loss"]) for row in one]
    assert [float(row["loss"]) for row in four] == pytest.approx(expected, abs=2e-5)
    decided = ("run", "size", "n_params", "ptpp", "replay", "atpp", "domain")
    assert [[row[key] for key in decided] for row in four] == [
        [row[key] for key in decided] for row in one
    ]


def test_what_a_plan_leaves_over_nodes_is_a_model_as_of_one_process(adaptation):
    one, four = (
        load_file(path / "applied/checkpoint/model.safetensors")
        for path in (adaptation.one, adaptation.four)
    )
    assert {name: each.shape for name, each in one.items()} == {
        name: each.shape for name, each in four.items()
    }
    costs = [*rows(adaptation.four / "applied/cost.csv")]
    costs += rows(adaptation.four / f"costs/{OWN}.adopt.csv")
    costs += rows(adaptation.four / f"costs/{OWN}.replay0+0.5+1.csv")
    assert len(costs) == 5 and {row["devices"] for row in costs} == {"4"}
