"""How far a sweep is: from records alone, and as `snakemake status` prints it."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import yaml
from conftest import ROOT
from snakemake.utils import update_config
from test_workflow import KILLED, SMOKE, workflow_copy

from ptpp.cost.estimate import cost_estimate
from ptpp.jobs.heartbeat import is_alive
from ptpp.jobs.status import STATES, PlannedJob, find_existing, status_text, sweep_status

CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())
update_config(CONFIG, yaml.safe_load((ROOT / "scales" / "smoke.yaml").read_text()))
COSTS = cost_estimate(CONFIG)
NOW = 1_800_000_000.0


def pretraining(ptpp, model="w8", size="w8"):
    name = f"{model}.ptpp{ptpp}"
    outputs = (f"trunks/{name}", f"runs/{name}.csv")
    return PlannedJob(f"pretrain/{name}", "pre-training", outputs, str(ptpp), model, size, 1)


def adaptation(ptpp, model="w8", size="w8", runs=3):
    name = f"{model}.ptpp{ptpp}.replay0+0.5+1"
    return PlannedJob(f"adapt/{name}", "adaptation", (f"{name}.csv",), str(ptpp), model, size, runs)


TEXT = PlannedJob("tokenizer", "text", ("tokenizer",))
SCORES = PlannedJob("scores", "laws and tables", ("scores.csv",))
JOBS = [TEXT, *map(pretraining, (2, 4, 8)), *map(adaptation, (2, 4, 8)), SCORES]


def line(job, status="done", **told):
    first = {"reason": None, "tokens": None, "seconds": 1.0, "share": 1.0}
    times = {"started": "2027-01-15T07:00:00+00:00", "ended": "2027-01-15T07:00:01+00:00"}
    return {"job": job.job, "status": status} | first | times | told


def mark(job, live=True, **told):
    times = {"started": "2027-01-15T07:59:00+00:00", "at": NOW}
    return {"job": job.job, "live": live, "host": "node7", "pid": 1} | times | told


def status(done=(), lines=(), marks=(), jobs=JOBS, costs=COSTS):
    outputs = {path for job in done for path in job.outputs}
    return sweep_status(jobs, outputs, lines, marks, costs, NOW)


def counts(found):
    return dict(found.table.iloc[-1][list(STATES)])


def seconds(job):
    """Seconds of a whole job by the estimate."""
    row = COSTS.set_index(["what", "ptpp", "size"]).loc[(job.what, job.ptpp, job.size)]
    return 3600 * row.device_hours / row.runs * job.runs


def test_before_anything_ran_all_is_waiting_and_takes_what_was_estimated():
    told = status()
    assert counts(told) == dict.fromkeys(STATES, 0) | {"waiting": len(JOBS)}
    assert told.seconds_left == pytest.approx(sum(map(seconds, JOBS[1:7])), abs=0.1)
    assert not told.measured
    assert "one job at a time, as `snakemake cost` estimates" in status_text(told, "logs")


def test_the_table_has_a_line_per_kind_and_stage():
    told = status(done=[TEXT, JOBS[1]])
    lines = list(zip(told.table["what"], told.table["ptpp"], told.table["done"], strict=True))
    assert lines[:3] == [("text", "", 1), ("pre-training", "2", 1), ("pre-training", "4", 0)]
    assert lines[-2:] == [("laws and tables", "", 0), ("all", "", 2)]
    assert (told.table[list(STATES)].sum(axis=1) == told.table["jobs"]).all()


def test_a_job_is_done_only_when_all_of_its_outputs_are_there():
    half = sweep_status(JOBS, {JOBS[1].outputs[0]}, [], [], COSTS, NOW)
    assert counts(half)["done"] == 0


def test_a_running_job_is_shown_with_all_that_is_known():
    shown = mark(
        JOBS[1],
        what="w8 pre-training to PTPP 2",
        share=0.4,
        tokens_per_second=35_000,
        loss=3.5,
        seconds_left=75,
        slurm_job="17",
    )
    told = status(done=[TEXT], marks=[shown])
    assert counts(told)["running"] == 1
    expected = (
        "w8 pre-training to PTPP 2, 40% of the job, 35 k tokens/s, loss 3.500, 1 min 15 s left, "
    )
    assert expected + "on node7, SLURM job 17" in status_text(told, "logs")
    starting = status_text(status(marks=[mark(TEXT)]), "logs")
    assert "\nrunning\n  tokenizer, on node7\n" in starting


def test_a_failed_job_is_named_with_its_reason_and_its_log_until_someone_is_at_it_again():
    failed = line(JOBS[2], "failed", reason="loss is nan", share=0.1)
    told = status(done=JOBS[:2], lines=[failed])
    assert counts(told)["failed"] == 1
    text = status_text(told, "results/x/logs")
    assert "pretrain/w8.ptpp4: loss is nan (results/x/logs/pretrain/w8.ptpp4.log)" in text
    assert counts(status(done=JOBS[:2], lines=[failed], marks=[mark(JOBS[2])]))["failed"] == 0
    assert counts(status(done=JOBS[:3], lines=[failed]))["failed"] == 0, "it succeeded since"
    later = line(JOBS[2], "stopped", ended="2027-01-15T07:30:00+00:00")
    assert counts(status(done=JOBS[:2], lines=[later, failed]))["failed"] == 0


def test_a_killed_and_a_stopped_job_are_interrupted_not_running():
    killed = mark(JOBS[1], live=False, share=0.25)
    stopped = line(JOBS[4], "stopped", share=0.5)
    told = status(lines=[stopped], marks=[killed])
    assert told.interrupted == [
        {"job": JOBS[1].job, "share": 0.25},
        {"job": JOBS[4].job, "share": 0.5},
    ]
    undone = sum(map(seconds, JOBS[1:7])) - 0.25 * seconds(JOBS[1]) - 0.5 * seconds(JOBS[4])
    assert told.seconds_left == pytest.approx(undone, abs=0.1)


def test_a_mark_that_could_not_be_removed_says_nothing_against_a_later_line():
    old = mark(JOBS[1], live=False, started="2027-01-15T06:00:00+00:00")
    assert counts(status(lines=[line(JOBS[1])], marks=[old]))["interrupted"] == 0


def test_time_left_follows_what_was_measured_and_how_many_jobs_run():
    by_run = COSTS.set_index(["what", "ptpp", "size"]).loc[("pre-training", "2", "w8")]
    tokens = by_run.tokens / by_run.runs
    measured = line(JOBS[1], tokens=tokens, seconds=10 * seconds(JOBS[1]))
    told = status(done=JOBS[:2], lines=[measured])
    assert told.measured
    alone = sum(10 * seconds(job) for job in JOBS[2:7])
    assert told.seconds_left == pytest.approx(alone, abs=0.1)
    half = mark(JOBS[1], tokens=tokens / 2, share=0.5, updated=NOW - 60 + 5 * seconds(JOBS[1]))
    assert status(done=[TEXT], marks=[half]).seconds_left == pytest.approx(
        alone + 5 * seconds(JOBS[1]), rel=0.01
    ), "a job at work tells how fast it is, too"
    two = status(done=JOBS[:2], lines=[measured], marks=[mark(JOBS[2]), mark(JOBS[4])])
    assert two.at_once == 2
    chain = 10 * (seconds(JOBS[2]) + seconds(JOBS[3]) + seconds(JOBS[6]))
    assert two.seconds_left == pytest.approx(max(alone / 2, chain), abs=0.1)


def test_time_left_is_never_below_the_longest_chain_of_one_model():
    jobs = [pretraining(ptpp, f"w16-seed{k}", "w16") for k in range(9) for ptpp in (2, 4, 8)]
    told = status(jobs=jobs, marks=[mark(job) for job in jobs if job.ptpp == "2"])
    assert told.at_once == 9
    assert told.seconds_left == pytest.approx(sum(map(seconds, jobs[:3])), abs=0.1)
    adapted = [*jobs, adaptation("8", "w16-seed0", "w16")]
    told = status(jobs=adapted, marks=[mark(job) for job in jobs if job.ptpp == "2"])
    assert told.seconds_left == pytest.approx(sum(map(seconds, [*jobs[:3], adapted[-1]])), abs=0.1)


def test_time_left_is_by_the_clock_however_many_devices_a_job_trains_on():
    twice = COSTS.assign(longest_job_hours=COSTS["longest_job_hours"] / 2)
    assert status(costs=twice).seconds_left == pytest.approx(status().seconds_left / 2, abs=0.1)


def test_a_job_of_fewer_runs_takes_less():
    jobs = [adaptation("2"), adaptation("2", "w8-seed1", runs=1)]
    told = status(jobs=jobs)
    assert told.seconds_left == pytest.approx(4 / 3 * seconds(jobs[0]), abs=0.1)


def test_what_cannot_be_estimated_is_not():
    assert status(costs=None).seconds_left is None
    assert "Time left is not estimated." in status_text(status(costs=None), "logs")
    foreign = [*JOBS, pretraining(2, "llama", "llama")]
    assert status(jobs=foreign).seconds_left is None


def test_the_end_is_told():
    trained = status_text(status(done=JOBS[:-1]), "logs")
    assert trained.endswith("Training is done; the rest takes seconds a job.\n")
    assert status_text(status(done=JOBS), "logs").endswith("Everything is done.\n")


def test_files_are_found_by_folder(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.csv").touch()
    there = [str(tmp_path / "a" / "b.csv"), str(tmp_path / "a")]
    assert find_existing([*there, str(tmp_path / "a" / "c.csv"), str(tmp_path / "d" / "e")]) == set(
        there
    )


def test_two_thousand_jobs_take_well_under_a_second(tmp_path):
    jobs = [pretraining(ptpp, f"w8-seed{k}") for k in range(200) for ptpp in (2, 4, 8)]
    jobs += [adaptation(ptpp, f"w8-seed{k}") for k in range(467) for ptpp in (2, 4, 8)]
    outputs = [str(tmp_path / path.replace("/", "_")) for job in jobs for path in job.outputs]
    for path in outputs[::2]:
        open(path, "w").close()
    began = time.process_time()
    told = sweep_status(
        jobs, find_existing(outputs), [line(job, tokens=100) for job in jobs], [], COSTS, NOW
    )
    status_text(told, "logs")
    assert told.table.iloc[-1]["jobs"] == 2001
    assert time.process_time() - began < 1


LONG = KILLED | {"scale": "long", "held_out": KILLED["held_out"] | {"ptpp": 900}}
LONG |= {"pretraining": {"ptpp": [1, 2, 900]}, "tensorboard": True}  # the last takes minutes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A workflow with one long stage and no results yet."""
    folder = workflow_copy(tmp_path_factory.mktemp("status") / "ptpp")
    (folder / "change.yaml").write_text(yaml.safe_dump(LONG))
    return folder


