"""Runs a training job: here, or by torchrun in processes that share a model.

In each process the same function does the job: `do`. The processes of torchrun get the job as a
file: python -m torch.distributed.run ... -m ptpp.training.run JOB.json
"""

import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ptpp.errors import Diverged, InputError, Interrupted, Unwritable
from ptpp.jobs import gpus
from ptpp.jobs.files import read_json
from ptpp.jobs.heartbeat import Job
from ptpp.jobs.job import catch_stop, gpu_usage, is_out_of_memory
from ptpp.jobs.progress import Watch
from ptpp.models.backend import ALONE, Group, join_group
from ptpp.training.job import (
    AdaptJob,
    MeasureJob,
    PretrainJob,
    Process,
    TrainingJob,
    read_job,
    write_job,
)

log = logging.getLogger("ptpp")

PATIENCE = 600  # seconds that the processes of a job have to save once they are asked to stop
PROGRESS = "\x1e"  # record separator: begins a line of progress among those for the log
# Errors that end several processes as they end one. Of any other the traceback is shown.
ERRORS = {
    each.__name__: each for each in (InputError, Diverged, Unwritable, Interrupted, MemoryError)
}


def launch_job(
    job: TrainingJob, stopping: Callable[[], bool] = lambda: False, watched_by: Job | None = None
) -> None:
    """Do a job on `job.runtime.devices` devices; `watched_by` learns how it goes.

    GPUs are taken for this job alone, or with as many others as `jobs_per_gpu` lets share one.
    Raises what the job raises. Of several processes ERRORS arrive as such, anything else as
    RuntimeError with the traceback of the first process that failed.
    """
    runtime, what = job.runtime, f"{job.kind} {job.model.name}"
    wanted = (job.model.device, runtime.devices, runtime.jobs_per_gpu)
    with gpus.assign_gpus(*wanted, stopping, what=what):
        if runtime.devices == 1:
            do(job, ALONE, stopping, watched_by)
        else:
            _torchrun(job, stopping, watched_by)


def do(
    job: TrainingJob, group: Group, stopping: Callable[[], bool], watched_by: Job | None
) -> None:
    """Do a job in this process. What a kind of job needs is imported here: it takes time."""
    prepare(max(1, job.runtime.threads // job.runtime.devices))
    events = Path(job.runtime.tensorboard) if job.runtime.tensorboard and group.is_main else None
    process = Process(group, stopping, Watch(watched_by, events))
    match job:
        case PretrainJob():
            from ptpp.training.pretraining import pretrain

            pretrain(job, process)
        case AdaptJob():
            from ptpp.training.adaptation import adapt

            adapt(job, process)
        case MeasureJob():
            from ptpp.training.adoption import measure

            measure(job, process)


def prepare(threads: int) -> None:
    """Set up torch for a training job on `threads` CPU threads."""
    from ptpp.models.cpu import use_fast_float32

    torch.set_num_threads(threads)
    use_fast_float32()


def _torchrun(job: TrainingJob, stopping: Callable[[], bool], watched_by: Job | None) -> None:
    """Start the processes, relay what the main one says, and stop them when asked to.

    They stop when their standard input ends: because we close it, or because we died. They have a
    session of their own, so that a Ctrl-C meant for this process does not reach them as well.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_job(folder / "job.json", job)
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += [f"--nproc-per-node={job.runtime.devices}", "--log-dir", str(folder / "logs")]
        command += ["-m", "ptpp.training.run", str(folder / "job.json")]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
            "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(PATIENCE),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        with open(folder / "stderr", "w") as stderr:
            torchrun = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=environment,
                start_new_session=True,
            )
            relay = threading.Thread(target=_relay, args=(torchrun.stdout, watched_by), daemon=True)
            relay.start()
            try:
                while torchrun.poll() is None:
                    if stopping() and not torchrun.stdin.closed:
                        torchrun.stdin.close()
                    time.sleep(0.1)
            finally:  # a second Ctrl-C comes through here
                if torchrun.poll() is None:
                    torchrun.kill()
                torchrun.stdin.close()
                relay.join(timeout=10)
        if torchrun.returncode:
            raise_first_error(folder)


def _relay(lines: Iterable[str], watched_by: Job | None) -> None:
    """Pass on what the main process says, to the log or as progress of the job."""
    for line in lines:
        if not line.startswith(PROGRESS):
            log.info("%s", line.rstrip("\n"))
        elif watched_by is not None:
            progress = json.loads(line.removeprefix(PROGRESS))
            for name in ("tokens", "flops", "gpu"):
                setattr(watched_by, name, progress.pop(name))
            watched_by.report(**progress)


def raise_first_error(folder: Path) -> None:
    """Raise the error that explains the others: a process whose partner is gone fails too."""
    records = [read_json(path)["message"] for path in sorted(folder.glob("logs/**/error.json"))]
    for name, error in ERRORS.items():
        for record in records:
            if record["message"].startswith(f"{name}: "):
                raise error(record["message"].removeprefix(f"{name}: "))
    records.sort(key=lambda record: record["extraInfo"]["timestamp"])
    reports = [record["extraInfo"]["py_callstack"] for record in records[:1]]
    stderr = (folder / "stderr").read_text(errors="replace").splitlines()[-30:]
    raise RuntimeError("\n".join(["a training process failed", *(reports or stderr)]))


@dataclass
class RemoteJob:
    """Stands for the `Job` in the main one of several processes; the launcher relays it."""

    tokens: int = 0
    flops: float = 0.0
    progress: dict = field(default_factory=dict)

    def count(self, tokens: int, flops: float) -> None:
        self.tokens += tokens
        self.flops += flops

    def report(self, share: float, **progress: object) -> None:
        self.progress = {"share": share, **progress}
        self.flush()

    def flush(self) -> None:
        counts = {"tokens": self.tokens, "flops": self.flops, "gpu": gpu_usage()}
        print(PROGRESS + json.dumps({**self.progress, **counts}), flush=True)


def main(path: Path) -> None:
    """One of the processes that torchrun starts."""
    job, is_main = read_job(path), os.environ["RANK"] == "0"
    log.setLevel(logging.INFO if is_main else logging.CRITICAL)
    log.addHandler(logging.StreamHandler(sys.stdout))
    remote = RemoteJob() if is_main else None
    try:
        with catch_stop() as asked, join_group(job.device) as group:
            abandoned = _watch_stdin()
            do(job, group, lambda: asked() or abandoned.is_set(), remote)
    except Exception as error:
        if is_out_of_memory(error):
            raise MemoryError((str(error).splitlines() or [type(error).__name__])[0]) from error
        raise
    finally:
        if remote is not None and remote.progress:
            remote.flush()  # what was trained since the last line


def _watch_stdin() -> threading.Event:
    """Set once standard input ends: the launcher asks to stop, or is dead."""
    event = threading.Event()

    def watch():
        while os.read(0, 1):
            pass
        event.set()

    threading.Thread(target=watch, daemon=True).start()
    return event


if __name__ == "__main__":
    from torch.distributed.elastic.multiprocessing.errors import record

    code = 1
    try:
        record(main)(Path(sys.argv[1]))
        code = 0
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)  # the thread that reads standard input would hold the end up
