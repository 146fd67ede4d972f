"""What a job leaves when it ends, however it ends; and a job that is asked to stop."""

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import time
from datetime import datetime

import pytest

from ptpp.errors import InputError, Interrupted
from ptpp.jobs import heartbeat as records
from ptpp.jobs.heartbeat import append_record, is_alive, read_heartbeats, read_records
from ptpp.jobs.job import catch_stop, run_job
from ptpp.jobs.progress import Progress, Watch


@pytest.fixture(autouse=True)
def unlogged():
    """No handler outlives its test."""
    yield
    logging.getLogger("ptpp").handlers.clear()


def log_of(folder, job="pretrain/w8.ptpp2"):
    return folder / "results" / "x" / "logs" / f"{job}.log"


def line_of(folder):
    """The one line that was left."""
    (path,) = (folder / "results" / "x" / "logs").glob("jobs.*.jsonl")
    assert path.name == f"jobs.{records.HOST}.jsonl"
    (line,) = path.read_text().splitlines()
    return json.loads(line)


def test_a_job_leaves_a_line_about_what_it_did_and_took(tmp_path):
    with run_job(log_of(tmp_path)) as job:
        watch = Watch(job).for_run("w8.ptpp2", flops_per_token=600.0)
        progress = Progress("w8", total=1000, done=400, watch=watch)
        progress.advance(500)
        progress.advance(100)
        time.sleep(0.05)
    line = line_of(tmp_path)
    assert (line["job"], line["status"], line["reason"]) == ("pretrain/w8.ptpp2", "done", None)
    assert (line["tokens"], line["flops"]) == (600, 360_000.0), "what this start trained"
    assert line["share"] == 1
    assert line["seconds"] >= 0.05
    assert line["cpu_seconds"] > 0 and line["peak_memory_mib"] > 10
    assert (line["host"], line["pid"], line["device"]) == (records.HOST, os.getpid(), "cpu")
    took = datetime.fromisoformat(line["ended"]) - datetime.fromisoformat(line["started"])
    assert took.total_seconds() >= line["seconds"] - 0.01


def test_a_job_that_trains_nothing_says_so_and_one_that_remembers_trains_0(tmp_path):
    for name, trains in (("fits/a", False), ("adapt/b", True)):
        with run_job(log_of(tmp_path, name)) as job:
            if trains:
                Watch(job).for_run("b", 600.0)
    lines = {line["job"]: line for line in read_records(tmp_path / "results/x/logs")}
    assert (lines["fits/a"]["tokens"], lines["fits/a"]["flops"]) == (None, None)
    assert (lines["adapt/b"]["tokens"], lines["adapt/b"]["flops"]) == (0, 0)


ENDS = {
    "bad input": (InputError("x.csv: row 2:\nfound -1"), "failed", "x.csv: row 2: found -1"),
    "stop": (Interrupted("w8: saved after 8"), "stopped", "w8: saved after 8"),
    "memory": (MemoryError(), "failed", "out of memory: MemoryError"),
    "bug": (ZeroDivisionError("division by zero"), "failed", "division by zero"),
    "exit": (SystemExit(3), "failed", None),
    "ctrl-c": (KeyboardInterrupt(), "stopped", "SIGINT"),
}


@pytest.mark.parametrize("error,status,reason", ENDS.values(), ids=ENDS)
def test_every_end_leaves_its_line(tmp_path, error, status, reason):
    with pytest.raises((SystemExit, KeyboardInterrupt)), run_job(log_of(tmp_path)):
        raise error
    assert (line_of(tmp_path)["status"], line_of(tmp_path)["reason"]) == (status, reason)
    assert not list(read_heartbeats(tmp_path / "results" / "x"))


def test_a_job_that_cannot_stop_in_steps_leaves_its_line_on_sigterm(tmp_path):
    with pytest.raises(SystemExit), run_job(log_of(tmp_path)):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
    assert (line_of(tmp_path)["status"], line_of(tmp_path)["reason"]) == ("stopped", "SIGTERM")


def test_a_full_disk_costs_the_line_and_hides_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(records, "open", full, raising=False)
    monkeypatch.setattr(records, "write_json", full)
    with run_job(log_of(tmp_path)):
        pass
    with pytest.raises(SystemExit), run_job(log_of(tmp_path)):
        raise InputError("the real error")
    said = log_of(tmp_path).read_text()
    assert "error: the real error" in said
    assert "no record of this job (No space left on device)" in said
    assert "Traceback" not in said


