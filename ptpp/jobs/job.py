"""The frame of every workflow script: a log, a record, and a clear end when something is wrong."""

import errno
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ptpp.errors import InputError, Interrupted
from ptpp.jobs.heartbeat import Job, append_record, locate_job, utc_now

log = logging.getLogger("ptpp")


@contextmanager
def run_job(log_path: str | Path) -> Iterator[Job]:
    """Run a block as a job: log to the terminal and to `log_path`, and record the end.

    An InputError, a stop by signal and exhausted memory end the job with one line, any other error
    with its traceback. Every end but SIGKILL appends a record to `jobs.<host>.jsonl` in the logs
    folder (docs/observing.md lists its fields).
    """
    _open_log(Path(log_path))
    results, folder, name = locate_job(log_path)
    job = Job(results, name)
    clock, status, reason = time.monotonic(), "failed", None
    with _raise_on_sigterm():
        try:
            with job:
                yield job
            status = "done"
        except InputError as error:
            log.error("error: %s", error)
            reason = error
            sys.exit(1)
        except Interrupted as stop:
            log.error("stopped: %s; the same command goes on from there", stop)
            status, reason = "stopped", stop
            sys.exit(1)
        except KeyboardInterrupt:
            status, reason = "stopped", "SIGINT"
            raise
        except Exception as error:
            reason = str(error) or type(error).__name__
            if is_out_of_memory(error):
                log.error(
                    "error: out of memory (%s); give the job more (resources: mem_mb) or lower "
                    "batch_tokens, then run the same command again",
                    reason.splitlines()[0],
                )
                reason = f"out of memory: {reason}"
            else:
                log.exception("unexpected error")
            sys.exit(1)
        finally:
            append_record(
                folder,
                {
                    "job": name,
                    "status": status,
                    "reason": None if reason is None else " ".join(str(reason).split())[:500],
                    "tokens": job.tokens,
                    "flops": job.flops,
                    "share": 1.0 if status == "done" else job.share,
                    "seconds": round(time.monotonic() - clock, 3),
                    **_cpu_usage(),
                    **(job.gpu or gpu_usage()),
                    **job.start,
                    "ended": utc_now(),
                },
            )


def _open_log(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    log.setLevel(logging.INFO)
    log.handlers.clear()
    for handler in (logging.FileHandler(path, mode="w"), logging.StreamHandler(sys.stderr)):
        # A full disk or a closed terminal must not hide the message behind tracebacks.
        handler.handleError = lambda record: None
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        log.addHandler(handler)


def _cpu_usage() -> dict:
    """CPU seconds and the largest memory of this process and its children."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return {
        "cpu_seconds": round(sum(each.ru_utime + each.ru_stime for each in usage), 3),
        "peak_memory_mib": round(max(each.ru_maxrss for each in usage) / unit),
    }


def gpu_usage() -> dict:
    """The device this process trained on, and the most memory torch allocated on a GPU."""
    torch = sys.modules.get("torch")  # not imported for this
    if torch is not None and torch.cuda.is_initialized():
        with suppress(RuntimeError):  # from a GPU that has failed
            memory = round(torch.cuda.max_memory_allocated() / 2**20)
            return {"device": torch.cuda.get_device_name(), "gpu_peak_memory_mib": memory}
    return {"device": "cpu", "gpu_peak_memory_mib": None}


@contextmanager
def _raise_on_sigterm() -> Iterator[None]:
    """SIGTERM ends a job in order, with its record; inside `catch_stop` the job saves first.

    SLURM may send it twice: the second is ignored until the record is written.
    """

    def end(number, frame):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Interrupted(signal.Signals(number).name)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an allocation failed, by Python, by torch on a CPU or by torch on a GPU."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


@contextmanager
def set_environment(**variables: str) -> Iterator[None]:
    """Set environment variables inside the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


@contextmanager
def catch_stop() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether SIGTERM or SIGINT has asked the job to end.

    Clusters send SIGTERM some time before they kill, so that a job can save its work. SLURM may
    send it twice, so only a second SIGINT (Ctrl-C) ends the job at once.
    """
    signals = []

    def note(number, frame):
        signals.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    for each in before:
        signal.signal(each, note)
    try:
        yield lambda: bool(signals)
    finally:
        for each in before:
            ends = signals and each == signal.SIGTERM
            signal.signal(each, signal.SIG_IGN if ends else before[each])
