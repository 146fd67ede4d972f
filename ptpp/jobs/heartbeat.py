"""What jobs leave for others to read: a mark while they run, a JSON line when they end.

Both are written beside the work, never for it: a full disk costs the record, not the job.
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
FRESH_S = 180.0  # long calls into C, such as saving tens of gigabytes, hold the beat up


def locate_job(path: str | Path) -> tuple[Path, Path, str]:
    """The results folder, the logs folder and the name of the job whose log is at `path`.

    results/x/logs/pretrain/w16.ptpp15.log is the job pretrain/w16.ptpp15 of results/x. Without a
    folder called logs both folders are the one of the log itself.
    """
    path = Path(path)
    for folder in path.parents:
        if folder.name == "logs":
            return folder.parent, folder, path.relative_to(folder).with_suffix("").as_posix()
    return path.parent, path.parent, path.stem


def append_line(folder: str | Path, record: Mapping) -> None:
    """Append `record` as one line to the file of this host, `jobs.<host>.jsonl`, in `folder`.

    One write of one line in append mode is whole among the processes of a host; across hosts
    network file systems do not promise it, hence a file each. Failure is told, not raised.
    """
    path = Path(folder) / f"jobs.{re.sub(r'[^A-Za-z0-9_.-]', '_', HOST)}.jsonl"
    line = json.dumps(record, ensure_ascii=False) + "\n"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)
    except OSError as error:
        log.warning("%s: no record of this job (%s)", path, error.strerror)


def read_lines(folder: str | Path) -> Iterator[dict]:
    """Every record of every host in `folder`, in no order.

    Of a record that a full disk cut short the next one begins in the same line: the last counts.
    """
    for path in sorted(Path(folder).glob("jobs.*.jsonl")):
        with open(path, encoding="utf-8", errors="replace") as stream:
            for line in stream:
                with contextlib.suppress(json.JSONDecodeError):
                    yield json.loads(line[max(0, line.rfind('{"job": ')) :])


class Heartbeat:
    """A small file that says who works on a job and how far it is.

    A thread writes it anew when there is news and every 10 s, so that it stays fresh while a job
    compiles, evaluates or reads. It goes when the job ends; that of a killed job stays.
    """

    def __init__(self, results: Path, job: str):
        self.path = results / ".running" / f"{job.replace('/', '.')}.json"
        self.content = {"job": job, **process_identity(), "started": now()}
        self._ended = False
        self._news = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="mark", daemon=True)

    def report(self, **progress: object) -> None:
        """Add to what the mark says."""
        self.content = self.content | progress | {"told": time.time()}
        self._news.set()

    def __enter__(self) -> "Heartbeat":
        self._write()
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._ended = True
        self._news.set()
        self._thread.join(timeout=BEAT_S)  # a file system that hangs holds no job up
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
            self.path.parent.rmdir()  # not while other jobs have marks there

    def _beat(self) -> None:
        while True:
            self._news.wait(BEAT_S)
            self._news.clear()
            if self._ended:
                return
            self._write()

    def _write(self) -> None:
        with contextlib.suppress(OSError, Unwritable):
            write_json(self.path, self.content | {"at": time.time()})


def read_heartbeats(results: str | Path) -> Iterator[dict]:
    """Every mark in a results folder, those of killed jobs included."""
    for path in sorted((Path(results) / ".running").glob("[!.]*.json")):
        with contextlib.suppress(OSError, ValueError):  # it has just gone
            yield json.loads(path.read_text(encoding="utf-8"))


def is_alive(mark: Mapping, at: float, host: str = HOST) -> bool:
    """Whether the job behind a mark seems to run still at `at`, in seconds since 1970.

    The mark must be fresh and, on the same host, the process there.
    """
    if at - mark["at"] > FRESH_S:
        return False
    if mark["host"] != host:
        return True
    import psutil  # here, since no job needs it

    try:
        return psutil.Process(mark["pid"]).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # someone else's
        return True


def process_identity() -> dict:
    """Host, process and, inside SLURM, job."""
    slurm = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = "_".join(slurm) if all(slurm) else os.environ.get("SLURM_JOB_ID")
    return {"host": HOST, "pid": os.getpid(), "slurm_job": job}


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
