"""How far a sweep is, from records alone; tests/workflow/test_interrupted.py runs the command."""

import time

import pytest
import yaml
from conftest import ROOT
from snakemake.utils import update_config

from ptpp.cost.estimate import cost_estimate
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
