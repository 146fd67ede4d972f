"""What jobs leave for `snakemake status`: a heartbeat while they run, a record when they end.

A full disk costs the record, not the job.
"""

import contextlib
import json
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from ptpp.errors import Unwritable
from ptpp.jobs.files import write_json

log = logging.getLogger("ptpp")

HOST = socket.gethostname()
BEAT_S = 10.0
FRESH_S = 180.0  # saving tens of gigabytes and other long calls into C delay the beat


def locate_job(log_path: str | Path) -> tuple[Path, Path, str]:
    """The results folder, the logs folder and the name of the job with this log.

    results/x/logs/pretrain/w16.ptpp15.log is the log of pretrain/w16.ptpp15 in results/x. Without a
    folder called logs, both folders are the log's own.
    """
    path = Path(log_path)
    for folder in path.parents:
        if folder.name == "logs":
            return folder.parent, folder, path.relative_to(folder).with_suffix("").as_posix()
    return path.parent, path.parent, path.stem


def append_record(folder: str | Path, record: Mapping) -> None:
    """Append `record` as one line to `jobs.<host>.jsonl` in `folder`; log a failure.

    One write in append mode stays whole among the processes of a host. Network file systems do not
    promise it across hosts, so each host has its file.
    """
    path = Path(folder) / f"jobs.{re.sub(r'[^A-Za-z0-9_.-]', '_', HOST)}.jsonl"
    line = json.dumps(record, ensure_ascii=False) + "\n"
    try:
        with open(path, "ab", 0) as stream:
            stream.write(line.encode())
    except OSError as error:
        log.warning("%s: no record of this job (%s)", path, error.strerror)


def read_records(folder: str | Path) -> Iterator[dict]:
    """Every record of every host in `folder`, in no order.

    A full disk cuts a record short, and the next one continues its line: the last one counts.
    """
    for path in sorted(Path(folder).glob("jobs.*.jsonl")):
        with open(path, encoding="utf-8", errors="replace") as stream:
            for line in stream:
                with contextlib.suppress(json.JSONDecodeError):
                    yield json.loads(line[max(0, line.rfind('{"job": ')) :])


class Job:
    """One start of a job: what it has done so far, shown to others in a small file while it runs.

    tokens, flops: what this start trained, decay branches included, evaluation not; None where the
    job trains nothing. A resumed job counts from where it resumes, and work that it finds finished
    counts nothing, so the sum over all starts is what the job spent. share: how much of the whole
    job is done, by any start. gpu: `gpu_usage` of the process that trained, if not this one.

    A thread rewrites the file on news and every 10 s, so it stays fresh while a job compiles,
    evaluates or reads. The job removes it at its end; a killed job leaves it behind.
    """

    def __init__(self, results: Path, name: str):
        self.results, self.path = results, results / ".running" / f"{name.replace('/', '.')}.json"
        self.start = {**_process_identity(), "started": utc_now()}
        self.content = {"job": name, **self.start}
        self.tokens: int | None = None
        self.flops: float | None = None
        self.share: float | None = None
        self.gpu: Mapping | None = None
        self._ended = False
        self._news = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def count(self, tokens: int, flops: float) -> None:
        """Add what was trained just now."""
        self.tokens = (self.tokens or 0) + tokens
        self.flops = (self.flops or 0.0) + flops

    def report(self, share: float, **progress: object) -> None:
        """Show how far the job is; `progress` is JSON-able."""
        self.share = share
        news = {"share": share, "tokens": self.tokens, "updated": time.time()}
        self.content = self.content | news | progress
        self._news.set()

    def __enter__(self) -> "Job":
        self._write()
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._ended = True
        self._news.set()
        self._thread.join(timeout=BEAT_S)  # a file system that hangs must not hold the job
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
            self.path.parent.rmdir()  # fails while other jobs run, as it should

    def _beat(self) -> None:
        while not self._ended:
            self._news.wait(BEAT_S)
            self._news.clear()
            if not self._ended:
                self._write()

    def _write(self) -> None:
        with contextlib.suppress(OSError, Unwritable):
            write_json(self.path, self.content | {"at": time.time()})


def read_heartbeats(results: str | Path) -> Iterator[dict]:
    """Every heartbeat in a results folder, those of killed jobs included."""
    for path in sorted((Path(results) / ".running").glob("[!.]*.json")):
        with contextlib.suppress(OSError, ValueError):  # the job has just ended
            yield json.loads(path.read_text(encoding="utf-8"))


def is_alive(heartbeat: Mapping, at: float) -> bool:
    """Whether the job seems to run at the time `at`, in seconds since 1970.

    The heartbeat must be fresh; on the same host the process must exist, too.
    """
    if at - heartbeat["at"] > FRESH_S:
        return False
    if heartbeat["host"] != HOST:
        return True
    import psutil  # here, since no job needs it

    try:
        return psutil.Process(heartbeat["pid"]).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # another user's process
        return True


def _process_identity() -> dict:
    """Host, process and, inside SLURM, job."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = "_".join(array) if all(array) else os.environ.get("SLURM_JOB_ID")
    return {"host": HOST, "pid": os.getpid(), "slurm_job": job}


def utc_now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
