"""How far a sweep is: from what its jobs left behind, nothing else."""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ptpp.jobs.progress import duration
from ptpp.report.tables import to_text

STATES = ("done", "running", "failed", "interrupted", "waiting")


@dataclass(frozen=True)
class PlannedJob:
    """A job of a complete run.

    job: its name, as in the lines and marks of `ptpp.jobs.heartbeat`. what and ptpp: the line of
    the table it belongs to. outputs: files that are all there once it is done. The rest is of training jobs:
    the model and its size, and how many runs (stages or trajectories) the job is.
    """

    job: str
    what: str
    outputs: tuple[str, ...]
    ptpp: str = ""
    model: str = ""
    size: str = ""
    runs: int = 0


@dataclass(frozen=True)
class Status:
    """Where every job is.

    table: columns what, ptpp, jobs and `STATES`, in order of `what` and ptpp, the total last.
    running, failed, interrupted: a record per job. seconds_left: of training, when `at_once` jobs
    run at a time; None where there is no estimate. measured: whether finished work of this sweep
    went into it.
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
    found: Collection[str],
    lines: Iterable[Mapping],
    marks: Iterable[Mapping],
    costs: pd.DataFrame | None,
    at: float,
) -> Status:
    """The state of `jobs` at the time `at` (seconds since 1970).

    `found` holds those outputs that exist. `lines` and `marks` are as `ptpp.jobs.heartbeat` reads
    them, each mark with `live`, whether somebody is still at it. `costs` is the table of
    `ptpp.cost.estimate.cost_estimate`; None: time left is not told. Whether an output is out of
    date is Snakemake's to know: here it counts as done.
    """
    last: dict[str, Mapping] = {}
    for line in sorted(lines, key=lambda line: line["ended"]):
        last[line["job"]] = line
    marked = {
        mark["job"]: mark
        for mark in marks
        if mark["live"] or mark["started"] > last.get(mark["job"], {"started": ""})["started"]
    }
    states = {job.job: _state(job, found, last.get(job.job), marked.get(job.job)) for job in jobs}
    shares = {}  # of the work that is done
    for name, state in states.items():
        told = marked.get(name) or last.get(name) or {}
        known = state in ("running", "failed", "interrupted")
        shares[name] = 1.0 if state == "done" else (known and told.get("share")) or 0.0

    def of(state):
        return [job.job for job in jobs if states[job.job] == state]

    training = [job for job in jobs if job.runs]
    at_once = max(1, sum(states[job.job] == "running" for job in training))
    estimates, measured = _seconds(training, costs, last, marked, at)
    left = None
    if estimates is not None:
        remaining = {name: seconds * (1 - shares[name]) for name, seconds in estimates.items()}
        left = max(sum(remaining.values()) / at_once, _longest_chain(training, remaining))
    keys = ("what", "share", "tokens_per_second", "loss", "seconds_left", "host", "slurm_job")
    return Status(
        table=_table(jobs, states),
        running=[{"job": n} | {key: marked[n].get(key) for key in keys} for n in of("running")],
        failed=[{"job": n, "reason": last[n]["reason"]} for n in of("failed")],
        interrupted=[{"job": n, "share": shares[n]} for n in of("interrupted")],
        seconds_left=None if left is None else round(left, 1),
        at_once=at_once,
        measured=measured,
    )


def status_text(status: Status, logs: str | Path) -> str:
    """What `snakemake status` prints; `logs` is the folder of the jobs' logs."""
    lines = [to_text(status.table).rstrip("\n")]
    if status.running:
        lines += ["", "running"] + [f"  {_running(one)}" for one in status.running]
    if status.failed:
        lines += ["", "failed"]
        for one in status.failed:
            reason = one["reason"] or "no reason was told"
            lines.append(f"  {one['job']}: {reason} ({Path(logs, one['job'] + '.log')})")
    if status.interrupted:
        lines += ["", "interrupted; the same command as before goes on"]
        lines += [f"  {one['job']}: {one['share']:.0%} done" for one in status.interrupted]
    lines += ["", _left(status)]
    return "\n".join(lines) + "\n"


def find_existing(paths: Iterable[str]) -> set[str]:
    """Those of `paths` that exist. Each folder is read once, which spares thousands of look-ups."""
    wanted: dict[str, set[str]] = {}
    for path in paths:
        wanted.setdefault(os.path.dirname(path), set()).add(path)
    there = set()
    for folder, inside in wanted.items():
        if os.path.isdir(folder or "."):
            there |= inside & {os.path.join(folder, name) for name in os.listdir(folder or ".")}
    return there


def _state(
    job: PlannedJob, found: Collection[str], line: Mapping | None, mark: Mapping | None
) -> str:
    if mark is not None and mark["live"]:
        return "running"
    if all(path in found for path in job.outputs):
        return "done"
    if mark is not None:  # killed
        return "interrupted"
    told = line["status"] if line is not None else ""
    return {"failed": "failed", "stopped": "interrupted"}.get(told, "waiting")


