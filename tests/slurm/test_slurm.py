"""The workflow through a real SLURM of two virtual nodes, and all that goes wrong there.

One run tells the whole story, since a SLURM job costs seconds: beside what a finished run has, two
models are trained to a further stage. The head process is killed and started again, a training job
is cancelled, another hangs until a time limit ends it. A job that is to be hit is held (SIGSTOP)
once it has saved something, so that no machine is too fast or slow.
"""

import os
import re
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from cluster import cluster, missing
from conftest import ROOT
from workflow import SMOKE, hold, link_workflow, snakemake_command

pytestmark = pytest.mark.skipif(
    bool(missing()),
    reason=f"SLURM is not installed: no {', '.join(missing())} (slurm-wlm, munge)",
)
RESULTS = Path("results/smoke")
TABLE, COSTS = (str(RESULTS / name) for name in ("observations.csv", "costs.csv"))
CONFIG = [*SMOKE, "change.yaml"]
PAGES = [ROOT / "docs" / "slurm.md", ROOT / "docs" / "tutorials" / "cluster.md"]
OF_SLURM = ("sinfo", "squeue", "scontrol", "scancel", "grep")
STAGE = 30  # trained long enough to be hit
# The large size trains on a node's two GPUs and adapts on one.
ASKED = {
    "w8": {"runtime": {"adapt": 10}},
    "w16": {
        "mem_mb": 1500,
        "gpu": {"pretrain": 2, "adapt": 1},
        "slurm_partition": {"pretrain": "gpu"},
    },
}
# Every training of the story, as the comment of its SLURM job names it.
TRAINING = {
    f"rule_{rule}_wildcards_{model}_{STAGE}{rest}"
    for rule, rest in (("pretrain", ""), ("adapt", "_0+0.5+1"))
    for model in ASKED
}


def change():
    """One stage more, and no laws: nothing that SLURM runs depends on them."""
    sizes = yaml.safe_load((ROOT / "scales" / "smoke.yaml").read_text())["models"]["sizes"]
    sizes = [size | {"seeds": [0], "resources": ASKED[size["name"]]} for size in sizes]
    return {
        "save_every": 0.2,
        "models": {"sizes": sizes},
        "pretraining": {"ptpp": [2, 4, 8, STAGE]},
        "held_out": {"ptpp": None},
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


def prepare(folder):
    (folder / "change.yaml").write_text(yaml.safe_dump(change()))
    (folder / "patient").mkdir()
    (folder / "patient" / "config.yaml").write_text(yaml.safe_dump(profile()))
    return folder


@dataclass(frozen=True)
class Held:
    """A training process that was stopped in the middle of its work."""

    job: str  # of SLURM
    limit: str
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
    """A folder with the workflow, and a cluster that it is submitted to."""

    def __init__(self, path: Path, environment: dict):
        self.path = prepare(path)
        self.results = path / RESULTS
        self.environment = environment
        self.logs = []

    def start(self, *arguments):
        """Snakemake, submitting; its output goes to a file of its own."""
        self.logs.append(self.path / f"head{len(self.logs)}.log")
        with open(self.logs[-1], "w") as log:
            return subprocess.Popen(
                snakemake_command("--workflow-profile", "patient", *arguments, cores=None),
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
            command, env=self.environment, capture_output=True, text=True, check=True, timeout=300
        ).stdout

    def jobs(self, *states):
        columns = ("JobID", "Comment", "State", "TimeLimit", "NodeList", "NumCPUs", "MinMemory")
        lines = self.slurm(
            *("squeue", "-h", "-t", ",".join(states) or "all", "--sort=i"),
            *("-O", ",".join(f"{column}:|" for column in (*columns, "tres-per-job"))),
        )
        rows = [line.rstrip("|").split("|") for line in lines.splitlines()]
        return [Job(int(row[0]), *row[1:]) for row in rows]

    def hold(self, job, head, before=None):
        """Stop a training job at work, in another SLURM job than `before`."""
        try:
            mark = hold(self.results, job, head, lambda mark: mark["slurm_job"] != before)
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.said()[-3000:]}") from None
        lines = Path(f"/proc/{mark['pid']}/environ").read_bytes().decode().split("\0")
        environment = dict(line.split("=", 1) for line in lines if "=" in line)
        limit = self.slurm("squeue", "-h", "-j", mark["slurm_job"], "-o", "%l").strip()
        return Held(mark["slurm_job"], limit, environment)

    def log(self, job):
        """What the last attempt at a job wrote."""
        return (self.results / "logs" / f"{job}.log").read_text()

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
def story(tmp_path_factory, smoke_run):
    place = tmp_path_factory.mktemp("slurm")
    with cluster(place / "cluster") as environment:
        folder = Folder(shutil.copytree(smoke_run, place / "submitted"), environment)
        text = Folder(link_workflow(place / "text"), environment)
        here = prepare(shutil.copytree(smoke_run, place / "local"))
        try:
            yield tell(folder, text, here)
        finally:
            for path in folder.logs + text.logs:
                print(path.read_text()[-6000:])


