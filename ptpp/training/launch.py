"""A training job from plain values: here, or by torchrun in processes that share a model."""

import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ptpp.errors import InputError, Interrupted
from ptpp.jobs import gpus
from ptpp.jobs.files import read_json
from ptpp.jobs.job import Job, gpu_usage

log = logging.getLogger("ptpp")

# Seconds that the processes of a job have to end by themselves once torchrun is told to stop them.
PATIENCE = 600
BETWEEN_LINES = "\x1e"  # record separator: begins a line that is for us and not for the log
RAISED = {"InputError": InputError, "Interrupted": Interrupted, "MemoryError": MemoryError}


def train_job(
    order: Mapping,
    processes: int,
    threads: int,
    jobs_per_gpu: int = 1,
    stopping: Callable[[], bool] = lambda: False,
    job: Job | None = None,
) -> None:
    """Do what `order` says: the arguments of `ptpp.training.work.work`, which travel as JSON.

    processes: how many share the model, a device each. threads: CPU threads of all together. GPUs
    are taken for this job alone, or with as many others as `jobs_per_gpu` lets share one. `job` is
    told how it goes.

    Raises what the job raises; of a job in several processes InputError, Interrupted and
    MemoryError arrive as such, anything else as RuntimeError with the end of what was said.
    """
    what = f"{order['job']} {order['model']}"
    with gpus.assign_gpus(order["spec"]["device"], processes, jobs_per_gpu, stopping, what=what):
        if processes == 1:
            from ptpp.training.work import work

            work(**order, threads=threads, stopping=stopping, watched_by=job)
        else:
            each = {**order, "threads": max(1, threads // processes)}
            _in_processes(each, processes, stopping, job)


def _in_processes(
    order: Mapping, processes: int, stopping: Callable[[], bool], job: Job | None
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "order.json").write_text(json.dumps(order))
        code = _torchrun(folder, processes, stopping, job)
        _raise_failures(folder, processes, code)


def _torchrun(folder: Path, processes: int, stopping: Callable[[], bool], job: Job | None) -> int:
    """Start the processes, relay what the first one says, and end them when asked to stop.

    They stop when their standard input ends: by our closing it, or by our death. They get a
    session of their own, so that a Ctrl-C meant for the job does not reach them as well.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python"]
    command += [f"--nproc-per-node={processes}", sys.executable, "-m", "ptpp.training.worker"]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(PATIENCE),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    with open(folder / "said", "w") as said:
        torchrun = subprocess.Popen(
            [*command, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            env=environment,
            start_new_session=True,
        )
        relay = threading.Thread(target=_relay, args=(torchrun.stdout, job), daemon=True)
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
    return torchrun.returncode


def _relay(lines: Iterable[str], job: Job | None) -> None:
    """Pass on what the first process says, and tell the job what it tells between the lines."""
    for line in lines:
        if not line.startswith(BETWEEN_LINES):
            log.info("%s", line.rstrip("\n"))
        elif job is not None:
            told = json.loads(line.removeprefix(BETWEEN_LINES))
            job.tokens, job.flops, job.gpu = (told.pop(key) for key in ("tokens", "flops", "gpu"))
            job.report(**told)


@dataclass
class RemoteJob:
    """What a `Job` is to the first of several processes: it tells the real one, which relays it."""

    tokens: int = 0
    flops: float = 0.0
    told: dict = field(default_factory=dict)

    def trained(self, tokens: int, flops: float) -> None:
        self.tokens += tokens
        self.flops += flops

    def tell(self, share: float, **progress: object) -> None:
        self.told = {"share": share, **progress}
        self.flush()

    def flush(self) -> None:
        told = {**self.told, "tokens": self.tokens, "flops": self.flops, "gpu": gpu_usage()}
        print(BETWEEN_LINES + json.dumps(told), flush=True)


def _raise_failures(folder: Path, processes: int, code: int) -> None:
    """The failure that explains the others: a process whose partner is gone fails too."""
    ends = [folder / f"end{rank}.json" for rank in range(processes)]
    failures = [end for end in (read_json(path) for path in ends if path.exists()) if end]
    for kind, error in RAISED.items():
        for failure in failures:
            if failure["kind"] == kind:
                raise error(failure["message"])
    if code or failures:
        said = (folder / "said").read_text(errors="replace").splitlines()
        told = [f"{failure['kind']}: {failure['message']}" for failure in failures] or said[-30:]
        raise RuntimeError("a training process failed\n" + "\n".join(told))
