"""What every workflow script shares: a log, and a clear end when something is wrong."""

import errno
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ptpp.errors import InputError, Interrupted

log = logging.getLogger("ptpp")


@contextmanager
def logged(path: str | Path) -> Iterator[None]:
    """Send progress and errors of a job to the terminal and to its log file.

    An InputError ends the job with its one line, and so do a stop by signal and exhausted memory;
    anything else ends it with its traceback.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    log.setLevel(logging.INFO)
    log.handlers.clear()
    for handler in (logging.FileHandler(path, mode="w"), logging.StreamHandler(sys.stderr)):
        # A full disk or a closed terminal must not drown the message in tracebacks of its own.
        handler.handleError = lambda record: None
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        log.addHandler(handler)
    try:
        yield
    except InputError as error:
        log.error("error: %s", error)
        sys.exit(1)
    except Interrupted as stop:
        log.error("stopped: %s; the same command goes on from there", stop)
        sys.exit(1)
    except Exception as error:
        if out_of_memory(error):
            log.error(
                "error: out of memory (%s); give the job more (resources: mem_mb) or lower "
                "batch_tokens, then run the same command again",
                str(error).splitlines()[0] if str(error) else type(error).__name__,
            )
            sys.exit(1)
        log.exception("unexpected error")
        sys.exit(1)


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
def stoppable() -> Iterator[Callable[[], bool]]:
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
