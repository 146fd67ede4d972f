"""The whole workflow through a real SLURM of two virtual nodes, and all that goes wrong there.

One run tells the whole story, since a SLURM job costs seconds: the head process is killed and
started again, a training job is cancelled, another hangs until its time limit ends it. A job that
is to be hit is held (SIGSTOP) once it has saved something, so that no machine is too fast or slow.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from cluster import cluster, missing
from conftest import ROOT

pytestmark = [
    pytest.mark.skipif(
        bool(missing()),
        reason=f"SLURM is not installed: no {', '.join(missing())} (slurm-wlm, munge)",
    ),
    pytest.mark.timeout(900),
]
RESULTS = Path("results/cluster")
TABLE = str(RESULTS / "observations.csv")
CONFIG = ["--configfile", "scales/smoke.yaml", "change.yaml"]
PAGES = [ROOT / "docs" / "slurm.md", ROOT / "docs" / "tutorials" / "cluster.md"]
OF_SLURM = ("sinfo", "squeue", "scontrol", "scancel", "grep")
SIZE = {"depth": 1, "heads": 1, "batch_tokens": 256, "seeds": [0]}
# The smoke scale, with trainings long enough to be hit and few fits. The small size has a minute to
# adapt, the large one trains on a node's two GPUs and adapts on one.
CHANGE = {
    "scale": "cluster",
    "save_every": 0.2,
    "models": {
        "sizes": [
            SIZE | {"name": "w8", "width": 8, "resources": {"runtime": {"adapt": 1}}},
            SIZE
            | {
                "name": "w16",
                "width": 16,
                "resources": {
                    "mem_mb": 1500,
                    "gpu": {"pretrain": 2, "adapt": 1},
                    "slurm_partition": {"pretrain": "gpu"},
                },
            },
        ]
    },
    "pretraining": {"ptpp": [20, 40, 60]},
    "adaptation": {"replay": [0, 0.5], "controls": [], "atpp": [1, 5, 20]},
    "held_out": {"ptpp": 60},
    "laws": {"target": ["dcpt", "gated_floor"], "bootstrap": 10},
    "plan": {"ptpp": 60, "max_atpp": 20},
}
# Every training of the story, as the comment of its SLURM job names it.
TRAINING = {
    f"rule_{rule}_wildcards_{model}_{ptpp}{rest}"
    for rule, rest in (("pretrain", ""), ("adapt", "_0+0.5"))
    for model in ("w8", "w16")
    for ptpp in (20, 40, 60)
}


def profile():
    """The project's profile, asking more often: after 8 s, 18 s more, 28 s more.

    Jobs last some 10 to 25 s here, by what else the machine does, so the second look finds them.
    """
    settings = yaml.safe_load((ROOT / "profiles" / "slurm" / "config.yaml").read_text())
    settings["slurm-init-seconds-before-status-checks"] = 8
    settings["max-status-checks-per-second"] = 1
    settings["latency-wait"] = 5
    return settings


def workflow(folder):
    names = ("Snakefile", "config.yaml", "rules", "scripts", "schemas", "ptpp", "scales")
    for name in (*names, "resources"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "report", folder / "report")
    (folder / "change.yaml").write_text(yaml.safe_dump(CHANGE))
    (folder / "profiles" / "slurm").mkdir(parents=True)
    (folder / "profiles" / "slurm" / "config.yaml").write_text(yaml.safe_dump(profile()))
    return folder


@dataclass(frozen=True)
class Held:
    """A training process that was stopped in the middle of its work."""

    pid: int
    job: str  # of SLURM
    environment: dict[str, str]


@dataclass(frozen=True)
class Job:
    """A SLURM job as squeue remembers it."""

    number: int
    what: str
    state: str
    limit: str
    node: str
    cpus: str
    memory: str
    gpus: str


class Folder:
    """A copy of the workflow, and a cluster that it is submitted to."""

    def __init__(self, path: Path, environment: dict):
        self.path = workflow(path)
        self.environment = environment
        self.logs = []

    def start(self, *arguments):
        """Snakemake, submitting; its output goes to a file of its own."""
        self.logs.append(self.path / f"head{len(self.logs)}.log")
        command = [sys.executable, "-m", "snakemake", "--workflow-profile", "profiles/slurm"]
        with open(self.logs[-1], "w") as log:
            return subprocess.Popen(
                [*command, *arguments, *CONFIG],
                cwd=self.path,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def said(self):
        return self.logs[-1].read_text()

    def run_id(self):
        return re.search(r"SLURM run ID: (\S+)", self.said()).group(1)

    def slurm(self, *command):
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    def jobs(self, *states):
        columns = ("JobID", "Comment", "State", "TimeLimit", "NodeList", "NumCPUs", "MinMemory")
        lines = self.slurm(
            *("squeue", "-h", "-t", ",".join(states) or "all", "--sort=i"),
            *("-O", ",".join(f"{column}:|" for column in (*columns, "tres-per-job"))),
        )
        rows = [line.rstrip("|").split("|") for line in lines.splitlines()]
        return [Job(int(row[0]), *row[1:]) for row in rows]

    def hold(self, rule, model, ptpp, head):
        """Stop a training job once it has saved something and is still at work."""
        states = self.path / "results" / "cluster" / ".state" / f"{rule}.{model}.ptpp{ptpp}"
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and head.poll() is None:
            if any(states.rglob("state.safetensors")):
                for process in Path("/proc").glob("[0-9]*"):
                    held = self._held(process, rule, model, ptpp)
                    if held:
                        return held
            time.sleep(0.02)
        raise AssertionError(f"no {rule} of {model} to hold:\n{self.said()[-3000:]}")

    def _held(self, process, rule, model, ptpp):
        try:
            if (
                not (process / "cmdline")
                .read_bytes()
                .rstrip(b"\0")
                .endswith(f".{rule}.py".encode())
            ):
                return None
            lines = (process / "environ").read_bytes().decode().split("\0")
            environment = dict(line.split("=", 1) for line in lines if "=" in line)
            job = environment["SLURM_JOB_ID"]
            wanted = f"rule_{rule}_wildcards_{model}_{ptpp}"
            if not self.slurm("squeue", "-h", "-j", job, "-o", "%k").startswith(wanted):
                return None
            os.kill(int(process.name), signal.SIGSTOP)
        except (OSError, KeyError, subprocess.CalledProcessError):
            return None  # it ended while we looked
        return Held(int(process.name), job, environment)

    def log(self, rule, name):
        """What the last attempt at a job wrote."""
        return (self.path / "results" / "cluster" / "logs" / rule / f"{name}.log").read_text()

    def slurm_log(self, number):
        """What a failed SLURM job printed."""
        (path,) = (self.path / ".snakemake" / "slurm_logs").rglob(f"{number}.log")
        return path.read_text()


@dataclass(frozen=True)
class Story:
    folder: Folder
    local: bytes  # the table of a run without SLURM
    orphans: list[Job]  # still there after their head process was killed
    killed: Held
    cancelled: Held
    hung: Held
    jobs: list[Job]
    logs: dict[str, str]

    def of(self, what):
        return [job for job in self.jobs if job.what.startswith(what)]


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    with cluster(tmp_path_factory.mktemp("slurm")) as environment:
        folder = Folder(tmp_path_factory.mktemp("submitted"), environment)
        try:
            yield tell(folder, workflow(tmp_path_factory.mktemp("local")))
        finally:
            for path in folder.logs:
                print(path.read_text()[-6000:])


def tell(folder, here):
    head = folder.start()
    killed = folder.hold("pretrain", "w16", 20, head)
    os.killpg(head.pid, signal.SIGKILL)
    head.wait()
    orphans = folder.jobs("RUNNING")
    folder.slurm("scancel", "--name", folder.run_id())
    wait_until(lambda: not folder.jobs("PENDING", "RUNNING", "COMPLETING"))
    assert folder.start("--unlock").wait(120) == 0, folder.said()

    head = folder.start()
    logs = {}
    with ThreadPoolExecutor() as pool:
        hanging = pool.submit(folder.hold, "adapt", "w8", 20, head)
        cancelled = folder.hold("pretrain", "w16", 40, head)
        logs["killed"] = folder.log("pretrain", "w16.ptpp20")
        folder.slurm("scancel", cancelled.job)
        hung = hanging.result()
    # While it hangs there is time for the run it must equal.
    command = [sys.executable, "-m", "snakemake", "--cores", "1", TABLE, *CONFIG]
    local = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=600)
    assert local.returncode == 0, local.stderr[-3000:]
    assert head.wait(600) == 0, folder.said()[-6000:]
    logs["cancelled"] = folder.log("pretrain", "w16.ptpp40")
    logs["hung"] = folder.log("adapt", "w8.ptpp20.replay0+0.5")
    table = (here / TABLE).read_bytes()
    return Story(folder, table, orphans, killed, cancelled, hung, folder.jobs(), logs)


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_the_table_is_that_of_a_run_without_slurm(story):
    assert (story.folder.path / TABLE).read_bytes() == story.local


def test_every_training_job_was_run_by_slurm_and_nothing_small_was(story):
    done = [job.what for job in story.jobs if job.state == "COMPLETED"]
    small = [what for what in done if what not in TRAINING]
    assert set(done) >= TRAINING
    assert set(small) == {"rule_text_tokenizer_tokens"}


def test_both_nodes_trained(story):
    trained = {job.node for job in story.jobs if job.state == "COMPLETED" and job.what in TRAINING}
    assert trained == {"n1", "n2"}


def test_the_tokenizer_and_all_token_stores_are_one_job_of_one_member_s_width(story):
    (job,) = story.of("rule_text")
    assert (job.cpus, job.memory, job.limit) == ("1", "2000M", "2:20:00")


def test_slurm_jobs_outlive_a_killed_head_process_until_they_are_cancelled(story):
    assert story.killed.job in {str(job.number) for job in story.orphans}


def went_on_from_where_it_was_told_to_stop(story, stopped, log):
    """SLURM's SIGTERM had the first job save what it had; the second started from just there."""
    saved = re.search(
        r"asked to stop; saved after (\d+) seq", story.folder.slurm_log(stopped.number)
    )
    found = re.search(r"goes on from its saved state \((\d+) seq", log)
    return saved and found and saved.group(1) == found.group(1)


