"""A run that is looked at, killed and started again; and one that fails."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import yaml
from workflow import SMOKE, hold, job_counts, read_mark, snakemake_command

from ptpp.jobs.heartbeat import is_alive, read_records

# A stage more than the smoke scale has, long enough to be held in the middle of its training.
STAGE = 60
CHANGE = {"pretraining": {"ptpp": [2, 4, 8, STAGE]}, "save_every": 0.2, "tensorboard": True}
ARGUMENTS = (*SMOKE, "change.yaml")
ONE_GROUP = [f"runs/w16.ptpp{STAGE}.{what}.csv" for what in ("zero_shot", "replay0+0.5+1")]
TWO_GROUPS = [f"runs/w16.ptpp{STAGE}.{what}.csv" for what in ("replay0+0.5", "replay1")]
PRETRAINING, ADAPTATION = f"pretrain/w16.ptpp{STAGE}", f"adapt/w16.ptpp{STAGE}.replay0+0.5"
RESULTS = "results/smoke"


class Folder:
    """A finished run whose configuration has changed since."""

    def __init__(self, path, smoke_run, snakemake, **change):
        self.path = shutil.copytree(smoke_run, path)
        self.results = self.path / RESULTS
        self._snakemake = snakemake
        (path / "change.yaml").write_text(yaml.safe_dump(CHANGE | change))

    def run(self, *arguments, cores=2):
        return self._snakemake(self.path, *arguments, cores=cores)

    def start(self, *arguments):
        """The same in processes of their own, which end together."""
        return subprocess.Popen(
            snakemake_command(*arguments, cores=1),
            cwd=self.path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def kill(self, process, job):
        mark = read_mark(self.results, job)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        while is_alive(mark, mark["at"]):  # on a busy machine it takes a while to die
            time.sleep(0.05)

    def status(self, *arguments):
        """Printed text of `snakemake status`, and what it left for programs."""
        done = self.run("status", *(arguments or ARGUMENTS))
        assert done.returncode == 0, done.stderr
        return done.stdout, json.loads((self.results / "status.json").read_text())

    def locks(self):
        return {path: path.read_text() for path in self.path.glob(".snakemake/locks/*")}

    def losses(self, names):
        tables = [pd.read_csv(self.results / name) for name in names]
        return pd.concat(tables, ignore_index=True)


@pytest.fixture(scope="module")
def cut(smoke_run, tmp_path_factory, snakemake):
    return Folder(tmp_path_factory.mktemp("cut") / "smoke", smoke_run, snakemake, replays_per_job=2)


@pytest.fixture
def targets():
    return [f"{RESULTS}/{name}" for name in (ONE_GROUP[0], *TWO_GROUPS)]


def test_status_counts_every_job_of_a_complete_run(cut):
    jobs = job_counts(cut.run("--dry-run", "--forceall", *ARGUMENTS))
    text, status = cut.status()
    table = pd.DataFrame(status["table"])
    assert table.iloc[-1]["jobs"] == sum(jobs.values())
    by_kind = table.groupby("what")["jobs"].sum()
    assert by_kind["pre-training"] == jobs["pretrain"]
    assert by_kind["adaptation"] == jobs["adapt"]
    assert by_kind["text"] == jobs["tokenizer"] + jobs["tokens"]
    assert not status["running"] and not status["interrupted"] and not status["failed"]
    assert "\nrunning\n" not in text


@pytest.mark.long  # killed and resumed through Snakemake: test_faults, and test_slurm to the table
def test_killed_on_one_core_and_resumed_it_measures_the_bits_of_an_undisturbed_run(
    cut, targets, smoke_run, tmp_path, snakemake
):
    """The undisturbed run has two cores and trains all replay ratios in one job."""
    process = cut.start(*targets, *ARGUMENTS)
    hold(cut.results, PRETRAINING, process)
    locks = cut.locks()
    assert locks, "the workflow at work holds its lock"
    # As it is typed; the profile has the cores.
    command = [sys.executable, "-m", "snakemake", "status", *ARGUMENTS]
    done = subprocess.run(command, cwd=cut.path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (running,) = json.loads((cut.results / "status.json").read_text())["running"]
    what = f"w16 pre-training to PTPP {STAGE}"
    assert (running["job"], running["what"]) == (PRETRAINING, what)
    assert f"\nrunning\n  {what}, " in done.stdout
    assert "by what was measured so far" in done.stdout
    assert cut.run("cost", *ARGUMENTS).returncode == 0
    assert cut.locks() == locks, "looking on leaves the lock alone"
    assert process.poll() is None

    cut.kill(process, PRETRAINING)
    assert list(cut.results.glob(f"tensorboard/w16.ptpp{STAGE}/events.*"))
    text, status = cut.status()
    assert [one["job"] for one in status["interrupted"]] == [PRETRAINING], status
    assert not status["running"]
    assert f"interrupted; the same command as before goes on\n  {PRETRAINING}: " in text

    assert cut.run(*targets, *ARGUMENTS, "--unlock").returncode == 0
    process = cut.start(*targets, *ARGUMENTS)
    hold(cut.results, ADAPTATION, process)
    assert not (cut.path / targets[1]).exists()
    cut.kill(process, ADAPTATION)
    assert cut.run(*targets, *ARGUMENTS, "--unlock").returncode == 0
    done = cut.run(*targets, *ARGUMENTS, cores=1)
    assert done.returncode == 0, done.stderr[-3000:]
    for job in (PRETRAINING, ADAPTATION):
        log = (cut.results / "logs" / f"{job}.log").read_text()
        assert "goes on from its saved state" in log + done.stderr, job

    whole = Folder(tmp_path / "whole", smoke_run, snakemake)
    done = whole.run(*(f"{RESULTS}/{name}" for name in ONE_GROUP), *ARGUMENTS)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (cut.results / ONE_GROUP[0]).read_bytes() == (whole.results / ONE_GROUP[0]).read_bytes()
    columns = ["replay", "domain", "atpp"]
    losses = [
        folder.losses(names).sort_values(columns, ignore_index=True)
        for folder, names in ((cut, TWO_GROUPS), (whole, ONE_GROUP[1:]))
    ]
    assert len(losses[0]) == 3 * 3 * 3
    pd.testing.assert_frame_equal(*losses, check_exact=True)


def test_status_names_a_failed_job_with_its_reason_and_its_log(cut):
    (cut.path / "wrong.yaml").write_text("pretraining: {learning_rate: 1.0e+9}")
    arguments = (*ARGUMENTS, "wrong.yaml")
    assert cut.run(f"{RESULTS}/trunks/w16.ptpp2.safetensors", *arguments).returncode != 0
    failed = [line for line in read_records(cut.results / "logs") if line["status"] == "failed"]
    assert [line["job"] for line in failed] == ["pretrain/w16.ptpp2"]
    reason = failed[0]["reason"]
    assert "lower" in reason
    text, status = cut.status(*arguments)
    assert status["failed"] == [{"job": "pretrain/w16.ptpp2", "reason": reason}]
    log = f"{RESULTS}/logs/pretrain/w16.ptpp2.log"
    assert f"pretrain/w16.ptpp2: {reason} ({log})" in text
    assert reason in (cut.path / log).read_text()
