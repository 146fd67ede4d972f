"""One of several processes that torchrun started for a job: python -m ptpp.training.worker FOLDER.

The folder holds the order; the process leaves there how it ended.
"""

import logging
import os
import sys
import threading
import traceback
from pathlib import Path

from ptpp.errors import InputError, Interrupted
from ptpp.jobs.files import read_json, write_json
from ptpp.jobs.job import catch_stop, is_out_of_memory
from ptpp.models.group import joined
from ptpp.training.launch import RemoteJob
from ptpp.training.runs import pick_device
from ptpp.training.work import work


def main(folder: Path) -> int:
    order = read_json(folder / "order.json")
    rank = int(os.environ["RANK"])
    _tell(rank)
    end, job = None, RemoteJob() if rank == 0 else None
    with catch_stop() as asked:
        abandoned = _abandoned()
        try:
            with joined(pick_device(order["spec"]["device"])) as group:
                work(
                    **order,
                    group=group,
                    stopping=lambda: asked() or abandoned.is_set(),
                    watched_by=job,
                )
        except InputError as error:
            end = {"kind": "InputError", "message": str(error)}
        except Interrupted as stop:
            end = {"kind": "Interrupted", "message": str(stop)}
        except Exception as error:
            kind = "MemoryError" if is_out_of_memory(error) else type(error).__name__
            end = {"kind": kind, "message": traceback.format_exc()}
            if kind == "MemoryError":
                end["message"] = (str(error).splitlines() or [kind])[0]
    if job is not None and job.told:
        job.flush()  # what was trained since it last told
    write_json(folder / f"end{rank}.json", end)
    return 1 if end else 0


def _tell(rank: int) -> None:
    """The first process says what the job says; the job's own process stamps it with the time."""
    log = logging.getLogger("ptpp")
    log.setLevel(logging.INFO if rank == 0 else logging.CRITICAL)
    log.addHandler(logging.StreamHandler(sys.stdout))


def _abandoned() -> threading.Event:
    """Set once standard input ends: the job's own process asks to stop, or is dead."""
    event = threading.Event()

    def watch():
        while os.read(0, 1):
            pass
        event.set()

    threading.Thread(target=watch, daemon=True).start()
    return event


if __name__ == "__main__":
    code = main(Path(sys.argv[1]))
    sys.stdout.flush()
    os._exit(code)  # the thread that watches standard input would hold the end up
