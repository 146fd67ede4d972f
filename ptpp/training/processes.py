"""One job in several processes that share its model: torchrun starts them, over nodes srun does.

They get the job as a file: torchrun ... -m ptpp.training.processes JOB.json
"""

import argparse
import contextlib
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ptpp.errors import Diverged, InputError, Interrupted, Unwritable
from ptpp.jobs.files import read_json
from ptpp.jobs.heartbeat import Job
from ptpp.jobs.job import catch_stop, gpu_usage, is_out_of_memory
from ptpp.models.group import join_group
from ptpp.training.application import ApplyJob
from ptpp.training.job import AdaptJob, MeasureJob, PretrainJob, Runtime, TrainingJob
from ptpp.training.run import do
from ptpp.training.state import hold_folder

log = logging.getLogger("ptpp")

PATIENCE = 600  # seconds that the processes of a job have to end once one has ended
PROGRESS = "\x1e"  # record separator: begins a line of progress among those for the log
KINDS = {job.kind: job for job in (PretrainJob, AdaptJob, MeasureJob, ApplyJob)}
# Errors that end several processes as they end one. Of any other the traceback is shown.
ERRORS = {
    each.__name__: each for each in (InputError, Diverged, Unwritable, Interrupted, MemoryError)
}


def run_processes(job: TrainingJob, stopping: Callable[[], bool], watched_by: Job | None) -> None:
    """Start the processes, relay what the main one says, and stop them when asked to.

    They stop when their standard input ends: because we close it, or because we died. They have a
    session of their own, so that a Ctrl-C meant for this process does not reach them as well. Of
    what they raise ERRORS arrive as such, anything else as RuntimeError with the traceback of the
    first process that failed.
    """
    with _place(job) as folder:
        write_job(folder / "job.json", job)
        (folder / "logs").mkdir()
        command = _torchrun if job.runtime.nodes == 1 else srun
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
            "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(PATIENCE),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with open(folder / "stderr", "w") as stderr:
            started = subprocess.Popen(
                [*command(job.runtime, folder), str(folder / "job.json")],
                **pipes,
                stderr=stderr,
                env=environment,
                start_new_session=True,
            )
            relay = threading.Thread(target=_relay, args=(started.stdout, watched_by), daemon=True)
            relay.start()
            try:
                while started.poll() is None:
                    if stopping() and not started.stdin.closed:
                        started.stdin.close()
                    time.sleep(0.1)
            finally:  # a second Ctrl-C comes through here
                if started.poll() is None:
                    started.kill()
                started.stdin.close()
                relay.join(timeout=10)
        if started.returncode:
            raise_first_error(folder)


@contextlib.contextmanager
def _place(job: TrainingJob) -> Iterator[Path]:
    """A folder for the job's file and its processes' errors, which all of its nodes see.

    Over several nodes it lies beside what the job measures, held against a second start, and what
    killed starts of this job left there is removed. Raises InputError where there are no such
    nodes.
    """
    if job.runtime.nodes == 1:
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)
        return
    if "SLURM_JOB_ID" not in os.environ or shutil.which("srun") is None:
        raise InputError(
            f"models.sizes: {job.model.size}: nodes {job.runtime.nodes}: this is no job of SLURM, "
            "which gives a job several nodes; accepted here is 1"
        )
    measured = Path(getattr(job, "observations", job.zero_shot))  # no other job's, of this kind
    shared = measured.parent / f".processes.{job.kind}.{measured.stem}"
    try:
        with hold_folder(shared) as is_held:
            for left in shared.glob("start.*") if is_held else ():
                shutil.rmtree(left, ignore_errors=True)
            try:
                # A folder for each start: processes of a killed one may still write into theirs.
                with tempfile.TemporaryDirectory(dir=shared, prefix="start.") as name:
                    yield Path(name)
            finally:
                (shared / "lock").unlink(missing_ok=True)
    finally:
        with contextlib.suppress(OSError):  # another start has its own there
            shared.rmdir()