def test_a_line_that_a_full_disk_cut_short_spoils_no_other(tmp_path):
    append_record(tmp_path, {"job": "a"})
    path = tmp_path / f"jobs.{records.HOST}.jsonl"
    path.write_text(path.read_text() + '{"job": "cut sh')
    append_record(tmp_path, {"job": "b"})
    assert [line["job"] for line in read_records(tmp_path)] == ["a", "b"]


def test_lines_of_processes_that_end_together_stay_whole(tmp_path):
    code = (
        "import sys; from ptpp.jobs.heartbeat import append_record\n"
        "for k in range(100): append_record(sys.argv[1], {'job': 'x' * 3000, 'k': k})"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    for process in [subprocess.Popen(command) for _ in range(3)]:
        assert process.wait(60) == 0
    (path,) = tmp_path.glob("jobs.*.jsonl")
    assert len(path.read_text().splitlines()) == len(list(read_records(tmp_path))) == 300


def test_a_log_outside_a_folder_of_logs_has_its_line_beside_it(tmp_path):
    with run_job(tmp_path / "w8.log"):
        pass
    assert [line["job"] for line in read_records(tmp_path)] == ["w8"]


def test_a_slurm_job_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    with run_job(log_of(tmp_path)):
        pass
    assert line_of(tmp_path)["slurm_job"] == "17"


def wait_for_heartbeat(folder, wanted, seconds=60):
    """The heartbeat of the one job once it satisfies `wanted`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for mark in read_heartbeats(folder):
            if wanted(mark):
                return mark
        time.sleep(0.01)
    raise AssertionError(f"only {list(read_heartbeats(folder))}")


def test_while_a_job_runs_others_see_who_is_at_it_and_how_far(tmp_path):
    results = tmp_path / "results" / "x"
    with run_job(log_of(tmp_path, "adapt/w8")) as job:
        (mark,) = read_heartbeats(results)
        assert (mark["job"], mark["host"], mark["pid"]) == ("adapt/w8", records.HOST, os.getpid())
        watch = Watch(job).for_run("w8.replay0", 600.0, part=1, parts=4)
        progress = Progress("w8 at replay 0", total=1000, done=500, every_s=0.01, watch=watch)
        mark = wait_for_heartbeat(results, lambda mark: mark.get("what"))
        assert mark["share"] == (1 + 0.5) / 4, "one run of four is over, half of the second"
        time.sleep(0.02)
        progress.advance(250, 2.5)
        mark = wait_for_heartbeat(results, lambda mark: mark.get("loss"))
        assert (mark["share"], mark["loss"], mark["tokens"]) == (1.75 / 4, 2.5, 250)
        left = (1000 * 4 - 1750) / mark["tokens_per_second"]
        assert mark["seconds_left"] == pytest.approx(left, rel=0.1, abs=0.06)
        assert is_alive(mark, time.time())
    assert not list(read_heartbeats(results))


def test_a_mark_is_renewed_while_a_job_is_silent(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "BEAT_S", 0.05)
    with run_job(log_of(tmp_path)):
        (first,) = read_heartbeats(tmp_path / "results/x")
        wait_for_heartbeat(tmp_path / "results/x", lambda mark: mark["at"] > first["at"])


def test_the_mark_of_a_killed_job_stays_and_is_known_as_such(tmp_path):
    code = "import sys, time; from ptpp.jobs.job import run_job\n"
    code += "with run_job(sys.argv[1]): time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code, str(log_of(tmp_path))])
    mark = wait_for_heartbeat(tmp_path / "results/x", lambda mark: True)
    assert is_alive(mark, time.time())
    process.kill()
    deadline = time.monotonic() + 60
    while is_alive(mark, mark["at"]):  # although nobody waits for it, so that it stays as a zombie
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.wait()
    (mark,) = read_heartbeats(tmp_path / "results/x")
    assert not is_alive(mark, mark["at"])
    elsewhere = mark | {"host": "node7"}
    assert is_alive(elsewhere, mark["at"] + 60), "its processes cannot be seen from here"
    assert not is_alive(elsewhere, mark["at"] + 600)


def test_a_job_goes_on_until_it_is_asked_to_stop_and_repeated_requests_leave_it_time_to_save():
    with catch_stop() as stopping:
        assert not stopping()
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
            assert stopping()


def test_a_second_ctrl_c_ends_a_job_at_once():
    with catch_stop() as stopping:
        os.kill(os.getpid(), signal.SIGINT)
        assert stopping()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_outside_signals_mean_what_they_meant_before():
    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    with catch_stop():
        os.kill(os.getpid(), signal.SIGTERM)
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == before