def tell(folder, text, here):
    large, small = f"pretrain/w16.ptpp{STAGE}", f"adapt/w8.ptpp{STAGE}.replay0+0.5+1"
    head = folder.start(TABLE, COSTS, *CONFIG)
    killed = folder.hold(large, head)
    os.killpg(head.pid, signal.SIGKILL)
    head.wait()
    orphans = folder.jobs("RUNNING")
    folder.slurm("scancel", "--name", folder.run_id())
    wait_until(lambda: not folder.jobs("PENDING", "RUNNING", "COMPLETING"))
    assert folder.start("--unlock", *CONFIG).wait(300) == 0, folder.said()

    head = folder.start(TABLE, COSTS, *CONFIG)
    logs = {}
    with ThreadPoolExecutor() as pool:
        hanging = pool.submit(folder.hold, small, head)
        cancelled = folder.hold(large, head, before=killed.job)
        folder.slurm("scancel", cancelled.job)
        hung = hanging.result()
    # What it asked for would take too long here: its limit is a minute from its start.
    folder.slurm("scontrol", "update", f"JobId={hung.job}", "TimeLimit=1")
    # While it hangs there is time for text, and for the run that the story's must equal.
    texts = text.start("results/smoke/tokens/fr.train.bin", *SMOKE)
    local = subprocess.run(
        snakemake_command(TABLE, *CONFIG, cores=1),
        cwd=here,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert local.returncode == 0, local.stderr[-3000:]
    assert texts.wait(1200) == 0, text.said()[-6000:]
    assert head.wait(1200) == 0, folder.said()[-6000:]
    logs["cancelled"] = folder.log(large)
    logs["hung"] = folder.log(small)
    table = (here / TABLE).read_bytes()
    return Story(folder, table, orphans, killed, cancelled, hung, folder.jobs(), logs)


def wait_until(condition, seconds=300):
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
    assert (job.cpus, job.memory, job.limit) == ("1", "2000M", "1:00:00")


def test_slurm_jobs_outlive_a_killed_head_process_until_they_are_cancelled(story):
    assert story.killed.job in {str(job.number) for job in story.orphans}


def went_on_from_where_it_was_stopped(story, stopped, log):
    """SLURM's SIGTERM had the first job save what it had; the second started from just there."""
    saved = re.search(
        r"asked to stop; saved after (\d+) seq", story.folder.slurm_log(stopped.number)
    )
    found = re.search(r"goes on from its saved state \((\d+) seq", log)
    return saved and found and saved.group(1) == found.group(1)


def test_after_a_killed_head_process_training_goes_on_from_its_saved_state(story):
    first, second, last = story.of(f"rule_pretrain_wildcards_w16_{STAGE}")
    assert (first.state, last.state) == ("CANCELLED", "COMPLETED")
    log = story.folder.slurm_log(second.number)  # complete, since it was cancelled later
    assert went_on_from_where_it_was_stopped(story, first, log)


def test_a_cancelled_job_is_submitted_again_and_goes_on_from_its_saved_state(story):
    _, second, last = story.of(f"rule_pretrain_wildcards_w16_{STAGE}")
    assert (second.state, last.state) == ("CANCELLED", "COMPLETED")
    assert str(second.number) == story.cancelled.job
    assert went_on_from_where_it_was_stopped(story, second, story.logs["cancelled"])


def test_a_job_that_meets_its_time_limit_is_given_more_and_goes_on(story):
    first, second = story.of(f"rule_adapt_wildcards_w8_{STAGE}")
    assert (first.state, second.state) == ("TIMEOUT", "COMPLETED")
    assert (story.hung.limit, second.limit) == ("10:00", "20:00")
    assert (first.memory, second.memory) == ("2000M", "4000M")
    assert went_on_from_where_it_was_stopped(story, first, story.logs["hung"])


def test_what_follows_training_ran_beside_the_head_process(story):
    began = (story.folder.path / "change.yaml").stat().st_mtime
    for path in (TABLE, COSTS):
        assert (story.folder.path / path).stat().st_mtime > began


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
