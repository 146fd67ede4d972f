"""What every workflow script shares: a log, a record, and a clear end when something is wrong."""

import errno
import logging
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ptpp.errors import InputError, Interrupted
from ptpp.jobs.heartbeat import Heartbeat, append_line, locate_job, now

log = logging.getLogger("ptpp")


@dataclass
class Job:
    """What one start of a job tells of itself as it goes on; `run_job` writes it down.

    tokens, flops: what this very start trained, decay branches included, evaluation not; None where
    nothing is trained. A resumed job counts from where it went on, and work that was remembered
    counts nothing, so that the sum over all starts is what was spent. share: how much of the job's
    whole work is done, by whichever start. gpu: what `gpu_usage` tells in the process that trained,
    where that is another one.
    """

    results: Path
    mark: Heartbeat
    tokens: int | None = None
    flops: float | None = None
    share: float | None = None
    gpu: Mapping | None = None

    def count(self, tokens: int, flops: float) -> None:
        self.tokens = (self.tokens or 0) + tokens
        self.flops = (self.flops or 0.0) + flops

    def report(self, share: float, **progress: object) -> None:
        """Let others see how far the job is; `progress` is JSON-able."""
        self.share = share
        self.mark.report(share=share, tokens=self.tokens, **progress)


@contextmanager
def run_job(path: str | Path) -> Iterator[Job]:
    """Send progress and errors of a job to the terminal and to its log file.

    An InputError ends the job with its one line, and so do a stop by signal and exhausted memory;
    anything else ends it with its traceback. However it ends, short of SIGKILL, a line about it is
    appended to `jobs.<host>.jsonl` in the logs folder (docs/observing.md names its fields). The Job
    that is yielded takes what it did.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    log.setLevel(logging.INFO)
    log.handlers.clear()
    for handler in (logging.FileHandler(path, mode="w"), logging.StreamHandler(sys.stderr)):
        # A full disk or a closed terminal must not drown the message in tracebacks of its own.
        handler.handleError = lambda record: None
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        log.addHandler(handler)
    results, folder, name = locate_job(path)
    job = Job(results, Heartbeat(results, name))
    clock, status, reason = time.monotonic(), "failed", None
    try:
        with job.mark, _ending_on_sigterm():
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
    except Exception as error:
        reason = error if str(error) else type(error).__name__
        if out_of_memory(error):
            log.error(
                "error: out of memory (%s); give the job more (resources: mem_mb) or lower "
                "batch_tokens, then run the same command again",
                str(error).splitlines()[0] if str(error) else type(error).__name__,
            )
            reason = f"out of memory: {reason}"
            sys.exit(1)
        log.exception("unexpected error")
        sys.exit(1)
    except KeyboardInterrupt:
        status, reason = "stopped", "SIGINT"
        raise
    finally:
        append_line(
            folder,
            {
                "job": name,
                "status": status,
                "reason": None if reason is None else " ".join(str(reason).split())[:500],
                "tokens": job.tokens,
                "flops": job.flops,
                "share": 1.0 if status == "done" else job.share,
                "seconds": round(time.monotonic() - clock, 3),
                **_used(),
                **(job.gpu or gpu_usage()),
                **{key: job.mark.content[key] for key in ("host", "pid", "slurm_job", "started")},
                "ended": now(),
            },
        )


def _used() -> dict:
    """Seconds of processors and the largest memory, of this process and its children."""
    own, children = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return {
        "cpu_seconds": round(sum(each.ru_utime + each.ru_stime for each in (own, children)), 3),
        "peak_memory_mib": round(max(own.ru_maxrss, children.ru_maxrss) / unit),
    }


def gpu_usage() -> dict:
    """Which device this process trained on, and the most that torch allocated on a GPU."""
    used = {"device": "cpu", "gpu_peak_memory_mib": None}
    torch = sys.modules.get("torch")  # not imported for this
    if torch is not None and torch.cuda.is_initialized():
        with suppress(RuntimeError):  # a GPU that has failed tells nothing more
            used["device"] = torch.cuda.get_device_name()
            used["gpu_peak_memory_mib"] = round(torch.cuda.max_memory_allocated() / 2**20)
    return used


@contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """SIGTERM ends a job in order, with its record; `catch_stop` gives it time to save besides."""

    def end(number, frame):
        raise Interrupted(signal.Signals(number).name)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def out_of_memory(error: Exception) -> bool:
    """Whether an allocation failed, by Python, by torch on a CPU or by torch on a GPU."""
    said = str(error)
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, RuntimeError) and "can't allocate memory" in said)
    )


@contextmanager
def catch_stop() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether SIGTERM or SIGINT has asked the job to end.

    Clusters send SIGTERM some time before they kill, so that work can be saved. SLURM may send it
    twice, so only a second SIGINT (Ctrl-C) ends the job at once.
    """
    asked = []

    def note(number, frame):
        asked.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    for each in before:
        signal.signal(each, note)
    try:
        yield lambda: bool(asked)
    finally:
        for each in before:
            signal.signal(each, before[each])