ARGUMENTS = [*SMOKE, "change.yaml"]


def ask_status(folder, snakemake, *arguments, target="status"):
    """Printed text of `snakemake status`, as typed, and what it left for programs."""
    command = [sys.executable, "-m", "snakemake", target, *(arguments or ARGUMENTS)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads((folder / "results/long/status.json").read_text())


def test_every_job_that_a_complete_run_has_is_counted(folder, snakemake):
    done = snakemake(folder, "--dry-run", *ARGUMENTS)
    rules = re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, re.MULTILINE)
    planned = {rule: int(count) for rule, count in rules}
    _, told = ask_status(folder, snakemake)
    table = pd.DataFrame(told["table"])
    assert table.iloc[-1]["jobs"] == planned["total"] - planned["all"]
    jobs = table.groupby("what")["jobs"].sum()
    assert jobs["pre-training"] == planned["pretrain"]
    assert jobs["adaptation"] == planned["adapt"]
    assert jobs["text"] == planned["tokenizer"] + planned["tokens"]


def test_a_table_of_one_s_own_has_laws_and_tables_alone(folder, snakemake):
    (folder / "mine.csv").write_text("n_params,ptpp,replay,loss,atpp\n")
    own = ["--config", "observations=mine.csv"]
    done = snakemake(folder, "--dry-run", *ARGUMENTS, *own)
    rules = re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, re.MULTILINE)
    planned = {rule: int(count) for rule, count in rules}
    text, told = ask_status(folder, snakemake, *ARGUMENTS, *own)
    assert [row["what"] for row in told["table"]] == ["laws and tables", "all"]
    assert told["table"][-1]["jobs"] == planned["total"] - planned["all"]
    assert "Time left is not estimated." in text


