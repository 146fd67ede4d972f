"""How far a sweep is, from the files, records and heartbeats of its jobs alone."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ptpp.jobs.progress import duration
from ptpp.report.tables import to_text

STATES = ("done", "running", "failed", "interrupted", "waiting")
# What a heartbeat may know of a running job, and its words.
_SHOWN = {
    "share": "{:.0%} of the job".format,
    "tokens_per_second": lambda rate: f"{rate / 1e3:.0f} k tokens/s",
    "loss": "loss {:.3f}".format,
    "seconds_left": lambda seconds: f"{duration(seconds)} left",
    "host": "on {}".format,
    "slurm_job": "SLURM job {}".format,
}


@dataclass(frozen=True)
class PlannedJob:
    """A job of a complete run.

    job: its name, as in its record and heartbeat (`ptpp.jobs.heartbeat`). what, ptpp: the row of
    the status table that counts it. outputs: files that all exist once it is done. Only training
    jobs have a model, its size, and the number of runs (stages or trajectories) in the job.
    """

    job: str
    what: str
    outputs: tuple[str, ...]
    ptpp: str = ""
    model: str = ""
    size: str = ""
    runs: int = 0

    @property
    def kind(self) -> tuple[str, str, str]:
        """The row of the cost table that estimates it."""
        return self.what, self.ptpp, self.size


@dataclass(frozen=True)
class Status:
    """The state of every job.

    table: columns what, ptpp, jobs and `STATES`, in the order of the jobs, the total last.
    running, failed, interrupted: a record per job. seconds_left: of training, with `at_once` jobs
    at a time; None without an estimate. measured: whether the estimate uses the times of jobs that
    have trained.
    """

    table: pd.DataFrame
    running: list[dict]
    failed: list[dict]
    interrupted: list[dict]
    seconds_left: float | None
    at_once: int
    measured: bool


def sweep_status(
    jobs: Sequence[PlannedJob],
    existing: Set[str],
    records: Iterable[Mapping],
    heartbeats: Iterable[Mapping],
    costs: pd.DataFrame | None,
    at: float,
) -> Status:
    """The state of `jobs` at the time `at` (seconds since 1970).

    `existing` are the outputs that exist. `records` and `heartbeats` are as `ptpp.jobs.heartbeat`
    reads them, each heartbeat with `live`, whether its job still runs. `costs` is the table of
    `ptpp.cost.estimate.cost_estimate`; None gives no time left. A job whose outputs exist counts as
    done; whether they are out of date, Snakemake decides.
    """
    last: dict[str, Mapping] = {}  # the latest record of each job
    for record in sorted(records, key=lambda record: record["ended"]):
        last[record["job"]] = record
    beats = {
        beat["job"]: beat
        for beat in heartbeats
        if beat["live"] or beat["started"] > last.get(beat["job"], {"started": ""})["started"]
    }
    states = {job.job: _state(job, existing, last.get(job.job), beats.get(job.job)) for job in jobs}
    names = {state: [job.job for job in jobs if states[job.job] == state] for state in STATES}
    shares = dict.fromkeys(states, 0.0) | dict.fromkeys(names["done"], 1.0)
    for name in (*names["running"], *names["failed"], *names["interrupted"]):
        shares[name] = (beats.get(name) or last[name]).get("share") or 0.0

    training = [job for job in jobs if job.runs]
    at_once = max(1, sum(states[job.job] == "running" for job in training))
    estimates, measured = _estimate_seconds(training, costs, last, beats, at)
    left = None
    if estimates is not None:
        remaining = {name: seconds * (1 - shares[name]) for name, seconds in estimates.items()}
        left = round(max(sum(remaining.values()) / at_once, _longest_chain(training, remaining)), 1)
    keys = ("what", *_SHOWN)
    return Status(
        table=_count(jobs, states),
        running=[{"job": n} | {k: beats[n].get(k) for k in keys} for n in names["running"]],
        failed=[{"job": n, "reason": last[n]["reason"]} for n in names["failed"]],
        interrupted=[{"job": n, "share": shares[n]} for n in names["interrupted"]],
        seconds_left=left,
        at_once=at_once,
        measured=measured,
    )


def status_text(status: Status, logs: str | Path) -> str:
    """The text of `snakemake status`; `logs` is the folder of the jobs' logs."""
    parts = {
        "running": map(_describe, status.running),
        "failed": (
            f"{one['job']}: {one['reason'] or 'no reason recorded'} "
            f"({Path(logs, one['job'] + '.log')})"
            for one in status.failed
        ),
        "interrupted; the same command as before goes on": (
            f"{one['job']}: {one['share']:.0%} done" for one in status.interrupted
        ),
    }
    text = to_text(status.table)
    for title, lines in parts.items():
        if lines := [f"  {line}\n" for line in lines]:
            text += f"\n{title}\n" + "".join(lines)
    return f"{text}\n{_describe_time_left(status)}\n"


