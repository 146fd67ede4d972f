"""What every workflow script shares: a log, and a clear end when something is wrong."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ptpp.errors import InputError

log = logging.getLogger("ptpp")


@contextmanager
def logged(path: str | Path) -> Iterator[None]:
    """Send progress and errors of a job to the terminal and to its log file.

    An InputError ends the job with its one line; anything else with its traceback.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    log.setLevel(logging.INFO)
    log.handlers.clear()
    for handler in (logging.FileHandler(path, mode="w"), logging.StreamHandler(sys.stderr)):
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        log.addHandler(handler)
    try:
        yield
    except InputError as error:
        log.error("error: %s", error)
        sys.exit(1)
    except Exception:
        log.exception("unexpected error")
        sys.exit(1)