def test_after_a_killed_head_process_training_goes_on_from_its_saved_state(story):
    first, second = story.of("rule_pretrain_wildcards_w16_20")
    assert (first.state, second.state) == ("CANCELLED", "COMPLETED")
    assert went_on_from_where_it_was_told_to_stop(story, first, story.logs["killed"])


def test_a_cancelled_job_is_submitted_again_and_goes_on_from_its_saved_state(story):
    first, second = story.of("rule_pretrain_wildcards_w16_40")
    assert (first.state, second.state) == ("CANCELLED", "COMPLETED")
    assert str(first.number) == story.cancelled.job
    assert went_on_from_where_it_was_told_to_stop(story, first, story.logs["cancelled"])


def test_a_job_that_meets_its_time_limit_is_given_more_and_goes_on(story):
    first, second = story.of("rule_adapt_wildcards_w8_20")
    assert (first.state, second.state) == ("TIMEOUT", "COMPLETED")
    assert (first.limit, second.limit) == ("1:00", "2:00")
    assert (first.memory, second.memory) == ("2000M", "4000M")
    assert went_on_from_where_it_was_told_to_stop(story, first, story.logs["hung"])


def test_the_rest_of_the_workflow_followed_up_to_the_report(story):
    results = story.folder.path / RESULTS
    for name in ("tables/scores.csv", "figures/calibration.png", "plan/plan.csv", "report.html"):
        assert (results / name).stat().st_size