def find_existing(paths: Iterable[str]) -> set[str]:
    """The `paths` that exist. Each folder is read once, not looked up thousands of times."""
    by_folder: dict[str, set[str]] = {}
    for path in paths:
        by_folder.setdefault(os.path.dirname(path), set()).add(path)
    existing = set()
    for folder, inside in by_folder.items():
        if os.path.isdir(folder or "."):
            existing |= inside & {os.path.join(folder, name) for name in os.listdir(folder or ".")}
    return existing


def _state(
    job: PlannedJob, existing: Set[str], record: Mapping | None, beat: Mapping | None
) -> str:
    if beat and beat["live"]:
        return "running"
    if existing >= set(job.outputs):
        return "done"
    if beat:  # killed
        return "interrupted"
    ends = {"failed": "failed", "stopped": "interrupted"}
    return ends.get(record["status"], "waiting") if record else "waiting"


def _count(jobs: Sequence[PlannedJob], states: Mapping[str, str]) -> pd.DataFrame:
    counts: dict[tuple[str, str], Counter] = {}
    for job in jobs:
        counts.setdefault((job.what, job.ptpp), Counter())[states[job.job]] += 1
    counts["all", ""] = sum(counts.values(), Counter())
    rows = [
        {"what": what, "ptpp": ptpp, "jobs": count.total()} | {one: count[one] for one in STATES}
        for (what, ptpp), count in counts.items()
    ]
    return pd.DataFrame(rows)


def _estimate_seconds(
    training: Sequence[PlannedJob],
    costs: pd.DataFrame | None,
    last: Mapping[str, Mapping],
    beats: Mapping[str, Mapping],
    at: float,
) -> tuple[dict[str, float] | None, bool]:
    """Seconds by the clock that each whole training job takes, and whether any were measured.

    The estimate from the configuration, times the ratio of measured to estimated seconds per token
    over the jobs of the same kind and size that have trained so far, or else over all. [ours]
    """
    if costs is None:
        return None, False
    costs_of = costs.set_index(["what", "ptpp", "size"]).to_dict("index")
    if any(job.kind not in costs_of for job in training):
        return None, False
    most_runs = {job.kind: job.runs for job in sorted(training, key=lambda job: job.runs)}
    estimates: dict[str, float] = {}
    estimated: Counter = Counter()  # seconds of what was trained, by (what, size) and for None, all
    measured: Counter = Counter()
    for job in training:
        cost = costs_of[job.kind]
        run_s = 3600 * cost["longest_job_hours"] / most_runs[job.kind]
        estimates[job.job] = job.runs * run_s
        tokens, seconds = _measure(last.get(job.job), beats.get(job.job), at)
        for key in ((job.what, job.size), None):
            estimated[key] += run_s * tokens / cost["tokens"] * cost["runs"]
            measured[key] += seconds

    def ratio(job):
        key = (job.what, job.size) if estimated[job.what, job.size] else None
        return measured[key] / estimated[key] if estimated[key] else 1.0

    return {job.job: estimates[job.job] * ratio(job) for job in training}, estimated[None] > 0


def _measure(record: Mapping | None, beat: Mapping | None, at: float) -> tuple[int, float]:
    """Tokens and seconds of a job's latest start, as far as they are known; else (0, 0)."""
    if beat is not None and beat["live"]:
        began = pd.Timestamp(beat["started"]).timestamp()
        tokens, seconds = beat.get("tokens"), beat.get("updated", at) - began
    elif record is not None:
        tokens, seconds = record["tokens"], record["seconds"]
    else:
        return 0, 0.0
    return (tokens, seconds) if tokens else (0, 0.0)


def _longest_chain(training: Sequence[PlannedJob], remaining: Mapping[str, float]) -> float:
    """Seconds of the longest sequence of jobs: a model's stages in order, then an adaptation."""
    before: Counter = Counter()  # seconds of the stages so far, by model
    longest = 0.0
    in_order = sorted(training, key=lambda job: (float(job.ptpp), job.what != "pre-training"))
    for job in in_order:
        chain = before[job.model] + remaining[job.job]
        if job.what == "pre-training":
            before[job.model] = chain
        longest = max(longest, chain)
    return longest


def _describe(one: Mapping) -> str:
    """A line about a running job: what, how far, how fast, how good, time left, where."""
    known = [show(one[key]) for key, show in _SHOWN.items() if one[key] is not None]
    return ", ".join([one["what"] or one["job"], *known])


def _describe_time_left(status: Status) -> str:
    total = status.table.iloc[-1]
    if total["done"] == total["jobs"]:
        return "Everything is done."
    if status.seconds_left is None:
        return "Time left is not estimated."
    if status.seconds_left == 0:
        return "Training is done; the rest takes seconds a job."
    rate = "one job" if status.at_once == 1 else f"{status.at_once} jobs"
    source = "by what was measured so far" if status.measured else "as `snakemake cost` estimates"
    return f"About {duration(status.seconds_left)} of training left, {rate} at a time, {source}."