def _torchrun(runtime: Runtime, folder: Path) -> list[str]:
    """The command, but for the job's file, that starts the processes of one node."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    torchrun += [f"--nproc-per-node={runtime.devices}", "--log-dir", str(folder / "logs")]
    return [*torchrun, "-m", "ptpp.training.processes"]


def srun(runtime: Runtime, folder: Path) -> list[str]:
    """The same over the nodes of a SLURM job, started on its first.

    One task is one process. SLURM leaves each the processors and GPUs of its whole node, and lets
    it end by itself: one whose partner fails is told so, and else has PATIENCE.
    """
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    tasks = [f"--nodes={runtime.nodes}", f"--ntasks={runtime.processes}"]
    tasks += [f"--ntasks-per-node={runtime.devices}", "--distribution=block", "--overcommit"]
    ends = ["--kill-on-bad-exit=0", f"--wait={PATIENCE}"]
    worker = [sys.executable, "-m", "ptpp.training.processes"]
    meet = ["--meet", f"{_own_name()}:{port}", "--errors", str(folder / "logs")]
    return ["srun", *tasks, "--cpu-bind=none", "--mpi=none", *ends, *worker, *meet]


def _own_name() -> str:
    """The name of this host, for the others; where nothing resolves it, it is alone: loopback."""
    name = socket.gethostname()
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return "127.0.0.1"
    return name


def take_place(meet: str, errors: Path) -> None:
    """Make of what SLURM tells a task the environment that torchrun gives a process.

    meet: HOST:PORT of the first task. errors: the folder where each leaves its error.
    """
    rank, local_rank, size, nodes = (
        os.environ[f"SLURM_{name}"]
        for name in ("PROCID", "LOCALID", "STEP_NUM_TASKS", "STEP_NUM_NODES")
    )
    own = errors / rank
    own.mkdir()
    host, port = meet.rsplit(":", 1)
    os.environ |= {
        "RANK": rank,
        "WORLD_SIZE": size,
        "LOCAL_RANK": local_rank,
        "LOCAL_WORLD_SIZE": str(int(size) // int(nodes)),
        "MASTER_ADDR": host,
        "MASTER_PORT": port,
        "TORCHELASTIC_ERROR_FILE": str(own / "error.json"),
    }


def write_job(path: Path, job: TrainingJob) -> None:
    path.write_text(json.dumps({"kind": job.kind, **asdict(job)}, default=str))


def read_job(path: Path) -> TrainingJob:
    """What `write_job` wrote."""
    record = read_json(path)
    return KINDS[record.pop("kind")](**record)


def _relay(lines: Iterable[str], watched_by: Job | None) -> None:
    """Pass on what the main process says, to the log or as progress of the job."""
    for line in lines:
        if not line.startswith(PROGRESS):
            log.info("%s", line.rstrip("\n"))
        elif watched_by is not None:
            progress = json.loads(line.removeprefix(PROGRESS))
            vars(watched_by).update(progress["job"])
            watched_by.report(**progress["report"])


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
        print(PROGRESS + json.dumps({"job": counts, "report": self.progress}), flush=True)


def main(path: Path) -> None:
    """One of the processes that share the job's model."""
    job, is_main = read_job(path), os.environ["RANK"] == "0"
    log.setLevel(logging.INFO if is_main else logging.CRITICAL)
    log.addHandler(logging.StreamHandler(sys.stdout))
    remote, abandoned = RemoteJob() if is_main else None, threading.Event()
    threading.Thread(target=_wait_for_end, args=(abandoned,), daemon=True).start()
    try:
        with catch_stop() as stopping, join_group(job.device) as group:
            stop = None
            try:
                do(job, group, lambda: stopping() or abandoned.is_set(), remote)
            except Interrupted as error:  # in all of them
                stop = error
            group.wait()  # for the one that writes: who ends last is ended after a while
            if stop:
                raise stop
    except Exception as error:
        if is_out_of_memory(error):
            raise MemoryError((str(error).splitlines() or [type(error).__name__])[0]) from error
        raise
    finally:
        if remote is not None and remote.progress:
            remote.flush()  # what was trained since the last line


def _wait_for_end(event: threading.Event) -> None:
    """Set `event` once standard input ends: the launcher asks to stop, or is dead."""
    while os.read(0, 1):
        pass
    event.set()


if __name__ == "__main__":
    from torch.distributed.elastic.multiprocessing.errors import record

    parser = argparse.ArgumentParser()
    parser.add_argument("--meet")
    parser.add_argument("--errors", type=Path)
    parser.add_argument("job", type=Path)
    arguments = parser.parse_args()
    if arguments.meet:
        take_place(arguments.meet, arguments.errors)
    code = 1
    try:
        record(main)(arguments.job)
        code = 0
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)  # the thread that reads standard input would hold the end up