def _table(jobs: Sequence[PlannedJob], states: Mapping[str, str]) -> pd.DataFrame:
    counts: dict[tuple[str, str], Counter] = {}
    for job in jobs:
        counts.setdefault((job.what, job.ptpp), Counter())[states[job.job]] += 1
    counts["all", ""] = sum(counts.values(), Counter())
    rows = [
        {"what": what, "ptpp": ptpp, "jobs": count.total()} | {one: count[one] for one in STATES}
        for (what, ptpp), count in counts.items()
    ]
    return pd.DataFrame(rows)


def _seconds(
    training: Sequence[PlannedJob],
    costs: pd.DataFrame | None,
    last: Mapping[str, Mapping],
    marked: Mapping[str, Mapping],
    at: float,
) -> tuple[dict[str, float] | None, bool]:
    """Seconds by the clock that each whole training job takes, and whether any were measured.

    The estimate from the configuration, times measured over estimated seconds per token of the jobs
    of the same kind and size that have trained so far, or else of all. [ours]
    """
    if costs is None:
        return None, False
    largest: Counter = Counter()  # runs of the longest job of a kind
    for job in training:
        kind = job.what, job.ptpp, job.size
        largest[kind] = max(largest[kind], job.runs)
    lines = costs.set_index(["what", "ptpp", "size"]).to_dict("index")
    estimates: dict[str, float] = {}
    sums: dict[tuple[str, str] | None, list[float]] = {}  # estimated and measured seconds
    for job in training:
        kind = job.what, job.ptpp, job.size
        if kind not in lines:
            return None, False
        seconds = 3600 * lines[kind]["longest_job_hours"] / largest[kind]  # of a run
        estimates[job.job] = job.runs * seconds
        tokens, took = _trained(last.get(job.job), marked.get(job.job), at)
        for key in ((job.what, job.size), None):
            pair = sums.setdefault(key, [0.0, 0.0])
            pair[0] += seconds * tokens / lines[kind]["tokens"] * lines[kind]["runs"]
            pair[1] += took

    def ratio(job):
        for estimated, took in (sums[job.what, job.size], sums[None]):
            if estimated:
                return took / estimated
        return 1.0

    scaled = {job.job: estimates[job.job] * ratio(job) for job in training}
    return scaled, bool(training) and sums[None][0] > 0


def _trained(line: Mapping | None, mark: Mapping | None, at: float) -> tuple[int, float]:
    """Tokens and seconds of a job's latest start, as far as they are known; else (0, 0)."""
    if mark is not None and mark["live"]:
        began = pd.Timestamp(mark["started"]).timestamp()
        tokens, seconds = mark.get("tokens"), mark.get("told", at) - began
    elif line is not None:
        tokens, seconds = line["tokens"], line["seconds"]
    else:
        return 0, 0.0
    return (tokens, seconds) if tokens else (0, 0.0)


def _longest_chain(training: Sequence[PlannedJob], remaining: Mapping[str, float]) -> float:
    """Seconds of what cannot be done at the same time: a model's stages, then an adaptation."""
    longest = 0.0
    for model in {job.model for job in training}:
        stages: dict[str, list[float]] = {}  # pre-training, longest adaptation
        for job in training:
            if job.model == model:
                stage = stages.setdefault(job.ptpp, [0.0, 0.0])
                if job.what == "pre-training":
                    stage[0] = remaining[job.job]
                else:
                    stage[1] = max(stage[1], remaining[job.job])
        before = 0.0
        for ptpp in sorted(stages, key=float):
            before += stages[ptpp][0]
            longest = max(longest, before + stages[ptpp][1])
    return longest


def _running(one: Mapping) -> str:
    """A line about a job: what it does, how far, how fast, how good, how long still, where."""
    told = [one["what"] or one["job"]]
    if one["share"] is not None:
        told.append(f"{one['share']:.0%} of the job")
    if one["tokens_per_second"] is not None:
        told.append(f"{one['tokens_per_second'] / 1e3:.0f} k tokens/s")
    if one["loss"] is not None:
        told.append(f"loss {one['loss']:.3f}")
    if one["seconds_left"] is not None:
        told.append(f"{duration(one['seconds_left'])} left")
    told.append(f"on {one['host']}")
    if one["slurm_job"]:
        told.append(f"SLURM job {one['slurm_job']}")
    return ", ".join(told)


def _left(status: Status) -> str:
    jobs = status.table.iloc[-1]
    if jobs["done"] == jobs["jobs"]:
        return "Everything is done."
    if status.seconds_left is None:
        return "Time left is not estimated."
    if status.seconds_left == 0:
        return "Training is done; the rest takes seconds a job."
    rate = "one job" if status.at_once == 1 else f"{status.at_once} jobs"
    source = "by what was measured so far" if status.measured else "as `snakemake cost` estimates"
    return f"About {duration(status.seconds_left)} of training left, {rate} at a time, {source}."