def test_status_of_a_sweep_that_runs_is_killed_and_fails(folder, snakemake):
    target = "results/long/trunks/w16.ptpp900.safetensors"
    command = [sys.executable, "-m", "snakemake", "--cores", "1", target, *ARGUMENTS]
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    marks = folder / "results" / "long" / ".running" / "pretrain.w16.ptpp900.json"
    deadline = time.monotonic() + 120
    while not (marks.exists() and '"share": 0' in marks.read_text()):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    locks = {path: path.read_text() for path in (folder / ".snakemake/locks").iterdir()}
    assert locks, "the workflow at work holds its lock"
    text, told = ask_status(folder, snakemake)
    (running,) = told["running"]
    assert (running["job"], running["what"]) == (
        "pretrain/w16.ptpp900",
        "w16 pre-training to PTPP 900",
    )
    assert told["table"][0]["done"] == 6, "all text but French to train on"
    assert "\nrunning\n  w16 pre-training to PTPP 900, " in text
    assert "by what was measured so far" in text
    assert {path: path.read_text() for path in locks} == locks, "looking on leaves the lock alone"
    assert snakemake(folder, "cost", *ARGUMENTS).returncode == 0
    assert {path: path.read_text() for path in locks} == locks
    assert process.poll() is None

    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    mark = json.loads(marks.read_text())
    while is_alive(mark, mark["at"]):  # on a busy machine it takes a while to die
        assert time.monotonic() < deadline + 60
        time.sleep(0.05)
    assert list(folder.glob("results/long/tensorboard/w16.ptpp900/events.*"))
    assert list(folder.glob("results/long/.state/pretrain.w16.ptpp900/state.safetensors"))
    text, told = ask_status(folder, snakemake)
    assert [one["job"] for one in told["interrupted"]] == ["pretrain/w16.ptpp900"], told
    assert not told["running"]
    assert "interrupted; the same command as before goes on\n  pretrain/w16.ptpp900: " in text

    assert snakemake(folder, target, *ARGUMENTS, "--unlock").returncode == 0
    wrong = {"pretraining": {"learning_rate": 1e9}}
    (folder / "wrong.yaml").write_text(yaml.safe_dump(wrong))
    first = "results/long/trunks/w16.ptpp1.safetensors"
    assert snakemake(folder, first, *ARGUMENTS, "wrong.yaml").returncode != 0
    lines = [
        json.loads(line)
        for path in folder.glob("results/long/logs/jobs.*.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert (lines[-1]["job"], lines[-1]["status"]) == ("pretrain/w16.ptpp1", "failed")
    assert "lower" in lines[-1]["reason"]
    text, told = ask_status(folder, snakemake, *ARGUMENTS, "wrong.yaml")
    assert told["failed"] == [{"job": "pretrain/w16.ptpp1", "reason": lines[-1]["reason"]}]
    log = "results/long/logs/pretrain/w16.ptpp1.log"
    assert f"pretrain/w16.ptpp1: {lines[-1]['reason']} ({log})" in text
    assert lines[-1]["reason"] in (folder / log).read_text()