def test_each_size_asks_for_its_own_memory_and_gpus(story):
    done = [job for job in story.jobs if job.state == "COMPLETED" and job.what in TRAINING]
    asked = {(job.what.split("_")[1], job.what.split("_")[3], job.gpus) for job in done}
    assert asked == {
        ("pretrain", "w8", "N/A"),
        ("adapt", "w8", "N/A"),
        ("pretrain", "w16", "gres:gpu:2"),
        ("adapt", "w16", "gres:gpu:1"),
    }
    memory = {(job.what.split("_")[3], job.memory) for job in done}  # the second by its retry
    assert memory == {("w8", "2000M"), ("w8", "4000M"), ("w16", "1500M"), ("w16", "3000M")}


def test_a_job_sees_the_gpus_it_asked_for_and_takes_one_of_them_to_train_on(story):
    seen = story.cancelled.environment["CUDA_VISIBLE_DEVICES"]
    assert sorted(seen.split(",")) == ["0", "1"]
    assert re.search(r"trains on GPU-n[12]-[01]-\d+$", story.logs["cancelled"], re.MULTILINE)
    assert "CUDA_VISIBLE_DEVICES" not in story.hung.environment
    assert "trains on" not in story.logs["hung"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_says_of_slurm_itself_runs(story, page):
    blocks = re.findall(r"^```\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    commands = [line for line in lines if line.startswith(OF_SLURM)]
    assert commands
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command}"],
            cwd=story.folder.path,
            env=story.folder.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
