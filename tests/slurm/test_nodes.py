"""One model over two nodes of a real SLURM: four processes, stopped by it and gone on with."""

import csv
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from cluster import cluster, missing
from conftest import ROOT
from safetensors.torch import load_file
from workflow import SMOKE, snakemake_command

from ptpp.models.cpu import load_checkpoint

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
    change = {"save_every": 0, "models": {"sizes": sizes}, "pretraining": {"learning_rate": 0.001}}
    (folder / "change.yaml").write_text(yaml.safe_dump(change))
    profile = yaml.safe_load((ROOT / "profiles" / "slurm" / "config.yaml").read_text())
    profile |= {"slurm-init-seconds-before-status-checks": 2, "max-status-checks-per-second": 1}
    (folder / "slurm").mkdir()
    (folder / "slurm" / "config.yaml").write_text(yaml.safe_dump(profile | {"latency-wait": 5}))
    return ["--rerun-triggers", "mtime", *SMOKE, "change.yaml", "--", TRUNK]


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
